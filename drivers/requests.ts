/** What a caller may ask of a transmitter, checked before the card is: alike for every card. */
import {
  ETHERNET_HEADER,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETHERTYPE_QINQ,
  ETHERTYPE_VLAN,
  get16,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  VLAN_TAG,
} from '../sim/packet.ts';
import { FEATURE_TSO4, FEATURE_TSO6, FEATURE_TX_CHECKSUM, FEATURE_VLAN_INSERT, type TransmitLimits } from './netdev.ts';
import { type PacketBuffer, TX_IP_CHECKSUM, TX_L4_CHECKSUM, TX_TSO4, TX_TSO6, TX_VLAN } from './packet.ts';

export const TSO = TX_TSO4 | TX_TSO6;
export const OFFLOADS = TX_L4_CHECKSUM | TX_IP_CHECKSUM | TSO | TX_VLAN;
export const SHORTEST = ETHERNET_HEADER;
export const ETHERNET_AND_TAG = ETHERNET_HEADER + VLAN_TAG;
/** Where the checksum is, in the transport header (RFC 9293 §3.1, RFC 768). */
export const TCP_CHECKSUM = 16;
export const UDP_CHECKSUM = 6;

const TCP_HEADER = 20;
const TCP_FLAGS = 13;
const CWR = 0x80;
const IPV4_HEADER = 20;
const IPV6_HEADER = 40;
const IPV6_FRAGMENT = 44;
const IPV6_AUTHENTICATION = 51;
const ETHERTYPE_OLD_QINQ = 0x9100; // a service tag before 802.1ad
/** The longest packet to be segmented, without what is in front of IP. */
const LONGEST_IP = IPV6_HEADER + 0xffff;
/** Segmentation: bytes a descriptor may hold, however small the segments are. */
const LEAST_DATA = 255;

/** Whether the card itself does all that the packet asks for, which must be well-formed: its features and limits allow it. */
export function cardDoes(packet: PacketBuffer, features: number, limits: TransmitLimits): boolean {
  const { flags } = packet;
  if ((flags & OFFLOADS) === 0) return true;
  if (!offers(features, flags)) return false;
  if ((flags & TSO) !== 0) return cardSegments(packet, limits);
  return (flags & (TX_L4_CHECKSUM | TX_IP_CHECKSUM)) === 0 || cardSums(packet, limits);
}

function offers(features: number, flags: number): boolean {
  if ((flags & (TSO | TX_L4_CHECKSUM | TX_IP_CHECKSUM)) !== 0 && (features & FEATURE_TX_CHECKSUM) === 0) return false;
  if ((flags & TX_TSO4) !== 0 && (features & FEATURE_TSO4) === 0) return false;
  if ((flags & TX_TSO6) !== 0 && (features & FEATURE_TSO6) === 0) return false;
  return (flags & TX_VLAN) === 0 || (features & FEATURE_VLAN_INSERT) !== 0;
}

function cardSegments(packet: PacketBuffer, limits: TransmitLimits): boolean {
  const { flags, bytes, start, headerLength, checksumStart: l4, mss } = packet;
  if (headerLength > limits.headerBytes || mss < limits.leastMss || mss > limits.mostMss) return false;
  // CWR belongs in the first segment alone (RFC 3168 §6.1.2), and older cards repeat it in each.
  if ((bytes[start + l4 + TCP_FLAGS]! & CWR) !== 0) return false;
  const l3 = networkHeader(packet);
  const plain = l4 - l3 === ((flags & TX_TSO4) !== 0 ? IPV4_HEADER : IPV6_HEADER);
  if (!plain && !limits.ipOptions) return false;
  if (limits.findsTransport && !seesPastTags(packet, l3)) return false;
  if (limits.findsTransport && l3 !== ETHERNET_HEADER && (flags & TX_VLAN) !== 0) return false; // it inserts one tag
  const total = packet.next === null ? packet.length : packet.total;
  return total > headerLength && countPieces(packet, tsoData(limits, mss)) <= limits.descriptors;
}

