/**
 * Which frames are for this station (manual sections 3.2.1 packet address filtering, 9.2 VLAN filtering, 13.5).
 */
import { field, type RegisterFile } from '../registers.ts';
import { I82540EM } from './registers.ts';

const { RCTL, RAL, RAH, MTA, VFTA } = I82540EM.r;

/** What `match` says. */
export const REJECTED = 0;
export const EXACT = 1;
/** Passed the multicast hash or promiscuously: software must look again, and the descriptor says so (PIF). */
export const INEXACT = 2;

/** The 12 bits of the address that index the multicast table, by RCTL.MO (table 13-67): how far to shift its top 16. */
const HASH_SHIFT = [4, 3, 2, 0] as const;

export class Filters {
  readonly #words: Uint32Array;
  /** How many receive addresses to look at: one past the last valid one. */
  #addresses = 0;

  constructor(registers: RegisterFile) {
    this.#words = registers.words;
    registers.onWrite(RAH, () => this.settle());
  }

  /** After the table changed. */
  settle(): void {
    this.#addresses = 0;
    for (let i = 0; i < RAH.count; i++) if (this.#words[RAH.word(i)]! & RAH.AV) this.#addresses = i + 1;
  }

  /** By destination address; `start` is the frame's first byte. */
  match(bytes: Uint8Array, start: number): number {
    const low = bytes[start]! | (bytes[start + 1]! << 8) | (bytes[start + 2]! << 16) | (bytes[start + 3]! << 24);
    const high = bytes[start + 4]! | (bytes[start + 5]! << 8);
    const rctl = this.#words[RCTL.word]!;
    if (this.#exact(low, high)) return EXACT;
    if ((low & 1) === 0) return rctl & RCTL.UPE ? INEXACT : REJECTED;
    if (low === -1 && high === 0xffff && rctl & RCTL.BAM) return EXACT;
    return rctl & RCTL.MPE || this.#hashed(high, rctl) ? INEXACT : REJECTED;
  }

  #exact(low: number, high: number): boolean {
    const words = this.#words;
    for (let i = 0; i < this.#addresses; i++) {
      if (
        (words[RAL.word(i)]! | 0) === low &&
        (words[RAH.word(i)]! & (RAH.AV | RAH.AS | RAH.RAH)) >>> 0 === (RAH.AV | high) >>> 0
      ) {
        return true;
      }
    }
    return false;
  }

  #hashed(high: number, rctl: number): boolean {
    const hash = (high >>> HASH_SHIFT[field(rctl, RCTL.MO) as 0 | 1 | 2 | 3]) & 0xfff;
    return ((this.#words[MTA.word(hash >>> 5)]! >>> (hash & 31)) & 1) !== 0;
  }

  /** Whether a tagged frame passes the VLAN filter. */
  vlan(tci: number): boolean {
    const rctl = this.#words[RCTL.word]!;
    if (!(rctl & RCTL.VFE)) return true;
    if (rctl & RCTL.CFIEN && ((tci & 0x1000) !== 0) !== ((rctl & RCTL.CFI) !== 0)) return false;
    const id = tci & 0xfff;
    return ((this.#words[VFTA.word(id >>> 5)]! >>> (id & 31)) & 1) !== 0;
  }
}
