/**
 * Interrupt moderation: how long the card waits between interrupts, from how much work each one finds.
 *
 * The idea is that of Linux's e1000_update_itr (few packets: answer at once; a stream: gather), the rule is simpler: a
 * moving average of packets per interrupt picks one of three levels. What a level means is the card's driver's to say.
 */

export const LOW_LATENCY = 0;
export const MIXED = 1;
export const BULK = 2;

const SOME = 4;
const MANY = 32;

export class Moderation {
  level: typeof LOW_LATENCY | typeof MIXED | typeof BULK = LOW_LATENCY;
  #average = 0;

  /** An interrupt has been answered with so many packets. True where the level changes. */
  learn(packets: number): boolean {
    this.#average = (3 * this.#average + packets) / 4;
    const level = this.#average < SOME ? LOW_LATENCY : this.#average < MANY ? MIXED : BULK;
    if (level === this.level) return false;
    this.level = level;
    return true;
  }

  reset(): void {
    this.level = LOW_LATENCY;
    this.#average = 0;
  }
}
