/** What backends do in configuration space in the same way, wherever the function is (PCI 3.0, 6.2). */
import {
  BAR0,
  CAPABILITIES,
  COMMAND,
  COMMAND_IO,
  COMMAND_MASTER,
  COMMAND_MEMORY,
  DEVICE_ID,
  REVISION_ID,
  STATUS,
  STATUS_CAPABILITIES,
  SUBSYSTEM_ID,
  SUBSYSTEM_VENDOR_ID,
  VENDOR_ID,
} from '../../sim/pci/config.ts';
import type { PciId, RegisterSpace } from '../device.ts';

/** Bits of the command register to set or clear; absent ones stay. */
export interface Decoding {
  readonly memory?: boolean;
  readonly io?: boolean;
  readonly busMaster?: boolean;
}

export function setCommand(config: RegisterSpace, { memory, io, busMaster }: Decoding): void {
  let command = config.read16(COMMAND);
  command = withBit(command, COMMAND_MEMORY, memory);
  command = withBit(command, COMMAND_IO, io);
  command = withBit(command, COMMAND_MASTER, busMaster);
  config.write16(COMMAND, command);
}

function withBit(value: number, bit: number, on: boolean | undefined): number {
  if (on === undefined) return value;
  return on ? value | bit : value & ~bit;
}

export function identityOf(config: RegisterSpace): PciId {
  return {
    vendor: config.read16(VENDOR_ID),
    device: config.read16(DEVICE_ID),
    revision: config.read8(REVISION_ID),
    subsystemVendor: config.read16(SUBSYSTEM_VENDOR_ID),
    subsystem: config.read16(SUBSYSTEM_ID),
  };
}

/** Where a capability is, or 0. Walks the list (6.7); bounded, because a broken one may be a circle. */
export function findCapability(config: RegisterSpace, id: number): number {
  if ((config.read16(STATUS) & STATUS_CAPABILITIES) === 0) return 0;
  let at = config.read8(CAPABILITIES) & ~3;
  for (let seen = 0; at !== 0 && seen < 48; seen++) {
    if (config.read8(at) === id) return at;
    at = config.read8(at + 1) & ~3;
  }
  return 0;
}

/** Where BARs get their addresses from: the first of each kind. */
export interface Windows {
  readonly memory: number;
  readonly io: number;
}

export interface AssignedBar {
  readonly index: number;
  readonly kind: 'memory' | 'io';
  readonly address: number;
  readonly size: number;
}

export const BAR_COUNT = 6;
const BAR_IO = 1;
const BAR_64 = 4; // bits 2:1 = 10

/** Sizes each BAR by writing all ones (PCI 3.0 §6.2.5.1, implementation note) and gives it an address, as firmware does. */
export function assignBars(config: RegisterSpace, windows: Windows): AssignedBar[] {
  const bars: AssignedBar[] = [];
  let { memory, io } = windows;
  for (let index = 0; index < BAR_COUNT; index++) {
    const at = BAR0 + 4 * index;
    config.write32(at, 0xffffffff);
    const sized = config.read32(at);
    const isIo = (sized & BAR_IO) !== 0;
    // A port BAR need not have its upper 16 bits (§6.2.5.1).
    const bits = isIo ? (sized & ~3) | (sized > 0xffff || sized < 4 ? 0 : 0xffff0000) : sized & ~15;
    const size = -bits >>> 0;
    if (size === 0) continue;
    const address = Math.ceil((isIo ? io : memory) / size) * size;
    config.write32(at, address);
    bars.push({ index, kind: isIo ? 'io' : 'memory', address, size });
    if (isIo) io = address + size;
    else memory = address + size;
    if (!isIo && (sized & BAR_64) !== 0) config.write32(BAR0 + 4 * ++index, 0);
  }
  return bars;
}

/** What the BARs hold: a reset forgets it, and whoever resets gives it back with `restoreBars`. */
export function saveBars(config: RegisterSpace): number[] {
  return Array.from({ length: BAR_COUNT }, (_, index) => config.read32(BAR0 + 4 * index));
}

export function restoreBars(config: RegisterSpace, saved: readonly number[]): void {
  for (const [index, value] of saved.entries()) config.write32(BAR0 + 4 * index, value);
}
