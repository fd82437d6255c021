/**
 * xoshiro128** 1.1 by Blackman and Vigna (https://prng.di.unimi.it/xoshiro128starstar.c), seeded by a Weyl
 * sequence through MurmurHash3's finaliser: 32-bit integers throughout, 2^128 - 1 numbers before it repeats. The same seed gives the same numbers on every machine.
 */
export class Prng {
  readonly #s = new Int32Array(4);

  /** @param seed an integer; its low 32 bits count. */
  constructor(seed: number) {
    this.seed(seed);
  }

  seed(seed: number): void {
    let state = seed | 0;
    for (let i = 0; i < 4; i++) {
      state = (state + 0x9e3779b9) | 0;
      this.#s[i] = mix(state);
    }
  }

  /** The next number, 0 to 2^32 - 1. */
  next(): number {
    const s = this.#s;
    const result = Math.imul(rotateLeft(Math.imul(s[1]!, 5), 7), 9);
    const t = s[1]! << 9;
    s[2]! ^= s[0]!;
    s[3]! ^= s[1]!;
    s[1]! ^= s[2]!;
    s[0]! ^= s[3]!;
    s[2]! ^= t;
    s[3] = rotateLeft(s[3]!, 11);
    return result >>> 0;
  }

  /** True with this probability. Draws nothing where there is nothing to decide. */
  chance(probability: number): boolean {
    if (probability <= 0) return false;
    return probability >= 1 || this.next() < probability * 0x1_0000_0000;
  }

  /** A whole number from 0 to `limit` - 1, for limits up to 2^32. */
  below(limit: number): number {
    return Math.floor((this.next() / 0x1_0000_0000) * limit);
  }

  /** Four 32-bit words. */
  save(): number[] {
    return Array.from(this.#s);
  }

  restore(state: readonly number[]): void {
    this.#s.set(state.slice(0, 4));
  }
}

function rotateLeft(x: number, by: number): number {
  return (x << by) | (x >>> (32 - by));
}

function mix(x: number): number {
  let z = x;
  z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
  z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
  return z ^ (z >>> 16);
}
