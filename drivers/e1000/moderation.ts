/**
 * Interrupt moderation: how long the card waits between interrupts, from how much work each one finds.
 *
 * The idea is that of Linux's e1000_update_itr (few packets: answer at once; a stream: gather), the rule is simpler: a
 * moving average of packets per interrupt picks one of three intervals.
 */

/** ITR counts in 256 ns (Intel 317453 §13.4.18). */
export const LOW_LATENCY = 55; // 14 µs: 70 000 interrupts a second at most
export const MIXED = 195; // 50 µs
export const BULK = 976; // 250 µs

const SOME = 4;
const MANY = 32;

export class Moderation {
  interval = LOW_LATENCY;
  #average = 0;

  /** An interrupt has been answered with so many packets. True where the interval changes. */
  learn(packets: number): boolean {
    this.#average = (3 * this.#average + packets) / 4;
    const interval = this.#average < SOME ? LOW_LATENCY : this.#average < MANY ? MIXED : BULK;
    if (interval === this.interval) return false;
    this.interval = interval;
    return true;
  }

  reset(): void {
    this.interval = LOW_LATENCY;
    this.#average = 0;
  }
}
