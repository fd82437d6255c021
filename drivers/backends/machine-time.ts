/** The machine's monotonic time, for devices that live in it: hardware, and devices in other processes. */
import { performance } from 'node:perf_hooks';
import { type DeviceTime, MILLISECOND } from '../device.ts';
import { closedError } from './base.ts';

export class MachineTime implements DeviceTime {
  readonly #cancels = new Set<() => void>();
  #closed = false;

  now(): number {
    this.#check();
    return Math.round(performance.now() * MILLISECOND);
  }

  /** Good to a millisecond, and never less than asked for. Rejects with 'CLOSED' where the device is closed meanwhile. */
  delay(ns: number): Promise<void> {
    this.#check();
    return new Promise((resolve, reject) => {
      const done = () => {
        this.#cancels.delete(cancel);
        resolve();
      };
      const timer = setTimeout(done, Math.ceil(ns / MILLISECOND));
      const cancel = () => {
        clearTimeout(timer);
        reject(closedError());
      };
      this.#cancels.add(cancel);
    });
  }

  every(ns: number, action: () => void): { stop(): void } {
    this.#check();
    const timer = setInterval(action, Math.max(1, Math.round(ns / MILLISECOND)));
    const stop = () => {
      this.#cancels.delete(stop);
      clearInterval(timer);
    };
    this.#cancels.add(stop);
    return { stop };
  }

  #check(): void {
    if (this.#closed) throw closedError();
  }

  close(): void {
    this.#closed = true;
    for (const cancel of [...this.#cancels]) cancel();
    this.#cancels.clear();
  }
}
