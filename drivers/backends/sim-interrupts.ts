/**
 * Interrupts of a model in this process. What the function signals only sets a flag and an alarm for "now", so that a
 * handler runs from the clock, never from within the register access that raised it.
 *
 * Sections: PCI Local Bus Specification 3.0.
 */
import { type Alarm, type Clock, MICROSECOND } from '../../sim/clock.ts';
import { COMMAND, COMMAND_INTX_DISABLE, INTERRUPT_PIN } from '../../sim/pci/config.ts';
import type { InterruptMode, RegisterSpace } from '../device.ts';
import { InterruptsBase } from './base.ts';
import { MessageCapabilities } from './messages.ts';

/** A line that stays asserted interrupts again after this long, as a host takes time to get in and out of a handler. */
const REPEAT = 1 * MICROSECOND;

/** Where messages go on a PC: the local APIC of processor 0 (Intel SDM volume 3, "Message Address Register Format"). */
export const MESSAGE_ADDRESS = 0xfee0_0000;

export class SimInterrupts extends InterruptsBase {
  available: Readonly<Record<InterruptMode, number>> = { msix: 0, msi: 0, intx: 0 };
  /** Messages whose address or data is not what was programmed: none, unless the model is broken. */
  stray = 0;
  readonly #alarm: Alarm;
  #config!: RegisterSpace;
  #messages!: MessageCapabilities;
  #mode: InterruptMode | null = null;
  #count = 0;
  #line = false;
  #masked: boolean[] = [];
  #pending: boolean[] = [];

  constructor(clock: Clock) {
    super();
    this.#alarm = clock.alarm(() => this.#deliver());
  }

  /** @internal The function, once it is made: a model may move its line from its constructor. */
  attach(config: RegisterSpace, bar: (index: number) => RegisterSpace): void {
    this.#config = config;
    this.#messages = new MessageCapabilities(config, bar);
    this.available = { ...this.#messages.available, intx: config.read8(INTERRUPT_PIN) === 0 ? 0 : 1 };
  }

  get mode(): InterruptMode | null {
    return this.#mode;
  }

  protected turnOn(mode: InterruptMode, count: number): void {
    this.#mode = mode;
    this.#count = count;
    if (mode === 'msix') this.#messages.enableMsiX(count, MESSAGE_ADDRESS, (vector) => vector);
    else if (mode === 'msi') this.#messages.enableMsi(count, MESSAGE_ADDRESS, 0);
    else this.#setCommand(COMMAND_INTX_DISABLE, false);
  }

  disable(): void {
    this.check();
    this.#mode = null;
    this.#count = 0;
    this.#pending = [];
    this.#masked = [];
    this.#alarm.cancel();
    this.#setCommand(COMMAND_INTX_DISABLE, true);
    this.#messages.disable();
  }

  protected hold(vector: number, back: boolean): void {
    this.#masked[vector] = back;
    if (!back && (this.#pending[vector] === true || this.#lineUnmasked())) this.#alarm.in(0);
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
    this.handlers[0]?.();
    if (this.#lineUnmasked()) this.#alarm.in(REPEAT); // the handler may have changed any of it
  }

  #lineUnmasked(): boolean {
    return this.#mode === 'intx' && this.#line && this.#masked[0] !== true;
  }

  #deliverMessages(): void {
    for (let vector = 0; vector < this.#count; vector++) {
      if (this.#pending[vector] !== true || this.#masked[vector] === true) continue;
      this.#pending[vector] = false;
      this.handlers[vector]?.();
    }
  }

  #setCommand(bit: number, on: boolean): void {
    const command = this.#config.read16(COMMAND);
    this.#config.write16(COMMAND, on ? command | bit : command & ~bit);
  }
}
