/**
 * A card's queues: what each carries, and who is called when there may be something to do. Cards fill in the rings
 * (`ReceiveQueue`, `TransmitQueue`) and their interrupts (`QueueInterrupts`).
 */
import { DeviceError, type DeviceTime, MILLISECOND } from './device.ts';
import type { NetQueue, QueueStatistics, RingUse, TransmitLimits } from './netdev.ts';
import type { PacketBuffer } from './packet.ts';

/** Frames on their way up, in the order in which the card has put them there. */
export interface ReceiveQueue extends RingUse {
  /** Whether something is waiting. */
  readonly ready: boolean;
  /** Frames and bytes handed up. */
  readonly packets: number;
  readonly bytes: number;
  /** What the card told that makes no sense. */
  readonly malformed: number;
  /** Frames dropped half-way for want of buffers. */
  readonly unfinished: number;
  /** Puts packets into `into` from index `at` up to `end`, not included; returns where it stopped. */
  receive(into: PacketBuffer[], at: number, end: number): number;
  resetCounts(): void;
}

export interface TransmitQueue extends RingUse {
  readonly limits: TransmitLimits;
  /** Whether the card has reported something that `reclaim` would free. */
  readonly ready: boolean;
  /** Packets whose buffers went back. */
  readonly completed: number;
  /** Packets not sent: refused, thrown away, or beyond what the card says. */
  readonly errors: number;
  transmit(from: PacketBuffer[], first: number, count: number): number;
  reclaim(): number;
  /** Frees every buffer, sent or not. The card must be quiet. */
  empty(): void;
  close(): void;
  resetCounts(): void;
}

/** A card's interrupts for work, by queue. */
export interface QueueInterrupts {
  /** One interrupt speaks for several queues: to arm one is to have seen what it told of the others. */
  readonly shared: boolean;
  /** Work may interrupt. `packets` were dealt with since the last time. */
  arm(queue: number, packets: number): void;
  disarm(queue: number): void;
  /** Makes the card interrupt for work. */
  provoke(queue: number): void;
}

/** What all queues look at before they touch a ring. */
export interface QueueGate {
  /** The rings are the card's. */
  readonly ready: boolean;
  /** Why they will not be any more. */
  readonly failure: DeviceError | null;
  /** Nothing new is sent: the card is about to be reset. */
  readonly draining: boolean;
}

const NO_RING: RingUse = { size: 0, used: 0 };

export class Queue implements NetQueue {
  readonly index: number;
  readonly transmits: boolean;
  readonly rx: ReceiveQueue;
  readonly tx: TransmitQueue | null;
  readonly #queues: Queues;
  readonly #gate: QueueGate;
  readonly #interrupts: QueueInterrupts;
  /** Work may interrupt. */
  armed = false;
  #work: (() => void) | null = null;
  #packetsAtInterrupt = 0;
  #completedAtReset = 0;

  constructor(queues: Queues, index: number, rx: ReceiveQueue, tx: TransmitQueue | null, interrupts: QueueInterrupts) {
    this.index = index;
    this.transmits = tx !== null;
    this.rx = rx;
    this.tx = tx;
    this.#queues = queues;
    this.#gate = queues.gate;
    this.#interrupts = interrupts;
  }

  get rings(): { rx: RingUse; tx: RingUse } {
    const { rx, tx } = this;
    return { rx: useOf(rx), tx: tx === null ? NO_RING : useOf(tx) };
  }

  receive(into: PacketBuffer[], limit: number): number {
    return this.receiveFrom(into, 0, limit);
  }

