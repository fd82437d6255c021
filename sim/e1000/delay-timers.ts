/**
 * The interrupt delays of a direction (manual sections 3.2.7.1 and 3.3.3.1): the packet timer starts anew with each packet;
 * the absolute one does not, and bounds the wait.
 */
import type { Clock } from '../clock.ts';
import type { Register, RegisterFile } from '../registers.ts';
import { alarm, block, value } from '../state.ts';

const UNIT = 1024; // ns, of RDTR, RADV, TIDV and TADV

export class DelayTimers {
  readonly #words: Uint32Array;
  readonly #delay: number;
  readonly #longest: number;
  readonly #packet;
  readonly #absolute;
  #causes = 0; // what is held back
  readonly state;

  /**
   * @param always causes that expire with whatever was held back.
   * @param expired is told of all of them.
   */
  constructor(
    clock: Clock,
    registers: RegisterFile,
    delay: Register<{ FPD: unknown }>,
    longest: Register,
    always: number,
    expired: (causes: number) => void,
  ) {
    this.#words = registers.words;
    this.#delay = delay.word;
    this.#longest = longest.word;
    const expire = () => expired(this.take() | always);
    this.#packet = clock.alarm(expire);
    this.#absolute = clock.alarm(expire);
    registers.onWrite(delay, (written) => {
      if (written & delay.FPD) expire(); // "flush partial descriptor block"
    });
    this.state = block(1, {
      packet: alarm(this.#packet),
      absolute: alarm(this.#absolute),
      causes: value(
        () => this.#causes,
        (causes) => (this.#causes = causes),
      ),
    });
  }

  /** Whether there is a delay at all. */
  get on(): boolean {
    return this.#words[this.#delay] !== 0;
  }

  /** Holds causes back. */
  start(causes: number): void {
    this.#causes |= causes;
    this.#packet.in(this.#words[this.#delay]! * UNIT);
    const longest = this.#words[this.#longest]!;
    if (longest !== 0 && !this.#absolute.scheduled) this.#absolute.in(longest * UNIT);
  }

  /** Nothing is held back any longer. Returns what was. */
  take(): number {
    const causes = this.#causes;
    this.#causes = 0;
    this.#packet.cancel();
    this.#absolute.cancel();
    return causes;
  }
}
