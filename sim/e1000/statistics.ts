/**
 * Statistics registers (manual section 13.7). They count in the register file itself, stick at their maximum instead of
 * wrapping, and clear when read; of the 64-bit pairs only reading the high half clears, and it clears both.
 */
import { FCS } from '../packet.ts';
import type { Register } from '../registers.ts';
import type { BlockContext } from './context.ts';
import { STATISTICS } from './statistics-registers.ts';

const R = STATISTICS.r;
const MAX = 0xffffffff;

export class Statistics {
  readonly #words: Uint32Array;

  constructor({ registers }: BlockContext) {
    this.#words = registers.words;
    const pairs = [
      [R.GORCL, R.GORCH],
      [R.GOTCL, R.GOTCH],
      [R.TORL, R.TORH],
      [R.TOTL, R.TOTH],
    ] as const;
    for (const [low, high] of pairs) {
      registers.onRead(high, () => {
        this.#words[low.word] = 0;
        return this.#words[high.word]!; // being RC, it is cleared by the register file
      });
    }
  }

  count(register: Register): void {
    this.#bump(register.word, 1);
  }

  /** Good frames sent; their octets with FCS. Each is then told of by `sentOne`. */
  sent(packets: number, octets: number): void {
    this.#bump(R.TPT.word, packets);
    this.#add(R.TOTL.word, octets);
    this.#bump(R.GPTC.word, packets);
    this.#add(R.GOTCL.word, octets);
  }

  /** One of them, by length without FCS and by its destination. */
  sentOne(length: number, firstByte: number, broadcast: boolean): void {
    this.#bump(R.PTC64.word + sizeClass(length + FCS), 1);
    if (firstByte & 1) this.#bump(broadcast ? R.BPTC.word : R.MPTC.word, 1);
  }

  /** A PAUSE frame of our own: in the totals, but no "good packet" of the host's. */
  sentPause(length: number): void {
    this.#bump(R.TPT.word, 1);
    this.#add(R.TOTL.word, length + FCS);
  }

  /** Frames that arrived, good or bad, wanted or not. */
  arrived(packets: number, octets: number): void {
    this.#bump(R.TPR.word, packets);
    this.#add(R.TORL.word, octets);
  }

  /** Good frames that passed the filters. Each is then told of by `receivedOne`. */
  received(packets: number, octets: number): void {
    this.#bump(R.GPRC.word, packets);
    this.#add(R.GORCL.word, octets);
  }

  receivedOne(length: number, firstByte: number, broadcast: boolean): void {
    this.#bump(R.PRC64.word + sizeClass(length + FCS), 1);
    if (firstByte & 1) this.#bump(broadcast ? R.BPRC.word : R.MPRC.word, 1);
  }

  #bump(word: number, by: number): void {
    const before = this.#words[word]!;
    const after = (before + by) >>> 0;
    this.#words[word] = after < before ? MAX : after;
  }

  #add(low: number, octets: number): void {
    const before = this.#words[low]!;
    const after = (before + octets) >>> 0;
    this.#words[low] = after;
    if (after < before) this.#carry(low);
  }

  #carry(low: number): void {
    if (this.#words[low + 1] === MAX) this.#words[low] = MAX;
    else this.#words[low + 1]!++;
  }
}

/** 64, 65–127, 128–255, 256–511, 512–1023, 1024 and more: the registers follow one another. */
function sizeClass(octets: number): number {
  if (octets <= 64) return 0;
  return octets >= 1024 ? 5 : 26 - Math.clz32(octets);
}
