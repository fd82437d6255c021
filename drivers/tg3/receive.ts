/**
 * Receive: buffers go to the card by producer rings (standard, and jumbo where frames may be long), frames come back by
 * return rings, whose producers the status block tells. Broadcom 5718-PG108-R, "Receive Data Flow".
 *
 * A return descriptor names the buffer by what was written beside it (opaque). A word of it is believed only if such a
 * buffer is the card's at that moment.
 */
import { FCS, get16, Headers, isBroadcast, PROTOCOL_UDP, parseHeaders } from '../../sim/packet.ts';
import {
  RX_VLAN as BD_VLAN,
  RCB,
  RCB_DISABLED,
  RX_ADDR_LOW,
  RX_BAD_CRC,
  RX_BD,
  RX_CHECKSUMS,
  RX_COLLISION,
  RX_END,
  RX_ERROR,
  RX_ERROR_VLAN,
  RX_EXT_BD,
  RX_GIANT,
  RX_INDEX_LENGTH,
  RX_IP_CSUM,
  RX_JUMBO,
  RX_LINK_LOST,
  RX_MAC_ABORT,
  RX_NO_RESOURCES,
  RX_OPAQUE,
  RX_PHY_DECODE,
  RX_TCPUDP_CSUM,
  RX_TOO_SHORT,
  RX_TYPE_FLAGS,
  SRAM_JUMBO_BDS,
  SRAM_RET_RCB,
  SRAM_STD_BDS,
} from '../../sim/tg3/descriptors.ts';
import { wide } from '../../sim/wide.ts';
import type { DmaMemory, RegisterSpace } from '../device.ts';
import { ETHERNET_MTU } from '../net-driver.ts';
import {
  HEADROOM,
  type PacketBuffer,
  PacketPool,
  RX_IP_CHECKSUM_BAD,
  RX_IP_CHECKSUM_GOOD,
  RX_L4_CHECKSUM_BAD,
  RX_L4_CHECKSUM_GOOD,
  RX_MULTICAST_MISS,
  RX_VLAN,
} from '../packet.ts';
import { type Chip, R } from './chip.ts';
import type { StatusBlocks } from './status.ts';

const STANDARD_ENTRIES = 512;
const JUMBO_ENTRIES = 256;
/** Bytes of a standard buffer: the 575x knows no other size. */
export const STANDARD_ROOM = 1536;
/** A 9000-byte packet with header, tag and FCS, and some. */
const JUMBO_ROOM = 9046;
const JUMBO_BUFFERS = 2 * JUMBO_ENTRIES;
/** Fresh buffers are handed over this many at a time: a doorbell is a bus access, and costs as such. */
const REFILL = 16;
const SHORTEST = 14 + FCS;
const BD_WORDS = RX_BD / 4;
/** Above the slot in a descriptor's opaque word: so that a zeroed or foreign descriptor names none. */
const OPAQUE = 0x5b00_0000;
const DAMAGED =
  RX_BAD_CRC | RX_COLLISION | RX_LINK_LOST | RX_PHY_DECODE | RX_MAC_ABORT | RX_TOO_SHORT | RX_NO_RESOURCES | RX_GIANT;
const GOOD_SUM = 0xffff;

/** Buffers on their way to the card. */
class ProducerRing {
  /** Descriptors that may have a buffer. */
  limit = 0;
  used = 0;
  pool: PacketPool;
  readonly memory: DmaMemory;
  readonly #words: Uint32Array;
  readonly #slots: (PacketBuffer | null)[];
  readonly #first: number; // of the ring's slots
  readonly #entries: number;
  readonly #stride: number; // words
  readonly #at: number; // of the standard descriptor in an entry, words
  readonly #bar: RegisterSpace;
  readonly #mailbox: number;
  #next = 0;

  constructor(
    chip: Chip,
    pool: PacketPool,
    slots: (PacketBuffer | null)[],
    { first, entries, bytes, mailbox }: { first: number; entries: number; bytes: number; mailbox: number },
  ) {
    this.pool = pool;
    this.memory = chip.device.dma.alloc(entries * bytes, 64);
    this.#words = this.memory.words;
    this.#slots = slots;
    this.#first = first;
    this.#entries = entries;
    this.#stride = bytes / 4;
    this.#at = (bytes - RX_BD) / 4;
    this.#bar = chip.bar;
    this.#mailbox = mailbox;
  }

