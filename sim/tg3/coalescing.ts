/**
 * Host coalescing and interrupts: when a status block goes to host memory, and whether it interrupts.
 *
 * There are five vectors, each with a status block, a tag, limits and an interrupt mailbox of its own. All but vector 0
 * are used only with MSI-X and MSGINT_MODE.MULTIVEC_EN; vector n then is return ring n-1's, vector 0 the rest's.
 */
import type { BusMaster } from '../memory.ts';
import { type AnyRegister, field } from '../registers.ts';
import { array, block, each, type Stateful, value } from '../state.ts';
import { VECTORS } from './configuration.ts';
import type { Context } from './context.ts';
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
import type { Tg3Registers } from './registers.ts';
import { BLOCK, Vector } from './vector.ts';

export const RETURN_RINGS = 4;
const ALL_RINGS = RETURN_RINGS;

/** Places in `indices`. */
export const STANDARD = 0;
export const JUMBO = 1;
export const SEND = 2;
export const RETURN = 3; // and those of the other rings behind it

/** The way out for interrupts. */
export interface Pins {
  readonly kind: 'msi' | 'msix' | null;
  /** Offsets in configuration space: MISC_HOST_CTRL as it is now. */
  readonly hostControl: number;
  line(asserted: boolean): void;
  message(): void;
  vector(vector: number): void;
}

type Hot = Pick<
  Tg3Registers,
  | 'GRC_MODE'
  | 'HOSTCC_MODE'
  | 'MAC_EVENT'
  | 'MAC_STATUS'
  | 'MISC_HOST_CTRL'
  | 'MSGINT_MODE'
  | 'PCIE_TRANSACTION_CFG'
  | 'WDMAC_MODE'
>;

export class HostCoalescing {
  /** Of the rings, as the next status block will show them: consumers of what the host fills, producers of the others. */
  readonly indices = new Uint16Array(RETURN + RETURN_RINGS);
  readonly state: Stateful;
  readonly #words: Uint32Array;
  readonly #r: Hot;
  readonly #dma: BusMaster;
  readonly #pins: Pins;
  readonly #is577xx: boolean;
  readonly #vectors: readonly Vector[];
  readonly #block = new Uint32Array(BLOCK / 4); // for memory that cannot be seen
  readonly #blockBytes = new Uint8Array(this.#block.buffer);
  #pending = false; // of vector 0, without MSI-X: an interrupt that was not delivered or acknowledged

