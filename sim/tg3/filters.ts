/** Which frames are for this station: its addresses, broadcast, the multicast hash, promiscuous mode. */
import { crc32 } from '../kernels/index.ts';
import { isBroadcast } from '../packet.ts';
import type { RegisterFile } from '../registers.ts';
import { BCM57XX } from './registers.ts';

const { MAC_ADDR_HIGH, MAC_ADDR_LOW, MAC_HASH_REG, MAC_RX_MODE } = BCM57XX.r;

export class Filters {
  readonly #words: Uint32Array;

  constructor(registers: RegisterFile) {
    this.#words = registers.words;
  }

  /** By destination address; `start` is the frame's first byte. */
  accepts(bytes: Uint8Array, start: number): boolean {
    const words = this.#words;
    if (words[MAC_RX_MODE.word]! & MAC_RX_MODE.PROMISC) return true;
    const high = (bytes[start]! << 8) | bytes[start + 1]!;
    const low = (bytes[start + 2]! << 24) | (bytes[start + 3]! << 16) | (bytes[start + 4]! << 8) | bytes[start + 5]!;
    if (high & 0x100) return (high === 0xffff && isBroadcast(bytes, start)) || this.#hashed(bytes, start);
    for (let i = 0; i < MAC_ADDR_HIGH.count; i++)
      if (words[MAC_ADDR_HIGH.word(i)] === high && (words[MAC_ADDR_LOW.word(i)]! | 0) === low) return true;
    return false;
  }

  /** The lowest seven bits of the address's CRC, before its final inversion, number the hash's bits. */
  #hashed(bytes: Uint8Array, start: number): boolean {
    const index = ~crc32(bytes, start, 6) & 0x7f;
    return ((this.#words[MAC_HASH_REG.word(index >>> 5)]! >>> (index & 31)) & 1) !== 0;
  }
}
