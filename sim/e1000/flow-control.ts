/**
 * 802.3x flow control (manual section 8.7; IEEE 802.3 annex 31B): PAUSE frames received hold the transmitter; a filling
 * receive FIFO sends them.
 */
import { Hold, PAUSE_OPCODE, putPause } from '../nic/pause.ts';
import { get16, MIN_FRAME } from '../packet.ts';
import { block, record } from '../state.ts';
import type { BlockContext } from './context.ts';
import type { FamilyRegisters } from './registers.ts';
import type { Statistics } from './statistics.ts';

/** What a frame is to the receiver (8.7.4). */
export const ORDINARY = 0;
/** A valid PAUSE frame: filtered like any, but no "good packet". */
export const PAUSE = 1;
/** Not for the host: a PAUSE frame to the station by DPF, other MAC control without PMCF. */
export const DISCARDED = 2;
/** For the host, whatever the filters say: by PMCF. */
export const PASSED = 3;

export class FlowControl {
  readonly #r: FamilyRegisters;
  // As looked at for each frame.
  readonly #FCT: FamilyRegisters['FCT'];
  readonly #CTRL: FamilyRegisters['CTRL'];
  readonly #words: Uint32Array;
  readonly #statistics: Statistics;
  readonly #frame = new Uint8Array(MIN_FRAME);
  readonly #hold: Hold;
  readonly #sent = { xoff: false };
  readonly state;

  constructor({ registers, r, host }: BlockContext, statistics: Statistics) {
    this.#r = r;
    this.#FCT = r.FCT;
    this.#CTRL = r.CTRL;
    this.#words = registers.words;
    this.#statistics = statistics;
    this.#hold = new Hold(host.clock);
    this.state = block(1, { hold: this.#hold.state, sent: record(this.#sent) });
  }

  /** Nanoseconds on the clock until which the partner asked us to be quiet; 0 where it did not. */
  get pausedUntil(): number {
    return this.#hold.until;
  }

  /** Whether a frame of this EtherType may be MAC control: then `received` says what becomes of it. */
  listens(etherType: number): boolean {
    return etherType === this.#words[this.#FCT.word] && (this.#words[this.#CTRL.word]! & this.#CTRL.RFCE) !== 0;
  }

  /**
   * A frame of that type, undamaged and not cut short (8.7.3): MAC control where it is addressed to us. Returns its kind.
   * @param bitTime nanoseconds a bit at the present speed.
   */
  received(bytes: Uint8Array, start: number, bitTime: number): number {
    const { RAL, RAH, FCAL, FCAH, RCTL, FCRUC, XONRXC, XOFFRXC } = this.#r;
    const words = this.#words;
    const station = isTo(bytes, start, words[RAL.word(0)]!, words[RAH.word(0)]! & RAH.RAH);
    if (!station && !isTo(bytes, start, words[FCAL.word]!, words[FCAH.word]!)) return ORDINARY;
    const rctl = words[RCTL.word]!;
    if (get16(bytes, start + 14) !== PAUSE_OPCODE) {
      this.#statistics.count(FCRUC);
      return rctl & RCTL.PMCF ? PASSED : DISCARDED;
    }
    const quanta = get16(bytes, start + 16);
    this.#statistics.count(quanta === 0 ? XONRXC : XOFFRXC);
    this.#hold.pause(quanta, bitTime);
    return station && rctl & RCTL.DPF ? DISCARDED : PAUSE;
  }

  /**
   * The receive FIFO holds `bytes` now. Returns the PAUSE frame to send, or null. One XOFF when it has filled to FCRTH, and
   * one more for a frame that overflows it; once it is down to FCRTL one XON, where XONE asks for it (8.7.5).
   */
  level(bytes: number, rising: boolean, overflow: boolean): Uint8Array | null {
    const { CTRL, FCRTH, FCRTL, XONTXC } = this.#r;
    if (!(this.#words[CTRL.word]! & CTRL.TFCE)) return null;
    const high = this.#words[FCRTH.word]!;
    if (rising && high !== 0 && (this.#sent.xoff ? overflow : bytes >= high)) {
      this.#sent.xoff = true;
      return this.xoff();
    }
    const low = this.#words[FCRTL.word]!;
    if (!this.#sent.xoff || rising || bytes > (low & FCRTL.RTL)) return null;
    this.#sent.xoff = false;
    if (!(low & FCRTL.XONE)) return null;
    this.#statistics.count(XONTXC);
    return this.#pause(0);
  }

  /** An XOFF with the time that FCTTV says: to be sent. */
  xoff(): Uint8Array {
    this.#statistics.count(this.#r.XOFFTXC);
    return this.#pause(this.#words[this.#r.FCTTV.word]!);
  }

  /** Annex 31B.1: to the flow control address, from the station's, opcode 1, quanta, zeros. */
  #pause(quanta: number): Uint8Array {
    const { FCAL, FCAH, FCT, RAL, RAH } = this.#r;
    const frame = this.#frame;
    const words = this.#words;
    for (let i = 0; i < 4; i++) {
      frame[i] = words[FCAL.word]! >>> (8 * i);
      frame[6 + i] = words[RAL.word(0)]! >>> (8 * i);
    }
    for (let i = 0; i < 2; i++) {
      frame[4 + i] = words[FCAH.word]! >>> (8 * i);
      frame[10 + i] = words[RAH.word(0)]! >>> (8 * i);
    }
    putPause(frame, words[FCT.word]!, quanta);
    return frame;
  }

  /** The link went: nothing holds the transmitter. */
  release(): void {
    this.#hold.release();
  }

  reset(): void {
    this.#hold.release();
    this.#sent.xoff = false;
  }
}

function isTo(bytes: Uint8Array, start: number, low: number, high: number): boolean {
  for (let i = 0; i < 4; i++) if (bytes[start + i] !== ((low >>> (8 * i)) & 0xff)) return false;
  return bytes[start + 4] === (high & 0xff) && bytes[start + 5] === high >>> 8;
}
