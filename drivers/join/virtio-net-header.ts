/**
 * The virtio-net header that a TAP opened with IFF_VNET_HDR puts in front of each frame (VIRTIO 1.2 §5.1.6,
 * struct virtio_net_hdr without num_buffers, little-endian):
 *
 *     0 flags  1 gso_type  2 hdr_len  4 gso_size  6 csum_start  8 csum_offset
 *
 * It lies in the headroom, right in front of the packet's data.
 */
import { Headers, PROTOCOL_TCP, PROTOCOL_UDP, parseHeaders } from '../../sim/packet.ts';
import { type PacketBuffer, RX_L4_CHECKSUM_GOOD, TX_L4_CHECKSUM, TX_TSO4, TX_TSO6, TX_UDP } from '../packet.ts';
import { fillChecksum, TCP_CHECKSUM, UDP_CHECKSUM } from './segment.ts';

export const VIRTIO_NET_HEADER = 10;

const NEEDS_CSUM = 1;
const DATA_VALID = 2;
const GSO_NONE = 0;
const GSO_TCPV4 = 1;
const GSO_TCPV6 = 4;
const GSO_ECN = 0x80; // beside a type: the first segment carries CWR

/**
 * The least `gso_size` worth believing: a TCP that obeys RFC 9293 §3.7.1 sends segments of 536 bytes and more, Linux
 * down to 48. Anything less would turn one super-frame into thousands of frames.
 */
export const LEAST_MSS = 48;

const found = new Headers();

/**
 * Turns the header in front of a frame read from the TAP into transmit requests. `hdr_len` is a hint (§5.1.6.2) and not
 * read: the frame's own headers say where the payload starts. False where header and frame do not fit together; such a
 * frame must be dropped, for there is no telling what was meant.
 */
export function readVirtioNetHeader(packet: PacketBuffer): boolean {
  const { bytes, start } = packet;
  const at = start - VIRTIO_NET_HEADER;
  if (packet.length < 14) return false;
  const needsChecksum = (bytes[at]! & NEEDS_CSUM) !== 0;
  const type = bytes[at + 1]!;
  packet.mss = 0;
  packet.headerLength = 0;
  if (type === GSO_NONE) return !needsChecksum || requestChecksum(packet, at);
  // §5.1.6.2: a driver that sets gso_type must set NEEDS_CSUM as well.
  return needsChecksum && requestSegmentation(packet, at, type & ~GSO_ECN);
}

function little16(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}

function requestChecksum(packet: PacketBuffer, at: number): boolean {
  const { bytes, start, length } = packet;
  const checksumStart = little16(bytes, at + 6);
  const checksumOffset = little16(bytes, at + 8);
  if (checksumStart < 14 || checksumStart + checksumOffset + 2 > length) return false;
  packet.checksumStart = checksumStart;
  packet.checksumOffset = checksumOffset;
  parseHeaders(bytes, start, length, found);
  if (found.l4 === checksumStart && found.protocol === PROTOCOL_TCP && checksumOffset === TCP_CHECKSUM) {
    packet.flags |= TX_L4_CHECKSUM;
  } else if (found.l4 === checksumStart && found.protocol === PROTOCOL_UDP && checksumOffset === UDP_CHECKSUM) {
    packet.flags |= TX_L4_CHECKSUM | TX_UDP;
  } else {
    fillChecksum(packet); // a sum inside a tunnel, or of another protocol: not every card can, and it is rare
  }
  return true;
}

function requestSegmentation(packet: PacketBuffer, at: number, type: number): boolean {
  const { bytes, start, length } = packet;
  const version = type === GSO_TCPV4 ? 4 : type === GSO_TCPV6 ? 6 : 0; // others were never offered to the kernel
  const mss = little16(bytes, at + 4);
  parseHeaders(bytes, start, length, found);
  if (version === 0 || found.version !== version || found.l4 === 0 || found.protocol !== PROTOCOL_TCP) return false;
  if (mss < LEAST_MSS || found.l3 + found.ipLength !== length) return false;
  if (little16(bytes, at + 6) !== found.l4 || little16(bytes, at + 8) !== TCP_CHECKSUM) return false;
  packet.checksumStart = found.l4;
  packet.checksumOffset = TCP_CHECKSUM;
  packet.flags |= TX_L4_CHECKSUM;
  if (length - found.payload <= mss) return true; // one segment: nothing to cut
  packet.flags |= version === 4 ? TX_TSO4 : TX_TSO6;
  packet.mss = mss;
  packet.headerLength = found.payload;
  return true;
}

/**
 * Writes the header of a packet for the TAP. A coalesced one (see Gro) is declared as a super-frame whose checksum field
 * holds the pseudo-header sum; Linux would drop it with DATA_VALID alone, since the sum is not that of the bytes.
 *
 * For others DATA_VALID says what the card found. Linux 6.18 takes it and sums again all the same; NEEDS_CSUM would spare
 * it that, at the price of a frame that is no longer the one that came.
 */
export function writeVirtioNetHeader(packet: PacketBuffer): void {
  const { bytes, flags } = packet;
  const at = packet.start - VIRTIO_NET_HEADER;
  if ((flags & (TX_TSO4 | TX_TSO6)) === 0) {
    bytes[at] = flags & RX_L4_CHECKSUM_GOOD ? DATA_VALID : 0;
    for (let i = 1; i < VIRTIO_NET_HEADER; i++) bytes[at + i] = 0;
    return;
  }
  bytes[at] = NEEDS_CSUM;
  bytes[at + 1] = flags & TX_TSO4 ? GSO_TCPV4 : GSO_TCPV6;
  putLittle16(bytes, at + 2, packet.headerLength);
  putLittle16(bytes, at + 4, packet.mss);
  putLittle16(bytes, at + 6, packet.checksumStart);
  putLittle16(bytes, at + 8, packet.checksumOffset);
}

function putLittle16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}
