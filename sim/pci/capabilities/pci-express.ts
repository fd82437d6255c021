/** PCI Express: Base Specification 3.0, 7.8, of an endpoint: no slot, no root. */
import { ro, sc } from '../../registers.ts';
import type { PciFunction } from '../function.ts';
import { type Capability, CapabilityPart, type CapabilityRow, capability, sets } from './capability.ts';
import { CAP_PCI_EXPRESS } from './ids.ts';

const DEVICE_CONTROL = 0x08;
const DEVICE_STATUS = 0x0a;
const FLR = 15; // of device control
const CORRECTABLE = 1; // of device status
const UNSUPPORTED = 8;

export interface ExpressShape {
  /** Of the capability: 2 has the second set of registers. */
  readonly version: 1 | 2;
  /** Largest payload, in bytes: 128, if absent. */
  readonly payload?: 128 | 256 | 512 | 1024 | 2048 | 4096;
  readonly extendedTags?: boolean;
  /** Whether software can reset the function alone (6.6.2). */
  readonly functionReset?: boolean;
  /** 2.5, 5 or 8 GT/s, as 1 to 3: 1, if absent. */
  readonly speed?: 1 | 2 | 3;
  /** Lanes: 1, if absent. */
  readonly lanes?: 1 | 2 | 4 | 8 | 16;
  /** Completion timeouts, of version 2: ranges A to D, a bit each (7.8.15); none, if absent. */
  readonly timeouts?: number;
}

/** The link registers show a link that is up in its full width. */
export function pciExpress(at: number, shape: ExpressShape): Capability {
  return capability(
    'PCIE',
    CAP_PCI_EXPRESS,
    at,
    'PCIe 3.0, 7.8',
    { ...deviceRows(shape), ...linkRows(shape), ...(shape.version === 2 && secondRows(shape)) },
    { attach: (owner) => new PciExpress(owner, at, shape.functionReset ?? false) },
  );
}

export class PciExpress extends CapabilityPart {
  constructor(owner: PciFunction, at: number, functionReset: boolean) {
    super(owner, at);
    if (!functionReset) return;
    owner.config.onWrite(at + DEVICE_CONTROL, 2, (from, width, value) => {
      if (sets(at + DEVICE_CONTROL, FLR, from, width, value)) owner.softwareReset();
    });
  }

  /** Notes a request that nothing in the function answered: one that need not bother anybody (7.8.5; 6.2.3.2.4). */
  unsupported(): void {
    const { config } = this.owner;
    const at = this.at + DEVICE_STATUS;
    config.poke(at, 2, config.peek(at, 2) | UNSUPPORTED | CORRECTABLE);
  }
}

type CapabilityRows = Readonly<Record<string, CapabilityRow>>;

function deviceRows({ version, payload = 128, extendedTags = false, functionReset = false }: ExpressShape) {
  const payloads = Math.log2(payload / 128);
  return {
    PCIE_CAPABILITIES: {
      at: 0x02,
      width: 2,
      access: 'RO',
      title: 'PCI Express capabilities',
      reset: version,
      fields: { VERSION: [3, 0], TYPE: [7, 4], SLOT: 8, MESSAGE: [13, 9] },
    },
    PCIE_DEVICE_CAPABILITIES: {
      at: 0x04,
      access: 'RO',
      title: 'device capabilities',
      reset: 0x8000 | payloads | (extendedTags ? 0x20 : 0) | (functionReset ? 1 << 28 : 0),
      fields: { PAYLOAD: [2, 0], EXTENDED_TAG: 5, L0S_LATENCY: [8, 6], L1_LATENCY: [11, 9], ROLE_BASED: 15, FLR: 28 },
    },
    PCIE_DEVICE_CONTROL: {
      at: DEVICE_CONTROL,
      width: 2,
      access: 'RW',
      title: 'device control',
      reset: 0x2810, // 7.8.4: relaxed ordering, no snoop, read requests of 512 bytes
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
        FLR: sc(15),
      },
    },
    PCIE_DEVICE_STATUS: {
      at: DEVICE_STATUS,
      width: 2,
      access: 'W1C',
      title: 'device status',
      fields: { CORRECTABLE: 0, NON_FATAL: 1, FATAL: 2, UNSUPPORTED: 3, AUX_POWER: ro(4), PENDING: ro(5) },
    },
  } satisfies CapabilityRows;
}

function linkRows({ speed = 1, lanes = 1 }: ExpressShape) {
  return {
    PCIE_LINK_CAPABILITIES: {
      at: 0x0c,
      access: 'RO',
      title: 'link capabilities',
      reset: 0x0c00 | (lanes << 4) | speed, // L0s and L1
      fields: { SPEED: [3, 0], WIDTH: [9, 4], ASPM: [11, 10], L0S_EXIT: [14, 12], L1_EXIT: [17, 15], PORT: [31, 24] },
    },
    PCIE_LINK_CONTROL: {
      at: 0x10,
      width: 2,
      access: 'RW',
      title: 'link control',
      survives: ['function'], // 6.6.2: the link is not the function's
      fields: { ASPM: [1, 0], READ_BOUNDARY: ro(3), COMMON_CLOCK: 6, EXTENDED_SYNC: 7, CLOCK_PM: 8 },
    },
    PCIE_LINK_STATUS: {
      at: 0x12,
      width: 2,
      access: 'RO',
      title: 'link status',
      reset: 0x1000 | (lanes << 4) | speed,
      fields: { SPEED: [3, 0], WIDTH: [9, 4], SLOT_CLOCK: 12 },
    },
  } satisfies CapabilityRows;
}

const TIMEOUT_DISABLE = 0x10; // whoever starts requests must be able to (7.8.15)

function secondRows({ timeouts = 0, speed = 1 }: ExpressShape) {
  const speeds = speed === 1 ? 0 : ((1 << speed) - 1) << 1;
  return {
    PCIE_SLOT_ROOT: { at: 0x14, access: 'RO', title: 'slot and root registers: none', count: 4 },
    PCIE_DEVICE_CAPABILITIES_2: {
      at: 0x24,
      access: 'RO',
      title: 'device capabilities 2',
      reset: TIMEOUT_DISABLE | timeouts,
      fields: { TIMEOUT_RANGES: [3, 0], TIMEOUT_DISABLE: 4 },
    },
    PCIE_DEVICE_CONTROL_2: {
      at: 0x28,
      width: 2,
      access: 'RW',
      title: 'device control 2',
      fields: { TIMEOUT: timeouts === 0 ? ro([3, 0]) : [3, 0], TIMEOUT_DISABLE: 4 },
    },
    PCIE_DEVICE_STATUS_2: { at: 0x2a, width: 2, access: 'RO', title: 'device status 2: reserved' },
    PCIE_LINK_CAPABILITIES_2: {
      at: 0x2c,
      access: 'RO',
      title: 'link capabilities 2',
      reset: speeds,
      fields: { SPEEDS: [7, 1] },
    },
    PCIE_LINK_CONTROL_2: {
      at: 0x30,
      width: 2,
      access: 'RW',
      title: 'link control 2: with 2.5 GT/s alone there is nothing to set (7.8.19)',
      reset: speed === 1 ? 0 : speed,
      survives: ['function'],
      fields: { TARGET_SPEED: speed === 1 ? ro([3, 0]) : [3, 0] },
    },
    PCIE_LINK_STATUS_2: { at: 0x32, width: 2, access: 'RO', title: 'link status 2' },
    PCIE_SLOT_2: { at: 0x34, access: 'RO', title: 'slot registers 2: none', count: 2 },
  } satisfies CapabilityRows;
}
