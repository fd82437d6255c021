/** Registers by what a person types: a name, an element of an array, an offset, a block, or names with a *. */
import { hex, type NamedRow, type RegisterMap } from '../../sim/registers.ts';
import { UsageError } from '../errors.ts';

/** A register, or a run of an array's. */
export interface Chosen {
  readonly row: NamedRow;
  readonly first: number;
  readonly count: number;
  /** It was asked for by itself, not as one of many. */
  readonly named: boolean;
}

/** @throws UsageError where there is no such thing; with what is spelt alike. */
export function choose(map: RegisterMap, text: string): readonly Chosen[] {
  if (/^(0x[\da-f]+|\d+)$/i.test(text)) return [atOffset(map, text)];
  const [, name = text, index, last = index] = /^(\w+)\[(\d+)(?:\.\.(\d+))?\]$/.exec(text) ?? [];
  const row = map.rows.find((row) => row.name.toLowerCase() === name.toLowerCase());
  if (row !== undefined) return [index === undefined ? whole(row, true) : part(row, Number(index), Number(last))];
  const pattern = text.includes('*') ? asPattern(text) : null;
  const many = map.rows.filter(({ name, block }) => pattern?.test(name) ?? slug(block) === slug(text));
  if (many.length > 0) return many.map((row) => whole(row, false));
  throw new UsageError(`${map.chip} has no register or block ${JSON.stringify(text)}: ${instead(map, text)}`);
}

/** Everything, by block. */
export function chooseAll(map: RegisterMap): readonly Chosen[] {
  const order = blocksOf(map);
  return [...map.rows]
    .sort((a, b) => order.indexOf(a.block) - order.indexOf(b.block) || a.at - b.at)
    .map((row) => whole(row, false));
}

/** In the table's order, as they are typed. */
export function blocksOf(map: RegisterMap): string[] {
  return [...new Set(map.rows.map(({ block }) => block))];
}

export const slug = (block: string) =>
  block
    .toLowerCase()
    .replace(/[^a-z\d]+/g, '-')
    .replace(/^-|-$/g, '');

const whole = (row: NamedRow, named: boolean): Chosen => ({ row, first: 0, count: row.count ?? 1, named });

function part(row: NamedRow, first: number, last: number): Chosen {
  const { name, count = 1 } = row;
  if (count === 1) throw new UsageError(`${name} is one register: leave [${first}] out`);
  if (first <= last && last < count) return { row, first, count: last - first + 1, named: true };
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
  return { row, first: map.indexAt(row, offset), count: 1, named: true };
}

function asPattern(text: string): RegExp {
  const literal = (part: string) => part.replace(/[^\w]/g, '\\$&');
  // Runs of stars are one: else a long one would take for ever to fail.
  return new RegExp(`^${text.split(/\*+/).map(literal).join('\\w*')}$`, 'i');
}

const NEAR = 5;

function instead(map: RegisterMap, text: string): string {
  const blocks = blocksOf(map).map(slug);
  const near = alike(text, [...map.rows.map(({ name }) => name), ...blocks]);
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
