/**
 * Packet kernels: what touches every byte of a frame. Ranges are (bytes, start, length), within their arrays, wherever they
 * begin; results are the same whichever implementation does the work:
 *
 * - `reference.ts`: TypeScript, always there;
 * - `simd.ts`: WebAssembly, where a range is in an arena (`makeArena`);
 * - the addon's (`useNative`), for long ranges elsewhere: of a guest's memory, say. Its CRC is the quickest everywhere.
 *
 * Frames live in a few long-lived arrays, so what is known of the last one is nearly always what is needed next.
 */
import { swap16 } from './fold.ts';
import * as reference from './reference.ts';
import { MOST, type SimdKernels, simdOf } from './simd.ts';

export { makeArena, whyNoSimd } from './simd.ts';
export { wordsOf } from './words.ts';

/** Shorter ranges are done before WebAssembly is reached. */
const SHORTEST_SUM = 16;
/** And from here on the engine's own copy is as quick. */
const LONGEST_COPY = 1024;
/** Shorter ranges are done before the addon is reached. */
const SHORTEST_NATIVE_CRC = 128;
const SHORTEST_NATIVE_SUM = 512;

/** What an addon brings. */
export interface NativeKernels {
  crc32(bytes: Uint8Array, start: number, length: number): number;
  littleSum(bytes: Uint8Array, start: number, length: number): number;
  copyAndSum(from: Uint8Array, at: number, to: Uint8Array, toAt: number, length: number): number;
}

let native: NativeKernels | null = null;

/** From here on the addon's do what they are quickest at; null: no longer. */
export function useNative(kernels: NativeKernels | null): void {
  native = kernels;
}

/** An array in an arena: where it begins there, its bytes, and what sees it. Nothing detaches or grows an arena. */
interface Place {
  readonly base: number;
  readonly size: number;
  readonly simd: SimdKernels;
}

const ELSEWHERE: Place = {
  base: 0,
  size: 0,
  simd: { sum: () => 0, copy: () => undefined, copyAndSum: () => 0 },
};
const places = new WeakMap<Uint8Array, Place>();
let last: Uint8Array | null = null;
let base = 0; // where it begins in its arena …
let size = 0; // … and its bytes; 0 where it is in none
let { sum, copy, copyAndSum: sumCopy } = ELSEWHERE.simd;

/** Looks an array up. */
function look(bytes: Uint8Array): void {
  let place = places.get(bytes);
  if (place === undefined) {
    const simd = simdOf(bytes.buffer);
    place = simd === undefined ? ELSEWHERE : { base: bytes.byteOffset, size: bytes.length, simd };
    places.set(bytes, place);
  }
  last = bytes;
  base = place.base;
  size = place.size;
  ({ sum, copy, copyAndSum: sumCopy } = place.simd);
}

/** Whether a range is all in an array that is in an arena. */
function reaches(bytes: Uint8Array, start: number, length: number): boolean {
  if (bytes !== last) look(bytes);
  return start >= 0 && length <= MOST && start + length <= size;
}

/** Whether a range is all in an array: the addon throws where it is not. */
function holds(bytes: Uint8Array, start: number, length: number): boolean {
  return start >= 0 && start + length <= bytes.length;
}

/** Whether two ranges of an array are, and do not overlap: there the direction of a copy would show. */
function reachesBoth(bytes: Uint8Array, one: number, other: number, length: number): boolean {
  const apart = one < other ? one + length <= other : other + length <= one;
  return apart && reaches(bytes, one, length) && other >= 0 && other + length <= size;
}

/**
 * The ones' complement sum (RFC 1071) of bytes as 16-bit little-endian words, folded; an odd last byte is padded with zero.
 * That of big-endian words is the same with its two bytes in the other order (§2(B)). It is 0 only where every byte is.
 */
export function littleSum(bytes: Uint8Array, start: number, length: number): number {
  if (length >= SHORTEST_SUM && reaches(bytes, start, length)) return sum(base + start, length);
  if (native !== null && length >= SHORTEST_NATIVE_SUM && holds(bytes, start, length))
    return native.littleSum(bytes, start, length);
  return reference.littleSum(bytes, start, length);
}

/** The FCS of a frame: CRC-32 of IEEE 802.3; its least significant byte goes on the wire first. */
export function crc32(bytes: Uint8Array, start: number, length: number): number {
  if (native !== null && length >= SHORTEST_NATIVE_CRC && holds(bytes, start, length))
    return native.crc32(bytes, start, length);
  return reference.crc32(bytes, start, length);
}

/** Copies bytes; in one array the ranges may not overlap. */
export function copyBytes(from: Uint8Array, at: number, to: Uint8Array, toAt: number, length: number): void {
  if (from === to && length > 0 && length < LONGEST_COPY && reachesBoth(to, at, toAt, length))
    copy(base + at, base + toAt, length);
  else reference.copyBytes(from, at, to, toAt, length);
}

/** Copies bytes, and returns the `littleSum` of what is in `to` then. */
export function copyAndSum(from: Uint8Array, at: number, to: Uint8Array, toAt: number, length: number): number {
  if (from === to && length > 0 && reachesBoth(to, at, toAt, length)) return sumCopy(base + at, base + toAt, length);
  if (native !== null && length >= SHORTEST_NATIVE_SUM && !reaches(to, toAt, length))
    if (holds(from, at, length) && holds(to, toAt, length)) return native.copyAndSum(from, at, to, toAt, length);
  reference.copyBytes(from, at, to, toAt, length);
  return littleSum(to, toAt, length);
}

/** The sum of two parts, of which the first has `length` bytes, before it is folded. */
export function joinSums(first: number, length: number, second: number): number {
  return first + (length & 1 ? swap16(second) : second);
}
