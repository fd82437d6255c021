/**
 * The calendar: who keeps time for kernels in virtual time, and for the models with them (linux/um_timetravel.h). Time
 * goes from event to event of whoever has the next, and passes nowhere else: one kernel runs at a time, the others wait.
 *
 * What makes runs alike: alarms come before kernels at the same moment, and kernels in their order; a kernel that starts
 * waits for its turn like any other; and while the host thinks (`hold`), time stands.
 */
import { END, firstReadable, NativeError, receivedDescriptors, type UnixSocket } from '../../native/index.ts';
import type { Clock } from '../../sim/clock.ts';
import type { Reactor } from './reactor.ts';
import type { Delivery, Time } from './time.ts';

const ACK = 0;
const START = 1;
const REQUEST = 2;
const WAIT = 3;
const GET = 4;
const UPDATE = 5;
const RUN = 6;
const FREE_UNTIL = 7;
const GET_TIME_OF_DAY = 8;

const MESSAGE = 16; // operation, sequence, time (8)
const HIGH = 2 ** 32;
/** The time of day when a kernel's clock begins, in nanoseconds: 2026-01-01. */
const BEGINNING = 1_767_225_600 * 1e9;
/** A kernel comes back after that much at the latest: somebody may want to end it. */
const FREE_MOST = 10e9;
/** Alarms at one and the same moment, before somebody else has his turn. */
const ALARMS_MOST = 100_000;
/** Milliseconds in which a kernel must answer: it computes meanwhile, on a machine that has much else to do. */
const PATIENCE = 30_000;

export class Calendar {
  readonly clock: Clock;
  readonly reactor: Reactor;
  readonly #kernels: Kernel[] = [];
  readonly #waiting = new Set<Delivery>();
  #held = 0;
  #running: Kernel | null = null;
  #scheduling = false;
  #later: NodeJS.Immediate | null = null;

  constructor(clock: Clock, reactor: Reactor) {
    this.clock = clock;
    this.reactor = reactor;
  }

  /** A kernel in this calendar's time. The order in which they are added is theirs at the same moment. */
  kernel(): Kernel {
    const kernel = new Kernel(this);
    this.#kernels.push(kernel);
    return kernel;
  }

  /** Time stands until as many `release`s: the host has something to say to a kernel first. */
  hold(): void {
    this.#held++;
  }

  release(): void {
    this.#held--;
    this.#soon();
  }

  get held(): boolean {
    return this.#held > 0;
  }

  /**
   * Lets `ns` pass, for the host. Whatever it does when this resolves, without waiting for anything else than kernels,
   * happens at that moment.
   */
  async pass(ns: number): Promise<void> {
    this.release();
    await new Promise<void>((resolve) => this.clock.alarm(() => this.turn(resolve)).in(ns));
    this.hold();
  }

  /** Tells the host of something: time stands until all has run that follows from it. */
  turn(tell: () => void): void {
    this.hold();
    this.reactor.leave();
    tell();
    setImmediate(() => this.release());
  }

