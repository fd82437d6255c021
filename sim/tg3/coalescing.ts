/**
 * Host coalescing and interrupts: when a status block goes to host memory, and whether it interrupts.
 *
 * There are five vectors, each with a status block, a tag, limits and an interrupt mailbox of its own. All but vector 0
 * are used only with MSI-X and MSGINT_MODE.MULTIVEC_EN; vector n then is return ring n-1's, vector 0 the rest's.
 */
import { type Alarm, type Clock, MICROSECOND } from '../clock.ts';
import type { BusMaster, Window } from '../memory.ts';
import { type AnyRegister, field, type Register, type RegisterArray, type RegisterFile } from '../registers.ts';
import type { Chip } from './chips.ts';
import { VECTORS } from './configuration.ts';
import {
  ST_JUMBO,
  ST_LINK_CHANGED,
  ST_RET0_SEND,
  ST_RET1_STD,
  ST_RET3_RET2,
  ST_STATUS,
  ST_TAG,
  ST_UPDATED,
} from './descriptors.ts';
import { BCM57XX } from './registers.ts';

const R = BCM57XX.r;
const { GRC_MODE, HOSTCC_MODE, MAC_EVENT, MAC_STATUS, MBOX_INTERRUPT, MISC_HOST_CTRL, MSGINT_MODE, WDMAC_MODE } = R;
const { PCIE_TRANSACTION_CFG } = R;
export const RETURN_RINGS = 4;
const ALL_RINGS = RETURN_RINGS;
const BLOCK = 32; // bytes written of a status block, in every mode
const IN_ISR = MBOX_INTERRUPT.IN_ISR;

/** The way out for interrupts. */
export interface Pins {
  readonly kind: 'msi' | 'msix' | null;
  /** Offsets in configuration space: MISC_HOST_CTRL as it is now. */
  readonly hostControl: number;
  line(asserted: boolean): void;
  message(): void;
  vector(vector: number): void;
}

export class HostCoalescing {
  /** Indices as the next status block will show them. */
  sendConsumer = 0;
  stdConsumer = 0;
  jumboConsumer = 0;
  readonly returnProducers = new Uint16Array(RETURN_RINGS);
  readonly #words: Uint32Array;
  readonly #dma: BusMaster;
  readonly #pins: Pins;
  readonly #is57765: boolean;
  readonly #windows: Window[];
  readonly #receiveTimers: Alarm[];
  readonly #sendTimers: Alarm[];
  // By vector: events no status block has told of, and the last block's tag.
  readonly #received = new Uint32Array(VECTORS);
  readonly #sent = new Uint32Array(VECTORS);
  readonly #tags = new Uint8Array(VECTORS);
  readonly #block = new Uint32Array(BLOCK / 4); // for memory that cannot be seen
  readonly #blockBytes = new Uint8Array(this.#block.buffer);
  #pending = false; // of vector 0, without MSI-X: an interrupt that was not delivered or acknowledged

