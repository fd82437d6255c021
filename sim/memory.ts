/**
 * Host memory as a device sees it: address ranges that somebody mapped, and faults everywhere else.
 *
 * Addresses are numbers. Those of the simulator stay below 2^31, where they cost nothing; a guest's may go up to 2^53.
 */
import { copyAndSum, copyBytes, littleSum } from './kernels/index.ts';

/** One mapped range. Its `end` moves out of reach when it is unmapped, so that a reference kept somewhere misses. */
export class Mapping {
  start: number;
  end: number;
  bytes: Uint8Array;
  words: Uint32Array;
  readonly writable: boolean;

  constructor(start: number, bytes: Uint8Array, length: number, writable: boolean) {
    this.start = start;
    this.end = start + length;
    this.bytes = bytes;
    this.words = new Uint32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / 4));
    this.writable = writable;
  }

  /** @internal Called by AddressSpace. */
  revoke(): void {
    this.end = -1; // no range ends before it: every window misses. (Still a small integer, so the field stays one.)
    this.bytes = NO_BYTES;
    this.words = NO_WORDS;
  }
}

const NO_BYTES = new Uint8Array(0);
const NO_WORDS = new Uint32Array(0);
const NOWHERE = new Mapping(0, NO_BYTES, 0, false);

/** Memory that cannot be seen, only asked for: of another process, say. False where it does not answer. */
export interface DistantMemory {
  read(address: number, into: Uint8Array, at: number, length: number): boolean;
  write(address: number, from: Uint8Array, at: number, length: number): boolean;
}

interface DistantRange {
  readonly start: number;
  readonly end: number;
  readonly writable: boolean;
  readonly memory: DistantMemory;
}

/** The ranges, in order of address. */
export class AddressSpace {
  readonly #mappings: Mapping[] = [];
  readonly #distant: DistantRange[] = [];
  /** Counts the changes after which something that was resolved may be gone. */
  epoch = 0;

  /**
   * Maps the first `length` of `bytes` at `start`. All must be multiples of 4.
   * @throws RangeError where the range is odd, empty, or overlaps one that is mapped.
   */
  map(start: number, bytes: Uint8Array, { length = bytes.length, writable = true } = {}): Mapping {
    const end = start + length;
    const odd = ((start | length | bytes.byteOffset) & 3) !== 0;
    if (odd || start < 0 || end > Number.MAX_SAFE_INTEGER || length <= 0 || length > bytes.length) {
      throw new RangeError(`cannot map ${length} bytes at 0x${start.toString(16)}`);
    }
    this.#checkFree(start, end);
    const mapping = new Mapping(start, bytes, length, writable);
    this.#mappings.splice(firstEndingAfter(this.#mappings, start), 0, mapping);
    return mapping;
  }

  /**
   * Maps memory that is only reached by asking: a BusMaster's `read` and `write` do, a Window never covers it.
   * @throws RangeError where the range is odd, empty, or overlaps one that is mapped.
   */
  mapDistant(start: number, length: number, memory: DistantMemory, { writable = true } = {}): void {
    const end = start + length;
    if (((start | length) & 3) !== 0 || start < 0 || end > Number.MAX_SAFE_INTEGER || length <= 0)
      throw new RangeError(`cannot map ${length} bytes at 0x${start.toString(16)}`);
    this.#checkFree(start, end);
    this.#distant.splice(firstEndingAfter(this.#distant, start), 0, { start, end, writable, memory });
  }

