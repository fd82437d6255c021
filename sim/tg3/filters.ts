/** Which frames are for this station: its addresses, broadcast, the multicast hash, promiscuous mode. */
import { crc32 } from '../kernels/index.ts';
import { isBroadcast } from '../packet.ts';
import type { RegisterArray } from '../registers.ts';
import type { Context } from './context.ts';

export class Filters {
  readonly #words: Uint32Array;
  // The registers' words; several, of the station's addresses and of the hash.
  readonly #mode: number;
  readonly #high: Uint16Array;
  readonly #low: Uint16Array;
  readonly #hash: Uint16Array;
  readonly #promiscuous: number; // in the mode

  constructor({ registers, r: { MAC_ADDR_HIGH, MAC_ADDR_LOW, MAC_HASH_REG, MAC_RX_MODE } }: Context) {
    this.#words = registers.words;
    this.#mode = MAC_RX_MODE.word;
    this.#high = wordsOf(MAC_ADDR_HIGH);
    this.#low = wordsOf(MAC_ADDR_LOW);
    this.#hash = wordsOf(MAC_HASH_REG);
    this.#promiscuous = MAC_RX_MODE.PROMISC;
  }

  /** By destination address; `start` is the frame's first byte. */
  accepts(bytes: Uint8Array, start: number): boolean {
    const words = this.#words;
    if (words[this.#mode]! & this.#promiscuous) return true;
    const high = (bytes[start]! << 8) | bytes[start + 1]!;
    const low = (bytes[start + 2]! << 24) | (bytes[start + 3]! << 16) | (bytes[start + 4]! << 8) | bytes[start + 5]!;
    if (high & 0x100) return (high === 0xffff && isBroadcast(bytes, start)) || this.#hashed(bytes, start);
    for (let i = 0; i < this.#high.length; i++)
      if (words[this.#high[i]!] === high && (words[this.#low[i]!]! | 0) === low) return true;
    return false;
  }

  /** The lowest seven bits of the address's CRC, before its final inversion, number the hash's bits. */
  #hashed(bytes: Uint8Array, start: number): boolean {
    const index = ~crc32(bytes, start, 6) & 0x7f;
    return ((this.#words[this.#hash[index >>> 5]!]! >>> (index & 31)) & 1) !== 0;
  }
}

function wordsOf({ count, word }: RegisterArray): Uint16Array {
  return Uint16Array.from({ length: count }, (_, index) => word(index));
}
