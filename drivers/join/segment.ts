/**
 * Offloads in software: what a transmit packet asks for and the device cannot (or may not: `features` can be switched
 * off) is done here before it is handed over. The frames are the same ones the card would have made.
 *
 * A TSO request, from the kernel or from Gro, is one TCP segment with everything in it right for its whole length, save
 * that the checksum field holds the pseudo-header sum with that length, uncomplemented (VIRTIO 1.2 §5.1.6.2).
 */
import {
  addToChecksum,
  foldChecksum,
  get16,
  get32,
  Headers,
  PROTOCOL_TCP,
  parseHeaders,
  pseudoHeaderSum,
  put16,
  put32,
} from '../../sim/packet.ts';
import { FEATURE_TSO4, FEATURE_TSO6, FEATURE_TX_CHECKSUM } from '../netdev.ts';
import {
  HEADROOM,
  type PacketBuffer,
  type PacketPool,
  TX_IP_CHECKSUM,
  TX_L4_CHECKSUM,
  TX_TSO4,
  TX_TSO6,
  TX_UDP,
} from '../packet.ts';

/** Where the checksum is, in the transport header (RFC 9293 §3.1, RFC 768). */
export const TCP_CHECKSUM = 16;
export const UDP_CHECKSUM = 6;

const TSO = TX_TSO4 | TX_TSO6;
const CHECKSUMS = TX_L4_CHECKSUM | TX_IP_CHECKSUM;
const FIN = 0x01;
const PSH = 0x08;
const CWR = 0x80;

const headers = new Headers();

/** Whether a packet asks for something that is not among the `enabled` features. */
export function needsSoftware(packet: PacketBuffer, enabled: number): boolean {
  const { flags } = packet;
  if ((flags & (TSO | CHECKSUMS)) === 0) return false;
  if ((enabled & FEATURE_TX_CHECKSUM) === 0) return true;
  if ((flags & TSO) === 0) return false;
  if ((enabled & (flags & TX_TSO4 ? FEATURE_TSO4 : FEATURE_TSO6)) === 0) return true;
  // CWR belongs in the first segment alone (RFC 3168 §6.1.2), and older cards repeat it in each.
  return (packet.bytes[packet.start + packet.checksumStart + 13]! & CWR) !== 0;
}

/** Fills in the checksum a packet asks for, from checksumStart to its end; the field holds what to start from. */
export function fillChecksum(packet: PacketBuffer): void {
  const at = packet.start + packet.checksumStart + packet.checksumOffset;
  const sum = sumChain(packet, packet.checksumStart);
  // RFC 768: a UDP sum of zero would mean "none", so its other representation is sent.
  const value = ~sum & 0xffff || (packet.checksumOffset === UDP_CHECKSUM ? 0xffff : 0);
  put16(packet.bytes, at, value);
  packet.flags &= ~(TX_L4_CHECKSUM | TX_UDP);
}

/** The folded sum of a chain from `skip` bytes in. A piece that begins at an odd place is summed with its bytes swapped. */
function sumChain(packet: PacketBuffer, skip: number): number {
  let sum = 0;
  let done = 0;
  for (let piece: PacketBuffer | null = packet; piece !== null; piece = piece.next) {
    const first = Math.min(skip, piece.length);
    const length = piece.length - first;
    skip -= first;
    const part = foldChecksum(addToChecksum(piece.bytes, piece.start + first, length));
    sum += done & 1 ? ((part & 0xff) << 8) | (part >>> 8) : part;
    done += length;
  }
  return foldChecksum(sum);
}

/** Fills in the IPv4 header's checksum. */
export function fillIpChecksum(bytes: Uint8Array, at: number): void {
  put16(bytes, at + 10, 0);
  put16(bytes, at + 10, ~foldChecksum(addToChecksum(bytes, at, (bytes[at]! & 15) * 4)));
}

/** Does in software what a device with the given features cannot. */
export class Segmenter {
  readonly #pool: PacketPool;
  /** Where the next byte of payload is. */
  #piece: PacketBuffer | null = null;
  #offset = 0;

  /** @param pool where segments get their buffers. */
  constructor(pool: PacketPool) {
    this.#pool = pool;
  }

  /**
   * Puts the frames that stand for `packet` into `into` from index `at` and returns how many. 0: the pool has no
   * buffers for now, and the packet is still the caller's. -1: its headers do not bear out the request; it was freed.
   */
  prepare(packet: PacketBuffer, enabled: number, into: PacketBuffer[], at: number): number {
    if (needsSoftware(packet, enabled)) {
      if (packet.flags & TSO) return this.#segment(packet, enabled, into, at);
      if (!fillChecksums(packet)) return -1;
    }
    into[at] = packet;
    return 1;
  }

