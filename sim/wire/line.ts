import type { Alarm, Clock } from '../clock.ts';
import { FCS } from '../packet.ts';
import { wide } from '../wide.ts';
import { FrameQueue, type SavedFrame } from './frame-queue.ts';
import { completeFaults, type Faults, type Impairments, isIdeal } from './impairments.ts';
import { FCS_ERROR, SUM_KNOWN } from './port.ts';
import { Prng } from './prng.ts';

/** Called with a frame that is valid until the call returns. */
export type FrameHandler = (bytes: Uint8Array, start: number, length: number, flags: number) => void;

/**
 * What became of the frames of one direction. At any moment
 * `sent + duplicated = delivered + lost + overrun + noCarrier + frames still queued`.
 */
export interface LineCounters {
  sent: number;
  delivered: number;
  /** Bytes delivered, without preamble and FCS. */
  bytes: number;
  lost: number;
  duplicated: number;
  /** Frames that another overtook. */
  reordered: number;
  corrupted: number;
  /** Dropped because the direction holds no more. */
  overrun: number;
  /** Sent into a cable that leads nowhere, or in flight when it was pulled. */
  noCarrier: number;
}

export interface LineState {
  faults: Faults;
  prng: number[];
  bad: boolean;
  /** Nanoseconds from the moment of saving; null where no frame is held back. */
  held: number | null;
  busySince: number;
  busyBits: number;
  latest: number;
  frames: SavedFrame[];
  counters: LineCounters;
}

/** 802.3 clause 3.1.1 and 4.4.2, in bytes. */
const PREAMBLE = 8; // with the start frame delimiter
const MIN_FRAME = 64; // with FCS
const GAP = 12; // interPacketGap
const BITS = 8;
const LOWER_HALF = 0xffff; // of the flags; the upper is the sum
const NEVER = -1;
const DEFAULT_CAPACITY = 4 * 1024 * 1024;

/** One direction of a wire: serialises, loses, damages and delays frames, and delivers them by an alarm of the clock. */
export class Line {
  readonly counters: LineCounters = {
    sent: 0,
    delivered: 0,
    bytes: 0,
    lost: 0,
    duplicated: 0,
    reordered: 0,
    corrupted: 0,
    overrun: 0,
    noCarrier: 0,
  };
  /** Whether a frame passes untouched and at once: the owner may then hand it over itself, counting it by `pass`. */
  ideal = true;
  readonly #clock: Clock;
  readonly #queue: FrameQueue;
  readonly #alarm: Alarm;
  readonly #deliver: FrameHandler;
  readonly #prng: Prng;
  #faults: Faults;
  #bad = false; // the Gilbert-Elliott state
  #heldUntil = NEVER; // the queue's last frame waits for one that overtakes it, until then at most
  // The line has been busy since then and for so many bits, gaps included: kept apart, because the sum of rounded
  // times would drift off the rate (67.2 ns for the shortest frame at 10 Gbit/s).
  #busySince = 0;
  #busyBits = 0;
  #latest = 0; // when the frame sent last will arrive

