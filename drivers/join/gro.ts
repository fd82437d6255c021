/**
 * Generic receive offload: the TCP segments of one receive batch that follow each other become one super-frame, so that
 * the host's stack runs once for up to 64 KiB instead of once per 1448 bytes.
 *
 * The payload stays where it is. A super-frame is a chain whose first piece has the headers, made right for the whole;
 * of the others only the payload is left. It is a valid TX_TSO request as well: segmented again, it yields the very
 * frames that went in (save the identification of atomic datagrams, which RFC 6864 §4.1 says nobody may look at).
 *
 * What merges follows from that, and is what Linux merges: same addresses, ports, acknowledgement, window and options;
 * consecutive sequence numbers; equal sizes save a shorter last one; PSH or FIN end it. The segments of a flow never
 * overtake each other: what cannot be merged closes its flow.
 */
import {
  addToChecksum,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETHERTYPE_VLAN,
  foldChecksum,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  put16,
} from '../../sim/packet.ts';
import {
  type PacketBuffer,
  RX_ERROR,
  RX_IP_CHECKSUM_GOOD,
  RX_L4_CHECKSUM_GOOD,
  RX_VLAN,
  TX_L4_CHECKSUM,
  TX_TSO4,
  TX_TSO6,
} from '../packet.ts';
import { TCP_CHECKSUM } from '../requests.ts';
import { fillIpChecksum } from './segment.ts';

/** Flows that are open at a time; one more closes the one that was opened first. */
export const GRO_FLOWS = 8;
/** Buffers in a chain at most: less than a writev takes (IOV_MAX, 1024). */
export const GRO_PIECES = 256;
/** What an IPv4 header's total length can say (RFC 791 §3.1); IPv6 is kept to the same. */
const MAX_IP_LENGTH = 65535;

const FIN = 0x01;
const PSH = 0x08;
const ACK = 0x10;
const ECE = 0x40;
const DF = 0x4000;
const PROTOCOL_ICMP6 = 58;

/** A segment's headers, as numbers to compare. All 32-bit values are signed, so that they stay small integers. */
class Segment {
  version = 0;
  l3 = 0;
  l4 = 0;
  /** Bytes of all headers. */
  headers = 0;
  payload = 0;
  /** Source and destination port. */
  ports = 0;
  source = 0;
  destination = 0;
  /** What else of the network header must stay: TOS, TTL and DF; or traffic class and flow label. */
  network = 0;
  hopLimit = 0;
  id = 0;
  sequence = 0;
  acknowledgement = 0;
  /** Data offset, reserved bits, flags but PSH and FIN, and the window. */
  control = 0;
  /** PSH and FIN. */
  ends = 0;
}

/** A super-frame in the making. */
class Flow extends Segment {
  head!: PacketBuffer;
  tail!: PacketBuffer;
  mss = 0;
  pieces = 0;
  segments = 0;
  /** The sequence number that comes next. */
  next = 0;
  /** What the identification advances by: 1, or 0 in atomic datagrams; -1 while there is one segment. */
  idStep = -1;
}

function get32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}

// What a packet is to the flows.
const OTHER = 0; // of no TCP flow
const UNKNOWN = 1; // may be of any of them
const SEGMENT = 2;

export class Gro {
  readonly #flows: Flow[] = Array.from({ length: GRO_FLOWS }, () => new Flow()); // the first #open are open
  #open = 0;
  readonly #segment = new Segment();
  /** Super-frames made, and segments that went into them. */
  frames = 0;
  merged = 0;

