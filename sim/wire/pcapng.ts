import { copyBytes } from '../kernels/index.ts';
import { FCS_ERROR } from './port.ts';
import { encodeUtf8 } from './utf8.ts';

// draft-ietf-opsawg-pcapng; section numbers are those of -03.
export const SECTION_HEADER = 0x0a0d0d0a;
export const INTERFACE_DESCRIPTION = 1;
export const SIMPLE_PACKET = 3;
export const INTERFACE_STATISTICS = 5;
export const ENHANCED_PACKET = 6;
export const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
export const LINKTYPE_ETHERNET = 1;

export const OPT_END = 0;
export const OPT_COMMENT = 1;
export const SHB_HARDWARE = 2;
export const SHB_OS = 3;
export const SHB_USERAPPL = 4;
export const IF_NAME = 2;
export const IF_DESCRIPTION = 3;
export const IF_MAC = 6;
export const IF_SPEED = 8;
export const IF_TSRESOL = 9;
export const IF_FCSLEN = 13;
export const IF_TSOFFSET = 14;
export const EPB_FLAGS = 2;
export const ISB_STARTTIME = 2;
export const ISB_ENDTIME = 3;
export const ISB_IFRECV = 4;
export const ISB_IFDROP = 5;

/** epb_flags (section 4.3.1). */
export const EPB_DIRECTION = 0b11;
export const EPB_CRC_ERROR = 1 << 24;

/** Which way a frame went, as the interface saw it: the values of epb_flags' two lowest bits. */
export const UNKNOWN_DIRECTION = 0;
export const INBOUND = 1;
export const OUTBOUND = 2;
export type FrameDirection = typeof UNKNOWN_DIRECTION | typeof INBOUND | typeof OUTBOUND;

export interface PcapngOptions {
  /** What the section was captured on and by. */
  readonly hardware?: string;
  readonly os?: string;
  readonly application?: string;
  /** What `timeNs` counts from: seconds since 1970, and nanoseconds on top. Zero unless told. */
  readonly startSeconds?: number;
  readonly startNanoseconds?: number;
  /** Bytes kept of a frame; 262144 (Wireshark's own) unless told. */
  readonly snapLength?: number;
  /** Bytes gathered before the sink gets them (1 MiB); it grows to hold the longest frame. */
  readonly chunkBytes?: number;
}

export interface PcapngInterface {
  readonly name: string;
  readonly description?: string;
  /** Bits per second; left out where 0. */
  readonly speed?: number;
  /** Six bytes. */
  readonly mac?: Uint8Array;
}

const TWO_32 = 0x1_0000_0000;
const DEFAULT_SNAP_LENGTH = 262_144;
const DEFAULT_CHUNK = 1024 * 1024;
const LONGEST_TEXT = 0xfff0; // an option's length has 16 bits (section 3.5)
const BESIDE_FRAME = 128; // all that a block holds besides texts and frame

/**
 * Writes a pcapng file in the machine's byte order, with times in nanoseconds.
 *
 * The sink gets views of one buffer that is written anew as soon as it returns: it copies, or writes them out at once.
 */
export class PcapngWriter {
  readonly #sink: (chunk: Uint8Array) => void;
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #halves: Uint16Array;
  readonly #snapLength: number;
  readonly #baseHigh: number;
  readonly #baseLow: number;
  readonly #received: number[] = [];
  readonly #dropped: number[] = [];
  #at = 0; // always a multiple of four
  #block = 0;
  #earliest = Infinity;
  #latest = 0;

