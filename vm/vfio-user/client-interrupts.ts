/**
 * A served device's interrupts, as its driver sees them: an eventfd a vector, which the server signals (linux/vfio.h,
 * VFIO_DEVICE_SET_IRQS).
 *
 * What is masked at the host is simply not looked at: the eventfd counts, and says so once when it is looked at again. INTx
 * is masked by the server with each signal; once the handler is through it is unmasked, and comes again where the device
 * still asserts it.
 */
import { closeSync } from 'node:fs';
import { InterruptsBase } from '../../drivers/backends/base.ts';
import { MessageCapabilities } from '../../drivers/backends/messages.ts';
import { MESSAGE_ADDRESS } from '../../drivers/backends/sim-interrupts.ts';
import type { InterruptMode, RegisterSpace } from '../../drivers/device.ts';
import { createEventfd, drainEventfd, type Watch, watch } from '../../native/index.ts';
import { COMMAND, COMMAND_INTX_DISABLE, INTERRUPT_PIN } from '../../sim/pci/config.ts';
import {
  COMMAND_DEVICE_GET_IRQ_INFO,
  COMMAND_DEVICE_SET_IRQS,
  IRQ_ACTION_TRIGGER,
  IRQ_ACTION_UNMASK,
  IRQ_DATA_EVENTFD,
  IRQ_DATA_NONE,
  IRQ_FLAG_EVENTFD,
  IRQ_INFO_BYTES,
  IRQ_INTX,
  IRQ_MSI,
  IRQ_MSIX,
  SET_IRQS_BYTES,
} from './codec.ts';
import type { Connection, Descriptors } from './connection.ts';

const INDEXES: Readonly<Record<InterruptMode, number>> = { intx: IRQ_INTX, msi: IRQ_MSI, msix: IRQ_MSIX };
const MSI_MOST = 32; // PCI 3.0, 6.8.1.3
const MSIX_MOST = 2048; // 6.8.2.3

interface Vector {
  readonly eventfd: number;
  readonly watch: Watch;
}

export class ClientInterrupts extends InterruptsBase {
  readonly available: Readonly<Record<InterruptMode, number>>;
  readonly #connection: Connection;
  readonly #config: RegisterSpace;
  readonly #messages: MessageCapabilities;
  readonly #descriptorsMost: number;
  #mode: InterruptMode | null = null;
  #vectors: Vector[] = [];

  /** @param descriptorsMost what the server takes in one message. */
  constructor(
    connection: Connection,
    config: RegisterSpace,
    bar: (index: number) => RegisterSpace,
    descriptorsMost: number,
  ) {
    super();
    this.#connection = connection;
    this.#config = config;
    this.#descriptorsMost = descriptorsMost;
    this.#messages = new MessageCapabilities(config, bar);
    const { msi, msix } = this.#messages.available;
    this.available = {
      intx: config.read8(INTERRUPT_PIN) === 0 ? 0 : Math.min(1, this.#offered(IRQ_INTX)),
      msi: Math.min(msi, this.#offered(IRQ_MSI), MSI_MOST),
      msix: Math.min(msix, this.#offered(IRQ_MSIX), MSIX_MOST),
    };
  }

  /** Vectors of this index that the server signals by eventfd. */
  #offered(index: number): number {
    const { request, reply } = this.#connection;
    request.payload = IRQ_INFO_BYTES;
    request.setU32(0, IRQ_INFO_BYTES);
    request.setU32(4, 0);
    request.setU32(8, index);
    request.setU32(12, 0);
    if (this.#connection.tryAsk(COMMAND_DEVICE_GET_IRQ_INFO, IRQ_INFO_BYTES) !== 0) return 0;
    return (reply.u32(4) & IRQ_FLAG_EVENTFD) === 0 ? 0 : reply.u32(12);
  }

  protected turnOn(mode: InterruptMode, count: number): void {
    this.#mode = mode;
    for (let vector = 0; vector < count; vector++) this.#vectors.push(this.#makeVector(vector));
    this.#assign(INDEXES[mode]);
    if (mode === 'msix') this.#messages.enableMsiX(count, MESSAGE_ADDRESS, (vector) => vector);
    else if (mode === 'msi') this.#messages.enableMsi(count, MESSAGE_ADDRESS, 0);
    else this.#allowLine(true);
  }

  #makeVector(vector: number): Vector {
    const eventfd = createEventfd();
    const watched = watch(eventfd, { readable: () => this.#signalled(vector) });
    watched.start();
    return { eventfd, watch: watched };
  }

  /** As many at once as fit in a message. */
  #assign(index: number): void {
    const eventfds = Int32Array.from(this.#vectors, ({ eventfd }) => eventfd);
    for (let start = 0; start < eventfds.length; start += this.#descriptorsMost) {
      const fds = eventfds.subarray(start, start + this.#descriptorsMost);
      this.#setIrqs(index, IRQ_DATA_EVENTFD | IRQ_ACTION_TRIGGER, start, fds.length, fds);
    }
  }

  disable(): void {
    const mode = this.#mode;
    this.#forget();
    this.#allowLine(false);
    this.#messages.disable();
    if (mode !== null) this.#setIrqs(INDEXES[mode], IRQ_DATA_NONE | IRQ_ACTION_TRIGGER, 0, 0);
  }

  #forget(): void {
    this.#mode = null;
    for (const { eventfd, watch } of this.#vectors) {
      watch.close();
      closeSync(eventfd);
    }
    this.#vectors = [];
  }

  protected hold(vector: number, back: boolean): void {
    const watched = this.#vectors[vector]?.watch;
    if (back) watched?.stop();
    else watched?.start();
  }

  protected override check(): void {
    if (this.#connection.failure !== null) throw this.#connection.failure;
  }

  #signalled(vector: number): void {
    const { eventfd } = this.#vectors[vector]!;
    drainEventfd(eventfd); // which the server has, too, and may have read already
    const mode = this.#mode;
    this.handlers[vector]?.();
    // The handler may have turned interrupts off, or on anew.
    if (mode === 'intx' && this.#vectors[vector]?.eventfd === eventfd) this.#unmaskLine();
  }

  #unmaskLine(): void {
    if (this.#connection.failure !== null) return; // the next access says so
    this.#setIrqs(IRQ_INTX, IRQ_DATA_NONE | IRQ_ACTION_UNMASK, 0, 1);
  }

  /** @internal The connection ended while nothing was asked: whoever looks at the card now learns of it. */
  lost(): void {
    for (const vector of this.#vectors.keys()) this.handlers[vector]?.();
  }

  #allowLine(on: boolean): void {
    const command = this.#config.read16(COMMAND);
    this.#config.write16(COMMAND, on ? command & ~COMMAND_INTX_DISABLE : command | COMMAND_INTX_DISABLE);
  }

  #setIrqs(index: number, flags: number, start: number, count: number, fds?: Descriptors): void {
    const { request } = this.#connection;
    request.payload = SET_IRQS_BYTES;
    request.setU32(0, SET_IRQS_BYTES);
    request.setU32(4, flags);
    request.setU32(8, index);
    request.setU32(12, start);
    request.setU32(16, count);
    this.#connection.ask(COMMAND_DEVICE_SET_IRQS, 0, fds);
  }

  /** Whatever the server says to it. */
  override close(): void {
    try {
      if (this.#connection.failure === null) this.disable();
    } finally {
      this.#forget();
      this.handlers = [];
    }
  }
}
