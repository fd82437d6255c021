/** The MAC's counters: 32 bits, cleared by reading, each half of them on by a bit of MAC_MODE. They stick at their maximum. */
import { isBroadcast } from '../packet.ts';
import type { Register, RegisterFile } from '../registers.ts';
import { BCM57XX } from './registers.ts';

const R = BCM57XX.r;
const { MAC_MODE } = R;
const MAX = 0xffffffff;

export class Statistics {
  readonly #words: Uint32Array;

  constructor(registers: RegisterFile) {
    this.#words = registers.words;
  }

  count(register: Register, by = 1): void {
    const value = this.#words[register.word]!;
    this.#words[register.word] = value > MAX - by ? MAX : value + by;
  }

  /** A good frame sent; its octets are told of by `sentOctets`. */
  sentOne(bytes: Uint8Array, start: number): void {
    if (!(this.#words[MAC_MODE.word]! & MAC_MODE.TXSTAT_ENABLE)) return;
    if ((bytes[start]! & 1) === 0) this.count(R.MAC_TX_STATS_UCAST);
    else this.count(isBroadcast(bytes, start) ? R.MAC_TX_STATS_BCAST : R.MAC_TX_STATS_MCAST);
  }

  sentOctets(octets: number): void {
    if (this.#words[MAC_MODE.word]! & MAC_MODE.TXSTAT_ENABLE) this.count(R.MAC_TX_STATS_OCTETS, octets);
  }

  receivedOne(bytes: Uint8Array, start: number): void {
    if (!(this.#words[MAC_MODE.word]! & MAC_MODE.RXSTAT_ENABLE)) return;
    if ((bytes[start]! & 1) === 0) this.count(R.MAC_RX_STATS_UCAST);
    else this.count(isBroadcast(bytes, start) ? R.MAC_RX_STATS_BCAST : R.MAC_RX_STATS_MCAST);
  }

  receivedOctets(octets: number): void {
    if (this.#words[MAC_MODE.word]! & MAC_MODE.RXSTAT_ENABLE) this.count(R.MAC_RX_STATS_OCTETS, octets);
  }

  /** MAC_MODE's clear bits. */
  clear(first: Register, last: Register): void {
    this.#words.fill(0, first.word, last.word + 1);
  }
}
