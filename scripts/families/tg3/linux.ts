/** What Linux's tg3 calls things. */
import { crc32 } from '../../../sim/kernels/index.ts';
import type { LinuxDriver } from '../linux-driver.ts';

/** What the checksums are over, and where each is: of the header, and of the manufacturing information. */
const CHECKSUMS = [
  [0x00, 0x10],
  [0x74, 0xfc],
] as const;

export const LINUX_TG3: LinuxDriver = {
  module: 'tg3',
  selfTestsSlow: 'its memory test makes 690,000 accesses',
  selfTests: ['nvram', 'link', 'register', 'memory', 'mac loopback', 'phy loopback', 'interrupt'],
  eepromLength: 256,
  eepromFault(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (view.getUint32(0) !== 0x669955aa) return 'it does not begin with 669955aa';
    for (const [start, end] of CHECKSUMS) {
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
    for (const [start, end] of CHECKSUMS) view.setUint32(end, crc32(bytes, start, end - start), true);
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
