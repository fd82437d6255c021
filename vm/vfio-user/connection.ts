/**
 * A client's end of a vfio-user connection: requests that block until they are answered, and what the server asks meanwhile.
 *
 * The server is believed nothing: a reply must answer the request, with as many bytes as it should have. Whatever is wrong
 * is the end of the connection, and every request from then on throws the same error: messages cannot be told apart any more.
 */
import { getSystemErrorName } from 'node:util';
import { DeviceError, type DeviceErrorCode } from '../../drivers/device.ts';
import { connectUnix, listensHere, NativeError, type UnixSocket, type Watch, watch } from '../../native/index.ts';
import {
  COMMAND_DMA_READ,
  COMMAND_DMA_WRITE,
  EINVAL,
  ENOTSUP,
  ERROR,
  HEADER_BYTES,
  MAX_DATA_BYTES,
  Message,
  NO_REPLY,
  TYPE_COMMAND,
  TYPE_MASK,
  TYPE_REPLY,
} from './codec.ts';

/** Requests are short: the longest is the version with its capabilities. */
const REQUEST_BYTES = 4096;
export type Descriptors = Int32Array<ArrayBuffer>;
const NO_DESCRIPTORS: Descriptors = new Int32Array(0);
const DMA_BYTES = 16; // address and count, in DMA_READ and DMA_WRITE
/** Requests of the server's answered in one turn of the event loop. */
const SERVED_A_TURN = 256;

export interface ConnectionOptions {
  /** For messages: "vfio-user:/run/nic0". */
  readonly name: string;
  /** Milliseconds in which a request must be answered. */
  readonly timeout: number;
  /** Called, from the event loop, where the connection ended while nothing was asked. */
  readonly lost: () => void;
}

/** Memory that the server may reach by message, where it cannot map it. */
export interface Reachable {
  readonly iova: number;
  readonly bytes: Uint8Array;
}

export class Connection {
  /** To be filled in before `ask` or `post`: the payload of the request. */
  readonly request = new Message(REQUEST_BYTES);
  /** What `ask` leaves: the payload of the reply, until the next request. */
  readonly reply = new Message();
  memory: Reachable | null = null;
  /** Why there is no connection any more. */
  failure: DeviceError | null = null;
  readonly #socket: UnixSocket;
  readonly #watch: Watch;
  readonly #options: ConnectionOptions;
  #id = 0;

  /** @throws NativeError where nobody listens at `path`. */
  constructor(path: string, options: ConnectionOptions) {
    this.#options = options;
    if (listensHere(path)) {
      throw new DeviceError(
        'INVALID',
        `${options.name} is served by this very thread, which would wait for itself: serve it in another`,
      );
    }
    this.#socket = connectUnix(path);
    this.#watch = watch(this.#socket.fd, { readable: () => this.#unasked() });
    this.#watch.start();
    this.#watch.unref();
  }

  /**
   * Sends the request and waits for its reply.
   * @param fds descriptors to send along.
   * @param replyBytes the reply's payload at least.
   * @throws DeviceError: 'TIMEOUT', 'FAILED', 'CLOSED'.
   */
  ask(command: number, replyBytes: number, fds: Descriptors = NO_DESCRIPTORS): void {
    const error = this.tryAsk(command, replyBytes, fds);
    if (error !== 0) throw this.refused(command, error);
  }

  /** The same, but an error that the server replies with is returned: Linux's number. */
  tryAsk(command: number, replyBytes: number, fds: Descriptors = NO_DESCRIPTORS): number {
    const { reply } = this;
    const id = this.#begin(command, TYPE_COMMAND);
    this.#exchange(fds);
    if (reply.id !== id || reply.command !== command) {
      throw this.#end('FAILED', `request ${command} was answered with a reply to ${reply.command}`);
    }
    if ((reply.flags & ERROR) !== 0) return reply.error === 0 ? EINVAL : reply.error;
    if (reply.payload >= replyBytes) return 0;
    throw this.#end('FAILED', `the reply to request ${command} has ${reply.payload} bytes, not ${replyBytes}`);
  }

  /** Sends the request, and wants no reply: what is asked next is served after it. */
  post(command: number): void {
    this.#begin(command, TYPE_COMMAND | NO_REPLY);
    try {
      this.#socket.send(this.request.bytes, 0, this.request.length, NO_DESCRIPTORS, this.#options.timeout);
    } catch (error) {
      throw this.#ended(error);
    }
  }

  refused(command: number, error: number): DeviceError {
    return new DeviceError(
      'FAILED',
      `${this.#options.name}: the server refused request ${command}: ${errorName(error)}`,
    );
  }

  #begin(command: number, flags: number): number {
    if (this.failure !== null) throw this.failure;
    const id = (this.#id + 1) & 0xffff;
    this.#id = id;
    this.request.header(id, command, flags);
    return id;
  }

