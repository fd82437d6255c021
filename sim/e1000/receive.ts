/**
 * The receive side (manual section 3.2): from the wire through filters, FIFO and checksum unit to a queue.
 */
import type { BusMaster } from '../memory.ts';
import { Fifo, type Receiver } from '../nic/fifo.ts';
import { ReceivedFrame } from '../nic/received-frame.ts';
import { ETHERNET_HEADER, FCS, get16, isBroadcast, MIN_FRAME, VLAN_TAG } from '../packet.ts';
import { field, type Register } from '../registers.ts';
import { block, each } from '../state.ts';
import { FCS_ERROR } from '../wire/port.ts';
import type { ChecksumUnit } from './checksum.ts';
import type { BlockContext, QueueContext } from './context.ts';
import { DelayTimers } from './delay-timers.ts';
import { RX_CE, RX_DD, RX_PIF, RX_VP } from './descriptors.ts';
import { EXACT, type Filters, REJECTED } from './filters.ts';
import { DISCARDED, type FlowControl, ORDINARY, PASSED } from './flow-control.ts';
import type { InterruptBlock } from './interrupts.ts';
import type { FamilyRegisters } from './registers.ts';
import { RxQueue } from './rx-queue.ts';
import type { Statistics } from './statistics.ts';

const MAX_STANDARD = 1522; // with FCS and a tag; longer ones only with RCTL.LPE (13.4.22)
const MAX_LONG = 16384;
const BUFFER_SIZES = [2048, 1024, 512, 256, 0, 16384, 8192, 4096]; // by BSEX and BSIZE; 0 is reserved
const TAGGED = ETHERNET_HEADER + VLAN_TAG;
const INEXACT_FLAG = 4; // beside the wire's own frame flags

export interface ReceiveBlocks {
  readonly filters: Filters;
  readonly checksums: ChecksumUnit;
  readonly flow: FlowControl;
  readonly interrupts: InterruptBlock;
  readonly statistics: Statistics;
  readonly sendPause: (frame: Uint8Array) => void;
  /** Where there are several queues. */
  readonly steering?: Steering;
}

export interface Steering {
  /** The index of the queue that a frame is for. */
  queue(bytes: Uint8Array, start: number, length: number): number;
}

export class Receive implements Receiver {
  readonly queues: readonly RxQueue[];
  readonly state;
  readonly #context: BlockContext;
  readonly #r: FamilyRegisters;
  readonly #words: Uint32Array;
  readonly #dma: BusMaster;
  readonly #filters: Filters;
  readonly #checksums: ChecksumUnit;
  readonly #flow: FlowControl;
  readonly #interrupts: InterruptBlock;
  readonly #statistics: Statistics;
  readonly #sendPause: (frame: Uint8Array) => void;
  readonly #steering: Steering | null;
  readonly #fifo: Fifo;
  readonly #delays: DelayTimers;
  readonly #frame = new ReceivedFrame();
  readonly #ICR: FamilyRegisters['ICR'];
  readonly #tagType: number; // VET, RSRPD, FCT, by word
  readonly #smallest: number;
  readonly #controlType: number;
  // What RCTL and CTRL say.
  #enabled = false;
  #stripsFcs = false;
  #stripsTags = false;
  #broadcasts = false;
  #bufferSize = 2048;
  #fewShift = 1; // RDMTS: few descriptors are left at so many halvings of the ring's length

