/**
 * Configuration space as data: rows of a register table, as a chip's registers behind its BARs are. The model's masks, reset
 * values and trace names come from them, and the tools' names for a card's.
 *
 * Sources: PCI Local Bus Specification 3.0 (sections below are its, unless they say otherwise), PCI Power Management 1.1,
 * PCI-X Addendum 1.0a, PCI Express Base Specification 3.0. Names of the header are those of pciutils.
 */
import { RegisterMap, type Row, type Rows, ro, run, startOf } from '../registers.ts';

export interface PciIdentity {
  readonly vendor: number;
  readonly device: number;
  readonly revision: number;
  readonly subsystemVendor: number;
  readonly subsystem: number;
  readonly class: number; // 24 bits: 0x020000 is an Ethernet controller
}

/** A base address register (6.2.5.1): `size` is a power of two. A `wide` one takes the next index, too. */
export interface BarShape {
  readonly kind: 'memory' | 'io';
  readonly size: number;
  readonly wide?: boolean;
  readonly prefetchable?: boolean;
}

/** A capability at its place, a multiple of 4 from 0x40 on; not yet in the list. */
export interface Capability {
  readonly name: string;
  readonly id: number;
  readonly at: number;
  readonly section: string;
  readonly rows: Rows;
}

export interface FunctionShape {
  readonly identity: PciIdentity;
  /** By index. */
  readonly bars?: Readonly<Record<number, BarShape>>;
  /** In the list's order. */
  readonly capabilities?: readonly Capability[];
  /** What the device has of its own. */
  readonly own?: Rows;
  /** Rows of the header in which this device is not as the others. */
  readonly header?: Readonly<Record<string, Partial<Row>>>;
  readonly size?: 256 | 4096;
}

/** @throws RangeError where registers overlap or lie outside. */
export function configurationMap(chip: string, shape: FunctionShape): RegisterMap {
  const { identity, bars = {}, capabilities = [], own = {}, header: other = {}, size = 256 } = shape;
  const [first] = capabilities;
  const header: Record<string, Row> = { ...headerRows(identity, first?.at ?? 0), ...barRows(bars) };
  for (const [name, change] of Object.entries(other)) header[name] = { ...header[name]!, ...change };
  const listed = capabilities.map((capability, i) => linked(chip, capability, capabilities[i + 1]?.at ?? 0));
  const rows: Rows = Object.assign(header, ...listed, own);
  const inPlace = Object.fromEntries(Object.entries(rows).sort(([, a], [, b]) => startOf(a) - startOf(b)));
  return new RegisterMap(chip, size, inPlace, () => BLOCK, 'config');
}

/** Of every register in configuration space. */
export const BLOCK = 'PCI configuration';

