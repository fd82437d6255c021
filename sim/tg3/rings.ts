/** The receive side's rings: what the host fills with buffers, and what the chip fills with frames. */
import { DescriptorRing } from '../nic/ring.ts';
import { field, type Register } from '../registers.ts';
import { RETURN } from './coalescing.ts';
import type { RingContext } from './context.ts';
import { RCB_DISABLED, RCB_USE_EXT, RX_BD, RX_EXT_BD, SRAM_RET_RCB } from './descriptors.ts';
import type { Sram } from './sram.ts';

const MAX_RING = 2047; // the mailboxes have 11 bits
const EXTENDED = (RX_EXT_BD - RX_BD) / 4; // words in front of an extended BD's half that has the first buffer
const ENTRIES = 0xffff0000; // of an RCB's third word

/** A ring as its control block says: address high and low, entries and flags. */
export function place(ring: DescriptorRing, words: Uint32Array, at: number): void {
  const flags = words[at + 2]!;
  const count = flags & RCB_DISABLED ? 0 : Math.min(field(flags, ENTRIES), MAX_RING);
  ring.place(words[at]! * 0x1_0000_0000 + ((words[at + 1]! & ~3) >>> 0), count);
}

/** Where a ring of buffers is told of, and whether its BDs may be extended ones. */
interface ProducerKind {
  readonly control: Register; // the first of its RCB's
  readonly producer: Register;
  readonly extends: boolean;
}

/** A ring of empty buffers, in BDs of either size. Its consumer index is the chip's, in `indices`. */
export class ProducerRing {
  ring: DescriptorRing;
  /** Words in front of what counts in a BD. */
  skip = 0;
  readonly #plain: DescriptorRing;
  readonly #extended: DescriptorRing | null;
  readonly #words: Uint32Array;
  readonly #control: number;
  readonly #producer: number;
  readonly #indices: Uint16Array;
  readonly #index: number;

  constructor({ registers, dma, index }: RingContext, kind: ProducerKind, indices: Uint16Array) {
    this.#plain = new DescriptorRing(dma, RX_BD);
    this.#extended = kind.extends ? new DescriptorRing(dma, RX_EXT_BD) : null;
    this.ring = this.#plain;
    this.#words = registers.words;
    this.#control = kind.control.word;
    this.#producer = kind.producer.word;
    this.#indices = indices;
    this.#index = index;
  }

  /** After its control block changed. @param there whether the chip has this one. */
  settle(there: boolean): void {
    const extended = this.#words[this.#control + 2]! & RCB_USE_EXT ? this.#extended : null;
    this.ring = extended ?? this.#plain;
    this.skip = extended === null ? 0 : EXTENDED;
    place(this.ring, this.#words, this.#control);
    if (!there) this.ring.count = 0;
    if (this.consumer >= this.ring.count) this.consumer = 0;
  }

  get consumer(): number {
    return this.#indices[this.#index]!;
  }

  set consumer(index: number) {
    this.#indices[this.#index] = index;
  }

  /** Where the host's buffers end; the ring has entries. */
  get supplied(): number {
    return this.#words[this.#producer]! % this.ring.count;
  }

  get empty(): boolean {
    return this.ring.count === 0 || this.consumer === this.supplied;
  }
}

/** A ring of returned frames. Its producer index is the chip's, in `indices`. */
export class ReturnRing {
  readonly name: string;
  readonly index: number;
  readonly ring: DescriptorRing;
  /** Of a burst: frames so far, the words of entry 0, and where the host's places end. */
  fresh = 0;
  first = 0;
  consumed = 0;
  readonly #words: Uint32Array;
  readonly #consumer: number;
  readonly #sram: Sram;
  readonly #indices: Uint16Array;
  readonly #place: number; // in them

  constructor({ registers, r, dma, name, index }: RingContext, sram: Sram, indices: Uint16Array) {
    this.name = name;
    this.index = index;
    this.ring = new DescriptorRing(dma, RX_BD);
    this.#words = registers.words;
    this.#consumer = r.MBOX_RET_CON.word(index);
    this.#sram = sram;
    this.#indices = indices;
    this.#place = RETURN + index;
  }

  /** After its control block changed. @param there whether the chip has this one. */
  settle(there: boolean): void {
    place(this.ring, this.#sram.words, SRAM_RET_RCB / 4 + 4 * this.index);
    if (!there) this.ring.count = 0;
    if (this.producer >= this.ring.count) this.producer = 0;
  }

  get producer(): number {
    return this.#indices[this.#place]!;
  }

  set producer(index: number) {
    this.#indices[this.#place] = index;
  }

  get full(): boolean {
    const { ring } = this;
    return ring.count === 0 || ring.next(this.producer) === this.#words[this.#consumer]! % ring.count;
  }

  /** Whether a burst may go into it: all of it is in one writable mapping. */
  begin(): boolean {
    const { ring } = this;
    this.first = ring.locate(0);
    if (this.first < 0 || !ring.contiguous || !ring.writable) return false;
    this.consumed = this.#words[this.#consumer]! % ring.count;
    this.fresh = 0;
    return true;
  }
}
