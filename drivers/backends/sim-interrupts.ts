/**
 * Interrupts of a model in this process. What the function signals only sets a flag and an alarm for "now", so that a
 * handler runs from the clock, never from within the register access that raised it.
 *
 * Sections: PCI Local Bus Specification 3.0.
 */
import { type Alarm, type Clock, MICROSECOND } from '../../sim/clock.ts';
import {
  CAP_MSI,
  CAP_MSI_X,
  CAPABILITIES,
  COMMAND,
  COMMAND_INTX_DISABLE,
  COMMAND_MEMORY,
  INTERRUPT_PIN,
  STATUS,
  STATUS_CAPABILITIES,
} from '../../sim/pci/config.ts';
import type { PciFunction } from '../../sim/pci/function.ts';
import { DeviceError, type InterruptMode, type Interrupts } from '../device.ts';

/** A line that stays asserted interrupts again after this long, as a host takes time to get in and out of a handler. */
const REPEAT = 1 * MICROSECOND;

// 6.8.1.3 and 6.8.2.3: message control.
const CONTROL = 2;
const MSI_ENABLE = 1;
const MSI_64 = 0x80;
const MSI_COUNT = 0x70; // log2 of the vectors enabled, in bits 6:4
const MSIX_ENABLE = 0x8000;
const MSIX_SIZE = 0x7ff;
const MSIX_ENTRY = 16;
/** Where messages go on a PC: the local APIC of processor 0 (Intel SDM volume 3, "Message Address Register Format"). */
export const MESSAGE_ADDRESS = 0xfee0_0000;

export class SimInterrupts implements Interrupts {
  available: Readonly<Record<InterruptMode, number>> = { msix: 0, msi: 0, intx: 0 };
  /** Messages whose address or data is not what was programmed: none, unless the model is broken. */
  stray = 0;
  readonly #alarm: Alarm;
  #model: PciFunction | null = null;
  #msi = 0;
  #msix = 0;
  #mode: InterruptMode | null = null;
  #count = 0;
  #line = false;
  #closed = false;
  #handlers: ((() => void) | undefined)[] = [];
  #masked: boolean[] = [];
  #pending: boolean[] = [];

  constructor(clock: Clock) {
    this.#alarm = clock.alarm(() => this.#deliver());
  }

  /** @internal The function, once it is made: a model may move its line from its constructor. */
  attach(model: PciFunction): void {
    const { config } = model;
    this.#model = model;
    this.#msi = findCapability(model, CAP_MSI);
    this.#msix = findCapability(model, CAP_MSI_X);
    this.available = {
      msix: this.#msix === 0 ? 0 : (config.peek(this.#msix + CONTROL, 2) & MSIX_SIZE) + 1,
      msi: this.#msi === 0 ? 0 : 1 << ((config.peek(this.#msi + CONTROL, 2) >> 1) & 7),
      intx: config.peek(INTERRUPT_PIN, 1) === 0 ? 0 : 1,
    };
  }

  get mode(): InterruptMode | null {
    return this.#mode;
  }

  enable(mode: InterruptMode, count: number): void {
    this.#check();
    const most = this.available[mode];
    if (!Number.isInteger(count) || count < 1 || count > most) {
      throw new DeviceError('UNSUPPORTED', `${count} ${mode} vectors: the function has ${most}`);
    }
    this.disable();
    this.#mode = mode;
    this.#count = count;
    if (mode === 'msix') this.#programMsiX(count);
    else if (mode === 'msi') this.#programMsi(count);
    else this.#setCommand(COMMAND_INTX_DISABLE, false);
  }

  /** Turns interrupts off; handlers stay, what is pending or masked is forgotten. */
  disable(): void {
    this.#check();
    this.#mode = null;
    this.#count = 0;
    this.#pending = [];
    this.#masked = [];
    this.#alarm.cancel();
    this.#setCommand(COMMAND_INTX_DISABLE, true);
    this.#setControl(this.#msi, MSI_ENABLE | MSI_COUNT, 0);
    this.#setControl(this.#msix, MSIX_ENABLE, 0);
  }

  on(vector: number, handler: () => void): void {
    this.#check();
    this.#handlers[vector] = handler;
  }

