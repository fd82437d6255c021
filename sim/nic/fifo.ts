/**
 * The receive half of a card's packet buffer: frames wait here while the host has no descriptor for them. Whole frames,
 * first in first out; one that does not fit is missed.
 */
import { copyAndSum, copyBytes } from '../kernels/index.ts';
import type { Host, PacketMemory } from '../pci/function.ts';
import { knownSum, SUM_KNOWN } from '../wire/port.ts';

const ENTRIES = 1024; // 64 KB of the shortest frames
const LINE = 64; // frames start at multiples of it, so that they can be summed and copied by words

/** A frame does not wrap; with twice the 64 KB that a chip has at most there is always room to start again at 0. */
const MEMORY = 128 * 1024;

export class Fifo {
  readonly #memory: PacketMemory;
  // One frame: where it starts, its length, its wire flags.
  readonly #starts = new Int32Array(ENTRIES);
  readonly #lengths = new Int32Array(ENTRIES);
  readonly #flags = new Int32Array(ENTRIES);
  #first = 0;
  #count = 0;
  #writeAt = 0;
  /** Bytes in use, whole lines. */
  used = 0;

  constructor(host: Host) {
    this.#memory = host.packetMemory(MEMORY);
  }

  get empty(): boolean {
    return this.#count === 0;
  }

  get bytes(): Uint8Array {
    return this.#memory.bytes;
  }

  /** The first frame's. */
  get start(): number {
    return this.#memory.start + this.#starts[this.#first]!;
  }

  get length(): number {
    return this.#lengths[this.#first]!;
  }

  get flags(): number {
    return this.#flags[this.#first]!;
  }

  /** False where there is no room within `capacity` bytes. */
  push(capacity: number, bytes: Uint8Array, start: number, length: number, flags: number): boolean {
    const lines = linesOf(length);
    if (this.used + lines > capacity || this.#count === ENTRIES) return false;
    if (this.#writeAt + lines > MEMORY) this.#writeAt = 0;
    const slot = (this.#first + this.#count++) % ENTRIES;
    this.#starts[slot] = this.#writeAt;
    this.#lengths[slot] = length;
    const to = this.#memory.start + this.#writeAt;
    if (flags & SUM_KNOWN) copyBytes(bytes, start, this.bytes, to, length);
    else flags |= knownSum(copyAndSum(bytes, start, this.bytes, to, length));
    this.#flags[slot] = flags;
    this.#writeAt += lines;
    this.used += lines;
    return true;
  }

  pop(): void {
    this.used -= linesOf(this.length);
    this.#first = (this.#first + 1) % ENTRIES;
    this.#count--;
  }

  clear(): void {
    this.#count = 0;
    this.used = 0;
  }

  /** Empty, and nothing left of what went through. */
  reset(): void {
    this.clear();
    this.#writeAt = 0;
    this.bytes.fill(0, this.#memory.start, this.#memory.start + MEMORY);
  }

  save(): unknown {
    const frames: unknown[] = [];
    for (let i = 0; i < this.#count; i++) {
      const slot = (this.#first + i) % ENTRIES;
      const at = this.#memory.start + this.#starts[slot]!;
      frames.push({ bytes: this.bytes.slice(at, at + this.#lengths[slot]!), flags: this.#flags[slot]! });
    }
    return frames;
  }

  restore(saved: unknown): void {
    this.clear();
    for (const { bytes, flags } of saved as { bytes: Uint8Array; flags: number }[]) {
      this.push(Infinity, bytes, 0, bytes.length, flags);
    }
  }
}

function linesOf(length: number): number {
  return (length + LINE - 1) & -LINE;
}
