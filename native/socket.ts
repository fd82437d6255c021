import { randomBytes } from 'node:crypto';
import { closeSync, constants, linkSync, lstatSync, openSync, rmSync, type Stats, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { addon, type SocketHandle } from './addon.ts';
import { checkDescriptor } from './descriptor.ts';
import { type Advice, check, codeOf, invalid, NativeError } from './errors.ts';
import { pause, unwatch } from './poll.ts';

const PATH_MOST = 107; // sys/un.h, sun_path without its final zero
const DESCRIPTORS_MOST = 253; // linux/net/scm.h, SCM_MAX_FD
const MESSAGE_LEAST = 16; // a vfio-user message's header
const NO_DESCRIPTORS = new Int32Array(0);

/** What `receive` and `write` return when the other side has closed. */
export const END = -1;

/** Where received descriptors go: how many came, which may be more than there was room for, and then they. */
export type ReceivedDescriptors = Int32Array;

export function receivedDescriptors(room: number): ReceivedDescriptors {
  return new Int32Array(1 + room);
}

const IN_USE = 'something is there already: choose another path';
const LISTEN_ADVICE: Advice = {
  ENOENT: 'there is no such folder',
  ENOTDIR: 'what should be its folder is none',
  EACCES: 'this user may not write there',
  EADDRINUSE: IN_USE,
  EROFS: 'the file system is read-only',
};
const CONNECT_ADVICE: Advice = {
  ENOENT: 'there is no such socket: is the server running?',
  ENOTDIR: 'what should be its folder is none',
  ECONNREFUSED: 'nobody listens there any more',
  EACCES: 'this user may not connect to it',
  EAGAIN: 'its queue of clients is full',
};

const EXCHANGE_ADVICE: Advice = {
  ETIMEDOUT: 'the other side does not answer',
  EPIPE: 'the other side has closed',
  EMSGSIZE: 'the other side announced a message of a length that none has',
};

/** What accept(2) lacks that may be there again soon. */
const SHORTAGES: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM']);
const SHORTAGE_PAUSE = 100; // milliseconds

// Sockets on which this thread listens, by device and inode: connected to one, it would wait for itself.
const listening = new Set<string>();

/** Whether somebody listens at `path` who is this very thread. */
export function listensHere(path: string): boolean {
  const about = look(path);
  return about !== undefined && listening.has(`${about.dev}:${about.ino}`);
}

/** A listening socket; only its owner may connect (mode 0600). Closing it removes the path. */
export interface UnixListener {
  readonly path: string;
  /** For `watch`; this object closes it. */
  readonly fd: number;
  /** Whoever waits to be served, or null. */
  accept(): UnixSocket | null;
  close(): void;
}

/**
 * Listens at `path`. A socket that a process left there when it was killed is replaced; one that somebody listens on, and
 * anything that is no socket, is not.
 *
 * It is bound, and listened on, under another name beside it, and then linked: nobody ever finds one there that does not
 * listen yet, and takes it for one that was left.
 */
export function listenUnix(path: string, { backlog = 8 } = {}): UnixListener {
  checkPath('listenUnix', path);
  if (!Number.isInteger(backlog) || backlog < 0 || backlog > 4096) throw invalid('listenUnix', `backlog ${backlog}`);
  // Through the folder's descriptor: its name may be as long as it likes.
  const folder = attempt(path, () => openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY));
  const beside = `/proc/self/fd/${folder}/.fauxnic-${randomBytes(6).toString('hex')}`;
  const native = new (addon().Socket)();
  try {
    const fd = native.listen(beside, backlog);
    check(fd, 'bind', `socket ${path}`, LISTEN_ADVICE);
    linkWhereFree(beside, path);
    return new Listener(native, fd, path);
  } catch (error) {
    native.close();
    throw error;
  } finally {
    rmSync(beside, { force: true });
    closeSync(folder);
  }
}

/** Connects to a listening socket. */
export function connectUnix(path: string): UnixSocket {
  checkPath('connectUnix', path);
  const native = new (addon().Socket)();
  const fd = native.connect(path);
  if (fd < 0) native.close();
  return new UnixSocket(native, check(fd, 'connect', `socket ${path}`, CONNECT_ADVICE));
}

/**
 * A connected socket whose descriptor came over another one; it is this object's from here on. Throws EINVAL, and leaves
 * the descriptor alone, where it is something else.
 */
export function adoptUnix(fd: number): UnixSocket {
  const native = new (addon().Socket)();
  check(native.adopt(checkDescriptor('adoptUnix', fd)), 'adopt', `fd ${fd}`, { EINVAL: 'it is no UNIX stream socket' });
  return new UnixSocket(native, fd);
}