  /**
   * Coalesces the first `count` packets, in place: afterwards the first so many as it returns are to be handed on. The
   * super-frames among them have TX_TSO4 or TX_TSO6 set and `mss`, the others neither.
   */
  coalesce(packets: PacketBuffer[], count: number): number {
    let left = 0;
    for (let i = 0; i < count; i++) {
      const packet = packets[i]!;
      packet.mss = 0;
      if (!this.#merge(packet)) packets[left++] = packet;
    }
    this.#closeAll();
    return left;
  }

  /** True where the packet became part of one before it. */
  #merge(packet: PacketBuffer): boolean {
    const segment = this.#segment;
    const kind = classify(packet, segment);
    if (kind !== SEGMENT) {
      if (kind === UNKNOWN) this.#closeAll();
      return false;
    }
    const index = this.#find(packet, segment);
    if (index >= 0) {
      const flow = this.#flows[index]!;
      if (continues(flow, segment, packet)) {
        this.#append(flow, index, segment, packet);
        return true;
      }
      this.#close(index);
    }
    if (opens(segment, packet)) this.#start(segment, packet);
    return false;
  }

  #find(packet: PacketBuffer, segment: Segment): number {
    for (let i = 0; i < this.#open; i++) {
      const flow = this.#flows[i]!;
      if (flow.ports === segment.ports && sameAddresses(flow, segment, packet)) return i;
    }
    return -1;
  }

  #start(segment: Segment, packet: PacketBuffer): void {
    if (this.#open === GRO_FLOWS) this.#close(0);
    const flow = this.#flows[this.#open++]!;
    flow.version = segment.version;
    flow.l3 = segment.l3;
    flow.l4 = segment.l4;
    flow.headers = segment.headers;
    flow.ports = segment.ports;
    flow.source = segment.source;
    flow.destination = segment.destination;
    flow.network = segment.network;
    flow.hopLimit = segment.hopLimit;
    flow.acknowledgement = segment.acknowledgement;
    flow.control = segment.control;
    flow.ends = 0;
    flow.id = segment.id;
    flow.idStep = -1;
    flow.mss = segment.payload;
    flow.next = (segment.sequence + segment.payload) | 0;
    flow.head = packet;
    flow.segments = 1;
    flow.pieces = 1;
    let tail = packet;
    for (; tail.next !== null; tail = tail.next) flow.pieces++;
    flow.tail = tail;
  }

  #append(flow: Flow, index: number, segment: Segment, packet: PacketBuffer): void {
    packet.start += segment.headers;
    packet.length -= segment.headers;
    flow.tail.next = packet;
    flow.pieces++;
    let tail = packet;
    for (; tail.next !== null; tail = tail.next) flow.pieces++;
    flow.tail = tail;
    flow.head.total += segment.payload;
    flow.segments++;
    flow.next = (flow.next + segment.payload) | 0;
    if (flow.idStep < 0) flow.idStep = (segment.id - flow.id) & 0xffff;
    flow.id = segment.id;
    flow.ends = segment.ends;
    if (segment.ends !== 0 || segment.payload < flow.mss) this.#close(index);
  }

  #closeAll(): void {
    for (let i = 0; i < this.#open; i++) this.#finish(this.#flows[i]!);
    this.#open = 0;
  }

  #close(index: number): void {
    const flow = this.#flows[index]!;
    this.#finish(flow);
    this.#open--;
    for (let i = index; i < this.#open; i++) this.#flows[i] = this.#flows[i + 1]!;
    this.#flows[this.#open] = flow;
  }

  #finish(flow: Flow): void {
    if (flow.segments === 1) return;
    this.frames++;
    this.merged += flow.segments;
    fixHeaders(flow);
  }
}

/** Reads the headers into `segment` where they are those of a segment that could be merged with others. */
function classify(packet: PacketBuffer, segment: Segment): number {
  const { bytes, start } = packet;
  if (packet.length < 34) return UNKNOWN;
  let l3 = 14;
  let type = (bytes[start + 12]! << 8) | bytes[start + 13]!;
  if (type === ETHERTYPE_VLAN) {
    l3 = 18;
    type = (bytes[start + 16]! << 8) | bytes[start + 17]!;
  }
  segment.l3 = l3;
  if (type === ETHERTYPE_IPV4) return readIpv4(packet, start + l3, segment);
  if (type === ETHERTYPE_IPV6) return readIpv6(packet, start + l3, segment);
  return type === ETHERTYPE_ARP ? OTHER : UNKNOWN;
}

