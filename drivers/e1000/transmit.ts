/**
 * Transmit: a ring of legacy, context and data descriptors. Intel 317453 §3.3 to §3.5 and §14.5.
 *
 * The card owns the descriptors from TDH up to, not including, TDT. It reports those that ask for it (RS): the last of
 * each call, and one in sixteen packets, because a report is a write to memory. What lies before a reported descriptor
 * is done as well.
 */

import {
  DESCRIPTOR,
  TX_CONTEXT_IPV4,
  TX_CONTEXT_TCP,
  TX_DD,
  TX_DEXT,
  TX_EOP,
  TX_IFCS,
  TX_IXSM,
  TX_RS,
  TX_TSE,
  TX_TXSM,
  TX_TYPE_DATA,
  TX_VLE,
} from '../../sim/e1000/descriptors.ts';
import { get16, put16, subtractFromChecksum } from '../../sim/packet.ts';
import { encode } from '../../sim/registers.ts';
import type { RegisterSpace } from '../device.ts';
import type { TransmitLimits } from '../netdev.ts';
import { type PacketBuffer, TX_IP_CHECKSUM, TX_L4_CHECKSUM, TX_TSO4, TX_UDP, TX_VLAN } from '../packet.ts';
import {
  acceptable,
  countPieces,
  ETHERNET_AND_TAG,
  networkHeader,
  OFFLOADS,
  SHORTEST,
  TCP_CHECKSUM,
  TSO,
  tsoData,
} from '../requests.ts';
import { TransmitRing } from '../transmit-ring.ts';
import { type Chip, R } from './chip.ts';
import { RING_ALIGN } from './descriptors.ts';

/** Packets between two reports. */
const REPORT = 16;
/**
 * Bytes a descriptor points at, at most. The field would hold 16288; Linux's e1000 keeps to 4096
 * (E1000_MAX_DATA_PER_TXD), because the chip reserves room in its FIFO for a whole buffer before it fetches it.
 */
const MAX_DATA = 4096;
/** For the same reason a buffer of a TSO packet is no more than four segments: "4 = ceil(buffer length / mss)" (Linux). */
const SEGMENTS_A_BUFFER = 4;
/** See `earlyWriteBack`. */
const SENTINEL = 4;
const LEAST_MSS = 64;
const EIGHT_BITS = 255; // HDRLEN, IPCSO, TUCSO
const SIXTEEN_BITS = 0xffff; // MSS
/** A context, and the sentinel. */
const EXTRA_DESCRIPTORS = 2;

export class Transmitter extends TransmitRing {
  readonly limits: TransmitLimits;
  readonly #bar: RegisterSpace;
  /** Descriptors that report, oldest first: a ring, too. */
  readonly #reports: Int32Array;
  /**
   * The errata of the 8254x that Linux's e1000 works around: the last descriptor of a TSO packet, and the packet after
   * it, may be written back before its data was read. A last descriptor of four bytes covers for the one before.
   */
  readonly #earlyWriteBack: boolean;
  #firstReport = 0;
  #endReport = 0;
  #sinceReport = 0;
  #afterTso = false;
  // The checksum context that the card holds; it costs a descriptor to change it.
  #context0 = -1;
  #context1 = -1;
  #context2 = -1;

  constructor(chip: Chip, size: number) {
    super(chip.device, size, size, RING_ALIGN);
    this.limits = {
      frame: chip.variant.maxFrame,
      descriptors: size - 1 - EXTRA_DESCRIPTORS,
      descriptorBytes: MAX_DATA,
      descriptorSegments: SEGMENTS_A_BUFFER,
      checksumAt: EIGHT_BITS,
      findsTransport: false,
      ipv6: true,
      headerBytes: EIGHT_BITS,
      leastMss: LEAST_MSS,
      mostMss: SIXTEEN_BITS,
      ipOptions: chip.variant.tsoOptions,
    };
    this.#bar = chip.bar;
    this.#reports = new Int32Array(size);
    this.#earlyWriteBack = chip.variant.earlyWriteBack;
  }

  /** 14.5: where the ring is. The transmitter must be off. */
  setUp(chip: Chip): void {
    this.empty();
    chip.write(R.TDBAL, this.memory.iova);
    chip.write(R.TDBAH, 0);
    chip.write(R.TDLEN, this.size * DESCRIPTOR);
    chip.write(R.TDH, 0);
    chip.write(R.TDT, 0);
    chip.write(R.TIDV, 0);
    chip.write(R.TADV, 0);
    // Prefetch by the cache line, write back as soon as a descriptor asks for it: WTHRESH 0 (13.4.43).
    const { TXDCTL } = R;
    const thresholds = encode(TXDCTL, { GRAN: 1, PTHRESH: 31, HTHRESH: 1 });
    chip.write(TXDCTL, thresholds | chip.variant.transmitDescriptorControl);
  }

