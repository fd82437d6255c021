/**
 * Status blocks: what the card tells by writing to memory. One, or one for each interrupt vector; each with a tag that
 * changes whenever it is written. Broadcom 5718-PG108-R, "Status Block Format".
 */
import {
  ST_LINK_CHANGED,
  ST_RET0_SEND,
  ST_RET1_STD,
  ST_RET3_RET2,
  ST_STATUS,
  ST_TAG,
} from '../../sim/tg3/descriptors.ts';
import type { DmaMemory } from '../device.ts';
import { type Chip, R } from './chip.ts';

export const MAX_VECTORS = 5;
/** Bytes: of every ring. */
export const RING_ALIGN = 64;
const BLOCK = 128; // bytes; two blocks never share a cache line
const BLOCK_WORDS = BLOCK / 4;

/** Where in a block the producers of return rings 0 to 3 are: a word, and a shift. */
const PRODUCERS = [
  { word: ST_RET0_SEND, shift: 0 },
  { word: ST_RET1_STD, shift: 0 },
  { word: ST_RET3_RET2, shift: 16 },
  { word: ST_RET3_RET2, shift: 0 },
] as const;

export class StatusBlocks {
  readonly words: Uint32Array;
  /** Blocks in use. */
  count = 1;
  readonly #memory: DmaMemory;

  constructor(chip: Chip) {
    this.#memory = chip.device.dma.alloc(MAX_VECTORS * BLOCK, BLOCK);
    this.words = this.#memory.words;
  }

  /** Tells the card where the blocks are. Host coalescing must be off. */
  setUp(chip: Chip, count: number): void {
    this.forget();
    this.count = count;
    chip.write(R.HOSTCC_STATUS_BLK_HOST_HIGH, 0);
    chip.write(R.HOSTCC_STATUS_BLK_HOST_LOW, this.#memory.iova);
    for (let vector = 1; vector < count; vector++) {
      chip.write(R.HOSTCC_VEC_STATUS_BLK_HIGH, 0, vector - 1);
      chip.write(R.HOSTCC_VEC_STATUS_BLK_LOW, this.#memory.iova + vector * BLOCK, vector - 1);
    }
  }

  /** What was told belongs to rings that are being emptied. */
  forget(): void {
    this.words.fill(0);
  }

  /** The block's tag; to be read before the indices that it vouches for. */
  tag(vector: number): number {
    return this.words[vector * BLOCK_WORDS + ST_TAG]! & 0xff;
  }

  /** Where the send ring's consumer is: in the upper half of this word. */
  get sendWord(): number {
    return ST_RET0_SEND;
  }

  /** With a block for each vector, return ring 0 is vector 1's, and so on: vector 0 has the send ring and the link. */
  producer(ring: number): { word: number; shift: number } {
    const { word, shift } = PRODUCERS[ring]!;
    return { word: word + (this.count > 1 ? (ring + 1) * BLOCK_WORDS : 0), shift };
  }

  /** Whether the link changed; told once. */
  takeLinkChange(): boolean {
    const changed = (this.words[ST_STATUS]! & ST_LINK_CHANGED) !== 0;
    if (changed) this.words[ST_STATUS]! &= ~ST_LINK_CHANGED;
    return changed;
  }

  close(): void {
    this.#memory.free();
  }
}