// 6.2.1 to 6.2.4.
function headerRows({ vendor, device, revision, subsystemVendor, subsystem, class: code }: PciIdentity, list: number) {
  return {
    PCI_VENDOR_ID: { at: 0x00, width: 2, access: 'RO', section: '6.2.1', title: 'vendor', reset: vendor },
    PCI_DEVICE_ID: { at: 0x02, width: 2, access: 'RO', section: '6.2.1', title: 'device', reset: device },
    PCI_COMMAND: {
      at: 0x04,
      width: 2,
      access: 'RW',
      section: '6.2.2',
      title: 'command',
      fields: {
        IO: 0,
        MEMORY: 1,
        MASTER: 2,
        INVALIDATE: 4,
        PARITY: 6,
        SERR: 8,
        DISABLE_INTX: 10,
      },
    },
    PCI_STATUS: {
      at: 0x06,
      width: 2,
      access: 'W1C',
      section: '6.2.3',
      title: 'status',
      reset: list === 0 ? 0 : 0x10,
      fields: {
        INTERRUPT: ro(3),
        CAP_LIST: ro(4),
        _66MHZ: ro(5),
        FAST_BACK: ro(7),
        DATA_PARITY: 8,
        DEVSEL: ro([10, 9]),
        SIGNALED_TARGET_ABORT: 11,
        RECEIVED_TARGET_ABORT: 12,
        RECEIVED_MASTER_ABORT: 13,
        SIGNALED_SERR: 14,
        DETECTED_PARITY: 15,
      },
    },
    PCI_CLASS_REVISION: {
      at: 0x08,
      access: 'RO',
      section: '6.2.1',
      title: 'class and revision',
      reset: code * 0x100 + revision,
      fields: { REVISION: [7, 0], INTERFACE: [15, 8], SUBCLASS: [23, 16], CLASS: [31, 24] },
    },
    PCI_CACHE_LINE_SIZE: {
      at: 0x0c,
      width: 1,
      access: 'RW',
      section: '6.2.4',
      title: 'cache line size',
    },
    PCI_LATENCY_TIMER: {
      at: 0x0d,
      width: 1,
      access: 'RW',
      section: '6.2.4',
      title: 'latency timer',
      fields: { CLOCKS: [7, 3] },
    },
    PCI_HEADER_TYPE: { at: 0x0e, width: 1, access: 'RO', section: '6.2.1', title: 'header type' },
    PCI_BIST: { at: 0x0f, width: 1, access: 'RO', section: '6.2.4', title: 'built-in self test: none' },
    PCI_CARDBUS_CIS: { at: 0x28, access: 'RO', section: '6.2.4', title: 'CardBus CIS pointer: none' },
    PCI_SUBSYSTEM_VENDOR_ID: {
      at: 0x2c,
      width: 2,
      access: 'RO',
      section: '6.2.4',
      title: 'subsystem vendor',
      reset: subsystemVendor,
    },
    PCI_SUBSYSTEM_ID: { at: 0x2e, width: 2, access: 'RO', section: '6.2.4', title: 'subsystem', reset: subsystem },
    PCI_ROM_ADDRESS: { at: 0x30, access: 'RO', section: '6.2.5.2', title: 'expansion ROM base address: none' },
    PCI_CAPABILITY_LIST: { at: 0x34, width: 1, access: 'RO', section: '6.7', title: 'first capability', reset: list },
    PCI_INTERRUPT_LINE: { at: 0x3c, width: 1, access: 'RW', section: '6.2.4', title: 'interrupt line' },
    PCI_INTERRUPT_PIN: { at: 0x3d, width: 1, access: 'RO', section: '6.2.4', title: 'interrupt pin: INTA#', reset: 1 },
    PCI_MIN_GNT: { at: 0x3e, width: 1, access: 'RO', section: '6.2.4', title: 'minimum grant' },
    PCI_MAX_LAT: { at: 0x3f, width: 1, access: 'RO', section: '6.2.4', title: 'maximum latency' },
  } satisfies Rows;
}

const BARS = 6;
const BAR0 = 0x10;

/** All six; those that a function has not read as zeros (6.2.5.1). */
function barRows(bars: Readonly<Record<number, BarShape>>): Rows {
  const rows: Record<string, Row> = {};
  for (let index = 0; index < BARS; index++) {
    const bar = bars[index];
    const upper = bars[index - 1]?.wide === true;
    rows[`PCI_BASE_ADDRESS_${index}`] = {
      at: BAR0 + 4 * index,
      section: '6.2.5.1',
      title: bar === undefined ? (upper ? 'the high half' : 'none') : `${bar.kind}, ${bar.size} bytes`,
      ...(bar === undefined ? { access: upper ? 'RW' : 'RO' } : barBits(bar)),
    };
  }
  return rows;
}

function barBits({
  kind,
  size,
  wide = false,
  prefetchable = false,
}: BarShape): Pick<Row, 'access' | 'reset' | 'fields'> {
  const ADDRESS = [31, 31 - Math.clz32(size)] as const;
  if (kind === 'io') return { access: 'RW', reset: 1, fields: { IO: ro(0), ADDRESS } };
  const reset = (wide ? 4 : 0) | (prefetchable ? 8 : 0);
  return { access: 'RW', reset, fields: { IO: ro(0), TYPE: ro([2, 1]), PREFETCHABLE: ro(3), ADDRESS } };
}

/** With its id and the next one's place in front (6.7). */
function linked(chip: string, { name, id, at, section, rows }: Capability, next: number): Rows {
  if (at % 4 !== 0 || at < 0x40) throw new RangeError(`${chip}: capability ${name} at ${at}`);
  const fields = { ID: [7, 0], NEXT: [15, 8] } as const;
  const title = 'capability';
  return { [`${name}_CAP`]: { at, width: 2, access: 'RO', section, title, reset: id | (next << 8), fields }, ...rows };
}

// 6.7, appendix H: capability ids.
export const CAP_POWER_MANAGEMENT = 0x01;
export const CAP_VITAL_PRODUCT_DATA = 0x03;
export const CAP_MSI = 0x05;
export const CAP_PCI_X = 0x07;
export const CAP_PCI_EXPRESS = 0x10;
export const CAP_MSI_X = 0x11;