  pending(delivery: Delivery): void {
    this.#waiting.add(delivery);
    if (this.#running === null) this.#soon();
  }

  /** All that is due at this very moment happens, and kernels are told. */
  settle(): void {
    let ran = 0;
    do {
      ran += this.clock.advanceTo(this.clock.now, ALARMS_MOST);
      for (const delivery of this.#waiting) {
        this.#waiting.delete(delivery);
        delivery.deliver();
      }
    } while (this.clock.next <= this.clock.now && ran < ALARMS_MOST);
  }

  /** How long a kernel may go on by itself. */
  freeUntil(kernel: Kernel): number {
    if (this.held) return this.clock.now;
    let until = Math.min(this.clock.next, this.clock.now + FREE_MOST);
    for (const other of this.#kernels) if (other !== kernel && other.request < until) until = other.request;
    return until;
  }

  /** Later, from the event loop, and once. */
  #soon(): void {
    this.#later ??= setImmediate(() => {
      this.#later = null;
      this.schedule();
    });
  }

  /** Where no kernel runs: goes to the next event, and lets the one run whose it is. */
  schedule(): void {
    if (this.#scheduling) return;
    this.#scheduling = true;
    try {
      let ran = 0;
      while (ran < ALARMS_MOST && this.#idle) ran += this.#step();
      if (ran >= ALARMS_MOST) this.#soon();
    } finally {
      this.#scheduling = false;
    }
  }

  /** Whether all wait for their time, and it may go on. */
  get #idle(): boolean {
    if (this.held || this.#running !== null) return false;
    return this.#kernels.some(({ waiting }) => waiting) && this.#kernels.every(({ waiting, over }) => waiting || over);
  }

  /** Returns how many alarms ran. */
  #step(): number {
    this.settle();
    if (this.held) return 0;
    const next = this.#next();
    const time = next?.request ?? Infinity;
    if (this.clock.next <= time && this.clock.next < Infinity)
      return this.clock.advanceTo(this.clock.next, ALARMS_MOST);
    if (next === null) {
      for (const kernel of this.#kernels) kernel.end('it sleeps, and nothing is left that could wake it');
      return 0;
    }
    this.clock.advanceTo(time);
    this.#running = next;
    next.run(this.freeUntil(next));
    return 0;
  }

  /** The kernel with the next request, the first of them at the same moment. */
  #next(): Kernel | null {
    let next: Kernel | null = null;
    for (const kernel of this.#kernels)
      if (kernel.waiting && kernel.request < (next?.request ?? Infinity)) next = kernel;
    return next;
  }

  /** A kernel waits, or has gone. */
  stopped(kernel: Kernel): void {
    if (this.#running === kernel) this.#running = null;
    this.schedule();
  }
}

/** One kernel, and its connection to the calendar. */
export class Kernel implements Time {
  readonly clock: Clock;
  /** When it wants to run, in nanoseconds; Infinity where it does not, or has not asked since it ran. */
  request = Infinity;
  waiting = false;
  over = false;
  /** Messages that make no sense, and were ignored. */
  refused = 0;
  /** Told why it cannot go on. */
  onBroken: (why: string) => void = () => {};
  /** Told once that it has gone, before time goes on without it. */
  onOver: () => void = () => {};
  readonly #calendar: Calendar;
  #socket: UnixSocket | null = null;
  #place = -1;
  readonly #came = new Uint8Array(16 * MESSAGE);
  readonly #came32 = new DataView(this.#came.buffer);
  #got = 0;
  readonly #out = new Uint8Array(2 * MESSAGE);
  readonly #out32 = new DataView(this.#out.buffer);
  readonly #fds = receivedDescriptors(0);
  readonly #awaited = new Int32Array(2);
  #starting = -1; // the sequence number of its START, which is answered when it is its turn
  #sequence = 0;
  #acknowledged = 0;
  /** What it was promised last; -Infinity where that is void. */
  #free = -Infinity;

  constructor(calendar: Calendar) {
    this.#calendar = calendar;
    this.clock = calendar.clock;
  }

  connect(socket: UnixSocket): void {
    this.#socket = socket;
    this.#place = this.#calendar.reactor.add(socket.fd, () => this.#receive());
  }

  // ---- Time, for its devices ------------------------------------------------------------------------------------------

  pump(): void {} // an UPDATE comes before each kick

  settle(): void {
    this.#calendar.settle();
    this.#promise();
  }

  pending(delivery: Delivery): void {
    this.#calendar.pending(delivery);
  }

  readonly awaitAnswer = (fd: number): boolean => this.#await(fd, () => false);

  /** Serves the kernel's messages until `done`, or until `fd` can be read. False where it goes, or says nothing. */
  #await(fd: number, done: () => boolean): boolean {
    this.#awaited[1] = fd;
    while (this.#socket !== null) {
      this.#awaited[0] = this.#socket.fd;
      const first = firstReadable(this.#awaited, fd < 0 ? 1 : 2, PATIENCE);
      if (first < 0) return false;
      if (first === 1) return true;
      this.#receive();
      if (done()) return true;
    }
    return false;
  }

  /** Where something happens earlier than was promised, it is told so before it goes on. */
  #promise(): void {
    const until = this.#calendar.freeUntil(this);
    if (this.#free <= until || this.#socket === null) return;
    this.#put(0, FREE_UNTIL, until);
    this.#free = until;
    const sequence = this.#sequence;
    this.#send(MESSAGE);
    if (!this.#await(-1, () => this.#acknowledged === sequence)) this.end('it does not answer its calendar');
  }

  // ---- Messages -------------------------------------------------------------------------------------------------------

  /** It is its turn: at this time, and freely until that one. */
  run(until: number): void {
    this.waiting = false;
    this.request = Infinity;
    if (this.#starting >= 0) {
      this.#acknowledge(this.#starting, this.clock.now);
      this.#starting = -1;
      return;
    }
    let length = 0;
    if (until > this.clock.now) {
      this.#put(0, FREE_UNTIL, until);
      this.#free = until;
      length = MESSAGE;
    }
    this.#put(length, RUN, this.clock.now);
    this.#send(length + MESSAGE);
  }

  #put(at: number, operation: number, time: number): void {
    const out = this.#out32;
    out.setUint32(at, operation, true);
    out.setUint32(at + 4, ++this.#sequence, true);
    putTime(out, at + 8, time);
  }

  #acknowledge(sequence: number, time = 0): void {
    const out = this.#out32;
    out.setUint32(0, ACK, true);
    out.setUint32(4, sequence, true);
    putTime(out, 8, time);
    this.#send(MESSAGE);
  }

  #send(length: number): void {
    try {
      this.#socket?.send(this.#out, 0, length);
    } catch (error) {
      if (!(error instanceof NativeError)) throw error;
      this.end(error.code === 'EPIPE' || error.code === 'ECONNRESET' ? null : error.message);
    }
  }

  #receive(): void {
    const got = this.#socket!.receive(this.#came, this.#got, this.#came.length - this.#got, this.#fds);
    if (got === END) {
      this.end(null);
      return;
    }
    this.#got += got;
    while (this.#got >= MESSAGE) {
      const operation = this.#came32.getUint32(0, true);
      const sequence = this.#came32.getUint32(4, true);
      const time = this.#came32.getUint32(12, true) * HIGH + this.#came32.getUint32(8, true);
      this.#got -= MESSAGE;
      if (this.#got > 0) this.#came.copyWithin(0, MESSAGE, MESSAGE + this.#got);
      this.#serve(operation, sequence, time <= Number.MAX_SAFE_INTEGER ? time : Infinity);
    }
  }

  #serve(operation: number, sequence: number, time: number): void {
    switch (operation) {
      case ACK:
        this.#acknowledged = sequence;
        break;
      case START: // answered when it is its turn
        this.#starting = sequence;
        this.request = this.clock.now;
        this.waiting = true;
        this.#calendar.stopped(this);
        break;
      case REQUEST:
        this.request = Math.max(time, this.clock.now);
        this.#acknowledge(sequence);
        break;
      case WAIT:
        this.#acknowledge(sequence);
        this.#free = -Infinity;
        this.waiting = true;
        this.#calendar.stopped(this);
        break;
      case GET:
        this.#acknowledge(sequence, this.clock.now);
        break;
      case UPDATE:
        this.#acknowledge(sequence);
        this.#update(time);
        break;
      case GET_TIME_OF_DAY:
        this.#acknowledge(sequence, BEGINNING + this.clock.now);
        break;
      default:
        this.refused++;
        this.#acknowledge(sequence);
    }
  }

  /** It has gone on by itself, up to there, where nothing else was to happen. */
  #update(time: number): void {
    if (time < this.clock.now || time > this.clock.now + FREE_MOST) this.refused++;
    else this.clock.advanceTo(time, ALARMS_MOST);
  }

  end(why: string | null): void {
    if (this.over) return;
    this.close();
    this.onOver();
    if (why !== null) this.onBroken(why);
    this.#calendar.stopped(this);
  }

  close(): void {
    this.over = true;
    this.waiting = false;
    if (this.#socket === null) return;
    this.#calendar.reactor.remove(this.#place);
    this.#socket.close();
    this.#socket = null;
  }
}

function putTime(view: DataView, at: number, time: number): void {
  view.setUint32(at, time >>> 0, true);
  view.setUint32(at + 4, Math.floor(time / HIGH), true);
}
