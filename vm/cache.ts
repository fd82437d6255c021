/** What is downloaded and built, kept between runs; never in the repository. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';

/** An unfinished folder of this age has nobody who will finish it. */
const ABANDONED = 3600_000;

export function cacheFolder(...parts: string[]): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'fauxnic', ...parts);
}

/**
 * A folder of the cache, made where it is missing: it is there whole or not at all, and two who make it at a time do
 * not disturb each other.
 * @param refresh make it even where it is there; the old one stays until the new one is whole.
 */
export async function cached(
  name: string,
  make: (folder: string) => Promise<void>,
  { refresh = false } = {},
): Promise<string> {
  const path = cacheFolder(name);
  if (existsSync(path) && !refresh) return path;
  removeAbandoned(path);
  const fresh = `${path}.${process.pid}.new`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  const clean = () => rmSync(fresh, { recursive: true, force: true });
  process.once('exit', clean);
  try {
    await make(fresh);
    if (refresh) rmSync(path, { recursive: true, force: true });
    moveInto(fresh, path);
  } finally {
    process.off('exit', clean);
    clean();
  }
  return path;
}

/** A file of the cache, written whole or not at all. Its time is that of its last use, for `prune`. */
export function cachedFile(name: string, make: () => Uint8Array | string): string {
  const path = cacheFolder(name);
  if (existsSync(path)) touch(path);
  else writeWhole(path, make());
  return path;
}

export function touch(path: string): void {
  const now = new Date();
  utimesSync(path, now, now);
}

/**
 * Of a folder's entries whose names match, keeps those used last, and those used within the hour: somebody may be about
 * to open one. Returns the names of what it removed.
 */
export function prune(name: string, pattern: RegExp, keep: number): string[] {
  const folder = cacheFolder(name);
  if (!existsSync(folder)) return [];
  const used = (entry: string) => statSync(join(folder, entry), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const old = readdirSync(folder)
    .filter((entry) => pattern.test(entry))
    .map((entry) => ({ entry, at: used(entry) }))
    .toSorted((a, b) => b.at - a.at)
    .slice(keep)
    .filter(({ at }) => Date.now() - at > ABANDONED);
  for (const { entry } of old) rmSync(join(folder, entry), { recursive: true, force: true });
  return old.map(({ entry }) => entry);
}

export function writeWhole(path: string, content: Uint8Array | string): void {
  mkdirSync(dirname(path), { recursive: true });
  const fresh = `${path}.${process.pid}.new`;
  writeFileSync(fresh, content);
  renameSync(fresh, path);
}

function moveInto(fresh: string, path: string): void {
  try {
    renameSync(fresh, path);
  } catch (error) {
    if (!existsSync(path)) throw error; // somebody else was quicker: theirs is as good
  }
}

function removeAbandoned(path: string): void {
  const folder = dirname(path);
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(`${basename(path)}.`) || !name.endsWith('.new')) continue;
    const old = join(folder, name);
    const { mtimeMs } = statSync(old, { throwIfNoEntry: false }) ?? { mtimeMs: Date.now() };
    if (Date.now() - mtimeMs > ABANDONED) rmSync(old, { recursive: true, force: true });
  }
}
