/** The chip's counters. */
import { BCM57XX } from '../../sim/tg3/registers.ts';
import type { RegisterSpace } from '../device.ts';
import { ChipCounters, type ChipStatistics } from '../statistics.ts';
import type { Chip } from './chip.ts';

const PREFIX = /^(MAC_|RCVLPC_)/;
const PLACEMENT = ['RCVLPC_NO_RCV_BD_CNT', 'RCVLPC_IN_DISCARDS_CNT', 'RCVLPC_IN_ERRORS_CNT'];

/** Names as in sim/tg3/registers.ts without the block: TX_STATS_OCTETS. */
const COUNTERS: readonly { readonly name: string; readonly at: number }[] = BCM57XX.rows
  .filter(({ name, count }) => count === 1 && (/^MAC_[TR]X_STATS_/.test(name) || PLACEMENT.includes(name)))
  .map(({ name, at }) => ({ name: name.replace(PREFIX, ''), at }));

export class Tg3Counters extends ChipCounters {
  constructor(chip: Chip) {
    super(
      chip,
      COUNTERS.map(({ name }) => name),
    );
  }

  protected read(bar: RegisterSpace, into: Float64Array): void {
    for (let i = 0; i < COUNTERS.length; i++) into[i] = bar.read32(COUNTERS[i]!.at);
  }

  /** PAUSE frames that told the card to wait. */
  get pauses(): number {
    return this.sum('RX_STATS_XOFF_PAUSE_RECVD');
  }

  statistics(): ChipStatistics {
    const txPackets = this.sum('TX_STATS_UCAST', 'TX_STATS_MCAST', 'TX_STATS_BCAST');
    return {
      txPackets,
      txBytes: Math.max(0, this.sum('TX_STATS_OCTETS') - 4 * txPackets), // the chip counts the FCS
      rxErrors: this.sum('IN_ERRORS_CNT'), // whatever was wrong with the frame; the MAC's counters say what
      txErrors: this.sum('TX_STATS_MAC_ERRORS', 'TX_STATS_EXCESSIVE_COL'),
      rxMissed: this.sum('IN_DISCARDS_CNT'),
      rxNoBuffer: this.sum('NO_RCV_BD_CNT'),
      multicast: this.sum('RX_STATS_MCAST'),
    };
  }
}
