/** The MAC's counters: 32 bits, cleared by reading, each half of them on by a bit of MAC_MODE. They stick at their maximum. */
import { isBroadcast } from '../packet.ts';
import type { Register } from '../registers.ts';
import type { Context } from './context.ts';

const MAX = 0xffffffff;

/** The counters of frames in one direction, on by a bit of MAC_MODE. */
class Frames {
  readonly #words: Uint32Array;
  readonly #mode: number;
  readonly #enable: number;
  readonly #octets: number;
  readonly #unicast: number;
  readonly #multicast: number;
  readonly #broadcast: number;

  constructor(words: Uint32Array, mode: number, enable: number, [octets, unicast, multicast, broadcast]: Kinds) {
    this.#words = words;
    this.#mode = mode;
    this.#enable = enable;
    this.#octets = octets.word;
    this.#unicast = unicast.word;
    this.#multicast = multicast.word;
    this.#broadcast = broadcast.word;
  }

  /** A good frame; its octets are told of by `octets`. */
  one(bytes: Uint8Array, start: number): void {
    if (bytes[start]! & 1) this.#add(isBroadcast(bytes, start) ? this.#broadcast : this.#multicast, 1);
    else this.unicast(1);
  }

  unicast(frames: number): void {
    this.#add(this.#unicast, frames);
  }

  octets(octets: number): void {
    this.#add(this.#octets, octets);
  }

  #add(word: number, by: number): void {
    if (this.#words[this.#mode]! & this.#enable) add(this.#words, word, by);
  }
}

type Kinds = readonly [octets: Register, unicast: Register, multicast: Register, broadcast: Register];

function add(words: Uint32Array, word: number, by: number): void {
  const value = words[word]!;
  words[word] = value > MAX - by ? MAX : value + by;
}

export class Statistics {
  readonly sent: Frames;
  readonly received: Frames;
  readonly #words: Uint32Array;

  constructor({ registers: { words }, r }: Context) {
    const { MAC_MODE } = r;
    this.#words = words;
    this.sent = new Frames(words, MAC_MODE.word, MAC_MODE.TXSTAT_ENABLE, [
      r.MAC_TX_STATS_OCTETS,
      r.MAC_TX_STATS_UCAST,
      r.MAC_TX_STATS_MCAST,
      r.MAC_TX_STATS_BCAST,
    ]);
    this.received = new Frames(words, MAC_MODE.word, MAC_MODE.RXSTAT_ENABLE, [
      r.MAC_RX_STATS_OCTETS,
      r.MAC_RX_STATS_UCAST,
      r.MAC_RX_STATS_MCAST,
      r.MAC_RX_STATS_BCAST,
    ]);
  }

  count(register: Register): void {
    add(this.#words, register.word, 1);
  }

  /** MAC_MODE's clear bits. */
  clear(first: Register, last: Register): void {
    this.#words.fill(0, first.word, last.word + 1);
  }
}
