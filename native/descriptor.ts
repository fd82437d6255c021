import { addon } from './addon.ts';
import { check, invalid, NativeError } from './errors.ts';

const HUGE_PAGE = 2 * 1024 * 1024;

/** @internal */
export function checkDescriptor(method: string, fd: number): number {
  if (Number.isInteger(fd) && fd >= 0 && fd <= 0x7fffffff) return fd;
  throw invalid(method, `fd ${fd} is not a descriptor`);
}

/**
 * Memory behind a descriptor, to be shared by passing it. The descriptor is the caller's to close (node:fs, closeSync).
 * `huge` asks for pages of 2 MiB, of which `bytes` is then a multiple; mapping it throws ENOMEM where too few are free.
 */
export function createMemfd(name: string, bytes: number, { huge = false }: { readonly huge?: boolean } = {}): number {
  if (typeof name !== 'string' || name.includes('\0'))
    throw invalid('createMemfd', 'name must be a string without NUL');
  if (Buffer.byteLength(name) > 249) throw new NativeError('ENAMETOOLONG', 'createMemfd', 'name: at most 249 bytes');
  if (!Number.isSafeInteger(bytes) || bytes < 0) throw invalid('createMemfd', `${bytes} bytes is no size`);
  if (huge && bytes % HUGE_PAGE !== 0) throw invalid('createMemfd', `${bytes} bytes: give a multiple of ${HUGE_PAGE}`);
  return check(addon().memfd(name, bytes, huge), 'memfd_create', `memfd ${name}`);
}

/** A counter to wait on, non-blocking. The descriptor is the caller's to close. */
export function createEventfd(): number {
  return check(addon().eventfd(), 'eventfd', 'eventfd');
}

/**
 * Makes sure that a descriptor that somebody else sent is an eventfd, and that signalling it never blocks: O_NONBLOCK is
 * set, which the sender sees too. Throws EINVAL for anything else. It stays the caller's to close.
 */
export function adoptEventfd(fd: number): number {
  check(addon().adoptEventfd(checkDescriptor('adoptEventfd', fd)), 'adoptEventfd', `fd ${fd}`, {
    EINVAL: 'it is no eventfd',
  });
  return fd;
}

/** Adds one to an eventfd's counter: whoever waits on it wakes up. */
export function signalEventfd(fd: number): void {
  check(addon().signalEventfd(checkDescriptor('signalEventfd', fd)), 'write', `eventfd ${fd}`);
}

/** Sets an eventfd's counter to zero; returns what it was. It must be non-blocking. */
export function drainEventfd(fd: number): number {
  return check(addon().drainEventfd(checkDescriptor('drainEventfd', fd)), 'read', `eventfd ${fd}`);
}
