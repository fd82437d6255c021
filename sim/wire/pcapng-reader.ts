import {
  BYTE_ORDER_MAGIC,
  ENHANCED_PACKET,
  EPB_CRC_ERROR,
  EPB_DIRECTION,
  EPB_FLAGS,
  type FrameDirection,
  IF_DESCRIPTION,
  IF_MAC,
  IF_NAME,
  IF_SPEED,
  IF_TSOFFSET,
  IF_TSRESOL,
  INBOUND,
  INTERFACE_DESCRIPTION,
  INTERFACE_STATISTICS,
  ISB_IFDROP,
  ISB_IFRECV,
  OPT_COMMENT,
  OPT_END,
  OUTBOUND,
  padded,
  SECTION_HEADER,
  SIMPLE_PACKET,
  UNKNOWN_DIRECTION,
} from './pcapng.ts';
import { FCS_ERROR } from './port.ts';
import { decodeUtf8 } from './utf8.ts';

/** What is wrong with a capture, and at which byte of it. */
export class PcapngError extends Error {
  override readonly name = 'PcapngError';
  readonly offset: number;

  constructor(offset: number, what: string) {
    super(`not a readable pcapng capture: ${what} (at byte ${offset})`);
    this.offset = offset;
  }
}

export interface CapturedInterface {
  readonly linkType: number;
  readonly name: string;
  readonly description: string;
  /** Bits per second; 0 where not given. */
  readonly speed: number;
  readonly mac: Uint8Array | null;
  /** From the statistics, which follow the frames: read it when the iterator has ended. */
  received: number | null;
  dropped: number | null;
}

export interface CapturedFrame {
  readonly interface: CapturedInterface;
  /** Since the start told in the options; exact up to 2^53. */
  readonly timeNs: number;
  /** The same time since 1970, exact. */
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly direction: FrameDirection;
  /** A view of the capture: valid as long as that is. */
  readonly bytes: Uint8Array;
  /** Bytes the frame had on the wire. */
  readonly length: number;
  /** FCS_ERROR where the capture says so. */
  readonly flags: number;
  readonly comment: string;
}

export interface ReadOptions {
  /** What `timeNs` counts from, as in the writer's options. */
  readonly startSeconds?: number;
  readonly startNanoseconds?: number;
}

const BILLION = 1_000_000_000n;
const SHORTEST_BLOCK = 12;
const MOST_INTERFACES = 65_536;

interface Section {
  readonly little: boolean;
  readonly interfaces: Interface[];
}

interface Interface {
  readonly about: CapturedInterface;
  readonly snapLength: number;
  /** Ticks per second. */
  readonly resolution: bigint;
  /** Nanoseconds to add. */
  readonly offset: bigint;
}

/** A block's body: between its two lengths. */
interface Block {
  readonly type: number;
  readonly start: number;
  readonly end: number;
}

/**
 * The frames of a pcapng capture in their order, of any number of sections in either byte order. Blocks that it does not
 * know are skipped, as the draft demands. Throws a PcapngError at the first byte that makes no sense, or where the
 * capture ends within a block.
 */
export function* readPcapng(capture: Uint8Array, options: ReadOptions = {}): Generator<CapturedFrame, void> {
  const origin = BigInt(options.startSeconds ?? 0) * BILLION + BigInt(options.startNanoseconds ?? 0);
  const view = new DataView(capture.buffer, capture.byteOffset, capture.byteLength);
  let section: Section | null = null;
  let at = 0;
  do {
    if (section === null || startsSection(view, at)) section = readSection(view, at);
    const block = readBlock(view, at, section.little);
    const frame = new BlockReader(capture, view, section, block).read(origin);
    if (frame !== null) yield frame;
    at = block.end + 4;
  } while (at < view.byteLength);
}

function startsSection(view: DataView, at: number): boolean {
  return at + 4 <= view.byteLength && view.getUint32(at) === SECTION_HEADER;
}

