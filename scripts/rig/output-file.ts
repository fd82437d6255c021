/** Files that a command writes for a person, whatever is behind their names: opened without blocking, written whole. */
import { constants, openSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Interrupted, UsageError } from '../errors.ts';
import { StopSignals, unheard } from '../stop-signals.ts';
import { pause } from './pause.ts';

const { O_APPEND, O_CREAT, O_NONBLOCK, O_TRUNC, O_WRONLY } = constants;
const STDOUT = 1;
const LOOK = 50; // milliseconds between two looks for a reader
/** Milliseconds after which a reader's pause is no mere moment. */
const MOMENT = 10;
/** Milliseconds without progress after which a reader has stopped for good. */
export const PATIENCE = 10_000;

/**
 * Opens it early, for whoever wants to know at once that it cannot be. A pipe is waited for until somebody reads it.
 * @throws UsageError where it cannot be written; Interrupted at a signal.
 */
export async function openToWrite(path: string, what: string): Promise<number> {
  let fd = tryOpen(path, what);
  if (fd !== null) return fd;
  console.error(`${what} ${path} waits for somebody to read it`);
  const stop = new StopSignals();
  try {
    for (; fd === null; fd = tryOpen(path, what)) {
      await delay(LOOK, undefined, { signal: stop.signal }).catch(() => {});
      if (stop.received !== null) throw new Interrupted(`${what} ${path}: nobody came to read it`, stop.exitCode);
    }
    return fd;
  } finally {
    stop.close();
  }
}

/** Null where it is a pipe that nobody reads yet. */
function tryOpen(path: string, what: string): number | null {
  try {
    return openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK, 0o644);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENXIO' && statSync(path, { throwIfNoEntry: false })?.isFIFO()) return null;
    const why = code === 'ENOENT' ? `there is no folder ${dirname(path)}` : code === 'EISDIR' ? 'it is a folder' : code;
    throw new UsageError(`${what} ${path} cannot be written: ${why}; choose another path`);
  }
}

/** Standard output, opened once more so that a write does not block: what others have open of it stays as it is. */
export function openStdout(): number {
  try {
    return openSync(`/proc/self/fd/${STDOUT}`, O_WRONLY | O_NONBLOCK | O_APPEND);
  } catch {
    return STDOUT; // a socket, or a system without /proc
  }
}

/**
 * Writes all of it, at the reader's pace; while that is waited for, a signal ends the process at once.
 * @throws what the system says; an Error where the reader takes nothing any more.
 */
export function writeWhole(fd: number, bytes: Uint8Array, patience = PATIENCE): void {
  let rest = bytes;
  let heard: (() => void) | null = fd === STDOUT ? unheard() : null; // which may block
  try {
    for (let waited = 0; rest.length > 0; ) {
      const written = tryWrite(fd, rest);
      rest = rest.subarray(written);
      if (written > 0) waited = 0;
      else if (waited >= patience) throw new Error(`its reader has taken nothing for ${patience / 1000} s`);
      else waited += pause();
      if (waited > MOMENT) heard ??= unheard();
    }
  } finally {
    heard?.();
  }
}

/** 0 where the reader takes nothing now. */
function tryWrite(fd: number, bytes: Uint8Array): number {
  try {
    return writeSync(fd, bytes);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0;
    throw error;
  }
}