  #exchange(fds: Descriptors): void {
    const { request, reply } = this;
    const { timeout } = this.#options;
    let { length } = request;
    try {
      if (fds.length > 0) {
        this.#socket.send(request.bytes, 0, length, fds, timeout);
        length = 0;
      }
      reply.length = this.#socket.exchange(request.bytes, length, reply.bytes, timeout);
      if ((reply.flags & TYPE_MASK) === TYPE_REPLY) return;
      // It may ask for memory first, as often as it can in the time that it has.
      const deadline = performance.now() + timeout;
      do {
        this.#serve();
        const left = Math.ceil(deadline - performance.now());
        if (left <= 0) throw this.#late();
        reply.length = this.#socket.exchange(request.bytes, 0, reply.bytes, left);
      } while ((reply.flags & TYPE_MASK) !== TYPE_REPLY);
    } catch (error) {
      throw this.#ended(error);
    }
  }

  /** Something came while nothing was asked: a request of the server's, or its end. */
  #unasked(): void {
    const { reply } = this;
    try {
      for (let served = 0; served < SERVED_A_TURN && this.failure === null; served++) {
        reply.length = this.#socket.exchange(reply.bytes, 0, reply.bytes, 0);
        if (reply.length === 0) return;
        if ((reply.flags & TYPE_MASK) === TYPE_REPLY)
          throw this.#end('FAILED', 'the server answered what nobody asked');
        this.#serve();
      }
    } catch (error) {
      this.#ended(error);
    }
    if (this.failure !== null) this.#options.lost();
  }

  /** Answers the server's request in `reply`, in place. */
  #serve(): void {
    const { reply } = this;
    const { id, command, flags } = reply;
    if ((flags & TYPE_MASK) !== TYPE_COMMAND) throw this.#end('FAILED', 'the server sent a message of no known type');
    const error = this.#dispatch(command);
    if ((flags & NO_REPLY) !== 0) return;
    if (error !== 0) reply.payload = 0;
    reply.header(id, command, error === 0 ? TYPE_REPLY : TYPE_REPLY | ERROR, error);
    this.#socket.send(reply.bytes, 0, reply.length, NO_DESCRIPTORS, this.#options.timeout);
  }

  #dispatch(command: number): number {
    const { reply, memory } = this;
    if (command !== COMMAND_DMA_READ && command !== COMMAND_DMA_WRITE) return ENOTSUP;
    if (reply.payload < DMA_BYTES || memory === null) return EINVAL;
    const start = reply.u64(0) - memory.iova;
    const count = reply.u64(8);
    if (start < 0 || count > MAX_DATA_BYTES || start + count > memory.bytes.length) return EINVAL;
    const data = HEADER_BYTES + DMA_BYTES;
    if (command === COMMAND_DMA_READ) {
      if (reply.payload !== DMA_BYTES) return EINVAL;
      reply.payload = DMA_BYTES + count;
      reply.bytes.set(memory.bytes.subarray(start, start + count), data);
    } else {
      if (reply.payload !== DMA_BYTES + count) return EINVAL;
      memory.bytes.set(reply.bytes.subarray(data, data + count), start);
      reply.payload = DMA_BYTES;
    }
    return 0;
  }

  /** What went wrong with the socket, as this connection's end. */
  #ended(error: unknown): DeviceError {
    if (error instanceof DeviceError) return error;
    if (!(error instanceof NativeError)) throw error;
    const { code, message } = error;
    if (code === 'ETIMEDOUT') return this.#late();
    if (code === 'EPIPE' || code === 'ECONNRESET') {
      return this.#end('FAILED', 'the server closed the connection: start it again, then this');
    }
    if (code !== 'EMSGSIZE') return this.#end('FAILED', message);
    return this.#end('FAILED', `the server announced a message of ${this.reply.size} bytes`);
  }

  #late(): DeviceError {
    const { timeout } = this.#options;
    return this.#end('TIMEOUT', `the server did not answer within ${timeout} ms: is it serving another client?`);
  }

  /** @internal Ends the connection; `what` says why. */
  end(what: string): DeviceError {
    return this.#end('FAILED', what);
  }

  #end(code: DeviceErrorCode, what: string): DeviceError {
    if (this.failure !== null) return this.failure;
    this.failure = new DeviceError(code, `${this.#options.name}: ${what}`);
    this.#socket.close(); // and its watch
    return this.failure;
  }

  /** Idempotent. */
  close(): void {
    this.failure = new DeviceError('CLOSED', `${this.#options.name} is closed: open it again`);
    this.#socket.close();
  }
}

function errorName(errno: number): string {
  try {
    return getSystemErrorName(-errno);
  } catch {
    return `errno ${errno}`;
  }
}
