/** A client's memory as the model sees it: what DMA_MAP brought, until DMA_UNMAP or the client's end. */
import { closeSync } from 'node:fs';
import {
  createEventfd,
  drainEventfd,
  type MappedMemory,
  type MemoryFile,
  mapMemory,
  memoryFile,
  NativeError,
  type Watch,
  watch,
} from '../../native/index.ts';
import { type AddressSpace, type DistantMemory, firstEndingAfter, type Range } from '../../sim/memory.ts';
import { EEXIST, EINVAL, ENOMEM, ENOSPC, MAX_DMA_MAPS, PAGE_BYTES } from './codec.ts';
import type { Turn } from './turn.ts';

/** One ArrayBuffer's worth: below every Node's longest. */
const PART_BYTES = 2 ** 31;
/** All mappings together, in address space alone. */
const MOST_BYTES = 2 ** 40;
/**
 * Parts of files mapped at a time, by all clients. Linux gives a process 65530 mappings (vm.max_map_count), and one that has
 * none left cannot get memory for itself either: it crashes. One that is cut short takes two.
 */
const MOST_PARTS = 16384;
/** And their bytes: an eighth of the 2^47 that a process has. */
const MOST_PART_BYTES = 2 ** 44;

/** Of this thread's clients. */
const mapped = { parts: 0, bytes: 0 };

export interface MapRequest {
  readonly start: number;
  readonly length: number;
  readonly writable: boolean;
  /** Where in the descriptor it is; null where none came, and the memory is had by message. */
  readonly source: Source | null;
}

export interface Source {
  readonly fd: number;
  readonly offset: number;
  readonly file: MemoryFile;
}

/** In an errno's place: the turn was over. Whoever asked asks the same again in another one. */
export const UNFINISHED = -1;

/** What a client's ranges are made reachable by: for a model, or for a device elsewhere. */
export interface Backing {
  /** Returns 0, UNFINISHED, or an errno; then nothing of it is mapped. The descriptor stays the caller's. */
  map(request: MapRequest, turn: Pick<Turn, 'over'>): number;
  /** Nobody will ask again for what was unfinished: nothing of it is mapped any more. */
  giveUp?(): void;
  /** All that are in a range of addresses, in order. When this returns the device does not reach them any more. */
  unmap(ranges: readonly Range[]): void;
}

/** The ranges: whatever their backing, these are the rules. */
export class GuestMemory {
  readonly #backing: Backing;
  readonly #ranges: Range[] = []; // in order of address
  #bytes = 0;
  #unfinished: MapRequest | null = null;
  /** Mappings that came without a descriptor. */
  distant = 0;

  constructor(backing: Backing) {
    this.#backing = backing;
  }

  get count(): number {
    return this.#ranges.length;
  }

  /** Returns 0, UNFINISHED or an errno. The descriptor, -1 where none came, stays the caller's. */
  map(turn: Turn, start: number, length: number, writable: boolean, fd: number, offset: number): number {
    const request = this.#unfinished ?? this.#requested(start, length, writable, fd, offset);
    if (typeof request === 'number') return request;
    const error = this.#backing.map(request, turn);
    this.#unfinished = error === UNFINISHED ? request : null;
    if (error !== 0) return error;
    if (request.source === null) this.distant++;
    this.#ranges.splice(firstEndingAfter(this.#ranges, start), 0, { start, end: start + length });
    this.#bytes += length;
    return 0;
  }

