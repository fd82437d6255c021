/**
 * Interrupts of a function whose line nobody delivers: its handler is called every millisecond, as if another function
 * on a shared line interrupted. It looks for a cause of its own and mostly finds none.
 */
import { COMMAND, COMMAND_INTX_DISABLE } from '../../sim/pci/config.ts';
import type { InterruptMode } from '../device.ts';
import { InterruptsBase } from './base.ts';
import type { ConfigSpace } from './pci-registers.ts';

const PERIOD = 1; // milliseconds

export class PolledInterrupts extends InterruptsBase {
  /** A message would go to an address that is somebody else's; only the line can be done without. */
  readonly available: Readonly<Record<InterruptMode, number>> = { msix: 0, msi: 0, intx: 1 };
  readonly #config: ConfigSpace;
  #timer: NodeJS.Timeout | null = null;
  #masked = false;

  constructor(config: ConfigSpace) {
    super();
    this.#config = config;
  }

  protected turnOn(): void {
    this.#timer = setInterval(() => {
      if (!this.#masked) this.handlers[0]?.();
    }, PERIOD);
  }

  /** The real line stays down: with nobody to answer, the kernel would turn it off for all who share it. */
  disable(): void {
    this.check();
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#masked = false;
    this.#config.write16(COMMAND, this.#config.read16(COMMAND) | COMMAND_INTX_DISABLE);
  }

  protected hold(vector: number, back: boolean): void {
    if (vector === 0) this.#masked = back;
  }
}
