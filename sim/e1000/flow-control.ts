/**
 * 802.3x flow control (manual section 8.7; IEEE 802.3 annex 31B): PAUSE frames received hold the transmitter; a filling
 * receive FIFO sends them.
 */
import type { Clock } from '../clock.ts';
import { get16, MIN_FRAME, put16 } from '../packet.ts';
import type { RegisterFile } from '../registers.ts';
import { I82540EM } from './registers.ts';
import type { Statistics } from './statistics.ts';

const { CTRL, FCAL, FCAH, FCT, FCTTV, FCRTL, FCRTH, RAL, RAH } = I82540EM.r;
const { XONRXC, XOFFRXC, XONTXC, XOFFTXC, FCRUC } = I82540EM.r;
const OPCODE_PAUSE = 0x0001;
const PAUSE_QUANTUM_BITS = 512;

export class FlowControl {
  readonly #words: Uint32Array;
  readonly #clock: Clock;
  readonly #statistics: Statistics;
  readonly #frame = new Uint8Array(MIN_FRAME);
  #pausedUntil = 0;
  #sentXoff = false;

  constructor(registers: RegisterFile, clock: Clock, statistics: Statistics) {
    this.#words = registers.words;
    this.#clock = clock;
    this.#statistics = statistics;
  }

  /** Nanoseconds on the clock until which the partner asked us to be quiet; 0 where it did not. */
  get pausedUntil(): number {
    return this.#pausedUntil;
  }

  /** Whether a frame of this EtherType is MAC control. */
  isControl(etherType: number): boolean {
    return etherType === this.#words[FCT.word];
  }

  /**
   * A MAC control frame. True where it changed how long the transmitter must wait.
   * @param bitTime nanoseconds a bit at the present speed.
   */
  received(bytes: Uint8Array, start: number, bitTime: number): boolean {
    if (!(this.#words[CTRL.word]! & CTRL.RFCE) || !this.#addressed(bytes, start)) return false;
    if (get16(bytes, start + 14) !== OPCODE_PAUSE) {
      this.#statistics.count(FCRUC);
      return false;
    }
    const quanta = get16(bytes, start + 16);
    this.#statistics.count(quanta === 0 ? XONRXC : XOFFRXC);
    this.#pausedUntil = quanta === 0 ? 0 : this.#clock.now + quanta * PAUSE_QUANTUM_BITS * bitTime;
    return true;
  }

  /** To the flow control address, or to the station's own (8.7.1). */
  #addressed(bytes: Uint8Array, start: number): boolean {
    const low =
      (bytes[start]! | (bytes[start + 1]! << 8) | (bytes[start + 2]! << 16) | (bytes[start + 3]! << 24)) >>> 0;
    const high = bytes[start + 4]! | (bytes[start + 5]! << 8);
    const words = this.#words;
    return (
      (low === words[FCAL.word] && high === words[FCAH.word]) ||
      (low === words[RAL.word] && high === (words[RAH.word]! & RAH.RAH))
    );
  }

  /**
   * The receive FIFO holds `bytes` now. Returns the PAUSE frame to send, or null.
   * Above FCRTH an XOFF for every frame that still comes in; once below FCRTL one XON, where XONE asks for it.
   */
  level(bytes: number, rising: boolean): Uint8Array | null {
    if (!(this.#words[CTRL.word]! & CTRL.TFCE)) return null;
    const high = this.#words[FCRTH.word]!;
    if (rising && high !== 0 && bytes >= high) {
      this.#sentXoff = true;
      this.#statistics.count(XOFFTXC);
      return this.#pause(this.#words[FCTTV.word]!);
    }
    const low = this.#words[FCRTL.word]!;
    if (!this.#sentXoff || rising || bytes > (low & FCRTL.RTL)) return null;
    this.#sentXoff = false;
    if (!(low & FCRTL.XONE)) return null;
    this.#statistics.count(XONTXC);
    return this.#pause(0);
  }

  /** Annex 31B.1: to the flow control address, from the station's, opcode 1, quanta, zeros. */
  #pause(quanta: number): Uint8Array {
    const frame = this.#frame;
    const words = this.#words;
    for (let i = 0; i < 4; i++) {
      frame[i] = words[FCAL.word]! >>> (8 * i);
      frame[6 + i] = words[RAL.word]! >>> (8 * i);
    }
    for (let i = 0; i < 2; i++) {
      frame[4 + i] = words[FCAH.word]! >>> (8 * i);
      frame[10 + i] = words[RAH.word]! >>> (8 * i);
    }
    put16(frame, 12, words[FCT.word]!);
    put16(frame, 14, OPCODE_PAUSE);
    put16(frame, 16, quanta);
    return frame;
  }

  /** Time is over, or the link went: nothing holds the transmitter. */
  release(): void {
    this.#pausedUntil = 0;
  }

  reset(): void {
    this.#pausedUntil = 0;
    this.#sentXoff = false;
  }

  save(): unknown {
    return { pause: Math.max(0, this.#pausedUntil - this.#clock.now), sentXoff: this.#sentXoff };
  }

  restore(saved: unknown): void {
    const state = saved as { pause: number; sentXoff: boolean };
    this.#pausedUntil = state.pause === 0 ? 0 : this.#clock.now + state.pause;
    this.#sentXoff = state.sentXoff;
  }
}
