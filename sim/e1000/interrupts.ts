/**
 * Interrupt causes, mask and throttling (manual sections 3.2.7, 13.4.17 to 13.4.21). One function decides the level of the
 * line after every change of cause or mask.
 */
import type { Alarm, Clock } from '../clock.ts';
import type { RegisterFile } from '../registers.ts';
import { I82540EM } from './registers.ts';

const { ICR, ITR, ICS, IMS, IMC } = I82540EM.r;
const ITR_UNIT = 256; // ns

export class InterruptBlock {
  readonly #clock: Clock;
  readonly #words: Uint32Array;
  readonly #line: (asserted: boolean) => void;
  readonly #throttle: Alarm;
  #asserted = false;
  #notBefore = 0; // the moment from which throttling lets the line rise again

  constructor(registers: RegisterFile, clock: Clock, line: (asserted: boolean) => void) {
    this.#clock = clock;
    this.#words = registers.words;
    this.#line = line;
    this.#throttle = clock.alarm(() => this.#settle());
    registers.onRead(ICR, () => this.#readCauses());
    registers.onWrite(ICR, () => this.#settle());
    registers.onWrite(ICS, (value) => this.raise(value & IMS_BITS));
    registers.onWrite(IMS, () => this.#settle());
    registers.onWrite(IMC, (value) => {
      this.#words[IMS.word]! &= ~value;
      this.#settle();
    });
  }

  /** Sets causes. */
  raise(causes: number): void {
    const now = this.#words[ICR.word]!;
    if ((now & causes) === causes && this.#asserted) return;
    this.#words[ICR.word] = now | causes;
    this.#settle();
  }

  /** Reading acknowledges: every cause is cleared (13.4.17) and the line falls. */
  #readCauses(): number {
    const causes = this.#words[ICR.word]!;
    this.#words[ICR.word] = 0;
    this.#settle();
    return causes;
  }

  #settle(): void {
    const wanted = (this.#words[ICR.word]! & this.#words[IMS.word]!) !== 0;
    if (wanted === this.#asserted) return;
    const { now } = this.#clock;
    if (wanted && now < this.#notBefore) {
      this.#throttle.at(this.#notBefore);
      return;
    }
    this.#throttle.cancel();
    if (wanted) this.#notBefore = now + this.#words[ITR.word]! * ITR_UNIT;
    this.#asserted = wanted;
    this.#line(wanted);
  }

  reset(): void {
    this.#notBefore = 0;
    this.#throttle.cancel();
    this.#settle();
  }

  save(): unknown {
    return {
      asserted: this.#asserted,
      wait: Math.max(0, this.#notBefore - this.#clock.now),
      throttle: this.#throttle.save(),
    };
  }

  restore(saved: unknown): void {
    const state = saved as { asserted: boolean; wait: number; throttle: number };
    this.#asserted = state.asserted;
    this.#notBefore = this.#clock.now + state.wait;
    this.#throttle.restore(state.throttle);
  }
}

const IMS_BITS = I82540EM.find(IMS.at)!.masks.sets;
