/**
 * Registers as data.
 *
 * A chip's registers are one table of rows: name, offset, access mode, reset value, fields, datasheet section. From the
 * table come the typed names that models and drivers use, the dispatch of every access (registers.ts), reset, dumps, trace
 * names, the documentation and the generic tests. A mistake in it (an overlap, a bad stride) is found when it is loaded.
 */
/**
 * RO read only · RW read and write · WO reads as 0 · RC cleared by reading · W1C cleared by writing 1 ·
 * W1S set by writing 1 · RS set by reading (semaphores) · RC/W1C both, as interrupt causes are.
 */
export type Access = 'RO' | 'RW' | 'WO' | 'RC' | 'W1C' | 'W1S' | 'RS' | 'RC/W1C';

/** SC a command that clears itself: it is not stored · RSVD reserved, but as the row's other bits. */
export type FieldAccess = Access | 'SC' | 'RSVD';

/** A bit, or [high, low] as datasheets write 9:8. */
export type FieldBits = number | readonly [number, number];

/** A field whose access is not the row's. */
export interface Field {
  readonly bits: FieldBits;
  readonly access: FieldAccess;
}

export type Fields = Readonly<Record<string, FieldBits | Field>>;

/** What the datasheet gives and the model does not do: not yet, or never as there is nothing to do it with. */
export interface NotModelled {
  readonly when: 'not yet' | 'never';
  readonly why: string;
}

export const notYet = (why: string): NotModelled => ({ when: 'not yet', why });
export const never = (why: string): NotModelled => ({ when: 'never', why });

/**
 * power-on as if mains came back · bus RST# · function a function-level reset · software one that the chip's own registers
 * are told to do.
 */
export type RegisterReset = 'power-on' | 'bus' | 'function' | 'software';

/** Registers of one name: so many, so many bytes apart. */
export interface Run {
  readonly at: number;
  readonly count: number;
  readonly stride: number;
}

export const run = (at: number, count: number, stride = 4): Run => ({ at, count, stride });

export interface Row {
  readonly at: number | readonly Run[]; // byte offset in its space; an array's runs, one going on where the other ends
  readonly width?: 1 | 2 | 4; // bytes (4, if absent): configuration space has shorter ones
  readonly access: Access; // of each field that says nothing else
  readonly title: string;
  readonly section: string;
  readonly reset?: number;
  readonly fields?: Fields; // bits of none of them are reserved and read 0; without any, the word is one
  readonly survives?: readonly Exclude<RegisterReset, 'power-on'>[]; // resets that leave it as it is
  readonly aliases?: readonly (number | Run)[]; // where it answers as well; an offset has an array's count and stride
  readonly live?: true; // its value is computed, or a write has effects: generic storage tests leave it alone
  readonly modelled?: NotModelled; // all of it, if absent
  readonly takes?: true; // a card takes away what it shows when it is read: the end of a queue; the model only stores
}

/** A row as a map has it. */
export interface NamedRow extends Omit<Row, 'at' | 'aliases'> {
  readonly name: string;
  /** Byte offset of the first. */
  readonly at: number;
  readonly count: number;
  /** Of each. */
  readonly offsets: Uint32Array;
  readonly runs: readonly Run[];
  readonly aliases: readonly Run[];
  /** The part of the chip that it belongs to: "interrupts". */
  readonly block: string;
  readonly masks: Masks;
}

/** What an access does to a register's bits. */
export interface Masks {
  readonly shown: number; // a read returns them
  readonly readClears: number;
  readonly readSets: number;
  readonly stores: number; // a write stores them
  readonly clears: number; // a write of 1 clears them
  readonly sets: number; // a write of 1 sets them
}

export type Rows = Readonly<Record<string, Row>>;

/** A register as models and drivers name it: `CTRL.at`, and a mask for each field: `CTRL.SLU`. */
export type Register<F = unknown> = {
  readonly name: string;
  readonly fields: { readonly [K in keyof F]: number };
  readonly at: number;
  readonly word: number; // at / 4: its place in RegisterFile.words
} & { readonly [K in keyof F]: number };

/** An array of them: `RAL.at(3)`. */
export type RegisterArray<F = unknown> = {
  readonly name: string;
  readonly fields: { readonly [K in keyof F]: number };
  readonly count: number;
  readonly at: (index: number) => number;
  readonly word: (index: number) => number;
} & { readonly [K in keyof F]: number };

type FieldsOf<R> = R extends { fields: infer F } ? F : unknown;

export type Registers<T extends Rows> = {
  readonly [K in keyof T]: T[K]['at'] extends number ? Register<FieldsOf<T[K]>> : RegisterArray<FieldsOf<T[K]>>;
};

export type AnyRegister = Register | RegisterArray;

/** Values for fields of `M`, a register's masks: `{ EN: 1, CT: 15 }`. */
export type FieldValues<M> = [keyof M] extends [never] ? never : { readonly [K in keyof M]?: number | boolean };

/**
 * The word in which fields have these values, and all other bits are 0.
 * @throws RangeError where a value does not fit its field.
 */
