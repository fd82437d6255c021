/**
 * Transmit: one ring of send descriptors, whose consumer the status block tells. Broadcom 5718-PG108-R, "Send Rings".
 *
 * The card finds headers by itself; a descriptor only says what to fill in.
 */
import { ETHERNET_HEADER, get16, put16, VLAN_TAG } from '../../sim/packet.ts';
import {
  TX_VLAN as BD_VLAN,
  SRAM_SEND_RCB,
  TX_COAL_NOW,
  TX_CPU_POST_DMA,
  TX_CPU_PRE_DMA,
  TX_END,
  TX_HDRLEN_2,
  TX_IP_CSUM,
  TX_JUMBO,
  TX_TCPUDP_CSUM,
} from '../../sim/tg3/descriptors.ts';
import type { RegisterSpace } from '../device.ts';
import type { TransmitLimits } from '../netdev.ts';
import { type PacketBuffer, TX_IP_CHECKSUM, TX_L4_CHECKSUM, TX_TSO4, TX_VLAN } from '../packet.ts';
import {
  acceptable,
  countPieces,
  ETHERNET_AND_TAG,
  networkHeader,
  OFFLOADS,
  SHORTEST,
  TCP_CHECKSUM,
  TSO,
} from '../requests.ts';
import { ETHERNET_MTU } from '../settings.ts';
import { TransmitRing } from '../transmit-ring.ts';
import { type Chip, R } from './chip.ts';
import { RING_ALIGN, type StatusBlocks } from './status.ts';

const ENTRIES = 512;
const LAST = ENTRIES - 1;
/** A BD's length is a 16-bit number. */
const MAX_DATA = 0xffff;
/** The 577xx loses BDs of this size and less (Linux: SHORT_DMA_BUG). */
const TOO_SHORT = 8;
/** Frames beyond must be marked as long ones, on chips that have such. */
const STANDARD_FRAME = 1518;
/** IP and TCP headers that the descriptors have room to tell: 255 words; or 20 and 20 bytes with 31 words of options. */
const MAX_HEADER_577XX = ETHERNET_AND_TAG + 255 * 4;
const MAX_HEADER_575X = ETHERNET_AND_TAG + 40 + 31 * 4;
const PLAIN_HEADERS = 40;
/** Bytes of the longest frames: with two tags where there are no jumbo frames. */
const LONGEST_577XX = 9600;
const LONGEST_575X = 1522;
const LEAST_MSS = 64;
const MAX_MSS_577XX = 0x3fff;
const MAX_MSS_575X = 0x7ff;

export class Transmitter extends TransmitRing {
  readonly limits: TransmitLimits;
  readonly #bar: RegisterSpace;
  readonly #blocks: StatusBlocks;
  readonly #status: Uint32Array;
  readonly #statusAt: number;
  readonly #is577xx: boolean;
  readonly #shortLimit: number;
  #refusedIndex = -1;

  constructor(chip: Chip, status: StatusBlocks, size: number) {
    const { is577xx, shortLimit } = chip.variant;
    super(chip.device, size, ENTRIES, RING_ALIGN);
    this.limits = {
      frame: is577xx ? LONGEST_577XX : LONGEST_575X,
      descriptors: size - 1,
      descriptorBytes: shortLimit,
      descriptorSegments: Infinity,
      checksumAt: 0xffff,
      findsTransport: true,
      ipv6: is577xx,
      headerBytes: is577xx ? MAX_HEADER_577XX : MAX_HEADER_575X,
      leastMss: LEAST_MSS,
      mostMss: is577xx ? MAX_MSS_577XX : MAX_MSS_575X,
      ipOptions: false,
    };
    this.#bar = chip.bar;
    this.#blocks = status;
    this.#status = status.words;
    this.#statusAt = status.sendWord;
    this.#is577xx = is577xx;
    this.#shortLimit = shortLimit;
  }

  /** Where the ring is. The transmitter must be off. */
  setUp(chip: Chip): void {
    this.empty();
    chip.writeSram(SRAM_SEND_RCB, 0);
    chip.writeSram(SRAM_SEND_RCB + 4, this.memory.iova);
    chip.writeSram(SRAM_SEND_RCB + 8, ENTRIES << 16);
    chip.write(R.MBOX_SEND_PROD, 0);
  }

  /** Up to where the card has sent, as far as it says. */
  get consumer(): number {
    return this.#status[this.#statusAt]! >>> 16;
  }

  /** Whether the card has reported something that `reclaim` would free. */
  get ready(): boolean {
    return this.#finished() !== this.clean;
  }

