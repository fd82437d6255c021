/**
 * DMA memory without an IOMMU: the device sees physical addresses, so memory must stay where it is and be contiguous
 * there. Huge pages do both, 2 MiB at a time; /proc/self/pagemap tells where they are (Linux,
 * Documentation/admin-guide/mm/pagemap.rst).
 */
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { createMemfd, type MappedMemory, mapMemory, NativeError } from '../../native/index.ts';
import { DeviceError, type DmaMemory } from '../device.ts';
import { Arena } from './host-memory.ts';

export const HUGE_PAGE = 2 * 1024 * 1024;
const PAGE = 4096;
const ADDRESS_LIMIT = 0x8000_0000; // what an iova may be, below
const PRESENT = 0x8000_0000; // bit 63 of an entry, in its high word
const FRAME_HIGH = 0x007f_ffff; // bits 54:0 are the page's number

/** Huge pages that are contiguous for the device: where they are in the memory, and to the device. */
export interface Run {
  readonly offset: number;
  readonly bytes: number;
  readonly physical: number;
}

/** An allocator over as many arenas as there are runs of pages. */
export class HugeMemory {
  readonly #maps: MappedMemory[] = [];
  readonly #arenas: Arena[] = [];

  /** @throws DeviceError 'NO_MEMORY' where there are not so many huge pages, or none that the device reaches. */
  constructor(bytes: number) {
    const fd = hugeFile(bytes);
    try {
      const runs = findRuns(fd, bytes);
      for (const { offset, bytes: length, physical } of runs) {
        const map = mapMemory(fd, { offset, length });
        this.#maps.push(map);
        this.#arenas.push(new Arena(map.buffer, length, physical));
      }
    } catch (error) {
      this.close();
      throw error;
    } finally {
      closeSync(fd);
    }
  }

  alloc(bytes: number, align: number): DmaMemory {
    for (const arena of this.#arenas) {
      if (arena.available < bytes) continue;
      try {
        return arena.alloc(bytes, align);
      } catch (error) {
        if (!(error instanceof DeviceError) || error.code !== 'NO_MEMORY') throw error;
      }
    }
    const longest = Math.max(...this.#arenas.map(({ available }) => available));
    throw new DeviceError(
      'NO_MEMORY',
      `no ${bytes} bytes of DMA memory in a row (the largest piece has ${longest}): use smaller buffers or rings, or an IOMMU`,
    );
  }

  close(): void {
    for (const map of this.#maps) map.close();
    this.#maps.length = 0;
    this.#arenas.length = 0;
  }
}

/** Memory in huge pages, which are as good for an IOMMU; null where there are not so many. */
export function mapHuge(bytes: number): MappedMemory | null {
  let fd: number;
  try {
    fd = hugeFile(bytes);
  } catch (error) {
    return onlyTooFew(error);
  }
  try {
    return mapPages(fd, bytes);
  } catch (error) {
    return onlyTooFew(error);
  } finally {
    closeSync(fd);
  }
}

function onlyTooFew(error: unknown): null {
  if (error instanceof DeviceError && error.code === 'NO_MEMORY') return null;
  throw error;
}

function hugeFile(bytes: number): number {
  try {
    return createMemfd('fauxnic-dma', bytes, { huge: true });
  } catch (error) {
    throw tooFew(bytes, error);
  }
}

function findRuns(fd: number, bytes: number): Run[] {
  const whole = mapPages(fd, bytes);
  try {
    return runsOf(pagesOf(fd, whole, bytes));
  } finally {
    whole.close();
  }
}

/** Mapped and touched, the last first: the kernel hands huge pages out from the top, so that they follow each other. */
function mapPages(fd: number, bytes: number): MappedMemory {
  let whole: MappedMemory;
  try {
    whole = mapMemory(fd, { length: bytes });
  } catch (error) {
    throw tooFew(bytes, error);
  }
  const all = new Uint8Array(whole.buffer);
  for (let at = bytes - HUGE_PAGE; at >= 0; at -= HUGE_PAGE) all[at] = 0;
  return whole;
}

function tooFew(bytes: number, error: unknown): unknown {
  if (!(error instanceof NativeError)) return error;
  const pages = bytes / HUGE_PAGE;
  return new DeviceError(
    'NO_MEMORY',
    `there are no ${pages} huge pages of 2 MiB free (${error.code}): have root run: echo ${pages} > /proc/sys/vm/nr_hugepages`,
  );
}

/** The physical address of each page. */
function pagesOf(fd: number, { buffer }: MappedMemory, bytes: number): number[] {
  const start = addressOf(fd, buffer);
  const pagemap = openSync('/proc/self/pagemap', 'r');
  try {
    const entry = new DataView(new ArrayBuffer(8));
    return Array.from({ length: bytes / HUGE_PAGE }, (_, page) => {
      readSync(pagemap, entry, 0, 8, ((start + page * HUGE_PAGE) / PAGE) * 8);
      const high = entry.getUint32(4, true);
      const frame = (high & FRAME_HIGH) * 2 ** 32 + entry.getUint32(0, true);
      if ((high & PRESENT) === 0 || frame === 0)
        throw new DeviceError('UNSUPPORTED', 'physical addresses are for root alone (CAP_SYS_ADMIN): be root');
      return frame * PAGE;
    });
  } finally {
    closeSync(pagemap);
  }
}

/** Where the descriptor's memory is mapped in this process: by its inode in /proc/self/maps. */
function addressOf(fd: number, { byteLength }: ArrayBuffer): number {
  const { ino } = fstatSync(fd);
  for (const line of readFileSync('/proc/self/maps', 'utf8').split('\n')) {
    const [, from, to, inode] = /^([0-9a-f]+)-([0-9a-f]+) \S+ 0+ \S+ (\d+)/.exec(line) ?? [];
    if (Number(inode) !== ino || from === undefined || to === undefined) continue;
    const start = Number.parseInt(from, 16);
    if (Number.parseInt(to, 16) - start === byteLength) return start;
  }
  throw new DeviceError('FAILED', '/proc/self/maps does not show the DMA memory: is /proc mounted?');
}

/**
 * Joins pages that follow each other in the memory and to the device.
 * @throws DeviceError 'NO_MEMORY' where all of them are out of the drivers' reach.
 */
export function runsOf(pages: readonly number[]): Run[] {
  const runs: Run[] = [];
  for (const [index, physical] of pages.entries()) {
    if (physical + HUGE_PAGE > ADDRESS_LIMIT) continue;
    const offset = index * HUGE_PAGE;
    const last = runs.at(-1);
    const follows =
      last !== undefined && last.offset + last.bytes === offset && last.physical + last.bytes === physical;
    if (follows) runs[runs.length - 1] = { ...last, bytes: last.bytes + HUGE_PAGE };
    else runs.push({ offset, bytes: HUGE_PAGE, physical });
  }
  if (runs.length > 0) return runs;
  throw new DeviceError(
    'NO_MEMORY',
    `all ${pages.length} huge pages lie above 2 GiB, where drivers without an IOMMU do not reach: turn the IOMMU on, or boot with mem=2G`,
  );
}
