/**
 * Receive side scaling, as Microsoft specifies it for NDIS ("RSS hashing types"): a Toeplitz hash over a frame's addresses and
 * ports, and a table from the hash's lowest bits to a queue.
 */
import { Headers, PROTOCOL_TCP, parseHeaders } from '../packet.ts';

/** What is hashed: addresses alone, or a TCP segment's ports as well. */
export const RSS_IPV4 = 1 << 0;
export const RSS_TCP_IPV4 = 1 << 1;
export const RSS_IPV6 = 1 << 2;
export const RSS_TCP_IPV6 = 1 << 3;

const KEY = 40; // bytes
const MOST = 36; // bytes hashed: two IPv6 addresses and two ports

export class Rss {
  /** Bytes as they are hashed with, the first one first; `keyChanged` after a change. */
  readonly key = new Uint8Array(KEY);
  /** Queues by the hash's lowest bits. */
  readonly table: Uint8Array;
  /** RSS_ bits of what is hashed. */
  types = 0;
  /** The last frame's; 0 where it has none. */
  hash = 0;
  readonly #headers = new Headers();
  readonly #added = new Uint32Array(MOST * 256); // what a byte at a place adds to the hash
  #current = false;

  /** @param entries of the table: a power of two. */
  constructor(entries: number) {
    this.table = new Uint8Array(entries);
  }

  keyChanged(): void {
    this.#current = false;
  }

  /** The queue for a frame; what is not IP, or not to be hashed, goes to the first. */
  queue(bytes: Uint8Array, start: number, length: number): number {
    this.hash = 0;
    const headers = this.#headers;
    parseHeaders(bytes, start, length, headers);
    if (headers.version === 0) return 0;
    const isIpv4 = headers.version === 4;
    const tcp = headers.l4 !== 0 && headers.protocol === PROTOCOL_TCP;
    const ports = tcp && (this.types & (isIpv4 ? RSS_TCP_IPV4 : RSS_TCP_IPV6)) !== 0;
    if (!ports && (this.types & (isIpv4 ? RSS_IPV4 : RSS_IPV6)) === 0) return 0;
    if (!this.#current) this.#build();
    const from = start + headers.l3 + (isIpv4 ? 12 : 8);
    const size = isIpv4 ? 8 : 32;
    let hash = this.#add(bytes, from, size, 0);
    if (ports) hash ^= this.#add(bytes, start + headers.l4, 4, size);
    this.hash = hash >>> 0;
    return this.table[hash & (this.table.length - 1)]!;
  }

  #add(bytes: Uint8Array, from: number, count: number, place: number): number {
    let hash = 0;
    for (let i = 0; i < count; i++) hash ^= this.#added[(place + i) * 256 + bytes[from + i]!]!;
    return hash;
  }

  #build(): void {
    this.#current = true;
    for (let place = 0; place < MOST; place++) {
      for (let value = 0; value < 256; value++) {
        let hash = 0;
        for (let bit = 0; bit < 8; bit++) if (value & (0x80 >>> bit)) hash ^= this.#keyAt(place, bit);
        this.#added[place * 256 + value] = hash;
      }
    }
  }

  /** 32 bits of the key from a bit of a byte on. */
  #keyAt(place: number, bit: number): number {
    const { key } = this;
    const word = (key[place]! << 24) | (key[place + 1]! << 16) | (key[place + 2]! << 8) | key[place + 3]!;
    return (word << bit) | (key[place + 4]! >>> (8 - bit));
  }
}
