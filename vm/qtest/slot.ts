/**
 * A QEMU's one slot, with a device in it, as firmware would leave it: its BARs assigned, decoding and bus mastering off.
 * Registers cost a message each way. It knows no driver: that is device.ts, or whoever serves the device to others.
 */
import { clip, closedError, ones, SpaceBase } from '../../drivers/backends/base.ts';
import {
  type AssignedBar,
  assignBars,
  findCapability,
  restoreBars,
  saveBars,
  setCommand,
} from '../../drivers/backends/configuration.ts';
import { DeviceError, type DmaMemory, type RegisterSpace } from '../../drivers/device.ts';
import { type Alarm, type Clock, MICROSECOND, MILLISECOND } from '../../sim/clock.ts';
import { CAP_PCI_EXPRESS, COMMAND, COMMAND_MEMORY, VENDOR_ID } from '../../sim/pci/config.ts';
import { Qtest, type Width } from './connection.ts';
import type { Bell } from './interrupts.ts';
import { Iommu, PAGE_BYTES } from './iommu.ts';
import { BELL, type Machine, ROOT_PORT } from './machine.ts';

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
export interface SlotOptions {
  /** For messages: "qemu:e1000e". */
  readonly name: string;
  /** QEMU's time follows this clock; the machine's time, where absent. */
  readonly clock?: Clock;
  /** Puts the device behind an IOMMU, whose tables go here: it then reaches nothing but what is mapped there, and the bell. */
  readonly tables?: DmaMemory;
  /** Told once where QEMU ends by itself. From then on everything reads as ones. */
  readonly onEnd?: (error: DeviceError) => void;
}

/** Where the bell is for a device behind an IOMMU: the last page that there is. */
export const BELL_IOVA = Iommu.END - PAGE_BYTES;

export class Slot {
  readonly config: RegisterSpace;
  /** Null where this QEMU was built without what it is made of: the device then has INTx alone. */
  readonly bell: Bell | null;
  readonly iommu: Iommu | null = null;
  /** The BARs as they are assigned. */
  readonly assigned: readonly AssignedBar[];
  /** Told of the interrupt controller's lines, from within an access, too. */
  onLine: (line: number, asserted: boolean) => void = () => {};
  readonly #name: string;
  readonly #machine: Machine;
  readonly #qtest: Qtest;
  readonly #pace: Pace | null;
  readonly #rootPort: Space;
  readonly #bars: (Space | null)[] = [];
  #closed = false;

