/** A receive queue (manual section 3.2): frames into the buffers of a descriptor ring, and what is found out about each. */
import type { BusMaster, Window } from '../memory.ts';
import type { ReceivedFrame } from '../nic/received-frame.ts';
import { FCS } from '../packet.ts';
import type { RegisterFile } from '../registers.ts';
import { block, record, type Stateful } from '../state.ts';
import { knownSum, SUM_KNOWN } from '../wire/port.ts';
import type { ChecksumUnit } from './checksum.ts';
import type { QueueContext } from './context.ts';
import { DESCRIPTOR, RX_DD, RX_EOP, RX_IXSM, RX_RXE } from './descriptors.ts';
import { Ring } from './ring.ts';

const PENDING = 64; // descriptors the chip can hold before it must write them back (3.2.4)

export class RxQueue {
  readonly ring: Ring;
  readonly state: Stateful;
  /** Bits of ICR, see QueueContext. */
  readonly cause: number;
  readonly #queue: QueueContext;
  readonly #registers: RegisterFile;
  readonly #words: Uint32Array;
  readonly #head: number;
  readonly #tail: number;
  readonly #control: number;
  readonly #dma: BusMaster;
  readonly #buffers: Window;
  readonly #checksums: ChecksumUnit;
  /** Descriptors filled but not yet written back: words 2 and 3 of each, from `at` on. */
  readonly #pending = { words: new Uint32Array(2 * PENDING), count: 0, at: 0 };
  // A burst: the descriptor to be filled next, or -1; that of index 0 in the ring's words; where software's begin.
  #next = -1;
  #first = 0;
  #end = 0;
  /** Frames of the last burst. */
  committed = 0;