  /** Everything but the addresses, which change with the buffers. */
  describe(room: number, flags: number): void {
    this.#words.fill(0);
    for (let i = 0; i < this.#entries; i++) {
      const at = i * this.#stride + this.#at;
      this.#words[at + RX_INDEX_LENGTH] = (i << 16) | room;
      this.#words[at + RX_TYPE_FLAGS] = flags;
      this.#words[at + RX_OPAQUE] = OPAQUE | (this.#first + i);
    }
  }

  get vacant(): number {
    return this.limit - this.used;
  }

  get starved(): boolean {
    return this.vacant >= REFILL && this.vacant > this.limit >> 1;
  }

  /** Buffers are due, but the next descriptor's has never come back. */
  get blocked(): boolean {
    return this.starved && this.#slots[this.#first + this.#next] !== null;
  }

  /** Stops early where a buffer has not come back yet that went out a round ago, as return rings may overtake each other. */
  fill(): void {
    const words = this.#words;
    const slots = this.#slots;
    const pool = this.pool;
    const first = this.#first;
    const last = this.#entries - 1;
    const stride = this.#stride;
    const at = this.#at + RX_ADDR_LOW;
    let next = this.#next;
    let left = this.limit - this.used;
    while (left > 0 && slots[first + next] === null) {
      const piece = pool.take();
      if (piece === null) break;
      words[next * stride + at] = piece.iova + HEADROOM;
      slots[first + next] = piece;
      next = (next + 1) & last;
      left--;
    }
    if (next === this.#next) return;
    this.#next = next;
    this.used = this.limit - left;
    this.#bar.write32(this.#mailbox, next);
  }

  empty(): void {
    for (let slot = this.#first; slot < this.#first + this.#entries; slot++) {
      this.#slots[slot]?.free();
      this.#slots[slot] = null;
    }
    this.used = 0;
    this.#next = 0;
  }
}

/** Frames on their way back. */
interface ReturnRing {
  readonly memory: DmaMemory;
  readonly words: Uint32Array;
  readonly mailbox: number;
  /** Where the status block has its producer. */
  word: number;
  shift: number;
  next: number;
  /** A producer that was refused, so that it is counted once. */
  refused: number;
}

export class Receiver {
  /** Frames and bytes handed up. */
  packets = 0;
  bytes = 0;
  /** Descriptors and indices that made no sense: no such buffer, longer than it, beyond the ring. */
  malformed = 0;
  /** What the card was told to do, and descriptors therefore mean. */
  checksums = false;
  vlanStrip = false;
  /** Groups are being received by the hash, which takes more than those. */
  hashed = false;
  readonly queues: number;
  readonly #chip: Chip;
  readonly #bar: RegisterSpace;
  readonly #status: StatusBlocks;
  readonly #statusWords: Uint32Array;
  readonly #pool: PacketPool;
  readonly #slots: (PacketBuffer | null)[];
  readonly #standard: ProducerRing;
  readonly #jumbo: ProducerRing | null;
  readonly #rings: ReturnRing[];
  readonly #entries: number; // of a return ring
  readonly #descriptors: number;
  readonly #headers = new Headers();
  #jumboPool: PacketPool | null = null;
  #first = 0; // the return ring that is looked at first
  #unnamed = 0; // returned descriptors that named no buffer of ours: the card has used one, and nobody knows which

