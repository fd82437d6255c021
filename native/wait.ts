import { addon, type WaitHandle } from './addon.ts';
import { invalid } from './errors.ts';
import { register, release } from './poll.ts';

/** A descriptor attended to. */
export interface Attendance {
  /** What `readable` is called for from here on: something to read, as at first, room to write, or the other side's end alone. */
  until(what: 'input' | 'room' | 'end'): void;
  /** Ends it. The descriptor stays open: it is its owner's. Idempotent. */
  close(): void;
}

/** The thread's: a module is loaded once in each. */
let wait: WaitHandle | null = null;
const readers: (() => void)[] = [];

// poll(2)
const EVENTS = { input: 1, room: 4, end: 0 } as const;

function threadsWait(): WaitHandle {
  if (wait !== null) return wait;
  wait = new (addon().Wait)((place) => readers[place]!());
  wait.open();
  return wait;
}

/**
 * As `watch`, for a descriptor whose reader counts microseconds: while there is one the thread sleeps on it itself, in
 * the event loop's place, and `readable` runs a third sooner. Everything else that the loop serves goes on, as it wakes
 * the thread too. The descriptor must be non-blocking; it keeps the process alive.
 */
export function attend(fd: number, { readable }: { readonly readable: () => void }): Attendance {
  if (!Number.isInteger(fd) || fd < 0 || fd > 0x7fffffff) throw invalid('attend', `fd ${fd} is not a descriptor`);
  if (typeof readable !== 'function') throw invalid('attend', 'readable must be a function');
  return new Attended(fd, readable);
}

class Attended implements Attendance {
  readonly #fd: number;
  #place: number;

  constructor(fd: number, readable: () => void) {
    register('attend', fd, this);
    this.#fd = fd;
    this.#place = threadsWait().add(fd);
    readers[this.#place] = readable;
  }

  until(what: keyof typeof EVENTS): void {
    if (this.#place >= 0) threadsWait().until(this.#place, EVENTS[what]);
  }

  close(): void {
    if (this.#place < 0) return;
    threadsWait().remove(this.#place);
    readers[this.#place] = () => {};
    this.#place = -1;
    release(this.#fd);
  }
}
