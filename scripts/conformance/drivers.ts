/** What Linux's drivers call things, where they differ; tests ask here, and the driver itself wherever it can be asked. */
import { crc32 } from '../../sim/crc32.ts';

export interface LinuxDriver {
  /** The parts of `ethtool -t`, as their lines begin. */
  readonly selfTests: readonly string[];
  /** The dump that `ethtool -e` is asked for, in bytes; the rule its content keeps: what is wrong with it, or null. */
  readonly eepromLength: number;
  eepromFault(bytes: Uint8Array): string | null;
  readonly macAt: number;
  /** What `ethtool -E` must be told for this card, of that PCI id ("8086:100e"). */
  eepromMagic(id: string): number;
  /** A place of twelve bytes that nobody reads; it does not begin where a word does. */
  readonly eepromSpare: number;
  /** Makes the rule hold again, where the driver leaves that to who writes; absent where it does so itself. */
  eepromMend?(bytes: Uint8Array): void;
  /** Names of `ethtool -S` that add up to a count. */
  readonly counters: Readonly<Record<Counter, readonly string[]>>;
  /** Of the same, those that must not count. */
  readonly errorCounters: readonly string[];
  readonly pauseCounter: string;
  /** Seconds until what the card counted shows, at most. */
  readonly countersLag: number;
  /** Ring sizes to set, receive and transmit, and the usual ones. */
  readonly rings: readonly [number, number];
  readonly usualRings: readonly [number, number];
  /** What `ethtool -d` must say. */
  readonly registers: readonly RegExp[];
}

export type Counter =
  | 'rx packets'
  | 'tx packets'
  | 'rx bytes'
  | 'tx bytes'
  | 'rx broadcasts'
  | 'tx broadcasts'
  | 'rx multicasts'
  | 'tx multicasts';

const E1000: LinuxDriver = {
  selfTests: ['register', 'eeprom', 'interrupt', 'loopback', 'link'],
  eepromLength: 128,
  eepromFault(bytes) {
    let sum = 0;
    for (let i = 0; i < 128; i += 2) sum = (sum + (bytes[i]! | (bytes[i + 1]! << 8))) & 0xffff;
    return sum === 0xbaba ? null : `its first 64 words add up to 0x${sum.toString(16)}, not 0xbaba`; // 82540EM 5.6.35
  },
  macAt: 0,
  eepromMagic: (id) => {
    const [vendor, device] = id.split(':').map((part) => Number.parseInt(part, 16));
    return (vendor! | (device! << 16)) >>> 0;
  },
  eepromSpare: 0x31,
  counters: {
    'rx packets': ['rx_packets'],
    'tx packets': ['tx_packets'],
    'rx bytes': ['rx_bytes'],
    'tx bytes': ['tx_bytes'],
    'rx broadcasts': ['rx_broadcast'],
    'tx broadcasts': ['tx_broadcast'],
    'rx multicasts': ['rx_multicast'],
    'tx multicasts': ['tx_multicast'],
  },
  errorCounters: [
    'rx_errors',
    'tx_errors',
    'rx_crc_errors',
    'rx_missed_errors',
    'rx_length_errors',
    'rx_csum_offload_errors',
  ],
  pauseCounter: 'rx_flow_control_xoff',
  countersLag: 0,
  rings: [1024, 512],
  usualRings: [256, 256],
  registers: [
    /CTRL/,
    /Link up:\s+link config/,
    /Transmitter:\s+enabled/,
    /Receiver:\s+enabled/,
    /Link speed:\s+1000Mb\/s/,
  ],
};

/** What TG3's checksums are over, and where each is: of the header, and of the manufacturing information. */
const TG3_CHECKSUMS = [
  [0x00, 0x10],
  [0x74, 0xfc],
] as const;

const TG3: LinuxDriver = {
  selfTests: ['nvram', 'link', 'register', 'memory', 'mac loopback', 'phy loopback', 'interrupt'],
  eepromLength: 256,
  eepromFault(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (view.getUint32(0) !== 0x669955aa) return 'it does not begin with 669955aa';
    for (const [start, end] of TG3_CHECKSUMS) {
      if (crc32(bytes, start, end - start) !== view.getUint32(end, true))
        return `the checksum at 0x${end.toString(16)} is wrong`;
    }
    return null;
  },
  macAt: 0x7e,
  eepromMagic: () => 0x669955aa,
  eepromSpare: 0x40fb, // past a page of 256 bytes' end
  eepromMend(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (const [start, end] of TG3_CHECKSUMS) view.setUint32(end, crc32(bytes, start, end - start), true);
  },
  counters: {
    'rx packets': ['rx_ucast_packets', 'rx_mcast_packets', 'rx_bcast_packets'],
    'tx packets': ['tx_ucast_packets', 'tx_mcast_packets', 'tx_bcast_packets'],
    'rx bytes': ['rx_octets'],
    'tx bytes': ['tx_octets'],
    'rx broadcasts': ['rx_bcast_packets'],
    'tx broadcasts': ['tx_bcast_packets'],
    'rx multicasts': ['rx_mcast_packets'],
    'tx multicasts': ['tx_mcast_packets'],
  },
  errorCounters: ['rx_fcs_errors', 'rx_errors', 'rx_discards', 'rx_frame_too_long_errors', 'tx_mac_errors'],
  pauseCounter: 'rx_xoff_pause_rcvd',
  countersLag: 2, // its timer fetches them once a second
  rings: [400, 300],
  usualRings: [200, 511],
  registers: [/0x0*\s+0x[0-9a-f]{4}14e4/i, /0x0*400\s+0x0*e0[0-9a-f]{4}/i],
};

export const LINUX_DRIVERS: Readonly<Record<string, LinuxDriver>> = { e1000: E1000, tg3: TG3 };
