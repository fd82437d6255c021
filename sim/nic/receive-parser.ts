/**
 * How far a receiver reads into a frame to find the sums that it checks. Where its parser stops nothing is checked, which is
 * no error: a good packet is never reported bad.
 */
import {
  ETHERNET_HEADER,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETHERTYPE_QINQ,
  ETHERTYPE_VLAN,
  get16,
  Headers,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  VLAN_TAG,
} from '../packet.ts';

/** In what chips differ. */
export interface ParserLimits {
  /** Bytes of an IPv6 extension header, at most. */
  readonly longestExtension: number;
  /** Follows IPv6 in IPv4, and leaves IPv4 in IPv4 alone; else what is in a tunnel is payload. */
  readonly tunnels: boolean;
}

export const SMALLEST_ETHERTYPE = 0x600; // below, the field is a length (IEEE 802.3 clause 3.2.6)
const SNAP = 8; // LLC AA AA 03, organization 00 00 00, EtherType (RFC 1042)
const PROTOCOL_IPV4 = 4;
const PROTOCOL_IPV6 = 41;
const HOP_BY_HOP = 0;
const ROUTING = 43;
const DESTINATION_OPTIONS = 60;
const SEGMENTS_LEFT = 3; // in a routing header (RFC 8200 §4.4)
const PAD1 = 0;
const HOME_ADDRESS = 0xc9; // an IPv6 destination option (RFC 6275 §6.3)
// IPv4 options (RFC 791 §3.1).
const OPTION_END = 0;
const OPTION_NOP = 1;
const LOOSE_SOURCE_ROUTE = 131;
const STRICT_SOURCE_ROUTE = 137;

export class ReceiveParser {
  /** The header whose addresses are in the pseudo header, and what is behind it; `l4` is 0 where that is not to be summed. */
  readonly headers = new Headers();
  /** The IPv4 header whose own sum is checked, or 0. */
  ipv4 = 0;
  readonly #limits: ParserLimits;

  constructor(limits: ParserLimits) {
    this.#limits = limits;
  }

  parse(bytes: Uint8Array, start: number, length: number): void {
    const { headers } = this;
    headers.version = 0;
    headers.l4 = 0;
    this.ipv4 = 0;
    let at = ETHERNET_HEADER - 2;
    let type = get16(bytes, start + at);
    for (let tags = 0; (type === ETHERTYPE_VLAN || type === ETHERTYPE_QINQ) && tags < 2 && at + 6 <= length; tags++) {
      at += VLAN_TAG;
      type = get16(bytes, start + at);
    }
    if (type < SMALLEST_ETHERTYPE && isSnap(bytes, start + at + 2, length - at - 2)) {
      at += SNAP;
      type = get16(bytes, start + at);
    }
    if (type === ETHERTYPE_IPV4) this.#parseIpv4(bytes, start, length, at + 2);
    else if (type === ETHERTYPE_IPV6) this.#parseIpv6(bytes, start, length, at + 2);
  }

  #parseIpv4(bytes: Uint8Array, start: number, end: number, l3: number): void {
    const { headers } = this;
    if (l3 + 20 > end) return;
    const first = bytes[start + l3]!;
    const headerLength = (first & 15) * 4;
    if (first >>> 4 !== 4 || headerLength < 20 || l3 + headerLength > end) return;
    const protocol = bytes[start + l3 + 9]!;
    if (protocol === PROTOCOL_IPV4 && this.#limits.tunnels) return;
    const total = get16(bytes, start + l3 + 2);
    headers.l3 = l3;
    headers.version = 4;
    this.ipv4 = l3;
    if ((get16(bytes, start + l3 + 6) & 0x3fff) !== 0 || total < headerLength) return; // a fragment
    const packetEnd = Math.min(l3 + total, end);
    if (protocol === PROTOCOL_IPV6 && this.#limits.tunnels) {
      this.#parseIpv6(bytes, start, packetEnd, l3 + headerLength);
    } else if (!isSourceRouted(bytes, start + l3 + 20, start + l3 + headerLength)) {
      this.#parseTransport(bytes, start, packetEnd, l3 + headerLength, protocol);
    }
  }

  #parseIpv6(bytes: Uint8Array, start: number, end: number, l3: number): void {
    const { headers } = this;
    if (l3 + 40 > end || bytes[start + l3]! >>> 4 !== 6) return;
    headers.l3 = l3;
    headers.version = 6;
    const packetEnd = Math.min(l3 + 40 + get16(bytes, start + l3 + 4), end);
    let next = bytes[start + l3 + 6]!;
    let at = l3 + 40;
    while (next === HOP_BY_HOP || next === ROUTING || next === DESTINATION_OPTIONS) {
      if (at + 8 > packetEnd) return;
      const size = (bytes[start + at + 1]! + 1) * 8;
      if (size > this.#limits.longestExtension || at + size > packetEnd) return;
      if (next === ROUTING && bytes[start + at + SEGMENTS_LEFT] !== 0) return; // the sum is of the last destination
      if (next === DESTINATION_OPTIONS && hasHomeAddress(bytes, start + at + 2, start + at + size)) return;
      next = bytes[start + at]!;
      at += size;
    }
    this.#parseTransport(bytes, start, packetEnd, at, next);
  }

  #parseTransport(bytes: Uint8Array, start: number, end: number, l4: number, protocol: number): void {
    const { headers } = this;
    headers.protocol = protocol;
    headers.ipLength = end - headers.l3;
    if (protocol === PROTOCOL_TCP && l4 + 20 <= end) {
      const headerLength = (bytes[start + l4 + 12]! >>> 4) * 4;
      if (headerLength >= 20 && l4 + headerLength <= end) headers.l4 = l4;
    } else if (protocol === PROTOCOL_UDP && l4 + 8 <= end) {
      const length = get16(bytes, start + l4 + 4);
      if (length < 8 || l4 + length > end) return;
      headers.l4 = l4;
      headers.ipLength = l4 + length - headers.l3; // what is behind it belongs to no datagram (RFC 768)
    }
  }
}

function isSnap(bytes: Uint8Array, at: number, left: number): boolean {
  return left >= SNAP && get16(bytes, at) === 0xaaaa && get16(bytes, at + 2) === 0x0300 && get16(bytes, at + 4) === 0;
}

/** A source route that goes on: the destination summed is the route's last (RFC 1122 §4.2.3.8). */
function isSourceRouted(bytes: Uint8Array, at: number, end: number): boolean {
  while (at < end && bytes[at] !== OPTION_END) {
    const type = bytes[at]!;
    const length = type === OPTION_NOP ? 1 : at + 2 < end ? Math.max(bytes[at + 1]!, 2) : end - at;
    const isRoute = type === LOOSE_SOURCE_ROUTE || type === STRICT_SOURCE_ROUTE;
    if (isRoute && length >= 3 && bytes[at + 2]! <= length) return true; // the pointer counts from 1
    at += length;
  }
  return false;
}

/** The address that is summed as the source is then the option's (RFC 6275 §11.3.1). */
function hasHomeAddress(bytes: Uint8Array, at: number, end: number): boolean {
  while (at < end) {
    const type = bytes[at]!;
    if (type === HOME_ADDRESS) return true;
    at += type === PAD1 || at + 1 === end ? 1 : 2 + bytes[at + 1]!;
  }
  return false;
}
