/**
 * Answers frames: ARP requests, IPv6 neighbour solicitations and pings as a host would; any other unicast IP datagram but
 * TCP goes back where it came from, with addresses (and UDP ports) swapped. A card with this behind it can be pinged and
 * measured with nothing else running.
 *
 * Answers are made in the buffer the question came in; those to a fragmented datagram, once it is whole, in its fragments.
 */
import {
  addToChecksum,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  foldChecksum,
  get16,
  Headers,
  PROTOCOL_ICMP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  parseHeaders,
  pseudoHeaderSum,
  put16,
} from '../../sim/packet.ts';
import { FEATURE_VLAN_INSERT, type NetDevice } from '../netdev.ts';
import { type PacketBuffer, RX_ERROR, RX_L4_CHECKSUM_BAD, RX_VLAN, TX_VLAN } from '../packet.ts';
import { FRAGMENT_HEADER, Fragments } from './fragments.ts';
import { insertVlan } from './vlan.ts';
import { WorkLoop } from './work-loop.ts';

const ICMP6 = 58;
const ECHO_REQUEST = 8; // RFC 792
const ECHO6_REQUEST = 128; // RFC 4443 §4.1
const ECHO6_REPLY = 129;
const NEIGHBOUR_SOLICITATION = 135; // RFC 4861 §4.3
const NEIGHBOUR_ADVERTISEMENT = 136;
const TARGET_LINK_ADDRESS = 2; // RFC 4861 §4.6.1
const SOLICITED_OVERRIDE = 0x60; // RFC 4861 §4.4

const headers = new Headers();

export interface EchoOptions {
  /** Addresses to answer for, of 4 or 16 bytes each; any, if absent. */
  readonly addresses?: readonly Uint8Array[];
  readonly batch?: number;
  /** Nanoseconds, monotonic, for how long fragments are waited for; the machine's, if absent. */
  readonly now?: () => number;
  readonly failed?: (error: unknown) => void;
}

export class Echo {
  /** Frames. What became of fragments is told by `fragments`. */
  readonly statistics = { received: 0, answered: 0, ignored: 0 };
  readonly fragments = new Fragments();
  readonly #device: NetDevice;
  readonly #addresses: readonly Uint8Array[] | null;
  readonly #batch: number;
  readonly #now: () => number;
  readonly #loop: WorkLoop;
  readonly #received: PacketBuffer[] = [];
  readonly #answers: PacketBuffer[] = [];
  #first = 0;
  #count = 0;