  /** Whether the card has reported something that `reclaim` would free. */
  get ready(): boolean {
    return this.#firstReport !== this.#endReport && this.#done(this.#reports[this.#firstReport]!);
  }

  #done(index: number): boolean {
    return (this.words[(index << 2) + 3]! & TX_DD) !== 0;
  }

  transmit(from: PacketBuffer[], first: number, count: number): number {
    const words = this.words;
    const slots = this.slots;
    const { size } = this;
    const longest = Math.min(MAX_DATA, this.mtu + ETHERNET_AND_TAG);
    const end = first + count;
    const start = this.tail;
    if (this.free < count) this.reclaim();
    let at = first;
    for (; at < end; at++) {
      const packet = from[at]!;
      const { length } = packet;
      if (
        packet.next !== null ||
        (packet.flags & OFFLOADS) !== 0 ||
        length > longest ||
        length < SHORTEST ||
        this.#afterTso
      ) {
        if (this.#place(packet)) continue;
        break;
      }
      if (this.free === 0) break;
      const tail = this.tail;
      const word = tail << 2;
      let command = TX_EOP | TX_IFCS | length;
      if (++this.#sinceReport === REPORT) {
        command |= TX_RS;
        this.#report(tail);
      }
      words[word] = packet.iova + packet.start;
      words[word + 1] = 0;
      words[word + 2] = command;
      words[word + 3] = 0;
      slots[tail] = packet;
      this.tail = tail + 1 === size ? 0 : tail + 1;
      this.free--;
    }
    if (this.tail !== start) this.#ring();
    return at - first;
  }

  /** The call's last descriptor reports, so that nothing is left behind; then the doorbell, once. */
  #ring(): void {
    if (this.#sinceReport !== 0) {
      const { last } = this;
      this.words[(last << 2) + 2]! |= TX_RS;
      this.#report(last);
    }
    this.#bar.write32(R.TDT.at, this.tail);
  }

  #report(index: number): void {
    this.#sinceReport = 0;
    this.#reports[this.#endReport] = index;
    this.#endReport = this.#endReport + 1 === this.size ? 0 : this.#endReport + 1;
  }

  /** Frees what is done. Returns free descriptors. */
  reclaim(): number {
    while (this.#firstReport !== this.#endReport) {
      const reported = this.#reports[this.#firstReport]!;
      if (!this.#done(reported)) break;
      this.#firstReport = this.#firstReport + 1 === this.size ? 0 : this.#firstReport + 1;
      this.release(reported + 1 === this.size ? 0 : reported + 1);
    }
    return this.free;
  }

  /** Any packet but a plain one in a single buffer. False where the ring has no room for it now. */
  #place(packet: PacketBuffer): boolean {
    const { flags } = packet;
    if (!acceptable(packet, this.features, this.mtu, this.limits)) return this.refuse(packet);
    const limit = (flags & TSO) !== 0 ? tsoData(this.limits, packet.mss) : MAX_DATA;
    const pieces = countPieces(packet, limit);
    if (pieces > this.limits.descriptors) return this.refuse(packet);
    const needed = pieces + EXTRA_DESCRIPTORS;
    if (needed > this.free && needed > this.reclaim()) return false;
    const offloads = (flags & OFFLOADS & ~TX_VLAN) !== 0;
    if (offloads) this.#setContext(packet);
    this.#placeData(packet, limit, offloads);
    return true;
  }

  /** 3.3.6, 3.5: tells the card where the headers are. */
  #setContext(packet: PacketBuffer): void {
    if ((packet.flags & TSO) !== 0) this.#setTsoContext(packet);
    else this.#setChecksumContext(packet);
  }

  /** The sum goes where `checksumOffset` says; what the field holds is added in: the pseudo header's sum. */
  #setChecksumContext(packet: PacketBuffer): void {
    const { flags, checksumStart, checksumOffset, bytes, start } = packet;
    let ip = 0;
    if ((flags & TX_IP_CHECKSUM) !== 0) {
      const l3 = networkHeader(packet);
      const headerLength = (bytes[start + l3]! & 15) * 4;
      put16(bytes, start + l3 + 10, 0);
      ip = ipContext(l3, l3 + headerLength - 1);
    }
    const transport = (flags & TX_L4_CHECKSUM) !== 0 ? checksumStart | ((checksumStart + checksumOffset) << 8) : 0;
    const command = TX_DEXT | ((flags & TX_UDP) === 0 ? TX_CONTEXT_TCP : 0) | (ip === 0 ? 0 : TX_CONTEXT_IPV4);
    if (ip === this.#context0 && transport === this.#context1 && command === this.#context2) return;
    this.#context0 = ip;
    this.#context1 = transport;
    this.#context2 = command;
    this.put(ip, transport, command, 0);
  }

  /** The card holds one context only that it is safe to count on: after this the checksum's is gone. */
  #setTsoContext(packet: PacketBuffer): void {
    const { flags, headerLength, mss, checksumStart: l4 } = packet;
    const ipv4 = (flags & TX_TSO4) !== 0;
    const l3 = networkHeader(packet);
    const total = packet.next === null ? packet.length : packet.total;
    prepareForSegmentation(packet, l3, total);
    const command = TX_DEXT | TX_TSE | TX_CONTEXT_TCP | (ipv4 ? TX_CONTEXT_IPV4 : 0);
    this.put(
      ipContext(l3, ipv4 ? l4 - 1 : 0),
      l4 | ((l4 + TCP_CHECKSUM) << 8),
      command | (total - headerLength),
      (headerLength << 8) | (mss << 16),
    );
    this.#forgetContext();
  }

  #forgetContext(): void {
    this.#context0 = -1;
    this.#context1 = -1;
    this.#context2 = -1;
  }

  /** Data descriptors (3.3.7), or legacy ones (3.3.3) where the packet asks for no offload. */
  #placeData(packet: PacketBuffer, limit: number, offloads: boolean): void {
    const { flags } = packet;
    const tso = (flags & TSO) !== 0;
    let command = TX_IFCS;
    let options = 0;
    if (offloads) {
      command |= TX_DEXT | TX_TYPE_DATA | (tso ? TX_TSE : 0);
      if ((flags & (TSO | TX_L4_CHECKSUM)) !== 0) options |= TX_TXSM;
      if ((flags & (TX_TSO4 | TX_IP_CHECKSUM)) !== 0) options |= TX_IXSM;
    }
    if ((flags & TX_VLAN) !== 0) {
      command |= TX_VLE;
      options |= packet.vlan << 16;
    }
    const sentinel = this.#earlyWriteBack && (tso || this.#afterTso);
    for (let piece: PacketBuffer | null = packet; piece !== null; piece = piece.next) {
      this.#placePiece(piece, limit, command, options, sentinel && piece.next === null);
    }
    this.#finishPacket(packet);
    this.#afterTso = this.#earlyWriteBack && tso;
  }

  #placePiece(piece: PacketBuffer, limit: number, command: number, options: number, sentinel: boolean): void {
    let address = piece.iova + piece.start;
    let left = piece.length;
    while (left > 0) {
      let part = Math.min(left, limit);
      if (sentinel && part === left && left > 2 * SENTINEL) part = left - SENTINEL;
      this.put(address, 0, command | part, options);
      address += part;
      left -= part;
    }
  }

  /** The last descriptor ends the packet and keeps its buffer. */
  #finishPacket(packet: PacketBuffer): void {
    const { last } = this;
    this.words[(last << 2) + 2]! |= TX_EOP;
    this.slots[last] = packet;
    if (++this.#sinceReport < REPORT) return;
    this.words[(last << 2) + 2]! |= TX_RS;
    this.#report(last);
  }

  protected forget(): void {
    this.#firstReport = 0;
    this.#endReport = 0;
    this.#sinceReport = 0;
    this.#afterTso = false;
    this.#forgetContext();
  }
}

/** IPCSS, IPCSO and IPCSE: the IPv4 header's start, its checksum's place, its last byte. */
function ipContext(l3: number, end: number): number {
  return l3 | ((l3 + 10) << 8) | (end << 16);
}

/**
 * 3.5.5 to 3.5.7: the card adds each segment's length to what the headers say, so they say 0; and to the sum in the TCP
 * checksum field, which is that of the pseudo header without a length, not complemented.
 */
function prepareForSegmentation({ bytes, start, flags, checksumStart }: PacketBuffer, l3: number, total: number): void {
  if ((flags & TX_TSO4) !== 0) {
    put16(bytes, start + l3 + 2, 0);
    put16(bytes, start + l3 + 10, 0);
  } else put16(bytes, start + l3 + 4, 0);
  const field = start + checksumStart + TCP_CHECKSUM;
  put16(bytes, field, subtractFromChecksum(get16(bytes, field), total - checksumStart));
}
