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
import {
  type AssignedBar,
  assignBars,
  type Decoding,
  findCapability,
  identityOf,
  restoreBars,
  saveBars,
  setCommand,
} from '../../drivers/backends/configuration.ts';
import { Arena, DeviceMemory } from '../../drivers/backends/host-memory.ts';
import { MachineTime } from '../../drivers/backends/machine-time.ts';
import { MessageCapabilities } from '../../drivers/backends/messages.ts';
import { SimTime } from '../../drivers/backends/sim.ts';
import { DeviceError, type DeviceTime, type PciDevice, type PciId, type RegisterSpace } from '../../drivers/device.ts';
import { type Alarm, type Clock, MICROSECOND, MILLISECOND } from '../../sim/clock.ts';
import { CAP_PCI_EXPRESS, COMMAND, COMMAND_MEMORY, VENDOR_ID } from '../../sim/pci/config.ts';
import { VmError } from '../errors.ts';
import type { Progress } from '../progress.ts';
import { findQemu, type Qemu } from '../qemu.ts';
import { Qtest, type Width } from './connection.ts';
import { type Bell, QemuInterrupts } from './interrupts.ts';
import { BELL, Machine, RAM_START, ROOT_PORT } from './machine.ts';

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
  const { dmaBytes = DMA_BYTES, mac, netdev, clock } = options;
  if (!NAME.test(name)) throw new DeviceError('INVALID', `qemu:${name}: a device's name, as in qemu:e1000e, please`);
  if (!Number.isInteger(dmaBytes) || dmaBytes <= 0 || dmaBytes % RAM_START !== 0 || dmaBytes >= 2 ** 31 - RAM_START)
    throw new DeviceError('INVALID', `${dmaBytes} bytes of DMA memory: give a multiple of 1 MiB below 2047 MiB`);
  const qemu = options.qemu ?? (await findQemu(options.progress));
  const address = mac && Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':');
  const properties = address === undefined ? name : `${name},mac=${address}`;
  let machine: Machine;
  try {
    machine = await Machine.start({ qemu, device: properties, netdev, ram: dmaBytes, virtual: clock !== undefined });
  } catch (error) {
    if (error instanceof VmError) throw new VmError(error.code, `qemu:${name}: ${error.message}`);
    throw error;
  }
  const device = new QemuDevice(`qemu:${name}`, machine, options);
  device.settle();
  return device;
}

// Where things are in QEMU's q35: the map of its configuration space over all of it, and the hole above for BARs.
const ECAM = 0xb000_0000;
const HOST_BRIDGE_PCIEXBAR = 0x60; // Intel Q35 MCH datasheet, 5.1.13
const CONFIG_ADDRESS = 0xcf8;
const CONFIG_DATA = 0xcfc;
const BELL_WINDOW = { memory: 0xc000_0000, io: 0 };
const WINDOWS = { memory: 0xc100_0000, io: 0xc000 };
const MEMORY_END = 0xdfff_ffff;
const IO_END = 0xcfff;
/** The device's bus, behind the root port. */
const BUS = 1;

// A bridge's header (PCI-to-PCI Bridge Architecture Specification 1.2, chapter 3).
const BRIDGE_BUSES = 0x18; // primary, secondary, subordinate
const BRIDGE_IO = 0x1c;
const BRIDGE_MEMORY = 0x20;
const BRIDGE_PREFETCHABLE = 0x24;
const BRIDGE_IO_UPPER = 0x30;
const BRIDGE_CONTROL = 0x3e;
const BRIDGE_RESET = 1 << 6;

// QEMU docs/specs/edu.rst.
const EDU = 0x11e8_1234;
const EDU_STATUS = 0x24;
const EDU_RAISE = 0x60;
const EDU_ACKNOWLEDGE = 0x64;

export class QemuDevice implements PciDevice {
  readonly name: string;
  readonly id: PciId;
  readonly config: RegisterSpace;
  readonly dma: DeviceMemory;
  readonly interrupts: QemuInterrupts;
  readonly time: DeviceTime & { close(): void };
  /** QEMU's process. */
  readonly pid: number;
  readonly #machine: Machine;
  readonly #qtest: Qtest;
  readonly #pace: Pace | null;
  readonly #rootPort: Space;
  readonly #bars: (Space | null)[] = [];
  #closed = false;

