/**
 * Interrupts of a device in another QEMU. INTx is a line of the interrupt controller, which qtest reports. A message is a
 * write to memory, and goes to the bell: QEMU's `edu` device, which turns a write into a line of its own. So all of it comes
 * over the one socket, in order, and nobody polls.
 */
import { InterruptsBase } from '../../drivers/backends/base.ts';
import type { MessageCapabilities } from '../../drivers/backends/messages.ts';
import type { InterruptMode, RegisterSpace } from '../../drivers/device.ts';
import { COMMAND, COMMAND_INTX_DISABLE, INTERRUPT_PIN } from '../../sim/pci/config.ts';

/** Where messages go: bit n of what is written there is vector n. */
export interface Bell {
  /** The message's address. */
  readonly address: number;
  /** The interrupt controller's line. */
  readonly line: number;
  /** Which rang since the last call; lets go of the line. */
  take(): number;
}

/** The bell has a bit for each vector. */
export const MOST_VECTORS = 32;
// q35: the eight PCI interrupts are these lines of the I/O APIC (QEMU, hw/isa/lpc_ich9.c); below are the ISA's.
export const FIRST_LINE = 16;
export const LAST_LINE = 23;

export class QemuInterrupts extends InterruptsBase {
  readonly available: Readonly<Record<InterruptMode, number>>;
  /** Messages of vectors that are not enabled. */
  stray = 0;
  readonly #config: RegisterSpace;
  readonly #messages: MessageCapabilities;
  readonly #bell: Bell | null;
  readonly #schedule: (again: boolean) => void;
  #mode: InterruptMode | null = null;
  #count = 0;
  #lines = 0; // the device's that are asserted
  #ringing = false;
  #masked = 0;
  #pending = 0;

  /** @param schedule has `deliver` called soon; `again` where a handler has just run, and may need some time. */
  constructor(
    config: RegisterSpace,
    messages: MessageCapabilities,
    bell: Bell | null,
    schedule: (again: boolean) => void,
  ) {
    super();
    this.#config = config;
    this.#messages = messages;
    this.#bell = bell;
    this.#schedule = schedule;
    const { msi, msix } = messages.available;
    this.available = {
      // MSI counts its vectors in the message, where the bell wants a bit for each: so there is but one.
      msi: bell === null ? 0 : Math.min(msi, 1),
      msix: bell === null ? 0 : Math.min(msix, MOST_VECTORS),
      intx: config.read8(INTERRUPT_PIN) === 0 ? 0 : 1,
    };
  }

  get mode(): InterruptMode | null {
    return this.#mode;
  }

  protected turnOn(mode: InterruptMode, count: number): void {
    this.#mode = mode;
    this.#count = count;
    if (mode === 'msix') this.#messages.enableMsiX(count, this.#bell!.address, (vector) => (1 << vector) >>> 0);
    else if (mode === 'msi') this.#messages.enableMsi(1, this.#bell!.address, 1);
    else this.#setIntxDisable(false);
  }

  disable(): void {
    this.check();
    this.#mode = null;
    this.#count = 0;
    this.#pending = 0;
    this.#masked = 0;
    this.#setIntxDisable(true);
    this.#messages.disable();
    if (this.#ringing) this.#bell?.take();
  }

  protected hold(vector: number, back: boolean): void {
    if (back) {
      this.#masked |= 1 << vector;
      return;
    }
    this.#masked &= ~(1 << vector);
    if ((this.#pending & ~this.#masked) !== 0 || this.#lineUnmasked) this.#schedule(false);
  }

  /** @internal A line of the interrupt controller moved. */
  lineChanged(line: number, asserted: boolean): void {
    if (line === this.#bell?.line) this.#ringing = asserted;
    else if (line < FIRST_LINE || line > LAST_LINE) return;
    else if (asserted) this.#lines |= 1 << line;
    else this.#lines &= ~(1 << line);
    if (this.#ringing || this.#lineUnmasked) this.#schedule(false);
  }

  /** @internal From the event loop, or the clock. */
  deliver(): void {
    if (this.closed) return;
    if (this.#mode === 'intx') this.#deliverLine();
    else this.#deliverMessages();
  }

  #deliverLine(): void {
    if (!this.#lineUnmasked) return;
    this.handlers[0]?.();
    if (this.#lineUnmasked) this.#schedule(true); // the handler may have changed any of it
  }

  get #lineUnmasked(): boolean {
    return this.#mode === 'intx' && this.#lines !== 0 && (this.#masked & 1) === 0;
  }

  #deliverMessages(): void {
    if (this.#ringing) this.#collect();
    for (let vector = 0; vector < this.#count; vector++) {
      const bit = 1 << vector;
      if ((this.#pending & ~this.#masked & bit) === 0) continue;
      this.#pending &= ~bit;
      this.handlers[vector]?.();
    }
    if (this.#ringing) this.#schedule(true);
  }

  #collect(): void {
    const rang = this.#bell!.take();
    const wanted = this.#count >= MOST_VECTORS ? -1 : (1 << this.#count) - 1;
    if ((rang & ~wanted) !== 0) this.stray++;
    this.#pending |= rang & wanted;
  }

  #setIntxDisable(on: boolean): void {
    const command = this.#config.read16(COMMAND);
    this.#config.write16(COMMAND, on ? command | COMMAND_INTX_DISABLE : command & ~COMMAND_INTX_DISABLE);
  }
}
