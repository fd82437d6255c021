/** What a card's NVM holds, changed without losing it: a copy first, then the write, then a look at what came of it. */
import type { Nvram, NvramEntry } from '../../drivers/chip-tools.ts';
import { hex } from '../../sim/registers.ts';
import { Failure, lineOf, UsageError } from '../errors.ts';
import { alike } from './choose.ts';

/**
 * Writes an image and reads it back. What fails in the middle is undone.
 * @param keep puts what the NVM holds now where it is safe; says where. Before anything is written.
 * @returns how many cells changed, and where the copy is; no copy is made where none would.
 * @throws Failure that says what the NVM holds now.
 */
export async function replace(
  nvram: Nvram,
  image: Uint8Array,
  keep: (before: Uint8Array) => string,
): Promise<{ changed: number; copy: string | null }> {
  const before = await nvram.read();
  const changed = differences(nvram, before, image).length;
  if (changed === 0) return { changed, copy: null };
  const copy = keep(before);
  try {
    await write(nvram, before, image);
  } catch (error) {
    throw new Failure(`${lineOf(error)}; ${await undo(nvram, before, copy)}`);
  }
  return { changed, copy };
}

async function write(nvram: Nvram, before: Uint8Array, image: Uint8Array): Promise<void> {
  await nvram.write(before, image);
  const after = await nvram.read();
  const [at] = differences(nvram, after, image);
  if (at === undefined) return;
  const { cell } = nvram;
  const [found, wanted] = [cellText(after, at, cell), cellText(image, at, cell)];
  throw new Failure(`NVM address ${hex(at / cell, 2)} reads ${found} after ${wanted} was written`);
}

/** Says how it went. */
async function undo(nvram: Nvram, before: Uint8Array, copy: string): Promise<string> {
  try {
    const now = await nvram.read();
    if (differences(nvram, now, before).length === 0) return 'the NVM holds what it held: this card may take no writes';
    await write(nvram, now, before);
    return 'what it held before was written back';
  } catch (error) {
    return `and what it held before could not be written back (${lineOf(error)}): it is in ${copy}`;
  }
}

/** Byte offsets of cells that differ. */
function differences({ cell }: Nvram, one: Uint8Array, other: Uint8Array): number[] {
  const found = new Set<number>();
  for (let at = 0; at < one.length; at++) if (one[at] !== other[at]) found.add(at - (at % cell));
  return [...found];
}

/** A file's bytes as an image. @throws UsageError for what would do harm, unless it is forced. */
export function acceptable(
  nvram: Nvram,
  present: Uint8Array,
  file: string,
  bytes: Uint8Array,
  force: boolean,
): Uint8Array {
  const size = present.length;
  if (bytes.length > size || (bytes.length !== size && !force)) {
    const forced = bytes.length < size ? ' (--force writes what there is of it)' : '';
    throw new UsageError(
      `${file} has ${bytes.length} bytes, the NVM ${size}: it is not of this card, or not whole${forced}`,
    );
  }
  const image = present.slice();
  image.set(bytes);
  const wrong = nvram.check(image);
  if (wrong.length > 0 && !force)
    throw new UsageError(`${file}: ${wrong.join('; ')}: nothing was written (--force writes it as it is)`);
  return image;
}

/** By name or address. @throws UsageError where there is no such thing. */
export function findEntry(nvram: Nvram, image: Uint8Array, what: string): NvramEntry {
  const { cell } = nvram;
  const size = image.length;
  if (/^(0x[\da-f]+|\d+)$/i.test(what)) {
    const at = Number(what) * cell;
    if (at < size) return { name: hex(at / cell, 2), at, length: cell, about: '' };
    throw new UsageError(`address ${what} is outside: the NVM ends at ${hex(size / cell, 2)}`);
  }
  const entries = nvram.entries(image);
  const entry = entries.find(({ name }) => name === what.toLowerCase());
  if (entry !== undefined) return entry;
  const names = entries.map(({ name }) => name);
  const near = alike(what, names);
  const instead = near.length > 0 ? `did you mean ${near.join(', ')}?` : `there is ${names.join(', ')}`;
  throw new UsageError(`the NVM has nothing called ${JSON.stringify(what)}: ${instead}`);
}

/** "0x600b", or several. */
export function valueText({ cell }: Nvram, image: Uint8Array, { at, length }: NvramEntry): string {
  return Array.from({ length: length / cell }, (_, i) => cellText(image, at + i * cell, cell)).join(' ');
}

function cellText(image: Uint8Array, at: number, cell: number): string {
  const bytes = Array.from(image.subarray(at, at + cell), (byte) => byte.toString(16).padStart(2, '0'));
  return `0x${bytes.reverse().join('')}`;
}

const LINE = 16;

/** Sixteen bytes a line, behind their address; a "*" for lines that are like the one before, save the last. */
export function hexDump({ cell }: Nvram, image: Uint8Array): string {
  const lines = Array.from({ length: Math.ceil(image.length / LINE) }, (_, i) =>
    Array.from(image.subarray(i * LINE, (i + 1) * LINE), (byte) => byte.toString(16).padStart(2, '0')).join(' '),
  );
  const digits = (image.length / cell - 1).toString(16).length;
  const shown = lines.flatMap((line, i) => {
    if (line !== lines[i - 1] || i === lines.length - 1)
      return [`${hex((i * LINE) / cell, Math.max(2, digits))}  ${line}`];
    return line === lines[i - 2] ? [] : ['*'];
  });
  return shown.join('\n');
}
