/**
 * Memory that devices reach by DMA: an allocator over an arena, and the arena of a simulated host.
 *
 * First fit over a list of holes that is kept in order of address and coalesced. It is used for rings and for chunks of
 * packet buffers, never per packet.
 */
import { makeArena } from '../../sim/kernels/index.ts';
import { AddressSpace } from '../../sim/memory.ts';
import type { PacketMemory } from '../../sim/pci/function.ts';
import { DeviceError, type DmaAllocator, type DmaMemory } from '../device.ts';
import { closedError } from './base.ts';

/** Where the arena begins: not 0, so that an address a driver forgot to write faults. */
export const IOVA_BASE = 0x0010_0000;
const IOVA_LIMIT = 0x8000_0000; // an IOVA of 2^31 or more would be a heap number
const GRANULE = 64; // a cache line: two allocations never share one
/** Kept behind what devices can reach, for the models' own packet buffers. Reserved: only what is used costs. */
const MODEL_BYTES = 8 * 1024 * 1024;

/** An allocator over memory that the driver and its devices both see. */
export class Arena {
  readonly #buffer: ArrayBuffer;
  readonly #iova: number;
  readonly #holes: { start: number; end: number }[];

  /**
   * @param buffer begins with the arena, zeroed or not.
   * @param bytes the arena's size: a multiple of 64.
   * @param iova where devices see its start: with `bytes`, below 2^31.
   */
  constructor(buffer: ArrayBuffer, bytes = buffer.byteLength, iova = IOVA_BASE) {
    if (bytes <= 0 || bytes % GRANULE !== 0 || iova + bytes > IOVA_LIMIT) {
      throw new DeviceError('INVALID', `${bytes} bytes of DMA memory: give a multiple of 64 below 2047 MiB`);
    }
    this.#buffer = buffer;
    this.#iova = iova;
    this.#holes = [{ start: 0, end: bytes }];
  }

  /** @throws DeviceError 'NO_MEMORY' where no hole is large enough. */
  alloc(bytes: number, align: number): DmaMemory {
    checkRequest(bytes, align);
    const length = Math.ceil(bytes / GRANULE) * GRANULE;
    const start = this.#take(length, Math.max(align, GRANULE));
    if (start < 0) {
      throw new DeviceError('NO_MEMORY', `no ${bytes} bytes of DMA memory left: open the device with more dmaBytes`);
    }
    new Uint8Array(this.#buffer, start, length).fill(0);
    let live = true;
    return {
      iova: this.#iova + start,
      bytes: new Uint8Array(this.#buffer, start, bytes),
      words: new Uint32Array(this.#buffer, start, bytes >> 2),
      free: () => {
        if (live) this.#give(start, start + length);
        live = false;
      },
    };
  }

  /** Bytes that no one holds. */
  get available(): number {
    return this.#holes.reduce((sum, { start, end }) => sum + end - start, 0);
  }

  #take(length: number, align: number): number {
    for (const [at, hole] of this.#holes.entries()) {
      const start = Math.ceil((this.#iova + hole.start) / align) * align - this.#iova; // aligned for the device
      if (start + length > hole.end) continue;
      const pieces = [
        { start: hole.start, end: start },
        { start: start + length, end: hole.end },
      ].filter((piece) => piece.start < piece.end);
      this.#holes.splice(at, 1, ...pieces);
      return start;
    }
    return -1;
  }

  #give(start: number, end: number): void {
    const after = this.#holes.findIndex((hole) => hole.start >= end);
    const at = after < 0 ? this.#holes.length : after;
    const before = this.#holes[at - 1];
    const next = this.#holes[at];
    const joinsBefore = before?.end === start;
    const joinsNext = next?.start === end;
    if (joinsBefore) before.end = joinsNext ? next.end : end;
    else if (joinsNext) next.start = start;
    else this.#holes.splice(at, 0, { start, end });
    if (joinsBefore && joinsNext) this.#holes.splice(at, 1);
  }
}

/** One arena that the models of this process reach by DMA. */
export class HostMemory {
  readonly space = new AddressSpace();
  readonly #bytes: Uint8Array; // the arena, and behind it the models' own
  readonly #arena: Arena;
  #modelNext: number;
  readonly #modelEnd: number;

  /**
   * @param bytes the arena's size: a multiple of 64, below 2 GiB less 1 MiB.
   * @param modelBytes for the models' packet buffers, of all of them together.
   */
  constructor(bytes = 64 * 1024 * 1024, modelBytes = MODEL_BYTES) {
    const buffer = makeArena(bytes > 0 && bytes <= IOVA_LIMIT ? bytes + modelBytes : 0);
    this.#arena = new Arena(buffer, bytes);
    this.#bytes = new Uint8Array(buffer);
    this.#modelNext = bytes;
    this.#modelEnd = bytes + modelBytes;
    this.space.map(IOVA_BASE, this.#bytes, { length: bytes });
  }

  /** Memory for a model's packet buffers: in the arena, out of every device's reach; elsewhere once that is used up. */
  packetMemory(size: number): PacketMemory {
    const start = this.#modelNext;
    const next = start + Math.ceil(size / GRANULE) * GRANULE;
    if (next > this.#modelEnd) return { bytes: new Uint8Array(size), start: 0 };
    this.#modelNext = next;
    return { bytes: this.#bytes, start };
  }

  /** @throws DeviceError 'NO_MEMORY' where no hole is large enough. */
  alloc(bytes: number, align: number): DmaMemory {
    return this.#arena.alloc(bytes, align);
  }

  /** Bytes that no one holds. */
  get available(): number {
    return this.#arena.available;
  }
}

function checkRequest(bytes: number, align: number): void {
  if (!Number.isInteger(bytes) || bytes <= 0) throw new DeviceError('INVALID', `an allocation of ${bytes} bytes`);
  if (align < 4 || !Number.isInteger(Math.log2(align))) {
    throw new DeviceError('INVALID', `an alignment of ${align}: give a power of two, at least 4`);
  }
}

/** One device's share of an arena: counts what it holds, and can give all of it back. */
export class DeviceMemory implements DmaAllocator {
  readonly #arena: Pick<Arena, 'alloc'>;
  readonly #held = new Set<DmaMemory>();
  #closed = false;
  #used = 0;

  constructor(arena: Pick<Arena, 'alloc'>) {
    this.#arena = arena;
  }

  get used(): number {
    return this.#used;
  }

  alloc(bytes: number, align: number): DmaMemory {
    if (this.#closed) throw closedError();
    const memory = this.#arena.alloc(bytes, align);
    const held: DmaMemory = {
      ...memory,
      free: () => {
        if (!this.#held.delete(held)) return;
        this.#used -= bytes;
        memory.free();
      },
    };
    this.#held.add(held);
    this.#used += bytes;
    return held;
  }

  close(): void {
    this.#closed = true;
    for (const memory of [...this.#held]) memory.free();
  }
}