/** The byte order comes first: the block's very length depends on it (section 4.1). */
function readSection(view: DataView, at: number): Section {
  if (at + SHORTEST_BLOCK > view.byteLength) throw new PcapngError(at, 'it ends within a section header');
  if (!startsSection(view, at)) throw new PcapngError(at, 'it does not begin with a section header');
  const little = view.getUint32(at + 8, true) === BYTE_ORDER_MAGIC;
  if (!little && view.getUint32(at + 8) !== BYTE_ORDER_MAGIC) throw new PcapngError(at + 8, 'no byte-order magic');
  return { little, interfaces: [] };
}

function readBlock(view: DataView, at: number, little: boolean): Block {
  if (at + SHORTEST_BLOCK > view.byteLength) throw new PcapngError(at, 'it ends within a block');
  const length = view.getUint32(at + 4, little);
  if (length < SHORTEST_BLOCK || length % 4 !== 0) throw new PcapngError(at + 4, `a block cannot have ${length} bytes`);
  if (length > view.byteLength - at) throw new PcapngError(at, 'it ends within a block');
  const end = at + length - 4;
  if (view.getUint32(end, little) !== length) throw new PcapngError(end, 'a block ends with another length');
  return { type: view.getUint32(at, little), start: at + 8, end };
}

type OptionHandler = (code: number, at: number, length: number) => void;

/** Reads one block, every field checked against the block's end. */
class BlockReader {
  readonly #capture: Uint8Array;
  readonly #view: DataView;
  readonly #section: Section;
  readonly #block: Block;

  constructor(capture: Uint8Array, view: DataView, section: Section, block: Block) {
    this.#capture = capture;
    this.#view = view;
    this.#section = section;
    this.#block = block;
  }

  read(origin: bigint): CapturedFrame | null {
    switch (this.#block.type) {
      case SECTION_HEADER:
        this.#version();
        return null;
      case INTERFACE_DESCRIPTION:
        this.#describe();
        return null;
      case INTERFACE_STATISTICS:
        this.#statistics();
        return null;
      case ENHANCED_PACKET:
        return this.#enhanced(origin);
      case SIMPLE_PACKET:
        return this.#simple(origin);
      default:
        return null;
    }
  }

  #version(): void {
    const major = this.#half(4);
    if (major !== 1) throw new PcapngError(this.#block.start + 4, `version ${major} is not known`);
  }

  #describe(): void {
    if (this.#section.interfaces.length === MOST_INTERFACES) throw this.#error('too many interfaces');
    const snapLength = this.#word(4);
    const about = {
      name: '',
      description: '',
      speed: 0,
      mac: null as Uint8Array | null,
    };
    let resolution = 1_000_000n; // unless if_tsresol says otherwise (section 4.2)
    let offset = 0n;
    this.#options(8, (code, at, length) => {
      if (code === IF_NAME) about.name = decodeUtf8(this.#bytes(at, length));
      else if (code === IF_DESCRIPTION) about.description = decodeUtf8(this.#bytes(at, length));
      else if (code === IF_MAC && length === 6) about.mac = this.#bytes(at, length);
      else if (code === IF_SPEED && length === 8) about.speed = Number(this.#wide(at));
      else if (code === IF_TSRESOL && length === 1) resolution = ticksPerSecond(this.#view.getUint8(at));
      else if (code === IF_TSOFFSET && length === 8) offset = BigInt.asIntN(64, this.#wide(at)) * BILLION;
    });
    const linkType = this.#half(0);
    const counters = { received: null, dropped: null };
    this.#section.interfaces.push({
      about: { linkType, ...about, ...counters },
      snapLength,
      resolution,
      offset,
    });
  }

  #statistics(): void {
    const { about } = this.#interface(this.#word(0));
    this.#options(12, (code, at, length) => {
      if (length !== 8) return;
      if (code === ISB_IFRECV) about.received = Number(this.#wide(at));
      else if (code === ISB_IFDROP) about.dropped = Number(this.#wide(at));
    });
  }

