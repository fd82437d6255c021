/**
 * Offloads in software: what a transmit packet asks for and the device does not do (see `cardDoes`; features can be
 * switched off, too) is done here before it is handed over. The frames are the same ones the card would have made.
 *
 * A TSO request, from the kernel or from Gro, is one TCP segment with everything in it right for its whole length, save
 * that the checksum field holds the pseudo-header sum with that length, uncomplemented (VIRTIO 1.2 §5.1.6.2). That sum is
 * adjusted and never made anew: behind a source route or a routing header the final destination is not where it would be
 * looked for (RFC 1122 §4.2.3.8, RFC 8200 §8.1).
 */
import { copyBytes } from '../../sim/kernels/index.ts';
import {
  addToChecksum,
  foldChecksum,
  get16,
  get32,
  put16,
  put32,
  subtractFromChecksum,
  swap16,
} from '../../sim/packet.ts';
import type { NetDevice } from '../netdev.ts';
import {
  HEADROOM,
  type PacketBuffer,
  type PacketPool,
  TX_IP_CHECKSUM,
  TX_L4_CHECKSUM,
  TX_TSO4,
  TX_UDP,
} from '../packet.ts';
import { cardDoes, networkHeader, TCP_CHECKSUM, TSO, tooLong, UDP_CHECKSUM, wellFormed } from '../requests.ts';

const FIN = 0x01;
const PSH = 0x08;
const CWR = 0x80;

/** What `prepare` returns of a packet that it freed: header and packet contradict each other; its frames are too long. */
export const MALFORMED = -1;
export const TOO_LONG = -2;

/** What of a device tells how far it goes. */
export type Offers = Pick<NetDevice, 'features' | 'limits' | 'mtu'>;

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
    sum += done & 1 ? swap16(part) : part;
    done += length;
  }
  return foldChecksum(sum);
}

/** Fills in the IPv4 header's checksum. */
export function fillIpChecksum(bytes: Uint8Array, at: number): void {
  put16(bytes, at + 10, 0);
  put16(bytes, at + 10, ~foldChecksum(addToChecksum(bytes, at, (bytes[at]! & 15) * 4)));
}

/** Does in software what a device does not. */
export class Segmenter {
  readonly #device: Offers;
  /** Where segments get their buffers; another one is for the next packet. */
  pool: PacketPool;
  readonly #reserve: PacketPool;
  #buffers: PacketPool; // those of the packet that is being cut
  // The packet that is being cut, and how far that got.
  #packet: PacketBuffer | null = null;
  #l3 = 0;
  #seed = 0; // the pseudo header's sum without a length
  #cardSums = false;
  #done = 0; // bytes of payload
  #index = 0;
  #piece: PacketBuffer | null = null; // where the next byte of payload is
  #offset = 0;

  /**
   * @param device what the frames are for.
   * @param pool where segments get their buffers.
   * @param reserve where they get one at a time while that is empty.
   */
  constructor(device: Offers, pool: PacketPool, reserve = pool) {
    this.#device = device;
    this.pool = pool;
    this.#buffers = pool;
    this.#reserve = reserve;
  }

  /** Whether a packet is only partly cut: `prepare` goes on with it, and so wants it again. */
  get busy(): boolean {
    return this.#packet !== null;
  }

  /**
   * Puts frames that stand for `packet` into `into` from index `at`, `most` at most, and returns how many. Where it is
   * `busy` then, the packet is still the caller's, and more follow once there is room, or a buffer, for them. MALFORMED,
   * TOO_LONG: it cannot be sent, and was freed.
   */
  prepare(packet: PacketBuffer, into: PacketBuffer[], at: number, most: number): number {
    if (this.#packet === null) {
      const { features, limits, mtu } = this.#device;
      if (!wellFormed(packet)) return refuse(packet, MALFORMED);
      if (tooLong(packet, mtu, limits)) return refuse(packet, TOO_LONG);
      const byCard = cardDoes(packet, features.enabled, limits);
      if (byCard || (packet.flags & TSO) === 0) {
        if (!byCard) fillChecksums(packet);
        into[at] = packet;
        return 1;
      }
      if (!this.#begin(packet)) return refuse(packet, TOO_LONG);
    }
    return this.#cut(packet, into, at, most);
  }

  /** Frees the packet that is being cut, done or not. */
  release(): void {
    this.#packet?.free();
    this.#packet = null;
  }

  /** False where a segment does not fit a buffer. */
  #begin(packet: PacketBuffer): boolean {
    const { bytes, start, headerLength, mss, total, checksumStart: l4 } = packet;
    if (HEADROOM + Math.min(total, headerLength + mss) > this.pool.bufferSize) return false;
    this.#buffers = this.pool;
    this.#packet = packet;
    this.#l3 = networkHeader(packet);
    this.#seed = subtractFromChecksum(get16(bytes, start + l4 + TCP_CHECKSUM), total - l4);
    this.#done = 0;
    this.#index = 0;
    this.#piece = packet;
    this.#offset = headerLength;
    return true;
  }