  /** The consumer; the oldest descriptor in use where the card says what cannot be. */
  #finished(): number {
    const { consumer } = this;
    if (((consumer - this.clean) & LAST) <= this.used && consumer < ENTRIES) return consumer;
    if (consumer !== this.#refusedIndex) {
      this.#refusedIndex = consumer;
      this.malformed++;
    }
    return this.clean;
  }

  transmit(from: PacketBuffer[], first: number, count: number): number {
    const words = this.words;
    const slots = this.slots;
    const longest = Math.min(STANDARD_FRAME, this.mtu + ETHERNET_AND_TAG);
    const end = first + count;
    const start = this.tail;
    if (this.free < count) this.reclaim();
    let tail = start;
    let free = this.free;
    let at = first;
    for (; at < end; at++) {
      const packet = from[at]!;
      const { length } = packet;
      if (packet.next !== null || (packet.flags & OFFLOADS) !== 0 || length > longest || length < SHORTEST) {
        this.tail = tail;
        this.free = free;
        const placed = this.#place(packet);
        tail = this.tail;
        free = this.free;
        if (placed) continue;
        break;
      }
      if (free === 0) break;
      const word = tail << 2;
      words[word] = 0;
      words[word + 1] = packet.iova + packet.start;
      words[word + 2] = (length << 16) | TX_END;
      words[word + 3] = 0;
      slots[tail] = packet;
      tail = (tail + 1) & LAST;
      free--;
    }
    this.tail = tail;
    this.free = free;
    if (tail !== start) {
      // The batch's last is reported at once, so that nothing is left behind.
      words[(((tail - 1) & LAST) << 2) + 2]! |= TX_COAL_NOW;
      this.#bar.write32(R.MBOX_SEND_PROD.at(0), tail);
    }
    return at - first;
  }

  reclaim(): number {
    this.release(this.#finished());
    return this.free;
  }

  /** Any packet but a plain one in a single buffer. False where the ring has no room for it now. */
  #place(packet: PacketBuffer): boolean {
    if (!acceptable(packet, this.features, this.mtu, this.limits)) return this.refuse(packet);
    if (this.#is577xx && packet.next !== null) lengthenShortPieces(packet);
    const limit = this.mtu > ETHERNET_MTU ? MAX_DATA : this.#shortLimit;
    const pieces = countPieces(packet, limit);
    if (pieces > this.size - 1) return this.refuse(packet);
    if (pieces > this.free && pieces > this.reclaim()) return false;
    let flags = 0;
    let word3 = 0;
    if ((packet.flags & TSO) !== 0) {
      const segmentation = this.#prepareSegmentation(packet);
      flags = TX_CPU_PRE_DMA | TX_CPU_POST_DMA | (segmentation & 0xffff);
      word3 = segmentation & 0xffff_0000;
    } else {
      if ((packet.flags & TX_L4_CHECKSUM) !== 0) flags |= TX_TCPUDP_CSUM;
      if ((packet.flags & TX_IP_CHECKSUM) !== 0) flags |= TX_IP_CSUM;
    }
    if ((packet.flags & TX_VLAN) !== 0) {
      flags |= BD_VLAN;
      word3 |= packet.vlan & 0xffff;
    }
    const total = packet.next === null ? packet.length : packet.total;
    if (this.#is577xx && total > STANDARD_FRAME && (packet.flags & TSO) === 0) flags |= TX_JUMBO;
    this.#placePieces(packet, limit, flags, word3);
    return true;
  }

  /**
   * The card writes lengths and sums of every segment: as it wants them, the IPv4 header has the length of a segment, and
   * no sum; TCP has no sum. Returns the MSS word in 31:16 and flags, by which the chips are told where the payload starts.
   */
  #prepareSegmentation(packet: PacketBuffer): number {
    const { bytes, mss } = packet;
    if (networkHeader(packet) !== ETHERNET_HEADER) liftTag(packet);
    const header = packet.headerLength - ETHERNET_HEADER; // IP and TCP
    const l3 = packet.start + ETHERNET_HEADER;
    if ((packet.flags & TX_TSO4) !== 0) {
      put16(bytes, l3 + 2, header + mss);
      put16(bytes, l3 + 10, 0);
    }
    put16(bytes, packet.start + packet.checksumStart + TCP_CHECKSUM, 0);
    if (!this.#is577xx) return (mss << 16) | (((header - PLAIN_HEADERS) >> 2) << 27);
    const headerWords = header >> 2;
    const low = (headerWords & 3) << 14;
    const middle = (headerWords & 4) !== 0 ? TX_HDRLEN_2 : 0;
    return ((low | mss) << 16) | middle | ((headerWords >> 3) << 10);
  }

  #placePieces(packet: PacketBuffer, limit: number, flags: number, word3: number): void {
    for (let piece: PacketBuffer | null = packet; piece !== null; piece = piece.next) {
      let address = piece.iova + piece.start;
      let left = piece.length;
      while (left > 0) {
        let part = Math.min(left, limit);
        const rest = left - part;
        if (rest > 0 && rest <= TOO_SHORT) part -= TOO_SHORT;
        this.put(0, address, (part << 16) | flags, word3);
        address += part;
        left -= part;
      }
    }
    const { last } = this;
    this.words[(last << 2) + 2]! |= TX_END;
    this.slots[last] = packet;
  }

  protected forget(): void {
    this.#blocks.forget();
    this.#refusedIndex = -1;
  }
}

/** The card counts headers from behind an untagged Ethernet header: a tag in the frame becomes one to insert. */
function liftTag(packet: PacketBuffer): void {
  const { bytes, start } = packet;
  packet.vlan = get16(bytes, start + ETHERNET_HEADER);
  packet.flags |= TX_VLAN;
  bytes.copyWithin(start + VLAN_TAG, start, start + 12);
  packet.start += VLAN_TAG;
  packet.length -= VLAN_TAG;
  packet.total -= VLAN_TAG;
  packet.headerLength -= VLAN_TAG;
  packet.checksumStart -= VLAN_TAG;
}

/** Pieces that are too short for the card take bytes from the end of the one before, or give theirs to the one behind. */
function lengthenShortPieces(packet: PacketBuffer): void {
  let before: PacketBuffer = packet;
  for (let piece = packet.next; piece !== null; piece = piece.next) {
    if (piece.length > 0 && piece.length <= TOO_SHORT && before.length > 2 * TOO_SHORT && piece.start >= TOO_SHORT) {
      piece.start -= TOO_SHORT;
      before.length -= TOO_SHORT;
      piece.length += TOO_SHORT;
      const from = before.start + before.length;
      piece.bytes.set(before.bytes.subarray(from, from + TOO_SHORT), piece.start);
    }
    before = piece;
  }
}
