/**
 * QEMU's `intel-iommu` for the one device that is behind it: tables in memory that QEMU shares with us, and its registers.
 * Sections: Intel Virtualization Technology for Directed I/O, Architecture Specification, revision 3.3.
 */
import type { DmaMemory } from '../../drivers/device.ts';
import type { Qtest } from './connection.ts';

export const PAGE_BYTES = 4096;

const REGISTERS = 0xfed9_0000; // QEMU, include/hw/i386/intel_iommu.h
// 11.4: global command and status, root table, context command.
const GCMD = 0x18;
const GCMD_TRANSLATION = 1 << 31;
const GCMD_ROOT = 1 << 30;
const RTADDR = 0x20;
const CCMD = 0x28;
const CCMD_GLOBAL = (1 << 31) | (1 << 29); // of its upper half: invalidate, all of it
const IOTLB = 0xf8; // where the extended capabilities have it: QEMU's are constant
const IOTLB_GLOBAL = (1 << 31) | (1 << 28);

// 9.3: a context entry. Faults are not recorded: nobody would read them.
const PRESENT = 1 << 0;
const NO_FAULTS = 1 << 1;
const LEVELS_4 = 2; // 48-bit addresses
const DOMAIN = 1 << 8;
// 9.8: an entry of a second-stage table.
const READ = 1 << 0;
const WRITE = 1 << 1;
const LARGE = 1 << 7;

const WORDS = PAGE_BYTES / 4;
const ENTRIES = 512;
const LEVELS = 4;
/** What an entry of each level covers; the lower three may be a page of memory. */
const SPAN = [0, 2 ** 12, 2 ** 21, 2 ** 30, 2 ** 39] as const;
const LARGEST_PAGE = 3;
// The tables that are always there.
const [ROOT, CONTEXT, TOP] = [0, 1, 2];

export interface Translation {
  /** As the device sees it; whole pages, below Iommu.END. */
  readonly start: number;
  readonly length: number;
  /** Where that is in QEMU's memory. */
  readonly target: number;
  readonly writable: boolean;
}

export class Iommu {
  /** Where a device's addresses end. */
  static readonly END = 2 ** 48;
  readonly #qtest: Pick<Qtest, 'write'>;
  readonly #words: Uint32Array;
  readonly #base: number;
  readonly #free: number[] = [];
  /** Entries present, by table. */
  readonly #used: Uint16Array;

  /**
   * The device reaches nothing from here on.
   * @param tables whole pages; their number bounds what can be mapped in small pages: 512 of those for each.
   * @param bus the device is function 0.0 of this one.
   */
  constructor(qtest: Pick<Qtest, 'write'>, tables: Pick<DmaMemory, 'iova' | 'words'>, bus: number) {
    this.#qtest = qtest;
    this.#words = tables.words;
    this.#base = tables.iova;
    const count = Math.floor(tables.words.length / WORDS);
    this.#used = new Uint16Array(count);
    for (let table = count - 1; table > TOP; table--) this.#free.push(table);
    this.#set(ROOT, 2 * bus, this.#address(CONTEXT), PRESENT); // 9.1: 16 bytes each
    this.#set(CONTEXT, 0, this.#address(TOP), PRESENT | NO_FAULTS);
    this.#set(CONTEXT, 1, 0, LEVELS_4 | DOMAIN);
    this.#write(RTADDR, this.#base);
    this.#write(RTADDR + 4, 0);
    this.#write(GCMD, GCMD_ROOT);
    this.#write(CCMD, 0);
    this.#write(CCMD + 4, CCMD_GLOBAL);
    this.#invalidate();
    this.#write(GCMD, GCMD_TRANSLATION);
  }

  /** Tables that are not in use. */
  get free(): number {
    return this.#free.length;
  }

