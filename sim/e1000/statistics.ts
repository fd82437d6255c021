/**
 * Statistics registers (manual section 13.7). They count in the register file itself, stick at their maximum instead of
 * wrapping, and clear when read; of the 64-bit pairs only reading the high half clears, and it clears both.
 */
import type { AnyRegister, RegisterFile } from '../registers.ts';
import { I82540EM } from './registers.ts';

const R = I82540EM.r;
const MAX = 0xffffffff;
const FCS = 4;

export class Statistics {
  readonly #words: Uint32Array;

  constructor(registers: RegisterFile) {
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

  count(register: AnyRegister): void {
    this.#bump(register.word);
  }

  /** A good frame sent: `length` without FCS; `firstByte` is its destination's. */
  transmitted(length: number, firstByte: number, broadcast: boolean): void {
    const octets = length + FCS;
    this.#bump(R.TPT.word);
    this.#add(R.TOTL.word, octets);
    this.#bump(R.GPTC.word);
    this.#add(R.GOTCL.word, octets);
    this.#bump(R.PTC64.word + sizeClass(octets));
    if (broadcast) this.#bump(R.BPTC.word);
    else if (firstByte & 1) this.#bump(R.MPTC.word);
  }

  /** A PAUSE frame of our own: in the totals, but no "good packet" of the host's. */
  transmittedPause(length: number): void {
    this.#bump(R.TPT.word);
    this.#add(R.TOTL.word, length + FCS);
  }

  /** Any frame that arrived, good or bad, wanted or not. */
  arrived(length: number): void {
    this.#bump(R.TPR.word);
    this.#add(R.TORL.word, length + FCS);
  }

  /** A good frame that passed the filters. */
  received(length: number, firstByte: number, broadcast: boolean): void {
    const octets = length + FCS;
    this.#bump(R.GPRC.word);
    this.#add(R.GORCL.word, octets);
    this.#bump(R.PRC64.word + sizeClass(octets));
    if (broadcast) this.#bump(R.BPRC.word);
    else if (firstByte & 1) this.#bump(R.MPRC.word);
  }

  #bump(word: number): void {
    const value = this.#words[word]!;
    if (value !== MAX) this.#words[word] = value + 1;
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