  #checkFree(start: number, end: number): void {
    for (const ranges of [this.#mappings, this.#distant])
      if ((ranges[firstEndingAfter(ranges, start)]?.start ?? Infinity) < end)
        throw new RangeError(`0x${start.toString(16)} is already mapped`);
  }

  /** Unmaps what was mapped at exactly `start`; false where nothing was. */
  unmap(start: number): boolean {
    const at = firstEndingAfter(this.#mappings, start);
    const distant = firstEndingAfter(this.#distant, start);
    if (this.#mappings[at]?.start === start) this.#mappings.splice(at, 1)[0]!.revoke();
    else if (this.#distant[distant]?.start === start) this.#distant.splice(distant, 1);
    else return false;
    this.epoch++;
    return true;
  }

  /** Unmaps all that lies in [start, end), where nothing may lie in part: however much it is, the rest is moved once. */
  unmapWithin(start: number, end: number): void {
    for (const mapping of cut(this.#mappings, start, end)) mapping.revoke();
    cut(this.#distant, start, end);
    this.epoch++;
  }

  /** The mapping that holds `address`. */
  find(address: number): Mapping | undefined {
    return holding(this.#mappings, address);
  }

  /** The distant range that holds `address`. */
  findDistant(address: number): DistantRange | undefined {
    return holding(this.#distant, address);
  }
}

export interface Range {
  readonly start: number;
  readonly end: number;
}

function holding<Of extends Range>(ranges: readonly Of[], address: number): Of | undefined {
  const range = ranges[firstEndingAfter(ranges, address)];
  return range !== undefined && range.start <= address ? range : undefined;
}

function cut<Of extends Range>(ranges: Of[], start: number, end: number): Of[] {
  const first = firstEndingAfter(ranges, start);
  let last = first;
  while (last < ranges.length && ranges[last]!.start < end) last++;
  return ranges.splice(first, last - first);
}

/** Of ranges in order of address, and apart: the index of the first that ends behind `address`. */
export function firstEndingAfter(ranges: readonly Range[], address: number): number {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ranges[middle]!.end > address) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * A function's bus mastering: its only way to host memory. While it is off (PCI command register bit 2) and outside
 * every mapping, reads and writes are refused and counted: a real transaction would end in a master abort.
 */
export class BusMaster {
  readonly #space: AddressSpace;
  readonly #windows: Window[] = [];
  #enabled = false;
  /** Accesses refused. */
  faults = 0;
  /** Parts moved by `read` and `write`: mappings looked up, which memory in small ones makes dear. */
  parts = 0;

  constructor(space: AddressSpace) {
    this.#space = space;
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  set enabled(on: boolean) {
    this.#enabled = on;
    this.#space.epoch++;
    if (!on) for (const window of this.#windows) window.close();
  }

  /** While this stays the same, what was found at an address is still there. */
  get epoch(): number {
    return this.#space.epoch;
  }

  /** A window for one stream of accesses: a descriptor ring, the buffers behind it. Made once, not per access. */
  window(): Window {
    const window = new Window(this);
    this.#windows.push(window);
    return window;
  }

  /** @internal Called by Window. */
  locate(address: number): Mapping | undefined {
    return this.#enabled ? this.#space.find(address) : undefined;
  }

  /** Whether `address` is in memory that only `read` and `write` reach. */
  isDistant(address: number): boolean {
    return this.#enabled && this.#space.findDistant(address) !== undefined;
  }

  /** Copies host memory into `into`, across mappings where need be. False, counted, if any of it is unmapped. */
  read(address: number, into: Uint8Array, at: number, length: number): boolean {
    return this.#transfer(
      address,
      length,
      (mapping, from, done, part) => {
        into.set(mapping.bytes.subarray(from, from + part), at + done);
        return true;
      },
      ({ memory }, done, part) => memory.read(address + done, into, at + done, part),
    );
  }

  /** Copies `from` into host memory. False, counted, if any of it is unmapped or read-only; what came before is written. */
  write(address: number, from: Uint8Array, at: number, length: number): boolean {
    return this.#transfer(
      address,
      length,
      (mapping, to, done, part) => {
        if (!mapping.writable) return false;
        mapping.bytes.set(from.subarray(at + done, at + done + part), to);
        return true;
      },
      ({ memory, writable }, done, part) => writable && memory.write(address + done, from, at + done, part),
    );
  }

  #transfer(
    address: number,
    length: number,
    copy: (mapping: Mapping, offset: number, done: number, part: number) => boolean,
    ask: (range: DistantRange, done: number, part: number) => boolean,
  ): boolean {
    if (length < 0) {
      this.faults++;
      return false;
    }
    for (let done = 0; done < length; ) {
      this.parts++;
      const mapping = this.locate(address + done);
      const distant = mapping === undefined && this.#enabled ? this.#space.findDistant(address + done) : undefined;
      const end = mapping?.end ?? distant?.end ?? address;
      const part = Math.min(length - done, end - address - done);
      const moved =
        mapping !== undefined
          ? copy(mapping, address + done - mapping.start, done, part)
          : distant !== undefined && ask(distant, done, part);
      if (!moved) {
        this.faults++;
        return false;
      }
      done += part;
    }
    return true;
  }
}

/**
 * The mapping that a stream of accesses is in. A ring stays in one for its life, so that an access costs two compares:
 *
 *     if (window.covers(address, 16)) … window.mapping.words[(address - window.mapping.start) >>> 2]
 */
export class Window {
  readonly #master: BusMaster;
  mapping: Mapping = NOWHERE;

  constructor(master: BusMaster) {
    this.#master = master;
  }

  /** Whether all of [address, address + length) is in one mapping, which is then `mapping`. Counts nothing. */
  covers(address: number, length: number): boolean {
    const { mapping } = this;
    return (address >= mapping.start && address + length <= mapping.end) || this.#move(address, length);
  }

  /**
   * Copies bytes to memory. The range that is checked is the range that is written, whatever the caller counted. False, and
   * nothing done or counted, where it is not in one mapping that is writable.
   */
  put(address: number, from: Uint8Array, at: number, length: number): boolean {
    if (length < 0 || !this.covers(address, length) || !this.mapping.writable) return false;
    copyBytes(from, at, this.mapping.bytes, address - this.mapping.start, length);
    return true;
  }

  /** The same, with `zeros` behind the bytes; returns their `littleSum`, which is had in the same pass, or -1. */
  putAndSum(address: number, from: Uint8Array, at: number, length: number, zeros = 0): number {
    if ((length | zeros) < 0 || !this.covers(address, length + zeros) || !this.mapping.writable) return -1;
    const { bytes, start } = this.mapping;
    const to = address - start;
    const sum = copyAndSum(from, at, bytes, to, length);
    for (let i = 0; i < zeros; i++) bytes[to + length + i] = 0;
    return sum;
  }

  /** The same wherever the range is. False, counted, where any of it is not writable; what came before is written. */
  store(address: number, from: Uint8Array, at: number, length: number): boolean {
    return this.put(address, from, at, length) || this.#master.write(address, from, at, length);
  }

  /** Copies bytes from memory. False, counted, where any of it is unmapped. */
  load(address: number, into: Uint8Array, at: number, length: number): boolean {
    if (length < 0 || !this.covers(address, length)) return this.#master.read(address, into, at, length);
    copyBytes(this.mapping.bytes, address - this.mapping.start, into, at, length);
    return true;
  }

  /** `load` in one pass with the `littleSum` of the bytes, which it returns; -1 where `load` is false. */
  loadAndSum(address: number, into: Uint8Array, at: number, length: number): number {
    if (length < 0 || !this.covers(address, length))
      return this.#master.read(address, into, at, length) ? littleSum(into, at, length) : -1;
    return copyAndSum(this.mapping.bytes, address - this.mapping.start, into, at, length);
  }

  #move(address: number, length: number): boolean {
    const mapping = this.#master.locate(address);
    if (mapping === undefined || address + length > mapping.end) return false;
    this.mapping = mapping;
    return true;
  }

  close(): void {
    this.mapping = NOWHERE;
  }
}
