/** 802.3x PAUSE (IEEE 802.3 annex 31B): a frame that asks the partner to be quiet for a while. */
import type { Clock } from '../clock.ts';
import { MACS, put16 } from '../packet.ts';
import { type Stateful, value } from '../state.ts';

export const PAUSE_OPCODE = 0x0001;
const QUANTUM_BITS = 512;

/** Puts what follows the addresses into a frame whose rest is zeros. */
export function putPause(frame: Uint8Array, type: number, quanta: number): void {
  put16(frame, MACS, type);
  put16(frame, MACS + 2, PAUSE_OPCODE);
  put16(frame, MACS + 4, quanta);
}

/** How long the partner keeps us quiet. */
export class Hold {
  readonly #clock: Clock;
  /** Nanoseconds on the clock; 0 where it does not. */
  until = 0;
  readonly state: Stateful<number>;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.state = value(
      () => Math.max(0, this.until - clock.now),
      (left) => (this.until = left === 0 ? 0 : clock.now + left),
      (left) => left >= 0,
    );
  }

  /** A PAUSE frame came. @param bitTime nanoseconds a bit at the present speed. */
  pause(quanta: number, bitTime: number): void {
    this.until = quanta === 0 ? 0 : this.#clock.now + quanta * QUANTUM_BITS * bitTime;
  }

  release(): void {
    this.until = 0;
  }
}
