import { addon } from './addon.ts';

/**
 * Packet kernels of the addon, by vectors where the processor has them; for memory outside of WebAssembly's. A range is a
 * Uint8Array, a start and a length: a TypeError where it is something else, a RangeError where it is not in the array.
 */
export interface PacketKernels {
  /** The FCS: CRC-32 of IEEE 802.3. */
  crc32(bytes: Uint8Array, start: number, length: number): number;
  /** The ones' complement sum of 16-bit little-endian words, folded: 0 only where every byte is. */
  littleSum(bytes: Uint8Array, start: number, length: number): number;
  /** Moves bytes, and returns that sum of what has arrived. */
  copyAndSum(from: Uint8Array, at: number, to: Uint8Array, toAt: number, length: number): number;
}

/** Throws UNAVAILABLE where there is no addon. */
export function packetKernels(): PacketKernels {
  return addon().kernels;
}
