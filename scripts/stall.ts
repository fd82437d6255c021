/**
 * Whether processes get anywhere. What a limit of time is for, without its fault: on a machine at a third of its speed
 * all takes three times as long, but nothing waits for what will not come.
 */
import { familyOf } from './processes.ts';

/** Of a processor: what works uses more, even on a busy machine; what waits uses less, though it look every 5 ms. */
const WORKING = 0.05;
const LOOK = 1000; // milliseconds from one look to the next

export class Stall {
  readonly #pid: number;
  readonly #now: () => number;
  readonly #usedBy: (pid: number) => number;
  #looked: number;
  #moved: number;
  #used = Number.POSITIVE_INFINITY; // the first look is what the next is compared with

  /** @param pid a process; its descendants count with it. */
  constructor(pid: number, { now = () => performance.now(), usedBy = usedByFamily } = {}) {
    this.#pid = pid;
    this.#now = now;
    this.#usedBy = usedBy;
    this.#looked = this.#moved = now();
  }

  /** They have done something that is not seen by their use of the processor. */
  end(): void {
    this.#moved = this.#now();
  }

  /** Milliseconds for which they have done nothing. */
  get length(): number {
    const now = this.#now();
    if (now - this.#looked >= LOOK) this.#look(now);
    return now - this.#moved;
  }

  #look(now: number): void {
    const used = this.#usedBy(this.#pid);
    if (used - this.#used > (WORKING * (now - this.#looked)) / 1000) this.#moved = now;
    this.#used = used;
    this.#looked = now;
  }
}

/** Seconds of processor. */
function usedByFamily(pid: number): number {
  return familyOf(pid).reduce((sum, { used }) => sum + used, 0);
}