  /** False where there is no room for its tables; then nothing of it is mapped. It must not be mapped already. */
  map({ start, length, target, writable }: Translation): boolean {
    const end = start + length;
    const rights = writable ? READ | WRITE : READ;
    for (let at = start; at < end; ) {
      const physical = target + at - start;
      const level = largestPage(at, physical, end - at);
      const table = this.#tableFor(at, level);
      if (table < 0) {
        this.unmap([{ start, end }]);
        return false;
      }
      this.#set(table, indexAt(at, level), physical, level === 1 ? rights : rights | LARGE);
      this.#used[table]!++;
      at += SPAN[level]!;
    }
    return true;
  }

  /** Each range as it was mapped. When this returns the device does not reach them any more. */
  unmap(ranges: readonly { readonly start: number; readonly end: number }[]): void {
    for (const { start, end } of ranges) for (let at = start; at < end; ) at = this.#clear(at);
    this.#invalidate();
  }

  /** The table of that level for an address, made where need be; -1 where there is no room. */
  #tableFor(at: number, level: number): number {
    let table: number = TOP;
    for (let above = LEVELS; above > level; above--) {
      const index = indexAt(at, above);
      let next = this.#tableAt(table, index);
      if (next < 0) {
        next = this.#free.pop() ?? -1;
        if (next < 0) return -1;
        this.#words.fill(0, next * WORDS, (next + 1) * WORDS);
        this.#set(table, index, this.#address(next), READ | WRITE);
        this.#used[table]!++;
      }
      table = next;
    }
    return table;
  }

  /** Clears the page that holds `at`, and tables that are empty then; returns where what may follow begins. */
  #clear(at: number): number {
    const path: number[] = [];
    let table: number = TOP;
    let level = LEVELS;
    for (; level > 1 && !this.#isPage(table, indexAt(at, level)); level--) {
      const next = this.#tableAt(table, indexAt(at, level));
      if (next < 0) break;
      path.push(table);
      table = next;
    }
    const after = nextSpan(at, level);
    if (this.#present(table, indexAt(at, level))) this.#unset(table, indexAt(at, level));
    while (this.#used[table] === 0 && table !== TOP) {
      this.#free.push(table);
      table = path.pop()!;
      this.#unset(table, indexAt(at, ++level));
    }
    return after;
  }

  #tableAt(table: number, index: number): number {
    const low = this.#words[table * WORDS + 2 * index]!;
    return (low & READ) === 0 ? -1 : (low - (low % PAGE_BYTES) - this.#base) / PAGE_BYTES;
  }

  #isPage(table: number, index: number): boolean {
    return (this.#words[table * WORDS + 2 * index]! & LARGE) !== 0;
  }

  #present(table: number, index: number): boolean {
    return (this.#words[table * WORDS + 2 * index]! & READ) !== 0;
  }

  /** The half that makes it present comes last; and goes first. */
  #set(table: number, index: number, address: number, bits: number): void {
    const at = table * WORDS + 2 * index;
    this.#words[at + 1] = Math.floor(address / 2 ** 32);
    this.#words[at] = (address | bits) >>> 0;
  }

  #unset(table: number, index: number): void {
    const at = table * WORDS + 2 * index;
    this.#words[at] = 0;
    this.#words[at + 1] = 0;
    this.#used[table]!--;
  }

  #address(table: number): number {
    return this.#base + table * PAGE_BYTES;
  }

  /** 6.5.1.2: all that the IOMMU remembers. Done when the write is: QEMU serves nobody meanwhile. */
  #invalidate(): void {
    this.#write(IOTLB, 0);
    this.#write(IOTLB + 4, IOTLB_GLOBAL);
  }

  #write(register: number, value: number): void {
    this.#qtest.write(4, REGISTERS + register, value >>> 0);
  }
}

function indexAt(address: number, level: number): number {
  return Math.floor(address / SPAN[level]!) % ENTRIES;
}

function nextSpan(address: number, level: number): number {
  const span = SPAN[level]!;
  return (Math.floor(address / span) + 1) * span;
}

/** 3.7: pages of 2 MiB and 1 GiB too, where both addresses allow. */
function largestPage(at: number, physical: number, left: number): number {
  for (let level = LARGEST_PAGE; level > 1; level--) {
    const span = SPAN[level]!;
    if (at % span === 0 && physical % span === 0 && left >= span) return level;
  }
  return 1;
}
