/**
 * Receive side scaling: a Toeplitz hash over addresses and ports, and a table from its low seven bits to a return ring.
 * The key's first byte is the most significant of its first register.
 */
import { Headers, PROTOCOL_TCP, parseHeaders } from '../packet.ts';
import type { RegisterFile } from '../registers.ts';
import { BCM57XX } from './registers.ts';

const { MAC_RSS_HASH_KEY, MAC_RSS_INDIR_TBL, MAC_RX_MODE } = BCM57XX.r;
const MOST = 36; // bytes hashed: two IPv6 addresses and two ports
const RINGS = 3; // mask

export class Rss {
  readonly #words: Uint32Array;
  readonly #headers = new Headers();
  readonly #tables = new Uint32Array(MOST * 256); // what a byte at a place adds to the hash
  #current = false;
  /** The last frame's; 0 where it has none. */
  hash = 0;

  constructor(registers: RegisterFile) {
    this.#words = registers.words;
    registers.onWrite(MAC_RSS_HASH_KEY, () => this.settle());
  }

  /** After the key changed. */
  settle(): void {
    this.#current = false;
  }

  get on(): boolean {
    return (this.#words[MAC_RX_MODE.word]! & MAC_RX_MODE.RSS_ENABLE) !== 0;
  }

  /** The return ring for a frame; what is not IP, or not to be hashed, goes to the first. */
  ring(bytes: Uint8Array, start: number, length: number): number {
    this.hash = 0;
    const mode = this.#words[MAC_RX_MODE.word]!;
    const headers = this.#headers;
    parseHeaders(bytes, start, length, headers);
    if (headers.version === 0) return 0;
    const tcp = headers.l4 !== 0 && headers.protocol === PROTOCOL_TCP;
    const isIpv4 = headers.version === 4;
    const ports = tcp && (mode & (isIpv4 ? MAC_RX_MODE.RSS_TCP_IPV4_HASH_EN : MAC_RX_MODE.RSS_TCP_IPV6_HASH_EN)) !== 0;
    const addresses = (mode & (isIpv4 ? MAC_RX_MODE.RSS_IPV4_HASH_EN : MAC_RX_MODE.RSS_IPV6_HASH_EN)) !== 0;
    if (!ports && !addresses) return 0;
    if (!this.#current) this.#build();
    const from = start + headers.l3 + (isIpv4 ? 12 : 8);
    const size = isIpv4 ? 8 : 32;
    let hash = this.#add(bytes, from, size, 0);
    if (ports) hash ^= this.#add(bytes, start + headers.l4, 4, size);
    this.hash = hash >>> 0;
    const index = hash & 0x7f;
    return (this.#words[MAC_RSS_INDIR_TBL.word(index >>> 3)]! >>> (28 - 4 * (index & 7))) & RINGS;
  }

  #add(bytes: Uint8Array, from: number, count: number, place: number): number {
    let hash = 0;
    for (let i = 0; i < count; i++) hash ^= this.#tables[(place + i) * 256 + bytes[from + i]!]!;
    return hash;
  }

  #build(): void {
    this.#current = true;
    for (let place = 0; place < MOST; place++) {
      for (let value = 0; value < 256; value++) {
        let hash = 0;
        for (let bit = 0; bit < 8; bit++) if (value & (0x80 >>> bit)) hash ^= this.#keyAt(place * 8 + bit);
        this.#tables[place * 256 + value] = hash;
      }
    }
  }

  /** 32 bits of the key from a bit on. */
  #keyAt(bit: number): number {
    const word = bit >>> 5;
    const shift = bit & 31;
    const first = this.#words[MAC_RSS_HASH_KEY.word(word)]! << shift;
    return shift === 0 ? first : first | (this.#words[MAC_RSS_HASH_KEY.word(word + 1)]! >>> (32 - shift));
  }
}
