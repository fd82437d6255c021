/**
 * Just enough of Ethernet, IP, TCP and UDP for a card's offloads and for the hosts on either side of it.
 *
 * Frames are (bytes, start, length) without FCS. Nothing here allocates; a parse goes into a `Headers` the caller keeps.
 */

import { foldChecksum, swap16 } from './kernels/fold.ts';
import { littleSum } from './kernels/index.ts';

export { foldChecksum, foldWords, swap16 } from './kernels/fold.ts';

export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_VLAN = 0x8100;
export const ETHERTYPE_QINQ = 0x88a8;
export const ETHERTYPE_IPV6 = 0x86dd;
/** MAC Control (IEEE 802.3 clause 31): PAUSE (annex 31B) is all there is of it here. */
export const ETHERTYPE_MAC_CONTROL = 0x8808;
export const PROTOCOL_ICMP = 1;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;

/** Header lengths, bytes. */
export const ETHERNET_HEADER = 14;
export const VLAN_TAG = 4;
/** Both addresses: a tag goes behind them. */
export const MACS = 12;
/** The frame check sequence behind every frame. */
export const FCS = 4;
/** The shortest frame, without FCS (IEEE 802.3 clause 4.2.3.3). */
export const MIN_FRAME = 60;

export function get16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

export function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function get32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

export function put32(bytes: Uint8Array, at: number, value: number): void {
  put16(bytes, at, value >>> 16);
  put16(bytes, at + 2, value);
}

export function isBroadcast(bytes: Uint8Array, start: number): boolean {
  for (let i = 0; i < 6; i++) if (bytes[start + i] !== 0xff) return false;
  return true;
}

/**
 * The ones' complement sum (RFC 1071) of bytes as 16-bit big-endian words, folded; an odd last byte is padded with zero.
 * @param length at most 64 KiB.
 * @param sum what was summed before; over an even number of bytes.
 */
export function addToChecksum(bytes: Uint8Array, start: number, length: number, sum = 0): number {
  return sum + swap16(littleSum(bytes, start, length));
}

function addBytes(bytes: Uint8Array, start: number, length: number, sum: number): number {
  const even = start + (length & ~1);
  for (let at = start; at < even; at += 2) sum += (bytes[at]! << 8) | bytes[at + 1]!;
  return length & 1 ? sum + (bytes[even]! << 8) : sum;
}

/** A folded sum without a part of it, itself below 2^32 (RFC 1624 §3). */
export function subtractFromChecksum(sum: number, part: number): number {
  return foldChecksum(sum + 0xffff - foldChecksum(part));
}

/** Where a frame's headers are. Offsets are from the frame's start; 0 where there is no such header. */
export class Headers {
  /** The EtherType behind any VLAN tags (at most two are skipped). */
  etherType = 0;
  /** The network header: IPv4 or IPv6. */
  l3 = 0;
  version: 0 | 4 | 6 = 0;
  /** Bytes of the IP packet, headers included, as the IP header says; never past the frame's end. */
  ipLength = 0;
  /** The transport protocol behind all IPv6 extension headers. */
  protocol = 0;
  /** The transport header; 0 in fragments, where it cannot be summed. */
  l4 = 0;
  /** TCP or UDP: where the payload starts. */
  payload = 0;
  fragment = false;
}

const IPV6_HOP_BY_HOP = 0;
const IPV6_ROUTING = 43;
const IPV6_FRAGMENT = 44;
const IPV6_DESTINATION = 60;
const MAX_EXTENSIONS = 8; // more than any sane packet has; hostile ones stop here

