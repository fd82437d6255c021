/**
 * The cards of the family that this driver knows, and in what they differ. Registers that all share are those of
 * sim/e1000/registers.ts; what the 82574L has beyond or elsewhere is here.
 *
 * Sources: Intel 317453 (8254x), Intel 317694 "82574 GbE Controller Family Datasheet" chapter 10, and facts (limits,
 * errata) from Linux 6.1 drivers/net/ethernet/intel/{e1000,e1000e}.
 */
import { I8254X_SHAPE } from '../../sim/e1000/configuration.ts';
import { blockOf, I82540EM } from '../../sim/e1000/registers.ts';
import { msi, msiX, pciExpress, powerManagement } from '../../sim/pci/capabilities/index.ts';
import { configurationMap } from '../../sim/pci/configuration.ts';
import { partly, RegisterMap, type Row, type Rows, run } from '../../sim/registers.ts';
import type { PciId } from '../device.ts';
import {
  FEATURE_JUMBO,
  FEATURE_RX_CHECKSUM,
  FEATURE_TSO4,
  FEATURE_TSO6,
  FEATURE_TX_CHECKSUM,
  FEATURE_VLAN_FILTER,
  FEATURE_VLAN_INSERT,
  FEATURE_VLAN_STRIP,
} from '../netdev.ts';

/** Rows in which the 82574L goes beyond the 82540EM, or differs. */
export const I82574L = new RegisterMap('82574L', 0x20000, {
  EECD: {
    at: 0x00010,
    access: 'RW',
    section: '10.2.2',
    title: 'EEPROM Control',
    live: true,
    fields: { AUTO_RD: 9, NVMTYPE: [16, 15], FLUPD: 19 },
  },
  EERD: {
    at: 0x00014,
    access: 'RW',
    section: '10.2.2',
    title: 'EEPROM Read',
    live: true,
    fields: { START: 0, DONE: 1, ADDR: [15, 2], DATA: [31, 16] },
  },
  CTRL_EXT: {
    at: 0x00018,
    access: 'RW',
    section: '10.2.2',
    title: 'Extended Device Control',
    live: true,
    fields: { PHYPDEN_CLEAR: 23, PHYPDEN_SET: 22, EIAME: 24, IAME: 27, PBA_CLR: 31 },
  },
  ICR: {
    at: 0x000c0,
    access: 'RC/W1C',
    section: '10.2.4',
    title: 'Interrupt Cause Read',
    live: true,
    fields: { RXQ0: 20, RXQ1: 21, TXQ0: 22, TXQ1: 23, OTHER: 24, INT_ASSERTED: 31 },
  },
  EIAC: { at: 0x000dc, access: 'RW', section: '10.2.4', title: 'Interrupt Auto Clear', fields: { CAUSES: [24, 20] } },
  IVAR: {
    at: 0x000e4,
    access: 'RW',
    section: '10.2.4',
    title: 'Interrupt Vector Allocation',
    fields: { RXQ0: [3, 0], RXQ1: [7, 4], TXQ0: [11, 8], TXQ1: [15, 12], OTHER: [19, 16], TX_EVERY_WB: 31 },
  },
  EITR: { at: [run(0x000e8, 5)], access: 'RW', section: '10.2.4', title: 'Extended Interrupt Throttle' },
  EXTCNF_CTRL: {
    at: 0x00f00,
    access: 'RW',
    section: '10.2.2',
    title: 'Extended Configuration Control',
    live: true,
    fields: partly({ MDIO_SW_OWNERSHIP: 5 }),
  },
  EEWR: {
    at: 0x0102c,
    access: 'RW',
    section: '10.2.2',
    title: 'EEPROM Write',
    live: true,
    fields: { START: 0, DONE: 1, ADDR: [15, 2], DATA: [31, 16] },
  },
  GCR: { at: 0x05b00, access: 'RW', section: '10.2.2', title: '3GIO Control', live: true },
});