  #segment(packet: PacketBuffer, enabled: number, into: PacketBuffer[], at: number): number {
    if (!this.#check(packet)) {
      packet.free();
      return -1;
    }
    const { mss } = packet;
    const payload = packet.total - headers.payload;
    const count = Math.ceil(payload / mss);
    if (!this.#take(count, into, at)) return 0;
    this.#piece = packet;
    this.#offset = headers.payload;
    for (let i = 0; i < count; i++) {
      const length = Math.min(mss, payload - i * mss);
      this.#fill(packet, into[at + i]!, i, length, i === count - 1, enabled);
    }
    packet.free();
    return count;
  }

  /** Finds the headers; the sender's word for them is not taken. */
  #check(packet: PacketBuffer): boolean {
    const { bytes, start, length, mss, total } = packet;
    parseHeaders(bytes, start, length, headers);
    if (headers.l4 === 0 || headers.protocol !== PROTOCOL_TCP || mss < 1 || total <= headers.payload) return false;
    return HEADROOM + headers.payload + mss <= this.#pool.bufferSize;
  }

  /** All the buffers or none. */
  #take(count: number, into: PacketBuffer[], at: number): boolean {
    for (let i = 0; i < count; i++) {
      const buffer = this.#pool.take();
      if (buffer === null) {
        while (--i >= 0) into[at + i]!.free();
        return false;
      }
      into[at + i] = buffer;
    }
    return true;
  }

  #fill(packet: PacketBuffer, frame: PacketBuffer, index: number, length: number, last: boolean, enabled: number) {
    const { bytes, start } = frame;
    const { l3, l4, payload } = headers;
    frame.length = payload + length;
    frame.total = frame.length;
    frame.mss = 0;
    frame.vlan = packet.vlan;
    bytes.set(packet.bytes.subarray(packet.start, packet.start + payload), start);
    this.#copy(bytes, start + payload, length);
    this.#fixIp(bytes, start + l3, index, payload - l3 + length);
    const tcp = start + l4;
    put32(bytes, tcp + 4, get32(bytes, tcp + 4) + index * packet.mss);
    if (index > 0) bytes[tcp + 13]! &= ~CWR;
    if (!last) bytes[tcp + 13]! &= ~(FIN | PSH);
    put16(bytes, tcp + TCP_CHECKSUM, foldChecksum(pseudoHeaderSum(bytes, start, headers, payload - l4 + length)));
    frame.checksumStart = l4;
    frame.checksumOffset = TCP_CHECKSUM;
    frame.flags = (packet.flags & ~(TSO | TX_IP_CHECKSUM)) | TX_L4_CHECKSUM;
    if ((enabled & FEATURE_TX_CHECKSUM) === 0) fillChecksum(frame);
  }

  #fixIp(bytes: Uint8Array, at: number, index: number, length: number): void {
    if (headers.version === 6) {
      put16(bytes, at + 4, length - 40);
      return;
    }
    put16(bytes, at + 2, length);
    put16(bytes, at + 4, get16(bytes, at + 4) + index); // each packet its own identification (RFC 6864 §4.2)
    fillIpChecksum(bytes, at);
  }

  /** The next `length` bytes of payload. */
  #copy(into: Uint8Array, at: number, length: number): void {
    while (length > 0 && this.#piece !== null) {
      const piece: PacketBuffer = this.#piece;
      const part = Math.min(length, piece.length - this.#offset);
      const from = piece.start + this.#offset;
      into.set(piece.bytes.subarray(from, from + part), at);
      at += part;
      length -= part;
      this.#offset += part;
      if (this.#offset >= piece.length) {
        this.#piece = piece.next;
        this.#offset = 0;
      }
    }
  }
}

function fillChecksums(packet: PacketBuffer): boolean {
  const { checksumStart, checksumOffset, length } = packet;
  if (packet.flags & TX_IP_CHECKSUM) {
    parseHeaders(packet.bytes, packet.start, length, headers);
    if (headers.version === 4) fillIpChecksum(packet.bytes, packet.start + headers.l3);
    packet.flags &= ~TX_IP_CHECKSUM;
  }
  if ((packet.flags & TX_L4_CHECKSUM) === 0) return true;
  if (checksumStart + checksumOffset + 2 > length) {
    packet.free();
    return false;
  }
  fillChecksum(packet);
  return true;
}
