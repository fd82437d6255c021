/** The wire between the card under test and its peer, as somebody sees it who looks at every frame. */
import {
  addToChecksum,
  ETHERTYPE_MAC_CONTROL,
  foldChecksum,
  Headers,
  parseHeaders,
  pseudoHeaderSum,
  subtractFromChecksum,
} from '../../sim/packet.ts';
import { type Tap, tapPort } from '../../sim/wire/capture.ts';
import type { HostPort } from '../../sim/wire/host-port.ts';
import { OUTBOUND } from '../../sim/wire/pcapng.ts';
import type { Port } from '../../sim/wire/port.ts';

/** What went one way. Lengths are without FCS. */
export class Direction {
  frames = 0;
  bytes = 0;
  broadcasts = 0;
  multicasts = 0;
  vlanTagged = 0;
  longest = 0;
  /** TCP segments, and those among them whose IP or TCP checksum is wrong. */
  segments = 0;
  badChecksums = 0;
}

/** An EtherType for experiments (IEEE 802 local experimental EtherType 1): no stack answers it. */
const EXPERIMENT = 0x88b5;
const TCP = 6;
const LOOSE_SOURCE_ROUTE = 131;
const STRICT_SOURCE_ROUTE = 137;
const IPV6_ROUTING = 43;
const SEGMENT_ROUTING = 4;

export class Wire {
  /** Since the last `clear`: what the card sent, and what was sent to it. PAUSE frames are no traffic and do not count. */
  fromCard = new Direction();
  toCard = new Direction();
  readonly #peer: HostPort;
  readonly #pump: () => void;
  readonly #tap: Tap;
  readonly #headers = new Headers();

  /**
   * @param card the port of the card under test.
   * @param peer the peer's end.
   * @param pump moves the wire's time to now.
   */
  constructor(card: Port, peer: HostPort, pump: () => void) {
    this.#peer = peer;
    this.#pump = pump;
    this.#tap = tapPort(card, (direction, bytes, start, length) => {
      this.#look(direction === OUTBOUND ? this.fromCard : this.toCard, bytes, start, length);
    });
  }

  clear(): void {
    this.fromCard = new Direction();
    this.toCard = new Direction();
  }

  /** A frame to `to` that the card may or may not take; no stack answers it. */
  inject(to: Uint8Array, { vlan = 0 } = {}): void {
    const frame = new Uint8Array(64);
    frame.set(to);
    frame.set([2, 0, 0, 0, 0xbe, 0xef], 6);
    const type = vlan === 0 ? [EXPERIMENT >> 8, EXPERIMENT & 0xff] : [0x81, 0, vlan >> 8, vlan & 0xff, 0x88, 0xb5];
    frame.set(type, 12);
    this.#pump();
    this.#peer.send(frame);
  }

  /** A PAUSE frame that stops the card for so many times 512 bits (802.3 Annex 31B). */
  injectPause(quanta: number): void {
    const frame = new Uint8Array(60);
    frame.set([0x01, 0x80, 0xc2, 0, 0, 1, 2, 0, 0, 0, 0xbe, 0xef, 0x88, 0x08, 0, 1, quanta >> 8, quanta & 0xff]);
    this.#pump();
    this.#peer.send(frame);
  }

  remove(): void {
    this.#tap.remove();
  }

  #look(seen: Direction, bytes: Uint8Array, start: number, length: number): void {
    const type = (bytes[start + 12]! << 8) | bytes[start + 13]!;
    if (type === ETHERTYPE_MAC_CONTROL) return;
    seen.frames++;
    seen.bytes += length;
    if (length > seen.longest) seen.longest = length;
    if (type === 0x8100) seen.vlanTagged++;
    if ((bytes[start]! & 1) !== 0) {
      if (isBroadcast(bytes, start)) seen.broadcasts++;
      else seen.multicasts++;
    }
    this.#sum(seen, bytes, start, length);
  }

  /** An independent look at the checksums: the frame as it is, not as somebody says it is. */
  #sum(seen: Direction, bytes: Uint8Array, start: number, length: number): void {
    const headers = this.#headers;
    parseHeaders(bytes, start, length, headers);
    if (headers.protocol !== TCP || headers.fragment) return;
    seen.segments++;
    const segment = headers.ipLength - (headers.l4 - headers.l3);
    const sum = addToChecksum(bytes, start + headers.l4, segment, pseudoSum(bytes, start, headers, segment));
    const header = headers.version === 4 ? addToChecksum(bytes, start + headers.l3, headers.l4 - headers.l3) : 0xffff;
    if (foldChecksum(sum) !== 0xffff || foldChecksum(header) !== 0xffff) seen.badChecksums++;
  }
}

/** The pseudo header's sum: it has the final destination (RFC 8200 §8.1, RFC 1122 §4.2.3.8). */
function pseudoSum(bytes: Uint8Array, start: number, headers: Headers, length: number): number {
  const sum = pseudoHeaderSum(bytes, start, headers, length);
  const ipv4 = headers.version === 4;
  const final = (ipv4 ? finalOf4 : finalOf6)(bytes, start + headers.l3, start + headers.l4);
  if (final === 0) return sum;
  const size = ipv4 ? 4 : 16;
  const near = addToChecksum(bytes, start + headers.l3 + (ipv4 ? 16 : 24), size);
  return subtractFromChecksum(foldChecksum(sum + addToChecksum(bytes, final, size)), near);
}

/** Where the last address of a source route is that is not used up (RFC 791 §3.1); 0 where there is none. */
function finalOf4(bytes: Uint8Array, ip: number, end: number): number {
  for (let at = ip + 20; at + 2 < end; ) {
    const type = bytes[at]!;
    if (type === 0) return 0;
    const length = type === 1 ? 1 : Math.max(2, bytes[at + 1]!);
    if (type === LOOSE_SOURCE_ROUTE || type === STRICT_SOURCE_ROUTE)
      return bytes[at + 2]! < length && at + length <= end ? at + length - 4 : 0;
    at += length;
  }
  return 0;
}

/** Where the last address of a routing header with segments left is: first in the list of RFC 8754 §2, last in others. */
function finalOf6(bytes: Uint8Array, ip: number, end: number): number {
  let next = bytes[ip + 6]!;
  for (let at = ip + 40; at < end; ) {
    const size = (bytes[at + 1]! + 1) * 8;
    if (next === IPV6_ROUTING && bytes[at + 3]! > 0) return bytes[at + 2] === SEGMENT_ROUTING ? at + 8 : at + size - 16;
    next = bytes[at]!;
    at += size;
  }
  return 0;
}

function isBroadcast(bytes: Uint8Array, start: number): boolean {
  for (let i = 0; i < 6; i++) if (bytes[start + i] !== 0xff) return false;
  return true;
}