  /** @internal Use openQemu. */
  constructor(name: string, machine: Machine, { clock, onEnd }: QemuOptions) {
    this.name = name;
    this.pid = machine.pid;
    this.#machine = machine;
    let lineMoved: (line: number, asserted: boolean) => void = () => {};
    this.#qtest = new Qtest(machine.socket, {
      line: (line, asserted) => lineMoved(line, asserted),
      end: (why) => onEnd?.(new DeviceError('FAILED', `${name}: QEMU: ${machine.said || why}`)),
    });
    this.#pace = clock === undefined ? null : new Pace(clock, this.#qtest);
    this.time = clock === undefined ? new MachineTime() : new SimTime(clock);
    this.dma = new DeviceMemory(new Arena(machine.ram.buffer, machine.ram.buffer.byteLength, RAM_START));
    try {
      this.#openBus();
      const bell = this.#openBell();
      this.#rootPort = this.#function(0, ROOT_PORT);
      const windows = this.#openRootPort();
      this.config = this.#function(BUS, 0);
      this.#assign(assignBars(this.config, windows));
      this.id = identityOf(this.config);
      const messages = new MessageCapabilities(this.config, (index) => this.bar(index));
      this.interrupts = new QemuInterrupts(this.config, messages, bell, this.#scheduler(clock));
    } catch (error) {
      this.#end();
      throw error;
    }
    lineMoved = (line, asserted) => {
      this.#pace?.quicken();
      this.interrupts.lineChanged(line, asserted);
    };
  }

  /** Configuration space of everything, in memory; and lines instead of interrupts. */
  #openBus(): void {
    this.#qtest.command('irq_intercept_in ioapic');
    this.#qtest.out(4, CONFIG_ADDRESS, 0x8000_0000 | HOST_BRIDGE_PCIEXBAR);
    this.#qtest.out(4, CONFIG_DATA, ECAM | 1);
    const { failure } = this.#qtest;
    if (failure !== null) throw new DeviceError('FAILED', `${this.name}: QEMU: ${this.#machine.said || failure}`);
  }

  #function(bus: number, slot: number): Space {
    const base = ECAM + (bus << 20) + (slot << 15);
    const config = new Space(this.#qtest, this.#pace, 'memory', base, 4096, () => this.#check());
    if (findCapability(config, CAP_PCI_EXPRESS) === 0) config.size = 256;
    return config;
  }

  /** Null where this QEMU was built without it: the device then has INTx alone. */
  #openBell(): Bell | null {
    const config = this.#function(0, BELL);
    if (config.read32(VENDOR_ID) !== EDU) return null;
    const [bar] = assignBars(config, BELL_WINDOW);
    config.write16(COMMAND, COMMAND_MEMORY);
    const { address } = bar!;
    const qtest = this.#qtest;
    return {
      address: address + EDU_RAISE,
      line: BELL_LINE,
      take() {
        const rang = qtest.read(4, address + EDU_STATUS);
        if (qtest.failure !== null) return 0;
        qtest.write(4, address + EDU_ACKNOWLEDGE, rang);
        return rang;
      },
    };
  }

  /** A bridge forwards what lies between its bases and limits. */
  #openRootPort(): { memory: number; io: number } {
    const port = this.#rootPort;
    port.write32(BRIDGE_BUSES, (BUS << 16) | (BUS << 8));
    port.write32(BRIDGE_MEMORY, ((WINDOWS.memory >>> 16) & 0xfff0) | (MEMORY_END & 0xfff0_0000));
    port.write32(BRIDGE_PREFETCHABLE, 0xfff0); // base above limit: none
    port.write16(BRIDGE_IO, ((WINDOWS.io >>> 8) & 0xf0) | (IO_END & 0xf000));
    port.write32(BRIDGE_IO_UPPER, 0);
    setCommand(port, { memory: true, io: true, busMaster: true });
    return WINDOWS;
  }

  #assign(bars: readonly AssignedBar[]): void {
    for (const { index, kind, address, size } of bars)
      this.#bars[index] = new Space(this.#qtest, this.#pace, kind, address, size, () => this.#check());
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
    this.#check();
    const bar = this.#bars[index] ?? null;
    if (bar === null) throw new DeviceError('UNSUPPORTED', `${this.name} has no BAR ${index}`);
    return bar;
  }

  enable(on: Decoding): void {
    this.#check();
    setCommand(this.config, on);
  }

  /** The root port resets the bus behind it (bridge control, bit 6). */
  reset(): void {
    this.#check();
    this.interrupts.disable();
    const bars = saveBars(this.config);
    const control = this.#rootPort.read16(BRIDGE_CONTROL);
    this.#rootPort.write16(BRIDGE_CONTROL, control | BRIDGE_RESET);
    this.#rootPort.write16(BRIDGE_CONTROL, control & ~BRIDGE_RESET);
    restoreBars(this.config, bars);
  }

  /**
   * Has QEMU take in what was sent to its netdev by now. Between accesses its main loop may have no time for what it
   * does when idle, such as to begin to listen to a netdev that has connected: it is waited for until it waits itself.
   */
  settle(): void {
    this.#check();
    this.config.read32(VENDOR_ID);
    for (let look = 0; look < LOOKS && !this.#machine.idle; look++);
  }

  close(): void {
    if (this.#closed) return;
    this.enable({ busMaster: false });
    this.interrupts.close();
    this.enable({ memory: false, io: false });
    this.dma.close();
    this.#end();
  }

  #end(): void {
    this.#closed = true;
    this.time.close();
    this.#pace?.close();
    this.#qtest.close();
    this.#machine.close();
  }

  #check(): void {
    if (this.#closed) throw new DeviceError('CLOSED', `${this.name} is closed: open it again`);
  }
}