  constructor(registers: RegisterFile, clock: Clock, dma: BusMaster, chip: Chip, pins: Pins) {
    this.#words = registers.words;
    this.#dma = dma;
    this.#pins = pins;
    this.#is57765 = chip.is57765;
    const vectors = Array.from({ length: VECTORS }, (_, vector) => vector);
    this.#windows = vectors.map(() => dma.window());
    this.#receiveTimers = vectors.map((vector) => clock.alarm(() => this.#update(vector, true)));
    this.#sendTimers = vectors.map((vector) => clock.alarm(() => this.#update(vector, true)));
    registers.onWrite(MBOX_INTERRUPT, (value, vector) => this.#mailboxWritten(value, vector));
    registers.onWrite(HOSTCC_MODE, (value) => this.#modeWritten(value));
    registers.onWrite(MAC_EVENT, () => this.attention());
    for (const [register, index] of this.#shownIndices()) registers.onRead(register, index);
  }

  #shownIndices(): [AnyRegister, (index: number) => number][] {
    const send = (index: number) => (index === 0 ? this.sendConsumer : 0);
    const returned = (index: number) => this.returnProducers[index] ?? 0;
    return [
      [R.SNDBDS_SEL_CON_IDX, send],
      [R.HOSTCC_SND_CON_IDX, send],
      [R.HOSTCC_RET_PROD_IDX, returned],
      [R.RCVDBDI_BD_PROD_IDX, returned],
      [R.RCVDBDI_STD_CON_IDX, () => this.stdConsumer],
      [R.HOSTCC_STD_CON_IDX, () => this.stdConsumer],
      [R.RCVDBDI_JUMBO_CON_IDX, () => this.jumboConsumer],
      [R.HOSTCC_JUMBO_CON_IDX, () => this.jumboConsumer],
    ];
  }

  /** Whether each return ring has a vector of its own. */
  get #multiVector(): boolean {
    return (this.#words[MSGINT_MODE.word]! & MSGINT_MODE.MULTIVEC_EN) !== 0 && this.#pins.kind === 'msix';
  }

  // Events.

  /** Frames were returned in that ring: its producer index is up to date. */
  received(ring: number, frames: number): void {
    const vector = this.#multiVector ? ring + 1 : 0;
    this.#received[vector]! += frames;
    this.#consider(vector);
  }

  /** Send BDs were done with. @param now one of them said COAL_NOW. */
  sent(descriptors: number, now: boolean): void {
    this.#sent[0]! += descriptors;
    if (now) this.#update(0, !(this.#words[HOSTCC_MODE.word]! & HOSTCC_MODE.NOINT_ON_FORCE));
    else this.#consider(0);
  }

  /** What MAC_EVENT enables of MAC_STATUS goes out at once, if GRC_MODE says so. */
  attention(): void {
    if (this.#attended && this.#words[GRC_MODE.word]! & GRC_MODE.IRQ_ON_MAC_ATTN) this.#update(0, true);
  }

  get #attended(): boolean {
    return (this.#words[MAC_STATUS.word]! & this.#words[MAC_EVENT.word]!) !== 0;
  }

  #limit(first: Register, others: RegisterArray, vector: number): number {
    return this.#words[vector === 0 ? first.word : others.word(vector - 1)]!;
  }

  /** Enough events for a status block, or a timer for them. In the ISR the limits are others, the timers the same. */
  #consider(vector: number): void {
    const received = this.#received[vector]!;
    const sent = this.#sent[vector]!;
    const busy = this.#busy(vector);
    const receiveLimit = busy
      ? this.#limit(R.HOSTCC_RXCOAL_MAXF_INT, R.HOSTCC_VEC_RXCOAL_MAXF_INT, vector)
      : this.#limit(R.HOSTCC_RXMAX_FRAMES, R.HOSTCC_VEC_RXMAX_FRAMES, vector);
    const sendLimit = busy
      ? this.#limit(R.HOSTCC_TXCOAL_MAXF_INT, R.HOSTCC_VEC_TXCOAL_MAXF_INT, vector)
      : this.#limit(R.HOSTCC_TXMAX_FRAMES, R.HOSTCC_VEC_TXMAX_FRAMES, vector);
    if ((receiveLimit > 0 && received >= receiveLimit) || (sendLimit > 0 && sent >= sendLimit)) {
      this.#update(vector, true);
      return;
    }
    if (received > 0)
      start(this.#receiveTimers[vector]!, this.#limit(R.HOSTCC_RXCOL_TICKS, R.HOSTCC_VEC_RXCOL_TICKS, vector));
    if (sent > 0) start(this.#sendTimers[vector]!, this.#limit(R.HOSTCC_TXCOL_TICKS, R.HOSTCC_VEC_TXCOL_TICKS, vector));
  }

  #busy(vector: number): boolean {
    return (this.#words[MBOX_INTERRUPT.word(vector)]! & IN_ISR) !== 0;
  }

  // Status blocks.

  get #enabled(): boolean {
    const words = this.#words;
    return (
      (words[HOSTCC_MODE.word]! & HOSTCC_MODE.ENABLE) !== 0 &&
      (words[WDMAC_MODE.word]! & WDMAC_MODE.ENABLE) !== 0 &&
      this.#dma.enabled
    );
  }

  /** Writes the vector's status block, and interrupts if that is wanted. While a block on the way is off, events wait. */
  #update(vector: number, interrupt: boolean): void {
    if (!this.#enabled) return;
    this.#received[vector] = 0;
    this.#sent[vector] = 0;
    this.#receiveTimers[vector]!.cancel();
    this.#sendTimers[vector]!.cancel();
    const tag = this.#tags[vector]! === 255 ? 1 : this.#tags[vector]! + 1;
    if (!this.#write(vector, tag)) return;
    this.#tags[vector] = tag;
    if (interrupt) this.#signal(vector);
  }

  #write(vector: number, tag: number): boolean {
    const [high, low] =
      vector === 0
        ? [R.HOSTCC_STATUS_BLK_HOST_HIGH.word, R.HOSTCC_STATUS_BLK_HOST_LOW.word]
        : [R.HOSTCC_VEC_STATUS_BLK_HIGH.word(vector - 1), R.HOSTCC_VEC_STATUS_BLK_LOW.word(vector - 1)];
    const start = (this.#words[low]! & ~7) >>> 0;
    // Below 4 GiB it stays a small integer: a product would be a number on the heap for every block.
    const address = this.#words[high] === 0 ? start : this.#words[high]! * 0x1_0000_0000 + start;
    const window = this.#windows[vector]!;
    if (window.covers(address, BLOCK) && window.mapping.writable) {
      this.#fill(window.mapping.words, (address - window.mapping.start) >>> 2, vector, tag);
      return true;
    }
    this.#fill(this.#block, 0, vector, tag);
    return this.#dma.write(address, this.#blockBytes, 0, BLOCK);
  }

  /** The status word comes last: whoever sees it sees the rest. */
  #fill(words: Uint32Array, at: number, vector: number, tag: number): void {
    const own = vector === 0;
    const only = this.#multiVector ? vector - 1 : ALL_RINGS;
    words[at + ST_RET1_STD] = this.#shown(1, only) | (own ? this.stdConsumer << 16 : 0);
    words[at + ST_RET3_RET2] = this.#shown(3, only) | (this.#shown(2, only) << 16);
    words[at + ST_RET0_SEND] = this.#shown(0, only) | (own ? this.sendConsumer << 16 : 0);
    words[at + ST_JUMBO] = own ? this.jumboConsumer : 0;
    words[at + ST_TAG] = tag;
    words[at + ST_STATUS] = ST_UPDATED | (own && this.#attended ? ST_LINK_CHANGED : 0);
  }

  /** A return ring's producer, in a block for all of them or for `only` one. */
  #shown(ring: number, only: number): number {
    return only === ALL_RINGS || only === ring ? this.returnProducers[ring]! : 0;
  }

  #modeWritten(value: number): void {
    if (value & HOSTCC_MODE.NOW) this.#update(0, !(value & HOSTCC_MODE.NOINT_ON_NOW));
    const vectors = field(value, HOSTCC_MODE.COAL_VEC_NOW);
    for (let vector = 1; vector < VECTORS; vector++)
      if (vectors & (1 << (vector - 1))) this.#update(vector, !(value & HOSTCC_MODE.NOINT_ON_NOW));
    if (value & HOSTCC_MODE.ENABLE) for (let vector = 0; vector < VECTORS; vector++) this.#consider(vector);
  }

  // Interrupts.

  /** GRC_LOCAL_CTRL.SETINT: an interrupt without a status block. */
  force(): void {
    this.#signal(0);
  }

  /** GRC_LOCAL_CTRL.CLEARINT, MISC_HOST_CTRL.CLEAR_INT. */
  clear(): void {
    this.#pending = false;
    this.settle();
  }

  #signal(vector: number): void {
    if (this.#pins.kind !== 'msix') {
      if (vector !== 0) return;
      this.#pending = true;
      this.settle();
    } else if (!this.#busy(vector) && this.#words[MSGINT_MODE.word]! & MSGINT_MODE.ENABLE) {
      this.#oneShot(vector);
      this.#pins.vector(this.#multiVector ? vector : 0);
    }
  }

