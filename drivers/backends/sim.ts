/**
 * The sim backend: a model in this process as a PciDevice. No Node API: it runs in a browser as it does in a test.
 *
 * Time is the model's clock. Where that is virtual somebody has to move it: see clock-steps.ts.
 */
import { Clock } from '../../sim/clock.ts';
import type { Board, HostOf } from '../../sim/nic/board.ts';
import { SrIov } from '../../sim/pci/capabilities/index.ts';
import { VENDOR_ID } from '../../sim/pci/config.ts';
import type { Host, PciFunction, Region } from '../../sim/pci/function.ts';
import { DeviceError, type DeviceTime, type PciDevice, type PciId, type RegisterSpace } from '../device.ts';
import { closedError, SpaceBase, type Width } from './base.ts';
import { assignBars, type Decoding, identityOf, restoreBars, saveBars, setCommand } from './configuration.ts';
import { DeviceMemory, HostMemory } from './host-memory.ts';
import { SimInterrupts } from './sim-interrupts.ts';

export interface SimOptions {
  /** As on the command line: "sim:e1000". */
  readonly name: string;
  /** Time; a virtual clock of its own, if absent. */
  readonly clock?: Clock;
  /** Size of the DMA arena, where the device has one of its own. */
  readonly dmaBytes?: number;
  /** And of what models keep their packet buffers in, behind it; 8 MiB, if absent. */
  readonly modelBytes?: number;
  /** Memory shared with other devices of the same host. */
  readonly memory?: HostMemory;
}

/** Opens a model as firmware would leave it for a driver: its BARs assigned, decoding and bus mastering off. */
export function openSim(makeFunction: (host: Host) => PciFunction, options: SimOptions): SimDevice {
  const slot = new Slot(options);
  return new SimDevice(makeFunction(slot.host), slot, options.name);
}

/**
 * Opens all of a board's functions, in one host: "sim:board/0" and so on, or as `options.name` has it. `open` opens a virtual
 * one, once it is there.
 */
export function openSimBoard<Kind extends Board>(
  makeBoard: (hostOf: HostOf) => Kind,
  options: SimOptions,
): {
  readonly board: Kind;
  readonly devices: readonly SimDevice[];
  readonly open: (virtual: PciFunction) => SimDevice;
} {
  const { clock = new Clock(), memory = new HostMemory(options.dmaBytes, options.modelBytes) } = options;
  const slots = new Map<number, Slot>();
  const board = makeBoard((number) => {
    const slot = new Slot({ ...options, clock, memory });
    slots.set(number, slot);
    return slot.host;
  });
  const open = (it: PciFunction) => {
    const physical = board.functions.find(({ virtualFunctions }) => virtualFunctions.includes(it));
    return new SimDevice(it, slots.get(it.number)!, `${options.name}/${it.number}`, physical);
  };
  return { board, devices: board.functions.map(open), open };
}

/** What a function is plugged into. */
class Slot {
  readonly clock: Clock;
  readonly memory: HostMemory;
  readonly interrupts: SimInterrupts;
  readonly host: Host;

  constructor({ clock = new Clock(), memory, dmaBytes, modelBytes }: SimOptions) {
    const host = memory ?? new HostMemory(dmaBytes, modelBytes);
    const interrupts = new SimInterrupts(clock);
    this.clock = clock;
    this.memory = host;
    this.interrupts = interrupts;
    this.host = {
      clock,
      memory: host.space,
      packetMemory: (size) => host.packetMemory(size),
      intx: (asserted) => interrupts.lineChanged(asserted),
      message: (_vector, low, high, data) => interrupts.messageArrived(low, high, data),
    };
  }
}

export class SimDevice implements PciDevice {
  readonly name: string;
  readonly id: PciId;
  readonly clock: Clock;
  /** The model, for whoever plugs in its ports. */
  readonly function: PciFunction;
  readonly config: RegisterSpace;
  readonly dma: DeviceMemory;
  readonly interrupts: SimInterrupts;
  readonly time: SimTime;
  readonly #bars: readonly (BarSpace | null)[];
  #closed = false;