/** Finds the headers. What is malformed or cut short is simply not found. */
export function parseHeaders(bytes: Uint8Array, start: number, length: number, into: Headers): void {
  into.l3 = 0;
  into.version = 0;
  into.ipLength = 0;
  into.protocol = 0;
  into.l4 = 0;
  into.payload = 0;
  into.fragment = false;
  into.etherType = 0;
  if (length < ETHERNET_HEADER) return;
  let at = 12;
  let type = get16(bytes, start + at);
  for (let tags = 0; (type === ETHERTYPE_VLAN || type === ETHERTYPE_QINQ) && tags < 2 && at + 6 <= length; tags++) {
    at += VLAN_TAG;
    type = get16(bytes, start + at);
  }
  into.etherType = type;
  if (type === ETHERTYPE_IPV4) parseIpv4(bytes, start, length, at + 2, into);
  else if (type === ETHERTYPE_IPV6) parseIpv6(bytes, start, length, at + 2, into);
}

function parseIpv4(bytes: Uint8Array, start: number, length: number, l3: number, into: Headers): void {
  if (l3 + 20 > length) return;
  const first = bytes[start + l3]!;
  const headerLength = (first & 15) * 4;
  const total = get16(bytes, start + l3 + 2);
  if (first >>> 4 !== 4 || headerLength < 20 || l3 + headerLength > length) return;
  into.l3 = l3;
  into.version = 4;
  // A TSO super-frame says 0 here, as the card wants it; then the frame's own length rules.
  into.ipLength = total === 0 ? length - l3 : Math.min(total, length - l3);
  into.protocol = bytes[start + l3 + 9]!;
  into.fragment = (get16(bytes, start + l3 + 6) & 0x3fff) !== 0;
  if (!into.fragment && total !== 0 && total < headerLength) return;
  if (!into.fragment) parseTransport(bytes, start, l3 + headerLength, l3 + into.ipLength, into);
}

function parseIpv6(bytes: Uint8Array, start: number, length: number, l3: number, into: Headers): void {
  if (l3 + 40 > length || bytes[start + l3]! >>> 4 !== 6) return;
  into.l3 = l3;
  into.version = 6;
  const payload = get16(bytes, start + l3 + 4);
  into.ipLength = payload === 0 ? length - l3 : Math.min(payload + 40, length - l3);
  const end = l3 + into.ipLength;
  let next = bytes[start + l3 + 6]!;
  let at = l3 + 40;
  for (let i = 0; isExtension(next); i++) {
    if (i === MAX_EXTENSIONS || at + 8 > end) return;
    if (next === IPV6_FRAGMENT) into.fragment = true;
    const size = next === IPV6_FRAGMENT ? 8 : (bytes[start + at + 1]! + 1) * 8;
    next = bytes[start + at]!;
    at += size;
  }
  into.protocol = next;
  if (!into.fragment) parseTransport(bytes, start, at, end, into);
}

function isExtension(next: number): boolean {
  return next === IPV6_HOP_BY_HOP || next === IPV6_ROUTING || next === IPV6_FRAGMENT || next === IPV6_DESTINATION;
}

function parseTransport(bytes: Uint8Array, start: number, l4: number, end: number, into: Headers): void {
  if (into.protocol === PROTOCOL_TCP && l4 + 20 <= end) {
    const headerLength = (bytes[start + l4 + 12]! >>> 4) * 4;
    if (headerLength < 20 || l4 + headerLength > end) return;
    into.l4 = l4;
    into.payload = l4 + headerLength;
  } else if (into.protocol === PROTOCOL_UDP && l4 + 8 <= end) {
    into.l4 = l4;
    into.payload = l4 + 8;
  }
}

/**
 * The sum of the pseudo header (RFC 793 §3.1, RFC 8200 §8.1): addresses, protocol and `transportLength` bytes, unfolded.
 * A TSO header wants it with length 0, because the card adds each segment's own.
 */
export function pseudoHeaderSum(bytes: Uint8Array, start: number, headers: Headers, transportLength: number): number {
  const at = start + headers.l3;
  const sum = headers.version === 4 ? addBytes(bytes, at + 12, 8, 0) : addBytes(bytes, at + 8, 32, 0);
  return sum + headers.protocol + (transportLength >>> 16) + (transportLength & 0xffff);
}
