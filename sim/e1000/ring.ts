/** A descriptor ring as the chip sees it: base and length, head and tail registers. */
import type { BusMaster } from '../memory.ts';
import { DescriptorRing } from '../nic/ring.ts';
import type { Register, RegisterFile } from '../registers.ts';
import { DESCRIPTOR } from './descriptors.ts';

export class Ring extends DescriptorRing {
  /** Head and tail, by word of the register file. */
  readonly head: number;
  readonly tail: number;
  readonly #registers: Uint32Array;
  readonly #low: number;
  readonly #length: number;

  /** The registers: base low, base high (which follows it), length, head, tail. */
  constructor(
    registers: RegisterFile,
    dma: BusMaster,
    r: { low: Register; high: Register; length: Register; head: Register; tail: Register },
  ) {
    super(dma, DESCRIPTOR);
    this.#registers = registers.words;
    this.#low = r.low.word;
    this.#length = r.length.word;
    this.head = r.head.word;
    this.tail = r.tail.word;
    for (const register of [r.low, r.high, r.length]) registers.onWrite(register, () => this.settle());
  }

  /** After base or length changed. */
  settle(): void {
    const base = this.#registers[this.#low + 1]! * 0x1_0000_0000 + this.#registers[this.#low]!;
    this.place(base, this.#registers[this.#length]! / DESCRIPTOR);
  }

  /** Descriptors between head and tail: those the hardware owns. */
  get owned(): number {
    const n = this.#registers[this.tail]! - this.#registers[this.head]!;
    return n >= 0 ? n : n + this.count;
  }
}
