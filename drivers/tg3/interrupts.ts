/**
 * Interrupts: one mailbox for each vector, which a non-zero value silences, and a tag of the status block in which turns
 * on again; and host coalescing, by which the card decides when to write a block and to interrupt.
 *
 * Broadcom 5718-PG108-R, "Interrupt Mailbox" and "Host Coalescing". A tag other than that of the last block interrupts at
 * once: nothing is lost between a look at the block and the mailbox.
 */
import { ALL_ONES } from '../card.ts';
import type { InterruptMode } from '../device.ts';
import { enableFirst, guarded, type InterruptSink } from '../interrupt-modes.ts';
import { Moderation } from '../moderation.ts';
import { goneError } from '../net-driver.ts';
import { type Chip, R } from './chip.ts';
import { HOST_CONTROL } from './reset.ts';
import { MAX_VECTORS, type StatusBlocks } from './status.ts';

const { HOSTCC_MODE, MISC_HOST_CTRL, MAC_STATUS, PCISTATE } = R;
/** 32 bytes of status block; ticks count from the first event. */
const COALESCING = HOSTCC_MODE.ENABLE | HOSTCC_MODE._32BYTE | HOSTCC_MODE.CLRTICK_RXBD | HOSTCC_MODE.CLRTICK_TXBD;
const SILENT = 1;
const FIRST_VECTOR_NOW = 1 << 13; // of COAL_VEC_NOW: vector 1; those of the others follow

/** By moderation's levels: microseconds, and frames, after which a block goes out and interrupts. */
export const LEVELS = [
  { rxTicks: 14, rxFrames: 1, txTicks: 50, txFrames: 16 },
  { rxTicks: 50, rxFrames: 32, txTicks: 72, txFrames: 53 },
  { rxTicks: 250, rxFrames: 128, txTicks: 250, txFrames: 128 },
] as const;

export class InterruptControl {
  /** Interrupts that were the card's. */
  count = 0;
  mode: InterruptMode | null = null;
  vectors = 1;
  readonly #chip: Chip;
  readonly #status: StatusBlocks;
  readonly #sink: InterruptSink;
  readonly #moderation = new Moderation();
  #armed = false;
  #lastTag = 0; // of block 0 at the last interrupt
  readonly #acknowledged = new Uint8Array(MAX_VECTORS); // tags that vectors were armed with

  constructor(chip: Chip, status: StatusBlocks, sink: InterruptSink) {
    this.#chip = chip;
    this.#status = status;
    this.#sink = sink;
  }

  /** The first of `modes` that the function offers; with several queues and MSI-X, a vector for each and one for the rest. */
  enable(modes: readonly InterruptMode[], queues: number): void {
    const { device, variant } = this.#chip;
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
    this.#armed = false;
    this.#lastTag = 0;
    this.#moderation.reset();
  }

  /** Coalescing as it starts; afterwards blocks are written. They must have a place by now. */
  async startCoalescing(): Promise<void> {
    const chip = this.#chip;
    chip.write(HOSTCC_MODE, 0);
    await chip.poll(HOSTCC_MODE, HOSTCC_MODE.ENABLE, 0, 20_000_000, 'stopping host coalescing');
    this.silence();
    this.#writeLevel();
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
    this.#armed = false;
    for (let vector = 0; vector < this.vectors; vector++) this.#chip.write(R.MBOX_INTERRUPT, SILENT, vector);
  }

  disable(): void {
    this.mode = null;
    this.#armed = false;
    this.#chip.write(MISC_HOST_CTRL, HOST_CONTROL | MISC_HOST_CTRL.MASK_PCI_INT);
    this.#chip.device.interrupts.disable();
  }

  /** Interrupts for whatever comes after the blocks as they are now. */
  arm(): void {
    this.#armed = true;
    for (let vector = 0; vector < this.vectors; vector++) {
      const tag = this.#status.tag(vector);
      this.#acknowledged[vector] = tag;
      this.#chip.write(R.MBOX_INTERRUPT, tag << 24, vector);
    }
  }

  /** Makes the card write block 0, and interrupt. */
  provoke(): void {
    this.#writeBlock(0);
  }

  #writeBlock(vector: number): void {
    const now = vector === 0 ? HOSTCC_MODE.NOW : FIRST_VECTOR_NOW << (vector - 1);
    this.#chip.write(HOSTCC_MODE, COALESCING | now);
  }

  /** How many packets the work after an interrupt came to. */
  learn(packets: number): void {
    if (this.#moderation.learn(packets)) this.#writeLevel();
  }

  #writeLevel(): void {
    const chip = this.#chip;
    const { rxTicks, rxFrames, txTicks, txFrames } = LEVELS[this.#moderation.level];
    const several = this.vectors > 1;
    chip.write(R.HOSTCC_RXCOL_TICKS, several ? 0 : rxTicks);
    chip.write(R.HOSTCC_RXMAX_FRAMES, several ? 0 : rxFrames);
    chip.write(R.HOSTCC_TXCOL_TICKS, txTicks);
    chip.write(R.HOSTCC_TXMAX_FRAMES, txFrames);
    for (let vector = 1; vector < this.vectors; vector++) {
      chip.write(R.HOSTCC_VEC_RXCOL_TICKS, rxTicks, vector - 1);
      chip.write(R.HOSTCC_VEC_RXMAX_FRAMES, rxFrames, vector - 1);
      chip.write(R.HOSTCC_VEC_TXCOL_TICKS, 0, vector - 1);
      chip.write(R.HOSTCC_VEC_TXMAX_FRAMES, 0, vector - 1);
    }
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
    const armed = this.#armed;
    this.silence();
    this.count++;
    this.lookAtLink();
    if (!armed) return;
    // A tag in memory that is not the card's would interrupt at once, for ever: the card is to write its own.
    if (this.#status.tag(vector) === this.#acknowledged[vector]) this.#writeBlock(vector);
    this.#sink.work();
  }

  /** What block 0 says of the link. Acknowledged, so that the blocks to come do not say it again. */
  lookAtLink(): void {
    if (!this.#status.takeLinkChange()) return;
    this.#chip.write(MAC_STATUS, MAC_STATUS.LNKSTATE_CHANGED);
    this.#sink.link();
  }
}