/** Bytes that a descriptor of a packet to be segmented holds at most. */
export function tsoData({ descriptorBytes, descriptorSegments }: TransmitLimits, mss: number): number {
  return Math.min(descriptorBytes, Math.max(descriptorSegments * mss, LEAST_DATA));
}

function cardSums(packet: PacketBuffer, limits: TransmitLimits): boolean {
  const { flags, checksumStart, checksumOffset } = packet;
  const l3 = networkHeader(packet);
  if ((flags & TX_IP_CHECKSUM) !== 0 && l3 + 10 > limits.checksumAt) return false;
  if ((flags & TX_L4_CHECKSUM) !== 0 && checksumStart + checksumOffset > limits.checksumAt) return false;
  if (!limits.findsTransport) return true;
  return seesPastTags(packet, l3) && ((flags & TX_L4_CHECKSUM) === 0 || findsTransport(packet, l3, limits));
}

/** Whether a card that looks for TCP and UDP itself finds what is to be summed, and its end. */
function findsTransport(packet: PacketBuffer, l3: number, { ipv6 }: TransmitLimits): boolean {
  const { bytes, start, length, checksumStart, checksumOffset } = packet;
  const ip = start + l3;
  if (l3 + IPV4_HEADER > length) return false;
  const version = versionOf(packet, l3);
  if (version === 0 || (version === 6 && !ipv6)) return false;
  if (version === 4 && (get16(bytes, ip + 6) & 0x3fff) !== 0) return false; // a fragment
  const header = version === 4 ? (bytes[ip]! & 15) * 4 : IPV6_HEADER;
  const end = l3 + (version === 4 ? get16(bytes, ip + 2) : IPV6_HEADER + get16(bytes, ip + 4));
  if (l3 + header !== checksumStart || end !== (packet.next === null ? length : packet.total)) return false;
  const protocol = bytes[ip + (version === 4 ? 9 : 6)]!;
  if (protocol === PROTOCOL_TCP) return checksumOffset === TCP_CHECKSUM;
  return protocol === PROTOCOL_UDP && checksumOffset === UDP_CHECKSUM;
}

/** Where the network header is: behind the EtherType that any number of VLAN tags is in front of. */
export function networkHeader({ bytes, start, length }: PacketBuffer): number {
  let at = ETHERNET_HEADER;
  while (at + VLAN_TAG <= length && isTag(get16(bytes, start + at - 2))) at += VLAN_TAG;
  return at;
}

function isTag(type: number): boolean {
  return type === ETHERTYPE_VLAN || type === ETHERTYPE_QINQ || type === ETHERTYPE_OLD_QINQ;
}

/** Whether a card that looks for headers itself finds IP: one 802.1Q tag is in front of it at most. */
function seesPastTags({ bytes, start }: PacketBuffer, l3: number): boolean {
  if (l3 === ETHERNET_HEADER) return true;
  return l3 === ETHERNET_AND_TAG && get16(bytes, start + ETHERNET_HEADER - 2) === ETHERTYPE_VLAN;
}

/** The IP version that EtherType and header agree on; 0 where they do not. */
function versionOf({ bytes, start }: PacketBuffer, l3: number): 0 | 4 | 6 {
  const type = get16(bytes, start + l3 - 2);
  const version = bytes[start + l3]! >>> 4;
  if (version === 4 && type === ETHERTYPE_IPV4) return 4;
  return version === 6 && type === ETHERTYPE_IPV6 ? 6 : 0;
}

/** Whether the request and the packet bear each other out: what does not, nobody can do. */
export function wellFormed(packet: PacketBuffer): boolean {
  const { flags, length, checksumStart, checksumOffset } = packet;
  if ((packet.next === null ? length : packet.total) < SHORTEST) return false;
  if ((flags & (TSO | TX_L4_CHECKSUM)) !== 0) {
    if (checksumStart < SHORTEST || checksumStart + checksumOffset + 2 > length) return false;
  }
  if ((flags & TSO) !== 0) return segmentable(packet);
  return (flags & TX_IP_CHECKSUM) === 0 || hasIpv4Header(packet, networkHeader(packet));
}

