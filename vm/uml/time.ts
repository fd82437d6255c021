/** Whose time a machine lives in: the real one's, or a calendar's (calendar.ts). */
import type { MachineClock } from '../../drivers/backends/machine-clock.ts';
import type { Clock } from '../../sim/clock.ts';

/** Something that a device has for the kernel. */
export interface Delivery {
  /** Puts it into the kernel's queues and tells the kernel. */
  deliver(): void;
}

export interface Time {
  readonly clock: Clock;
  /** Before a kick is served: the clock is now. */
  pump(): void;
  /** After it, before the kernel goes on: what came due at this very moment has happened, and the kernel was told. */
  settle(): void;
  /** There is something to deliver, as soon as time allows it. */
  pending(delivery: Delivery): void;
  /**
   * Keeps the thread until the kernel has answered on this descriptor, which takes what it asks of time meanwhile; false
   * where it does not answer. Null where nobody waits for answers.
   */
  readonly awaitAnswer: ((fd: number) => boolean) | null;
}

/** The machine's own: things happen when they happen. */
export class RealTime implements Time {
  readonly clock: Clock;
  readonly awaitAnswer = null;
  readonly #machine: MachineClock;
  readonly #waiting = new Set<Delivery>();
  #serving = false;

  constructor(machine: MachineClock) {
    this.clock = machine.clock;
    this.#machine = machine;
  }

  pump(): void {
    this.#serving = true;
    this.#machine.pump();
  }

  settle(): void {
    if (this.clock.next <= this.clock.now) this.#machine.pump();
    this.#serving = false;
    for (const delivery of this.#waiting) {
      this.#waiting.delete(delivery);
      delivery.deliver();
    }
  }

  pending(delivery: Delivery): void {
    if (this.#serving) this.#waiting.add(delivery);
    else delivery.deliver();
  }
}