  /** After a message the chip itself says "in the ISR", until the host's next word in the mailbox. */
  #oneShot(vector: number): void {
    const words = this.#words;
    const on = this.#is57765
      ? !(words[MSGINT_MODE.word]! & MSGINT_MODE.ONE_SHOT_DISABLE)
      : words[PCIE_TRANSACTION_CFG.word]! & PCIE_TRANSACTION_CFG.TRANS_CFG_1SHOT_MSI;
    if (on) words[MBOX_INTERRUPT.word(vector)] = 1;
  }

  /** After anything changed that INTA# or MSI depends on. */
  settle(): void {
    const masked = (this.#pins.hostControl & MISC_HOST_CTRL.MASK_PCI_INT) !== 0;
    const wanted = this.#pending && !masked && !this.#busy(0);
    if (this.#pins.kind === null) {
      this.#pins.line(wanted);
      return;
    }
    this.#pins.line(false);
    if (!wanted || this.#pins.kind !== 'msi' || !(this.#words[MSGINT_MODE.word]! & MSGINT_MODE.ENABLE)) return;
    this.#pending = false;
    this.#oneShot(0);
    this.#pins.message();
  }

  /** Anything but 0 in 23:0 keeps interrupts off; 0 acknowledges what the tag says, and turns them on. */
  #mailboxWritten(value: number, vector: number): void {
    if (vector === 0) {
      this.#pending = false;
      this.settle();
    }
    if (value & IN_ISR) return;
    const tagged = (this.#pins.hostControl & MISC_HOST_CTRL.TAGGED_STATUS) !== 0;
    if (tagged && value >>> 24 !== this.#tags[vector]) this.#signal(vector);
    if (this.#received[vector]! > 0 || this.#sent[vector]! > 0) this.#consider(vector);
  }

  reset(): void {
    for (const timer of [...this.#receiveTimers, ...this.#sendTimers]) timer.cancel();
    this.sendConsumer = 0;
    this.stdConsumer = 0;
    this.jumboConsumer = 0;
    this.returnProducers.fill(0);
    this.#received.fill(0);
    this.#sent.fill(0);
    this.#tags.fill(0);
    this.clear();
  }

  save(): unknown {
    return {
      indices: [this.sendConsumer, this.stdConsumer, this.jumboConsumer],
      returnProducers: this.returnProducers.slice(),
      received: this.#received.slice(),
      sent: this.#sent.slice(),
      tags: this.#tags.slice(),
      timers: [...this.#receiveTimers, ...this.#sendTimers].map((timer) => timer.save()),
      pending: this.#pending,
    };
  }

  restore(saved: unknown): void {
    const state = saved as {
      indices: [number, number, number];
      returnProducers: Uint16Array;
      received: Uint32Array;
      sent: Uint32Array;
      tags: Uint8Array;
      timers: number[];
      pending: boolean;
    };
    [this.sendConsumer, this.stdConsumer, this.jumboConsumer] = state.indices;
    this.returnProducers.set(state.returnProducers);
    this.#received.set(state.received);
    this.#sent.set(state.sent);
    this.#tags.set(state.tags);
    for (const [i, timer] of [...this.#receiveTimers, ...this.#sendTimers].entries()) timer.restore(state.timers[i]!);
    this.#pending = state.pending;
  }
}

function start(timer: Alarm, ticks: number): void {
  if (ticks > 0 && !timer.scheduled) timer.in(ticks * MICROSECOND);
}
