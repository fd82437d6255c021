/**
 * Interrupts: causes, masks, and which vector says what. Intel 317453 §13.4.17 to 13.4.21; 82574 datasheet §10.2.4.
 *
 * Work (receive, transmit) is masked while its caller polls; the link's cause always stays on. With INTx and MSI one
 * vector has both; with the 82574L's MSI-X vector 0 is the queues' and vector 1 everything else's.
 */
import { ALL_ONES } from '../card.ts';
import { InterruptInterval } from '../coalescing.ts';
import type { InterruptMode } from '../device.ts';
import { enableFirst, guarded, type InterruptSink } from '../interrupt-modes.ts';
import { goneError } from '../lifecycle.ts';
import { Moderation } from '../moderation.ts';
import type { CardInterrupts } from '../net-driver.ts';
import { type Chip, R, R74 } from './chip.ts';

const { ICR } = R;
const LINK = ICR.LSC | ICR.RXSEQ;
const WORK = ICR.RXT0 | ICR.RXDMT0 | ICR.RXO | ICR.TXDW;
const QUEUES = R74.ICR.RXQ0 | R74.ICR.TXQ0;

/**
 * What the levels of moderation come to; ITR counts in 256 ns (13.4.18): 14 µs (70 000 interrupts a second at most), 50 µs
 * and 250 µs.
 */
export const INTERVALS = [55, 195, 976] as const;

/** Nanoseconds; ITR has 16 bits. */
const INTERVAL_UNIT = 256;
const LONGEST_INTERVAL = Math.floor((0xffff * INTERVAL_UNIT) / 1000);

/** IVAR: a vector, and a bit that says it is valid. */
const VALID = 8;

/** The card has one queue in use, so that its number is never looked at. */
export class InterruptControl implements CardInterrupts {
  /** Interrupts that had a cause. */
  count = 0;
  mode: InterruptMode | null = null;
  readonly shared = false;
  readonly coalescing = new InterruptInterval(LONGEST_INTERVAL, () => {
    if (this.mode !== null) this.#writeInterval();
  });
  readonly #chip: Chip;
  readonly #sink: InterruptSink;
  readonly #moderation = new Moderation();
  #armed = false;
  #workCauses = WORK;

  constructor(chip: Chip, sink: InterruptSink) {
    this.#chip = chip;
    this.#sink = sink;
  }

  /** Every cause off, and forgotten. Needs nothing but a card that answers. */
  silence(): void {
    this.#armed = false;
    this.#chip.write(R.IMC, ALL_ONES);
    this.#chip.read(R.ICR);
  }

  /** The first of `modes` that the function offers. */
  enable(modes: readonly InterruptMode[]): void {
    const { device, variant } = this.#chip;
    const mode = enableFirst(device, modes, (wanted) => (wanted !== 'msix' ? 1 : variant.is82574 ? 2 : 0));
    this.mode = mode;
    this.#workCauses = mode === 'msix' ? QUEUES : WORK;
    this.#handle(0, mode === 'msix' ? () => this.#queueVector() : () => this.#onlyVector());
    if (mode === 'msix') this.#handle(1, () => this.#otherVector());
    this.#moderation.reset();
    if (mode === 'msix') this.#routeVectors();
    this.#writeInterval();
    this.#chip.write(R.IMS, LINK | (mode === 'msix' ? R74.ICR.OTHER : 0));
  }

  #handle(vector: number, handler: () => void): void {
    this.#chip.device.interrupts.on(
      vector,
      guarded(handler, (error) => this.#sink.failed(error)),
    );
  }

  #routeVectors(): void {
    const { IVAR, CTRL_EXT, EIAC } = R74;
    this.#chip.modify(CTRL_EXT, { PBA_CLR: 1 }); // MSI-X pending bits clear by themselves
    this.#chip.write(IVAR, { RXQ0: VALID, TXQ0: VALID, OTHER: VALID | 1 });
    this.#chip.write(EIAC, QUEUES); // the queues' causes clear when their message goes: nobody need read ICR
  }

  disable(): void {
    this.mode = null;
    this.#armed = false;
    this.#chip.device.interrupts.disable();
  }

  arm(_queue: number, packets: number): void {
    if (this.#moderation.learn(packets) && this.coalescing.interval === null) this.#writeInterval();
    this.#armed = true;
    this.#chip.write(R.IMS, this.#workCauses);
  }

  disarm(): void {
    this.#armed = false;
    this.#chip.write(R.IMC, this.#workCauses);
  }

  /** What was found waiting might never have a cause of its own again. */
  provoke(): void {
    this.#chip.write(R.ICS, this.#workCauses & (this.mode === 'msix' ? R74.ICR.RXQ0 : R.ICR.RXT0));
  }

  #writeInterval(): void {
    const { interval: fixed } = this.coalescing;
    const interval = fixed === null ? INTERVALS[this.#moderation.level] : Math.round((fixed * 1000) / INTERVAL_UNIT);
    if (this.mode === 'msix') this.#chip.write(R74.EITR, interval, 0);
    else this.#chip.write(R.ITR, interval);
  }

  /** Reading ICR acknowledges: it clears every cause (13.4.17). */
  #onlyVector(): void {
    const causes = this.#chip.read(R.ICR);
    if (causes === 0) return; // somebody else's, on a shared line
    if (causes === ALL_ONES && this.#chip.gone) throw goneError(this.#chip.device);
    this.count++;
    if ((causes & LINK) !== 0) this.#sink.link();
    if ((causes & WORK) !== 0) this.#work();
  }

  #queueVector(): void {
    this.count++;
    this.#work();
  }

  #otherVector(): void {
    const causes = this.#chip.read(R.ICR);
    if (causes === ALL_ONES && this.#chip.gone) throw goneError(this.#chip.device);
    this.count++;
    // Reading ICR took the queues' causes along: put them back.
    if ((causes & QUEUES) !== 0) this.#chip.write(R.ICS, causes & QUEUES);
    if ((causes & LINK) !== 0) this.#sink.link();
    this.#chip.write(R.IMS, LINK | R74.ICR.OTHER);
  }

  #work(): void {
    if (!this.#armed) return;
    this.disarm();
    this.#sink.work();
  }
}
