/** What Linux's e1000 calls things. */
import type { LinuxDriver } from '../linux-driver.ts';

export const LINUX_E1000: LinuxDriver = {
  module: 'e1000',
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
