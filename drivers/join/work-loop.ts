import type { NetDevice } from '../netdev.ts';

export interface WorkLoopOptions {
  readonly devices: readonly NetDevice[];
  /** Moves one batch of each kind; true where anything moved. */
  readonly round: () => boolean;
  /** Before it sleeps: wake-ups other than interrupts go on here. */
  readonly rest?: () => void;
  /** Before it polls: and off here. */
  readonly poll?: () => void;
  /** Rounds in one turn of the event loop at most, so that timers and sockets get their turn as well. */
  readonly rounds?: number;
  /** What a round threw, or a setting that was expected; the loop has stopped. */
  readonly failed: (error: unknown) => void;
}

/**
 * Polls while there is work and sleeps, with the interrupts on, while there is none: NAPI's bargain. Asleep it costs
 * nothing, and while busy no interrupt is taken.
 */
export class WorkLoop {
  readonly #options: WorkLoopOptions;
  readonly #rounds: number;
  /** Of each device, whether its interrupts are off: it called, or was never armed. */
  readonly #disarmed: boolean[];
  readonly #again = (): void => {
    this.#scheduled = null;
    this.#run();
  };
  #scheduled: NodeJS.Immediate | null = null;
  #running = false;
  #woken = false;
  #stopped = false;

  constructor(options: WorkLoopOptions) {
    this.#options = options;
    this.#rounds = options.rounds ?? 16;
    this.#disarmed = options.devices.map(() => true);
    options.devices.forEach((device, i) => {
      device.onWork(() => {
        this.#disarmed[i] = true;
        this.wake();
      });
    });
  }

  /** There may be work. To be called from the event loop: the work is done at once. */
  readonly wake = (): void => {
    if (this.#running) this.#woken = true;
    else if (this.#scheduled === null) this.#run();
  };

  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    if (this.#scheduled !== null) clearImmediate(this.#scheduled);
    for (const device of this.#options.devices) device.onWork(null);
  }

  #run(): void {
    if (this.#stopped) return;
    this.#running = true;
    this.#woken = false;
    try {
      if (!this.#work()) this.#rest();
      else this.#options.poll?.();
    } catch (error) {
      this.#fail(error);
    }
    this.#running = false;
  }

  /** A setting that the loop's owner asked a device for: refused, it ends the loop as a round's error does. */
  expect(setting: Promise<void>): void {
    setting.catch((error: unknown) => {
      if (!this.#stopped) this.#fail(error);
    });
  }

  #fail(error: unknown): void {
    this.stop();
    this.#options.failed(error);
  }

  /** True where there is more to do. */
  #work(): boolean {
    for (let i = 0; i < this.#rounds; i++)
      if (this.#stopped || !this.#options.round()) return this.#woken && this.#later();
    return this.#later();
  }

  #later(): boolean {
    if (this.#scheduled === null && !this.#stopped) this.#scheduled = setImmediate(this.#again);
    return true;
  }

  #rest(): void {
    if (this.#stopped) return;
    this.#options.rest?.();
    const { devices } = this.#options;
    for (let i = 0; i < devices.length; i++) {
      if (!this.#disarmed[i]) continue;
      devices[i]!.reclaim();
      this.#disarmed[i] = false;
      devices[i]!.rearm(); // may call back at once, and so disarm again
    }
    if (this.#woken) this.#later();
  }
}
