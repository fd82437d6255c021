/**
 * Interrupts: one mailbox for each vector, which a non-zero value silences, and a tag of the status block in which turns
 * on again; and host coalescing, by which the card decides when to write a block and to interrupt.
 *
 * Broadcom 5718-PG108-R, "Interrupt Mailbox" and "Host Coalescing". A tag other than that of the last block interrupts at
 * once: nothing is lost between a look at the block and the mailbox.
 */
import { ALL_ONES } from '../card.ts';
import { InterruptInterval } from '../coalescing.ts';
import type { InterruptMode } from '../device.ts';
import { enableFirst, guarded, type InterruptSink } from '../interrupt-modes.ts';
import { goneError } from '../lifecycle.ts';
import { Moderation } from '../moderation.ts';
import type { CardInterrupts } from '../net-driver.ts';
import { type Chip, R } from './chip.ts';
import { HOST_CONTROL } from './reset.ts';
import { MAX_VECTORS, type StatusBlocks } from './status.ts';

const { HOSTCC_MODE, MISC_HOST_CTRL, MAC_STATUS, PCISTATE } = R;
/** 32 bytes of status block; ticks count from the first event. */
const COALESCING = HOSTCC_MODE.ENABLE | HOSTCC_MODE._32BYTE | HOSTCC_MODE.CLRTICK_RXBD | HOSTCC_MODE.CLRTICK_TXBD;
const SILENT = 1;
const FIRST_VECTOR_NOW = 1 << 13; // of COAL_VEC_NOW: vector 1; those of the others follow

/** Linux: MAX_RXCOL_TICKS, MAX_RXMAX_FRAMES. */
const LONGEST_TICKS = 0x3ff;
const MOST_FRAMES = 0xff;

interface Level {
  readonly rxTicks: number;
  readonly rxFrames: number;
  readonly txTicks: number;
  readonly txFrames: number;
}

/** By moderation's levels: microseconds, and frames, after which a block goes out and interrupts. */
export const LEVELS = [
  { rxTicks: 14, rxFrames: 1, txTicks: 50, txFrames: 16 },
  { rxTicks: 50, rxFrames: 32, txTicks: 72, txFrames: 53 },
  { rxTicks: 250, rxFrames: 128, txTicks: 250, txFrames: 128 },
] as const;

export class InterruptControl implements CardInterrupts {
  /** Interrupts that were the card's. */
  count = 0;
  mode: InterruptMode | null = null;
  readonly coalescing = new InterruptInterval(LONGEST_TICKS, () => {
    if (this.mode !== null) this.#writeLevels();
  });
  /** One for everything; or vector 0 for the send ring and the link, and from 1 on one for each return ring. */
  vectors = 1;
  readonly #chip: Chip;
  readonly #status: StatusBlocks;
  readonly #sink: InterruptSink;
  readonly #moderations: readonly Moderation[];
  /** Queues whose work may interrupt. */
  readonly #armed: boolean[];
  #lastTag = 0; // of block 0 at the last interrupt
  readonly #acknowledged = new Uint8Array(MAX_VECTORS); // tags that vectors were armed with

  constructor(chip: Chip, status: StatusBlocks, queues: number, sink: InterruptSink) {
    this.#chip = chip;
    this.#status = status;
    this.#sink = sink;
    this.#moderations = Array.from({ length: queues }, () => new Moderation());
    this.#armed = new Array<boolean>(queues).fill(false);
  }

  get shared(): boolean {
    return this.vectors === 1 && this.#armed.length > 1;
  }