/** TCP behind IPv4 or IPv6, all headers in the first piece. */
function segmentable(packet: PacketBuffer): boolean {
  const { flags, bytes, start, length, headerLength, mss, checksumStart: l4, checksumOffset } = packet;
  const total = packet.next === null ? length : packet.total;
  if (mss < 1 || checksumOffset !== TCP_CHECKSUM || l4 + TCP_HEADER > length) return false;
  if (headerLength > length || headerLength > total || headerLength < l4 + TCP_HEADER) return false;
  if (l4 + (bytes[start + l4 + 12]! >>> 4) * 4 !== headerLength) return false;
  const l3 = networkHeader(packet);
  if (total - l3 > LONGEST_IP) return false;
  return (flags & TX_TSO4) !== 0 ? isTcp4(packet, l3, l4) : isTcp6(packet, l3, l4);
}

function hasIpv4Header(packet: PacketBuffer, l3: number): boolean {
  const { bytes, start, length } = packet;
  if (l3 + IPV4_HEADER > length || versionOf(packet, l3) !== 4) return false;
  const header = (bytes[start + l3]! & 15) * 4;
  return header >= IPV4_HEADER && l3 + header <= length;
}

function isTcp4(packet: PacketBuffer, l3: number, l4: number): boolean {
  const { bytes, start } = packet;
  if (!hasIpv4Header(packet, l3) || l3 + (bytes[start + l3]! & 15) * 4 !== l4) return false;
  return bytes[start + l3 + 9]! === PROTOCOL_TCP;
}

/** Extension headers of any number and kind, but no fragment: RFC 8200 §4, RFC 6564 §4, RFC 4302 §2.2. */
function isTcp6(packet: PacketBuffer, l3: number, l4: number): boolean {
  const { bytes, start } = packet;
  if (l3 + IPV6_HEADER > l4 || versionOf(packet, l3) !== 6) return false;
  let next = bytes[start + l3 + 6]!;
  let at = l3 + IPV6_HEADER;
  while (at < l4 && next !== IPV6_FRAGMENT && next !== PROTOCOL_TCP) {
    const size = bytes[start + at + 1]!;
    const length = next === IPV6_AUTHENTICATION ? (size + 2) * 4 : (size + 1) * 8;
    next = bytes[start + at]!;
    at += length;
  }
  return at === l4 && next === PROTOCOL_TCP;
}

/** Whether a well-formed packet makes a frame longer than the card sends, or the MTU allows. */
export function tooLong(packet: PacketBuffer, mtu: number, { frame }: TransmitLimits): boolean {
  const { flags, headerLength, mss } = packet;
  const total = packet.next === null ? packet.length : packet.total;
  const longest = (flags & TSO) === 0 ? total : Math.min(total, headerLength + mss);
  if (longest > frame) return true;
  return longest > mtu + ETHERNET_AND_TAG && longest > mtu + networkHeader(packet); // the MTU does not count tags
}

/** Whether a transmitter takes the packet. What it refuses, its caller should have known. */
export function acceptable(packet: PacketBuffer, features: number, mtu: number, limits: TransmitLimits): boolean {
  return wellFormed(packet) && !tooLong(packet, mtu, limits) && cardDoes(packet, features, limits);
}

/** Descriptors for the data, of `limit` bytes at most each; Infinity for a chain that does not add up. */
export function countPieces(packet: PacketBuffer, limit: number): number {
  let count = 0;
  let bytes = 0;
  for (let piece: PacketBuffer | null = packet; piece !== null; piece = piece.next) {
    count += Math.ceil(piece.length / limit);
    bytes += piece.length;
  }
  const whole = packet.next === null || bytes === packet.total;
  return whole && count > 0 ? count : Infinity;
}
