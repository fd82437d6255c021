/**
 * 802.3x flow control (IEEE 802.3 annex 31B): PAUSE frames received hold the transmitter; when the packet memory has few
 * buffers left, the chip sends them.
 */
import type { Clock } from '../clock.ts';
import { Hold, PAUSE_OPCODE, putPause } from '../nic/pause.ts';
import { ETHERTYPE_MAC_CONTROL, get16, MIN_FRAME, put16 } from '../packet.ts';
import { block, record, type Stateful } from '../state.ts';
import type { Context } from './context.ts';
import type { Tg3Registers } from './registers.ts';
import type { Statistics } from './statistics.ts';

const GROUP = [0x01, 0x80, 0xc2, 0x00, 0x00, 0x01];
const MBUF = 128; // bytes
const SHORT_PAUSE = 0x1fff;
const LONG_PAUSE = 0xffff; // MAC_TX_MODE.LONG_PAUSE_ENABLE

/** What a MAC control frame comes to. */
export const ORDINARY = 0;
export const CONSUMED = 1;

export class FlowControl {
  readonly state: Stateful;
  readonly #words: Uint32Array;
  readonly #r: Tg3Registers;
  readonly #clock: Clock;
  readonly #statistics: Statistics;
  readonly #frame = new Uint8Array(MIN_FRAME);
  readonly #hold: Hold;
  /** The partner's, by our last XOFF. */
  readonly #partner: Hold;
  readonly #sent = { xoff: false };

  constructor({ registers, r, host }: Context, statistics: Statistics) {
    this.#words = registers.words;
    this.#r = r;
    this.#clock = host.clock;
    this.#statistics = statistics;
    this.#hold = new Hold(host.clock);
    this.#partner = new Hold(host.clock);
    this.state = block(1, { hold: this.#hold.state, partner: this.#partner.state, sent: record(this.#sent) });
  }

  /** Nanoseconds on the clock until which the partner asked us to be quiet; 0 where it did not. */
  get pausedUntil(): number {
    return this.#hold.until;
  }

  /** The link went: nothing holds the transmitter. */
  release(): void {
    this.#hold.release();
  }

  /**
   * A frame that arrived undamaged and whole. MAC control is counted, obeyed, and kept from the host unless it wants it.
   * @param bitTime nanoseconds a bit at the present speed.
   */
  received(bytes: Uint8Array, start: number, bitTime: number): number {
    if (get16(bytes, start + 12) !== ETHERTYPE_MAC_CONTROL) return ORDINARY;
    const r = this.#r;
    const { MAC_RX_MODE } = r;
    const mode = this.#words[MAC_RX_MODE.word]!;
    this.#statistics.count(r.MAC_RX_STATS_MAC_CTRL_RECVD);
    if (get16(bytes, start + 14) !== PAUSE_OPCODE || !isTo(bytes, start))
      return mode & MAC_RX_MODE.KEEP_MAC_CTRL ? ORDINARY : CONSUMED;
    const quanta = get16(bytes, start + 16);
    this.#statistics.count(quanta === 0 ? r.MAC_RX_STATS_XON_PAUSE_RECVD : r.MAC_RX_STATS_XOFF_PAUSE_RECVD);
    if (mode & MAC_RX_MODE.FLOW_CTRL_ENABLE) {
      if (quanta > 0 && this.pausedUntil <= this.#clock.now) this.#statistics.count(r.MAC_RX_STATS_XOFF_ENTERED);
      this.#hold.pause(quanta, bitTime);
    }
    return mode & MAC_RX_MODE.KEEP_PAUSE ? ORDINARY : CONSUMED;
  }

  /**
   * The packet memory has so many bytes left. Returns the PAUSE frame to send, or null. XOFF once, and once more when its
   * time is over while memory is still short: the guides leave that open, and Linux's short PAUSE is 4 ms.
   * @param bitTime nanoseconds a bit at the present speed.
   */
  level(free: number, bitTime: number): Uint8Array | null {
    const r = this.#r;
    const { MAC_TX_MODE } = r;
    const mode = this.#words[MAC_TX_MODE.word]!;
    if (!(mode & MAC_TX_MODE.FLOW_CTRL_ENABLE)) return null;
    const mbufs = free / MBUF;
    if (mbufs <= this.#words[r.BUFMGR_MB_MACRX_LOW_WATER.word]!) {
      if (this.#sent.xoff && this.#clock.now < this.#partner.until) return null;
      const quanta = mode & MAC_TX_MODE.LONG_PAUSE_ENABLE ? LONG_PAUSE : SHORT_PAUSE;
      this.#sent.xoff = true;
      this.#partner.pause(quanta, bitTime);
      this.#statistics.count(r.MAC_TX_STATS_XOFF_SENT);
      return this.#pause(quanta);
    }
    if (!this.#sent.xoff || mbufs < this.#words[r.BUFMGR_MB_HIGH_WATER.word]!) return null;
    this.#sent.xoff = false;
    this.#statistics.count(r.MAC_TX_STATS_XON_SENT);
    return this.#pause(0);
  }

  /** Annex 31B.1: to the group address, from the station's, opcode 1, quanta, zeros. */
  #pause(quanta: number): Uint8Array {
    const frame = this.#frame;
    const { MAC_ADDR_HIGH, MAC_ADDR_LOW } = this.#r;
    const high = this.#words[MAC_ADDR_HIGH.word(0)]!;
    const low = this.#words[MAC_ADDR_LOW.word(0)]!;
    frame.set(GROUP);
    put16(frame, 6, high);
    put16(frame, 8, low >>> 16);
    put16(frame, 10, low);
    putPause(frame, ETHERTYPE_MAC_CONTROL, quanta);
    return frame;
  }

  get sentXoff(): boolean {
    return this.#sent.xoff;
  }

  reset(): void {
    this.#hold.release();
    this.#partner.release();
    this.#sent.xoff = false;
  }
}

function isTo(bytes: Uint8Array, start: number): boolean {
  for (let i = 0; i < 6; i++) if (bytes[start + i] !== GROUP[i]) return false;
  return true;
}