  /** Throws a RangeError for impairments out of range. */
  constructor(clock: Clock, impairments: Impairments, deliver: FrameHandler) {
    wide(this.counters, 'bytes');
    this.#faults = completeFaults(impairments);
    this.ideal = isIdeal(this.#faults);
    this.#clock = clock;
    this.#deliver = deliver;
    this.#queue = new FrameQueue(impairments.capacity ?? DEFAULT_CAPACITY);
    this.#prng = new Prng(impairments.seed ?? 1);
    this.#alarm = clock.alarm(() => this.#drain());
  }

  /** Frames in flight or waiting. */
  get queued(): number {
    return this.#queue.count;
  }

  /** When all that was given will have been sent, its gap included: nanoseconds; 0 without a rate. */
  get freeAt(): number {
    return this.#faults.rate === 0 ? 0 : Math.ceil(this.#freeAt);
  }

  /** Replaces the impairments from the next frame on (`capacity` stays). Throws a RangeError and changes nothing. */
  impair(impairments: Impairments): void {
    const faults = completeFaults(impairments);
    this.#busySince = this.freeAt;
    this.#busyBits = 0;
    this.#faults = faults;
    this.#bad = false;
    this.ideal = isIdeal(faults);
    if (impairments.seed !== undefined) this.#prng.seed(impairments.seed);
  }

  /** Counts frames that the owner hands over itself. */
  pass(frames: number, bytes: number): void {
    const counters = this.counters;
    counters.sent += frames;
    counters.delivered += frames;
    counters.bytes += bytes;
  }

  /** Counts a frame that has nowhere to go. */
  refuse(): void {
    this.counters.sent++;
    this.counters.noCarrier++;
  }

  send(bytes: Uint8Array, start: number, length: number, flags: number): void {
    const counters = this.counters;
    counters.sent++;
    if (!this.#queue.fits(length) || this.#backlogged) {
      counters.overrun++;
      return;
    }
    const departure = this.#serialise(length);
    if (this.#loses()) {
      counters.lost++;
      return;
    }
    this.#enqueue(bytes, start, length, flags, departure);
    if (this.#prng.chance(this.#faults.duplicate)) this.#repeat(bytes, start, length, flags, departure);
    this.#alarm.at(this.#queue.headDue);
  }

  /** The cable is pulled: what is in flight is gone. */
  clear(): void {
    this.counters.noCarrier += this.#queue.count;
    this.#queue.clear();
    this.#heldUntil = NEVER;
    this.#busySince = 0;
    this.#busyBits = 0;
    this.#latest = 0;
    this.#alarm.cancel();
  }

  save(): LineState {
    const now = this.#clock.now;
    return {
      faults: this.#faults,
      prng: this.#prng.save(),
      bad: this.#bad,
      held: this.#heldUntil === NEVER ? null : this.#heldUntil - now,
      busySince: this.#busySince - now,
      busyBits: this.#busyBits,
      latest: this.#latest - now,
      frames: this.#queue.save(now),
      counters: { ...this.counters },
    };
  }

  restore(state: LineState): void {
    const now = this.#clock.now;
    this.#faults = state.faults;
    this.ideal = isIdeal(state.faults);
    this.#prng.restore(state.prng);
    this.#bad = state.bad;
    this.#busySince = state.busySince + now;
    this.#busyBits = state.busyBits;
    this.#latest = state.latest + now;
    this.#queue.restore(state.frames, now);
    this.#heldUntil = state.held === null ? NEVER : state.held + now;
    Object.assign(this.counters, state.counters);
    this.#schedule();
  }

  get #freeAt(): number {
    return this.#busySince + (this.#busyBits * 1e9) / this.#faults.rate;
  }

  /**
   * A lost frame takes its time on the line but no room in the queue: this bounds how far ahead the line is sold. Twice
   * the capacity, because the shortest frame takes 84 bytes of the line and 64 of the queue.
   */
  get #backlogged(): boolean {
    const rate = this.#faults.rate;
    return rate !== 0 && ((this.#freeAt - this.#clock.now) * rate) / 1e9 > 2 * this.#queue.capacity * BITS;
  }

  /** Occupies the line; returns when the frame's last bit leaves. */
  #serialise(length: number): number {
    const rate = this.#faults.rate;
    const now = this.#clock.now;
    if (rate === 0) return now;
    // A sender that waited for `freeAt`, a whole nanosecond, has kept the line busy: the fraction is not idle time.
    if (now - this.#freeAt >= 1) {
      this.#busySince = now;
      this.#busyBits = 0;
    }
    const frame = PREAMBLE + Math.max(MIN_FRAME, length + FCS);
    const departure = this.#busySince + ((this.#busyBits + frame * BITS) * 1e9) / rate;
    this.#busyBits += (frame + GAP) * BITS;
    return departure;
  }

  #loses(): boolean {
    const { burst, loss } = this.#faults;
    if (burst !== null) {
      if (this.#prng.chance(this.#bad ? burst.leave : burst.enter)) this.#bad = !this.#bad;
      if (this.#prng.chance(this.#bad ? (burst.bad ?? 1) : (burst.good ?? 0))) return true;
    }
    return this.#prng.chance(loss);
  }

  #repeat(bytes: Uint8Array, start: number, length: number, flags: number, departure: number): void {
    this.counters.duplicated++;
    if (this.#queue.fits(length)) this.#enqueue(bytes, start, length, flags, departure);
    else this.counters.overrun++;
  }

  #enqueue(bytes: Uint8Array, start: number, length: number, flags: number, departure: number): void {
    const due = this.#arrival(departure);
    const damaged = length > 0 && this.#prng.chance(this.#faults.corrupt);
    this.#queue.push(bytes, start, length, damaged ? this.#damagedFlags(flags) : flags, due);
    if (damaged) this.#flipBits(this.#queue.lastStart, length);
    this.#reorder(due);
  }

  #arrival(departure: number): number {
    const { latency, jitter } = this.#faults;
    const delay = jitter === 0 ? latency : latency + this.#prng.below(jitter + 1);
    this.#latest = Math.max(this.#latest, Math.ceil(departure + delay));
    return this.#latest;
  }

  #damagedFlags(flags: number): number {
    return (flags & LOWER_HALF & ~SUM_KNOWN) | (this.#faults.corruptSilently ? 0 : FCS_ERROR);
  }

  /** Flips different bits: each lies less than an n-th of the frame behind the one before. */
  #flipBits(start: number, length: number): void {
    const bits = length * BITS;
    const flips = Math.min(1 + this.#prng.below(this.#faults.corruptBits), bits - 1);
    const stride = Math.floor((bits - 1) / flips);
    let at = this.#prng.below(bits);
    for (let i = 0; i < flips; i++) {
      this.#queue.bytes[start + (at >> 3)]! ^= 1 << (at & 7);
      at = (at + 1 + this.#prng.below(stride)) % bits;
    }
    this.counters.corrupted++;
  }

  /** Lets the frame just queued overtake one held back before it, or holds it back itself. */
  #reorder(due: number): void {
    if (this.#heldUntil >= due) {
      this.#queue.swapLast();
      this.#queue.lastDue = due;
      this.#heldUntil = NEVER;
      this.counters.reordered++;
      return;
    }
    this.#heldUntil = this.#prng.chance(this.#faults.reorder) ? due + this.#faults.reorderHold : NEVER;
    if (this.#heldUntil !== NEVER) this.#queue.lastDue = this.#heldUntil;
  }

  /** Delivers what is due, but no frame that was queued meanwhile: the clock bounds those who answer without end. */
  #drain(): void {
    const queue = this.#queue;
    for (let left = queue.count; left > 0 && queue.count > 0 && queue.headDue <= this.#clock.now; left--) {
      const start = queue.headStart;
      const length = queue.headLength;
      const flags = queue.headFlags;
      queue.pop();
      if (queue.count === 0) this.#heldUntil = NEVER;
      this.counters.delivered++;
      this.counters.bytes += length;
      this.#deliver(queue.bytes, start, length, flags);
    }
    this.#schedule();
  }

  #schedule(): void {
    if (this.#queue.count > 0) this.#alarm.at(this.#queue.headDue);
    else this.#alarm.cancel();
  }
}
