/**
 * A split virtqueue, from the device's side (Virtio 1.2, section 2.7): the driver puts chains of descriptors into the
 * available ring, and the device gives each back through the used ring.
 *
 * All of it is the kernel's memory, so hostile: a chain is as long as the queue at most, and what is wrong ends the queue.
 */
import type { AddressSpace, Mapping } from '../../sim/memory.ts';

const NEXT = 1;
const WRITE = 2;
const DESCRIPTOR_WORDS = 4;
/** The longest queue that a ring may have (2.7). */
export const QUEUE_MOST = 32768;
const HIGH = 2 ** 32;

/** Where a queue's three parts are in the kernel's memory, and its length. */
export interface Place {
  readonly size: number;
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
}

export class Virtqueue {
  readonly #memory: AddressSpace;
  #descriptors: Uint32Array = new Uint32Array(0);
  #available: Uint16Array = new Uint16Array(0);
  #usedHalves: Uint16Array = new Uint16Array(0);
  #usedWords: Uint32Array = new Uint32Array(0);
  #seen = 0; // of the available ring's index
  #size = 0;
  /** Of the chain taken last: its buffers, those to read first. */
  count = 0;
  addresses = new Float64Array(0);
  lengths = new Uint32Array(0);
  /** 1 for a buffer that is to be written. */
  writable = new Uint8Array(0);

  constructor(memory: AddressSpace) {
    this.#memory = memory;
  }

  get ready(): boolean {
    return this.#size > 0;
  }

  /** False where it cannot be: lengths, alignment (2.7), or no memory there. */
  place({ size, descriptors, available, used }: Place): boolean {
    this.close();
    if (size < 1 || size > QUEUE_MOST || (size & (size - 1)) !== 0) return false;
    if (descriptors % 16 !== 0 || available % 2 !== 0 || used % 4 !== 0) return false;
    const [table, offered, returned] = [
      this.#find(descriptors, 16 * size),
      this.#find(available, 4 + 2 * size),
      this.#find(used, 4 + 8 * size),
    ];
    if (table === null || offered === null || returned === null) return false;
    this.#descriptors = new Uint32Array(table.buffer, table.byteOffset, DESCRIPTOR_WORDS * size);
    this.#available = new Uint16Array(offered.buffer, offered.byteOffset, 2 + size);
    this.#usedHalves = new Uint16Array(returned.buffer, returned.byteOffset, 2);
    this.#usedWords = new Uint32Array(returned.buffer, returned.byteOffset, 1 + 2 * size);
    if (this.addresses.length < size) {
      this.addresses = new Float64Array(size);
      this.lengths = new Uint32Array(size);
      this.writable = new Uint8Array(size);
    }
    this.#seen = 0;
    this.#size = size;
    return true;
  }

  #find(address: number, length: number): Uint8Array | null {
    const mapping = this.#memory.find(address);
    if (mapping === undefined || address + length > mapping.end) return null;
    return mapping.bytes.subarray(address - mapping.start, address - mapping.start + length);
  }

  /** Whether the driver would rather not be told of what it is given back (VIRTQ_AVAIL_F_NO_INTERRUPT). */
  get quiet(): boolean {
    return (this.#available[0]! & 1) !== 0;
  }

  /** Chains that wait to be taken; more than the queue can hold is none of its states, and counts as none. */
  get waiting(): number {
    if (this.#size === 0) return 0;
    const waiting = (this.#available[1]! - this.#seen) & 0xffff;
    return waiting <= this.#size ? waiting : 0;
  }

  /** Takes the next chain and returns its head, or -1 where there is none, or one that makes no sense: it then is closed. */
  take(): number {
    if (this.waiting === 0) return -1;
    const head = this.#available[2 + (this.#seen & (this.#size - 1))]!;
    this.#seen = (this.#seen + 1) & 0xffff;
    this.count = 0;
    for (let at = head; ; ) {
      if (at >= this.#size || this.count === this.#size) return this.#broken();
      const word = at * DESCRIPTOR_WORDS;
      const flags = this.#descriptors[word + 3]! & 0xffff;
      this.addresses[this.count] = this.#descriptors[word + 1]! * HIGH + this.#descriptors[word]!;
      this.lengths[this.count] = this.#descriptors[word + 2]!;
      this.writable[this.count] = (flags & WRITE) !== 0 ? 1 : 0;
      this.count++;
      if ((flags & NEXT) === 0) return head;
      at = this.#descriptors[word + 3]! >>> 16;
    }
  }

  /** Puts back what was taken last. */
  putBack(): void {
    this.#seen = (this.#seen - 1) & 0xffff;
  }

  /** Gives a chain back, `written` bytes of which the device wrote. */
  give(head: number, written: number): void {
    const index = this.#usedHalves[1]!;
    const at = 1 + 2 * (index & (this.#size - 1));
    this.#usedWords[at] = head;
    this.#usedWords[at + 1] = written;
    this.#usedHalves[1] = index + 1;
  }

  /** The mapping that all of a buffer is in, or null. */
  mapping(buffer: number): Mapping | null {
    const address = this.addresses[buffer]!;
    const found = this.#memory.find(address);
    return found !== undefined && address + this.lengths[buffer]! <= found.end ? found : null;
  }

  #broken(): number {
    this.close();
    return -1;
  }

  close(): void {
    this.#size = 0;
    this.count = 0;
  }
}
