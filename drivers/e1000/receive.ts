/**
 * Receive: a ring of legacy descriptors. Intel 317453 §3.2 and §14.4.
 *
 * The card owns the descriptors from RDH up to, not including, RDT. It fills their buffers in order and sets DD.
 */

import {
  DESCRIPTOR,
  RX_DD,
  RX_EOP,
  RX_IPCS,
  RX_IPE,
  RX_IXSM,
  RX_PIF,
  RX_TCPCS,
  RX_TCPE,
  RX_VP,
} from '../../sim/e1000/descriptors.ts';
import type { DmaMemory, RegisterSpace } from '../device.ts';
import type { ReceiveBuffers } from '../net-driver.ts';
import {
  HEADROOM,
  type PacketBuffer,
  type PacketPool,
  RX_ERROR,
  RX_IP_CHECKSUM_BAD,
  RX_IP_CHECKSUM_GOOD,
  RX_L4_CHECKSUM_BAD,
  RX_L4_CHECKSUM_GOOD,
  RX_MULTICAST_MISS,
  RX_VLAN,
} from '../packet.ts';
import { isStarved, REFILL, type ReceiveMode, ReceiveRing } from '../receive-ring.ts';
import { SHORTEST } from '../requests.ts';
import { type Chip, R } from './chip.ts';
import { RING_ALIGN, RX_DAMAGED } from './descriptors.ts';

/** No frame is longer (13.4.22, LPE). */
const LONGEST = 16384;

export class Receiver extends ReceiveRing implements ReceiveBuffers {
  readonly size: number;
  readonly mode: ReceiveMode = { checksums: false, vlanStrip: false };
  /** Hand damaged frames up, marked (where RCTL.SBP makes the card keep them). */
  keepBad = false;
  readonly #bar: RegisterSpace;
  readonly #pool: PacketPool;
  readonly #memory: DmaMemory;
  readonly #words: Uint32Array;
  readonly #slots: (PacketBuffer | null)[];
  readonly #room: number; // bytes the card may write to a buffer
  readonly #mostPieces: number; // a card that goes on and on without EOP is cut off here, whatever lengths it tells
  #next = 0; // the descriptor that the card fills next, as far as is known
  #fill = 0; // where the next fresh buffer goes: what RDT says
  #vacant: number; // descriptors that could have one
  #head: PacketBuffer | null = null; // a frame of several descriptors, so far
  #tail: PacketBuffer | null = null;
  #pieces = 0; // of that frame
  #skipping = false; // up to the end of a frame that is being dropped

  constructor(chip: Chip, pool: PacketPool, size: number, room: number) {
    super();
    this.size = size;
    this.#bar = chip.bar;
    this.#pool = pool;
    this.#room = room;
    this.#mostPieces = Math.ceil(LONGEST / room);
    this.#memory = chip.device.dma.alloc(size * DESCRIPTOR, RING_ALIGN);
    this.#words = this.#memory.words;
    this.#slots = new Array<PacketBuffer | null>(size).fill(null);
    this.#vacant = size - 1;
  }

