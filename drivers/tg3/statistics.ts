/** The chip's counters, kept beyond its registers: they clear when read. */
import { BCM57XX } from '../../sim/tg3/registers.ts';
import type { Chip } from './chip.ts';

const PREFIX = /^(MAC_|RCVLPC_)/;
const PLACEMENT = ['RCVLPC_NO_RCV_BD_CNT', 'RCVLPC_IN_DISCARDS_CNT', 'RCVLPC_IN_ERRORS_CNT'];

/** Names as in sim/tg3/registers.ts without the block: TX_STATS_OCTETS. */
const COUNTERS: readonly { readonly name: string; readonly at: number }[] = BCM57XX.rows
  .filter(({ name, count }) => count === 1 && (/^MAC_[TR]X_STATS_/.test(name) || PLACEMENT.includes(name)))
  .map(({ name, at }) => ({ name: name.replace(PREFIX, ''), at }));

export class ChipStatistics {
  readonly #chip: Chip;
  readonly #values = new Float64Array(COUNTERS.length);
  readonly #fresh = new Float64Array(COUNTERS.length);

  constructor(chip: Chip) {
    this.#chip = chip;
  }

  /** Reads every register into the sums; none of them where the card went meanwhile, as all ones are no count. */
  accumulate(): void {
    const { bar } = this.#chip;
    for (let i = 0; i < COUNTERS.length; i++) this.#fresh[i] = bar.read32(COUNTERS[i]!.at);
    if (this.#chip.gone) return;
    for (let i = 0; i < COUNTERS.length; i++) this.#values[i]! += this.#fresh[i]!;
  }

  reset(): void {
    this.#values.fill(0);
  }

  all(): Record<string, number> {
    return Object.fromEntries(COUNTERS.map(({ name }, i) => [name, this.#values[i]!]));
  }
}
