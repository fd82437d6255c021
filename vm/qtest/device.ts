/**
 * The qemu backend: a device that a stock QEMU emulates, as a PciDevice.
 *
 * Time. With a clock, QEMU's virtual clock follows it: before each access, and while nothing is accessed at steps that
 * begin short and grow, so that its timers (moderation, negotiation) fire about when they should and a test of five
 * seconds takes a fraction of one. A run is then repeatable, and nothing in it waits. Without a clock QEMU lives in the
 * machine's time by itself, and its interrupts arrive by themselves: for traffic with somebody who lives there, too.
 *
 * Memory. QEMU's RAM is a memfd that both sides map: DMA costs no message. Registers cost one each way, some 20 µs.
 */
import { type Decoding, identityOf, setCommand } from '../../drivers/backends/configuration.ts';
import { Arena, DeviceMemory } from '../../drivers/backends/host-memory.ts';
import { MachineTime } from '../../drivers/backends/machine-time.ts';
import { MessageCapabilities } from '../../drivers/backends/messages.ts';
import { SimTime } from '../../drivers/backends/sim.ts';
import { DeviceError, type DeviceTime, type PciDevice, type PciId, type RegisterSpace } from '../../drivers/device.ts';
import { macText } from '../../drivers/station-address.ts';
import { type Clock, MICROSECOND } from '../../sim/clock.ts';
import { VmError } from '../errors.ts';
import type { Progress } from '../progress.ts';
import { findQemu, type Qemu } from '../qemu.ts';
import { QemuInterrupts } from './interrupts.ts';
import { Machine, RAM_START } from './machine.ts';
import { Slot } from './slot.ts';

export interface QemuOptions {
  /** Found, and if need be unpacked, where absent. */
  readonly qemu?: Qemu;
  readonly progress?: Progress;
  /** QEMU's -netdev without its id, such as "stream,server=off,addr.type=unix,addr.path=…". */
  readonly netdev?: string;
  /** The card's address, in its NVM. */
  readonly mac?: Uint8Array;
  /** QEMU's time follows this clock; the machine's time, where absent. */
  readonly clock?: Clock;
  /** Size of DMA memory: a multiple of 1 MiB. */
  readonly dmaBytes?: number;
  /** Told once where QEMU ends by itself. From then on the device reads as all ones, as one that was pulled out. */
  readonly onEnd?: (error: DeviceError) => void;
}

const DMA_BYTES = 64 * 1024 * 1024;
const NAME = /^[A-Za-z0-9_.-]{1,64}$/;

/**
 * Starts a QEMU with this device, and leaves it as firmware would: its BARs assigned, decoding and bus mastering off.
 * @param name as QEMU calls it: "e1000e". Any PCI network card it has.
 * @throws VmError where QEMU is missing, too old or does not know the device; DeviceError 'INVALID' for a wrong option.
 */
export async function openQemu(name: string, options: QemuOptions = {}): Promise<QemuDevice> {
  const machine = await startQemu(name, options);
  const device = new QemuDevice(`qemu:${name}`, machine, options);
  device.settle();
  return device;
}

/** @internal The machine alone; `lends` as in MachineOptions. */
export async function startQemu(name: string, options: QemuOptions, { lends = false } = {}): Promise<Machine> {
  const { dmaBytes = DMA_BYTES, mac, netdev, clock } = options;
  checkName(name);
  if (!Number.isInteger(dmaBytes) || dmaBytes <= 0 || dmaBytes % RAM_START !== 0 || dmaBytes >= 2 ** 31 - RAM_START)
    throw new DeviceError('INVALID', `${dmaBytes} bytes of DMA memory: give a multiple of 1 MiB below 2047 MiB`);
  const qemu = options.qemu ?? (await findQemu(options.progress));
  const device = mac === undefined ? name : `${name},mac=${macText(mac)}`;
  try {
    return await Machine.start({ qemu, device, netdev, ram: dmaBytes, virtual: clock !== undefined, lends });
  } catch (error) {
    if (error instanceof VmError) throw new VmError(error.code, `qemu:${name}: ${error.message}`);
    throw error;
  }
}

/** @throws DeviceError 'INVALID' for what cannot be a device's name: it goes to QEMU's command line. */
export function checkName(name: string): void {
  if (!NAME.test(name)) throw new DeviceError('INVALID', `qemu:${name}: a device's name, as in qemu:e1000e, please`);
}

export class QemuDevice implements PciDevice {
  readonly name: string;
  readonly id: PciId;
  readonly config: RegisterSpace;
  readonly dma: DeviceMemory;
  readonly interrupts: QemuInterrupts;
  readonly time: DeviceTime & { close(): void };
  /** QEMU's process. */
  readonly pid: number;
  readonly #slot: Slot;
  #closed = false;

  /** @internal Use openQemu. */
  constructor(name: string, machine: Machine, { clock, onEnd }: QemuOptions) {
    this.name = name;
    this.pid = machine.pid;
    const slot = new Slot(machine, { name, clock, onEnd });
    this.#slot = slot;
    this.time = clock === undefined ? new MachineTime() : new SimTime(clock);
    this.dma = new DeviceMemory(machineArena(machine));
    this.config = slot.config;
    this.id = identityOf(this.config);
    const messages = new MessageCapabilities(this.config, (index) => this.bar(index));
    this.interrupts = new QemuInterrupts(this.config, messages, slot.bell, this.#scheduler(clock));
    slot.onLine = (line, asserted) => this.interrupts.lineChanged(line, asserted);
  }

  #scheduler(clock: Clock | undefined): (again: boolean) => void {
    const deliver = () => this.interrupts.deliver();
    if (clock !== undefined) {
      const alarm = clock.alarm(deliver);
      return (again) => alarm.in(again ? REPEAT : 0);
    }
    let waiting = false;
    return () => {
      if (waiting) return;
      waiting = true;
      setImmediate(() => {
        waiting = false;
        deliver();
      });
    };
  }

  bar(index: number): RegisterSpace {
    return this.#slot.bar(index);
  }

  enable(on: Decoding): void {
    this.#slot.check();
    setCommand(this.config, on);
  }

  reset(): void {
    this.#slot.check();
    this.interrupts.disable();
    this.#slot.reset();
  }

  /**
   * Has QEMU take in what was sent to its netdev by now. Between accesses its main loop may have no time for what it
   * does when idle, such as to begin to listen to a netdev that has connected: it is waited for until it waits itself.
   */
  settle(): void {
    this.#slot.settle();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.enable({ busMaster: false });
    this.interrupts.close();
    this.enable({ memory: false, io: false });
    this.dma.close();
    this.time.close();
    this.#slot.close();
  }
}

/** The machine's RAM, for DMA or for tables. */
export function machineArena({ ram }: Machine): Arena {
  return new Arena(ram.buffer, ram.buffer.byteLength, RAM_START);
}

/** A line that stays asserted interrupts again after this long, as a host takes time to get in and out of a handler. */
const REPEAT = 1 * MICROSECOND;