  /** The same from index `at` of `into` up to `end`; returns where it stopped. */
  receiveFrom(into: PacketBuffer[], at: number, end: number): number {
    if (!this.#gate.ready) return at + this.#notReady();
    return this.rx.receive(into, at, end);
  }

  transmit(from: PacketBuffer[], first: number, count: number): number {
    const { tx } = this;
    if (tx === null) throw new DeviceError('UNSUPPORTED', `queue ${this.index} only receives: transmit on queue 0`);
    if (!this.#gate.ready || this.#gate.draining) return this.#notReady();
    return tx.transmit(from, first, count);
  }

  reclaim(): number {
    if (!this.#gate.ready) return this.#notReady();
    return this.tx === null ? 0 : this.tx.reclaim();
  }

  /** Stopped or resetting: nothing moves. Gone: says so. */
  #notReady(): 0 {
    if (this.#gate.failure !== null) throw this.#gate.failure;
    return 0;
  }

  /** Whether there is something to receive or to reclaim. */
  get ready(): boolean {
    return this.rx.ready || (this.tx?.ready ?? false);
  }

  get ownInterrupt(): boolean {
    return !this.#interrupts.shared;
  }

  /** Whether it has a caller of its own. */
  get hasWork(): boolean {
    return this.#work !== null;
  }

  /** Whether somebody waits for its work. */
  get wanted(): boolean {
    return this.#work !== null || this.#queues.wanted;
  }

  onWork(work: (() => void) | null): void {
    this.#work = work;
    this.applyWork();
  }

  /** Interrupts by whether anybody waits for them. */
  applyWork(): void {
    if (this.wanted) this.rearm();
    else this.disarm();
  }

  rearm(): void {
    if (!this.#gate.ready) return;
    const packets = this.#packets;
    this.armed = true;
    this.#interrupts.arm(this.index, packets - this.#packetsAtInterrupt);
    this.#packetsAtInterrupt = packets;
    // Looked at only now: what comes after interrupts, what came before is seen here.
    if (this.ready || (this.#interrupts.shared && this.#queues.overlooked)) this.#interrupts.provoke(this.index);
    this.#queues.starved();
  }

  disarm(): void {
    if (!this.#gate.ready) return;
    this.armed = false;
    this.#interrupts.disarm(this.index);
  }

  /** For its interrupt, which is off by now. True where whoever waits for all queues is to be called. */
  arrived(): boolean {
    if (!this.armed) return false;
    this.armed = false;
    if (this.#work === null) return true;
    this.#work();
    return false;
  }

  /** Calls whoever waits, so that they look and learn of a failure. */
  failed(): void {
    this.#work?.();
  }

  get #packets(): number {
    return this.rx.packets + (this.tx?.completed ?? 0);
  }

  statistics(): QueueStatistics {
    const { rx, tx } = this;
    return {
      rxPackets: rx.packets,
      rxBytes: rx.bytes,
      rxErrors: rx.malformed,
      rxNoBuffer: rx.unfinished,
      txPackets: (tx?.completed ?? 0) - this.#completedAtReset,
      txErrors: tx?.errors ?? 0,
    };
  }

  resetStatistics(): void {
    this.rx.resetCounts();
    this.tx?.resetCounts();
    this.#completedAtReset = this.tx?.completed ?? 0; // which the watchdog's eye is on, and goes on
    this.#packetsAtInterrupt = this.#packets;
  }
}

/** A card's queues together. */
export class Queues {
  readonly gate: QueueGate;
  /** Told of a rearmed queue: a card without buffers has no interrupts either. */
  readonly starved: () => void;
  readonly all: Queue[] = [];
  readonly #time: DeviceTime;
  #work: (() => void) | null = null;
  #waiters: ((work: boolean) => void)[] = [];
  #first = 0; // the queue that is looked at first

  constructor(gate: QueueGate, time: DeviceTime, starved: () => void) {
    this.gate = gate;
    this.#time = time;
    this.starved = starved;
  }

  add(rx: ReceiveQueue, tx: TransmitQueue | null, interrupts: QueueInterrupts): void {
    this.all.push(new Queue(this, this.all.length, rx, tx, interrupts));
  }

  receive(into: PacketBuffer[], limit: number): number {
    const { all } = this;
    if (all.length === 1) return all[0]!.receive(into, limit);
    let at = 0;
    let first = this.#first;
    for (let i = 0; i < all.length && at < limit; i++) {
      at = all[first]!.receiveFrom(into, at, limit);
      first = first + 1 === all.length ? 0 : first + 1;
    }
    this.#first = first; // where a queue had more than was wanted, the next one has its turn
    return at;
  }

  transmit(from: PacketBuffer[], first: number, count: number): number {
    return this.all[0]!.transmit(from, first, count);
  }

  reclaim(): number {
    const { all } = this;
    let free = all[0]!.reclaim();
    for (let i = 1; i < all.length; i++) free += all[i]!.reclaim();
    return free;
  }

  /** Whether there is something to receive or to reclaim. */
  get ready(): boolean {
    for (const queue of this.all) if (queue.ready) return true;
    return false;
  }

  /** Whether something waits on a queue that may interrupt. */
  get overlooked(): boolean {
    for (const queue of this.all) if (queue.armed && queue.ready) return true;
    return false;
  }

  /** Whether somebody waits for work on queues that have no caller of their own. */
  get wanted(): boolean {
    return this.#work !== null || this.#waiters.length > 0;
  }

  onWork(work: (() => void) | null): void {
    this.#work = work;
    for (const queue of this.all) if (!queue.hasWork) queue.applyWork();
  }

  rearm(): void {
    const { all } = this;
    for (let i = 0; i < all.length; i++) if (!all[i]!.hasWork) all[i]!.rearm();
  }

  /** The card is up: interrupts for whoever waits. */
  cameUp(): void {
    for (const queue of this.all) if (queue.wanted) queue.rearm();
  }

  /** For the card's interrupt: there may be work on `queue`; without one, on any that may interrupt. It is off by now. */
  arrived(queue?: number): void {
    const { all } = this;
    let call = false;
    if (queue !== undefined) call = all[queue]!.arrived();
    else for (let i = 0; i < all.length; i++) if (all[i]!.arrived()) call = true;
    if (!call) return;
    for (let i = 0; i < all.length; i++) if (!all[i]!.hasWork && all[i]!.armed) all[i]!.disarm();
    this.wake(true);
    this.#work?.();
  }

  /**
   * Waits until there may be work: 0 looks and returns, a negative time waits for ever, any other at most so many
   * milliseconds. False where there is none; or where the driver stopped.
   */
  wait(timeoutMs: number): Promise<boolean> {
    if (this.ready) return Promise.resolve(true);
    if (timeoutMs === 0 || !this.gate.ready) return Promise.resolve(false);
    return new Promise((resolve) => {
      let timer: { stop(): void } | null = null;
      const waiter = (work: boolean) => {
        timer?.stop();
        resolve(work);
      };
      const expire = () => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
        waiter(false);
      };
      if (timeoutMs > 0) timer = this.#time.every(timeoutMs * MILLISECOND, expire);
      this.#waiters.push(waiter);
      this.rearm();
    });
  }

  wake(work: boolean): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter(work);
  }

  statistics(): QueueStatistics {
    const sums = this.all[0]!.statistics();
    for (const queue of this.all.slice(1)) {
      const more = queue.statistics();
      for (const name of Object.keys(sums) as (keyof QueueStatistics)[]) sums[name] += more[name];
    }
    return sums;
  }

  resetStatistics(): void {
    for (const queue of this.all) queue.resetStatistics();
  }

  /** The card has failed: whoever waits for work looks for some, and learns of it. */
  failed(): void {
    this.#work?.();
    for (const queue of this.all) queue.failed();
  }
}

/** As it is now. */
export function useOf({ size, used }: RingUse): RingUse {
  return { size, used };
}
