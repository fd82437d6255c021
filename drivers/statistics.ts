/** A chip's counters, kept beyond its registers, which clear when read and stick at their end; and what a netdev makes of them. */
import type { Card } from './card.ts';
import type { RegisterSpace } from './device.ts';
import type { NetStatistics } from './netdev.ts';

/** What the chip alone knows. Errors come on top of those that the driver found. */
export type ChipStatistics = Pick<
  NetStatistics,
  'txPackets' | 'txBytes' | 'rxErrors' | 'txErrors' | 'rxMissed' | 'rxNoBuffer' | 'multicast'
>;

export abstract class ChipCounters {
  readonly #card: Card;
  readonly #names: readonly string[];
  readonly #values: Float64Array;
  readonly #fresh: Float64Array;

  /** @param names in the order in which they are read: as in the datasheet, or Linux. */
  constructor(card: Card, names: readonly string[]) {
    this.#card = card;
    this.#names = names;
    this.#values = new Float64Array(names.length);
    this.#fresh = new Float64Array(names.length);
  }

  /** Reads every register. */
  protected abstract read(bar: RegisterSpace, into: Float64Array): void;
  abstract statistics(): ChipStatistics;

  /**
   * Reads every register into the sums; none of them where the card went meanwhile, as all ones are no count. Often enough
   * that none sticks: the watchdog does.
   */
  accumulate(): void {
    this.read(this.#card.bar, this.#fresh);
    if (this.#card.gone) return;
    for (let i = 0; i < this.#values.length; i++) this.#values[i]! += this.#fresh[i]!;
  }

  /** Clears the registers, and keeps the sums. */
  discard(): void {
    this.read(this.#card.bar, this.#fresh);
  }

  reset(): void {
    this.#values.fill(0);
  }

  all(): Record<string, number> {
    return Object.fromEntries(this.#names.map((name, i) => [name, this.#values[i]!]));
  }

  protected sum(...names: string[]): number {
    return names.reduce((total, name) => total + this.#values[this.#names.indexOf(name)]!, 0);
  }
}
