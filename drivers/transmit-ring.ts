/** A ring of transmit descriptors of four words, whatever they say: what is in use, whose buffers they are, what is freed when. */
import type { DmaMemory, PciDevice } from './device.ts';
import type { TransmitLimits } from './netdev.ts';
import type { PacketBuffer } from './packet.ts';
import type { TransmitQueue } from './queues.ts';
import { ETHERNET_MTU } from './settings.ts';

const DESCRIPTOR = 16;

export abstract class TransmitRing implements TransmitQueue {
  readonly size: number;
  abstract readonly limits: TransmitLimits;
  /** Packets the card could not have sent, and those that were thrown away unsent. */
  refused = 0;
  abandoned = 0;
  /** Reports of the card's that cannot be. */
  malformed = 0;
  completed = 0;
  /** FEATURE_ bits in effect. */
  features = 0;
  mtu = ETHERNET_MTU;
  protected readonly memory: DmaMemory;
  protected readonly words: Uint32Array;
  /** A packet is kept at its last descriptor: once that one is done, all of it was read. */
  protected readonly slots: (PacketBuffer | null)[];
  protected readonly entries: number;
  protected clean = 0; // the oldest descriptor in use
  protected tail = 0; // the next to use
  protected free: number;

  /** @param size descriptors, of which one stays free. @param entries of the ring, all of which the card goes round. */
  constructor({ dma }: PciDevice, size: number, entries: number, align: number) {
    this.size = size;
    this.entries = entries;
    this.memory = dma.alloc(entries * DESCRIPTOR, align);
    this.words = this.memory.words;
    this.slots = new Array<PacketBuffer | null>(entries).fill(null);
    this.free = size - 1;
  }

  get used(): number {
    return this.size - 1 - this.free;
  }

  get errors(): number {
    return this.refused + this.abandoned + this.malformed;
  }

  abstract readonly ready: boolean;
  abstract transmit(from: PacketBuffer[], first: number, count: number): number;
  abstract reclaim(): number;
  /** What else is kept of a ring in use: it starts anew. */
  protected abstract forget(): void;

  resetCounts(): void {
    this.refused = 0;
    this.abandoned = 0;
    this.malformed = 0;
  }

  protected refuse(packet: PacketBuffer): true {
    this.refused++;
    packet.free();
    return true;
  }

  protected put(word0: number, word1: number, word2: number, word3: number): void {
    const words = this.words;
    const tail = this.tail;
    const word = tail << 2;
    words[word] = word0;
    words[word + 1] = word1;
    words[word + 2] = word2;
    words[word + 3] = word3;
    this.slots[tail] = null;
    this.tail = tail + 1 === this.entries ? 0 : tail + 1;
    this.free--;
  }

  /** The descriptor before the tail. */
  protected get last(): number {
    return this.tail === 0 ? this.entries - 1 : this.tail - 1;
  }

  /** Frees what is done: from the oldest descriptor up to `end`, not included. */
  protected release(end: number): void {
    const slots = this.slots;
    const entries = this.entries;
    let clean = this.clean;
    let released = 0;
    let packets = 0;
    for (; clean !== end; released++) {
      const packet = slots[clean]!;
      if (packet !== null) {
        slots[clean] = null;
        packet.free();
        packets++;
      }
      clean = clean + 1 === entries ? 0 : clean + 1;
    }
    this.clean = clean;
    this.free += released;
    this.completed += packets;
  }

  /** Those not sent are counted. */
  empty(): void {
    this.reclaim();
    for (let i = 0; i < this.entries; i++) {
      const packet = this.slots[i]!;
      if (packet === null) continue;
      packet.free();
      this.abandoned++;
      this.slots[i] = null;
    }
    this.words.fill(0);
    this.clean = 0;
    this.tail = 0;
    this.free = this.size - 1;
    this.forget();
  }

  close(): void {
    this.empty();
    this.memory.free();
  }
}
