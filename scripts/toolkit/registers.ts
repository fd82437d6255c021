/** A card's registers, read and written by name, and as a person reads them. */
import { readFrom, writeTo } from '../../drivers/backends/base.ts';
import type { PciDevice, RegisterSpace } from '../../drivers/device.ts';
import { bitsOf, field, hex, maskOf, type NamedRow, onlyReads, type RegisterMap } from '../../sim/registers.ts';
import { UsageError } from '../errors.ts';
import { bold, dim } from '../terminal/style.ts';
import { table } from '../terminal/table.ts';
import type { Chosen } from './choose.ts';

/** An array of so many is memory: it is read where it is named. */
const MEMORY = 256;

export type Unread = 'cleared by reading' | 'set by reading' | 'taken by reading' | 'write-only' | 'memory';

export interface Reading {
  readonly map: RegisterMap;
  readonly row: NamedRow;
  /** "MTA[5]" */
  readonly name: string;
  readonly at: number;
  /** Null: it was not read. */
  readonly value: number | null;
  readonly unread?: Unread;
}

/** Why a register is not read unless it is asked for. */
export function unreadOf({ masks, takes, count }: NamedRow): Unread | undefined {
  if (masks.shown === 0) return 'write-only';
  if (masks.readSets !== 0) return 'set by reading';
  if (takes) return 'taken by reading';
  if (masks.readClears !== 0) return 'cleared by reading';
  return count > MEMORY ? 'memory' : undefined;
}

/** What registers are read and written of. */
export type Spaces = Pick<PciDevice, 'bar' | 'config'>;

const spaceOf = (spaces: Spaces, { space }: RegisterMap): RegisterSpace =>
  space === 'config' ? spaces.config : spaces.bar(0);

/** @param all also those whose reading changes them. */
export function read(spaces: Spaces, chosen: readonly Chosen[], all: boolean): Reading[] {
  return chosen.flatMap(({ map, row, first, count, named }) => {
    const { width = 4 } = row;
    const space = spaceOf(spaces, map);
    const unread = unreadOf(row);
    const skip = unread === 'write-only' || (unread !== undefined && !named && !all);
    return Array.from({ length: skip && count > MEMORY ? 1 : count }, (_, i) => {
      const at = row.offsets[first + i]!;
      const name = row.count === 1 ? row.name : `${row.name}[${first + i}]`;
      return { map, row, name, at, value: skip ? null : readFrom(space, at, width), unread };
    });
  });
}

export interface Written {
  readonly name: string;
  readonly at: number;
  /** Null where it cannot be read, or not without changing it. */
  readonly before: number | null;
  readonly written: number;
  readonly after: number | null;
}

/**
 * Writes the masked bits. Where 1 acts and 0 does nothing (W1C, W1S, and registers that are only written) the others are
 * written as 0; everywhere else, as they are read.
 * @throws UsageError where it cannot be written, or is more than one register.
 */
export function write(spaces: Spaces, chosen: readonly Chosen[], value: number, mask = 0xffffffff): Written {
  const [{ map, row, first, count } = chosen[0]!] = chosen;
  if (chosen.length !== 1 || count !== 1) throw new UsageError('a write is for one register: name it, as in MTA[5]');
  const { access, name, width = 4, masks } = row;
  if (onlyReads(masks) && (access === 'RO' || access === 'RC'))
    throw new UsageError(`${name} is only read: nothing was written`);
  if ((value & ~mask) !== 0) throw new UsageError(`${hex(value, 1)} has bits outside of the mask ${hex(mask, 1)}`);
  if (value > 2 ** (8 * width) - 1) throw new UsageError(`${name} has ${8 * width} bits: ${hex(value, 1)} is too much`);
  const at = row.offsets[first]!;
  const space = spaceOf(spaces, map);
  const readable = unreadOf(row) === undefined || unreadOf(row) === 'memory';
  const before = readable ? readFrom(space, at, width) : null;
  const kept = masks.stores !== 0 && before !== null ? before & ~mask & ~(masks.clears | masks.sets) : 0;
  const written = (kept | value) >>> 0;
  writeTo(space, at, width, written);
  return {
    name: row.count === 1 ? name : `${name}[${first}]`,
    at,
    before,
    written,
    after: readable ? readFrom(space, at, width) : null,
  };
}

/** Field by field, zeros too: { SLU: 1, SPEED: 2 }. */
export function fieldsOf({ fields = {} }: NamedRow, value: number): Record<string, number> {
  return Object.fromEntries(Object.entries(fields).map(([name, bits]) => [name, field(value, maskOf(bits))]));
}

/** One register at length: what it is, its value, and each field on a line of its own. */
export function atLength({ map, row, name, at, value, unread }: Reading): string {
  const note = unread === undefined ? '' : `, ${unread}`;
  const lines = [
    `${bold(name)}  ${hex(at)}  ${row.access}${note}  ${row.title} ${dim(`(${map.chip}, ${row.section})`)}`,
  ];
  if (value === null) return lines[0]!;
  lines.push(`  ${hex(value, digitsOf(row))}`);
  const values = fieldsOf(row, value);
  const rows = Object.entries(row.fields ?? {}).map(([field, described]) => {
    const bits = bitsOf(described);
    return [field, typeof bits === 'number' ? String(bits) : bits.join(':'), short(values[field]!)];
  });
  if (rows.length > 0) lines.push(table([['FIELD', 'BITS', 'VALUE'], ...rows]));
  return lines.join('\n');
}

/** Many, by block: one line each, runs of an array that are alike in one. What was not read is named. */
export function listing(readings: readonly Reading[]): string {
  const blocks = new Map<string, Reading[]>();
  for (const reading of readings) blocks.set(reading.row.block, [...(blocks.get(reading.row.block) ?? []), reading]);
  return [...blocks].map(([block, those]) => [bold(block), ...blockLines(those)].join('\n')).join('\n');
}

const digitsOf = ({ width = 4 }: NamedRow) => 2 * width;

function blockLines(readings: readonly Reading[]): string[] {
  const rows = runs(readings.filter(({ value }) => value !== null)).map(({ first, name }) => [
    hex(first.at),
    name,
    hex(first.value!, digitsOf(first.row)),
    first.map.decode(first.at, first.value!),
  ]);
  const lines = rows.length > 0 ? [table(rows, { head: false })] : [];
  const skipped = readings.filter(({ value }) => value === null);
  for (const why of new Set(skipped.map(({ unread }) => unread))) {
    const names = new Set(skipped.filter(({ unread }) => unread === why).map(({ row }) => row.name));
    lines.push(...wrapped(`${why}:`, [...names]).map(dim));
  }
  return lines;
}

/** Neighbours of an array that hold the same. */
function runs(readings: readonly Reading[]): { first: Reading; name: string }[] {
  const found: { first: Reading; last: Reading }[] = [];
  for (const reading of readings) {
    const run = found.at(-1);
    if (run?.first.row === reading.row && run.first.value === reading.value) run.last = reading;
    else found.push({ first: reading, last: reading });
  }
  return found.map(({ first, last }) => ({
    first,
    name: first === last ? first.name : `${first.name.slice(0, -1)}..${last.name.slice(first.row.name.length + 1)}`,
  }));
}

const WIDTH = 100;

function wrapped(head: string, words: readonly string[]): string[] {
  const lines = [`  ${head}`];
  for (const word of words) {
    if (lines.at(-1)!.length + 1 + word.length > WIDTH) lines.push('   ');
    lines.push(`${lines.pop()} ${word}`);
  }
  return lines;
}

const short = (value: number) => (value < 10 ? String(value) : hex(value, 1));
