/**
 * The hardware backend: a function in a slot, through VFIO. Its DMA goes through the IOMMU, which lets it reach nothing
 * but what is mapped here.
 *
 * Linux's Documentation/driver-api/vfio.rst, linux/vfio.h and linux/iommufd.h have the interfaces: a group and a
 * container of the type 1 IOMMU, or since Linux 6.6 the device's own descriptor and an iommufd.
 */
import { closeSync, constants, existsSync, openSync } from 'node:fs';
import {
  allocIoas,
  attachIoas,
  bindIommufd,
  containerRanges,
  createMemfd,
  groupDevice,
  groupViable,
  hasType1,
  type IovaRange,
  ioasRanges,
  joinContainer,
  type MappedMemory,
  mapInContainer,
  mapInIoas,
  mapMemory,
  mapRegisters,
  NativeError,
  regionInfo,
  resetDevice,
  vfioDeviceInfo,
} from '../../native/index.ts';
import { BAR0, COMMAND, COMMAND_IO, COMMAND_MEMORY } from '../../sim/pci/config.ts';
import { DeviceError, type PciDevice, type PciId, type RegisterSpace } from '../device.ts';
import { closedError } from './base.ts';
import { type Decoding, identityOf, setCommand } from './configuration.ts';
import { Arena, DeviceMemory, IOVA_BASE } from './host-memory.ts';
import { HUGE_PAGE, mapHuge } from './huge-pages.ts';
import { MachineTime } from './machine-time.ts';
import { BarSpace, ConfigSpace, FileSpace } from './pci-registers.ts';
import { checkFree, inspectSlot, namesIn, type PciSlot } from './pci-slot.ts';
import { VfioInterrupts } from './vfio-interrupts.ts';

export interface VfioOptions {
  /** Memory for DMA: a multiple of 2 MiB, locked; in huge pages where so many are free. Default 64 MiB. */
  readonly dmaBytes?: number;
  /** Which of the kernel's interfaces; iommufd where there is one, if absent. */
  readonly via?: 'group' | 'iommufd';
  /** Where sysfs is. */
  readonly sysfs?: string;
}

const DEVICE_PCI = 2; // VFIO_DEVICE_FLAGS_PCI
const REGION_MMAP = 4; // VFIO_REGION_INFO_FLAG_MMAP
const CONFIG_REGION = 7; // VFIO_PCI_CONFIG_REGION_INDEX
const BARS = 6;
const BAR_IO = 1;

const IOVA_LIMIT = 0x8000_0000;

/**
 * Opens the function at a PCI address. It must be bound to vfio-pci: see "fauxnic bind".
 * @throws DeviceError 'INVALID' where it cannot be had as it is, 'UNSUPPORTED' without an IOMMU.
 */
export function openVfio(address: string, options: VfioOptions = {}): Promise<VfioDevice> {
  return Promise.resolve().then(() => {
    const slot = inspectSlot(address, options.sysfs);
    checkFree(slot);
    if (slot.group === null)
      throw new DeviceError(
        'UNSUPPORTED',
        `no IOMMU stands in front of ${slot.address}: turn it on in the firmware, and with intel_iommu=on (Intel) or iommu=on`,
      );
    return new VfioDevice(slot, options);
  });
}

/** What makes a device's descriptor, and gives it memory. */
interface Access {
  readonly device: number;
  readonly ranges: readonly IovaRange[];
  map(buffer: ArrayBuffer, length: number, iova: number): void;
}

export class VfioDevice implements PciDevice {
  readonly name: string;
  readonly id: PciId;
  readonly config: ConfigSpace;
  readonly dma: DeviceMemory;
  readonly interrupts: VfioInterrupts;
  readonly time = new MachineTime();
  /** By which of the kernel's interfaces: "VFIO group 7", "iommufd". */
  readonly via: string;
  readonly #device: number;
  readonly #bars: (BarSpace | null)[] = [];
  readonly #undo: (() => void)[] = [];
  #closed = false;