  constructor(device: NetDevice, { addresses, batch = 64, now, failed }: EchoOptions = {}) {
    this.#device = device;
    this.#now = now ?? (() => performance.now() * 1e6);
    this.#addresses = addresses ?? null;
    this.#batch = batch;
    this.#loop = new WorkLoop({
      devices: [device],
      round: () => this.#round(),
      failed: (error) => {
        this.close();
        if (failed === undefined) throw error;
        failed(error);
      },
    });
  }

  start(): void {
    this.#loop.expect(this.#device.setAllMulticast(true)); // neighbour solicitations come to multicast addresses
    this.#loop.wake();
  }

  /** Idempotent. */
  close(): void {
    this.#loop.stop();
    for (; this.#count > 0; this.#count--) this.#answers[this.#first++]!.free();
    this.fragments.close();
  }

  #round(): boolean {
    const held = this.#count;
    this.#send();
    if (this.#count > 0) return this.#count < held; // a full ring: no more questions for now
    const received = this.#device.receive(this.#received, this.#batch);
    this.#first = 0;
    for (let i = 0; i < received; i++) this.#take(this.#received[i]!);
    this.#send();
    return received > 0 || held > 0;
  }

  #send(): void {
    if (this.#count === 0) return;
    const taken = this.#device.transmit(this.#answers, this.#first, this.#count);
    this.#first += taken;
    this.#count -= taken;
  }

  #take(packet: PacketBuffer): void {
    this.statistics.received++;
    const damaged = packet.next !== null || (packet.flags & (RX_ERROR | RX_L4_CHECKSUM_BAD)) !== 0;
    if (!damaged && this.answer(packet)) this.#queue(packet);
    else if (!damaged && headers.fragment && this.#mayAnswer(packet)) this.#reassemble(packet);
    else this.#ignore(packet);
  }

  #ignore(packet: PacketBuffer): void {
    this.statistics.ignored++;
    packet.free();
  }

  #queue(packet: PacketBuffer): void {
    this.statistics.answered++;
    const tagged = (packet.flags & RX_VLAN) !== 0;
    packet.flags = tagged ? TX_VLAN : 0;
    if (tagged && (this.#device.features.enabled & FEATURE_VLAN_INSERT) === 0) insertVlan(packet);
    this.#answers[this.#count++] = packet;
  }

  #reassemble(packet: PacketBuffer): void {
    const whole = this.fragments.take(packet, headers, this.#now());
    if (whole === null) return;
    const answers = this.#answerFragments(whole);
    for (const fragment of whole) {
      if (answers) this.#queue(fragment);
      else this.#ignore(fragment);
    }
  }

  /** What asks is in the first of them; the sums of transport headers are those of the whole, whose parts only move. */
  #answerFragments(fragments: readonly PacketBuffer[]): boolean {
    const first = fragments[0]!;
    const { bytes, start } = first;
    parseHeaders(bytes, start, first.length, headers);
    const ip = start + headers.l3;
    const v4 = headers.version === 4;
    const l4 = ip + (v4 ? (bytes[ip]! & 15) * 4 : 40 + FRAGMENT_HEADER);
    const protocol = v4 ? bytes[ip + 9]! : bytes[ip + 40]!;
    if (l4 + 8 > ip + headers.ipLength) return false;
    if (protocol === (v4 ? PROTOCOL_ICMP : ICMP6)) {
      if (!(v4 ? turn(bytes, l4, ECHO_REQUEST, 0) : turn(bytes, l4, ECHO6_REQUEST, ECHO6_REPLY))) return false;
    } else if (protocol === PROTOCOL_UDP) swap(bytes, l4, l4 + 2, 2);
    for (const packet of fragments) {
      parseHeaders(packet.bytes, packet.start, packet.length, headers);
      const at = packet.start + headers.l3;
      if (v4) swap(packet.bytes, at + 12, at + 16, 4);
      else swap(packet.bytes, at + 8, at + 24, 16);
      this.#reply(packet.bytes, packet.start);
    }
    return true;
  }

  /** Makes the answer in place; false where there is none. */
  answer(packet: PacketBuffer): boolean {
    const { bytes, start, length } = packet;
    parseHeaders(bytes, start, length, headers);
    if (headers.etherType === ETHERTYPE_ARP) return this.#arp(packet);
    if (headers.version === 4 && headers.etherType === ETHERTYPE_IPV4) return this.#ipv4(packet);
    if (headers.version === 6 && headers.etherType === ETHERTYPE_IPV6) return this.#ipv6(packet);
    return false;
  }

  #isOurs(bytes: Uint8Array, at: number, size: 4 | 16): boolean {
    // Never for a group: many would answer, and loops would multiply.
    if (size === 4 ? bytes[at]! >= 224 : bytes[at] === 0xff) return false;
    if (this.#addresses === null) return true;
    return this.#addresses.some((address) => address.length === size && same(address, 0, bytes, at, size));
  }

  /** RFC 826, Ethernet and IPv4. A host that asks whether its own address is free (RFC 5227) gets no answer. */
  #arp(packet: PacketBuffer): boolean {
    const { bytes, start } = packet;
    const at = start + arpOffset(bytes, start);
    if (at - start + 28 > packet.length) return false;
    if (get16(bytes, at) !== 1 || get16(bytes, at + 2) !== ETHERTYPE_IPV4 || get16(bytes, at + 4) !== 0x0604)
      return false;
    if (get16(bytes, at + 6) !== 1 || !this.#isOurs(bytes, at + 24, 4)) return false;
    const asked = this.#addresses !== null || (!zero(bytes, at + 14, 4) && !same(bytes, at + 14, bytes, at + 24, 4));
    if (!asked) return false;
    put16(bytes, at + 6, 2);
    swap(bytes, at + 14, at + 24, 4);
    bytes.copyWithin(at + 18, at + 8, at + 14);
    bytes.set(this.#device.mac, at + 8);
    this.#reply(bytes, start);
    return true;
  }

  /** An IP datagram, or a part of one, for this card alone, from a station. */
  #mayAnswer({ bytes, start }: PacketBuffer): boolean {
    const at = start + headers.l3;
    if (bytes[start]! & 1 || headers.protocol === PROTOCOL_TCP) return false;
    if (headers.version === 6) return this.#isOurs(bytes, at + 24, 16) && bytes[at + 8] !== 0xff;
    return this.#isOurs(bytes, at + 16, 4) && bytes[at + 12]! < 224;
  }

  #ipv4(packet: PacketBuffer): boolean {
    const { bytes, start } = packet;
    const at = start + headers.l3;
    if (headers.fragment || !this.#mayAnswer(packet)) return false;
    if (headers.protocol === PROTOCOL_ICMP && !ping(bytes, at, ECHO_REQUEST, 0)) return false;
    if (headers.protocol === PROTOCOL_UDP) this.#ports(bytes, start);
    swap(bytes, at + 12, at + 16, 4);
    this.#reply(bytes, start);
    return true;
  }

  #ipv6(packet: PacketBuffer): boolean {
    const { bytes, start } = packet;
    const at = start + headers.l3;
    if (headers.fragment || headers.protocol === PROTOCOL_TCP || bytes[at + 8] === 0xff) return false;
    if (headers.protocol === ICMP6 && bytes[at + 6] === ICMP6 && bytes[at + 40] === NEIGHBOUR_SOLICITATION)
      return this.#neighbour(packet, at);
    if (!this.#mayAnswer(packet)) return false;
    if (headers.protocol === ICMP6 && (bytes[at + 6] !== ICMP6 || !ping6(bytes, at))) return false;
    if (headers.protocol === PROTOCOL_UDP) this.#ports(bytes, start);
    swap(bytes, at + 8, at + 24, 16);
    this.#reply(bytes, start);
    return true;
  }

  /** RFC 4861 §7.2.4: an advertisement with our link address. Duplicate address detection (from ::) gets none. */
  #neighbour(packet: PacketBuffer, at: number): boolean {
    const { bytes, start } = packet;
    const target = at + 48;
    if (headers.ipLength < 64 || bytes[at + 7] !== 255 || !this.#isOurs(bytes, target, 16)) return false;
    const room = packet.start + headers.l3 + 72 <= bytes.length;
    if (!room || zero(bytes, at + 8, 16)) return false;
    put16(bytes, at + 4, 32);
    bytes.copyWithin(at + 24, at + 8, at + 24);
    bytes.copyWithin(at + 8, target, target + 16);
    bytes.fill(0, at + 40, at + 48);
    bytes[at + 40] = NEIGHBOUR_ADVERTISEMENT;
    bytes[at + 44] = SOLICITED_OVERRIDE;
    bytes[at + 64] = TARGET_LINK_ADDRESS;
    bytes[at + 65] = 1;
    bytes.set(this.#device.mac, at + 66);
    packet.length = headers.l3 + 72;
    packet.total = packet.length;
    const sum = addToChecksum(bytes, at + 40, 32, pseudoHeaderSum(bytes, start, headers, 32));
    put16(bytes, at + 42, ~foldChecksum(sum));
    this.#reply(bytes, start);
    return true;
  }

  #ports(bytes: Uint8Array, start: number): void {
    if (headers.l4 > 0) swap(bytes, start + headers.l4, start + headers.l4 + 2, 2);
  }

  /** Back to the sender, from this card. */
  #reply(bytes: Uint8Array, start: number): void {
    bytes.copyWithin(start, start + 6, start + 12);
    bytes.set(this.#device.mac, start + 6);
  }
}

