/** The chip's counters, under the datasheet's names; the pairs as GORC, GOTC, TOR, TOT. Intel 317453 §13.7. */
import { I82540EM } from '../../sim/e1000/registers.ts';
import type { RegisterSpace } from '../device.ts';
import { ChipCounters, type ChipStatistics } from '../statistics.ts';
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

export class E1000Counters extends ChipCounters {
  constructor(chip: Chip) {
    super(
      chip,
      COUNTERS.map(({ name }) => name),
    );
  }

  protected read(bar: RegisterSpace, into: Float64Array): void {
    for (let i = 0; i < COUNTERS.length; i++) {
      const { at, wide } = COUNTERS[i]!;
      const low = bar.read32(at);
      into[i] = wide ? low + bar.read32(at + 4) * 2 ** 32 : low;
    }
  }

  statistics(): ChipStatistics {
    return {
      txPackets: this.sum('GPTC'),
      txBytes: Math.max(0, this.sum('GOTC') - 4 * this.sum('GPTC')), // the chip counts the CRC; QEMU's e1000 no octets at all
      rxErrors: this.sum('CRCERRS', 'RXERRC', 'ALGNERRC', 'RUC', 'ROC', 'CEXTERR'),
      txErrors: this.sum('ECOL', 'LATECOL'),
      rxMissed: this.sum('MPC'),
      rxNoBuffer: this.sum('RNBC'),
      multicast: this.sum('MPRC'),
    };
  }
}