  /** Or an errno. */
  #requested(start: number, length: number, writable: boolean, fd: number, offset: number): MapRequest | number {
    const end = start + length;
    const aligned = isAligned(start) && isAligned(length) && (fd < 0 || isAligned(offset)); // Infinity is not
    if (!aligned || length === 0 || end > Number.MAX_SAFE_INTEGER) return EINVAL;
    const at = firstEndingAfter(this.#ranges, start);
    if ((this.#ranges[at]?.start ?? Infinity) < end) return EEXIST;
    if (this.#ranges.length >= MAX_DMA_MAPS || this.#bytes + length > MOST_BYTES) return ENOSPC;
    const source = fd < 0 ? null : sourceOf(fd, offset, length, writable);
    return typeof source === 'number' ? source : { start, length, writable, source };
  }

  /**
   * Unmaps every range inside; returns how many bytes that was, or -EINVAL where one would have to be cut.
   *
   * VFIO's type 1 IOMMU says so of its VFIO_IOMMU_UNMAP_DMA (linux/vfio.h: "the actual unmapped size is returned"), where
   * nothing inside is success, with size 0. The vfio-user text asks for the very range that was mapped; but QEMU takes what
   * it does for an IOMMU it emulates from the former, and unmaps whole address spaces, whatever is in them.
   */
  unmap(start: number, length: number): number {
    const end = start + length;
    if (!isAligned(start) || !isAligned(length) || length === 0 || end > ADDRESSES) return -EINVAL;
    const first = firstEndingAfter(this.#ranges, start);
    let last = first;
    while (last < this.#ranges.length && this.#ranges[last]!.start < end) last++;
    if (last === first) return 0;
    if (this.#ranges[first]!.start < start || this.#ranges[last - 1]!.end > end) return -EINVAL;
    return this.#drop(this.#ranges.splice(first, last - first));
  }

  /** Returns how many bytes were mapped. */
  clear(): number {
    if (this.#unfinished !== null) this.#backing.giveUp?.();
    this.#unfinished = null;
    return this.#drop(this.#ranges.splice(0));
  }

  #drop(ranges: readonly Range[]): number {
    const before = this.#bytes;
    for (const { start, end } of ranges) this.#bytes -= end - start;
    if (ranges.length > 0) this.#backing.unmap(ranges);
    return before - this.#bytes;
  }
}

/** 64 bits of them. */
const ADDRESSES = 2 ** 64;

const isAligned = (value: number) => value % PAGE_BYTES === 0;

/** Or an errno, where it is no memory, ends too early, or is not the client's to write. */
function sourceOf(fd: number, offset: number, length: number, writable: boolean): Source | number {
  try {
    const file = memoryFile(fd);
    const has = offset + length <= file.bytes && (file.writable || !writable);
    return has ? { fd, offset, file } : EINVAL;
  } catch (error) {
    if (error instanceof NativeError) return EINVAL;
    throw error;
  }
}

/** A part of a file, mapped once, however many ranges are in it. */
interface Part {
  readonly key: string;
  readonly memory: MappedMemory;
  /** Pieces of ranges that are in it. */
  uses: number;
}

/** What of a range is in one part. */
interface Piece extends Range {
  readonly part: Part;
}

/** A model's: memory is mapped here, and what came without a descriptor is asked for. */
export class ModelMemory implements Backing {
  readonly #space: AddressSpace;
  readonly #distant: DistantMemory;
  readonly #cut: () => void;
  #bell: Bell | null = null;
  /** By file and place: the newest, as a file may have grown. */
  readonly #parts = new Map<string, Part>();
  /** By where a range begins; empty where it is asked for. */
  readonly #pieces = new Map<number, readonly Piece[]>();
  /** Of a range that is not finished. */
  #begun: Piece[] = [];

  /**
   * @param distant Reaches what comes without a descriptor.
   * @param cut Told that the client has cut a file short under the model.
   */
  constructor(space: AddressSpace, distant: DistantMemory, cut: () => void) {
    this.#space = space;
    this.#distant = distant;
    this.#cut = cut;
  }

  map(request: MapRequest, turn: Pick<Turn, 'over'>): number {
    const { start, length, writable, source } = request;
    try {
      if (source === null) this.#space.mapDistant(start, length, this.#distant, { writable });
      else if (!this.#mapPieces(request, source, turn)) return UNFINISHED;
    } catch (error) {
      this.giveUp();
      if (!(error instanceof NativeError)) return ENOMEM;
      return error.code === 'ENOSPC' ? ENOSPC : error.code === 'ENOMEM' ? ENOMEM : EINVAL;
    }
    this.#pieces.set(start, this.#begun);
    this.#begun = [];
    return 0;
  }

  /** False where the turn was over, after a part at least: to map one has V8 collect garbage, which takes it 10 ms. */
  #mapPieces({ start, length, writable }: MapRequest, source: Source, turn: Pick<Turn, 'over'>): boolean {
    const pieces = this.#begun;
    const last = pieces.at(-1);
    const before = last === undefined ? 0 : last.end - start;
    for (let done = before; done < length; ) {
      if (turn.over && done > before) return false;
      const from = (source.offset + done) % PART_BYTES;
      const count = Math.min(length - done, PART_BYTES - from);
      const part = this.#part(source, source.offset + done - from, from + count, writable);
      const piece = { start: start + done, end: start + done + count, part };
      part.uses++;
      pieces.push(piece);
      this.#space.map(piece.start, new Uint8Array(part.memory.buffer, from, count), { writable });
      done += count;
    }
    return true;
  }

  /** The file's part at `offset`, which has to have `least` bytes. */
  #part({ fd, file }: Source, offset: number, least: number, writable: boolean): Part {
    const key = `${file.id}:${offset}:${writable}`;
    const known = this.#parts.get(key);
    if (known !== undefined && known.memory.buffer.byteLength >= least) return known;
    const length = Math.min(PART_BYTES, file.bytes - offset);
    if (mapped.parts >= MOST_PARTS || mapped.bytes + length > MOST_PART_BYTES)
      throw new NativeError('ENOSPC', 'mmap', `${mapped.parts} parts of files are mapped, which is too many`);
    this.#bell ??= new Bell(this.#cut);
    const memory = mapMemory(fd, { offset, length, shared: writable, bell: this.#bell.eventfd });
    const part = { key, memory, uses: 0 };
    mapped.parts++;
    mapped.bytes += length;
    this.#parts.set(key, part);
    return part;
  }

  unmap(ranges: readonly Range[]): void {
    // The model loses sight of them before they go.
    this.#space.unmapWithin(ranges[0]!.start, ranges.at(-1)!.end);
    for (const { start } of ranges) {
      for (const { part } of this.#pieces.get(start)!) this.#leave(part);
      this.#pieces.delete(start);
    }
    this.#muteBell();
  }

  giveUp(): void {
    for (const { start, part } of this.#begun) {
      this.#space.unmap(start);
      this.#leave(part);
    }
    this.#begun = [];
    this.#muteBell();
  }

  #leave(part: Part): void {
    if (--part.uses > 0) return;
    mapped.parts--;
    mapped.bytes -= part.memory.buffer.byteLength;
    part.memory.close();
    if (this.#parts.get(part.key) === part) this.#parts.delete(part.key);
  }

  /** Once nothing is mapped: whoever comes next has cut nothing. */
  #muteBell(): void {
    if (this.#pieces.size > 0) return;
    this.#bell?.close();
    this.#bell = null;
  }
}

/** Rung by whoever touches a file where it was cut off. */
class Bell {
  readonly eventfd = createEventfd();
  readonly #watch: Watch;

  constructor(rung: () => void) {
    this.#watch = watch(this.eventfd, {
      readable: () => {
        if (drainEventfd(this.eventfd) > 0) rung();
      },
    });
    this.#watch.start();
    this.#watch.unref();
  }

  close(): void {
    this.#watch.close();
    closeSync(this.eventfd);
  }
}
