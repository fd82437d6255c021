/**
 * Time as the models see it: nanoseconds since the clock was made, as a number (exact for 104 days).
 *
 * A model never reads a wall clock. Whoever owns the clock moves it with `advanceTo`: a test by as much as it likes,
 * at once; a host that serves real traffic to the monotonic time of the machine. Either way the alarms that came due
 * run in the order of their deadlines, and ties in the order in which the alarms were made, so that a run repeats.
 */
export class Clock {
  #now = 0;
  readonly #alarms: Alarm[] = []; // a binary heap, the next due first
  #made = 0;
  /** Called when the earliest deadline moved nearer; a host that sleeps between alarms re-arms its timer here. */
  onEarlier: (() => void) | null = null;

  /** Nanoseconds. */
  get now(): number {
    return this.#now;
  }

  /** The earliest deadline in nanoseconds, or Infinity where nothing is scheduled. */
  get next(): number {
    return this.#alarms.length === 0 ? Infinity : this.#alarms[0]!.deadline;
  }

  /** Makes an alarm, unscheduled. Make them once, when the model is built: the order breaks ties. */
  alarm(action: () => void): Alarm {
    return new Alarm(this, this.#made++, action);
  }

  /** Moves forward by `ns`, running what comes due. */
  advance(ns: number): void {
    this.advanceTo(this.#now + ns);
  }

  /**
   * Moves to `time`, running what comes due on the way, at most `limit` alarms: two alarms that schedule each other
   * without delay must not hang the host. Returns how many ran; where that is `limit`, the clock stands at the last.
   */
  advanceTo(time: number, limit = 1_000_000): number {
    let ran = 0;
    while (this.#alarms.length > 0 && this.#alarms[0]!.deadline <= time) {
      if (ran === limit) return ran;
      const alarm = this.#alarms[0]!;
      if (alarm.deadline > this.#now) this.#now = alarm.deadline;
      this.remove(alarm);
      ran++;
      alarm.action();
    }
    if (time > this.#now) this.#now = time;
    return ran;
  }

  /** Runs what is due at this very moment, without time passing. */
  settle(): number {
    return this.advanceTo(this.#now);
  }

  /** Runs alarms until none is left or `until` is reached, jumping over the time between them. */
  run(until: number): void {
    while (this.next <= until) this.advanceTo(this.next);
  }

  /** @internal Called by Alarm. */
  insert(alarm: Alarm): void {
    alarm.index = this.#alarms.length;
    this.#alarms.push(alarm);
    this.#up(alarm.index);
    if (alarm.index === 0) this.onEarlier?.();
  }

  /** @internal Called by Alarm. */
  remove(alarm: Alarm): void {
    const at = alarm.index;
    const last = this.#alarms.pop()!;
    alarm.index = -1;
    if (last === alarm) return;
    this.#alarms[at] = last;
    last.index = at;
    this.#up(at);
    this.#down(last.index);
  }

  #up(at: number): void {
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#swapIfEarlier(at, parent)) return;
      at = parent;
    }
  }

  #down(at: number): void {
    for (;;) {
      const left = 2 * at + 1;
      if (left >= this.#alarms.length) return;
      const right = left + 1;
      const child = right < this.#alarms.length && earlier(this.#alarms[right]!, this.#alarms[left]!) ? right : left;
      if (!this.#swapIfEarlier(child, at)) return;
      at = child;
    }
  }

  #swapIfEarlier(child: number, parent: number): boolean {
    const a = this.#alarms[child]!;
    const b = this.#alarms[parent]!;
    if (!earlier(a, b)) return false;
    this.#alarms[parent] = a;
    this.#alarms[child] = b;
    a.index = parent;
    b.index = child;
    return true;
  }
}

function earlier(a: Alarm, b: Alarm): boolean {
  return a.deadline < b.deadline || (a.deadline === b.deadline && a.order < b.order);
}

/** One thing that will happen later. Re-scheduling moves it; it fires once. */
export class Alarm {
  /** Nanoseconds on the clock; meaningful while scheduled. */
  deadline = 0;
  /** @internal Place in the clock's heap, -1 while unscheduled. */
  index = -1;
  readonly #clock: Clock;
  readonly order: number;
  readonly action: () => void;

  constructor(clock: Clock, order: number, action: () => void) {
    this.#clock = clock;
    this.order = order;
    this.action = action;
  }

  get scheduled(): boolean {
    return this.index >= 0;
  }

  /** (Re-)schedules at `deadline`; one that has passed fires at the clock's next step. */
  at(deadline: number): void {
    if (this.index >= 0) {
      if (this.deadline === deadline) return;
      this.#clock.remove(this);
    }
    this.deadline = deadline;
    this.#clock.insert(this);
  }

  /** (Re-)schedules `ns` from now. */
  in(ns: number): void {
    this.at(this.#clock.now + ns);
  }

  cancel(): void {
    if (this.index >= 0) this.#clock.remove(this);
  }

  /** Nanoseconds left, or -1 while unscheduled: what a snapshot keeps. */
  save(): number {
    return this.index >= 0 ? Math.max(0, this.deadline - this.#clock.now) : -1;
  }

  restore(left: number): void {
    if (left < 0) this.cancel();
    else this.in(left);
  }
}

export const MICROSECOND = 1_000;
export const MILLISECOND = 1_000_000;
export const SECOND = 1_000_000_000;
