/** What backends do in configuration space in the same way, wherever the function is (PCI 3.0, 6.2). */
import {
  COMMAND,
  COMMAND_IO,
  COMMAND_MASTER,
  COMMAND_MEMORY,
  DEVICE_ID,
  REVISION_ID,
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