  /** 14.4: where the ring is, and its buffers. The receiver must be off. */
  setUp(chip: Chip): void {
    this.empty();
    chip.write(R.RDBAL, this.#memory.iova);
    chip.write(R.RDBAH, 0);
    chip.write(R.RDLEN, this.size * DESCRIPTOR);
    chip.write(R.RDH, 0);
    chip.write(R.RDT, 0);
    // Immediate interrupts: it is ITR that moderates. (13.4.30 itself advises against RDTR.)
    chip.write(R.RDTR, 0);
    chip.write(R.RADV, 0);
  }

  /**
   * Hands over buffers; the first only once RCTL.EN is set (14.4: "should be done after the receiver is enabled"). Where
   * there are none because a frame in the making holds them, that frame would never end.
   */
  fill(): void {
    this.#refill();
    if (this.used > 0 || this.#head === null) return;
    this.unfinished++;
    this.#giveUp(false);
    this.#refill();
  }

  /** Descriptors with a buffer. */
  get used(): number {
    return this.size - 1 - this.#vacant;
  }

  /** Whether a frame, or a piece of one, is waiting. */
  get ready(): boolean {
    return this.#slots[this.#next] !== null && (this.#words[(this.#next << 2) + 3]! & RX_DD) !== 0;
  }

  get starved(): boolean {
    return isStarved(this.#vacant, this.size);
  }

  /** By RDH (3.2.6) the card has too few descriptors left for a frame, where by those that are not done it has more. */
  get stuck(): boolean {
    if (this.ready) return false;
    const { size, used } = this;
    const owned = (this.#fill - this.#bar.read32(R.RDH.at) + size) % size;
    return owned < Math.min(used, this.#mostPieces);
  }

  receive(into: PacketBuffer[], at: number, end: number): number {
    const words = this.#words;
    const slots = this.#slots;
    const { size } = this;
    const room = this.#room;
    let next = this.#next;
    let taken = at;
    let seen = 0;
    let bytes = 0;
    while (taken < end) {
      const word = next << 2;
      const piece = slots[next]!;
      const status = words[word + 3]!;
      if ((status & RX_DD) === 0 || piece === null) break;
      const length = words[word + 2]! & 0xffff;
      slots[next] = null; // DD stays set until the descriptor is refilled; without a buffer it means nothing
      next = next + 1 === size ? 0 : next + 1;
      seen++;
      piece.length = length;
      const plain = (status & (RX_EOP | RX_DAMAGED)) === RX_EOP && length >= SHORTEST && length <= room;
      if (!plain || this.#head !== null || this.#skipping) {
        const packet = this.#collect(piece, status);
        if (packet === null) continue;
        into[taken++] = packet;
        bytes += packet.total;
        continue;
      }
      piece.total = length;
      this.#describe(piece, status);
      into[taken++] = piece;
      bytes += length;
    }
    this.#next = next;
    this.#vacant += seen;
    this.packets += taken - at;
    this.bytes += bytes;
    if (this.#vacant >= REFILL) this.fill();
    return taken;
  }

  /** What the card found out, as the packet's flags (3.2.3.1, 3.2.3.2). */
  #describe(packet: PacketBuffer, status: number): void {
    let flags = 0;
    if (this.mode.checksums && (status & RX_IXSM) === 0) {
      if ((status & RX_IPCS) !== 0) flags = (status & RX_IPE) === 0 ? RX_IP_CHECKSUM_GOOD : RX_IP_CHECKSUM_BAD;
      if ((status & RX_TCPCS) !== 0) flags |= (status & RX_TCPE) === 0 ? RX_L4_CHECKSUM_GOOD : RX_L4_CHECKSUM_BAD;
    }
    if ((status & RX_PIF) !== 0) flags |= RX_MULTICAST_MISS;
    if (this.mode.vlanStrip && (status & RX_VP) !== 0) {
      packet.vlan = status >>> 16;
      flags |= RX_VLAN;
    }
    packet.flags = flags;
  }

  /** Everything but a whole, sound frame in one buffer. Returns a packet once it is complete. */
  #collect(piece: PacketBuffer, status: number): PacketBuffer | null {
    const last = (status & RX_EOP) !== 0;
    if (this.#skipping) {
      this.#skipping = !last;
      piece.free();
      return null;
    }
    this.#append(piece);
    if (piece.length > this.#room || this.#pieces > this.#mostPieces) {
      this.malformed++;
      this.#giveUp(last);
      return null;
    }
    return last ? this.#complete(this.#head!, status) : null;
  }

  #complete(packet: PacketBuffer, status: number): PacketBuffer | null {
    const damaged = (status & RX_DAMAGED) !== 0;
    const short = !damaged && packet.total < SHORTEST;
    if (short) this.malformed++; // of damaged ones the chip's own counters tell
    if (short || (damaged && !this.keepBad)) {
      this.#drop();
      return null;
    }
    this.#head = null;
    this.#tail = null;
    this.#pieces = 0;
    this.#describe(packet, status);
    if (damaged) packet.flags |= RX_ERROR;
    return packet;
  }

  #append(piece: PacketBuffer): void {
    if (this.#head === null) {
      this.#head = piece;
      piece.total = piece.length;
    } else {
      this.#tail!.next = piece;
      this.#head.total += piece.length;
    }
    this.#tail = piece;
    this.#pieces++;
  }

  #drop(): void {
    this.#head?.free();
    this.#head = null;
    this.#tail = null;
    this.#pieces = 0;
  }

  /** The frame so far goes, and what follows of it, up to its end. */
  #giveUp(ended: boolean): void {
    this.#drop();
    this.#skipping = !ended;
  }

  /**
   * One descriptor always stays empty. RDT = RDH means that the card owns none; were all filled, it would mean that it
   * owns all, and the two could not be told apart (3.2.6).
   */
  #refill(): void {
    const pool = this.#pool;
    const words = this.#words;
    const slots = this.#slots;
    const { size } = this;
    let at = this.#fill;
    let vacant = this.#vacant;
    while (vacant > 0) {
      const piece = pool.take();
      if (piece === null) break;
      const word = at << 2;
      slots[at] = piece;
      words[word] = piece.iova + HEADROOM;
      words[word + 1] = 0;
      words[word + 2] = 0;
      words[word + 3] = 0;
      at = at + 1 === size ? 0 : at + 1;
      vacant--;
    }
    if (vacant === this.#vacant) return;
    this.#fill = at;
    this.#vacant = vacant;
    this.#bar.write32(R.RDT.at, at);
  }

  /** Every buffer back to the pool. The card must be quiet. */
  empty(): void {
    this.#drop();
    for (let i = 0; i < this.size; i++) {
      this.#slots[i]?.free();
      this.#slots[i] = null;
    }
    this.#words.fill(0);
    this.#next = 0;
    this.#fill = 0;
    this.#vacant = this.size - 1;
    this.#skipping = false;
  }

  close(): void {
    this.empty();
    this.#memory.free();
  }
}
