/**
 * How much work one moment may hold. A guest may ask for seconds of it with one register write, and for as much again with
 * the next: so work is charged to the moment it is done at, whoever asked for it, and what is left waits until a gigabit
 * line would have been through with what was done. A reset brings no new budget: it would be one more register write.
 */
import type { Clock } from '../clock.ts';
import type { BusMaster } from '../memory.ts';
import { block, deadline, type Stateful, whole } from '../state.ts';

/** Units: a byte that is copied, summed and received takes about a nanosecond of the host's, and this is what else costs. */
export const DESCRIPTOR_WORK = 192; // with two mappings looked up, of as many as a guest may make
export const FRAME_WORK = 256;
const PART_WORK = 128; // a mapping looked up for a part of a buffer

/** For one moment: a ring of 256 descriptors of 4 KiB, cut into segments, takes a little more than half of it. */
export const MOMENT_WORK = 2 << 20;
/** For the first one that is busy: code that has not run yet takes ten times as long. It doubles whenever it is used up. */
export const FIRST_WORK = MOMENT_WORK >> 1;
const REST = 8; // nanoseconds a unit: a byte on a gigabit line

export class Budget {
  readonly #clock: Clock;
  readonly #dma: BusMaster;
  #moment = -1;
  #spent = 0;
  #parts = 0; // of `dma`, when the moment began
  #restsUntil = 0;
  #share = FIRST_WORK;
  readonly state: Stateful;

  constructor(clock: Clock, dma: BusMaster) {
    this.#clock = clock;
    this.#dma = dma;
    this.state = block(1, {
      spent: whole(
        () => this.spent,
        (units) => {
          this.#begin();
          this.#spent = units;
        },
      ),
      rest: deadline(
        clock,
        () => this.#restsUntil,
        (at) => {
          this.#restsUntil = at;
        },
      ),
      share: whole(
        () => this.#share,
        (units) => {
          this.#share = units;
        },
        MOMENT_WORK,
      ),
    });
  }

  spend(units: number): void {
    if (this.#clock.now !== this.#moment) this.#begin();
    this.#spent += units;
  }

  #begin(): void {
    this.#moment = this.#clock.now;
    this.#spent = 0;
    this.#parts = this.#dma.parts;
  }

  /** Units spent at this moment. */
  get spent(): number {
    if (this.#clock.now !== this.#moment) return 0;
    return this.#spent + (this.#dma.parts - this.#parts) * PART_WORK;
  }

  /** Nanoseconds on the clock until which nothing more is done. */
  get heldUntil(): number {
    if (this.#restsUntil > this.#clock.now) return this.#restsUntil;
    const { spent } = this;
    if (spent >= this.#share) {
      this.#restsUntil = this.#clock.now + spent * REST;
      this.#share = Math.min(2 * this.#share, MOMENT_WORK);
    }
    return this.#restsUntil;
  }
}
