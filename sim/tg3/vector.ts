/** One of the vectors that interrupts are coalesced for: events, limits, timers, tag, and where its status block is. */
import { type Alarm, MICROSECOND } from '../clock.ts';
import type { Window } from '../memory.ts';
import { alarm, block, type Stateful, whole } from '../state.ts';
import type { Context } from './context.ts';
import type { Tg3Registers } from './registers.ts';

export const BLOCK = 32; // bytes written of a status block, in every mode

/** Its registers' words. */
interface Words {
  readonly blockHigh: number;
  readonly blockLow: number;
  readonly receiveFrames: number;
  readonly sendFrames: number;
  readonly receiveFramesBusy: number;
  readonly sendFramesBusy: number;
  readonly receiveTicks: number;
  readonly sendTicks: number;
}

function wordsOf(r: Tg3Registers, index: number): Words {
  if (index === 0)
    return {
      blockHigh: r.HOSTCC_STATUS_BLK_HOST_HIGH.word,
      blockLow: r.HOSTCC_STATUS_BLK_HOST_LOW.word,
      receiveFrames: r.HOSTCC_RXMAX_FRAMES.word,
      sendFrames: r.HOSTCC_TXMAX_FRAMES.word,
      receiveFramesBusy: r.HOSTCC_RXCOAL_MAXF_INT.word,
      sendFramesBusy: r.HOSTCC_TXCOAL_MAXF_INT.word,
      receiveTicks: r.HOSTCC_RXCOL_TICKS.word,
      sendTicks: r.HOSTCC_TXCOL_TICKS.word,
    };
  const of = (register: { word(index: number): number }) => register.word(index - 1);
  return {
    blockHigh: of(r.HOSTCC_VEC_STATUS_BLK_HIGH),
    blockLow: of(r.HOSTCC_VEC_STATUS_BLK_LOW),
    receiveFrames: of(r.HOSTCC_VEC_RXMAX_FRAMES),
    sendFrames: of(r.HOSTCC_VEC_TXMAX_FRAMES),
    receiveFramesBusy: of(r.HOSTCC_VEC_RXCOAL_MAXF_INT),
    sendFramesBusy: of(r.HOSTCC_VEC_TXCOAL_MAXF_INT),
    receiveTicks: of(r.HOSTCC_VEC_RXCOL_TICKS),
    sendTicks: of(r.HOSTCC_VEC_TXCOL_TICKS),
  };
}

export class Vector {
  readonly index: number;
  readonly window: Window;
  readonly state: Stateful;
  /** Events that no status block has told of: frames returned, send BDs done with. */
  received = 0;
  sent = 0;
  /** Of the last status block. */
  tag = 0;
  readonly #words: Uint32Array;
  readonly #at: Words;
  readonly #mailbox: number;
  readonly #inIsr: number;
  readonly #receiveTimer: Alarm;
  readonly #sendTimer: Alarm;
  readonly #update: (vector: Vector) => void;

  /** @param update writes the vector's status block, and interrupts. */
  constructor({ registers, r, dma, host }: Context, index: number, update: (vector: Vector) => void) {
    this.index = index;
    this.window = dma.window();
    this.#words = registers.words;
    this.#at = wordsOf(r, index);
    this.#mailbox = r.MBOX_INTERRUPT.word(index);
    this.#inIsr = r.MBOX_INTERRUPT.IN_ISR;
    this.#receiveTimer = host.clock.alarm(() => update(this));
    this.#sendTimer = host.clock.alarm(() => update(this));
    this.#update = update;
    this.state = block(1, {
      received: whole(
        () => this.received,
        (frames) => {
          this.received = frames;
        },
      ),
      sent: whole(
        () => this.sent,
        (descriptors) => {
          this.sent = descriptors;
        },
      ),
      tag: whole(
        () => this.tag,
        (tag) => {
          this.tag = tag;
        },
        0xff,
      ),
      receiveTimer: alarm(this.#receiveTimer),
      sendTimer: alarm(this.#sendTimer),
    });
  }

  /** The host is in the ISR, by what the mailbox says. */
  get busy(): boolean {
    return (this.#words[this.#mailbox]! & this.#inIsr) !== 0;
  }

  set mailbox(value: number) {
    this.#words[this.#mailbox] = value;
  }

  /** Of the status block. Below 4 GiB a small integer: a product would be a number on the heap for every block. */
  get address(): number {
    const words = this.#words;
    const start = (words[this.#at.blockLow]! & ~7) >>> 0;
    const high = words[this.#at.blockHigh]!;
    return high === 0 ? start : high * 0x1_0000_0000 + start;
  }

  /** Enough events for a status block, or a timer for them. In the ISR the limits are others, the timers the same. */
  consider(): void {
    const { busy, received, sent } = this;
    const words = this.#words;
    const at = this.#at;
    const receiveLimit = words[busy ? at.receiveFramesBusy : at.receiveFrames]!;
    const sendLimit = words[busy ? at.sendFramesBusy : at.sendFrames]!;
    if ((receiveLimit > 0 && received >= receiveLimit) || (sendLimit > 0 && sent >= sendLimit)) {
      this.#update(this);
      return;
    }
    if (received > 0) start(this.#receiveTimer, words[at.receiveTicks]!);
    if (sent > 0) start(this.#sendTimer, words[at.sendTicks]!);
  }

  /** A status block tells of the events. */
  told(): void {
    this.received = 0;
    this.sent = 0;
    this.#receiveTimer.cancel();
    this.#sendTimer.cancel();
  }

  reset(): void {
    this.told();
    this.tag = 0;
  }
}

function start(timer: Alarm, ticks: number): void {
  if (ticks > 0 && !timer.scheduled) timer.in(ticks * MICROSECOND);
}