  constructor(context: BlockContext, queues: readonly QueueContext[], blocks: ReceiveBlocks) {
    const { registers, r, host } = context;
    this.#context = context;
    this.#r = r;
    this.#words = registers.words;
    this.#dma = context.dma;
    this.#filters = blocks.filters;
    this.#checksums = blocks.checksums;
    this.#flow = blocks.flow;
    this.#interrupts = blocks.interrupts;
    this.#statistics = blocks.statistics;
    this.#sendPause = blocks.sendPause;
    this.#steering = blocks.steering ?? null;
    this.#ICR = r.ICR;
    this.#tagType = r.VET.word;
    this.#smallest = r.RSRPD.word;
    this.#controlType = r.FCT.word;
    this.#fifo = new Fifo(host);
    this.queues = queues.map((queue) => new RxQueue(queue, blocks.checksums));
    this.#delays = new DelayTimers(host.clock, registers, r.RDTR, r.RADV, r.ICR.RXT0, (causes) => {
      for (const queue of this.queues) queue.flush();
      this.#interrupts.raise(causes);
    });
    for (const register of [r.RDBAL, r.RDBAH, r.RDLEN])
      registers.onWrite(register, (_, index) => this.queues[index]!.ring.settle());
    registers.onWrite(r.RDT, () => this.#drain());
    registers.onWrite(r.RCTL, () => this.#controlWritten());
    registers.onWrite(r.CTRL, () => this.#settle());
    this.state = block(
      1,
      { fifo: this.#fifo.state, queues: each(this.queues.map(({ state }) => state)), delays: this.#delays.state },
      () => this.#settle(),
    );
  }

  #controlWritten(): void {
    this.#settle();
    if (this.#enabled) this.#drain();
    else this.#fifo.clear();
  }

  /** After RCTL or CTRL changed. */
  #settle(): void {
    const { RCTL, CTRL } = this.#r;
    const rctl = this.#words[RCTL.word]!;
    this.#enabled = (rctl & RCTL.EN) !== 0;
    this.#stripsFcs = (rctl & RCTL.SECRC) !== 0;
    this.#stripsTags = (this.#words[CTRL.word]! & CTRL.VME) !== 0;
    this.#broadcasts = (rctl & RCTL.BAM) !== 0;
    this.#fewShift = 1 + field(rctl, RCTL.RDMTS);
    const size = field(rctl, RCTL.BSIZE) + (rctl & RCTL.BSEX ? 4 : 0);
    this.#bufferSize = BUFFER_SIZES[size] || 2048;
  }

  /**
   * A frame from the wire, or from a loopback, while receives are enabled. What the filters reject is counted nowhere but
   * in the totals (13.7).
   */
  frame(bytes: Uint8Array, start: number, length: number, flags: number, kind: number): void {
    if (!this.#enabled || length < ETHERNET_HEADER) return;
    this.#statistics.arrived(1, length + FCS);
    if (kind === DISCARDED) return;
    const match = kind === PASSED ? EXACT : this.#filters.match(bytes, start);
    if (match === REJECTED) return;
    const type = get16(bytes, start + 12);
    if (type === this.#words[this.#tagType] && length >= TAGGED && !this.#filters.vlan(get16(bytes, start + 14)))
      return;
    let good = kind === ORDINARY;
    if (length < MIN_FRAME || length + FCS > MAX_STANDARD || flags & FCS_ERROR) {
      if (!this.#acceptsBad(length, flags)) return;
      good &&= length >= MIN_FRAME && (flags & FCS_ERROR) === 0;
    }
    if (!this.#accept(bytes, start, length, match === EXACT ? flags : flags | INEXACT_FLAG)) return;
    if (!good) return;
    this.#statistics.received(1, length + FCS);
    this.#countOne(bytes, start, length);
  }

  #countOne(bytes: Uint8Array, start: number, length: number): void {
    this.#statistics.receivedOne(length, bytes[start]!, this.#broadcasts && isBroadcast(bytes, start));
  }

  /** Counts what is wrong with a frame; whether it is taken all the same: long with LPE, bad with SBP. */
  #acceptsBad(length: number, flags: number): boolean {
    const { RCTL, RFC, RUC, RJC, ROC, CRCERRS } = this.#r;
    const rctl = this.#words[RCTL.word]!;
    const bad = (flags & FCS_ERROR) !== 0;
    const storesBad = (rctl & RCTL.SBP) !== 0;
    if (length < MIN_FRAME) {
      this.#countLength(bad ? RFC : RUC);
      return storesBad;
    }
    if (length + FCS > (rctl & RCTL.LPE ? MAX_LONG : MAX_STANDARD)) {
      this.#countLength(bad ? RJC : ROC);
      return false;
    }
    if (bad) this.#statistics.count(CRCERRS);
    return !bad || storesBad;
  }

  #countLength(register: Register): void {
    this.#statistics.count(register);
    this.#statistics.count(this.#r.RLEC);
  }

  /** Which queue a frame is for. */
  #queueFor(bytes: Uint8Array, start: number, length: number): RxQueue {
    return this.queues[this.#steering === null ? 0 : this.#steering.queue(bytes, start, length)]!;
  }

  /** False where the frame is missed. */
  #accept(bytes: Uint8Array, start: number, length: number, flags: number): boolean {
    if (this.#fifo.empty && this.take(bytes, start, length, flags)) return true;
    if (this.#queueFor(bytes, start, length).ring.owned === 0) this.#statistics.count(this.#r.RNBC);
    const stored = this.#fifo.push(this.#capacity, bytes, start, length, flags);
    if (!stored) {
      this.#statistics.count(this.#r.MPC);
      this.#interrupts.raise(this.#r.ICR.RXO);
    }
    this.#level(true, !stored);
    return stored;
  }

  get #capacity(): number {
    const { PBA } = this.#r;
    return Math.min(field(this.#words[PBA.word]!, PBA.RXA), 64) * 1024;
  }

  #level(rising: boolean, overflow: boolean): void {
    const pause = this.#flow.level(this.#fifo.used, rising, overflow);
    if (pause !== null) this.#sendPause(pause);
  }

  /** Descriptors became available: what waited goes to the host first. */
  #drain(): void {
    if (this.#fifo.drain(this)) this.#level(false, false);
  }

  /** @internal One frame to the host. */
  take(bytes: Uint8Array, start: number, length: number, flags: number): boolean {
    const queue = this.#queueFor(bytes, start, length);
    const size = this.#bufferSize;
    if (!queue.hasRoom(length, size)) return false;
    const status = RX_DD | (flags & INEXACT_FLAG ? RX_PIF : 0) | (flags & FCS_ERROR ? RX_CE : 0);
    const type = this.#words[this.#tagType]!;
    const tagged = this.#stripsTags && get16(bytes, start + 12) === type;
    if (!tagged && this.#stripsFcs && length <= size) {
      if (queue.deliverWhole(bytes, start, length, flags, status)) this.#delivered(queue, length, 1);
      return true;
    }
    const sums = this.#checksums.receive(bytes, start, length, flags);
    const frame = this.#frame;
    frame.set(bytes, start, length, flags);
    const word3 = status | sums | (tagged && frame.strip(type) ? RX_VP | (frame.tag << 16) : 0);
    const withFcs = !this.#stripsFcs;
    if (withFcs) frame.sum();
    const total = withFcs ? frame.kept + FCS : frame.kept;
    const used = queue.deliver(frame, total, size, this.#checksums.stored(frame, withFcs) << 16, word3);
    if (used > 0) this.#delivered(queue, total, used);
    return true;
  }

  /**
   * Frames that arrive at one moment, from the front as long as each is an ordinary one for which its queue has a buffer of
   * its own: what `frame` does, with all that is the same for each of them looked at once. Returns how many.
   */
  burst(bytes: Uint8Array, starts: Int32Array, lengths: Int32Array, count: number): number {
    const words = this.#words;
    if (!this.#burstable) return 0;
    const smallest = words[this.#smallest]!;
    const longest = Math.min(this.#bufferSize, MAX_STANDARD - FCS);
    const tag = words[this.#tagType]!;
    const control = words[this.#controlType]!;
    for (const queue of this.queues) queue.open();
    let octets = 0;
    let rejected = 0;
    let done = 0;
    for (; done < count; done++) {
      const start = starts[done]!;
      const length = lengths[done]!;
      const type = get16(bytes, start + 12);
      if (length > longest || length <= smallest || type === tag || type === control) break;
      const match = this.#filters.match(bytes, start);
      if (match !== REJECTED) {
        const queue = this.#queueFor(bytes, start, length);
        if (!queue.put(bytes, start, length, match === EXACT ? 0 : RX_PIF)) break;
        this.#countOne(bytes, start, length);
        octets += length + FCS;
      } else rejected += length + FCS;
    }
    this.#statistics.arrived(done, octets + rejected);
    let delivered = 0;
    for (const queue of this.queues) delivered += queue.commit();
    this.#statistics.received(delivered, octets);
    for (const queue of this.queues) if (queue.committed > 0) this.#delivered(queue, longest, queue.committed);
    return done;
  }

  /** Nothing waits in front of a burst, nobody watches descriptor by descriptor, and no frame gets an FCS. */
  get #burstable(): boolean {
    return (
      this.#enabled &&
      this.#stripsFcs &&
      this.#dma.enabled &&
      this.#fifo.empty &&
      this.#context.registers.trace === null
    );
  }

  /** The interrupts that delivered packets lead to (3.2.7). */
  #delivered(queue: RxQueue, length: number, used: number): void {
    const few = queue.ring.count >>> this.#fewShift;
    const { owned } = queue.ring;
    let causes = owned <= few && owned + used > few ? this.#ICR.RXDMT0 : 0;
    if (length <= this.#words[this.#smallest]!) {
      // A small packet interrupts at once and stands for the timer (3.2.7.2).
      causes |= this.#ICR.SRPD | queue.cause | this.#delays.take();
      queue.flush();
    } else if (this.#delays.on) this.#delays.start(queue.cause);
    else {
      causes |= queue.cause;
      queue.flush();
    }
    if (causes !== 0) this.#interrupts.raise(causes);
  }

  reset(): void {
    this.#delays.take();
    this.#fifo.reset();
    this.#settle();
    for (const queue of this.queues) queue.reset();
  }
}
