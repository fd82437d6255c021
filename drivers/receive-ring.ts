/** What every ring by which frames come up does alike: it counts. */
import { wide } from '../sim/wide.ts';
import type { PacketBuffer } from './packet.ts';
import type { ReceiveQueue } from './queues.ts';

/** Fresh buffers are handed over this many at a time: a doorbell is a bus access, and costs as such. */
export const REFILL = 16;

/** What the card was told to do, and descriptors therefore mean. */
export interface ReceiveMode {
  checksums: boolean;
  vlanStrip: boolean;
}

export abstract class ReceiveRing implements ReceiveQueue {
  packets = 0;
  bytes = 0;
  /** What the card told that makes no sense: lengths, buffers, indices that cannot be. */
  malformed = 0;
  /** Frames dropped half-way, because the ring and the pool had no buffer left for the rest of them. */
  unfinished = 0;

  constructor() {
    wide(this, 'bytes');
  }

  abstract readonly size: number;
  abstract readonly used: number;
  abstract readonly ready: boolean;
  abstract receive(into: PacketBuffer[], at: number, end: number): number;

  resetCounts(): void {
    this.packets = 0;
    this.bytes = 0;
    this.malformed = 0;
    this.unfinished = 0;
  }
}

/** Of a ring that holds `limit` buffers at most: so many are due that there must have been none to have. */
export function isStarved(vacant: number, limit: number): boolean {
  return vacant >= REFILL && vacant > limit >> 1;
}