  /** @param physical of a virtual function, whose identity it is (SR-IOV 1.1, 3.4.1). */
  constructor(model: PciFunction, { clock, memory, interrupts }: Slot, name: string, physical?: PciFunction) {
    this.name = name;
    this.clock = clock;
    this.interrupts = interrupts;
    this.function = model;
    this.config = new ConfigRegisters(model, () => this.#check());
    this.#bars = model.bars.map((region, index) => (region === null ? null : new BarSpace(model, index, region)));
    assignBars(this.config, WINDOWS);
    this.interrupts.attach(this.config, (index) => this.bar(index));
    this.id = identityOf(this.config);
    const virtual = physical?.part(SrIov);
    if (physical && virtual) {
      const vendor = physical.config.peek(VENDOR_ID, 2);
      this.id = { ...this.id, vendor, device: virtual.device };
    }
    this.dma = new DeviceMemory(memory);
    this.time = new SimTime(this.clock);
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

  reset(): void {
    this.#check();
    const bars = saveBars(this.config);
    this.interrupts.disable();
    this.function.reset('function');
    restoreBars(this.config, bars);
  }

  close(): void {
    if (this.#closed) return;
    this.enable({ busMaster: false });
    this.interrupts.close();
    this.enable({ memory: false, io: false });
    this.#closed = true;
    for (const bar of this.#bars) bar?.close();
    this.time.close();
    this.dma.close();
  }

  #check(): void {
    if (this.#closed) throw closedError(this.name);
  }
}

/** Where a PC's firmware puts them: memory under the top of 4 GiB, ports in the upper 16 bits of the port space. */
const WINDOWS = { memory: 0xfe00_0000, io: 0xc000 };

/** Configuration space, as any software on the bus sees it. */
class ConfigRegisters extends SpaceBase {
  readonly size: number;
  readonly #model: PciFunction;
  readonly #check: () => void;

  constructor(model: PciFunction, check: () => void) {
    super();
    this.#model = model;
    this.#check = check;
    this.size = model.config.bytes.length;
  }

  protected read(offset: number, width: Width): number {
    this.#check();
    return this.#model.config.read(offset, width);
  }

  protected write(offset: number, width: Width, value: number): void {
    this.#check();
    this.#model.config.write(offset, width, value);
  }
}

/**
 * A BAR. A 32-bit access goes straight to the region where the function decodes and the offset is inside; everything
 * else (other widths, decoding off, MSI-X tables, out of range) takes the function's own, careful way.
 */
class BarSpace extends SpaceBase {
  readonly size: number;
  readonly #model: PciFunction;
  readonly #index: number;
  readonly #region: Region;
  readonly #decoding: Uint8Array;
  #last: number; // the last offset of the fast path; -1 closes it
  #closed = false;

  constructor(model: PciFunction, index: number, region: Region) {
    super();
    this.size = region.size;
    this.#model = model;
    this.#index = index;
    this.#region = region;
    this.#decoding = model.decoding;
    this.#last = model.msixBar === index ? -1 : region.size - 4;
  }

  override read32(offset: number): number {
    if (this.#decoding[this.#index] === 1 && offset >= 0 && offset <= this.#last) {
      return this.#region.read(offset, 4) >>> 0;
    }
    return this.read(offset, 4);
  }

  override write32(offset: number, value: number): void {
    if (this.#decoding[this.#index] === 1 && offset >= 0 && offset <= this.#last) {
      this.#region.write(offset, 4, value >>> 0);
    } else {
      this.write(offset, 4, value);
    }
  }

  protected read(offset: number, width: Width): number {
    if (this.#closed) throw closedError();
    return this.#model.readBar(this.#index, offset, width) >>> 0;
  }

  protected write(offset: number, width: Width, value: number): void {
    if (this.#closed) throw closedError();
    this.#model.writeBar(this.#index, offset, width, value >>> 0);
  }

  close(): void {
    this.#last = -1;
    this.#closed = true;
  }
}

/** Time on the model's clock. */
export class SimTime implements DeviceTime {
  readonly #clock: Clock;
  readonly #cancels = new Set<() => void>();
  #closed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  now(): number {
    this.#check();
    return this.#clock.now;
  }

  /** Rejects with 'CLOSED' where the device is closed meanwhile. */
  delay(ns: number): Promise<void> {
    this.#check();
    return new Promise((resolve, reject) => {
      const alarm = this.#clock.alarm(() => {
        this.#cancels.delete(cancel);
        resolve();
      });
      const cancel = () => {
        alarm.cancel();
        reject(closedError());
      };
      this.#cancels.add(cancel);
      alarm.in(ns);
    });
  }

  every(ns: number, action: () => void): { stop(): void } {
    this.#check();
    const alarm = this.#clock.alarm(() => {
      alarm.in(ns);
      action();
    });
    const cancel = () => alarm.cancel();
    this.#cancels.add(cancel);
    alarm.in(ns);
    return {
      stop: () => {
        this.#cancels.delete(cancel);
        alarm.cancel();
      },
    };
  }

  #check(): void {
    if (this.#closed) throw closedError();
  }

  close(): void {
    this.#closed = true;
    for (const cancel of [...this.#cancels]) cancel();
    this.#cancels.clear();
  }
}
