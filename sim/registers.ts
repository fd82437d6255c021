/**
 * Registers as data.
 *
 * A chip's registers are one table of rows: name, offset, access mode, reset value, fields, datasheet section. From the
 * table come the typed names that models and drivers use, the dispatch of every access, reset, dumps, trace names, the
 * documentation and the generic tests. A mistake in it (an overlap, a bad stride) is found when the table is loaded.
 */
import type { Trace } from './trace.ts';

/**
 * RO read only · RW read and write · WO reads as 0 · RC cleared by reading · W1C cleared by writing 1 ·
 * W1S set by writing 1 · RS set by reading (semaphores) · RC/W1C both, as interrupt causes are.
 */
export type Access = 'RO' | 'RW' | 'WO' | 'RC' | 'W1C' | 'W1S' | 'RS' | 'RC/W1C';

/** A bit, or [high, low] as datasheets write 9:8. */
export type FieldBits = number | readonly [number, number];

export interface Row {
  readonly at: number; // byte offset in its space
  readonly width?: 1 | 2 | 4; // bytes (4, if absent): configuration space has shorter ones
  readonly access: Access;
  readonly title: string;
  readonly section: string;
  readonly reset?: number;
  readonly writable?: number; // which bits keep what is written (RW) or react to it (W1C, W1S, RS); all, if absent
  readonly count?: number; // an array of registers …
  readonly stride?: number; // … this many bytes apart (4, if absent)
  readonly fields?: Readonly<Record<string, FieldBits>>;
  readonly aliases?: readonly number[]; // further offsets at which the same register answers
  readonly live?: true; // its value is computed, or a write has effects: generic storage tests leave it alone
  readonly lacks?: string; // what the datasheet gives and the model does not do
  readonly takes?: true; // a card takes away what it shows when it is read: the end of a queue; the model only stores
}

/** A row as a map has it. */
export type NamedRow = Row & {
  readonly name: string;
  /** The part of the chip that it belongs to: "interrupts". */
  readonly block: string;
};

export type Rows = Readonly<Record<string, Row>>;

/** A register as models and drivers name it: `CTRL.at`, and a mask for each field: `CTRL.SLU`. */
export type Register<F> = {
  readonly name: string;
  readonly at: number;
  readonly word: number; // at / 4: its place in RegisterFile.words
  readonly count: number;
  readonly stride: number;
} & { readonly [K in keyof F]: number };

export type Registers<T extends Rows> = {
  readonly [K in keyof T]: Register<T[K] extends { fields: infer F } ? F : unknown>;
};

/** What every Register has, whatever its fields. */
export type AnyRegister = Register<unknown>;

/** The mask of a field: 9:8 is 0x300. */
export function maskOf(bits: FieldBits): number {
  const [high, low] = typeof bits === 'number' ? [bits, bits] : bits;
  return ((0xffffffff >>> (31 - high + low)) << low) >>> 0;
}

/** The value of the field under `mask`. */
export function field(value: number, mask: number): number {
  return (value & mask) >>> (31 - Math.clz32(mask & -mask));
}

/** `fieldValue` placed under `mask`. */
export function place(mask: number, fieldValue: number): number {
  return ((fieldValue << (31 - Math.clz32(mask & -mask))) & mask) >>> 0;
}

/** A checked table of registers: one address space of `size` bytes. */
export class RegisterMap<T extends Rows = Rows> {
  readonly chip: string;
  readonly size: number;
  /** Where it is, as a trace says it; nothing behind a BAR. */
  readonly space: '' | 'config';
  /** What a place is: a word of 4 bytes, or a byte where a register is shorter than a word. */
  readonly unit: 1 | 4;
  readonly rows: readonly NamedRow[];
  readonly r: Registers<T>;
  /** For each place of the space: 1 + index of its row, 0 where there is none. */
  readonly rowAt: Uint16Array;
  /** For each place, the one it is stored at: itself, unless it is an alias. */
  readonly storedAt: Uint32Array;

  /** @param block says which part of the chip a register belongs to: what `section` names, if absent. */
  constructor(chip: string, size: number, table: T, block = ({ section }: Row) => section, space: '' | 'config' = '') {
    this.chip = chip;
    this.size = size;
    this.space = space;
    this.unit = Object.values(table).some(({ width = 4 }) => width < 4) ? 1 : 4;
    this.rowAt = new Uint16Array(size / this.unit);
    this.storedAt = Uint32Array.from(this.rowAt, (_, place) => place);
    this.rows = Object.entries(table).map(([name, row]) => ({ ...row, name, block: block(row) }));
    for (const [index, row] of this.rows.entries()) this.#lay(row, index + 1);
    this.r = Object.fromEntries(this.rows.map((row) => [row.name, registerOf(row)])) as Registers<T>;
  }

