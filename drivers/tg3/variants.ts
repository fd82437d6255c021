/**
 * The cards of the family that this driver knows, and in what they differ.
 *
 * Sources: Broadcom 5718-PG108-R and 5722-PG101-R, and facts (values, limits, errata) from Linux 6.1
 * drivers/net/ethernet/broadcom/tg3.c.
 */
import type { RegisterMap } from '../../sim/registers.ts';
import { CHIPS, type Chip } from '../../sim/tg3/chips.ts';
import { BCM57XX_CONFIGURATION } from '../../sim/tg3/configuration.ts';
import { BCM57XX, BCM5750 } from '../../sim/tg3/registers.ts';
import type { PciId } from '../device.ts';
import {
  FEATURE_JUMBO,
  FEATURE_RX_CHECKSUM,
  FEATURE_TSO4,
  FEATURE_TSO6,
  FEATURE_TX_CHECKSUM,
  FEATURE_VLAN_INSERT,
  FEATURE_VLAN_STRIP,
} from '../netdev.ts';

export interface Variant {
  readonly name: string;
  readonly vendor: number;
  readonly device: number;
  readonly features: number;
  /** The newer generation; a transmit BD of it has more than 8 bytes. */
  readonly is577xx: boolean;
  /** The longest frame, with header and CRC. */
  readonly maxFrame: number;
  readonly returnEntries: number;
  /** Receive return rings. */
  readonly maxQueues: number;
  /** Buffers in the standard ring that the card asks for at a time, at most. */
  readonly replenish: number;
  /** Bytes a transmit BD points at, at most, while the MTU is 1500 or less; it takes any length up to 65535 beyond. */
  readonly shortLimit: number;
}

const COMMON = FEATURE_RX_CHECKSUM | FEATURE_TX_CHECKSUM | FEATURE_TSO4 | FEATURE_VLAN_STRIP | FEATURE_VLAN_INSERT;

const VENDOR = 0x14e4;

const BCM575X = {
  vendor: VENDOR,
  features: COMMON,
  maxFrame: 1518,
  returnEntries: 512,
  maxQueues: 1,
  replenish: 8,
  shortLimit: 0xffff,
} as const;

const BCM577XX = {
  vendor: VENDOR,
  features: COMMON | FEATURE_TSO6 | FEATURE_JUMBO,
  maxFrame: 9018,
  returnEntries: 1024,
  maxQueues: 4,
  replenish: 25,
  shortLimit: 0xffff,
} as const;

export const VARIANTS: readonly Variant[] = [
  { ...BCM577XX, ...factsOf(CHIPS.tg3), shortLimit: 2048 },
  { ...BCM577XX, ...factsOf(CHIPS['tg3-57765']) },
  { ...BCM575X, ...factsOf(CHIPS['tg3-5721']) },
  { ...BCM575X, ...factsOf(CHIPS['tg3-5751']) },
];

function factsOf({ name, device, is577xx }: Chip): Pick<Variant, 'name' | 'device' | 'is577xx'> {
  return { name, device, is577xx };
}

const maps = new Map<string, RegisterMap>();

/** The family's registers, as far as a variant has them. */
export function registersOf({ name, is577xx }: Variant): RegisterMap {
  const map = maps.get(name) ?? (is577xx ? BCM57XX : BCM5750).variant(name);
  maps.set(name, map);
  return map;
}

/** A variant's configuration space. */
export function configurationOf({ name }: Variant): RegisterMap {
  return Object.values(BCM57XX_CONFIGURATION).find(({ chip }) => chip === name)!;
}

/** Whether this driver drives a function with this identity. */
export function supports(id: PciId): boolean {
  return variantOf(id) !== undefined;
}

export function variantOf(id: PciId): Variant | undefined {
  return VARIANTS.find(({ vendor, device }) => vendor === id.vendor && device === id.device);
}