  constructor(slot: PciSlot, { dmaBytes = 64 * 1024 * 1024, via }: VfioOptions) {
    this.name = `pci:${slot.address}`;
    if (dmaBytes <= 0 || dmaBytes % HUGE_PAGE !== 0)
      throw new DeviceError('INVALID', `dmaBytes ${dmaBytes}: give a multiple of ${HUGE_PAGE}`);
    try {
      const own = via === 'group' ? null : ownDescriptor(slot);
      if (own === null && via === 'iommufd')
        throw new DeviceError(
          'UNSUPPORTED',
          `${slot.address} has no descriptor of its own here: Linux 6.6 and later do`,
        );
      this.via = own === null ? `VFIO group ${slot.group}` : 'iommufd';
      const access = own === null ? this.#openGroup(slot) : this.#openOwn(slot, own);
      this.#device = access.device;
      if ((vfioDeviceInfo(access.device).flags & DEVICE_PCI) === 0)
        throw new DeviceError('UNSUPPORTED', `${slot.address} is no PCI device to VFIO`);
      const { offset, size } = regionInfo(access.device, CONFIG_REGION);
      this.config = new ConfigSpace(access.device, offset, size);
      this.enable({ memory: false, io: false, busMaster: false }); // as firmware would leave it
      this.id = identityOf(this.config);
      this.dma = new DeviceMemory(this.#memory(access, dmaBytes));
      this.interrupts = new VfioInterrupts(access.device, this.config);
    } catch (error) {
      this.#release();
      throw error;
    }
  }

  // ---- Opening ------------------------------------------------------------------------------------------------------

  #open(path: string, advice: string): number {
    const fd = openPath(path, advice);
    this.#undo.push(() => closeSync(fd));
    return fd;
  }