  #lay(row: Row & { name: string }, tag: number): void {
    const { count = 1, stride = 4, width = 4 } = row;
    for (const base of [row.at, ...(row.aliases ?? [])]) {
      for (let i = 0; i < count; i++) {
        const at = base + i * stride;
        if (at % width !== 0 || at < 0 || at >= this.size)
          throw new RangeError(`${this.chip}: ${row.name} at ${hex(at)}`);
        for (let byte = 0; byte < width; byte += this.unit) this.#take(row, tag, at + byte, row.at + i * stride + byte);
      }
    }
  }

  #take(row: { name: string }, tag: number, at: number, stored: number): void {
    const taken = this.rowAt[at / this.unit]!;
    if (taken !== 0)
      throw new RangeError(`${this.chip}: ${row.name} overlaps ${this.rows[taken - 1]!.name} at ${hex(at)}`);
    this.rowAt[at / this.unit] = tag;
    this.storedAt[at / this.unit] = stored / this.unit;
  }

  /** The same table for a chip of the family, with those rows that it has. */
  kin(chip: string, has = (_row: NamedRow) => true): RegisterMap {
    const table = Object.fromEntries(this.rows.filter(has).map((row) => [row.name, row]));
    return new RegisterMap(chip, this.size, table, ({ at }) => this.find(at)!.block);
  }

  /** The row that answers at a byte offset. */
  find(offset: number): NamedRow | undefined {
    return this.rows[(this.rowAt[this.#place(offset)] ?? 0) - 1];
  }

  #place(offset: number): number {
    return this.unit === 4 ? offset >>> 2 : offset;
  }

  /** Which of an array's registers answers at a byte offset within `row`; 0 where it is none. */
  indexAt(row: Row, offset: number): number {
    const stored = this.storedAt[this.#place(offset)]! * this.unit;
    return Math.floor((stored - row.at) / (row.stride ?? 4));
  }

  /** "CTRL", "RAL[3]", or "0x01234" where the datasheet has nothing. */
  nameAt(offset: number): string {
    const row = this.find(offset);
    if (row === undefined) return hex(offset);
    if ((row.count ?? 1) === 1) return row.name;
    return `${row.name}[${this.indexAt(row, offset)}]`;
  }

  /** A value's fields: "SLU=1 SPEED=2"; fields that are 0 are left out. */
  decode(offset: number, value: number): string {
    return Object.entries(this.find(offset)?.fields ?? {})
      .map(([name, bits]) => [name, field(value, maskOf(bits))] as const)
      .filter(([, v]) => v !== 0)
      .map(([name, v]) => `${name}=${v < 10 ? v : hex(v, 1)}`)
      .join(' ');
  }

  /** The runs of places that no row describes, as byte offsets of the first and the last. */
  gaps(): [number, number][] {
    const gaps: [number, number][] = [];
    for (let at = 0; at < this.size; at += this.unit) {
      if (this.find(at) !== undefined) continue;
      const gap = gaps.at(-1);
      if (gap !== undefined && gap[1] === at - this.unit) gap[1] = at;
      else gaps.push([at, at]);
    }
    return gaps;
  }
}

function registerOf(row: Row & { name: string }): AnyRegister {
  const masks = Object.entries(row.fields ?? {}).map(([name, bits]) => [name, maskOf(bits)]);
  const { name, at, count = 1, stride = 4 } = row;
  return Object.freeze({ ...Object.fromEntries(masks), name, at, word: at / 4, count, stride });
}

export function hex(value: number, digits = 5): string {
  return `0x${(value >>> 0).toString(16).padStart(digits, '0')}`;
}

type ReadHook = (index: number) => number;
type WriteHook = (value: number, index: number) => void;

// What an access does, resolved from the row when the file is built.
const NONE = 0;
const STORE = 1;
const CLEAR = 2;
const SET = 3;

/** The registers of one device: storage, the access modes, and the hooks by which a block of the chip reacts. */
export class RegisterFile {
  readonly map: RegisterMap;
  /** The stored values by word: a block reads and sets its own registers here, without side effects. */
  readonly words: Uint32Array;
  /** Where accesses are told to; null costs nothing. */
  trace: Trace | null = null;
  /** Accesses to words that no row describes, and writes to registers that only read. */
  refused = 0;
  readonly #writable: Uint32Array; // the rest is by row
  readonly #onRead: (ReadHook | undefined)[];
  readonly #onWrite: (WriteHook | undefined)[];
  readonly #writeMode: Uint8Array;
  readonly #readMode: Uint8Array;

  /** @param map one whose registers are words. */
  constructor(map: RegisterMap) {
    this.map = map;
    this.words = new Uint32Array(map.size / 4);
    this.#writable = Uint32Array.from(map.rows, (row) => row.writable ?? 0xffffffff);
    this.#onRead = map.rows.map(() => undefined);
    this.#onWrite = map.rows.map(() => undefined);
    this.#writeMode = Uint8Array.from(map.rows, (row) => writeMode(row.access));
    this.#readMode = Uint8Array.from(map.rows, (row) => readMode(row.access));
    this.reset();
  }

  /** Every register, or those named, back to its reset value; hooks do not run. */
  reset(keep?: (row: NamedRow) => boolean): void {
    for (const row of this.map.rows) {
      if (keep?.(row)) continue;
      const { count = 1, stride = 4, reset = 0 } = row;
      for (let i = 0; i < count; i++) this.words[(row.at + i * stride) / 4] = reset;
    }
  }

  /** `hook(index)` gives the value that a read returns, in place of the stored one. */
  onRead(register: AnyRegister, hook: ReadHook): void {
    this.#onRead[this.map.rowAt[register.word]! - 1] = hook;
  }

  /** `hook(value, index)` runs after a write was stored, with the value as written; behind those there are already. */
  onWrite(register: AnyRegister, hook: WriteHook): void {
    const row = this.map.rowAt[register.word]! - 1;
    const before = this.#onWrite[row];
    this.#onWrite[row] =
      before === undefined
        ? hook
        : (value, index) => {
            before(value, index);
            hook(value, index);
          };
  }

  /** `offset` is rounded down to a word. */
  read32(offset: number): number {
    const value = this.#read(offset);
    this.trace?.register(this.map, 'read', offset & ~3, value);
    return value;
  }

  #read(offset: number): number {
    const row = this.map.rowAt[offset >>> 2] ?? 0;
    if (row === 0) {
      this.#refuse('read of an unknown register', offset);
      return 0;
    }
    const word = this.map.storedAt[offset >>> 2]!;
    const hook = this.#onRead[row - 1];
    const mode = this.#readMode[row - 1];
    const stored = this.words[word]!;
    const value = hook === undefined ? stored : hook(this.#index(row, word)) >>> 0;
    if (mode === CLEAR) this.words[word] = 0;
    else if (mode === SET) this.words[word] = stored | this.#writable[row - 1]!;
    else if (mode === NONE) return 0;
    return value;
  }

  write32(offset: number, value: number): void {
    this.trace?.register(this.map, 'write', offset & ~3, value >>> 0);
    const row = this.map.rowAt[offset >>> 2] ?? 0;
    if (row === 0) {
      this.#refuse('write of an unknown register', offset);
      return;
    }
    const word = this.map.storedAt[offset >>> 2]!;
    const mask = this.#writable[row - 1]!;
    const stored = this.words[word]!;
    const mode = this.#writeMode[row - 1];
    const hook = this.#onWrite[row - 1];
    if (mode === STORE) this.words[word] = (stored & ~mask) | (value & mask);
    else if (mode === CLEAR) this.words[word] = stored & ~(value & mask);
    else if (mode === SET) this.words[word] = stored | (value & mask);
    else if (hook === undefined) this.#refuse('write of a read-only register', offset);
    if (hook !== undefined) hook(value >>> 0, this.#index(row, word));
  }

  /**
   * A read of 1 or 2 bytes is a read of the word, effects and all: the bus has byte enables, the register does not see
   * them on a read. Across a word's end only the first word's bytes are returned.
   */
  read(offset: number, width: 1 | 2 | 4): number {
    const value = this.read32(offset);
    if (width === 4) return value;
    return (value >>> ((offset & 3) * 8)) & (width === 1 ? 0xff : 0xffff);
  }

  /** A write of 1 or 2 bytes leaves the other bytes as they are (and, in W1C and W1S registers, does nothing to them). */
  write(offset: number, width: 1 | 2 | 4, value: number): void {
    if (width === 4) {
      this.write32(offset, value);
      return;
    }
    const shift = (offset & 3) * 8;
    const mask = (width === 1 ? 0xff : 0xffff) << shift;
    const row = this.map.rowAt[offset >>> 2] ?? 0;
    const mode = row === 0 ? NONE : this.#writeMode[row - 1];
    const rest = mode === STORE ? this.words[this.map.storedAt[offset >>> 2]!]! & ~mask : 0;
    this.write32(offset & ~3, rest | ((value << shift) & mask));
  }

  #index(row: number, word: number): number {
    const { at, stride = 4 } = this.map.rows[row - 1]!;
    return (word * 4 - at) / stride;
  }

  #refuse(why: string, offset: number): void {
    this.refused++;
    this.trace?.note(this.map.chip, `${why}: ${this.map.nameAt(offset & ~3)}`);
  }
}

function writeMode(access: Access): number {
  switch (access) {
    case 'RW':
    case 'RS':
      return STORE;
    case 'W1C':
    case 'RC/W1C':
      return CLEAR;
    case 'W1S':
      return SET;
    case 'RO':
    case 'RC':
    case 'WO':
      return NONE;
  }
}

function readMode(access: Access): number {
  switch (access) {
    case 'RC':
    case 'RC/W1C':
      return CLEAR;
    case 'RS':
      return SET;
    case 'WO':
      return NONE;
    case 'RO':
    case 'RW':
    case 'W1C':
    case 'W1S':
      return STORE;
  }
}