  #cut(packet: PacketBuffer, into: PacketBuffer[], at: number, most: number): number {
    const { features, limits } = this.#device;
    const payload = packet.total - packet.headerLength;
    let count = 0;
    while (count < most) {
      const frame = this.#buffers.take() ?? (count === 0 ? this.#reserve.take() : null);
      if (frame === null) return count;
      const length = Math.min(packet.mss, payload - this.#done);
      const last = this.#done + length === payload;
      this.#fill(packet, frame, length, last);
      if (this.#index === 0) this.#cardSums = cardDoes(frame, features.enabled, limits); // all are alike
      if (!this.#cardSums) fillChecksum(frame);
      into[at + count++] = frame;
      this.#done += length;
      this.#index++;
      if (!last) continue;
      this.release();
      return count;
    }
    return count;
  }

  /** A segment as Linux's tcp_gso_segment makes them: FIN and PSH go with the last, CWR with the first, URG with all. */
  #fill(packet: PacketBuffer, frame: PacketBuffer, length: number, last: boolean): void {
    const { headerLength, checksumStart: l4 } = packet;
    const { bytes, start } = frame;
    frame.length = headerLength + length;
    frame.total = frame.length;
    frame.mss = 0;
    frame.vlan = packet.vlan;
    bytes.set(packet.bytes.subarray(packet.start, packet.start + headerLength), start);
    this.#copyPayload(bytes, start + headerLength, length);
    this.#fixIp(bytes, start + this.#l3, (packet.flags & TX_TSO4) !== 0, frame.length - this.#l3);
    const tcp = start + l4;
    put32(bytes, tcp + 4, get32(bytes, tcp + 4) + this.#done);
    if (this.#index > 0) bytes[tcp + 13]! &= ~CWR;
    if (!last) bytes[tcp + 13]! &= ~(FIN | PSH);
    put16(bytes, tcp + TCP_CHECKSUM, foldChecksum(this.#seed + frame.length - l4));
    frame.checksumStart = l4;
    frame.checksumOffset = TCP_CHECKSUM;
    frame.flags = (packet.flags & ~(TSO | TX_IP_CHECKSUM)) | TX_L4_CHECKSUM;
  }

  #fixIp(bytes: Uint8Array, at: number, ipv4: boolean, length: number): void {
    if (!ipv4) {
      put16(bytes, at + 4, length - 40);
      return;
    }
    put16(bytes, at + 2, length);
    put16(bytes, at + 4, get16(bytes, at + 4) + this.#index); // each packet its own identification (RFC 6864 §4.2)
    fillIpChecksum(bytes, at);
  }

  /** The next `length` bytes of payload. */
  #copyPayload(into: Uint8Array, at: number, length: number): void {
    while (length > 0 && this.#piece !== null) {
      const piece: PacketBuffer = this.#piece;
      const part = Math.min(length, piece.length - this.#offset);
      copyBytes(piece.bytes, piece.start + this.#offset, into, at, part);
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

function refuse(packet: PacketBuffer, why: number): number {
  packet.free();
  return why;
}

function fillChecksums(packet: PacketBuffer): void {
  if (packet.flags & TX_IP_CHECKSUM) {
    fillIpChecksum(packet.bytes, packet.start + networkHeader(packet));
    packet.flags &= ~TX_IP_CHECKSUM;
  }
  if (packet.flags & TX_L4_CHECKSUM) fillChecksum(packet);
}
