/**
 * Interrupts of a function whose line nobody delivers: its handler is called every millisecond, as if another function
 * on a shared line interrupted. It looks for a cause of its own and mostly finds none.
 */
import { COMMAND, COMMAND_INTX_DISABLE } from '../../sim/pci/config.ts';
import { DeviceError, type InterruptMode, type Interrupts } from '../device.ts';
import { closedError } from './base.ts';
import type { ConfigSpace } from './pci-registers.ts';

const PERIOD = 1; // milliseconds

export class PolledInterrupts implements Interrupts {
  /** A message would go to an address that is somebody else's; only the line can be done without. */
  readonly available: Readonly<Record<InterruptMode, number>> = { msix: 0, msi: 0, intx: 1 };
  readonly #config: ConfigSpace;
  #timer: NodeJS.Timeout | null = null;
  #handler: (() => void) | null = null;
  #masked = false;
  #closed = false;

  constructor(config: ConfigSpace) {
    this.#config = config;
  }

  enable(mode: InterruptMode, count: number): void {
    this.#check();
    if (count !== this.available[mode])
      throw new DeviceError(
        'UNSUPPORTED',
        `${count} ${mode} vectors: without VFIO there is one, intx, and it is polled`,
      );
    this.disable();
    this.#timer = setInterval(() => {
      if (!this.#masked) this.#handler?.();
    }, PERIOD);
  }

  /** The real line stays down: with nobody to answer, the kernel would turn it off for all who share it. */
  disable(): void {
    this.#check();
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#masked = false;
    this.#config.write16(COMMAND, this.#config.read16(COMMAND) | COMMAND_INTX_DISABLE);
  }

  on(vector: number, handler: () => void): void {
    this.#check();
    if (vector === 0) this.#handler = handler;
  }

  mask(vector: number): void {
    this.#check();
    if (vector === 0) this.#masked = true;
  }

  unmask(vector: number): void {
    this.#check();
    if (vector === 0) this.#masked = false;
  }

  #check(): void {
    if (this.#closed) throw closedError();
  }

  close(): void {
    this.disable();
    this.#handler = null;
    this.#closed = true;
  }
}