function checkPath(method: string, path: string): void {
  if (typeof path !== 'string' || path === '' || path.includes('\0')) throw invalid(method, 'a socket needs a path');
  if (Buffer.byteLength(path) > PATH_MOST)
    throw new NativeError('ENAMETOOLONG', method, `socket ${path}: a path of at most ${PATH_MOST} bytes, please`);
}

/** What is there; where that cannot be told, whoever binds or connects is told why. */
function look(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

function linkWhereFree(beside: string, path: string): void {
  if (tryLink(beside, path)) return;
  withFolderLocked(path, () => {
    if (isStale(path)) unlinkSync(path);
    if (!tryLink(beside, path))
      throw new NativeError('EADDRINUSE', 'bind', `socket ${path}: bind failed with EADDRINUSE: ${IN_USE}`);
  });
}

/** False where something is there. */
function tryLink(beside: string, path: string): boolean {
  try {
    linkSync(beside, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw refusal(path, error);
  }
}

/** A socket that nobody listens on; with the folder locked nobody of ours will have put another there meanwhile. */
function isStale(path: string): boolean {
  if (!look(path)?.isSocket()) return false;
  const probe = new (addon().Socket)();
  const result = probe.connect(path);
  probe.close();
  if (result >= 0 || codeOf(result) === 'EAGAIN')
    throw new NativeError('EADDRINUSE', 'bind', `socket ${path}: another process serves there: choose another path`);
  return codeOf(result) === 'ECONNREFUSED';
}

const LOCK_ATTEMPTS = 200;

/** Servers that start take turns there: each needs a moment. */
function withFolderLocked(path: string, action: () => void): void {
  let lock = addon().lockFolder(dirname(path));
  for (let i = 0; i < LOCK_ATTEMPTS && codeOf(lock) === 'EAGAIN'; i++) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    lock = addon().lockFolder(dirname(path));
  }
  check(lock, 'flock', `socket ${path}`, { EAGAIN: 'somebody keeps its folder locked' });
  try {
    action();
  } finally {
    closeSync(lock);
  }
}

function attempt<Result>(path: string, action: () => Result): Result {
  try {
    return action();
  } catch (error) {
    throw refusal(path, error);
  }
}

/** What node:fs throws, as this room does. */
function refusal(path: string, error: unknown): NativeError {
  const { errno = 0 } = error as NodeJS.ErrnoException;
  const code = codeOf(errno);
  const hint = LISTEN_ADVICE[code];
  return new NativeError(code, 'bind', `socket ${path}: bind failed with ${code}${hint ? `: ${hint}` : ''}`);
}

class Listener implements UnixListener {
  readonly path: string;
  readonly #native: SocketHandle;
  readonly #inode: number;
  readonly #identity: string;
  #fd: number;

  constructor(native: SocketHandle, fd: number, path: string) {
    this.#native = native;
    this.#fd = fd;
    this.path = path;
    const { dev, ino } = lstatSync(path);
    this.#inode = ino;
    this.#identity = `${dev}:${ino}`;
    listening.add(this.#identity);
  }

  get fd(): number {
    if (this.#fd < 0) throw new NativeError('CLOSED', 'fd', `socket ${this.path} is closed`);
    return this.#fd;
  }

  accept(): UnixSocket | null {
    const native = new (addon().Socket)();
    const fd = native.accept(this.fd);
    if (fd >= 0) return new UnixSocket(native, fd);
    const code = codeOf(fd);
    if (code === 'EAGAIN' || code === 'ECONNABORTED' || code === 'EINTR') return null;
    if (SHORTAGES.has(code)) {
      pause(this.fd, SHORTAGE_PAUSE); // whoever waits stays in the queue, and is found again
      return null;
    }
    check(fd, 'accept', `socket ${this.path}`);
    return null;
  }

  close(): void {
    if (this.#fd < 0) return;
    unwatch(this.#fd);
    this.#fd = -1;
    listening.delete(this.#identity);
    // Only what is still ours: somebody may have put another socket there.
    if (look(this.path)?.ino === this.#inode) unlinkSync(this.path);
    this.#native.close();
  }
}

/** One end of a connection. Nothing here waits, except `wait`, and `send` for room, and that not for long. */
export class UnixSocket {
  readonly #native: SocketHandle;
  #fd: number;

  /** @internal Use connectUnix, or a listener's accept. */
  constructor(native: SocketHandle, fd: number) {
    this.#native = native;
    this.#fd = fd;
  }

  /** For `watch`; this object closes it. */
  get fd(): number {
    if (this.#fd < 0) throw new NativeError('CLOSED', 'fd', 'the socket is closed');
    return this.#fd;
  }

  /**
   * Reads at most `length` bytes into `bytes` from `start`. Returns how many, 0 where none wait, END where no more will
   * come. Descriptors that came with them go to `fds` and are the caller's to close; those without room there are closed.
   * Where the process may not have as many open, it gets none of them, and their number is -1.
   */
  receive(bytes: Uint8Array, start: number, length: number, fds: ReceivedDescriptors): number {
    checkRange('receive', bytes, start, length);
    if (!(fds instanceof Int32Array) || fds.length < 1)
      throw invalid('receive', 'fds must come of receivedDescriptors');
    this.fd;
    fds[0] = 0;
    if (length === 0) return 0;
    const got = this.#native.receive(bytes, start, length, fds);
    if (got > 0) return got;
    if (got === 0) return END;
    const code = codeOf(got);
    if (code === 'EAGAIN') return 0;
    if (code === 'ECONNRESET') return END;
    return check(got, 'recvmsg', 'socket');
  }

  /**
   * Sends all of it, the descriptors with the first byte. Throws ETIMEDOUT where the other side leaves no room for as long
   * as `milliseconds`; what was sent by then may end anywhere.
   */
  send(bytes: Uint8Array, start = 0, length = bytes.length, fds = NO_DESCRIPTORS, milliseconds = 1000): void {
    checkRange('send', bytes, start, length);
    if (!(fds instanceof Int32Array) || fds.length > DESCRIPTORS_MOST)
      throw invalid('send', `fds must be an Int32Array of at most ${DESCRIPTORS_MOST}`);
    for (const fd of fds) checkDescriptor('send', fd);
    this.fd;
    check(this.#native.send(bytes, start, length, fds, milliseconds), 'sendmsg', 'socket', {
      ETIMEDOUT: 'the other side does not read',
      EPIPE: 'the other side has closed',
    });
  }

  /** Writes as much of it as there is room for, without waiting; returns how many bytes that was, or END. */
  write(bytes: Uint8Array, start: number, length: number): number {
    checkRange('write', bytes, start, length);
    this.fd;
    const put = this.#native.write(bytes, start, length);
    if (put >= 0) return put;
    const code = codeOf(put);
    if (code === 'EAGAIN') return 0;
    if (code === 'EPIPE' || code === 'ECONNRESET') return END;
    return check(put, 'send', 'socket');
  }

  /**
   * Sends the first `length` bytes of a vfio-user message, if any, and blocks until a whole message has come, which goes to
   * the beginning of `reply`: returns its length. With 0 milliseconds it does not wait: 0 where none is there whole. What
   * has come of one stays in `reply` for the next call. The other side must not be this thread.
   * Throws ETIMEDOUT, EPIPE where the other side has closed, EMSGSIZE for a message that does not fit in `reply`; messages
   * cannot be told apart after any of them.
   */
  exchange(request: Uint8Array, length: number, reply: Uint8Array, milliseconds: number): number {
    checkRange('exchange', request, 0, length);
    checkRange('exchange', reply, 0, MESSAGE_LEAST);
    if (!Number.isInteger(milliseconds) || milliseconds < 0 || milliseconds > 0x7fffffff)
      throw invalid('exchange', `${milliseconds} milliseconds are no time`);
    this.fd;
    return check(this.#native.exchange(request, length, reply, milliseconds), 'exchange', 'socket', EXCHANGE_ADVICE);
  }

  /** Keeps the thread until something can be read (true) or about `milliseconds` have passed; a signal may be sooner. */
  wait(milliseconds: number): boolean {
    if (!Number.isInteger(milliseconds) || milliseconds < 0 || milliseconds > 0x7fffffff)
      throw invalid('wait', `${milliseconds} is no number of milliseconds`);
    this.fd;
    return check(this.#native.wait(milliseconds), 'poll', 'socket') > 0;
  }

  /** Closes it and its watch. Idempotent. */
  close(): void {
    if (this.#fd < 0) return;
    unwatch(this.#fd);
    this.#fd = -1;
    this.#native.close();
  }
}

function checkRange(method: string, bytes: Uint8Array, start: number, length: number): void {
  if (!(bytes instanceof Uint8Array)) throw invalid(method, 'bytes must be a Uint8Array');
  const inside = Number.isInteger(start) && Number.isInteger(length) && start >= 0 && length >= 0;
  if (!inside || start + length > bytes.length) throw invalid(method, `${start}, ${length} reach outside of bytes`);
}
