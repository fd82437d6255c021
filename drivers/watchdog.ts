/** What looks after a card that runs: that it sends and receives, that its counters do not run over, that it is still there. */
import { type DeviceTime, MILLISECOND } from './device.ts';

const PERIOD = 2000 * MILLISECOND;
/** Periods in which the transmitter does not move, or the receiver is stuck, before it counts as hung. */
const HANG_PERIODS = 2;
/** Where the pool ran dry and no interrupt will come, buffers are asked for this often. */
const STARVED_RETRY = 10 * MILLISECOND;

export type Hang = 'txHangs' | 'rxHangs';

export interface WatchdogSteps {
  /** Whether the card is up. */
  ready(): boolean;
  /** Runs what may find the card gone; then it has failed. */
  guard(action: () => void): void;
  /** Fails where the card is gone; else reads its counters, and looks at its link in case an interrupt was lost. */
  lookAtCard(): void;
  /** Something that changes as long as the card sends; null where it is held back, as by PAUSE. */
  sendProgress(): number | null;
  /** Frees what was sent; transmit descriptors that are still in use. */
  outstanding(): number;
  /** Driver and card are out of step about receive buffers. */
  receiveStuck(): boolean;
  /** The pool had no receive buffers when some were due. */
  starved(): boolean;
  fill(): void;
  recover(hang: Hang): void;
}

export class Watchdog {
  readonly #time: DeviceTime;
  readonly #steps: WatchdogSteps;
  #timer: { stop(): void } | null = null;
  #starvedRetry: { stop(): void } | null = null;
  #lastProgress = -1;
  #stuckPeriods = 0;
  #receiveStuckPeriods = 0;

  constructor(time: DeviceTime, steps: WatchdogSteps) {
    this.#time = time;
    this.#steps = steps;
  }

  start(): void {
    this.#timer = this.#time.every(PERIOD, () => this.#steps.guard(() => this.#look()));
  }

  stop(): void {
    this.#timer?.stop();
    this.#timer = null;
    this.#starvedRetry?.stop();
    this.#starvedRetry = null;
  }

  #look(): void {
    const steps = this.#steps;
    if (!steps.ready()) return;
    steps.lookAtCard();
    if (!steps.ready()) return; // it is gone
    this.retryStarved();
    if (this.#transmitHangs()) this.#recover('txHangs');
    else if (this.#receiveHangs()) this.#recover('rxHangs');
  }

  /** Descriptors outstanding, and the card has not moved on since the last look although nothing holds it back. */
  #transmitHangs(): boolean {
    const progress = this.#steps.sendProgress();
    const moved = progress === null || progress !== this.#lastProgress;
    this.#lastProgress = progress ?? -1;
    if (this.#steps.outstanding() === 0 || moved) this.#stuckPeriods = 0;
    else this.#stuckPeriods++;
    return this.#stuckPeriods >= HANG_PERIODS;
  }

  #receiveHangs(): boolean {
    if (this.#steps.receiveStuck()) this.#receiveStuckPeriods++;
    else this.#receiveStuckPeriods = 0;
    return this.#receiveStuckPeriods >= HANG_PERIODS;
  }

  #recover(hang: Hang): void {
    this.#stuckPeriods = 0;
    this.#receiveStuckPeriods = 0;
    this.#steps.recover(hang);
  }

  /** An empty ring receives nothing, so nothing interrupts: until buffers are back somebody has to ask. */
  retryStarved(): void {
    const steps = this.#steps;
    if (!steps.starved()) return;
    this.#starvedRetry ??= this.#time.every(STARVED_RETRY, () => {
      if (steps.ready()) steps.guard(() => steps.fill());
      if (steps.ready() && steps.starved()) return;
      this.#starvedRetry?.stop();
      this.#starvedRetry = null;
    });
  }
}
