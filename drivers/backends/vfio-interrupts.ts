/** Interrupts of a function that VFIO offers: an eventfd a vector, watched by the event loop. */
import { closeSync, readSync } from 'node:fs';
import {
  createEventfd,
  disableIrqs,
  enableIrqs,
  irqInfo,
  NativeError,
  unmaskIrq,
  type Watch,
  watch,
} from '../../native/index.ts';
import { COMMAND, COMMAND_INTX_DISABLE } from '../../sim/pci/config.ts';
import { DeviceError, type InterruptMode } from '../device.ts';
import { InterruptsBase } from './base.ts';
import type { ConfigSpace } from './pci-registers.ts';

/** VFIO_PCI_…_IRQ_INDEX. */
const INDEX: Record<InterruptMode, number> = { intx: 0, msi: 1, msix: 2 };

interface Vector {
  readonly fd: number;
  readonly watch: Watch;
}

export class VfioInterrupts extends InterruptsBase {
  readonly available: Readonly<Record<InterruptMode, number>>;
  readonly #device: number;
  readonly #config: ConfigSpace;
  readonly #counter = new Uint8Array(8);
  #mode: InterruptMode | null = null;
  #vectors: Vector[] = [];

  constructor(device: number, config: ConfigSpace) {
    super();
    this.#device = device;
    this.#config = config;
    const count = (mode: InterruptMode) => irqInfo(device, INDEX[mode]).count;
    this.available = { msix: count('msix'), msi: count('msi'), intx: count('intx') };
  }

  get mode(): InterruptMode | null {
    return this.#mode;
  }

  protected turnOn(mode: InterruptMode, count: number): void {
    this.#vectors = Array.from({ length: count }, (_, vector) => this.#listen(vector));
    try {
      if (mode === 'intx') this.#config.write16(COMMAND, this.#config.read16(COMMAND) & ~COMMAND_INTX_DISABLE);
      const eventfds = this.#vectors.map(({ fd }) => fd);
      enableIrqs(this.#device, INDEX[mode], eventfds);
    } catch (error) {
      this.#release();
      const { code, message } = error as NativeError;
      if (error instanceof NativeError && ['ENOSPC', 'EBUSY'].includes(code))
        throw new DeviceError('UNSUPPORTED', `${count} ${mode} vectors: the machine has not so many left (${message})`);
      throw error;
    }
    this.#mode = mode;
  }

  #listen(vector: number): Vector {
    const fd = createEventfd();
    try {
      const mine: Vector = { fd, watch: watch(fd, { readable: () => this.#arrived(mine, vector) }) };
      mine.watch.start();
      return mine;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  #arrived(from: Vector, vector: number): void {
    readSync(from.fd, this.#counter, 0, 8, null);
    try {
      this.handlers[vector]?.();
    } finally {
      // The kernel has masked the line. The handler may have turned interrupts off.
      if (this.#mode === 'intx' && this.#vectors[0] === from) unmaskIrq(this.#device, INDEX.intx);
    }
  }

  disable(): void {
    this.check();
    if (this.#mode !== null) disableIrqs(this.#device, INDEX[this.#mode]);
    this.#mode = null;
    this.#release();
  }

  #release(): void {
    for (const { fd, watch } of this.#vectors) {
      watch.close();
      closeSync(fd);
    }
    this.#vectors = [];
  }

  /** The eventfd counts on meanwhile. */
  protected hold(vector: number, back: boolean): void {
    const watched = this.#vectors[vector]?.watch;
    if (back) watched?.stop();
    else watched?.start();
  }
}