  constructor(chip: Chip, pool: PacketPool, status: StatusBlocks, descriptors: number, queues: number) {
    const { is577xx, returnEntries } = chip.variant;
    wide(this, 'bytes');
    this.queues = queues;
    this.#chip = chip;
    this.#bar = chip.bar;
    this.#status = status;
    this.#statusWords = status.words;
    this.#pool = pool;
    this.#descriptors = descriptors;
    this.#entries = returnEntries;
    const slots = new Array<PacketBuffer | null>(STANDARD_ENTRIES + (is577xx ? JUMBO_ENTRIES : 0)).fill(null);
    this.#slots = slots;
    const mailbox = R.MBOX_STD_PROD.at;
    this.#standard = new ProducerRing(chip, pool, slots, {
      first: 0,
      entries: STANDARD_ENTRIES,
      bytes: RX_BD,
      mailbox,
    });
    this.#jumbo = is577xx
      ? new ProducerRing(chip, pool, slots, {
          first: STANDARD_ENTRIES,
          entries: JUMBO_ENTRIES,
          bytes: RX_EXT_BD,
          mailbox: R.MBOX_JUMBO_PROD.at,
        })
      : null;
    this.#rings = Array.from({ length: queues }, (_, ring) => {
      const memory = chip.device.dma.alloc(returnEntries * RX_BD, 64);
      const box = R.MBOX_RET_CON.at(ring);
      return { memory, words: memory.words, mailbox: box, word: 0, shift: 0, next: 0, refused: -1 };
    });
  }

  /** Where the rings are. The receiver must be off. */
  setUp(mtu: number): void {
    this.empty();
    this.#setUpStandard();
    this.#setUpJumbo(mtu);
    this.#setUpReturn();
  }

  #setUpStandard(): void {
    const chip = this.#chip;
    const { is577xx, replenish } = chip.variant;
    const ring = this.#standard;
    ring.limit = this.#descriptors - 1;
    ring.describe(STANDARD_ROOM, RX_END);
    chip.write(R.RCVDBDI_STD_ADDR_HIGH, 0);
    chip.write(R.RCVDBDI_STD_ADDR_LOW, ring.memory.iova);
    // The 577xx is told the size of the buffers, too.
    chip.write(R.RCVDBDI_STD_LEN_FLAGS, { SIZE: STANDARD_ENTRIES, BUFFER: is577xx ? STANDARD_ROOM : 0 });
    chip.write(R.RCVDBDI_STD_NIC_ADDR, SRAM_STD_BDS);
    chip.write(R.RCVBDI_STD_THRESH, { BDS: Math.max(1, Math.min(ring.limit >> 3, replenish)) });
    if (is577xx) chip.write(R.STD_REPLENISH_LWM, 128);
  }

  #setUpJumbo(mtu: number): void {
    const chip = this.#chip;
    const ring = this.#jumbo;
    if (ring === null) return;
    ring.limit = mtu > ETHERNET_MTU ? Math.min(this.#descriptors, JUMBO_ENTRIES) - 1 : 0;
    chip.write(R.RCVBDI_JUMBO_THRESH, { BDS: Math.max(1, ring.limit >> 3) });
    chip.write(R.JMB_REPLENISH_LWM, 64);
    if (ring.limit === 0) {
      chip.write(R.RCVDBDI_JUMBO_LEN_FLAGS, { DISABLED: 1 });
      return;
    }
    ring.pool = this.#longBuffers();
    ring.describe(JUMBO_ROOM, RX_END | RX_JUMBO);
    chip.write(R.RCVDBDI_JUMBO_ADDR_HIGH, 0);
    chip.write(R.RCVDBDI_JUMBO_ADDR_LOW, ring.memory.iova);
    chip.write(R.RCVDBDI_JUMBO_LEN_FLAGS, { SIZE: JUMBO_ENTRIES, USE_EXT: 1 });
    chip.write(R.RCVDBDI_JUMBO_NIC_ADDR, SRAM_JUMBO_BDS);
  }

  /** A jumbo descriptor has one buffer for the whole frame; where the pool's are smaller it has a pool of its own. */
  #longBuffers(): PacketPool {
    if (this.#pool.bufferSize - HEADROOM >= JUMBO_ROOM) return this.#pool;
    const bufferSize = Math.ceil((JUMBO_ROOM + HEADROOM) / 64) * 64;
    this.#jumboPool ??= new PacketPool(this.#chip.device.dma, { bufferSize, limit: JUMBO_BUFFERS, chunk: 64 });
    return this.#jumboPool;
  }

  #setUpReturn(): void {
    const chip = this.#chip;
    for (const [index, ring] of this.#rings.entries()) {
      const at = SRAM_RET_RCB + index * RCB;
      chip.writeSram(at, 0);
      chip.writeSram(at + 4, ring.memory.iova);
      chip.writeSram(at + 8, this.#entries << 16);
      chip.writeSram(at + 12, 0);
      chip.bar.write32(ring.mailbox, 0);
      Object.assign(ring, this.#status.producer(index));
    }
    for (let index = this.queues; index < chip.variant.maxQueues; index++) {
      chip.writeSram(SRAM_RET_RCB + index * RCB + 8, RCB_DISABLED);
    }
  }

  /** Descriptors that may have a buffer, and one that never has. */
  get size(): number {
    return this.#standard.limit + 1 + (this.#jumbo === null || this.#jumbo.limit === 0 ? 0 : this.#jumbo.limit + 1);
  }

  get used(): number {
    return this.#standard.used + (this.#jumbo?.used ?? 0);
  }

  /** Whether a return ring has something. */
  get ready(): boolean {
    for (const ring of this.#rings) if (this.#produced(ring) !== ring.next) return true;
    return false;
  }

  get starved(): boolean {
    return this.#standard.starved || (this.#jumbo?.starved ?? false);
  }

  get stuck(): boolean {
    const { limit } = this.#standard;
    const lost = this.#unnamed > limit >> 1 || this.#standard.blocked || (this.#jumbo?.blocked ?? false);
    return lost && !this.ready;
  }

  /** Up to where the card has filled a return ring: no news where it says what cannot be. */
  #produced(ring: ReturnRing): number {
    const producer = (this.#statusWords[ring.word]! >>> ring.shift) & 0xffff;
    if (producer < this.#entries) return producer;
    if (producer !== ring.refused) {
      ring.refused = producer;
      this.malformed++;
    }
    return ring.next;
  }

  resetCounts(): void {
    this.packets = 0;
    this.bytes = 0;
    this.malformed = 0;
  }

  receive(into: PacketBuffer[], limit: number): number {
    const rings = this.#rings;
    const { queues } = this;
    let taken = 0;
    let first = this.#first;
    for (let i = 0; i < queues && taken < limit; i++) {
      taken = this.#drain(rings[first]!, into, taken, limit);
      first = first + 1 === queues ? 0 : first + 1;
    }
    this.#first = first; // where a ring had more than was wanted, the next one has its turn
    this.packets += taken;
    const standard = this.#standard;
    if (standard.limit - standard.used >= REFILL) standard.fill();
    const jumbo = this.#jumbo;
    if (jumbo !== null && jumbo.limit - jumbo.used >= REFILL) jumbo.fill();
    return taken;
  }

  /** Takes from one return ring, and tells the card how far. */
  #drain(ring: ReturnRing, into: PacketBuffer[], from: number, limit: number): number {
    const producer = this.#produced(ring);
    let { next } = ring;
    if (producer === next) return from;
    const { words } = ring;
    const slots = this.#slots;
    const last = this.#entries - 1;
    let taken = from;
    let bytes = 0;
    let standard = 0;
    while (next !== producer && taken < limit) {
      const at = next * BD_WORDS;
      next = (next + 1) & last;
      const slot = words[at + RX_OPAQUE]! ^ OPAQUE;
      words[at + RX_OPAQUE] = 0; // what is read twice names nothing the second time
      const packet = slot >= 0 && slot < slots.length ? slots[slot]! : null;
      if (packet === null) {
        this.malformed++;
        this.#unnamed++;
        continue;
      }
      slots[slot] = null;
      if (slot < STANDARD_ENTRIES) standard++;
      else this.#jumbo!.used--;
      const flags = words[at + RX_TYPE_FLAGS]!;
      const length = words[at + RX_INDEX_LENGTH]! & 0xffff;
      const errors = words[at + RX_ERROR_VLAN]!;
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
      if (this.checksums && (flags & (RX_IP_CSUM | RX_TCPUDP_CSUM)) !== 0) {
        found = this.#judge(packet, flags, words[at + RX_CHECKSUMS]!);
      }
      if (this.vlanStrip && (flags & BD_VLAN) !== 0) {
        packet.vlan = errors & 0xffff;
        found |= RX_VLAN;
      }
      if (this.hashed && (packet.bytes[packet.start]! & 1) !== 0 && !isBroadcast(packet.bytes, packet.start)) {
        found |= RX_MULTICAST_MISS;
      }
      packet.flags = found;
      into[taken++] = packet;
      bytes += length - FCS;
    }
    ring.next = next;
    this.#standard.used -= standard;
    this.bytes += bytes;
    this.#bar.write32(ring.mailbox, next);
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

  /** Gives the card the buffers it lacks. */
  fill(): void {
    this.#standard.fill();
    this.#jumbo?.fill();
  }

  /** Every buffer back to its pool. The card must be quiet. */
  empty(): void {
    this.#standard.empty();
    this.#jumbo?.empty();
    for (const ring of this.#rings) {
      ring.words.fill(0);
      ring.next = 0;
      ring.refused = -1;
    }
    this.#first = 0;
    this.#unnamed = 0;
    this.#status.forget();
  }

  close(): void {
    this.empty();
    this.#standard.memory.free();
    this.#jumbo?.memory.free();
    for (const { memory } of this.#rings) memory.free();
    this.#jumboPool?.close();
    this.#jumboPool = null;
  }
}
