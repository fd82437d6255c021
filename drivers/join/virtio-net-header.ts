/**
 * The virtio-net header that a TAP opened with IFF_VNET_HDR puts in front of each frame (VIRTIO 1.2 §5.1.6,
 * struct virtio_net_hdr without num_buffers, little-endian):
 *
 *     0 flags  1 gso_type  2 hdr_len  4 gso_size  6 csum_start  8 csum_offset
 *
 * It lies in the headroom, right in front of the packet's data.
 */
import { get16 } from '../../sim/packet.ts';
import { type PacketBuffer, RX_L4_CHECKSUM_GOOD, TX_L4_CHECKSUM, TX_TSO4, TX_TSO6, TX_UDP } from '../packet.ts';
import { networkHeader, UDP_CHECKSUM, wellFormed } from '../requests.ts';

export const VIRTIO_NET_HEADER = 10;

const NEEDS_CSUM = 1;
const DATA_VALID = 2;
const GSO_NONE = 0;
const GSO_TCPV4 = 1;
const GSO_TCPV6 = 4;
const GSO_ECN = 0x80; // beside a type: the first segment carries CWR

/**
 * Turns the header in front of a frame read from the TAP into transmit requests. `hdr_len` is a hint (§5.1.6.2) and not
 * read: the frame's own headers say where the payload starts. False where header and frame contradict each other; such a
 * frame must be dropped, for there is no telling what was meant.
 */
export function readVirtioNetHeader(packet: PacketBuffer): boolean {
  const { bytes, start } = packet;
  const at = start - VIRTIO_NET_HEADER;
  packet.mss = 0;
  packet.headerLength = 0;
  const type = bytes[at + 1]!;
  // §5.1.6.2: a driver that sets gso_type must set NEEDS_CSUM as well.
  if ((bytes[at]! & NEEDS_CSUM) === 0) return type === GSO_NONE && wellFormed(packet);
  packet.checksumStart = little16(bytes, at + 6);
  packet.checksumOffset = little16(bytes, at + 8);
  packet.flags |= packet.checksumOffset === UDP_CHECKSUM ? TX_L4_CHECKSUM | TX_UDP : TX_L4_CHECKSUM;
  return type === GSO_NONE ? wellFormed(packet) : requestSegmentation(packet, type & ~GSO_ECN, little16(bytes, at + 4));
}

function little16(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}

function requestSegmentation(packet: PacketBuffer, type: number, mss: number): boolean {
  const { bytes, start, length, checksumStart } = packet;
  if (type !== GSO_TCPV4 && type !== GSO_TCPV6) return false; // others were never offered to the kernel
  if (checksumStart + 20 > length) return false;
  packet.mss = mss;
  packet.headerLength = checksumStart + (bytes[start + checksumStart + 12]! >>> 4) * 4;
  packet.flags |= type === GSO_TCPV4 ? TX_TSO4 : TX_TSO6;
  if (!wellFormed(packet) || !lengthAgrees(packet)) return false;
  if (length - packet.headerLength > mss) return true;
  packet.flags &= ~(TX_TSO4 | TX_TSO6); // one segment: nothing to cut
  packet.mss = 0;
  packet.headerLength = 0;
  return true;
}

/** Whether the IP header has the length of the whole, or 0, as some have it of what is to be cut. */
function lengthAgrees(packet: PacketBuffer): boolean {
  const l3 = networkHeader(packet);
  const ip = packet.start + l3;
  const ipv4 = (packet.flags & TX_TSO4) !== 0;
  const said = get16(packet.bytes, ip + (ipv4 ? 2 : 4));
  return said === 0 || said === packet.length - l3 - (ipv4 ? 0 : 40);
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
