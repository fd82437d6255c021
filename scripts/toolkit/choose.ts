/**
 * Registers by what a person types: a name, an element of an array, an offset, a block, or names with a *. They are those of
 * several maps; an offset is in the first. A register that two of them show goes by its name once.
 */
import { hex, type NamedRow, type RegisterMap } from '../../sim/registers.ts';
import { UsageError } from '../errors.ts';

/** A register, or a run of an array's. */
export interface Chosen {
  readonly map: RegisterMap;
  readonly row: NamedRow;
  readonly first: number;
  readonly count: number;
  /** It was asked for by itself, not as one of many. */
  readonly named: boolean;
}

/** @throws UsageError where there is no such thing; with what is spelt alike. */
export function choose(maps: Maps, text: string): readonly Chosen[] {
  if (/^(0x[\da-f]+|\d+)$/i.test(text)) return [atOffset(maps[0], text)];
  const [, name = text, index, last = index] = /^(\w+)\[(\d+)(?:\.\.(\d+))?\]$/.exec(text) ?? [];
  const rows = rowsOf(maps);
  const found = rows.find(({ row }) => row.name.toLowerCase() === name.toLowerCase());
  if (found !== undefined) return [index === undefined ? whole(found, true) : part(found, Number(index), Number(last))];
  const pattern = text.includes('*') ? asPattern(text) : null;
  const many = rows.filter(({ row: { name, block } }) => pattern?.test(name) ?? slug(block) === slug(text));
  if (many.length > 0) return many.sort((a, b) => a.row.at - b.row.at).map((one) => whole(one, false));
  throw new UsageError(`${maps[0].chip} has no register or block ${JSON.stringify(text)}: ${instead(maps, text)}`);
}

export type Maps = readonly [RegisterMap, ...RegisterMap[]];

interface Found {
  readonly map: RegisterMap;
  readonly row: NamedRow;
}

/** All rows, of those that have one name the first. */
export function rowsOf(maps: Maps): readonly Found[] {
  const found = new Map<string, Found>();
  for (const map of maps) for (const row of map.rows) if (!found.has(row.name)) found.set(row.name, { map, row });
  return [...found.values()];
}

/** Everything, by block. */
export function chooseAll(maps: Maps): readonly Chosen[] {
  const order = blocksOf(maps);
  return [...rowsOf(maps)]
    .sort(({ row: a }, { row: b }) => order.indexOf(a.block) - order.indexOf(b.block) || a.at - b.at)
    .map((found) => whole(found, false));
}

/** In the tables' order, as they are typed. */
export function blocksOf(maps: Maps): string[] {
  return [...new Set(rowsOf(maps).map(({ row }) => row.block))];
}

export const slug = (block: string) =>
  block
    .toLowerCase()
    .replace(/[^a-z\d]+/g, '-')
    .replace(/^-|-$/g, '');

const whole = (found: Found, named: boolean): Chosen => ({ ...found, first: 0, count: found.row.count, named });

function part(found: Found, first: number, last: number): Chosen {
  const { name, count } = found.row;
  if (count === 1) throw new UsageError(`${name} is one register: leave [${first}] out`);
  if (first <= last && last < count) return { ...found, first, count: last - first + 1, named: true };
  throw new UsageError(`${name} has ${count} registers: give ${name}[0] to ${name}[${count - 1}]`);
}

function atOffset(map: RegisterMap, text: string): Chosen {
  const offset = Number(text);
  if (!(offset < map.size)) throw new UsageError(`offset ${text} is outside: ${map.chip} ends at ${hex(map.size)}`);
  const row = map.find(offset);
  if (row === undefined || offset % 4 !== 0) {
    const near = [...map.rows].sort((a, b) => Math.abs(a.at - offset) - Math.abs(b.at - offset)).slice(0, 3);
    const names = near.map(({ name, at }) => `${name} at ${hex(at)}`).join(', ');
    throw new UsageError(`${map.chip} has no register at ${hex(offset)}: near it are ${names}`);
  }
  return { map, row, first: map.indexAt[map.placeOf(offset)]!, count: 1, named: true };
}

function asPattern(text: string): RegExp {
  const literal = (part: string) => part.replace(/[^\w]/g, '\\$&');
  // Runs of stars are one: else a long one would take for ever to fail.
  return new RegExp(`^${text.split(/\*+/).map(literal).join('\\w*')}$`, 'i');
}

const NEAR = 5;

function instead(maps: Maps, text: string): string {
  const blocks = blocksOf(maps).map(slug);
  const near = alike(text, [...rowsOf(maps).map(({ row }) => row.name), ...blocks]);
  return near.length > 0 ? `did you mean ${near.join(', ')}?` : `its blocks are ${blocks.join(', ')}`;
}

/** Those that begin alike or differ in a letter or two, the nearest first. */
export function alike(text: string, names: readonly string[]): string[] {
  const wanted = text.toLowerCase();
  if (wanted.length > 40) return [];
  const far = (name: string) => (name.startsWith(wanted) ? 0.5 : distance(wanted, name));
  return names
    .map((name) => ({ name, away: far(name.toLowerCase()) }))
    .filter(({ away }) => away <= Math.min(2, wanted.length / 2))
    .sort((a, b) => a.away - b.away)
    .slice(0, NEAR)
    .map(({ name }) => name);
}

/** Letters to insert, leave out or exchange (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++)
      next.push(Math.min(next[j]! + 1, row[j + 1]! + 1, row[j]! + (letter === b[j] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}
