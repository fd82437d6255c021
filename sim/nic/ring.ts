/** A ring of descriptors in host memory: where it is, and a window on the memory that holds it. */
import type { BusMaster, Window } from '../memory.ts';

export class DescriptorRing {
  readonly window: Window;
  /** Descriptors in the ring. */
  count = 0;
  /** The words of the mapping that the descriptor last located is in. */
  words: Uint32Array;
  readonly #dma: BusMaster;
  readonly #size: number;
  #base = 0;
  #first = -1; // index in `words` of descriptor 0, or -1: the ring spans mappings, or is not mapped
  #epoch = -1;
  /** A descriptor of a ring in memory that cannot be seen, and where it came from. */
  readonly #copy: Uint32Array;
  readonly #copyBytes: Uint8Array;
  #copied = 0;

  /** @param size bytes of a descriptor: a multiple of 4. */
  constructor(dma: BusMaster, size: number) {
    this.window = dma.window();
    this.words = this.window.mapping.words;
    this.#dma = dma;
    this.#size = size;
    this.#copy = new Uint32Array(size / 4);
    this.#copyBytes = new Uint8Array(this.#copy.buffer);
  }

  /** Puts the ring at `base`, a multiple of 4. */
  place(base: number, count: number): void {
    this.#base = base;
    this.count = count;
    this.#epoch = -1;
  }

  /** The index in `words` of descriptor `index`, or -1 where it is not mapped, or the ring has none such. */
  locate(index: number): number {
    if (index >= this.count) return -1;
    if (this.#epoch !== this.#dma.epoch) this.#resolve();
    return this.#first >= 0 ? this.#first + index * (this.#size >> 2) : this.#locateAlone(index);
  }

  /** Whether all of it lies in one mapping: descriptors then follow one another in `words`. After `locate`. */
  get contiguous(): boolean {
    return this.#first >= 0;
  }

  /** Nearly every ring lies in one mapping: then its place is found once, and again when mappings change. */
  #resolve(): void {
    this.#epoch = this.#dma.epoch;
    this.#first = -1;
    if (!this.window.covers(this.#base, this.count * this.#size)) return;
    this.words = this.window.mapping.words;
    this.#first = (this.#base - this.window.mapping.start) / 4;
  }

  #locateAlone(index: number): number {
    const address = this.#base + index * this.#size;
    if (!this.window.covers(address, this.#size)) return this.#fetch(address);
    this.words = this.window.mapping.words;
    return (address - this.window.mapping.start) / 4;
  }

  #fetch(address: number): number {
    if (!this.#dma.isDistant(address) || !this.#dma.read(address, this.#copyBytes, 0, this.#size)) return -1;
    this.words = this.#copy;
    this.#copied = address;
    return 0;
  }

  /** Whether the descriptor last located may be written. */
  get writable(): boolean {
    return this.words === this.#copy || this.window.mapping.writable;
  }

  /** After the descriptor last located was written, from byte `from` on: where it was a copy, it goes back. */
  written(from: number): void {
    if (this.words === this.#copy) this.#dma.write(this.#copied + from, this.#copyBytes, from, this.#size - from);
  }

  next(index: number): number {
    return index + 1 >= this.count ? 0 : index + 1;
  }
}