/** ARP behind up to two VLAN tags, which parseHeaders has skipped. */
function arpOffset(bytes: Uint8Array, start: number): number {
  let at = 12;
  while (get16(bytes, start + at) !== ETHERTYPE_ARP) at += 4;
  return at + 2;
}

/** Makes an echo request the reply. The sum changes by what the type does (RFC 1624 eqn. 3). */
function ping(bytes: Uint8Array, ip: number, from: number, to: number): boolean {
  const at = ip + (bytes[ip]! & 15) * 4;
  if (headers.ipLength < at - ip + 8) return false;
  return turn(bytes, at, from, to);
}

function ping6(bytes: Uint8Array, ip: number): boolean {
  return headers.ipLength >= 48 && turn(bytes, ip + 40, ECHO6_REQUEST, ECHO6_REPLY);
}

function turn(bytes: Uint8Array, at: number, from: number, to: number): boolean {
  if (bytes[at] !== from) return false;
  bytes[at] = to;
  put16(bytes, at + 2, ~foldChecksum((~get16(bytes, at + 2) & 0xffff) + (~(from << 8) & 0xffff) + (to << 8)));
  return true;
}

function swap(bytes: Uint8Array, a: number, b: number, length: number): void {
  for (let i = 0; i < length; i++) {
    const kept = bytes[a + i]!;
    bytes[a + i] = bytes[b + i]!;
    bytes[b + i] = kept;
  }
}

function same(a: Uint8Array, at: number, b: Uint8Array, other: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (a[at + i] !== b[other + i]) return false;
  return true;
}

function zero(bytes: Uint8Array, at: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (bytes[at + i] !== 0) return false;
  return true;
}