export function encode<M>(register: { readonly name: string; readonly fields: M }, values: FieldValues<M>): number {
  const masks = register.fields as Readonly<Record<string, number>>;
  let word = 0;
  for (const [name, value] of Object.entries(values as Readonly<Record<string, number | boolean>>)) {
    const mask = masks[name] ?? 0;
    const most = mask === 0 ? -1 : field(mask, mask);
    const number = Number(value);
    if (!Number.isInteger(number) || number < 0 || number > most)
      throw new RangeError(`${register.name}.${name} takes 0 to ${most}, not ${value}`);
    word |= place(mask, number);
  }
  return word >>> 0;
}

/** The masks of those fields, together. */
export function fieldsMask<M>({ fields }: { readonly fields: M }, values: FieldValues<M>): number {
  const masks = fields as Readonly<Record<string, number>>;
  return Object.keys(values as object).reduce((mask, name) => mask | masks[name]!, 0) >>> 0;
}

/** Byte offset of a register, or of one of an array. */
export function offsetOf({ at }: Pick<AnyRegister, 'at'>, index = 0): number {
  return typeof at === 'number' ? at : at(index);
}

/** Byte offset of a row's first register. */
export function startOf({ at }: Row): number {
  return typeof at === 'number' ? at : at[0]!.at;
}

/** Fields that only read, clear themselves, or are reserved. */
export const ro = <const B extends FieldBits>(bits: B) => ({ bits, access: 'RO' }) as const;
export const sc = <const B extends FieldBits>(bits: B) => ({ bits, access: 'SC' }) as const;
export const rsvd = <const B extends FieldBits>(bits: B) => ({ bits, access: 'RSVD' }) as const;

/** Its bits. */
export function bitsOf(field: FieldBits | Field): FieldBits {
  return typeof field === 'object' && 'bits' in field ? field.bits : field;
}

