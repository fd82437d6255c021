/**
 * Moves a Clock with the machine's monotonic time.
 *
 * Timers of the event loop are good to a millisecond: they serve deadlines further off. For nearer ones the loop comes
 * round again and again (setImmediate), which serves descriptors and sockets at the same time.
 */
import { performance } from 'node:perf_hooks';
import type { Clock } from '../../sim/clock.ts';
import { MILLISECOND } from '../device.ts';

const LONGEST_TIMER = 0x7fff_ffff; // milliseconds; setTimeout fires at once beyond it
/**
 * So much of the machine's time alarms take in one go, and so much of the clock's is behind the first of them: a busy clock, or
 * one whose process was kept from running, leaves room for the rest of the event loop, and lags. A driver that would have had
 * its turn between two alarms has it: before a PAUSE of 33 ms is over, say.
 */
const PUMP = 4 * MILLISECOND;

export class MachineClock {
  readonly clock: Clock;
  #origin = 0;
  #running = false;
  #pumping = false;
  #reference = true;
  #timer: NodeJS.Timeout | null = null;
  #due = Infinity; // what the timer is set for, by the clock
  #immediate: NodeJS.Immediate | null = null;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  get running(): boolean {
    return this.#running;
  }

  /** From here on the clock follows the machine's time, continuing from where it stands. */
  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#origin = machineTime() - this.clock.now;
    this.clock.onEarlier = () => this.#rearm();
    this.#rearm();
  }

  /** The clock stands still again. */
  stop(): void {
    this.#running = false;
    this.clock.onEarlier = null;
    this.#disarm();
  }

  /** Whether waiting alarms keep the process alive. They do, unless told otherwise. */
  unref(): this {
    this.#reference = false;
    this.#timer?.unref();
    this.#rearm();
    return this;
  }

  ref(): this {
    this.#reference = true;
    this.#timer?.ref();
    this.#rearm();
    return this;
  }

  /** Moves time to now, running what is due. For packet loops, which would rather not wait for a timer. */
  pump(): void {
    if (!this.#running || this.#pumping) return;
    this.#pumping = true;
    try {
      this.#advance();
    } finally {
      this.#pumping = false;
      this.#rearm();
    }
  }

  #advance(): void {
    const { clock } = this;
    const began = machineTime();
    const now = began - this.#origin;
    const most = Math.min(now, clock.next + PUMP);
    while (clock.advanceTo(most, 1) > 0) if (machineTime() - began > PUMP) return;
    if (clock.next > now) clock.advanceTo(now);
  }

  #rearm(): void {
    if (!this.#running || this.#pumping) return;
    // A pump before each register access finds the same alarm as the one before.
    if (this.#immediate === null && this.clock.next === this.#due) return;
    const left = this.clock.next - (machineTime() - this.#origin);
    if (left < MILLISECOND) this.#soon();
    else this.#later(left);
  }

  #soon(): void {
    this.#clearTimer();
    this.#immediate ??= setImmediate(() => {
      this.#immediate = null;
      this.pump();
    });
    if (this.#reference) this.#immediate.ref();
    else this.#immediate.unref();
  }

  #later(ns: number): void {
    this.#disarm();
    if (ns === Infinity) return;
    this.#due = this.clock.next;
    this.#timer = setTimeout(() => this.#timeout(), Math.min(Math.floor(ns / MILLISECOND), LONGEST_TIMER));
    if (!this.#reference) this.#timer.unref();
  }

  #timeout(): void {
    this.#clearTimer();
    this.pump();
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#due = Infinity;
  }

  #disarm(): void {
    this.#clearTimer();
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    this.#immediate = null;
  }
}

/** Whole nanoseconds. */
function machineTime(): number {
  return Math.round(performance.now() * MILLISECOND);
}
