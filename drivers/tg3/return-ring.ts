/**
 * Receive return rings: frames on their way back, as far as the status block says. Broadcom 5718-PG108-R, "Receive Return
 * Rings".
 *
 * A return descriptor names the buffer by what was written beside it (opaque). A word of it is believed only if such a
 * buffer is the card's at that moment.
 */
import { FCS, get16, Headers, isBroadcast, PROTOCOL_UDP, parseHeaders } from '../../sim/packet.ts';
import {
  RX_VLAN as BD_VLAN,
  RX_BAD_CRC,
  RX_BD,
  RX_CHECKSUMS,
  RX_COLLISION,
  RX_ERROR,
  RX_ERROR_VLAN,
  RX_GIANT,
  RX_INDEX_LENGTH,
  RX_IP_CSUM,
  RX_IPV6,
  RX_LINK_LOST,
  RX_MAC_ABORT,
  RX_NO_RESOURCES,
  RX_OPAQUE,
  RX_PHY_DECODE,
  RX_RSS_HASH,
  RX_RSS_VALID,
  RX_TCPUDP_CSUM,
  RX_TOO_SHORT,
  RX_TYPE_FLAGS,
} from '../../sim/tg3/descriptors.ts';
import type { DmaMemory, RegisterSpace } from '../device.ts';
import {
  HASH_IPV4,
  HASH_IPV6,
  HASH_TCP_IPV4,
  HASH_TCP_IPV6,
  type PacketBuffer,
  RX_HASH,
  RX_IP_CHECKSUM_BAD,
  RX_IP_CHECKSUM_GOOD,
  RX_L4_CHECKSUM_BAD,
  RX_L4_CHECKSUM_GOOD,
  RX_MULTICAST_MISS,
  RX_VLAN,
} from '../packet.ts';
import { ReceiveRing } from '../receive-ring.ts';
import { type Chip, R } from './chip.ts';
import { JUMBO_ROOM, OPAQUE, STANDARD_ENTRIES, STANDARD_ROOM } from './producer-ring.ts';
import type { Receiver } from './receive.ts';
import { RING_ALIGN, type StatusBlocks } from './status.ts';

const SHORTEST = 14 + FCS;
const BD_WORDS = RX_BD / 4;
const DAMAGED =
  RX_BAD_CRC | RX_COLLISION | RX_LINK_LOST | RX_PHY_DECODE | RX_MAC_ABORT | RX_TOO_SHORT | RX_NO_RESOURCES | RX_GIANT;
const GOOD_SUM = 0xffff;
const IPV4_HASHES = HASH_IPV4 | HASH_TCP_IPV4;
const IPV6_HASHES = HASH_IPV6 | HASH_TCP_IPV6;

export class ReturnRing extends ReceiveRing {
  readonly size: number;
  readonly memory: DmaMemory;
  /** Its consumer mailbox. */
  readonly #mailbox: number;
  readonly #index: number;
  readonly #buffers: Receiver;
  readonly #words: Uint32Array;
  readonly #bar: RegisterSpace;
  readonly #status: StatusBlocks;
  readonly #statusWords: Uint32Array;
  readonly #headers = new Headers();
  // Where the status block has its producer.
  #statusWord = 0;
  #statusShift = 0;
  #next = 0;
  #refused = -1; // a producer that was refused, so that it is counted once

  constructor(chip: Chip, buffers: Receiver, status: StatusBlocks, index: number) {
    super();
    this.size = chip.variant.returnEntries;
    this.memory = chip.device.dma.alloc(this.size * RX_BD, RING_ALIGN);
    this.#words = this.memory.words;
    this.#index = index;
    this.#mailbox = R.MBOX_RET_CON.at(index);
    this.#buffers = buffers;
    this.#bar = chip.bar;
    this.#status = status;
    this.#statusWords = status.words;
  }

  /** The card has been told where the ring is. The receiver must be off. */
  setUp(): void {
    const { word, shift } = this.#status.producer(this.#index);
    this.#statusWord = word;
    this.#statusShift = shift;
    this.#bar.write32(this.#mailbox, 0);
  }