  constructor(sink: (chunk: Uint8Array) => void, options: PcapngOptions = {}) {
    this.#sink = sink;
    this.#snapLength = options.snapLength ?? DEFAULT_SNAP_LENGTH;
    const least = padded(this.#snapLength) + 4 * LONGEST_TEXT + BESIDE_FRAME;
    const buffer = new ArrayBuffer(Math.max(padded(options.chunkBytes ?? DEFAULT_CHUNK), least));
    this.#bytes = new Uint8Array(buffer);
    this.#words = new Uint32Array(buffer);
    this.#halves = new Uint16Array(buffer);
    const start = BigInt(options.startSeconds ?? 0) * 1_000_000_000n + BigInt(options.startNanoseconds ?? 0);
    this.#baseHigh = Number(start >> 32n);
    this.#baseLow = Number(start & 0xffff_ffffn);
    this.#section(options);
  }

  /** Describes an interface (section 4.2) and returns its number. Throws a RangeError for a malformed address. */
  interface(about: PcapngInterface): number {
    if (about.mac !== undefined && about.mac.length !== 6) {
      throw new RangeError(`mac must be 6 bytes, not ${about.mac.length}`);
    }
    this.#begin(INTERFACE_DESCRIPTION, 4 * LONGEST_TEXT);
    this.#word(LINKTYPE_ETHERNET); // and 16 reserved bits
    this.#word(this.#snapLength);
    this.#text(IF_NAME, about.name);
    if (about.description !== undefined) this.#text(IF_DESCRIPTION, about.description);
    if (about.mac !== undefined) this.#option(IF_MAC, about.mac);
    if (about.speed) this.#wide(IF_SPEED, Math.floor(about.speed / TWO_32), about.speed % TWO_32);
    this.#option(IF_TSRESOL, NANOSECONDS);
    this.#option(IF_FCSLEN, NO_FCS);
    this.#word(OPT_END);
    this.#finish();
    this.#dropped.push(0);
    return this.#received.push(0) - 1;
  }

  /**
   * Writes a frame (section 4.3) that passed `timeNs` nanoseconds after the start; frames without FCS, and `flags` as on
   * the wire: FCS_ERROR becomes the CRC error bit.
   */
  packet(
    iface: number,
    timeNs: number,
    direction: FrameDirection,
    bytes: Uint8Array,
    start: number,
    length: number,
    flags: number,
    comment?: string,
  ): void {
    const kept = Math.min(length, this.#snapLength);
    this.#begin(ENHANCED_PACKET, kept + (comment === undefined ? 0 : LONGEST_TEXT));
    this.#word(iface);
    this.#time(timeNs);
    this.#word(kept);
    this.#word(length);
    copyBytes(bytes, start, this.#bytes, this.#at, kept);
    this.#pad(kept);
    if (comment !== undefined) this.#text(OPT_COMMENT, comment);
    this.#optionHeader(EPB_FLAGS, 4);
    this.#word(direction | ((flags & FCS_ERROR) !== 0 ? EPB_CRC_ERROR : 0));
    this.#word(OPT_END);
    this.#finish();
    this.#received[iface]!++;
    if (timeNs < this.#earliest) this.#earliest = timeNs;
    if (timeNs > this.#latest) this.#latest = timeNs;
  }

  /** Counts frames that passed the interface but could not be written; for the statistics. */
  dropped(iface: number, frames: number): void {
    this.#dropped[iface]! += frames;
  }

  /** Hands what was gathered to the sink. */
  flush(): void {
    if (this.#at === 0) return;
    const length = this.#at;
    this.#at = 0;
    this.#sink(this.#bytes.subarray(0, length));
  }

  /** Writes the statistics of every interface (section 4.6) and flushes. */
  end(): void {
    for (let iface = 0; iface < this.#received.length; iface++) this.#statistics(iface);
    this.flush();
  }

  #section(options: PcapngOptions): void {
    this.#begin(SECTION_HEADER, 3 * LONGEST_TEXT);
    this.#word(BYTE_ORDER_MAGIC);
    this.#halfPair(1, 0); // version 1.0
    this.#word(0xffff_ffff); // section length: not given
    this.#word(0xffff_ffff);
    if (options.hardware !== undefined) this.#text(SHB_HARDWARE, options.hardware);
    if (options.os !== undefined) this.#text(SHB_OS, options.os);
    this.#text(SHB_USERAPPL, options.application ?? 'fauxnic');
    this.#word(OPT_END);
    this.#finish();
  }

  #statistics(iface: number): void {
    this.#begin(INTERFACE_STATISTICS, 0);
    this.#word(iface);
    this.#time(this.#latest);
    this.#optionHeader(ISB_STARTTIME, 8);
    this.#time(Math.min(this.#earliest, this.#latest));
    this.#optionHeader(ISB_ENDTIME, 8);
    this.#time(this.#latest);
    this.#counter(ISB_IFRECV, this.#received[iface]! + this.#dropped[iface]!);
    this.#counter(ISB_IFDROP, this.#dropped[iface]!);
    this.#word(OPT_END);
    this.#finish();
  }

  /** Opens a block that will hold at most `variable` bytes besides its fixed fields. */
  #begin(type: number, variable: number): void {
    if (this.#at + variable + BESIDE_FRAME > this.#bytes.length) this.flush();
    this.#block = this.#at;
    this.#word(type);
    this.#word(0); // the length, known in the end
  }

  #finish(): void {
    const length = this.#at + 4 - this.#block;
    this.#words[(this.#block >> 2) + 1] = length;
    this.#word(length);
  }

  #word(value: number): void {
    this.#words[this.#at >> 2] = value;
    this.#at += 4;
  }

  #halfPair(first: number, second: number): void {
    this.#halves[this.#at >> 1] = first;
    this.#halves[(this.#at >> 1) + 1] = second;
    this.#at += 4;
  }

  /** 64 bits as high and low word, high first in either byte order (section 4.3). */
  #time(timeNs: number): void {
    const ns = Math.floor(timeNs);
    const high = Math.floor(ns / TWO_32);
    const low = this.#baseLow + (ns - high * TWO_32);
    const carry = low >= TWO_32 ? 1 : 0;
    this.#word(this.#baseHigh + high + carry);
    this.#word(low - carry * TWO_32);
  }

  #counter(code: number, value: number): void {
    this.#wide(code, Math.floor(value / TWO_32), value % TWO_32);
  }

  /** A 64-bit number in the section's byte order; not a time, whose words are ordered otherwise. */
  #wide(code: number, high: number, low: number): void {
    this.#optionHeader(code, 8);
    this.#word(LITTLE_ENDIAN ? low : high);
    this.#word(LITTLE_ENDIAN ? high : low);
  }

  #text(code: number, text: string): void {
    this.#option(code, encodeUtf8(text, LONGEST_TEXT - 4));
  }

  #option(code: number, value: Uint8Array): void {
    this.#optionHeader(code, value.length);
    this.#bytes.set(value, this.#at);
    this.#pad(value.length);
  }

  #optionHeader(code: number, length: number): void {
    this.#halfPair(code, length);
  }

  /** Moves past `length` bytes just written and zeroes up to the next multiple of four. */
  #pad(length: number): void {
    const end = this.#at + length;
    this.#at = padded(end);
    for (let at = end; at < this.#at; at++) this.#bytes[at] = 0;
  }
}

const NANOSECONDS = Uint8Array.of(9);
const NO_FCS = Uint8Array.of(0);
const LITTLE_ENDIAN = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;

export function padded(length: number): number {
  return (length + 3) & ~3;
}
