/** A descriptor ring as the chip sees it: base and length registers, and a window on the memory they name. */
import type { BusMaster, Window } from '../memory.ts';
import type { AnyRegister, RegisterFile } from '../registers.ts';
import { DESCRIPTOR } from './descriptors.ts';

export class Ring {
  readonly window: Window;
  /** Descriptors in the ring. */
  count = 0;
  /** Head and tail, by word of the register file. */
  readonly head: number;
  readonly tail: number;
  /** The words of the mapping that the descriptor last located is in. */
  words: Uint32Array;
  readonly #dma: BusMaster;
  readonly #registers: Uint32Array;
  readonly #low: number;
  readonly #length: number;
  #base = 0;
  #first = -1; // index in `words` of descriptor 0, or -1: the ring spans mappings, or is not mapped
  #epoch = -1;
  /** A descriptor of a ring in memory that cannot be seen, and where it came from. */
  readonly #copy = new Uint32Array(DESCRIPTOR / 4);
  readonly #copyBytes = new Uint8Array(this.#copy.buffer);
  #copied = 0;

  /** The registers: base low, base high (which follows it), length, head, tail. */
  constructor(
    registers: RegisterFile,
    dma: BusMaster,
    r: { low: AnyRegister; high: AnyRegister; length: AnyRegister; head: AnyRegister; tail: AnyRegister },
  ) {
    this.window = dma.window();
    this.#registers = registers.words;
    this.#dma = dma;
    this.words = this.window.mapping.words;
    this.#low = r.low.word;
    this.#length = r.length.word;
    this.head = r.head.word;
    this.tail = r.tail.word;
    for (const register of [r.low, r.high, r.length]) registers.onWrite(register, () => this.settle());
  }

  /** After base or length changed. */
  settle(): void {
    this.#base = this.#registers[this.#low + 1]! * 0x1_0000_0000 + this.#registers[this.#low]!;
    this.count = this.#registers[this.#length]! / DESCRIPTOR;
    this.#epoch = -1;
  }

  /** The index in `words` of descriptor `index`, or -1 where it is not mapped. */
  locate(index: number): number {
    if (this.#epoch !== this.#dma.epoch) this.#resolve();
    return this.#first >= 0 ? this.#first + index * 4 : this.#locateAlone(index);
  }

  /** Whether all of it lies in one mapping: descriptor n is then 4 × n words behind descriptor 0. After `locate`. */
  get contiguous(): boolean {
    return this.#first >= 0;
  }

  /** Nearly every ring lies in one mapping: then its place is found once, and again when mappings change. */
  #resolve(): void {
    this.#epoch = this.#dma.epoch;
    this.#first = -1;
    if (!this.window.covers(this.#base, this.count * DESCRIPTOR)) return;
    this.words = this.window.mapping.words;
    this.#first = (this.#base - this.window.mapping.start) / 4;
  }

  #locateAlone(index: number): number {
    const address = this.#base + index * DESCRIPTOR;
    if (!this.window.covers(address, DESCRIPTOR)) return this.#fetch(address);
    this.words = this.window.mapping.words;
    return (address - this.window.mapping.start) / 4;
  }

  #fetch(address: number): number {
    if (!this.#dma.isDistant(address) || !this.#dma.read(address, this.#copyBytes, 0, DESCRIPTOR)) return -1;
    this.words = this.#copy;
    this.#copied = address;
    return 0;
  }

  /** Whether the descriptor last located may be written. */
  get writable(): boolean {
    return this.words === this.#copy || this.window.mapping.writable;
  }

  /** After the second half of the descriptor last located was written: where it was a copy, it goes back. */
  written(): void {
    if (this.words === this.#copy)
      this.#dma.write(this.#copied + DESCRIPTOR / 2, this.#copyBytes, DESCRIPTOR / 2, DESCRIPTOR / 2);
  }

  /** Descriptors between head and tail: those the hardware owns. */
  get owned(): number {
    const n = this.#registers[this.tail]! - this.#registers[this.head]!;
    return n >= 0 ? n : n + this.count;
  }

  next(index: number): number {
    return index + 1 >= this.count ? 0 : index + 1;
  }
}
