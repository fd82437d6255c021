/**
 * VFIO and iommufd, ioctl by ioctl: linux/vfio.h, linux/iommufd.h. Descriptors are the caller's, to open and close with
 * node:fs; indices and flags are the headers' own.
 */
import { addon } from './addon.ts';
import { checkDescriptor } from './descriptor.ts';
import { check, invalid } from './errors.ts';

/** Addresses that a device may use: the first and the last byte of a range. */
export interface IovaRange {
  readonly first: number;
  readonly last: number;
}

export interface RegionInfo {
  readonly flags: number;
  readonly size: number;
  /** Where it is in the device's descriptor. */
  readonly offset: number;
  /** The parts that may be mapped, where not all of it may. */
  readonly parts: readonly { readonly offset: number; readonly size: number }[] | null;
}

export interface IrqInfo {
  readonly flags: number;
  readonly count: number;
}

const MOST_RANGES = 256;
const MOST_PARTS = 32;
const NO_DESCRIPTORS = new Int32Array(0);

// VFIO_IRQ_SET_…
const DATA_NONE = 1;
const DATA_EVENTFD = 4;
const ACTION_UNMASK = 16;
const ACTION_TRIGGER = 32;

const VIABLE = 1; // VFIO_GROUP_FLAGS_VIABLE

/** Whether a container speaks the API known here, for a type 1 IOMMU. */
export function hasType1(container: number): boolean {
  checkDescriptor('hasType1', container);
  return check(addon().vfio.hasType1(container), 'VFIO_CHECK_EXTENSION', '/dev/vfio/vfio') !== 0;
}

/** Whether every device of the group belongs to VFIO, or to no driver. */
export function groupViable(group: number): boolean {
  checkDescriptor('groupViable', group);
  return (check(addon().vfio.groupStatus(group), 'VFIO_GROUP_GET_STATUS', 'IOMMU group') & VIABLE) !== 0;
}

/** Puts the group in the container, and gives that its IOMMU. */
export function joinContainer(group: number, container: number): void {
  checkDescriptor('joinContainer', group);
  checkDescriptor('joinContainer', container);
  check(addon().vfio.setContainer(group, container), 'VFIO_GROUP_SET_CONTAINER', 'IOMMU group');
  check(addon().vfio.setIommu(container), 'VFIO_SET_IOMMU', 'IOMMU', {
    EPERM:
      'it does not remap interrupts; load vfio_iommu_type1 with allow_unsafe_interrupts=1 where all that runs is trusted',
  });
}

/** The descriptor of a device in the group, by its PCI address. */
export function groupDevice(group: number, address: string): number {
  checkDescriptor('groupDevice', group);
  if (typeof address !== 'string' || address.includes('\0'))
    throw invalid('groupDevice', 'address must be a string without NUL');
  return check(addon().vfio.groupDevice(group, address), 'VFIO_GROUP_GET_DEVICE_FD', address);
}

/** Empty where the kernel does not tell. */
export function containerRanges(container: number): IovaRange[] {
  checkDescriptor('containerRanges', container);
  const into = new Float64Array(2 * MOST_RANGES);
  return pairs(into, check(addon().vfio.containerRanges(container, into), 'VFIO_IOMMU_GET_INFO', 'IOMMU'));
}

/** Lets the devices of a container reach memory of a mapped buffer, at `iova`. Ends when the container is closed. */
export function mapInContainer(container: number, buffer: ArrayBuffer, length: number, iova: number): void {
  checkDescriptor('mapInContainer', container);
  checkMapping('mapInContainer', buffer, length, iova);
  check(addon().vfio.containerMap(container, buffer, length, iova), 'VFIO_IOMMU_MAP_DMA', mapping(length), ADVICE);
}

/** A new I/O address space, by its number. */
export function allocIoas(iommufd: number): number {
  checkDescriptor('allocIoas', iommufd);
  return check(addon().vfio.allocIoas(iommufd), 'IOMMU_IOAS_ALLOC', '/dev/iommu');
}

/** What the devices attached to an address space allow. */
export function ioasRanges(iommufd: number, ioas: number): IovaRange[] {
  checkDescriptor('ioasRanges', iommufd);
  const into = new Float64Array(2 * MOST_RANGES);
  return pairs(into, check(addon().vfio.ioasRanges(iommufd, ioas, into), 'IOMMU_IOAS_IOVA_RANGES', '/dev/iommu'));
}

/** As mapInContainer, for the devices attached to an address space. */
export function mapInIoas(iommufd: number, ioas: number, buffer: ArrayBuffer, length: number, iova: number): void {
  checkDescriptor('mapInIoas', iommufd);
  checkMapping('mapInIoas', buffer, length, iova);
  check(addon().vfio.ioasMap(iommufd, ioas, buffer, length, iova), 'IOMMU_IOAS_MAP', mapping(length), ADVICE);
}

