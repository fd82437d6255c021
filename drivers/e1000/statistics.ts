/**
 * The chip's counters, kept beyond its registers: they clear when read and stick at their end. Intel 317453 §13.7.
 */
import { I82540EM } from '../../sim/e1000/registers.ts';
import type { Chip } from './chip.ts';

const FIRST = 0x04000;
const LAST = 0x040fc;

interface Counter {
  readonly name: string;
  readonly at: number;
  /** Two registers; reading the high one, after the low one, clears both. */
  readonly wide: boolean;
}

const COUNTERS: readonly Counter[] = I82540EM.rows
  .filter(({ at, name, access }) => at >= FIRST && at <= LAST && (access === 'RO' || !isHighHalf(name, at)))
  .map(({ at, name, access }) => ({ at, name: access === 'RO' ? name.slice(0, -1) : name, wide: access === 'RO' }));

/** The second of a pair: GORCH behind GORCL. */
function isHighHalf(name: string, at: number): boolean {
  return I82540EM.rows.some(
    (row) => row.access === 'RO' && row.at === at - 4 && row.name.slice(0, -1) === name.slice(0, -1),
  );
}

export class ChipStatistics {
  readonly #chip: Chip;
  readonly #values = new Float64Array(COUNTERS.length);
  readonly #fresh = new Float64Array(COUNTERS.length);

  constructor(chip: Chip) {
    this.#chip = chip;
  }

  /**
   * Reads every register into the sums; none of them where the card went meanwhile, as all ones are no count. Often
   * enough that none sticks: the watchdog does.
   */
  accumulate(): void {
    const { bar } = this.#chip;
    for (let i = 0; i < COUNTERS.length; i++) {
      const { at, wide } = COUNTERS[i]!;
      const low = bar.read32(at);
      this.#fresh[i] = wide ? low + bar.read32(at + 4) * 2 ** 32 : low;
    }
    if (this.#chip.gone) return;
    for (let i = 0; i < COUNTERS.length; i++) this.#values[i]! += this.#fresh[i]!;
  }

  /** Clears the registers, and keeps the sums. */
  discard(): void {
    const before = this.#values.slice();
    this.accumulate();
    this.#values.set(before);
  }

  reset(): void {
    this.#values.fill(0);
  }

  /** Every counter under the datasheet's name; the pairs as GORC, GOTC, TOR, TOT. */
  all(): Record<string, number> {
    return Object.fromEntries(COUNTERS.map(({ name }, i) => [name, this.#values[i]!]));
  }
}