/** PCI Power Management 1.1, 3.2. @param capabilities PMC. */
export function powerManagement(at: number, capabilities: number): Capability {
  const section = 'PM 1.1, 3.2';
  const rows = {
    PM_CAPABILITIES: {
      at: at + 2,
      width: 2,
      access: 'RO',
      section,
      title: 'power management capabilities (PMC)',
      reset: capabilities,
      fields: { VERSION: [2, 0], PME_CLOCK: 3, DSI: 5, AUX_CURRENT: [8, 6], D1: 9, D2: 10, PME: [15, 11] },
    },
    PM_CONTROL: {
      at: at + 4,
      width: 2,
      access: 'RW',
      section,
      title: 'power management control and status (PMCSR)',
      fields: { STATE: [1, 0], PME_ENABLE: 8, DATA_SELECT: ro([12, 9]), DATA_SCALE: ro([14, 13]), PME_STATUS: ro(15) },
    },
    PM_BRIDGE: { at: at + 6, width: 1, access: 'RO', section, title: 'bridge support: it is no bridge' },
    PM_DATA: { at: at + 7, width: 1, access: 'RO', section, title: 'data: none' },
  } satisfies Rows;
  return { name: 'PM', id: CAP_POWER_MANAGEMENT, at, section, rows };
}

/** 6.8.1: one vector, with 64-bit addresses. */
export function msi(at: number): Capability {
  const section = '6.8.1';
  const rows = {
    MSI_CONTROL: {
      at: at + 2,
      width: 2,
      access: 'RW',
      section,
      title: 'MSI control',
      reset: 0x80,
      fields: { ENABLE: 0, CAPABLE: ro([3, 1]), ENABLED: ro([6, 4]), _64BIT: ro(7), MASKS: ro(8) },
    },
    MSI_ADDRESS: { at: at + 4, access: 'RW', section, title: 'MSI address', fields: { ADDRESS: [31, 2] } },
    MSI_UPPER_ADDRESS: { at: at + 8, access: 'RW', section, title: 'MSI address, high half' },
    MSI_DATA: { at: at + 12, width: 2, access: 'RW', section, title: 'MSI data' },
  } satisfies Rows;
  return { name: 'MSI', id: CAP_MSI, at, section, rows };
}

export interface MsiXPlace {
  readonly vectors: number;
  readonly bar: number;
  readonly table: number; // byte offset of the table in the BAR
  readonly pending: number; // and of the pending bit array
}

/** 6.8.2. */
export function msiX(at: number, { vectors, bar, table, pending }: MsiXPlace): Capability {
  const section = '6.8.2';
  const fields = { BAR: [2, 0], OFFSET: [31, 3] } as const;
  const rows = {
    MSIX_CONTROL: {
      at: at + 2,
      width: 2,
      access: 'RW',
      section,
      title: 'MSI-X control',
      reset: vectors - 1,
      fields: { LAST_VECTOR: ro([10, 0]), MASK_ALL: 14, ENABLE: 15 },
    },
    MSIX_TABLE: { at: at + 4, access: 'RO', section, title: 'where the table is', reset: table | bar, fields },
    MSIX_PENDING: {
      at: at + 8,
      access: 'RO',
      section,
      title: 'where the pending bit array is',
      reset: pending | bar,
      fields,
    },
  } satisfies Rows;
  return { name: 'MSIX', id: CAP_MSI_X, at, section, rows };
}

/** PCI 3.0, appendix I. */
export function vitalProductData(at: number): Capability {
  const section = 'appendix I';
  const rows = {
    VPD_ADDRESS: {
      at: at + 2,
      width: 2,
      access: 'RW',
      section,
      title: 'vital product data: address',
      live: true,
      fields: { ADDRESS: [14, 0], DONE: 15 },
    },
    VPD_DATA: { at: at + 4, access: 'RW', section, title: 'vital product data', live: true },
  } satisfies Rows;
  return { name: 'VPD', id: CAP_VITAL_PRODUCT_DATA, at, section, rows };
}

/** PCI-X 1.0a, 7.2. @param status designed for what, and where it is plugged in. */
export function pciX(at: number, status: number): Capability {
  const section = 'PCI-X 1.0a, 7.2';
  const rows = {
    PCIX_COMMAND: {
      at: at + 2,
      width: 2,
      access: 'RW',
      section,
      title: 'PCI-X command',
      fields: { PARITY_RECOVERY: 0, RELAXED_ORDERING: 1, READ_BYTES: [3, 2], SPLIT_TRANSACTIONS: [6, 4] },
    },
    PCIX_STATUS: {
      at: at + 4,
      access: 'RO',
      section,
      title: 'PCI-X status',
      reset: status,
      fields: {
        FUNCTION: [2, 0],
        DEVICE: [7, 3],
        BUS: [15, 8],
        _64BIT: 16,
        _133MHZ: 17,
        READ_BYTES: [22, 21],
        SPLIT_TRANSACTIONS: [25, 23],
        CUMULATIVE_READ: [28, 26],
      },
    },
  } satisfies Rows;
  return { name: 'PCIX', id: CAP_PCI_X, at, section, rows };
}