  mask(vector: number): void {
    this.#check();
    this.#masked[vector] = true;
  }

  unmask(vector: number): void {
    this.#check();
    this.#masked[vector] = false;
    if (this.#pending[vector] === true || this.#lineUnmasked()) this.#alarm.in(0);
  }

  /** @internal The level of INTA#. */
  lineChanged(asserted: boolean): void {
    this.#line = asserted;
    if (this.#lineUnmasked()) this.#alarm.in(0);
  }

  /** @internal A memory write to where messages go. */
  messageArrived(low: number, high: number, data: number): void {
    if (low !== MESSAGE_ADDRESS || high !== 0 || data >= this.#count || this.#mode === 'intx') {
      this.stray++;
      return;
    }
    this.#pending[data] = true;
    this.#alarm.in(0);
  }

  #deliver(): void {
    if (this.#mode === 'intx') this.#deliverLine();
    else this.#deliverMessages();
  }

  #deliverLine(): void {
    if (!this.#lineUnmasked()) return;
    this.#handlers[0]?.();
    if (this.#lineUnmasked()) this.#alarm.in(REPEAT); // the handler may have changed any of it
  }

  #lineUnmasked(): boolean {
    return this.#mode === 'intx' && this.#line && this.#masked[0] !== true;
  }

  #deliverMessages(): void {
    for (let vector = 0; vector < this.#count; vector++) {
      if (this.#pending[vector] !== true || this.#masked[vector] === true) continue;
      this.#pending[vector] = false;
      this.#handlers[vector]?.();
    }
  }

  #programMsi(count: number): void {
    const { config } = this.#model!;
    const wide = (config.peek(this.#msi + CONTROL, 2) & MSI_64) !== 0;
    config.write(this.#msi + 4, 4, MESSAGE_ADDRESS);
    if (wide) config.write(this.#msi + 8, 4, 0);
    config.write(this.#msi + (wide ? 12 : 8), 2, 0);
    const enabled = Math.ceil(Math.log2(count)) << 4;
    this.#setControl(this.#msi, MSI_COUNT | MSI_ENABLE, enabled | MSI_ENABLE);
  }

  /** 6.8.2: the table sits behind a BAR, which must decode while it is written. */
  #programMsiX(count: number): void {
    const model = this.#model!;
    const command = model.config.read(COMMAND, 2);
    const place = model.config.peek(this.#msix + 4, 4);
    const bar = place & 7;
    const table = (place & ~7) >>> 0;
    model.config.write(COMMAND, 2, command | COMMAND_MEMORY);
    for (let vector = 0; vector < count; vector++) {
      const at = table + vector * MSIX_ENTRY;
      model.writeBar(bar, at, 4, MESSAGE_ADDRESS);
      model.writeBar(bar, at + 4, 4, 0);
      model.writeBar(bar, at + 8, 4, vector);
      model.writeBar(bar, at + 12, 4, 0);
    }
    model.config.write(COMMAND, 2, command);
    this.#setControl(this.#msix, MSIX_ENABLE, MSIX_ENABLE);
  }

  #setCommand(bit: number, on: boolean): void {
    const { config } = this.#model!;
    const command = config.read(COMMAND, 2);
    config.write(COMMAND, 2, on ? command | bit : command & ~bit);
  }

  #setControl(capability: number, mask: number, value: number): void {
    if (capability === 0) return;
    const { config } = this.#model!;
    config.write(capability + CONTROL, 2, (config.read(capability + CONTROL, 2) & ~mask) | value);
  }

  #check(): void {
    if (this.#closed) throw new DeviceError('CLOSED', 'the device is closed: open it again');
  }

  close(): void {
    this.disable();
    this.#handlers = [];
    this.#closed = true;
  }
}

/** Walks the list (6.7); bounded, because a broken one may be a circle. */
function findCapability({ config }: PciFunction, id: number): number {
  if ((config.peek(STATUS, 2) & STATUS_CAPABILITIES) === 0) return 0;
  let at = config.peek(CAPABILITIES, 1) & ~3;
  for (let seen = 0; at !== 0 && seen < 48; seen++) {
    if (config.peek(at, 1) === id) return at;
    at = config.peek(at + 1, 1) & ~3;
  }
  return 0;
}
