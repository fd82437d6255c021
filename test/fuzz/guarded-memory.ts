/**
 * Host memory in one array, in which all that a card may not write is watched: between ranges, behind mappings, within them
 * around buffers, and around the card's own packet memory. What is watched and not filled is full of GUARD: a card that
 * sends it has read where it must not.
 */
import { AddressSpace } from '../../sim/memory.ts';
import type { PacketMemory } from '../../sim/pci/function.ts';

export const GUARD = 0xc5;
const SIZE = 1 << 20;
const GAP = 256; // bytes between ranges
const LINE = 64;

interface Watched {
  readonly at: number;
  readonly is: Buffer;
  readonly was: Buffer;
}

export class GuardedMemory {
  /** Addresses are offsets in the array and this. */
  readonly base = 0x6b30_0000;
  readonly space = new AddressSpace();
  readonly bytes = new Uint8Array(SIZE).fill(GUARD);
  readonly words = new Uint32Array(this.bytes.buffer);
  readonly #was = new Uint8Array(SIZE);
  readonly #allowed: [number, number][] = [];
  readonly #mapped = new Map<number, { length: number; writable: boolean }>();
  #watched: Watched[] = [];
  #free = GAP;

  /** Whether a register's value could be taken for an address in here. */
  holds(value: number): boolean {
    return value >= this.base - SIZE && value < this.base + 2 * SIZE;
  }

  /** Maps `length` bytes, a multiple of 4; what is behind them in the array is guard. Returns their address. */
  map(length: number, { writable = true, allowed = true } = {}): number {
    const at = this.#take(length);
    this.#mapped.set(at, { length, writable });
    this.#map(at);
    if (allowed) this.allow(this.base + at, length);
    return this.base + at;
  }

  #map(at: number): void {
    const { length, writable } = this.#mapped.get(at)!;
    this.space.map(this.base + at, this.bytes.subarray(at), { length, writable });
  }

  /** Gives back all that was taken out of the card's sight by unmapping it from `space`. */
  mapAll(): void {
    for (const at of this.#mapped.keys()) if (this.space.find(this.base + at) === undefined) this.#map(at);
  }

  packetMemory(size: number): PacketMemory {
    const start = this.#take(size);
    this.bytes.fill(0, start, start + size);
    this.allow(this.base + start, size);
    return { bytes: this.bytes, start };
  }

  #take(length: number): number {
    const at = this.#free;
    this.#free = (at + length + GAP + LINE - 1) & -LINE;
    if (this.#free > SIZE) throw new RangeError('the guarded memory is full');
    return at;
  }

  /** The card may write here. */
  allow(address: number, length: number): void {
    this.#allowed.push([address - this.base, length]);
  }

  fill(address: number, length: number, value: number): void {
    for (const bytes of [this.bytes, this.#was]) bytes.fill(value, address - this.base, address - this.base + length);
  }

  set(address: number, bytes: ArrayLike<number>): void {
    for (const array of [this.bytes, this.#was]) array.set(bytes, address - this.base);
  }

  put(address: number, words: readonly number[]): void {
    this.words.set(words, (address - this.base) / 4);
  }

  /** From here on what is not allowed is watched. */
  watch(): void {
    this.#was.set(this.bytes);
    const view = ({ buffer }: Uint8Array, at: number, end: number) => Buffer.from(buffer as ArrayBuffer, at, end - at);
    let from = 0;
    for (const [at, length] of [...this.#allowed.sort(([a], [b]) => a - b), [SIZE, 0] as const]) {
      if (at > from) this.#watched.push({ at: from, is: view(this.bytes, from, at), was: view(this.#was, from, at) });
      from = Math.max(from, at + length);
    }
  }

  /** Where a watched byte changed; -1: nowhere. */
  violated(): number {
    for (const { at, is, was } of this.#watched)
      if (!is.equals(was)) return this.base + at + is.findIndex((byte, i) => byte !== was[i]);
    return -1;
  }
}