function readIpv4(packet: PacketBuffer, at: number, segment: Segment): number {
  const { bytes } = packet;
  if (bytes[at + 9]! !== PROTOCOL_TCP) return OTHER;
  if (packet.length < segment.l3 + 40 || bytes[at] !== 0x45) return UNKNOWN; // options: rare, and not worth it
  const fragment = (bytes[at + 6]! << 8) | bytes[at + 7]!;
  const total = (bytes[at + 2]! << 8) | bytes[at + 3]!;
  // Padding behind the packet, or a packet cut short, makes the two lengths differ.
  if ((fragment & ~DF) !== 0 || total !== packet.total - segment.l3) return UNKNOWN;
  if ((packet.flags & RX_IP_CHECKSUM_GOOD) === 0 && foldChecksum(addToChecksum(bytes, at, 20)) !== 0xffff)
    return UNKNOWN;
  segment.version = 4;
  segment.network = (bytes[at + 1]! << 16) | fragment; // TOS, DF
  segment.hopLimit = bytes[at + 8]!;
  segment.id = (bytes[at + 4]! << 8) | bytes[at + 5]!;
  segment.source = get32(bytes, at + 12);
  segment.destination = get32(bytes, at + 16);
  return readTcp(packet, segment.l3 + 20, segment);
}

function readIpv6(packet: PacketBuffer, at: number, segment: Segment): number {
  const { bytes } = packet;
  const next = bytes[at + 6]!;
  if (next === PROTOCOL_UDP || next === PROTOCOL_ICMP6) return OTHER;
  if (next !== PROTOCOL_TCP || packet.length < segment.l3 + 60 || bytes[at]! >>> 4 !== 6) return UNKNOWN;
  const payload = (bytes[at + 4]! << 8) | bytes[at + 5]!;
  if (payload + 40 !== packet.total - segment.l3) return UNKNOWN;
  segment.version = 6;
  segment.network = get32(bytes, at); // traffic class, flow label
  segment.hopLimit = bytes[at + 7]!;
  segment.id = 0;
  segment.source = get32(bytes, at + 20); // the low ends tell most flows apart; sameAddresses looks at the rest
  segment.destination = get32(bytes, at + 36);
  return readTcp(packet, segment.l3 + 40, segment);
}

function readTcp(packet: PacketBuffer, l4: number, segment: Segment): number {
  const { bytes, start } = packet;
  const at = start + l4;
  const control = get32(bytes, at + 12);
  const length = (control >>> 28) * 4;
  if (length < 20 || l4 + length > packet.length) return UNKNOWN;
  segment.l4 = l4;
  segment.headers = l4 + length;
  segment.payload = packet.total - l4 - length;
  segment.ports = get32(bytes, at);
  segment.sequence = get32(bytes, at + 4);
  segment.acknowledgement = get32(bytes, at + 8);
  segment.ends = (control >>> 16) & (PSH | FIN);
  segment.control = control & ~((PSH | FIN) << 16);
  return SEGMENT;
}

/** A plain data segment whose checksum the card found right; an urgent pointer or SYN, RST, CWR are not plain. */
function plain(segment: Segment, packet: PacketBuffer): boolean {
  const flags = (segment.control >>> 16) & 0xff;
  if ((flags & ~ECE) !== ACK || segment.payload <= 0) return false;
  if ((packet.flags & (RX_L4_CHECKSUM_GOOD | RX_ERROR)) !== RX_L4_CHECKSUM_GOOD) return false;
  const urgent = packet.start + segment.l4 + 18;
  return packet.bytes[urgent]! === 0 && packet.bytes[urgent + 1]! === 0;
}

function opens(segment: Segment, packet: PacketBuffer): boolean {
  return segment.ends === 0 && plain(segment, packet);
}