  constructor(machine: Machine, { name, clock, tables, onEnd }: SlotOptions) {
    this.#name = name;
    this.#machine = machine;
    this.#qtest = new Qtest(machine.socket, {
      line: (line, asserted) => {
        this.#pace?.quicken();
        this.onLine(line, asserted);
      },
      end: (why) => onEnd?.(new DeviceError('FAILED', `${name}: QEMU: ${machine.said || why}`)),
    });
    this.#pace = clock === undefined ? null : new Pace(clock, this.#qtest);
    try {
      this.#openBus();
      const bell = this.#openBell();
      this.#rootPort = this.#function(0, ROOT_PORT);
      const windows = this.#openRootPort();
      this.config = this.#function(BUS, 0);
      this.assigned = assignBars(this.config, windows);
      this.#open(this.assigned);
      if (tables !== undefined) this.iommu = new Iommu(this.#qtest, tables, BUS);
      this.bell = bell && this.#reachable(bell);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Configuration space of everything, in memory; and lines instead of interrupts. */
  #openBus(): void {
    this.#qtest.command('irq_intercept_in ioapic');
    this.#qtest.out(4, CONFIG_ADDRESS, 0x8000_0000 | HOST_BRIDGE_PCIEXBAR);
    this.#qtest.out(4, CONFIG_DATA, ECAM | 1);
    const { failure } = this.#qtest;
    if (failure !== null) throw new DeviceError('FAILED', `${this.#name}: QEMU: ${this.#machine.said || failure}`);
  }

  #function(bus: number, slot: number): Space {
    const base = ECAM + (bus << 20) + (slot << 15);
    const config = new Space(this.#qtest, this.#pace, 'memory', base, 4096, () => this.check());
    if (findCapability(config, CAP_PCI_EXPRESS) === 0) config.size = 256;
    return config;
  }

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

  /** The bell where the device sees it. */
  #reachable(bell: Bell): Bell {
    const { iommu } = this;
    if (iommu === null) return bell;
    const inside = bell.address % PAGE_BYTES;
    iommu.map({ start: BELL_IOVA, length: PAGE_BYTES, target: bell.address - inside, writable: true });
    return { ...bell, address: BELL_IOVA + inside };
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

  #open(bars: readonly AssignedBar[]): void {
    for (const { index, kind, address, size } of bars)
      this.#bars[index] = new Space(this.#qtest, this.#pace, kind, address, size, () => this.check());
  }

  /** @throws DeviceError 'UNSUPPORTED' where the device has no such BAR. */
  bar(index: number): RegisterSpace {
    this.check();
    const bar = this.#bars[index] ?? null;
    if (bar === null) throw new DeviceError('UNSUPPORTED', `${this.#name} has no BAR ${index}`);
    return bar;
  }

  /** The root port resets the bus behind it (bridge control, bit 6); BARs stay where they are. */
  reset(): void {
    this.check();
    const bars = saveBars(this.config);
    const control = this.#rootPort.read16(BRIDGE_CONTROL);
    this.#rootPort.write16(BRIDGE_CONTROL, control | BRIDGE_RESET);
    this.#rootPort.write16(BRIDGE_CONTROL, control & ~BRIDGE_RESET);
    restoreBars(this.config, bars);
  }

  /** QEMU's process. */
  get pid(): number {
    return this.#machine.pid;
  }

  /** To a port of the PC's. */
  out(width: Width, port: number, value: number): void {
    this.#qtest.out(width, port, value);
  }

  /** As QemuDevice.settle. */
  settle(): void {
    this.config.read32(VENDOR_ID);
    for (let look = 0; look < LOOKS && !this.#machine.idle; look++);
  }

  check(): void {
    if (this.#closed) throw closedError(this.#name);
  }

  /** Ends QEMU. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#pace?.close();
    this.#qtest.close();
    this.#machine.close();
  }
}

/** q35 routes slot n's INTA# so: slots 4 and 5 have lines 20 and 21 (QEMU, hw/isa/lpc_ich9.c). */
const BELL_LINE = 21;
/** At QEMU's state, some 20 µs each. */
const LOOKS = 10_000;

/** Registers in QEMU's memory or ports. */
class Space extends SpaceBase {
  size: number;
  readonly #qtest: Qtest;
  readonly #pace: Pace | null;
  readonly #ports: boolean;
  readonly #base: number;
  readonly #check: () => void;

  constructor(qtest: Qtest, pace: Pace | null, kind: 'memory' | 'io', base: number, size: number, check: () => void) {
    super();
    this.#qtest = qtest;
    this.#pace = pace;
    this.#ports = kind === 'io';
    this.#base = base;
    this.size = size;
    this.#check = check;
  }

  protected read(offset: number, width: Width): number {
    this.#check();
    if (offset < 0 || offset + width > this.size) return ones(width);
    this.#pace?.sync();
    return this.#ports ? this.#qtest.in(width, this.#base + offset) : this.#qtest.read(width, this.#base + offset);
  }

  protected write(offset: number, width: Width, value: number): void {
    this.#check();
    if (offset < 0 || offset + width > this.size) return;
    this.#pace?.sync();
    this.#pace?.quicken();
    const bits = clip(value, width);
    if (this.#ports) this.#qtest.out(width, this.#base + offset, bits);
    else this.#qtest.write(width, this.#base + offset, bits);
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
