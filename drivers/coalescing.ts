/** How long a card waits between interrupts: by the traffic (moderation.ts), or as its caller has said. */
import type { Coalescing } from './abilities.ts';
import { DeviceError } from './device.ts';

export class InterruptInterval implements Coalescing {
  interval: number | null = null;
  readonly longestInterval: number;
  readonly #apply: () => void;

  /** @param longest microseconds that the card can count. @param apply tells the card, if it is up. */
  constructor(longest: number, apply: () => void) {
    this.longestInterval = longest;
    this.#apply = apply;
  }

  async set(interval: number | null): Promise<void> {
    const { longestInterval } = this;
    if (interval !== null && !(Number.isInteger(interval) && interval >= 0 && interval <= longestInterval)) {
      throw new DeviceError('INVALID', `an interval of ${interval} µs: the card counts 0 to ${longestInterval}`);
    }
    this.interval = interval;
    this.#apply();
  }
}