function continues(flow: Flow, segment: Segment, packet: PacketBuffer): boolean {
  return (
    segment.sequence === flow.next &&
    segment.acknowledgement === flow.acknowledgement &&
    segment.control === flow.control &&
    segment.network === flow.network &&
    segment.hopLimit === flow.hopLimit &&
    segment.payload <= flow.mss &&
    segment.l4 === flow.l4 && // and with equal data offsets, equal lengths of headers
    plain(segment, packet) &&
    nextId(flow, segment) &&
    fits(flow, segment, packet) &&
    sameRest(flow, packet)
  );
}

/** RFC 6864: a datagram that may not be fragmented needs no identification, and some hosts repeat one in them. */
function nextId(flow: Flow, segment: Segment): boolean {
  const step = (segment.id - flow.id) & 0xffff;
  if (segment.version === 6) return true;
  return (step === 1 || (step === 0 && (flow.network & DF) !== 0)) && (flow.idStep < 0 || flow.idStep === step);
}

function fits(flow: Flow, segment: Segment, packet: PacketBuffer): boolean {
  if (flow.head.total - flow.l3 + segment.payload > MAX_IP_LENGTH) return false;
  // A native batch addresses one ArrayBuffer.
  if (packet.memory !== flow.head.memory) return false;
  let pieces = flow.pieces;
  for (let piece: PacketBuffer | null = packet; piece !== null; piece = piece.next) pieces++;
  return pieces <= GRO_PIECES;
}

function sameAddresses(flow: Flow, segment: Segment, packet: PacketBuffer): boolean {
  if (flow.source !== segment.source || flow.destination !== segment.destination) return false;
  if (flow.version !== segment.version) return false;
  if (flow.version === 4) return true;
  const a = flow.head;
  return same(a, a.start + flow.l3 + 8, packet, packet.start + segment.l3 + 8, 32);
}

/** The Ethernet header, the VLAN tag and TCP's options. */
function sameRest(flow: Flow, packet: PacketBuffer): boolean {
  const { head, l3, l4 } = flow;
  if (((head.flags ^ packet.flags) & RX_VLAN) !== 0) return false;
  if ((head.flags & RX_VLAN) !== 0 && head.vlan !== packet.vlan) return false;
  if (!same(head, head.start, packet, packet.start, l3 & ~3)) return false; // the odd two bytes are the EtherType
  const options = flow.headers - l4 - 20;
  return options === 0 || same(head, head.start + l4 + 20, packet, packet.start + l4 + 20, options);
}

/** Compares a multiple of four bytes. */
function same(a: PacketBuffer, at: number, b: PacketBuffer, other: number, length: number): boolean {
  const left = a.bytes;
  const right = b.bytes;
  for (let i = 0; i < length; i += 4) if (get32(left, at + i) !== get32(right, other + i)) return false;
  return true;
}

/** Makes the first piece's headers right for the whole, with the pseudo-header sum where the checksum goes. */
function fixHeaders(flow: Flow): void {
  const { head, l3, l4, version } = flow;
  const { bytes, start } = head;
  const ip = start + l3;
  const length = head.total - l4;
  let sum = PROTOCOL_TCP + length;
  if (version === 4) {
    put16(bytes, ip + 2, head.total - l3);
    fillIpChecksum(bytes, ip);
    sum = addToChecksum(bytes, ip + 12, 8, sum);
  } else {
    put16(bytes, ip + 4, head.total - l3 - 40);
    sum = addToChecksum(bytes, ip + 8, 32, sum);
  }
  put16(bytes, start + l4 + TCP_CHECKSUM, foldChecksum(sum));
  bytes[start + l4 + 13]! |= flow.ends;
  head.flags |= TX_L4_CHECKSUM | (version === 4 ? TX_TSO4 : TX_TSO6);
  head.mss = flow.mss;
  head.headerLength = flow.headers;
  head.checksumStart = l4;
  head.checksumOffset = TCP_CHECKSUM;
}