/** The mask of a field: 9:8 is 0x300. */
export function maskOf(field: FieldBits | Field): number {
  const bits = bitsOf(field);
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
  /** As it was given. */
  readonly table: T;
  readonly rows: readonly NamedRow[];
  readonly r: Registers<T>;
  /** For each place of the space: 1 + index of its row, 0 where there is none. */
  readonly rowAt: Uint16Array;
  /** For each place, the one it is stored at: itself, unless it is an alias. */
  readonly storedAt: Uint32Array;
  /** For each place, which of an array's registers it is; 0 where it is none. */
  readonly indexAt: Uint16Array;

  /** @param block says which part of the chip a register belongs to: what `section` names, if absent. */
  constructor(chip: string, size: number, table: T, block = ({ section }: Row) => section, space: '' | 'config' = '') {
    this.chip = chip;
    this.size = size;
    this.space = space;
    this.unit = Object.values(table).some(({ width = 4 }) => width < 4) ? 1 : 4;
    this.rowAt = new Uint16Array(size / this.unit);
    this.storedAt = Uint32Array.from(this.rowAt, (_, place) => place);
    this.indexAt = new Uint16Array(this.rowAt.length);
    this.table = table;
    this.rows = Object.entries(table).map(([name, row]) => namedRow(chip, name, row, block(row)));
    for (const [index, row] of this.rows.entries()) this.#lay(row, index + 1);
    this.r = Object.fromEntries(this.rows.map((row) => [row.name, registerOf(row, table[row.name]!)])) as Registers<T>;
  }

  #lay(row: NamedRow, tag: number): void {
    for (const [index, at] of row.offsets.entries()) this.#layOne(row, tag, at, index);
    for (const alias of row.aliases)
      for (const [index, at] of offsetsOf([alias]).entries()) this.#layOne(row, tag, at, index);
  }

  #layOne(row: NamedRow, tag: number, at: number, index: number): void {
    const { name, width = 4, offsets } = row;
    if (at % width !== 0 || at < 0 || at >= this.size) throw new RangeError(`${this.chip}: ${name} at ${hex(at)}`);
    for (let byte = 0; byte < width; byte += this.unit) {
      this.#take(row, tag, at + byte, offsets[index]! + byte);
      this.indexAt[(at + byte) / this.unit] = index;
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
  variant(chip: string, has = (_row: NamedRow) => true): RegisterMap {
    const table = Object.fromEntries(this.rows.filter(has).map(({ name }) => [name, this.table[name]!]));
    return new RegisterMap(chip, this.size, table, (row) => this.find(startOf(row))!.block);
  }

  /** The row that answers at a byte offset. */
  find(offset: number): NamedRow | undefined {
    return this.rows[(this.rowAt[this.placeOf(offset)] ?? 0) - 1];
  }

  /** The place of a byte offset. */
  placeOf(offset: number): number {
    return this.unit === 4 ? offset >>> 2 : offset;
  }

  /** "CTRL", "RAL[3]", or "0x01234" where the datasheet has nothing. */
  nameAt(offset: number): string {
    const row = this.find(offset);
    if (row === undefined) return hex(offset);
    return row.count === 1 ? row.name : `${row.name}[${this.indexAt[this.placeOf(offset)]}]`;
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

const ACTS: Readonly<Record<Exclude<FieldAccess, 'RSVD'>, readonly (keyof Masks)[]>> = {
  RO: ['shown'],
  RW: ['shown', 'stores'],
  WO: [],
  SC: ['shown'],
  RC: ['shown', 'readClears'],
  RS: ['shown', 'readSets', 'stores'],
  W1C: ['shown', 'clears'],
  W1S: ['shown', 'sets'],
  'RC/W1C': ['shown', 'readClears', 'clears'],
};

/** @throws RangeError where fields contradict each other, are beyond the register, or leave out a bit that resets to 1. */
function masksOf(what: string, { access, fields, width = 4, reset = 0 }: Row): Masks {
  const whole = 0xffffffff >>> (32 - 8 * width);
  const masks = { shown: 0, readClears: 0, readSets: 0, stores: 0, clears: 0, sets: 0 };
  let covered = 0;
  for (const [name, field] of Object.entries<FieldBits | Field>(fields ?? { '': [8 * width - 1, 0] })) {
    const mask = maskOf(field);
    if ((mask & ~whole) !== 0) throw new RangeError(`${what}.${name} is beyond the register`);
    const acts = ACTS[accessOf(access, field)];
    for (const act of Object.keys(masks) as (keyof Masks)[]) {
      const bits = acts.includes(act) ? mask : 0;
      if (((masks[act] ^ bits) & mask & covered) !== 0)
        throw new RangeError(`${what}.${name} has bits of a field of another access`);
      masks[act] = (masks[act] | bits) >>> 0;
    }
    covered |= mask;
  }
  if ((reset & ~covered) !== 0) throw new RangeError(`${what} resets to ${hex(reset, 1)}, of which bits have no field`);
  return masks;
}

/** No write changes anything. */
export function onlyReads({ stores, clears, sets }: Masks): boolean {
  return (stores | clears | sets) === 0;
}

/** A field's access within a row of that `access`. */
function accessOf(access: Access, field: FieldBits | Field): Exclude<FieldAccess, 'RSVD'> {
  const own = typeof field === 'object' && 'access' in field ? field.access : access;
  return own === 'RSVD' ? access : own;
}

/**
 * The fields of a register of which public sources describe a part: the bits between them are there, and store as they do.
 * Those are fields as well, RSVD_31_17.
 */
export function partly<const F extends Fields>(fields: F, width: 1 | 2 | 4 = 4): F {
  const covered = Object.values<FieldBits | Field>(fields).reduce((mask: number, field) => mask | maskOf(field), 0);
  const rest: Record<string, Field> = {};
  for (let high = 8 * width - 1; high >= 0; high--) {
    let low = high;
    while (low >= 0 && ((covered >>> low) & 1) === 0) low--;
    if (low++ === high) continue;
    if (low === high) rest[`RSVD_${high}`] = { bits: high, access: 'RSVD' };
    else rest[`RSVD_${high}_${low}`] = { bits: [high, low], access: 'RSVD' };
    high = low;
  }
  return { ...fields, ...rest };
}

function namedRow(chip: string, name: string, row: Row, block: string): NamedRow {
  const runs = typeof row.at === 'number' ? [run(row.at, 1)] : row.at;
  const offsets = offsetsOf(runs);
  const { length: count } = offsets;
  const aliases = (row.aliases ?? []).map((alias) => {
    return typeof alias === 'number' ? run(alias, count, runs[0]!.stride) : alias;
  });
  if (count === 0 || aliases.some((alias) => alias.count > count))
    throw new RangeError(`${chip}: ${name} has ${count} registers, an alias more`);
  const masks = masksOf(`${chip}: ${name}`, row);
  return { ...row, name, block, at: offsets[0]!, count, offsets, runs, aliases, masks };
}

function offsetsOf(runs: readonly Run[]): Uint32Array {
  const offsets = runs.flatMap(({ at, count, stride }) => Array.from({ length: count }, (_, i) => at + i * stride));
  return Uint32Array.from(offsets);
}

function registerOf(row: NamedRow, { at: given }: Row): AnyRegister {
  const fields = Object.fromEntries(Object.entries(row.fields ?? {}).map(([name, bits]) => [name, maskOf(bits)]));
  const { name, at, count } = row;
  const place = typeof given === 'number' ? { at, word: at / 4 } : { count, ...placesOf(row) };
  return Object.freeze({ ...fields, fields: Object.freeze(fields), name, ...place }) as AnyRegister;
}

/** One run is counted out: looked up for every frame, a frame of tg3's took 3 to 5 % longer. */
function placesOf({ runs, offsets }: NamedRow): Pick<RegisterArray, 'at' | 'word'> {
  if (runs.length > 1) return { at: (index) => offsets[index]!, word: (index) => offsets[index]! >>> 2 };
  const { at, stride } = runs[0]!;
  return { at: (index) => at + index * stride, word: (index) => (at + index * stride) >>> 2 };
}

export function hex(value: number, digits = 5): string {
  return `0x${(value >>> 0).toString(16).padStart(digits, '0')}`;
}