  /** Frames that wait. */
  get used(): number {
    return (this.#produced - this.#next) & (this.size - 1);
  }

  get ready(): boolean {
    return this.#produced !== this.#next;
  }

  /** Up to where the card has filled the ring: no news where it says what cannot be. */
  get #produced(): number {
    const producer = (this.#statusWords[this.#statusWord]! >>> this.#statusShift) & 0xffff;
    if (producer < this.size) return producer;
    if (producer !== this.#refused) {
      this.#refused = producer;
      this.malformed++;
    }
    return this.#next;
  }

  /** Tells the card how far, and gives it fresh buffers. */
  receive(into: PacketBuffer[], at: number, end: number): number {
    const producer = this.#produced;
    let next = this.#next;
    const buffers = this.#buffers;
    if (producer === next || at >= end) {
      buffers.refill(); // the pool may have been empty the last time
      return at;
    }
    const words = this.#words;
    const { slots, mode } = buffers;
    const { checksums, vlanStrip, hashed } = mode;
    const last = this.size - 1;
    let taken = at;
    let bytes = 0;
    let standard = 0;
    while (next !== producer && taken < end) {
      const word = next * BD_WORDS;
      next = (next + 1) & last;
      const slot = words[word + RX_OPAQUE]! ^ OPAQUE;
      words[word + RX_OPAQUE] = 0; // what is read twice names nothing the second time
      const packet = slot >= 0 && slot < slots.length ? slots[slot]! : null;
      if (packet === null) {
        this.malformed++;
        buffers.unnamed++;
        continue;
      }
      slots[slot] = null;
      if (slot < STANDARD_ENTRIES) standard++;
      else buffers.jumbo!.used--;
      const flags = words[word + RX_TYPE_FLAGS]!;
      const length = words[word + RX_INDEX_LENGTH]! & 0xffff;
      const errors = words[word + RX_ERROR_VLAN]!;
      const room = slot < STANDARD_ENTRIES ? STANDARD_ROOM : JUMBO_ROOM;
      if (length < SHORTEST || length > room || ((flags & RX_ERROR) !== 0 && (errors & DAMAGED) !== 0)) {
        // A damaged frame is in the chip's own counters, one that it could not store is not.
        if ((flags & RX_ERROR) === 0 || (errors & RX_NO_RESOURCES) !== 0) this.malformed++;
        packet.free();
        continue;
      }
      packet.length = length - FCS;
      packet.total = length - FCS;
      let found = 0;
      if (checksums && (flags & (RX_IP_CSUM | RX_TCPUDP_CSUM)) !== 0) {
        found = this.#judge(packet, flags, words[word + RX_CHECKSUMS]!);
      }
      if (vlanStrip && (flags & BD_VLAN) !== 0) {
        packet.vlan = errors & 0xffff;
        found |= RX_VLAN;
      }
      if (hashed && (packet.bytes[packet.start]! & 1) !== 0 && !isBroadcast(packet.bytes, packet.start)) {
        found |= RX_MULTICAST_MISS;
      }
      if ((flags & RX_RSS_VALID) !== 0) {
        packet.hash = words[word + RX_RSS_HASH]!;
        packet.hashType = mode.hashTypes & ((flags & RX_IPV6) === 0 ? IPV4_HASHES : IPV6_HASHES);
        found |= RX_HASH;
      }
      packet.flags = found;
      into[taken++] = packet;
      bytes += length - FCS;
    }
    this.#next = next;
    this.packets += taken - at;
    this.bytes += bytes;
    this.#bar.write32(this.#mailbox, next);
    buffers.standard.used -= standard;
    buffers.refill();
    return taken;
  }

  /** What the card found out about checksums: it gives the sums, of which all ones are right. */
  #judge(packet: PacketBuffer, flags: number, sums: number): number {
    let found = 0;
    if ((flags & RX_IP_CSUM) !== 0) found = sums >>> 16 === GOOD_SUM ? RX_IP_CHECKSUM_GOOD : RX_IP_CHECKSUM_BAD;
    if ((flags & RX_TCPUDP_CSUM) === 0) return found;
    if ((sums & 0xffff) === GOOD_SUM) return found | RX_L4_CHECKSUM_GOOD;
    return this.#hasSum(packet) ? found | RX_L4_CHECKSUM_BAD : found;
  }

  /** Of a fragment, or UDP without a checksum, the sum says nothing. */
  #hasSum(packet: PacketBuffer): boolean {
    const headers = this.#headers;
    const { bytes, start, length } = packet;
    parseHeaders(bytes, start, length, headers);
    if (headers.l4 === 0) return false;
    return headers.protocol !== PROTOCOL_UDP || get16(bytes, start + headers.l4 + 6) !== 0;
  }

  empty(): void {
    this.#words.fill(0);
    this.#next = 0;
    this.#refused = -1;
  }

  close(): void {
    this.memory.free();
  }
}
