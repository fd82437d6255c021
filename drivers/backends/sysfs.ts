/**
 * The hardware backend where there is no IOMMU: registers through sysfs (Linux, Documentation/PCI/sysfs-pci.rst), DMA
 * memory in huge pages at their physical addresses, interrupts polled. Root's alone, and nothing keeps the device from
 * memory that is not its own: for machines that have no IOMMU.
 */
import { closeSync, constants, existsSync, fstatSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mapRegisters } from '../../native/index.ts';
import { BAR0, COMMAND, COMMAND_IO, COMMAND_MEMORY } from '../../sim/pci/config.ts';
import { DeviceError, type PciDevice, type PciId, type RegisterSpace } from '../device.ts';
import { closedError } from './base.ts';
import { type Decoding, identityOf, setCommand } from './configuration.ts';
import { DeviceMemory } from './host-memory.ts';
import { HUGE_PAGE, HugeMemory } from './huge-pages.ts';
import { MachineTime } from './machine-time.ts';
import { BarSpace, ConfigSpace, FileSpace } from './pci-registers.ts';
import { checkFree, inspectSlot, type PciSlot } from './pci-slot.ts';
import { PolledInterrupts } from './polled-interrupts.ts';

export interface SysfsOptions {
  /** Memory for DMA: a multiple of 2 MiB. Default 64 MiB. */
  readonly dmaBytes?: number;
  /** Where sysfs is. */
  readonly sysfs?: string;
}

const BARS = 6;
const BAR_IO = 1;

/**
 * Opens the function at a PCI address, which must have no driver: see "fauxnic bind".
 * @throws DeviceError 'INVALID' where it cannot be had as it is, 'NO_MEMORY' without huge pages.
 */
export function openSysfs(address: string, options: SysfsOptions = {}): Promise<SysfsDevice> {
  return Promise.resolve().then(() => {
    const slot = inspectSlot(address, options.sysfs);
    if (slot.group !== null)
      throw new DeviceError('INVALID', `an IOMMU stands in front of ${slot.address}: it is VFIO's to drive`);
    checkFree(slot);
    return new SysfsDevice(slot, options);
  });
}

export class SysfsDevice implements PciDevice {
  readonly name: string;
  readonly id: PciId;
  readonly config: ConfigSpace;
  readonly dma: DeviceMemory;
  readonly interrupts: PolledInterrupts;
  readonly time = new MachineTime();
  /** By which of the kernel's interfaces. */
  readonly via = 'sysfs, interrupts polled each millisecond';
  readonly #folder: string;
  readonly #memory: HugeMemory;
  readonly #configFile: number;
  readonly #bars: (BarSpace | null)[] = [];
  readonly #ports: number[] = []; // descriptors of I/O BARs
  #closed = false;

  constructor({ address, folder }: PciSlot, { dmaBytes = 64 * 1024 * 1024 }: SysfsOptions) {
    this.name = `pci:${address}`;
    this.#folder = folder;
    if (dmaBytes <= 0 || dmaBytes % HUGE_PAGE !== 0)
      throw new DeviceError('INVALID', `dmaBytes ${dmaBytes}: give a multiple of ${HUGE_PAGE}`);
    this.#configFile = openFile(join(folder, 'config'));
    let enabled = false;
    try {
      writeFile(join(folder, 'enable'), '1'); // out of D3, and decoding what firmware assigned
      enabled = true;
      this.config = new ConfigSpace(this.#configFile, 0, fstatSync(this.#configFile).size);
      this.enable({ memory: false, io: false, busMaster: false }); // as firmware would leave it
      this.id = identityOf(this.config);
      this.interrupts = new PolledInterrupts(this.config);
      this.#memory = new HugeMemory(dmaBytes);
      this.dma = new DeviceMemory(this.#memory);
    } catch (error) {
      // The kernel counts: a driver that finds it enabled still would take it for decoding still.
      if (enabled) writeFile(join(folder, 'enable'), '0');
      closeSync(this.#configFile);
      throw error;
    }
  }

  bar(index: number): RegisterSpace {
    this.#check();
    const bar = this.#bars[index] ?? this.#openBar(index);
    this.#bars[index] = bar;
    return bar;
  }

  #openBar(index: number): BarSpace {
    const path = join(this.#folder, `resource${index}`);
    if (!Number.isInteger(index) || index < 0 || index >= BARS || !existsSync(path))
      throw new DeviceError('UNSUPPORTED', `${this.name} has no BAR ${index}`);
    const fd = openFile(path);
    const { size } = fstatSync(fd);
    if ((this.config.read32(BAR0 + 4 * index) & BAR_IO) !== 0) {
      this.#ports.push(fd);
      return new BarSpace(this.config, COMMAND_IO, new FileSpace(fd, 0, size));
    }
    try {
      return new BarSpace(this.config, COMMAND_MEMORY, mapRegisters(fd, { length: size }));
    } finally {
      closeSync(fd);
    }
  }

  enable(on: Decoding): void {
    this.#check();
    setCommand(this.config, on);
  }

  reset(): void {
    this.#check();
    this.interrupts.disable();
    this.enable({ busMaster: false });
    const path = join(this.#folder, 'reset');
    if (!existsSync(path)) throw new DeviceError('UNSUPPORTED', `${this.name} has no reset that the kernel knows`);
    writeFile(path, '1');
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
    for (const fd of this.#ports) closeSync(fd);
    writeFile(join(this.#folder, 'enable'), '0');
    closeSync(this.#configFile);
    this.time.close();
    this.dma.close();
    this.#memory.close();
  }

  #check(): void {
    if (this.#closed) throw closedError();
  }
}

function openFile(path: string): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_SYNC);
  } catch (error) {
    throw refused(path, error);
  }
}

function writeFile(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    // The kernel counts who enabled a function, and says so when there is nobody.
    if (text === '0' && readFileSync(path, 'utf8').trim() === '0') return;
    throw refused(path, error);
  }
}

function refused(path: string, error: unknown): DeviceError {
  const { code } = error as NodeJS.ErrnoException;
  const why = code === 'EACCES' || code === 'EPERM' ? "without an IOMMU a device is root's alone: be root" : code;
  return new DeviceError('INVALID', `${path}: ${why}`);
}