/** Makes a device's descriptor (/dev/vfio/devices/vfioN) work, with the IOMMU's. */
export function bindIommufd(device: number, iommufd: number): void {
  checkDescriptor('bindIommufd', device);
  checkDescriptor('bindIommufd', iommufd);
  check(addon().vfio.bind(device, iommufd), 'VFIO_DEVICE_BIND_IOMMUFD', 'device');
}

export function attachIoas(device: number, ioas: number): void {
  checkDescriptor('attachIoas', device);
  check(addon().vfio.attach(device, ioas), 'VFIO_DEVICE_ATTACH_IOMMUFD_PT', 'device');
}

export function vfioDeviceInfo(device: number): { flags: number; regions: number; irqs: number } {
  checkDescriptor('vfioDeviceInfo', device);
  const into = new Float64Array(3);
  check(addon().vfio.deviceInfo(device, into), 'VFIO_DEVICE_GET_INFO', 'device');
  return { flags: into[0]!, regions: into[1]!, irqs: into[2]! };
}

export function regionInfo(device: number, index: number): RegionInfo {
  checkDescriptor('regionInfo', device);
  const into = new Float64Array(4 + 2 * MOST_PARTS);
  const count = check(addon().vfio.regionInfo(device, index, into), 'VFIO_DEVICE_GET_REGION_INFO', `region ${index}`);
  const [flags, size, offset, partly] = into as unknown as [number, number, number, number];
  const parts = Array.from({ length: count }, (_, i) => ({ offset: into[4 + 2 * i]!, size: into[5 + 2 * i]! }));
  return { flags, size, offset, parts: partly === 0 ? null : parts };
}

export function irqInfo(device: number, index: number): IrqInfo {
  checkDescriptor('irqInfo', device);
  const into = new Float64Array(2);
  check(addon().vfio.irqInfo(device, index, into), 'VFIO_DEVICE_GET_IRQ_INFO', `interrupt ${index}`);
  return { flags: into[0]!, count: into[1]! };
}

/** Turns interrupts of this kind on: vector by vector they signal these eventfds. Throws ENOSPC where there are fewer. */
export function enableIrqs(device: number, index: number, eventfds: readonly number[]): void {
  checkDescriptor('enableIrqs', device);
  for (const fd of eventfds) checkDescriptor('enableIrqs', fd);
  const { length } = eventfds;
  if (length === 0) throw invalid('enableIrqs', 'no eventfds: disableIrqs turns them off');
  const flags = DATA_EVENTFD | ACTION_TRIGGER;
  const result = addon().vfio.setIrqs(device, flags, index, length, Int32Array.from(eventfds));
  check(result > 0 ? -ENOSPC : result, 'VFIO_DEVICE_SET_IRQS', `${length} vectors`);
}

const ENOSPC = 28;

/** Turns all interrupts of this kind off. */
export function disableIrqs(device: number, index: number): void {
  checkDescriptor('disableIrqs', device);
  const result = addon().vfio.setIrqs(device, DATA_NONE | ACTION_TRIGGER, index, 0, NO_DESCRIPTORS);
  check(result, 'VFIO_DEVICE_SET_IRQS', `interrupt ${index}`);
}

/** Lets a line that the kernel masked when it interrupted do so again; at once where it is still asserted. */
export function unmaskIrq(device: number, index: number): void {
  checkDescriptor('unmaskIrq', device);
  const result = addon().vfio.setIrqs(device, DATA_NONE | ACTION_UNMASK, index, 1, NO_DESCRIPTORS);
  check(result, 'VFIO_DEVICE_SET_IRQS', `interrupt ${index}`);
}

/** Throws ENOTTY where the device has no reset that would not touch others. */
export function resetDevice(device: number): void {
  checkDescriptor('resetDevice', device);
  check(addon().vfio.reset(device), 'VFIO_DEVICE_RESET', 'device');
}

function pairs(from: Float64Array, count: number): IovaRange[] {
  const length = Math.min(count, from.length / 2);
  return Array.from({ length }, (_, i) => ({ first: from[2 * i]!, last: from[2 * i + 1]! }));
}

const ADVICE = {
  ENOMEM: 'it may not be locked in memory; raise the limit (ulimit -l), or use less of it',
  EEXIST: 'something is mapped there',
} as const;

const mapping = (length: number) => `${length} bytes of DMA memory`;

function checkMapping(method: string, buffer: ArrayBuffer, length: number, iova: number): void {
  if (!(buffer instanceof ArrayBuffer)) throw invalid(method, 'buffer must be an ArrayBuffer');
  if (!Number.isInteger(length) || length <= 0 || length > buffer.byteLength)
    throw invalid(method, `length ${length}: the buffer has ${buffer.byteLength}`);
  if (!Number.isInteger(iova) || iova < 0 || iova + length > 2 ** 32)
    throw invalid(method, `iova ${iova}: give one below 2^32`);
}
