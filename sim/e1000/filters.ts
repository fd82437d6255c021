/**
 * Which frames are for this station (manual sections 3.2.1 packet address filtering, 9.2 VLAN filtering, 13.5).
 */
import { field } from '../registers.ts';
import type { BlockContext } from './context.ts';
import type { FamilyRegisters } from './registers.ts';

/** What `match` says. */
export const REJECTED = 0;
export const EXACT = 1;
/** Passed the multicast hash or promiscuously: software must look again, and the descriptor says so (PIF). */
export const INEXACT = 2;

/** The 12 bits of the address that index the multicast table, by RCTL.MO (table 13-67): how far to shift its top 16. */
const HASH_SHIFT = [4, 3, 2, 0] as const;

export class Filters {
  readonly #words: Uint32Array;
  readonly #r: FamilyRegisters;
  readonly #rctl: number;
  /** The valid receive addresses, in halves. */
  readonly #low: Int32Array;
  readonly #high: Int32Array;
  #addresses = 0;

  constructor({ registers, r }: BlockContext) {
    this.#words = registers.words;
    this.#r = r;
    this.#rctl = r.RCTL.word;
    this.#low = new Int32Array(r.RAL.count);
    this.#high = new Int32Array(r.RAL.count);
    registers.onWrite(r.RAL, () => this.settle());
    registers.onWrite(r.RAH, () => this.settle());
  }

  /** After the table changed. An address that is selected by its source (AS) is none for a destination. */
  settle(): void {
    const { RAL, RAH } = this.#r;
    this.#addresses = 0;
    for (let i = 0; i < RAH.count; i++) {
      const high = this.#words[RAH.word(i)]!;
      if ((high & RAH.AV) === 0 || high & RAH.AS) continue;
      this.#low[this.#addresses] = this.#words[RAL.word(i)]!;
      this.#high[this.#addresses++] = high & RAH.RAH;
    }
  }

  /** By destination address; `start` is the frame's first byte. */
  match(bytes: Uint8Array, start: number): number {
    const low = bytes[start]! | (bytes[start + 1]! << 8) | (bytes[start + 2]! << 16) | (bytes[start + 3]! << 24);
    const high = bytes[start + 4]! | (bytes[start + 5]! << 8);
    if (this.#exact(low, high)) return EXACT;
    const { RCTL } = this.#r;
    const rctl = this.#words[this.#rctl]!;
    if ((low & 1) === 0) return rctl & RCTL.UPE ? INEXACT : REJECTED;
    if (low === -1 && high === 0xffff && rctl & RCTL.BAM) return EXACT;
    return rctl & RCTL.MPE || this.#hashed(high, rctl) ? INEXACT : REJECTED;
  }

  #exact(low: number, high: number): boolean {
    for (let i = 0; i < this.#addresses; i++) if (this.#low[i] === low && this.#high[i] === high) return true;
    return false;
  }

  #hashed(high: number, rctl: number): boolean {
    const { RCTL, MTA } = this.#r;
    const hash = (high >>> HASH_SHIFT[field(rctl, RCTL.MO) as 0 | 1 | 2 | 3]) & 0xfff;
    return ((this.#words[MTA.word(hash >>> 5)]! >>> (hash & 31)) & 1) !== 0;
  }

  /** Whether a tagged frame passes the VLAN filter. */
  vlan(tci: number): boolean {
    const { RCTL, VFTA } = this.#r;
    const rctl = this.#words[RCTL.word]!;
    if (!(rctl & RCTL.VFE)) return true;
    if (rctl & RCTL.CFIEN && ((tci & 0x1000) !== 0) !== ((rctl & RCTL.CFI) !== 0)) return false;
    const id = tci & 0xfff;
    return ((this.#words[VFTA.word(id >>> 5)]! >>> (id & 31)) & 1) !== 0;
  }
}
