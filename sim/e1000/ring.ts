/** A descriptor ring as the chip sees it: base and length, head and tail registers. */
import { DescriptorRing } from '../nic/ring.ts';
import type { QueueContext } from './context.ts';
import { DESCRIPTOR } from './descriptors.ts';

export class Ring extends DescriptorRing {
  readonly #queue: QueueContext;
  readonly #words: Uint32Array;
  readonly #head: number;
  readonly #tail: number;

  constructor(queue: QueueContext) {
    super(queue.dma, DESCRIPTOR);
    this.#queue = queue;
    this.#words = queue.registers.words;
    this.#head = queue.head;
    this.#tail = queue.tail;
  }

  /** After base or length changed. */
  settle(): void {
    const { base, length } = this.#queue;
    this.place(this.#words[base + 1]! * 0x1_0000_0000 + this.#words[base]!, this.#words[length]! / DESCRIPTOR);
  }

  /** Descriptors between head and tail: those the hardware owns. */
  get owned(): number {
    const n = this.#words[this.#tail]! - this.#words[this.#head]!;
    return n >= 0 ? n : n + this.count;
  }
}