  #openGroup({ address, group }: PciSlot): Access {
    const container = this.#open('/dev/vfio/vfio', 'load the module vfio-pci (modprobe vfio-pci)');
    if (!hasType1(container))
      throw new DeviceError('UNSUPPORTED', 'VFIO has no type 1 IOMMU here: load the module vfio_iommu_type1');
    const fd = this.#open(`/dev/vfio/${group}`, `bind ${address} to vfio-pci (fauxnic bind ${address})`);
    if (!groupViable(fd))
      throw new DeviceError('INVALID', `IOMMU group ${group} has a device with a kernel driver: bind all of it`);
    joinContainer(fd, container);
    const device = groupDevice(fd, address);
    this.#undo.push(() => closeSync(device));
    const ranges = containerRanges(container);
    return { device, ranges, map: (buffer, length, iova) => mapInContainer(container, buffer, length, iova) };
  }

  #openOwn({ address }: PciSlot, path: string): Access {
    const iommufd = this.#open('/dev/iommu', 'load the module iommufd');
    const device = this.#open(path, `bind ${address} to vfio-pci (fauxnic bind ${address})`);
    bindIommufd(device, iommufd);
    const ioas = allocIoas(iommufd);
    attachIoas(device, ioas);
    const ranges = ioasRanges(iommufd, ioas);
    return { device, ranges, map: (buffer, length, iova) => mapInIoas(iommufd, ioas, buffer, length, iova) };
  }

  #memory(access: Access, bytes: number): Arena {
    const iova = placeIn(access.ranges, bytes);
    const memory = mapHuge(bytes) ?? mapPlain(bytes);
    // First in, last out: the IOMMU lets go of it with its descriptors.
    this.#undo.unshift(() => memory.close());
    access.map(memory.buffer, bytes, iova);
    return new Arena(memory.buffer, bytes, iova);
  }

  // ---- The contract -------------------------------------------------------------------------------------------------

  bar(index: number): RegisterSpace {
    this.#check();
    const bar = this.#bars[index] ?? this.#openBar(index);
    this.#bars[index] = bar;
    return bar;
  }

  #openBar(index: number): BarSpace {
    const { flags, size, offset, parts } =
      Number.isInteger(index) && index >= 0 && index < BARS
        ? regionInfo(this.#device, index)
        : { flags: 0, size: 0, offset: 0, parts: null };
    if (size === 0) throw new DeviceError('UNSUPPORTED', `${this.name} has no BAR ${index}`);
    const isIo = (this.config.read32(BAR0 + 4 * index) & BAR_IO) !== 0;
    const decode = isIo ? COMMAND_IO : COMMAND_MEMORY;
    // Ports cannot be mapped, and where the kernel keeps part of a BAR (a MSI-X table, before Linux 4.16) all of it goes
    // through system calls: drivers have no business there.
    const mapped = (flags & REGION_MMAP) !== 0 && parts === null;
    const space = mapped
      ? mapRegisters(this.#device, { offset, length: size })
      : new FileSpace(this.#device, offset, size);
    return new BarSpace(this.config, decode, space);
  }

  enable(on: Decoding): void {
    this.#check();
    setCommand(this.config, on);
  }

  /** The kernel chooses: a function-level reset, one by power management, or of a bus that it has for itself. */
  reset(): void {
    this.#check();
    this.interrupts.disable();
    this.enable({ busMaster: false });
    try {
      resetDevice(this.#device);
    } catch (error) {
      if (error instanceof NativeError && ['ENOTTY', 'EINVAL'].includes(error.code))
        throw new DeviceError('UNSUPPORTED', `${this.name} has no reset that would leave other devices alone`);
      throw error;
    }
    this.config.write16(COMMAND, 0); // the kernel has put configuration space back as it was
  }

  close(): void {
    if (this.#closed) return;
    this.enable({ busMaster: false });
    this.interrupts.close();
    this.enable({ memory: false, io: false });
    this.#closed = true;
    this.config.close();
    for (const bar of this.#bars) bar?.close();
    this.time.close();
    this.dma.close();
    this.#release();
  }

  #release(): void {
    for (const undo of this.#undo.reverse()) undo();
    this.#undo.length = 0;
  }

  #check(): void {
    if (this.#closed) throw closedError();
  }
}

function mapPlain(bytes: number): MappedMemory {
  const fd = createMemfd('fauxnic-dma', bytes);
  try {
    return mapMemory(fd, { length: bytes });
  } finally {
    closeSync(fd);
  }
}

/** The device's own descriptor and the IOMMU's, where the kernel offers both. */
function ownDescriptor({ folder }: PciSlot): string | null {
  const name = namesIn(`${folder}/vfio-dev`)[0];
  const path = `/dev/vfio/devices/${name}`;
  return name !== undefined && existsSync(path) && existsSync('/dev/iommu') ? path : null;
}

function openPath(path: string, advice: string): number {
  try {
    return openSync(path, constants.O_RDWR);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why: Record<string, string> = {
      EACCES: `permission denied: be root, or have root run: chown $USER ${path}`,
      EPERM: 'not permitted: be root',
      EBUSY: 'another process has it: end that first',
      ENOENT: `it is not there: ${advice}`,
      ENODEV: `nothing is behind it: ${advice}`,
    };
    throw new DeviceError('INVALID', `${path}: ${why[code ?? ''] ?? code}`);
  }
}

/**
 * Where DMA memory goes in the device's addresses: from IOVA_BASE on, below 2^31, and clear of what the IOMMU reserves.
 * @throws DeviceError 'NO_MEMORY' where there is no such place.
 */
export function placeIn(ranges: readonly IovaRange[], bytes: number): number {
  const all = ranges.length === 0 ? [{ first: 0, last: IOVA_LIMIT - 1 }] : ranges;
  for (const { first, last } of all) {
    const start = Math.max(Math.ceil(first / IOVA_BASE) * IOVA_BASE, IOVA_BASE);
    if (start + bytes <= Math.min(last + 1, IOVA_LIMIT)) return start;
  }
  throw new DeviceError('NO_MEMORY', `the IOMMU has no ${bytes} bytes in a row below 2 GiB: open the device with less`);
}
