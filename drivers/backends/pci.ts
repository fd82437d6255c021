/** The card in the slot, by its PCI address: through VFIO where there is an IOMMU, through sysfs where there is none. */
import type { PciDevice } from '../device.ts';
import { inspectSlot } from './pci-slot.ts';
import { openSysfs } from './sysfs.ts';
import { openVfio, type VfioOptions } from './vfio.ts';

/** A device that says by which of the kernel's interfaces it is had. */
export type SlotDevice = PciDevice & { readonly via: string };

/** @throws DeviceError that says what stands in the way, and what to do. */
export async function openPci(address: string, options: VfioOptions = {}): Promise<SlotDevice> {
  const { group } = inspectSlot(address, options.sysfs);
  return group === null ? await openSysfs(address, options) : await openVfio(address, options);
}