  /** The first of `modes` that the function offers; with several queues and MSI-X, a vector for each and one for the rest. */
  enable(modes: readonly InterruptMode[]): void {
    const { device, variant } = this.#chip;
    const queues = this.#armed.length;
    const wanted = queues > 1 ? queues + 1 : 1;
    const mode = enableFirst(device, modes, (mode) => (mode !== 'msix' ? 1 : variant.is577xx ? wanted : 0));
    this.mode = mode;
    this.vectors = mode === 'msix' ? wanted : 1;
    for (let vector = 0; vector < this.vectors; vector++) {
      const handler = mode === 'intx' ? () => this.#line() : () => this.#interrupt(vector);
      device.interrupts.on(
        vector,
        guarded(handler, (error) => this.#sink.failed(error)),
      );
    }
    this.#armed.fill(false);
    this.#lastTag = 0;
    for (const moderation of this.#moderations) moderation.reset();
  }

  /** Coalescing as it starts; afterwards blocks are written. They must have a place by now. */
  async startCoalescing(): Promise<void> {
    const chip = this.#chip;
    chip.write(HOSTCC_MODE, 0);
    await chip.poll(HOSTCC_MODE, HOSTCC_MODE.ENABLE, 0, 20_000_000, 'stopping host coalescing');
    this.silence();
    this.#writeLevels();
    // While a caller polls, every frame is told at once.
    chip.write(R.HOSTCC_RXCOAL_MAXF_INT, 1);
    chip.write(R.HOSTCC_TXCOAL_MAXF_INT, LEVELS[0].txFrames);
    for (let vector = 1; vector < this.vectors; vector++) {
      chip.write(R.HOSTCC_VEC_RXCOAL_MAXF_INT, 1, vector - 1);
      chip.write(R.HOSTCC_VEC_TXCOAL_MAXF_INT, 0, vector - 1);
    }
    chip.write(HOSTCC_MODE, COALESCING);
    if (this.mode === 'intx') return;
    chip.modify(R.MSGINT_MODE, { ENABLE: 1, MULTIVEC_EN: this.vectors > 1 });
  }

  /** INTA# may be asserted, MSI be sent: the mailboxes decide. */
  unmask(): void {
    this.#chip.write(MISC_HOST_CTRL, HOST_CONTROL);
  }

  /** No interrupt until `arm`. Needs nothing but a card that answers. */
  silence(): void {
    this.#armed.fill(false);
    for (let vector = 0; vector < this.vectors; vector++) this.#silence(vector);
  }

  #silence(vector: number): void {
    this.#chip.write(R.MBOX_INTERRUPT, SILENT, vector);
  }

  disable(): void {
    this.mode = null;
    this.#armed.fill(false);
    this.#chip.write(MISC_HOST_CTRL, HOST_CONTROL | MISC_HOST_CTRL.MASK_PCI_INT);
    this.#chip.device.interrupts.disable();
  }

  /** Interrupts for whatever comes after the blocks as they are now. */
  arm(queue: number, packets: number): void {
    if (this.#moderationOf(queue).learn(packets) && this.coalescing.interval === null) this.#writeLevel(queue);
    this.#armed[queue] = true;
    if (this.vectors > 1) this.#allow(queue + 1);
    if (this.vectors === 1 || queue === 0) this.#allow(0);
  }

  #allow(vector: number): void {
    const tag = this.#status.tag(vector);
    this.#acknowledged[vector] = tag;
    this.#chip.write(R.MBOX_INTERRUPT, tag << 24, vector);
  }

  disarm(queue: number): void {
    this.#armed[queue] = false;
    if (this.vectors > 1) this.#silence(queue + 1);
    if (this.vectors === 1 ? !this.#armed.includes(true) : queue === 0) this.#silence(0);
  }

  /** Makes the card write the queue's block, and interrupt. */
  provoke(queue: number): void {
    this.#writeBlock(this.vectors > 1 ? queue + 1 : 0);
  }

  #writeBlock(vector: number): void {
    const now = vector === 0 ? HOSTCC_MODE.NOW : FIRST_VECTOR_NOW << (vector - 1);
    this.#chip.write(HOSTCC_MODE, COALESCING | now);
  }

  /** What shares a vector is moderated together. */
  #moderationOf(queue: number): Moderation {
    return this.#moderations[this.vectors > 1 ? queue : 0]!;
  }

  #levelOf(queue: number): Level {
    const { interval } = this.coalescing;
    if (interval === null) return LEVELS[this.#moderationOf(queue).level];
    const frames = interval === 0 ? 1 : MOST_FRAMES;
    return { rxTicks: interval, rxFrames: frames, txTicks: interval, txFrames: frames };
  }

  #writeLevels(): void {
    for (const queue of this.#armed.keys()) this.#writeLevel(queue);
  }

  /** The send ring's is that of queue 0, which is told of what it sent. */
  #writeLevel(queue: number): void {
    const chip = this.#chip;
    const { rxTicks, rxFrames, txTicks, txFrames } = this.#levelOf(queue);
    const several = this.vectors > 1;
    if (queue === 0) {
      chip.write(R.HOSTCC_RXCOL_TICKS, several ? 0 : rxTicks);
      chip.write(R.HOSTCC_RXMAX_FRAMES, several ? 0 : rxFrames);
      chip.write(R.HOSTCC_TXCOL_TICKS, txTicks);
      chip.write(R.HOSTCC_TXMAX_FRAMES, txFrames);
    }
    if (!several) return;
    chip.write(R.HOSTCC_VEC_RXCOL_TICKS, rxTicks, queue);
    chip.write(R.HOSTCC_VEC_RXMAX_FRAMES, rxFrames, queue);
    chip.write(R.HOSTCC_VEC_TXCOL_TICKS, 0, queue);
    chip.write(R.HOSTCC_VEC_TXMAX_FRAMES, 0, queue);
  }

  /** A line may be shared; and reading PCISTATE brings the block that the interrupt is about into memory. */
  #line(): void {
    if (this.#status.tag(0) === this.#lastTag) {
      const state = this.#chip.read(PCISTATE);
      if (state === ALL_ONES && this.#chip.gone) throw goneError(this.#chip.device);
      if ((state & PCISTATE.INT_NOT_ACTIVE) !== 0) return;
    }
    this.#lastTag = this.#status.tag(0);
    this.#interrupt(0);
    this.#chip.read(R.MBOX_INTERRUPT); // the line is down before the handler returns
  }

  #interrupt(vector: number): void {
    this.count++;
    if (this.vectors === 1) this.#everything();
    else this.#queue(Math.max(vector - 1, 0), vector);
  }

  #everything(): void {
    const armed = this.#armed.includes(true);
    this.silence();
    this.lookAtLink();
    if (!armed) return;
    this.#forceNews(0);
    this.#sink.work();
  }

  /** Vector 0 speaks for the send ring, which is queue 0's. */
  #queue(queue: number, vector: number): void {
    const armed = this.#armed[queue]!;
    this.disarm(queue);
    if (vector === 0) this.lookAtLink();
    if (!armed) return;
    this.#forceNews(vector);
    this.#sink.work(queue);
  }

  /** A tag in memory that is not the card's would interrupt at once, for ever: the card is to write its own. */
  #forceNews(vector: number): void {
    if (this.#status.tag(vector) === this.#acknowledged[vector]) this.#writeBlock(vector);
  }

  /** What block 0 says of the link. Acknowledged, so that the blocks to come do not say it again. */
  lookAtLink(): void {
    if (!this.#status.takeLinkChange()) return;
    this.#chip.write(MAC_STATUS, MAC_STATUS.LNKSTATE_CHANGED);
    this.#sink.link();
  }
}
