/** What descriptions of descriptors are made of. */
import { hex } from '../../sim/registers.ts';
import type { Describe } from './family.ts';

export type Bits = readonly (readonly [mask: number, name: string])[];

/** The names of those bits that are set. */
export function named(value: number, bits: Bits): string {
  return bits
    .filter(([mask]) => value & mask)
    .map(([, name]) => name)
    .join(' ');
}

/** Of 64 bits. */
export function address(high: number, low: number): string {
  return `0x${high === 0 ? '' : high.toString(16)}${low.toString(16).padStart(8, '0')}`;
}

/** Word by word, where nothing more is known. */
export const raw = (words: Uint32Array, at: number, count: number) =>
  Array.from(words.subarray(at, at + count), (word) => hex(word, 8)).join(' ');

/** What there is of them. */
export const join = (...parts: string[]) => parts.filter((part) => part !== '').join(' ');

/** For a family that says nothing of its descriptors. */
export const inHex: Describe = (_ring, words, at, count) => raw(words, at, count);
