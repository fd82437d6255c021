/**
 * Interrupt causes, mask and throttling (manual sections 3.2.7, 13.4.17 to 13.4.21). One function decides the level of the
 * line after every change of cause or mask.
 */
import type { Alarm, Clock } from '../clock.ts';
import { alarm, block, deadline, type Stateful, value } from '../state.ts';
import type { BlockContext } from './context.ts';

const ITR_UNIT = 256; // ns

export class InterruptBlock {
  readonly #clock: Clock;
  readonly #words: Uint32Array;
  readonly #causes: number; // ICR, IMS and ITR, by word
  readonly #mask: number;
  readonly #interval: number;
  readonly state: Stateful;
  readonly #line: (asserted: boolean) => void;
  readonly #throttle: Alarm;
  #asserted = false;
  #notBefore = 0; // the moment from which throttling lets the line rise again

  constructor({ registers, r, host }: BlockContext, line: (asserted: boolean) => void) {
    const { ICR, ICS, IMS, IMC } = r;
    const valid = registers.map.find(IMS.at)!.masks.sets;
    this.#clock = host.clock;
    this.#words = registers.words;
    this.#causes = ICR.word;
    this.#mask = IMS.word;
    this.#interval = r.ITR.word;
    this.#line = line;
    this.#throttle = host.clock.alarm(() => this.#settle());
    registers.onRead(ICR, () => this.#readCauses());
    registers.onWrite(ICR, () => this.#settle());
    registers.onWrite(ICS, (causes) => this.raise(causes & valid));
    registers.onWrite(IMS, () => this.#settle());
    registers.onWrite(IMC, (causes) => {
      this.#words[IMS.word]! &= ~causes;
      this.#settle();
    });
    this.state = block(1, {
      asserted: value(
        () => this.#asserted,
        (asserted) => (this.#asserted = asserted),
      ),
      wait: deadline(
        host.clock,
        () => this.#notBefore,
        (at) => (this.#notBefore = at),
      ),
      throttle: alarm(this.#throttle),
    });
  }

  /** Sets causes. */
  raise(causes: number): void {
    const now = this.#words[this.#causes]!;
    if ((now & causes) === causes && this.#asserted) return;
    this.#words[this.#causes] = now | causes;
    this.#settle();
  }

  /** Reading acknowledges: every cause is cleared (13.4.17) and the line falls. */
  #readCauses(): number {
    const causes = this.#words[this.#causes]!;
    this.#words[this.#causes] = 0;
    this.#settle();
    return causes;
  }

  #settle(): void {
    const wanted = (this.#words[this.#causes]! & this.#words[this.#mask]!) !== 0;
    if (wanted === this.#asserted) return;
    const { now } = this.#clock;
    if (wanted && now < this.#notBefore) {
      this.#throttle.at(this.#notBefore);
      return;
    }
    this.#throttle.cancel();
    if (wanted) this.#notBefore = now + this.#words[this.#interval]! * ITR_UNIT;
    this.#asserted = wanted;
    this.#line(wanted);
  }

  reset(): void {
    this.#notBefore = 0;
    this.#throttle.cancel();
    this.#settle();
  }
}
