/** Which frames are received: the station's address and the multicast hash; the other bits of MAC_RX_MODE are tg3.ts's. */
import { crc32 } from '../../sim/kernels/index.ts';
import { ALL_ONES } from '../card.ts';
import { Filters } from '../filters.ts';
import { type Chip, R } from './chip.ts';

const HASH_WORDS = 4;

/** These chips have no VLAN filter. */
export class Tg3Filters extends Filters {
  readonly #chip: Chip;

  constructor(chip: Chip, mac: Uint8Array) {
    super(mac);
    this.#chip = chip;
  }

  /** The station's own in all four places; the backoff of half duplex is seeded with it. */
  applyMac(): void {
    const { mac } = this;
    for (let i = 0; i < R.MAC_ADDR_HIGH.count; i++) {
      this.#chip.write(R.MAC_ADDR_HIGH, (mac[0]! << 8) | mac[1]!, i);
      this.#chip.write(R.MAC_ADDR_LOW, (mac[2]! << 24) | (mac[3]! << 16) | (mac[4]! << 8) | mac[5]!, i);
    }
    const seed = mac.reduce((sum, byte) => sum + byte, 0);
    this.#chip.write(R.MAC_TX_BACKOFF_SEED, seed & R.MAC_TX_BACKOFF_SEED.VALUE);
  }

  /** The card takes some groups, and perhaps more than those. */
  get hashed(): boolean {
    return this.multicast.length > 0 && !this.promiscuous && !this.allMulticast;
  }

  applyMulticast(): void {
    const table = new Uint32Array(HASH_WORDS);
    for (const address of this.multicast) {
      const hash = hashOf(address);
      table[hash >> 5]! |= 1 << (hash & 31);
    }
    if (this.allMulticast) table.fill(ALL_ONES);
    for (let word = 0; word < HASH_WORDS; word++) this.#chip.write(R.MAC_HASH_REG, table[word]!, word);
  }
}

/** The low seven bits of the CRC before its last inversion. */
export function hashOf(address: Uint8Array): number {
  return ~crc32(address, 0, 6) & 0x7f;
}
