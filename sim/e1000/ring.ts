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
  readonly #words: Uint32Array;
  readonly #low: number;
  readonly #length: number;
  #base = 0;

  /** The registers: base low, base high (which follows it), length, head, tail. */
  constructor(
    registers: RegisterFile,
    dma: BusMaster,
    r: { low: AnyRegister; high: AnyRegister; length: AnyRegister; head: AnyRegister; tail: AnyRegister },
  ) {
    this.window = dma.window();
    this.#words = registers.words;
    this.#low = r.low.word;
    this.#length = r.length.word;
    this.head = r.head.word;
    this.tail = r.tail.word;
    for (const register of [r.low, r.high, r.length]) registers.onWrite(register, () => this.settle());
  }

  /** After base or length changed. */
  settle(): void {
    this.#base = this.#words[this.#low + 1]! * 0x1_0000_0000 + this.#words[this.#low]!;
    this.count = this.#words[this.#length]! / DESCRIPTOR;
  }

  /** The word index of descriptor `index` in `window.mapping.words`, or -1 where the ring is not mapped. */
  locate(index: number): number {
    const address = this.#base + index * DESCRIPTOR;
    if (!this.window.covers(address, DESCRIPTOR)) return -1;
    return (address - this.window.mapping.start) >>> 2;
  }

  /** Descriptors between head and tail: those the hardware owns. */
  get owned(): number {
    const n = this.#words[this.tail]! - this.#words[this.head]!;
    return n >= 0 ? n : n + this.count;
  }

  next(index: number): number {
    return index + 1 >= this.count ? 0 : index + 1;
  }
}