  constructor(queue: QueueContext, checksums: ChecksumUnit) {
    this.cause = queue.cause;
    this.#queue = queue;
    this.#registers = queue.registers;
    this.#words = queue.registers.words;
    this.#head = queue.head;
    this.#tail = queue.tail;
    this.#control = queue.control;
    this.#dma = queue.dma;
    this.#buffers = queue.dma.window();
    this.#checksums = checksums;
    this.ring = new Ring(queue);
    this.state = block(1, { pending: record(this.#pending, 0xffff) }, () => this.ring.settle());
  }

  /** Whether a frame of that length finds the descriptors that it needs. */
  hasRoom(length: number, bufferSize: number): boolean {
    if (!this.#dma.enabled || this.ring.count === 0) return false;
    const { owned } = this.ring;
    return owned > 0 && (length + FCS <= bufferSize || owned * bufferSize >= length + FCS);
  }

  // One frame.

  /**
   * Into host memory, over as many descriptors as it takes: `total` bytes of it.
   * @param word2 of each descriptor, but for the length; `word3` of the last one, but for EOP.
   * @returns how many descriptors; 0 where the ring is not mapped.
   */
  deliver(frame: ReceivedFrame, total: number, bufferSize: number, word2: number, word3: number): number {
    let index = this.#headIndex;
    let used = 0;
    for (let done = 0; done < total; used++) {
      const part = Math.min(bufferSize, total - done);
      const last = done + part === total;
      const at = this.#locate(index);
      if (at < 0) return 0;
      const stored = frame.store(this.#buffers, this.#bufferAt(at), done, part);
      const status = (last ? word3 | RX_EOP : RX_DD | RX_IXSM) | (stored ? 0 : RX_RXE);
      this.#writeBack(index, part | word2, status, at);
      done += part;
      index = this.ring.next(index);
    }
    this.#words[this.#head] = index;
    return used;
  }

  /**
   * A frame that fits one buffer as it is: where its sum is not known, it is summed on the way. False where the ring is not
   * mapped.
   */
  deliverWhole(bytes: Uint8Array, start: number, length: number, flags: number, status: number): boolean {
    const index = this.#headIndex;
    const at = this.#locate(index);
    if (at < 0) return false;
    const address = this.#bufferAt(at);
    const sum = flags & SUM_KNOWN ? -1 : this.#buffers.putAndSum(address, bytes, start, length);
    const stored = sum >= 0 || this.#buffers.store(address, bytes, start, length);
    const sums = this.#checksums.receive(bytes, start, length, sum < 0 ? flags : knownSum(sum));
    const word3 = status | sums | RX_EOP | (stored ? 0 : RX_RXE);
    this.#writeBack(index, length | (this.#checksums.packet << 16), word3, at);
    this.#words[this.#head] = this.ring.next(index);
    return true;
  }

  get #headIndex(): number {
    const index = this.#words[this.#head]!;
    return index < this.ring.count ? index : 0;
  }

  /** Where a descriptor is. -1 and counted where the ring is not mapped: nothing can be written, not even that. */
  #locate(index: number): number {
    const at = this.ring.locate(index);
    if (at < 0) this.#dma.faults++;
    return at;
  }

  #bufferAt(at: number): number {
    const { words } = this.ring;
    const high = words[at + 1]!;
    return high === 0 ? words[at]! : high * 0x1_0000_0000 + words[at]!;
  }

  // Write-back.

  get #writeBackThreshold(): number {
    return (this.#words[this.#control]! >>> 16) & 0x3f;
  }

  /** At once where WTHRESH says 0 or 1, else kept until so many are done (13.4.46). */
  #writeBack(index: number, word2: number, word3: number, at: number): void {
    const threshold = this.#writeBackThreshold;
    const pending = this.#pending;
    if (threshold <= 1 && pending.count === 0) {
      this.#write(index, at, word2, word3);
      return;
    }
    if (pending.count === 0) pending.at = index;
    pending.words[2 * pending.count] = word2;
    pending.words[2 * pending.count + 1] = word3;
    pending.count++;
    if (pending.count >= threshold || pending.count === PENDING) this.flush();
  }

  /** Writes back all that is done. */
  flush(): void {
    const pending = this.#pending;
    let index = pending.at;
    for (let i = 0; i < pending.count; i++) {
      const at = this.#locate(index);
      if (at < 0) break;
      this.#write(index, at, pending.words[2 * i]!, pending.words[2 * i + 1]!);
      index = this.ring.next(index);
    }
    pending.count = 0;
  }

  #write(index: number, at: number, word2: number, word3: number): void {
    if (!this.ring.writable) {
      this.#dma.faults++;
      return;
    }
    const { words } = this.ring;
    words[at + 2] = word2;
    words[at + 3] = word3;
    this.ring.written(DESCRIPTOR / 2);
    const { trace } = this.#registers;
    if (trace !== null) trace.descriptor(this.#queue.chip, this.#queue.name, index, words, at, 4);
  }

  // A burst.

  /** Before a burst: whether frames may be put straight into the ring, none held back and none watched. */
  open(): void {
    const { ring } = this;
    const index = this.#words[this.#head]!;
    this.#next = -1;
    if (index >= ring.count || this.#pending.count > 0 || this.#writeBackThreshold > 1) return;
    this.#first = ring.locate(0);
    if (!ring.contiguous || !ring.writable) return;
    this.#end = this.#words[this.#tail]!;
    this.#next = index;
  }

  /** One frame of it. False, and nothing done, where the queue is not open, full, or the buffer not in one writable mapping. */
  put(bytes: Uint8Array, start: number, length: number, status: number): boolean {
    const index = this.#next;
    if (index < 0 || index === this.#end) return false;
    const { words } = this.ring;
    const at = this.#first + 4 * index;
    const address = words[at]!;
    if (words[at + 1] !== 0) return false;
    const sum = this.#buffers.putAndSum(address, bytes, start, length);
    if (sum < 0) return false;
    const sums = this.#checksums.receive(bytes, start, length, knownSum(sum));
    words[at + 2] = length | (this.#checksums.packet << 16);
    words[at + 3] = RX_DD | RX_EOP | sums | status;
    this.#next = this.ring.next(index);
    return true;
  }

  /** After it: how many frames there were. */
  commit(): number {
    this.committed = 0;
    if (this.#next < 0) return 0;
    const count = this.#next - this.#words[this.#head]!;
    this.#words[this.#head] = this.#next;
    this.committed = count >= 0 ? count : count + this.ring.count;
    return this.committed;
  }

  reset(): void {
    this.#pending.count = 0;
    this.ring.settle();
  }
}
