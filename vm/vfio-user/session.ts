/** A client's connection: its messages to requests, and the replies back. */
import { attend, NativeError, type UnixSocket } from '../../native/index.ts';
import { ClientDma } from './client-dma.ts';
import { EINVAL, ERROR, TYPE_REPLY } from './codec.ts';
import { type Arrival, Inbox } from './inbox.ts';
import type { Requests } from './requests.ts';

/** Milliseconds after which the event loop's other business has its turn, whatever else has come. */
const TURN = 10;

export interface SessionContext {
  /** Milliseconds in which the client must have introduced itself, and in which it must answer. */
  readonly patience: number;
  /** Before a request: the model's time is now. */
  readonly pump: () => void;
  /** After it: runs what the model put off to this very moment. */
  readonly settle: () => void;
  /** The client went, or is to go: why, where that is its fault. */
  readonly gone: (why: string | null) => void;
}

export class Session {
  readonly requests: Requests;
  readonly dma: ClientDma;
  readonly #socket: UnixSocket;
  readonly #inbox: Inbox;
  readonly #context: SessionContext;
  readonly #timer: NodeJS.Timeout;
  #broken: string | null = null;
  #serving = false;
  #later: NodeJS.Immediate | null = null;
  #introduced = false;
  #closed = false;

  constructor(socket: UnixSocket, requests: Requests, context: SessionContext) {
    this.#socket = socket;
    this.requests = requests;
    this.#context = context;
    this.#inbox = new Inbox(socket);
    const { patience, gone } = context;
    this.dma = new ClientDma(socket, this.#inbox, {
      patience,
      broken: (why) => {
        this.#broken ??= why;
        this.#comeBack();
      },
      received: () => this.#comeBack(),
    });
    attend(socket.fd, { readable: () => this.#guard(() => this.#receive()) });
    this.#timer = setTimeout(() => gone(`silent for ${patience} ms after connecting`), patience);
  }

  /** DMA that a clock's alarm began may have received requests, or found the client at its end. */
  #comeBack(): void {
    if (this.#serving || (this.#broken === null && !this.#inbox.more)) return;
    this.#goOnLater();
  }

  #goOnLater(): void {
    this.#later ??= setImmediate(() => {
      this.#later = null;
      this.#guard(() => this.#serveAll(this.#inbox.take()));
    });
  }

  #guard(action: () => void): void {
    this.#serving = true;
    try {
      action();
    } catch (error) {
      if (!(error instanceof NativeError)) throw error;
      // It has gone in the middle of a reply, or does not read it.
      this.#context.gone(error.code === 'EPIPE' || error.code === 'ECONNRESET' ? null : error.message);
    } finally {
      this.#serving = false;
    }
  }

  #receive(): void {
    if (this.#inbox.more)
      this.#serveAll(this.#inbox.take()); // first what came first
    else this.#serveAll(this.#inbox.receive());
  }

  /** What came whole with one read: nearly always one request, as its client awaits the reply. */
  #serveAll(first: Arrival): void {
    let arrival = first;
    for (let end = 0; arrival === 'message' && !this.#closed; ) {
      this.#serve();
      if (this.#broken !== null) this.#context.gone(this.#broken);
      if (this.#closed || !this.#inbox.more) break;
      // Several at once: posted writes, each of which may be a doorbell with a ring full behind it.
      if (end === 0) end = performance.now() + TURN;
      else if (performance.now() > end) {
        this.#goOnLater();
        return;
      }
      arrival = this.#inbox.take();
    }
    if (this.#closed) return;
    if (this.#broken !== null) this.#context.gone(this.#broken);
    else if (arrival === 'end') this.#context.gone(this.#inbox.begun ? 'it went in the middle of a message' : null);
    else if (arrival === 'bad size') this.#refuseSize();
  }

  #serve(): void {
    const { message, fds } = this.#inbox;
    this.#context.pump();
    if (this.#closed) return;
    const outcome = this.requests.serve(message, fds);
    fds[0] = 0;
    if (outcome === 'reply' || outcome === 'reply, then close') this.#socket.send(message.bytes, 0, message.length);
    if (outcome === 'reply' || outcome === 'silence') {
      if (!this.#introduced) this.#introduce();
      this.#context.settle();
    } else this.#context.gone(outcome === 'close' ? 'a reply to nothing' : 'it must begin with its version, 0.x');
  }

  #introduce(): void {
    this.#introduced = true;
    this.dma.most = this.requests.clientMost;
    clearTimeout(this.#timer);
  }

  /** Where the next message begins cannot be known. */
  #refuseSize(): void {
    const { message } = this.#inbox;
    const { size } = message;
    message.payload = 0;
    message.header(message.id, message.command, TYPE_REPLY | ERROR, EINVAL);
    this.#socket.send(message.bytes, 0, message.length);
    this.#context.gone(`a message of ${size} bytes`);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    if (this.#later !== null) clearImmediate(this.#later);
    this.#inbox.close();
    this.#socket.close(); // and its watch
  }
}
