/**
 * Arithmetic of the ones' complement sum (RFC 1071). Zero has two forms: a folded sum is 0 only where every summed byte
 * is, and else 0xffff.
 */

/** A sum below 2^32 folded to 16 bits; the checksum on the wire is its complement. */
export function foldChecksum(sum: number): number {
  const once = (sum >>> 16) + (sum & 0xffff);
  return (once >>> 16) + (once & 0xffff);
}

/** A sum of 32-bit words, below 2^48, folded to 16 bits: 2^32 is 1 modulo 2^16 - 1. */
export function foldWords(sum: number): number {
  const low = sum >>> 0;
  return foldChecksum((low & 0xffff) + (low >>> 16) + Math.floor(sum / 0x1_0000_0000));
}

/** The two bytes of a 16-bit word in the other order. */
export function swap16(word: number): number {
  return ((word & 0xff) << 8) | (word >>> 8);
}
