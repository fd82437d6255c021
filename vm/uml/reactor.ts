/**
 * Waits for a machine's sockets and calls whoever reads them. While messages come one upon the other, as register accesses
 * do, the thread stays here and does not go round the event loop for each.
 */
import { type Attendance, attend, firstReadable } from '../../native/index.ts';

/** Milliseconds after which the event loop's other business has its turn, whatever else has come. */
const TURN = 5;
/** Milliseconds in which the next message is likely to come. */
const LINGER = 1;

export class Reactor {
  readonly #fds = new Int32Array(64).fill(-1);
  readonly #readers: (() => void)[] = [];
  readonly #attended: (Attendance | null)[] = [];
  #count = 0;
  #leave = false;

  /** @returns its place, for `remove` and `awaitAny`. */
  add(fd: number, readable: () => void): number {
    let place = 0;
    while (place < this.#count && this.#fds[place] !== -1) place++;
    if (place === this.#fds.length) throw new RangeError(`${place} sockets are too many for a machine`);
    this.#fds[place] = fd;
    this.#readers[place] = readable;
    this.#attended[place] = attend(fd, { readable: () => this.#ready(place) });
    this.#count = Math.max(this.#count, place + 1);
    return place;
  }

  remove(place: number): void {
    this.#attended[place]?.close();
    this.#attended[place] = null;
    this.#fds[place] = -1;
  }

  /** The event loop has its turn before anything else is read: somebody there may have something to say first. */
  leave(): void {
    this.#leave = true;
  }

  #ready(place: number): void {
    this.#leave = false;
    const end = performance.now() + TURN;
    this.#readers[place]!();
    while (!this.#leave && performance.now() < end) {
      const next = firstReadable(this.#fds, this.#count, LINGER);
      if (next < 0) return;
      this.#readers[next]!();
    }
  }
}
