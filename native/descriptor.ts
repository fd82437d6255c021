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

/** Whether a descriptor that somebody else sent is an eventfd. */
export function isEventfd(fd: number): boolean {
  return check(addon().isEventfd(checkDescriptor('isEventfd', fd)), 'readlink', `fd ${fd}`) === 1;
}

/** Closes a descriptor that somebody else sent, soon: in another thread, as it may have to wait for whatever that is. */
export function closeReceived(fd: number): void {
  check(addon().closeReceived(checkDescriptor('closeReceived', fd)), 'close', `fd ${fd}`);
}

/**
 * Adds one to an eventfd's counter: whoever waits on it wakes up. It never blocks, even where others have the eventfd too, full
 * or not, non-blocking or not. Throws EINVAL for anything else.
 */
export function signalEventfd(fd: number): void {
  check(addon().signalEventfd(checkDescriptor('signalEventfd', fd)), 'io_submit', `eventfd ${fd}`);
}

/** Sets an eventfd's counter to zero, or takes one off a semaphore's; returns what it was. It never blocks, as above. */
export function drainEventfd(fd: number): number {
  return check(addon().drainEventfd(checkDescriptor('drainEventfd', fd)), 'preadv2', `eventfd ${fd}`);
}

/**
 * A descriptor, the caller's to close, that can be read once for what was written to an eventfd since `takeEdge`: for one
 * that others have too, who may leave it readable for ever.
 */
export function edges(eventfd: number): number {
  return check(addon().edges(checkDescriptor('edges', eventfd)), 'epoll_ctl', `eventfd ${eventfd}`);
}

/** Whether something was written since. */
export function takeEdge(edges: number): boolean {
  return check(addon().takeEdge(checkDescriptor('takeEdge', edges)), 'epoll_wait', `fd ${edges}`) > 0;
}