  constructor(context: Context, pins: Pins) {
    const { registers, r, dma, chip } = context;
    const { GRC_MODE, HOSTCC_MODE, MAC_EVENT, MAC_STATUS, MISC_HOST_CTRL, MSGINT_MODE, WDMAC_MODE } = r;
    const { PCIE_TRANSACTION_CFG } = r;
    this.#words = registers.words;
    this.#r = {
      GRC_MODE,
      HOSTCC_MODE,
      MAC_EVENT,
      MAC_STATUS,
      MISC_HOST_CTRL,
      MSGINT_MODE,
      PCIE_TRANSACTION_CFG,
      WDMAC_MODE,
    };
    this.#dma = dma;
    this.#pins = pins;
    this.#is577xx = chip.is577xx;
    this.#vectors = Array.from({ length: VECTORS }, (_, index) => {
      return new Vector(context, index, (vector) => this.#update(vector, true));
    });
    this.state = block(1, {
      indices: array(this.indices),
      vectors: each(this.#vectors.map(({ state }) => state)),
      pending: value(
        () => this.#pending,
        (pending) => {
          this.#pending = pending;
        },
      ),
    });
    registers.onWrite(r.MBOX_INTERRUPT, (value, index) => this.#mailboxWritten(value, this.#vectors[index]!));
    registers.onWrite(HOSTCC_MODE, (value) => this.#modeWritten(value));
    registers.onWrite(MAC_EVENT, () => this.attention());
    for (const [register, index] of this.#shownIndices(r)) registers.onRead(register, index);
  }

  #shownIndices(r: Tg3Registers): [AnyRegister, (index: number) => number][] {
    const { indices } = this;
    const send = (index: number) => (index === 0 ? indices[SEND]! : 0);
    const returned = (index: number) => indices[RETURN + index] ?? 0;
    return [
      [r.SNDBDS_SEL_CON_IDX, send],
      [r.HOSTCC_SND_CON_IDX, send],
      [r.HOSTCC_RET_PROD_IDX, returned],
      [r.RCVDBDI_BD_PROD_IDX, returned],
      [r.RCVDBDI_STD_CON_IDX, () => indices[STANDARD]!],
      [r.HOSTCC_STD_CON_IDX, () => indices[STANDARD]!],
      [r.RCVDBDI_JUMBO_CON_IDX, () => indices[JUMBO]!],
      [r.HOSTCC_JUMBO_CON_IDX, () => indices[JUMBO]!],
    ];
  }

  /** Whether each return ring has a vector of its own. */
  get #multiVector(): boolean {
    const { MSGINT_MODE } = this.#r;
    return (this.#words[MSGINT_MODE.word]! & MSGINT_MODE.MULTIVEC_EN) !== 0 && this.#pins.kind === 'msix';
  }

  // Events.

  /** Frames were returned in that ring: its producer index is up to date. */
  received(ring: number, frames: number): void {
    const vector = this.#vectors[this.#multiVector ? ring + 1 : 0]!;
    vector.received += frames;
    vector.consider();
  }

  /** Send BDs were done with. @param now one of them said COAL_NOW. */
  sent(descriptors: number, now: boolean): void {
    const { HOSTCC_MODE } = this.#r;
    const vector = this.#vectors[0]!;
    vector.sent += descriptors;
    if (now) this.#update(vector, !(this.#words[HOSTCC_MODE.word]! & HOSTCC_MODE.NOINT_ON_FORCE));
    else vector.consider();
  }

  /** What MAC_EVENT enables of MAC_STATUS goes out at once, if GRC_MODE says so. */
  attention(): void {
    const { GRC_MODE } = this.#r;
    if (this.#attended && this.#words[GRC_MODE.word]! & GRC_MODE.IRQ_ON_MAC_ATTN) this.#update(this.#vectors[0]!, true);
  }

  get #attended(): boolean {
    const { MAC_STATUS, MAC_EVENT } = this.#r;
    return (this.#words[MAC_STATUS.word]! & this.#words[MAC_EVENT.word]!) !== 0;
  }

  // Status blocks.

  get #enabled(): boolean {
    const words = this.#words;
    const { HOSTCC_MODE, WDMAC_MODE } = this.#r;
    return (
      (words[HOSTCC_MODE.word]! & HOSTCC_MODE.ENABLE) !== 0 &&
      (words[WDMAC_MODE.word]! & WDMAC_MODE.ENABLE) !== 0 &&
      this.#dma.enabled
    );
  }

  /** Writes the vector's status block, and interrupts if that is wanted. While a block on the way is off, events wait. */
  #update(vector: Vector, interrupt: boolean): void {
    if (!this.#enabled) return;
    vector.told();
    const tag = vector.tag === 255 ? 1 : vector.tag + 1;
    if (!this.#write(vector, tag)) return;
    vector.tag = tag;
    if (interrupt) this.#signal(vector);
  }

  #write(vector: Vector, tag: number): boolean {
    const { address, window } = vector;
    if (window.covers(address, BLOCK) && window.mapping.writable) {
      this.#fill(window.mapping.words, (address - window.mapping.start) >>> 2, vector.index, tag);
      return true;
    }
    this.#fill(this.#block, 0, vector.index, tag);
    return this.#dma.write(address, this.#blockBytes, 0, BLOCK);
  }

  /** The status word comes last: whoever sees it sees the rest. */
  #fill(words: Uint32Array, at: number, vector: number, tag: number): void {
    const { indices } = this;
    const own = vector === 0;
    const only = this.#multiVector ? vector - 1 : ALL_RINGS;
    words[at + ST_RET1_STD] = this.#shown(1, only) | (own ? indices[STANDARD]! << 16 : 0);
    words[at + ST_RET3_RET2] = this.#shown(3, only) | (this.#shown(2, only) << 16);
    words[at + ST_RET0_SEND] = this.#shown(0, only) | (own ? indices[SEND]! << 16 : 0);
    words[at + ST_JUMBO] = own ? indices[JUMBO]! : 0;
    words[at + ST_TAG] = tag;
    words[at + ST_STATUS] = ST_UPDATED | (own && this.#attended ? ST_LINK_CHANGED : 0);
  }

  /** A return ring's producer, in a block for all of them or for `only` one. */
  #shown(ring: number, only: number): number {
    return only === ALL_RINGS || only === ring ? this.indices[RETURN + ring]! : 0;
  }

  #modeWritten(value: number): void {
    const { HOSTCC_MODE } = this.#r;
    const interrupts = !(value & HOSTCC_MODE.NOINT_ON_NOW);
    const now = field(value, HOSTCC_MODE.COAL_VEC_NOW);
    for (const vector of this.#vectors) {
      const told = vector.index === 0 ? value & HOSTCC_MODE.NOW : now & (1 << (vector.index - 1));
      if (told) this.#update(vector, interrupts);
    }
    if (value & HOSTCC_MODE.ENABLE) for (const vector of this.#vectors) vector.consider();
  }

  // Interrupts.

  /** GRC_LOCAL_CTRL.SETINT: an interrupt without a status block. */
  force(): void {
    this.#signal(this.#vectors[0]!);
  }

  /** GRC_LOCAL_CTRL.CLEARINT, MISC_HOST_CTRL.CLEAR_INT. */
  clear(): void {
    this.#pending = false;
    this.settle();
  }

  #signal(vector: Vector): void {
    const { MSGINT_MODE } = this.#r;
    if (this.#pins.kind !== 'msix') {
      if (vector.index !== 0) return;
      this.#pending = true;
      this.settle();
    } else if (!vector.busy && this.#words[MSGINT_MODE.word]! & MSGINT_MODE.ENABLE) {
      this.#oneShot(vector);
      this.#pins.vector(this.#multiVector ? vector.index : 0);
    }
  }

  /** After a message the chip itself says "in the ISR", until the host's next word in the mailbox. */
  #oneShot(vector: Vector): void {
    const words = this.#words;
    const { MSGINT_MODE, PCIE_TRANSACTION_CFG } = this.#r;
    const on = this.#is577xx
      ? !(words[MSGINT_MODE.word]! & MSGINT_MODE.ONE_SHOT_DISABLE)
      : words[PCIE_TRANSACTION_CFG.word]! & PCIE_TRANSACTION_CFG.TRANS_CFG_1SHOT_MSI;
    if (on) vector.mailbox = 1;
  }

  /** After anything changed that INTA# or MSI depends on. */
  settle(): void {
    const { MISC_HOST_CTRL, MSGINT_MODE } = this.#r;
    const masked = (this.#pins.hostControl & MISC_HOST_CTRL.MASK_PCI_INT) !== 0;
    const wanted = this.#pending && !masked && !this.#vectors[0]!.busy;
    if (this.#pins.kind === null) {
      this.#pins.line(wanted);
      return;
    }
    this.#pins.line(false);
    if (!wanted || this.#pins.kind !== 'msi' || !(this.#words[MSGINT_MODE.word]! & MSGINT_MODE.ENABLE)) return;
    this.#pending = false;
    this.#oneShot(this.#vectors[0]!);
    this.#pins.message();
  }

  /** Anything but 0 in 23:0 keeps interrupts off; 0 acknowledges what the tag says, and turns them on. */
  #mailboxWritten(value: number, vector: Vector): void {
    if (vector.index === 0) {
      this.#pending = false;
      this.settle();
    }
    if (vector.busy) return;
    const tagged = (this.#pins.hostControl & this.#r.MISC_HOST_CTRL.TAGGED_STATUS) !== 0;
    if (tagged && value >>> 24 !== vector.tag) this.#signal(vector);
    if (vector.received > 0 || vector.sent > 0) vector.consider();
  }

  reset(): void {
    for (const vector of this.#vectors) vector.reset();
    this.indices.fill(0);
    this.clear();
  }
}
