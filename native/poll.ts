import { addon, type PollHandle } from './addon.ts';
import { check, invalid, NativeError } from './errors.ts';

/** A descriptor being watched. It starts stopped; every method may be called from within the callback. */
export interface Watch {
  /** From now on `readable` is called, once per turn of the event loop, as long as there is something to read. */
  start(): void;
  stop(): void;
  /** Whether a started watch calls `writable` too, as long as there is room to write. It does not at first. */
  awaitRoom(on: boolean): void;
  /** Stops for good. The descriptor stays open: it is its owner's. Idempotent. */
  close(): void;
  /** A started watch keeps the process alive, unless it was unref'ed. */
  ref(): void;
  unref(): void;
}

// uv.h, uv_poll_event
const READABLE = 1;
const WRITABLE = 2;

export interface WatchHandlers {
  readonly readable: () => void;
  readonly writable?: () => void;
}

interface Waiter {
  close(): void;
  pause?(milliseconds: number): void;
}

const watches = new Map<number, Waiter>();

/** @internal Whoever waits for a descriptor, alone. */
export function register(method: string, fd: number, waiter: Waiter): void {
  if (watches.has(fd)) throw new NativeError('EEXIST', method, `fd ${fd} is watched already: close that watch first`);
  watches.set(fd, waiter);
}

/** @internal */
export function release(fd: number): void {
  watches.delete(fd);
}

/**
 * Watches a descriptor that polls (a TAP, socket, pipe or eventfd; not a file), which is made non-blocking.
 * Level-triggered: a callback that leaves something unread is called again. When the descriptor fails (its interface
 * was deleted, say) it is called once more, for its read to find out, and the watch has stopped.
 * One watch per descriptor. It holds a duplicate: close the watch too, or what the descriptor stands for stays open.
 * `Tap.close` does so itself.
 */
export function watch(fd: number, { readable, writable }: WatchHandlers): Watch {
  if (!Number.isInteger(fd) || fd < 0 || fd > 0x7fffffff) throw invalid('watch', `fd ${fd} is not a descriptor`);
  if (typeof readable !== 'function') throw invalid('watch', 'readable must be a function');
  if (writable !== undefined && typeof writable !== 'function') throw invalid('watch', 'writable must be a function');
  return new PollWatch(fd, readable, writable);
}

/** So many descriptors `firstReadable` takes. */
const MOST_AWAITED = 64;

/**
 * Keeps the thread until one of the first `count` descriptors can be read, has failed or was closed by its other side;
 * returns its index, or -1 where about `milliseconds` have passed. Negative ones are passed over. A signal may be sooner.
 */
export function firstReadable(fds: Int32Array, count: number, milliseconds: number): number {
  if (
    !(fds instanceof Int32Array) ||
    !Number.isInteger(count) ||
    count < 0 ||
    count > Math.min(fds.length, MOST_AWAITED)
  )
    throw invalid('firstReadable', `give an Int32Array, and how many of it: ${MOST_AWAITED} at most`);
  if (!Number.isInteger(milliseconds) || milliseconds < 0 || milliseconds > 0x7fffffff)
    throw invalid('firstReadable', `${milliseconds} is no number of milliseconds`);
  const first = check(addon().awaitReadable(fds, count, milliseconds), 'poll', 'descriptors');
  return first < count ? first : -1;
}

/** @internal When its owner closes a descriptor. */
export function unwatch(fd: number): void {
  watches.get(fd)?.close();
}

/** @internal What is there cannot be read for now: nobody is told of it for so long. */
export function pause(fd: number, milliseconds: number): void {
  watches.get(fd)?.pause?.(milliseconds);
}

class PollWatch implements Watch {
  readonly #fd: number;
  readonly #writable: (() => void) | undefined;
  #native: PollHandle | null;
  #events = READABLE;
  #started = false;

  constructor(fd: number, readable: () => void, writable?: () => void) {
    register('watch', fd, this);
    this.#writable = writable;
    this.#fd = fd;
    this.#native = new (addon().Poll)((events) => {
      if ((events & READABLE) !== 0) readable();
      if ((events & WRITABLE) !== 0 && this.#native) writable?.();
    });
    try {
      check(this.#native.open(fd), 'uv_poll_init', `fd ${fd}`, {
        EPERM: 'files and directories are always readable; there is nothing to wait for',
        EBADF: 'it is not open',
      });
    } catch (error) {
      release(fd);
      throw error;
    }
  }

  get #open(): PollHandle {
    if (!this.#native) throw new NativeError('CLOSED', 'watch', `the watch of fd ${this.#fd} is closed`);
    return this.#native;
  }

  start(): void {
    check(this.#open.start(this.#events), 'uv_poll_start', `fd ${this.#fd}`);
    this.#started = true;
  }

  stop(): void {
    this.#open.stop();
    this.#started = false;
  }

  pause(milliseconds: number): void {
    this.#open.stop();
    const resume = () => {
      if (this.#native !== null && this.#started) this.start();
    };
    setTimeout(resume, milliseconds);
  }

  awaitRoom(on: boolean): void {
    if (on && !this.#writable) throw invalid('awaitRoom', 'nobody is told of room: watch with `writable`');
    const events = on ? READABLE | WRITABLE : READABLE;
    if (events === this.#events) return;
    this.#events = events;
    if (this.#started) this.start();
  }

  ref(): void {
    this.#open.hold(true);
  }

  unref(): void {
    this.#open.hold(false);
  }

  close(): void {
    if (!this.#native) return;
    this.#native.close();
    this.#native = null;
    release(this.#fd);
  }
}
