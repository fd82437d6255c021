/**
 * Where a card meets its cable. Everything a medium (a link, a switch, a host's TAP) needs of a card, and the reverse.
 *
 * Frames travel without preamble and FCS. To spare an object per frame they are passed as (bytes, start, length, flags)
 * and are valid only until the call returns: whoever wants to keep a frame copies it.
 */

import { swap16 } from '../kernels/fold.ts';

/** Frame flags. */
export const FCS_ERROR = 1; // the frame was damaged on the wire: a receiver's CRC check will not match
/**
 * The sender knows the sum of the frame's bytes: ones' complement, of 16-bit big-endian words from the frame's start. It is
 * in the flags' upper half, `flags >>> 16`, so that a receiver that checks checksums need not add the bytes up again.
 * Any medium that alters bytes must clear the flag.
 */
export const SUM_KNOWN = 2;

/** Those flags for a frame whose littleSum is known. */
export function knownSum(sum: number): number {
  return SUM_KNOWN | (swap16(sum) << 16);
}

/** What an 802.3 station can do, as bits. */
export const ABILITY_10_HALF = 0x01;
export const ABILITY_10_FULL = 0x02;
export const ABILITY_100_HALF = 0x04;
export const ABILITY_100_FULL = 0x08;
export const ABILITY_1000_HALF = 0x10;
export const ABILITY_1000_FULL = 0x20;
export const ABILITY_2500_FULL = 0x40;
export const ABILITY_5000_FULL = 0x80;
export const ABILITY_10000_FULL = 0x100;
export const ABILITY_PAUSE = 0x1000; // 802.3 Annex 28B: symmetric PAUSE
export const ABILITY_ASYM_PAUSE = 0x2000;

/** What one end shows the other: its abilities, and whether it negotiates or has been forced to exactly one of them. */
export interface Station {
  readonly abilities: number;
  readonly negotiates: boolean;
}

/** The card's side of the socket. A medium calls these. */
export interface Port {
  /** A name for captures and traces: "e1000-0". */
  readonly name: string;
  /** What this end shows; null while its transmitter is silent (powered down, in reset, in internal loopback). */
  readonly station: Station | null;
  /** The medium put in (or null: pulled out). Kept by the port, which transmits into it. */
  medium: Medium | null;
  /** What the other end shows has changed; null: nobody there. */
  partnerChanged(partner: Station | null): void;
  /**
   * A frame arrives. Never throws. May answer with a PAUSE frame from within the call, and with nothing else: so a
   * chain of calls is never deeper than sender, receiver, sender.
   */
  receive(bytes: Uint8Array, start: number, length: number, flags: number): void;
  /**
   * The same for a burst of frames that arrive at one moment, `count` of them at (starts[i], lengths[i]) in `bytes`, without
   * flags. A port may take any number of them from the front, and returns how many; the others come by `receive`.
   */
  receiveBurst?(bytes: Uint8Array, starts: Int32Array, lengths: Int32Array, count: number): number;
}

/** The medium's side of the socket. A card calls these. */
export interface Medium {
  /** What the port shows has changed: re-read `port.station`. */
  stationChanged(port: Port): void;
  /** What the other end shows now. */
  partnerOf(port: Port): Station | null;
  /**
   * A frame leaves `port`. Never refuses: a medium that is still serialising the frame before keeps this one for later;
   * but a well-behaved sender waits until `freeAt`.
   */
  transmit(port: Port, bytes: Uint8Array, start: number, length: number, flags: number): void;
  /** The same for a burst, see Port.receiveBurst: returns how many frames it took from the front, and is as if each had been sent alone. */
  transmitBurst?(port: Port, bytes: Uint8Array, starts: Int32Array, lengths: Int32Array, count: number): number;
  /** Nanoseconds on the clock when the port's line will have sent what it was given; 0 for an ideal wire. */
  freeAt(port: Port): number;
  /**
   * Puts `by` where `port` is, without the carrier dropping: how a capture is slipped in and taken out of a running
   * wire. A medium that lacks it can be tapped only before the port is plugged in.
   */
  replace?(port: Port, by: Port): void;
}
