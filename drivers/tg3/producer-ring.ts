/** Receive producer rings: buffers on their way to the card. Broadcom 5718-PG108-R, "Receive Producer Ring". */
import { RX_ADDR_LOW, RX_BD, RX_INDEX_LENGTH, RX_OPAQUE, RX_TYPE_FLAGS } from '../../sim/tg3/descriptors.ts';
import type { DmaMemory, RegisterSpace } from '../device.ts';
import { HEADROOM, type PacketBuffer, type PacketPool } from '../packet.ts';
import { isStarved, REFILL } from '../receive-ring.ts';
import type { Chip } from './chip.ts';
import { RING_ALIGN } from './status.ts';

export const STANDARD_ENTRIES = 512;
export const JUMBO_ENTRIES = 256;
/** Bytes of a standard buffer: the 575x knows no other size. */
export const STANDARD_ROOM = 1536;
/** A 9000-byte packet with header, tag and FCS, and some. */
export const JUMBO_ROOM = 9046;
/** Above the slot in a descriptor's opaque word: so that a zeroed or foreign descriptor names none. */
export const OPAQUE = 0x5b00_0000;

/** Buffers on their way to the card. */
export class ProducerRing {
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
    this.memory = chip.device.dma.alloc(entries * bytes, RING_ALIGN);
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
    return isStarved(this.vacant, this.limit);
  }

  /** Buffers are due, but the next descriptor's has never come back. */
  get blocked(): boolean {
    return this.starved && this.#slots[this.#first + this.#next] !== null;
  }

  /** Once there are enough of them to be worth a doorbell. */
  refill(): void {
    if (this.limit - this.used >= REFILL) this.fill();
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

  close(): void {
    this.memory.free();
  }
}
