/** The driver's side of virtqueues, in memory of its own: what a kernel does, and whatever else a test wants written there. */
import { AddressSpace } from '../../../../sim/memory.ts';
import { Virtqueue } from '../../../../vm/uml/virtqueue.ts';

export const BASE = 0x10_0000;
const BYTES = 1 << 20;
const NEXT = 1;
const WRITE = 2;

export interface Buffer {
  readonly at: number;
  readonly length: number;
  readonly write?: boolean;
}

/** One queue of a driver's, laid out as Linux lays it out. */
export class DriverQueue {
  readonly queue: Virtqueue;
  readonly size: number;
  readonly place;
  readonly #view: DataView;
  readonly #at: number;
  #next = 0;
  #offered = 0;
  #taken = 0;

  constructor(memory: Memory, size: number, at: number) {
    this.size = size;
    this.#view = memory.view;
    this.#at = at - BASE;
    const [available, used] = [at + 16 * size, (at + 18 * size + 8 + 3) & ~3];
    this.place = { size, descriptors: at, available, used };
    this.queue = new Virtqueue(memory.space);
  }

  /** Of the used ring, from this memory's start. */
  get #used(): number {
    return this.place.used - BASE;
  }

  descriptor(index: number, { at, length, write = false }: Buffer, next: number | null): void {
    const place = this.#at + 16 * index;
    this.#view.setUint32(place, at >>> 0, true);
    this.#view.setUint32(place + 4, Math.floor(at / 2 ** 32), true);
    this.#view.setUint32(place + 8, length, true);
    this.#view.setUint16(place + 12, (next === null ? 0 : NEXT) | (write ? WRITE : 0), true);
    this.#view.setUint16(place + 14, next ?? 0, true);
  }

  /** Offers a chain of these, and returns its head. */
  offer(...buffers: readonly Buffer[]): number {
    const head = this.#next % this.size;
    for (const [i, buffer] of buffers.entries()) {
      const index = this.#next++ % this.size;
      this.descriptor(index, buffer, i === buffers.length - 1 ? null : this.#next % this.size);
    }
    this.offerHead(head);
    return head;
  }

  offerHead(head: number): void {
    const available = this.place.available - BASE;
    this.#view.setUint16(available + 4 + 2 * (this.#offered++ % this.size), head, true);
    this.#view.setUint16(available + 2, this.#offered & 0xffff, true);
  }

  /** What came back since the last call: heads, and bytes written. */
  returned(): { head: number; written: number }[] {
    const back = [];
    for (; this.#taken !== this.#view.getUint16(this.#used + 2, true); this.#taken = (this.#taken + 1) & 0xffff) {
      const at = this.#used + 4 + 8 * (this.#taken % this.size);
      back.push({ head: this.#view.getUint32(at, true), written: this.#view.getUint32(at + 4, true) });
    }
    return back;
  }
}

export class Memory {
  readonly bytes = new Uint8Array(BYTES);
  readonly view = new DataView(this.bytes.buffer);
  readonly space = new AddressSpace();

  constructor() {
    this.space.map(BASE, this.bytes);
  }

  queue(size: number, at: number): DriverQueue {
    const queue = new DriverQueue(this, size, at);
    queue.queue.place(queue.place);
    return queue;
  }
}
