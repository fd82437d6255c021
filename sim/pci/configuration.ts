/**
 * Configuration space as data: the header and a list of capabilities, as rows of a register table like a chip's registers
 * behind its BARs. The model's masks, reset values and trace names come from them, and the tools' names for a card's.
 *
 * Source: PCI Local Bus Specification 3.0; sections are its. Names of the header are those of pciutils.
 */
import { RegisterMap, type Row, type Rows, ro, startOf } from '../registers.ts';
import { type BarShape, barRows } from './bars.ts';
import type { Capability } from './capabilities/capability.ts';

export interface PciIdentity {
  readonly vendor: number;
  readonly device: number;
  readonly revision: number;
  readonly subsystemVendor: number;
  readonly subsystem: number;
  readonly class: number; // 24 bits: 0x020000 is an Ethernet controller
}

export interface FunctionShape {
  readonly identity: PciIdentity;
  /** By index. */
  readonly bars?: Readonly<Record<number, BarShape>>;
  /** Of the expansion ROM: a power of two (6.2.5.2). What is in it, the model says. */
  readonly rom?: number;
  /** Which line its INTx is: A, if absent; null where it has none. */
  readonly pin?: 'A' | 'B' | 'C' | 'D' | null;
  /** Whether it is a virtual function: its identity and its BARs are its physical one's (SR-IOV 1.1, 3.4.1). */
  readonly virtual?: boolean;
  /** Whether its slot has other functions, too (6.2.1, header type). */
  readonly multifunction?: boolean;
  /** In the list's order; extended ones in theirs. */
  readonly capabilities?: readonly Capability[];
  /** What the device has of its own. */
  readonly own?: Rows;
  /** Rows of the header in which this device is not as the others. */
  readonly header?: Readonly<Record<string, Partial<Row>>>;
  readonly size?: 256 | 4096;
}

/** A function's configuration space: its registers, and what the capabilities do. */
export class ConfigurationMap extends RegisterMap {
  readonly capabilities: readonly Capability[];
  readonly virtual: boolean;

  /** @throws RangeError where registers overlap or lie outside. */
  constructor(chip: string, shape: FunctionShape) {
    const { capabilities = [], virtual = false, size = 256 } = shape;
    super(chip, size, rowsOf(chip, shape), () => BLOCK, 'config');
    this.capabilities = capabilities;
    this.virtual = virtual;
  }
}

/** @throws RangeError where registers overlap or lie outside. */
export function configurationMap(chip: string, shape: FunctionShape): ConfigurationMap {
  return new ConfigurationMap(chip, shape);
}

/** Of every register in configuration space. */
export const BLOCK = 'PCI configuration';

function rowsOf(chip: string, shape: FunctionShape): Rows {
  const { bars = {}, virtual = false, capabilities = [], own = {}, header: other = {} } = shape;
  const plain = capabilities.filter(({ version }) => version === undefined);
  const extended = capabilities.filter(({ version }) => version !== undefined);
  const header: Record<string, Row> = {
    ...headerRows(shape, plain[0]?.at ?? 0),
    ...barRows('PCI_BASE_ADDRESS', BAR0, '6.2.5.1', virtual ? {} : bars),
  };
  for (const [name, change] of Object.entries(other)) header[name] = { ...header[name]!, ...change };
  if (extended.length > 0 && extended[0]!.at !== EXTENDED)
    throw new RangeError(`${chip}: the first extended capability is at ${extended[0]!.at}`); // PCIe 3.0, 7.9.1
  const listed = [plain, extended].flatMap((list) => list.map((it, i) => linked(chip, it, list[i + 1]?.at ?? 0)));
  const rows: Rows = Object.assign(header, ...listed, own);
  return Object.fromEntries(Object.entries(rows).sort(([, a], [, b]) => startOf(a) - startOf(b)));
}

// 6.2.1 to 6.2.4.
function headerRows(
  { identity, rom, virtual, pin = virtual ? null : 'A', multifunction }: FunctionShape,
  list: number,
) {
  const { revision, subsystemVendor, subsystem, class: code } = identity;
  const { vendor, device } = virtual ? { vendor: 0xffff, device: 0xffff } : identity;
  return {
    PCI_VENDOR_ID: { at: 0x00, width: 2, access: 'RO', section: '6.2.1', title: 'vendor', reset: vendor },
    PCI_DEVICE_ID: { at: 0x02, width: 2, access: 'RO', section: '6.2.1', title: 'device', reset: device },
    PCI_COMMAND: {
      at: 0x04,
      width: 2,
      access: virtual ? 'RO' : 'RW',
      section: '6.2.2',
      title: 'command',
      fields: {
        IO: 0,
        MEMORY: 1,
        MASTER: { bits: 2, access: 'RW' },
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
    PCI_HEADER_TYPE: {
      at: 0x0e,
      width: 1,
      access: 'RO',
      section: '6.2.1',
      title: 'header type',
      reset: multifunction ? 0x80 : 0,
      fields: { LAYOUT: [6, 0], MULTIFUNCTION: 7 },
    },
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
    PCI_ROM_ADDRESS: romRow(rom),
    PCI_CAPABILITY_LIST: { at: 0x34, width: 1, access: 'RO', section: '6.7', title: 'first capability', reset: list },
    PCI_INTERRUPT_LINE: { at: 0x3c, width: 1, access: 'RW', section: '6.2.4', title: 'interrupt line' },
    PCI_INTERRUPT_PIN: {
      at: 0x3d,
      width: 1,
      access: 'RO',
      section: '6.2.4',
      title: pin === null ? 'interrupt pin: none' : `interrupt pin: INT${pin}#`,
      reset: pin === null ? 0 : 1 + 'ABCD'.indexOf(pin),
    },
    PCI_MIN_GNT: { at: 0x3e, width: 1, access: 'RO', section: '6.2.4', title: 'minimum grant' },
    PCI_MAX_LAT: { at: 0x3f, width: 1, access: 'RO', section: '6.2.4', title: 'maximum latency' },
  } satisfies Rows;
}

function romRow(size: number | undefined): Row {
  const row = { at: 0x30, section: '6.2.5.2' } as const;
  if (size === undefined) return { ...row, access: 'RO', title: 'expansion ROM base address: none' };
  return {
    ...row,
    access: 'RW',
    title: `expansion ROM base address, ${size} bytes`,
    fields: { ENABLE: 0, ADDRESS: [31, Math.log2(size)] },
  };
}

const BAR0 = 0x10;

const CAPABILITIES = 0x40;
const EXTENDED = 0x100;

/** With its id and the next one's place in front: 6.7, and PCIe 3.0, 7.9.3. */
function linked(chip: string, { name, id, at, version, section, rows }: Capability, next: number): Rows {
  if (at % 4 !== 0 || at < (version === undefined ? CAPABILITIES : EXTENDED))
    throw new RangeError(`${chip}: capability ${name} at ${at}`);
  return { [`${name}_CAP`]: { at, section, access: 'RO', title: 'capability', ...front(id, version, next) }, ...rows };
}

function front(id: number, version: number | undefined, next: number): Pick<Row, 'width' | 'reset' | 'fields'> {
  if (version === undefined) return { width: 2, reset: id | (next << 8), fields: { ID: [7, 0], NEXT: [15, 8] } };
  const fields = { ID: [15, 0], VERSION: [19, 16], NEXT: [31, 20] } as const;
  return { reset: (id | (version << 16) | (next << 20)) >>> 0, fields };
}