/** q35 routes slot n's INTA# so: slots 4 and 5 have lines 20 and 21 (QEMU, hw/isa/lpc_ich9.c). */
const BELL_LINE = 21;
/** A line that stays asserted interrupts again after this long, as a host takes time to get in and out of a handler. */
const REPEAT = 1 * MICROSECOND;
/** At QEMU's state, some 20 µs each. */
const LOOKS = 10_000;

/** Registers in QEMU's memory or ports. */
class Space implements RegisterSpace {
  size: number;
  readonly #qtest: Qtest;
  readonly #pace: Pace | null;
  readonly #ports: boolean;
  readonly #base: number;
  readonly #check: () => void;

  constructor(qtest: Qtest, pace: Pace | null, kind: 'memory' | 'io', base: number, size: number, check: () => void) {
    this.#qtest = qtest;
    this.#pace = pace;
    this.#ports = kind === 'io';
    this.#base = base;
    this.size = size;
    this.#check = check;
  }

  #read(offset: number, width: Width): number {
    this.#check();
    if (offset < 0 || offset + width > this.size) return 0xffffffff >>> (32 - 8 * width);
    this.#pace?.sync();
    return this.#ports ? this.#qtest.in(width, this.#base + offset) : this.#qtest.read(width, this.#base + offset);
  }

  #write(offset: number, width: Width, value: number): void {
    this.#check();
    if (offset < 0 || offset + width > this.size) return;
    this.#pace?.sync();
    this.#pace?.quicken();
    const bits = (value & (0xffffffff >>> (32 - 8 * width))) >>> 0;
    if (this.#ports) this.#qtest.out(width, this.#base + offset, bits);
    else this.#qtest.write(width, this.#base + offset, bits);
  }

  read8(offset: number): number {
    return this.#read(offset, 1);
  }

  read16(offset: number): number {
    return this.#read(offset, 2);
  }

  read32(offset: number): number {
    return this.#read(offset, 4);
  }

  write8(offset: number, value: number): void {
    this.#write(offset, 1, value);
  }

  write16(offset: number, value: number): void {
    this.#write(offset, 2, value);
  }

  write32(offset: number, value: number): void {
    this.#write(offset, 4, value);
  }
}

/** Moves QEMU's virtual clock along with ours. */
class Pace {
  readonly #clock: Clock;
  readonly #qtest: Qtest;
  readonly #alarm: Alarm;
  #at: number; // where QEMU's stands
  #busy: number; // when something last happened

  constructor(clock: Clock, qtest: Qtest) {
    this.#clock = clock;
    this.#qtest = qtest;
    this.#at = Math.floor(clock.now);
    this.#busy = clock.now;
    this.#alarm = clock.alarm(() => this.#tick());
    this.#alarm.in(SHORTEST);
  }

  /** QEMU's clock to now. */
  sync(): void {
    const now = Math.floor(this.#clock.now);
    if (now <= this.#at) return;
    const ns = now - this.#at;
    this.#at = now;
    this.#qtest.step(ns);
  }

  /** Something happens: what comes of it should be seen soon. */
  quicken(): void {
    this.#busy = this.#clock.now;
    if (this.#alarm.deadline - this.#busy > SHORTEST && this.#alarm.scheduled) this.#alarm.in(SHORTEST);
  }

  #tick(): void {
    this.sync();
    const idle = this.#clock.now - this.#busy;
    this.#alarm.in(Math.min(LONGEST, Math.max(SHORTEST, Math.round(idle / 4))));
  }

  close(): void {
    this.#alarm.cancel();
  }
}

// Interrupts are moderated to 14 µs at the least; negotiation takes half a second.
const SHORTEST = 10 * MICROSECOND;
const LONGEST = 10 * MILLISECOND;
