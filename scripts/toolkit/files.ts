/** Images in files: read whole, written whole or not at all. */
import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { UsageError } from '../errors.ts';

/** No card's NVM is larger. */
const LARGEST = 16 * 1024 * 1024;

/** @throws UsageError where it is no file, or too large to be one of these. */
export function readImage(path: string): Uint8Array {
  const size = sizeOf(path);
  if (size === null) throw new UsageError(`${path}: there is no such file`);
  if (size > LARGEST) throw new UsageError(`${path} has ${size} bytes: that is no image of an NVM`);
  try {
    return new Uint8Array(readFileSync(path));
  } catch (error) {
    throw new UsageError(`${path} cannot be read: ${(error as NodeJS.ErrnoException).code}`);
  }
}

/** Replaces a file, or makes it. */
export function writeImage(path: string, image: Uint8Array): void {
  const target = sizeOf(path) === null ? path : realpathSync(path);
  const fresh = `${target}.${process.pid}.new`;
  try {
    writeDown(fresh, image);
    renameSync(fresh, target);
  } catch (error) {
    rmSync(fresh, { force: true });
    throw cannotWrite(path, error);
  }
}

const COPIES = 1000;

/** Writes a file that was not there: `path`, or with .1, .2, … behind where it was. Returns its name. */
export function writeNewImage(path: string, image: Uint8Array): string {
  for (let copy = 0; copy < COPIES; copy++) {
    const name = copy === 0 ? path : `${path}.${copy}`;
    try {
      writeDown(name, image);
      return name;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw cannotWrite(name, error);
    }
  }
  throw new UsageError(`${path} and ${COPIES - 1} more like it are there: move some away, or give --backup`);
}

/** To a file that is new, and to the disk. */
function writeDown(path: string, image: Uint8Array): void {
  const fd = openSync(path, 'wx', 0o644);
  try {
    writeFileSync(fd, image);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Null where there is nothing. */
function sizeOf(path: string): number | null {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return null;
  if (!found.isFile()) throw new UsageError(`${path} is no file: choose another path`);
  return found.size;
}

function cannotWrite(path: string, error: unknown): UsageError {
  const { code } = error as NodeJS.ErrnoException;
  const why = code === 'ENOENT' ? `there is no folder ${dirname(path)}` : code;
  return new UsageError(`${path} cannot be written: ${why}; choose another path`);
}
