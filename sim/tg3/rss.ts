/**
 * Receive side scaling's registers: the key's first byte is the most significant of its first one, and the table has a return
 * ring in each four bits, the first again on top.
 */
import { RSS_IPV4, RSS_IPV6, RSS_TCP_IPV4, RSS_TCP_IPV6, Rss } from '../nic/rss.ts';
import { put32 } from '../packet.ts';
import { block } from '../state.ts';
import type { Context } from './context.ts';
import type { Tg3Registers } from './registers.ts';

const ENTRIES = 128;
const RINGS = 3; // mask

export class ReceiveSideScaling extends Rss {
  on = false;
  /** The registers hold all of it. */
  readonly state = block(1, {}, () => this.settle());
  readonly #words: Uint32Array;
  readonly #r: Tg3Registers;

  constructor({ registers, r }: Context) {
    super(ENTRIES);
    this.#words = registers.words;
    this.#r = r;
    for (const register of [r.MAC_RSS_HASH_KEY, r.MAC_RSS_INDIR_TBL, r.MAC_RX_MODE])
      registers.onWrite(register, () => this.settle());
  }

  /** After a register changed. */
  settle(): void {
    const { MAC_RSS_HASH_KEY, MAC_RSS_INDIR_TBL, MAC_RX_MODE } = this.#r;
    const words = this.#words;
    const mode = words[MAC_RX_MODE.word]!;
    this.on = (mode & MAC_RX_MODE.RSS_ENABLE) !== 0;
    this.types =
      (mode & MAC_RX_MODE.RSS_IPV4_HASH_EN ? RSS_IPV4 : 0) |
      (mode & MAC_RX_MODE.RSS_TCP_IPV4_HASH_EN ? RSS_TCP_IPV4 : 0) |
      (mode & MAC_RX_MODE.RSS_IPV6_HASH_EN ? RSS_IPV6 : 0) |
      (mode & MAC_RX_MODE.RSS_TCP_IPV6_HASH_EN ? RSS_TCP_IPV6 : 0);
    for (let i = 0; i < MAC_RSS_HASH_KEY.count; i++) put32(this.key, 4 * i, words[MAC_RSS_HASH_KEY.word(i)]!);
    for (let i = 0; i < ENTRIES; i++)
      this.table[i] = (words[MAC_RSS_INDIR_TBL.word(i >>> 3)]! >>> (28 - 4 * (i & 7))) & RINGS;
    this.hash = 0;
    this.keyChanged();
  }
}
