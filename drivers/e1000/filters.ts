/**
 * Which frames are received: exact addresses, the multicast hash, VLANs. Intel 317453 §13.5; RCTL's bits are the
 * driver's to combine (e1000.ts).
 */
import { Filters } from '../filters.ts';
import { type Chip, R } from './chip.ts';

const HASH_WORDS = 128;

export class E1000Filters extends Filters {
  /** Keep damaged frames too. */
  storeBad = false;
  readonly #chip: Chip;

  constructor(chip: Chip, mac: Uint8Array) {
    super(mac);
    this.#chip = chip;
  }

  /** All of it into the card, as after a reset. */
  apply(): void {
    this.applyMac();
    this.applyMulticast();
    for (let word = 0; word < HASH_WORDS; word++) this.#writeVlanWord(word);
  }

  /** Receive address 0 is the station's own (13.5.2). */
  applyMac(): void {
    this.#writeAddress(0, this.mac);
  }

  override applyVlan(id: number): void {
    this.#writeVlanWord(id >> 5);
  }

  /** Exact filters as far as they go, the hash for the others. */
  applyMulticast(): void {
    const exact = this.#chip.variant.receiveAddresses - 1;
    for (let i = 0; i < exact; i++) this.#writeAddress(1 + i, this.multicast[i] ?? null);
    const table = new Uint32Array(HASH_WORDS);
    for (const address of this.multicast.slice(exact)) {
      const hash = hashOf(address);
      table[hash >> 5]! |= 1 << (hash & 31);
    }
    for (let word = 0; word < HASH_WORDS; word++) this.#chip.write(R.MTA, table[word]!, word);
  }

  #writeAddress(index: number, mac: Uint8Array | null): void {
    const { RAL, RAH } = R;
    // Invalid first, so that no half-written address ever matches.
    this.#chip.write(RAH, 0, index);
    this.#chip.write(RAL, mac === null ? 0 : mac[0]! | (mac[1]! << 8) | (mac[2]! << 16) | (mac[3]! << 24), index);
    if (mac !== null) this.#chip.write(RAH, mac[4]! | (mac[5]! << 8) | RAH.AV, index);
  }

  /** 13.5.4: bit 4:0 of the id in word 11:5. */
  #writeVlanWord(word: number): void {
    this.#chip.write(R.VFTA, this.vlanBits(word), word);
  }
}

/** 13.5.1 with RCTL.MO = 0: bits 47:36 of the destination address. */
export function hashOf(address: Uint8Array): number {
  return (address[4]! >> 4) | (address[5]! << 4);
}