export interface Variant {
  readonly name: string;
  readonly vendor: number;
  readonly device: number;
  readonly features: number;
  /** EERD: the DONE bit, and where the address starts. */
  readonly eerd: { readonly done: number; readonly shift: number };
  /** The NVM can be read bit by bit on EECD where EERD does not answer. */
  readonly microwire: boolean;
  /** Packet buffer, KB in all, and the least that transmit keeps of it. */
  readonly fifo: number;
  readonly fifoTransmit: number;
  /** The longest frame, with header and CRC. */
  readonly maxFrame: number;
  readonly receiveAddresses: number;
  /** Bits of CTRL_EXT, TXDCTL and TCTL that this chip wants on top. */
  readonly transmitControl: number;
  readonly transmitDescriptorControl: number;
  /** TSO of packets with IPv4 options or IPv6 extension headers. */
  readonly tsoOptions: boolean;
  /** It has the 82574L's extra registers: MSI-X, MDIO ownership. */
  readonly is82574: boolean;
  /** Descriptors may be written back before the data of a TSO packet is read: see transmit.ts. */
  readonly earlyWriteBack: boolean;
}

const COMMON =
  FEATURE_RX_CHECKSUM |
  FEATURE_TX_CHECKSUM |
  FEATURE_TSO4 |
  FEATURE_VLAN_STRIP |
  FEATURE_VLAN_INSERT |
  FEATURE_VLAN_FILTER |
  FEATURE_JUMBO;

const I8254X = {
  vendor: 0x8086,
  // Linux's e1000 offers TSO over IPv6 only from the 82547 on.
  features: COMMON,
  eerd: { done: 1 << 4, shift: 8 }, // 317453 table 13-9
  microwire: true,
  fifo: 64,
  fifoTransmit: 16,
  maxFrame: 16128, // Linux: MAX_JUMBO_FRAME_SIZE
  receiveAddresses: 16,
  transmitControl: 0,
  transmitDescriptorControl: 0,
  tsoOptions: true,
  is82574: false,
  earlyWriteBack: true,
} as const;

export const VARIANTS: readonly Variant[] = [
  { ...I8254X, name: '82540EM', device: 0x100e },
  { ...I8254X, name: '82545EM', device: 0x100f },
  {
    name: '82574L',
    vendor: 0x8086,
    device: 0x10d3,
    features: COMMON | FEATURE_TSO6,
    eerd: { done: 1 << 1, shift: 2 },
    microwire: false,
    fifo: 40,
    fifoTransmit: 4,
    maxFrame: 9234,
    receiveAddresses: 16,
    transmitControl: 1 << 28, // MULR: several reads in flight
    transmitDescriptorControl: 1 << 22, // reserved, "must be set"
    tsoOptions: false, // QEMU's sums the addresses it sees
    is82574: true,
    earlyWriteBack: false,
  },
];

/** STATUS.SPEED (13.4.2), in Mbit/s. */
export const SPEEDS = [10, 100, 1000, 1000] as const;

let i82574l: RegisterMap | undefined;

/** All registers of a variant: the family's and its own. */
export function registersOf({ name, is82574 }: Variant): RegisterMap {
  if (!is82574) return I82540EM.variant(name);
  i82574l ??= new RegisterMap(name, I82574L.size, merged(I82540EM.table, I82574L.table), blockOf);
  return i82574l;
}

/** A variant's configuration space; of an 82574L, by chapter 9 of its datasheet. */
export function configurationOf({ name, vendor, device, is82574 }: Variant): RegisterMap {
  const identity = { ...I8254X_SHAPE.identity, vendor, device };
  if (!is82574) return configurationMap(name, { ...I8254X_SHAPE, identity });
  return configurationMap(name, {
    identity,
    bars: {
      0: { kind: 'memory', size: 0x20000 },
      1: { kind: 'memory', size: 0x20000 },
      2: { kind: 'io', size: 32 },
      3: { kind: 'memory', size: 0x4000 },
    },
    capabilities: [
      powerManagement(0xc8, { capabilities: 0xc822 }),
      msi(0xd0),
      pciExpress(0xe0, { version: 1 }),
      msiX(0xa0, { vectors: 5, bar: 3, table: 0, pending: 0x2000 }),
    ],
    size: 4096,
  });
}

/** Fields too: a register that differs has what both have. */
function merged(rows: Rows, others: Rows): Rows {
  const all: Record<string, Row> = { ...rows };
  for (const [name, row] of Object.entries(others)) {
    const same = rows[name];
    all[name] = same?.fields === undefined ? row : { ...same, ...row, fields: { ...same.fields, ...row.fields } };
  }
  return all;
}

/** Whether this driver drives a function with this identity. */
export function supports(id: PciId): boolean {
  return variantOf(id) !== undefined;
}

export function variantOf(id: PciId): Variant | undefined {
  return VARIANTS.find(({ vendor, device }) => vendor === id.vendor && device === id.device);
}
