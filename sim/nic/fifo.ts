/**
 * The receive half of a card's packet buffer: frames wait here while the host has no descriptor for them. Whole frames,
 * first in first out; one that does not fit is missed.
 */
import { copyAndSum, copyBytes } from '../kernels/index.ts';
import type { Host, PacketMemory } from '../pci/function.ts';
import { StateError, type Stateful } from '../state.ts';
import { knownSum, SUM_KNOWN } from '../wire/port.ts';

const ENTRIES = 1024; // 64 KB of the shortest frames
const LINE = 64; // frames start at multiples of it, so that they can be summed and copied by words

/** A frame does not wrap; with twice the 64 KB that a chip has at most there is always room to start again at 0. */
const MEMORY = 128 * 1024;

/** With the wire's flags. */
type SavedFrame = { readonly bytes: Uint8Array; readonly flags: number };

/** Where they go. */
export interface Receiver {
  /** One frame to the host. False where it has to wait. */
  take(bytes: Uint8Array, start: number, length: number, flags: number): boolean;
}

export class Fifo {
  readonly #memory: PacketMemory;
  // One frame: where it starts, its length, its wire flags.
  readonly #starts = new Int32Array(ENTRIES);
  readonly #lengths = new Int32Array(ENTRIES);
  readonly #flags = new Int32Array(ENTRIES);
  #first = 0;
  #count = 0;
  #writeAt = 0;
  #draining = false;
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

  /**
   * Frames go on, the first one first, for as long as the receiver takes them. False where there is none, or this goes on
   * already: a doorbell from within, by an interrupt.
   */
  drain(receiver: Receiver): boolean {
    if (this.empty || this.#draining) return false;
    this.#draining = true;
    try {
      for (let first = this.#first; !this.empty; first = this.#first) {
        if (!receiver.take(this.bytes, this.start, this.length, this.flags)) break;
        if (this.#first === first && !this.empty) this.pop(); // else it was cleared meanwhile
      }
    } finally {
      this.#draining = false;
    }
    return true;
  }

  clear(): void {
    this.#first = (this.#first + this.#count) % ENTRIES;
    this.#count = 0;
    this.used = 0;
  }

  /** Empty, and nothing left of what went through. */
  reset(): void {
    this.clear();
    this.#writeAt = 0;
    this.bytes.fill(0, this.#memory.start, this.#memory.start + MEMORY);
  }

  /** What waits, first in first out. */
  readonly state: Stateful<readonly SavedFrame[]> = {
    save: () => Array.from({ length: this.#count }, (_, i) => this.#saved((this.#first + i) % ENTRIES)),
    check: checkFrames,
    load: (frames) => {
      this.clear();
      for (const { bytes, flags } of frames) this.push(MEMORY, bytes, 0, bytes.length, flags);
    },
  };

  #saved(slot: number): SavedFrame {
    const at = this.#memory.start + this.#starts[slot]!;
    return { bytes: this.bytes.slice(at, at + this.#lengths[slot]!), flags: this.#flags[slot]! };
  }
}

function checkFrames(saved: unknown, where: string): void {
  if (!Array.isArray(saved) || saved.length > ENTRIES)
    throw new StateError(where, `no list of ${ENTRIES} frames at most`);
  let used = 0;
  for (const [index, frame] of saved.entries()) {
    const { bytes, flags } = (frame ?? {}) as Partial<SavedFrame>;
    if (!(bytes instanceof Uint8Array) || flags === undefined || (flags | 0) !== flags)
      throw new StateError(`${where}[${index}]`, 'no frame');
    used += linesOf(bytes.length);
  }
  if (used > MEMORY / 2) throw new StateError(where, `frames of ${used} bytes, of ${MEMORY / 2} at most`);
}

function linesOf(length: number): number {
  return (length + LINE - 1) & -LINE;
}
