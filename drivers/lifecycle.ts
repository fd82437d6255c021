/** A driver's life: start, stop, reset, failure, close; one at a time, and never a buffer back while the card might write to it. */
import { DeviceError, type PciDevice } from './device.ts';
import type { QueueGate } from './queues.ts';

/** What the lifecycle asks of the driver that lives it. */
export interface LifecycleSteps {
  /** Whether the card has gone: its registers read as all ones. */
  gone(): boolean;
  /** From reset to a card that carries frames as soon as its link is up. */
  bringUp(): Promise<void>;
  /** No interrupt, nothing received or sent any more. Counters still tell. */
  halt(): Promise<void>;
  /** What the counters have beyond what was read of them: after the reset they start anew. */
  readCounters(): void;
  /** The halted card's reset: no DMA any more, once it resolves. */
  reset(): Promise<void>;
  /** The card is up. */
  cameUp(): void;
  /** Every buffer back to the pool: the card reaches no memory. */
  takeRingsBack(): void;
  /** `start` is through. */
  started(): void;
  /** The driver is about to stop, or has failed: nothing is to look at the card by itself. */
  stopping(): void;
  /** The card is down, be it for a reset. */
  wentDown(): void;
  /** It stays down: whoever waits for work waits in vain; after a failure, whoever looks for some learns of it. */
  ended(failed: boolean): void;
  /** Memory back, for good. */
  release(): void;
}

export class Lifecycle implements QueueGate {
  /** The rings are the card's. */
  ready = false;
  /** Between start and stop. */
  running = false;
  /** Nothing new is sent: what is queued is to leave before a reset. */
  draining = false;
  /** Why the driver gave up, once it has: the card went away. */
  failure: DeviceError | null = null;
  readonly #device: PciDevice;
  readonly #model: string;
  readonly #steps: LifecycleSteps;
  #closed = false;
  #turn: Promise<void> = Promise.resolve();

  constructor(device: PciDevice, model: string, steps: LifecycleSteps) {
    this.#device = device;
    this.#model = model;
    this.#steps = steps;
  }

  /** Start, stop, reset and whatever else must not meet them: one after the other. */
  exclusive(action: () => Promise<void>): Promise<void> {
    const mine = this.#turn.then(action);
    this.#turn = mine.catch(() => {});
    return mine;
  }

  start(): Promise<void> {
    return this.exclusive(async () => {
      if (this.#closed) throw new DeviceError('CLOSED', `${this.#model} is closed: create the driver again`);
      if (this.running) return;
      this.failure = null;
      try {
        await this.#comeUp();
      } catch (error) {
        this.#letGo();
        this.#steps.takeRingsBack();
        throw error;
      }
      this.running = true;
      this.#steps.started();
    });
  }

  async #comeUp(): Promise<void> {
    this.#device.enable({ memory: true, busMaster: true });
    await this.#steps.bringUp();
    this.ready = true;
    this.#steps.cameUp();
  }

  stop(): Promise<void> {
    return this.exclusive(async () => {
      if (!this.running) return;
      this.running = false;
      this.#steps.stopping();
      try {
        await this.#goDown();
      } catch (error) {
        this.#letGo();
        throw error;
      } finally {
        this.#steps.takeRingsBack();
        this.#steps.wentDown();
        this.#steps.ended(false);
      }
    });
  }

  /** A card that is gone sends no interrupt and reaches no memory. */
  async #goDown(): Promise<void> {
    this.ready = false;
    if (this.failure !== null) return;
    if (this.#steps.gone()) {
      this.failure = goneError(this.#device);
      return;
    }
    await this.#steps.halt();
    this.#steps.readCounters();
    await this.#steps.reset();
    this.#device.enable({ busMaster: false });
  }

  /** Where the card cannot be asked to stop, it is kept from memory: buffers are about to go back to the pool. */
  #letGo(): void {
    this.ready = false;
    try {
      this.#device.enable({ busMaster: false });
      this.#device.interrupts.disable();
    } catch {
      // closed, or gone: it reaches no memory either
    }
  }

  /** Down and up again, for whoever has its turn (see `exclusive`). */
  async reset(): Promise<void> {
    await this.#goDown();
    this.#steps.takeRingsBack();
    this.#steps.wentDown();
    if (this.failure !== null) throw this.failure;
    await this.#comeUp();
  }

  /** The end: nothing more is asked of the card. */
  fail(error: unknown): void {
    if (this.failure !== null || !this.running) return;
    this.failure = error instanceof DeviceError ? error : new DeviceError('FAILED', String(error));
    this.#letGo();
    this.#steps.stopping();
    this.#steps.wentDown();
    this.#steps.ended(true);
  }

  /** For timers: nobody called that could catch what an access to a card throws that is not reached any more. */
  guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      this.fail(error);
    }
  }

  /** Stops, and gives memory back. */
  async close(): Promise<void> {
    try {
      await this.stop();
    } finally {
      if (!this.#closed) {
        this.#closed = true;
        this.#steps.release();
      }
    }
  }
}

export function goneError(device: PciDevice): DeviceError {
  return new DeviceError(
    'FAILED',
    `${device.name} no longer answers (its registers read as all ones): check that the card is there and enabled`,
  );
}
