/** A client's memory as the model sees it: what DMA_MAP brought, until DMA_UNMAP or the client's end. */
import { type MappedMemory, mapMemory, NativeError } from '../../native/index.ts';
import type { AddressSpace, DistantMemory } from '../../sim/memory.ts';
import { EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC, MAX_DMA_MAPS, PAGE_BYTES } from './codec.ts';

/** One ArrayBuffer's worth: below every Node's longest. */
const PIECE_BYTES = 2 ** 31;
/** All mappings together, in address space alone. */
const MOST_BYTES = 2 ** 40;
/**
 * Pieces mapped at a time, by all clients. Linux gives a process 65530 mappings (vm.max_map_count), and one that has none
 * left cannot get memory for itself either: it crashes.
 */
const MOST_PIECES = 32768;

/** Of this thread's clients. */
let mapped = 0;

export interface Range {
  readonly start: number;
  readonly end: number;
}

export interface MapRequest {
  readonly start: number;
  readonly length: number;
  readonly writable: boolean;
  /** Where in the descriptor it is; null where none came, and the memory is had by message. */
  readonly source: { readonly fd: number; readonly offset: number } | null;
}

/** What a client's ranges are made reachable by: for a model, or for a device elsewhere. */
export interface Backing {
  /** Returns 0 or an errno; then nothing of it is mapped. The descriptor stays the caller's. */
  map(request: MapRequest): number;
  /** When this returns the device does not reach them any more. Each was mapped as a whole. */
  unmap(ranges: readonly Range[]): void;
}

/** The ranges: whatever their backing, these are the rules. */
export class GuestMemory {
  readonly #backing: Backing;
  readonly #ranges: Range[] = []; // in order of address
  #bytes = 0;
  /** Mappings that came without a descriptor. */
  distant = 0;

  constructor(backing: Backing) {
    this.#backing = backing;
  }

  get count(): number {
    return this.#ranges.length;
  }

  /** Returns 0 or an errno. The descriptor stays the caller's. */
  map(request: MapRequest): number {
    const { start, length, source } = request;
    const end = start + length;
    const offset = source?.offset ?? 0;
    const aligned = [start, length, offset].every((value) => value % PAGE_BYTES === 0); // Infinity is not
    if (!aligned || length === 0 || end > Number.MAX_SAFE_INTEGER) return EINVAL;
    const at = this.#firstEndingAfter(start);
    if ((this.#ranges[at]?.start ?? Infinity) < end) return EEXIST;
    if (this.#ranges.length >= MAX_DMA_MAPS || this.#bytes + length > MOST_BYTES) return ENOSPC;
    const error = this.#backing.map(request);
    if (error !== 0) return error;
    if (source === null) this.distant++;
    this.#ranges.splice(at, 0, { start, end });
    this.#bytes += length;
    return 0;
  }

  /** Unmaps every range inside; returns 0, ENOENT where there is none, or EINVAL where one would have to be cut. */
  unmap(start: number, length: number): number {
    const end = start + length;
    if (length === 0 || end > Number.MAX_SAFE_INTEGER) return EINVAL;
    const first = this.#firstEndingAfter(start);
    let last = first;
    while (last < this.#ranges.length && this.#ranges[last]!.start < end) last++;
    if (last === first) return ENOENT;
    if (this.#ranges[first]!.start < start || this.#ranges[last - 1]!.end > end) return EINVAL;
    this.#drop(this.#ranges.splice(first, last - first));
    return 0;
  }

  clear(): void {
    this.#drop(this.#ranges.splice(0));
  }

  #drop(ranges: readonly Range[]): void {
    for (const { start, end } of ranges) this.#bytes -= end - start;
    if (ranges.length > 0) this.#backing.unmap(ranges);
  }

  #firstEndingAfter(address: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#ranges[middle]!.end > address) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** A model's: memory is mapped here, and what came without a descriptor is asked for. */
export class ModelMemory implements Backing {
  readonly #space: AddressSpace;
  readonly #distant: DistantMemory;
  /** By where a range begins; empty where it is asked for. */
  readonly #pieces = new Map<number, readonly MappedMemory[]>();

  /** @param distant Reaches what comes without a descriptor. */
  constructor(space: AddressSpace, distant: DistantMemory) {
    this.#space = space;
    this.#distant = distant;
  }

  map({ start, length, writable, source }: MapRequest): number {
    if (source !== null && mapped + Math.ceil(length / PIECE_BYTES) > MOST_PIECES) return ENOSPC;
    const pieces: MappedMemory[] = [];
    try {
      if (source !== null) this.#mapPieces(pieces, start, length, writable, source);
      else this.#space.mapDistant(start, length, this.#distant, { writable });
    } catch (error) {
      this.#unmapPieces(start, pieces);
      return error instanceof NativeError && error.code !== 'ENOMEM' ? EINVAL : ENOMEM;
    }
    this.#pieces.set(start, pieces);
    return 0;
  }

  #mapPieces(
    pieces: MappedMemory[],
    start: number,
    length: number,
    writable: boolean,
    { fd, offset }: { fd: number; offset: number },
  ): void {
    for (let done = 0; done < length; done += PIECE_BYTES) {
      const piece = mapMemory(fd, {
        offset: offset + done,
        length: Math.min(PIECE_BYTES, length - done),
        shared: writable,
      });
      pieces.push(piece);
      mapped++;
      this.#space.map(start + done, new Uint8Array(piece.buffer), { writable });
    }
  }

  unmap(ranges: readonly Range[]): void {
    for (const { start } of ranges.toReversed()) {
      // from the end: in the model's list nothing is moved
      const pieces = this.#pieces.get(start)!;
      this.#pieces.delete(start);
      if (pieces.length === 0) this.#space.unmap(start);
      else this.#unmapPieces(start, pieces);
    }
  }

  /** The model loses sight of them before they go. */
  #unmapPieces(start: number, pieces: readonly MappedMemory[]): void {
    for (const [i, piece] of pieces.entries()) {
      this.#space.unmap(start + i * PIECE_BYTES);
      piece.close();
      mapped--;
    }
  }
}