  #enhanced(origin: bigint): CapturedFrame {
    const { about, resolution, offset } = this.#interface(this.#word(0));
    const ticks = (BigInt(this.#word(4)) << 32n) | BigInt(this.#word(8));
    const kept = this.#word(12);
    const bytes = this.#field(20, kept);
    let epbFlags = 0;
    let comment = '';
    this.#options(20 + padded(kept), (code, at, length) => {
      if (code === EPB_FLAGS && length === 4) epbFlags = this.#view.getUint32(at, this.#section.little);
      else if (code === OPT_COMMENT && comment === '') comment = decodeUtf8(this.#bytes(at, length));
    });
    return {
      interface: about,
      ...times((ticks * BILLION) / resolution + offset, origin),
      direction: directionOf(epbFlags),
      bytes,
      length: this.#word(16),
      flags: (epbFlags & EPB_CRC_ERROR) !== 0 ? FCS_ERROR : 0,
      comment,
    };
  }

  /** A frame and nothing else: of interface 0, at no known time (section 4.4). */
  #simple(origin: bigint): CapturedFrame {
    const { about, snapLength } = this.#interface(0);
    const length = this.#word(0);
    const kept = snapLength === 0 ? length : Math.min(length, snapLength);
    const bytes = this.#field(4, kept);
    return {
      interface: about,
      ...times(0n, origin),
      direction: UNKNOWN_DIRECTION,
      bytes,
      length,
      flags: 0,
      comment: '',
    };
  }

  #interface(index: number): Interface {
    const found = this.#section.interfaces[index];
    if (found === undefined) throw this.#error(`interface ${index} is not described`);
    return found;
  }

  /** Calls `handle` with every option that lies `from` bytes into the block or behind (section 3.5). */
  #options(from: number, handle: OptionHandler): void {
    let at = this.#block.start + from;
    while (at + 4 <= this.#block.end) {
      const code = this.#view.getUint16(at, this.#section.little);
      const length = this.#view.getUint16(at + 2, this.#section.little);
      if (code === OPT_END) return;
      if (at + 4 + length > this.#block.end) throw new PcapngError(at, 'an option is longer than its block');
      handle(code, at + 4, length);
      at += 4 + padded(length);
    }
  }

  #field(offset: number, length: number): Uint8Array {
    const start = this.#block.start + offset;
    if (length > this.#block.end - start) throw this.#error(`a frame of ${length} bytes is longer than its block`);
    return this.#bytes(start, length);
  }

  #bytes(at: number, length: number): Uint8Array {
    return this.#capture.subarray(at, at + length);
  }

  #word(offset: number): number {
    this.#need(offset + 4);
    return this.#view.getUint32(this.#block.start + offset, this.#section.little);
  }

  #half(offset: number): number {
    this.#need(offset + 2);
    return this.#view.getUint16(this.#block.start + offset, this.#section.little);
  }

  #wide(at: number): bigint {
    return this.#view.getBigUint64(at, this.#section.little);
  }

  #need(bytes: number): void {
    if (this.#block.start + bytes > this.#block.end) throw this.#error('a block is too short for its type');
  }

  #error(what: string): PcapngError {
    return new PcapngError(this.#block.start - 8, what);
  }
}

/** if_tsresol: a negative power of ten, or of two where the top bit is set. */
function ticksPerSecond(resolution: number): bigint {
  return (resolution & 0x80) !== 0 ? 2n ** BigInt(resolution & 0x7f) : 10n ** BigInt(resolution);
}

function times(ns: bigint, origin: bigint): Pick<CapturedFrame, 'timeNs' | 'seconds' | 'nanoseconds'> {
  const nanoseconds = ((ns % BILLION) + BILLION) % BILLION;
  return {
    timeNs: Number(ns - origin),
    seconds: Number((ns - nanoseconds) / BILLION),
    nanoseconds: Number(nanoseconds),
  };
}

function directionOf(epbFlags: number): FrameDirection {
  const direction = epbFlags & EPB_DIRECTION;
  return direction === INBOUND || direction === OUTBOUND ? direction : UNKNOWN_DIRECTION;
}