/** PCI Express 3.0, 7.8: an endpoint, payloads of 128 bytes, one lane at 2.5 GT/s. */
export function pciExpress(at: number, version: 1 | 2): Capability {
  const section = 'PCIe 3.0, 7.8';
  const rows: Rows = { ...expressRows(at, section, version), ...(version === 2 ? expressRows2(at, section) : {}) };
  return { name: 'PCIE', id: CAP_PCI_EXPRESS, at, section, rows };
}

function expressRows(at: number, section: string, version: number) {
  return {
    PCIE_CAPABILITIES: {
      at: at + 0x02,
      width: 2,
      access: 'RO',
      section,
      title: 'PCI Express capabilities',
      reset: version,
      fields: { VERSION: [3, 0], TYPE: [7, 4], SLOT: 8, MESSAGE: [13, 9] },
    },
    PCIE_DEVICE_CAPABILITIES: {
      at: at + 0x04,
      access: 'RO',
      section,
      title: 'device capabilities',
      reset: 0x8000,
      fields: { PAYLOAD: [2, 0], EXTENDED_TAG: 5, L0S_LATENCY: [8, 6], L1_LATENCY: [11, 9], ROLE_BASED: 15, FLR: 28 },
    },
    PCIE_DEVICE_CONTROL: {
      at: at + 0x08,
      width: 2,
      access: 'RW',
      section,
      title: 'device control',
      fields: {
        CORRECTABLE: 0,
        NON_FATAL: 1,
        FATAL: 2,
        UNSUPPORTED: 3,
        RELAXED_ORDERING: 4,
        PAYLOAD: [7, 5],
        EXTENDED_TAG: 8,
        PHANTOM_FUNCTIONS: 9,
        AUX_POWER: 10,
        NO_SNOOP: 11,
        READ_REQUEST: [14, 12],
      },
    },
    PCIE_DEVICE_STATUS: {
      at: at + 0x0a,
      width: 2,
      access: 'W1C',
      section,
      title: 'device status',
      fields: { CORRECTABLE: 0, NON_FATAL: 1, FATAL: 2, UNSUPPORTED: 3, AUX_POWER: ro(4), PENDING: ro(5) },
    },
    PCIE_LINK_CAPABILITIES: {
      at: at + 0x0c,
      access: 'RO',
      section,
      title: 'link capabilities',
      reset: 0x0c11, // L0s and L1
      fields: { SPEED: [3, 0], WIDTH: [9, 4], ASPM: [11, 10], L0S_EXIT: [14, 12], L1_EXIT: [17, 15], PORT: [31, 24] },
    },
    PCIE_LINK_CONTROL: {
      at: at + 0x10,
      width: 2,
      access: 'RW',
      section,
      title: 'link control',
      fields: { ASPM: [1, 0], READ_BOUNDARY: ro(3), COMMON_CLOCK: 6, EXTENDED_SYNC: 7, CLOCK_PM: 8 },
    },
    PCIE_LINK_STATUS: {
      at: at + 0x12,
      width: 2,
      access: 'RO',
      section,
      title: 'link status',
      reset: 0x1011,
      fields: { SPEED: [3, 0], WIDTH: [9, 4], SLOT_CLOCK: 12 },
    },
  } satisfies Rows;
}

/** What version 2 adds; an endpoint has no slot and is no root. */
function expressRows2(at: number, section: string): Rows {
  const none = (offset: number, title: string, count = 1): Row => {
    return { at: count > 1 ? [run(at + offset, count)] : at + offset, access: 'RO', section, title };
  };
  return {
    PCIE_SLOT_ROOT: none(0x14, 'slot and root registers: none', 4),
    PCIE_DEVICE_CAPABILITIES_2: none(0x24, 'device capabilities 2: none'),
    PCIE_DEVICE_CONTROL_2: none(0x28, 'device control and status 2: nothing to set'),
    PCIE_LINK_CAPABILITIES_2: none(0x2c, 'link capabilities 2: none'),
    PCIE_LINK_CONTROL_2: none(0x30, 'link control and status 2: nothing to set'),
    PCIE_SLOT_2: none(0x34, 'slot registers 2: none', 2),
  };
}
