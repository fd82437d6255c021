/** What sysfs tells of a PCI function, and whether a user-space driver can have it. Reads only. */
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { DeviceError } from '../device.ts';

export interface PciSlot {
  /** Its address: "0000:03:00.0". */
  readonly address: string;
  /** Its folder in sysfs. */
  readonly folder: string;
  /** The kernel driver it is bound to. */
  readonly driver: string | null;
  /** Its IOMMU group's number; null where no IOMMU stands in front of it. */
  readonly group: string | null;
  /** The others of its group. */
  readonly companions: readonly { readonly address: string; readonly driver: string | null }[];
}

export const VFIO_PCI = 'vfio-pci';
/** Drivers that leave their device's DMA alone, so that a group with them can be had (Linux: driver_managed_dma). */
const HARMLESS = [VFIO_PCI, 'pci-stub', 'pcieport'];

/**
 * The address as sysfs spells it; "03:00.0" is in domain 0.
 * @throws DeviceError 'INVALID' where it is none.
 */
export function pciAddress(text: string): string {
  const [, domain = '0000', rest] = /^([0-9a-f]{4,8}:)?([0-9a-f]{2}:[0-1][0-9a-f]\.[0-7])$/i.exec(text) ?? [];
  if (rest !== undefined) return `${domain.replace(':', '')}:${rest}`.toLowerCase();
  throw new DeviceError(
    'INVALID',
    `${JSON.stringify(text)} is no PCI address: give one such as 0000:03:00.0 (lspci -D has them)`,
  );
}

/** @throws DeviceError 'INVALID' where there is no such function. */
export function inspectSlot(text: string, sysfs = '/sys'): PciSlot {
  const address = pciAddress(text);
  const folder = join(sysfs, 'bus/pci/devices', address);
  if (!existsSync(folder))
    throw new DeviceError('INVALID', `there is no PCI function ${address}: lspci -D has those that there are`);
  const group = linkName(join(folder, 'iommu_group'));
  const members = group === null ? [] : namesIn(join(folder, 'iommu_group/devices'));
  const companions = members
    .filter((name) => name !== address)
    .map((name) => ({ address: name, driver: linkName(join(sysfs, 'bus/pci/devices', name, 'driver')) }));
  return { address, folder, driver: linkName(join(folder, 'driver')), group, companions };
}

/**
 * Says why a user-space driver cannot have the function as it is, and what to do.
 * @throws DeviceError 'INVALID'
 */
export function checkFree({ address, driver, group, companions }: PciSlot): void {
  if (driver !== null && driver !== VFIO_PCI)
    throw new DeviceError(
      'INVALID',
      `${address} belongs to the kernel driver ${driver}: "fauxnic bind ${address}" takes it from there, ` +
        `"fauxnic unbind ${address}" gives it back`,
    );
  if (group !== null && driver === null)
    throw new DeviceError('INVALID', `${address} is not bound to ${VFIO_PCI}: run "fauxnic bind ${address}"`);
  const others = companions.filter((it) => it.driver !== null && !HARMLESS.includes(it.driver));
  if (others.length === 0) return;
  const list = others.map((it) => `${it.address} (${it.driver})`).join(', ');
  const commands = others.map((it) => `fauxnic bind ${it.address}`).join('; ');
  throw new DeviceError(
    'INVALID',
    `${address} shares IOMMU group ${group} with ${list}, and a group goes as a whole: "${commands}" takes them, too`,
  );
}

/** What a symbolic link leads to, by its last part. */
function linkName(path: string): string | null {
  try {
    return basename(readlinkSync(path));
  } catch {
    return null;
  }
}

export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}
