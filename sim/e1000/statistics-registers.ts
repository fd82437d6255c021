/** The statistics registers (Intel 317453, section 13.7): at the same places in every chip of the family. */
import { RegisterMap, type Rows } from '../registers.ts';

const counter = (at: number, section: string, title: string) =>
  ({ at, access: 'RC', section, title, live: true }) as const;
// A 64-bit counter is read low half first; only reading the high half clears it, both halves (13.7.31 and its like).
const octetsLow = (at: number, section: string, title: string) =>
  ({ at, access: 'RO', section, title, live: true }) as const;

export const STATISTICS_ROWS = {
  CRCERRS: counter(0x04000, '13.7.1', 'CRC Error Count'),
  ALGNERRC: counter(0x04004, '13.7.2', 'Alignment Error Count'),
  SYMERRS: counter(0x04008, '13.7.3', 'Symbol Error Count'),
  RXERRC: counter(0x0400c, '13.7.4', 'Receive Error Count'),
  MPC: counter(0x04010, '13.7.5', 'Missed Packets Count'),
  SCC: counter(0x04014, '13.7.6', 'Single Collision Count'),
  ECOL: counter(0x04018, '13.7.7', 'Excessive Collisions Count'),
  MCC: counter(0x0401c, '13.7.8', 'Multiple Collision Count'),
  LATECOL: counter(0x04020, '13.7.9', 'Late Collisions Count'),
  COLC: counter(0x04028, '13.7.10', 'Collision Count'),
  DC: counter(0x04030, '13.7.11', 'Defer Count'),
  TNCRS: counter(0x04034, '13.7.12', 'Transmit with No CRS'),
  SEC: counter(0x04038, '13.7.13', 'Sequence Error Count'),
  CEXTERR: counter(0x0403c, '13.7.14', 'Carrier Extension Error Count'),
  RLEC: counter(0x04040, '13.7.15', 'Receive Length Error Count'),
  XONRXC: counter(0x04048, '13.7.16', 'XON Received Count'),
  XONTXC: counter(0x0404c, '13.7.17', 'XON Transmitted Count'),
  XOFFRXC: counter(0x04050, '13.7.18', 'XOFF Received Count'),
  XOFFTXC: counter(0x04054, '13.7.19', 'XOFF Transmitted Count'),
  FCRUC: counter(0x04058, '13.7.20', 'FC Received Unsupported Count'),
  PRC64: counter(0x0405c, '13.7.21', 'Packets Received (64 Bytes) Count'),
  PRC127: counter(0x04060, '13.7.22', 'Packets Received (65-127 Bytes) Count'),
  PRC255: counter(0x04064, '13.7.23', 'Packets Received (128-255 Bytes) Count'),
  PRC511: counter(0x04068, '13.7.24', 'Packets Received (256-511 Bytes) Count'),
  PRC1023: counter(0x0406c, '13.7.25', 'Packets Received (512-1023 Bytes) Count'),
  PRC1522: counter(0x04070, '13.7.26', 'Packets Received (1024 to Max Bytes) Count'),
  GPRC: counter(0x04074, '13.7.27', 'Good Packets Received Count'),
  BPRC: counter(0x04078, '13.7.28', 'Broadcast Packets Received Count'),
  MPRC: counter(0x0407c, '13.7.29', 'Multicast Packets Received Count'),
  GPTC: counter(0x04080, '13.7.30', 'Good Packets Transmitted Count'),
  GORCL: octetsLow(0x04088, '13.7.31', 'Good Octets Received Count Low'),
  GORCH: counter(0x0408c, '13.7.31', 'Good Octets Received Count High'),
  GOTCL: octetsLow(0x04090, '13.7.32', 'Good Octets Transmitted Count Low'),
  GOTCH: counter(0x04094, '13.7.32', 'Good Octets Transmitted Count High'),
  RNBC: counter(0x040a0, '13.7.33', 'Receive No Buffers Count'),
  RUC: counter(0x040a4, '13.7.34', 'Receive Undersize Count'),
  RFC: counter(0x040a8, '13.7.35', 'Receive Fragment Count'),
  ROC: counter(0x040ac, '13.7.36', 'Receive Oversize Count'),
  RJC: counter(0x040b0, '13.7.37', 'Receive Jabber Count'),
  MGTPRC: counter(0x040b4, '13.7.38', 'Management Packets Received Count'),
  MGTPDC: counter(0x040b8, '13.7.39', 'Management Packets Dropped Count'),
  MGTPTC: counter(0x040bc, '13.7.40', 'Management Packets Transmitted Count'),
  TORL: octetsLow(0x040c0, '13.7.41', 'Total Octets Received Low'),
  TORH: counter(0x040c4, '13.7.41', 'Total Octets Received High'),
  TOTL: octetsLow(0x040c8, '13.7.42', 'Total Octets Transmitted Low'),
  TOTH: counter(0x040cc, '13.7.42', 'Total Octets Transmitted High'),
  TPR: counter(0x040d0, '13.7.43', 'Total Packets Received'),
  TPT: counter(0x040d4, '13.7.44', 'Total Packets Transmitted'),
  PTC64: counter(0x040d8, '13.7.45', 'Packets Transmitted (64 Bytes) Count'),
  PTC127: counter(0x040dc, '13.7.46', 'Packets Transmitted (65-127 Bytes) Count'),
  PTC255: counter(0x040e0, '13.7.47', 'Packets Transmitted (128-255 Bytes) Count'),
  PTC511: counter(0x040e4, '13.7.48', 'Packets Transmitted (256-511 Bytes) Count'),
  PTC1023: counter(0x040e8, '13.7.49', 'Packets Transmitted (512-1023 Bytes) Count'),
  PTC1522: counter(0x040ec, '13.7.50', 'Packets Transmitted (1024 Bytes or Greater) Count'),
  MPTC: counter(0x040f0, '13.7.51', 'Multicast Packets Transmitted Count'),
  BPTC: counter(0x040f4, '13.7.52', 'Broadcast Packets Transmitted Count'),
  TSCTC: counter(0x040f8, '13.7.53', 'TCP Segmentation Context Transmitted Count'),
  TSCTFC: counter(0x040fc, '13.7.54', 'TCP Segmentation Context Transmit Fail Count'),
} satisfies Rows;

/** Of the family: what counts packet by packet has no time to ask a chip for them. */
export const STATISTICS = new RegisterMap('8254x', 0x04100, STATISTICS_ROWS);
