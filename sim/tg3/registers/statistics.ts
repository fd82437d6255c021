/** What the MAC counts, cleared by reading. */
import { run } from '../../registers.ts';
import { block, counter } from './block.ts';

export const STATISTICS = block('MAC statistics', {
  MAC_TX_STATS_OCTETS: counter(0x0800, 'bytes of good frames sent, with FCS'),
  MAC_TX_STATS_COLLISIONS: counter(0x0808, 'collisions, all of them'),
  MAC_TX_STATS_XON_SENT: counter(0x080c, 'PAUSE frames sent that end a pause'),
  MAC_TX_STATS_XOFF_SENT: counter(0x0810, 'PAUSE frames sent that begin one'),
  MAC_TX_STATS_MAC_ERRORS: counter(0x0818, 'frames lost to errors inside the MAC'),
  MAC_TX_STATS_SINGLE_COLLISIONS: counter(0x081c, 'frames sent after one collision'),
  MAC_TX_STATS_MULT_COLLISIONS: counter(0x0820, 'frames sent after several'),
  MAC_TX_STATS_DEFERRED: counter(0x0824, 'frames that waited for the wire'),
  MAC_TX_STATS_EXCESSIVE_COL: counter(0x082c, 'frames given up after 16 collisions'),
  MAC_TX_STATS_LATE_COL: counter(0x0830, 'collisions after the slot time'),
  MAC_TX_STATS_RESV4: {
    at: [run(0x0834, 14)],
    access: 'RC',
    title: 'collisions 2 to 15 and others',
    live: true,
  },
  MAC_TX_STATS_UCAST: counter(0x086c, 'good frames sent to one station'),
  MAC_TX_STATS_MCAST: counter(0x0870, 'good frames sent to groups'),
  MAC_TX_STATS_BCAST: counter(0x0874, 'good frames sent to everyone'),
  MAC_RX_STATS_OCTETS: counter(0x0880, 'bytes of good frames received, with FCS'),
  MAC_RX_STATS_FRAGMENTS: counter(0x0888, 'frames below 64 bytes with a bad FCS'),
  MAC_RX_STATS_UCAST: counter(0x088c, 'good frames for one station'),
  MAC_RX_STATS_MCAST: counter(0x0890, 'good frames for groups'),
  MAC_RX_STATS_BCAST: counter(0x0894, 'good frames for everyone'),
  MAC_RX_STATS_FCS_ERRORS: counter(0x0898, 'frames whose FCS is wrong'),
  MAC_RX_STATS_ALIGN_ERRORS: counter(0x089c, 'frames that end within a byte'),
  MAC_RX_STATS_XON_PAUSE_RECVD: counter(0x08a0, 'PAUSE frames that end a pause'),
  MAC_RX_STATS_XOFF_PAUSE_RECVD: counter(0x08a4, 'PAUSE frames that begin one'),
  MAC_RX_STATS_MAC_CTRL_RECVD: counter(0x08a8, 'MAC control frames, PAUSE included'),
  MAC_RX_STATS_XOFF_ENTERED: counter(0x08ac, 'times that a pause began'),
  MAC_RX_STATS_FRAME_TOO_LONG: counter(0x08b0, 'good frames beyond MAC_RX_MTU_SIZE'),
  MAC_RX_STATS_JABBERS: counter(0x08b4, 'frames beyond MAC_RX_MTU_SIZE with a bad FCS'),
  MAC_RX_STATS_UNDERSIZE: counter(0x08b8, 'good frames below 64 bytes'),
});
