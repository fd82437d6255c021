/**
 * A client's connection: its messages to requests, and the replies back.
 *
 * Nothing that a client does holds the thread for longer than a turn of the event loop may take. A message is served in as
 * many turns as it needs, and its reply sent as there is room; until then it stays at the inbox's start and no other is
 * looked at, so that their order is kept.
 */
import { type Attendance, attend, NativeError, type UnixSocket } from '../../native/index.ts';
import { ClientDma } from './client-dma.ts';
import { EINVAL, ERROR, TYPE_REPLY } from './codec.ts';
import { type Arrival, Inbox } from './inbox.ts';
import { Outbox } from './outbox.ts';
import type { Outcome, Requests } from './requests.ts';
import type { Turn } from './turn.ts';

export interface SessionContext {
  /** Milliseconds in which the client must have introduced itself. */
  readonly patience: number;
  readonly turn: Turn;
  /** Whether it may be served now; where not, `admit` is called when it may. */
  readonly mayBegin: () => boolean;
  /** Before a request: the model's time is now. */
  readonly pump: () => void;
  /** After it: runs what the model put off to this very moment. */
  readonly settle: () => void;
  /** The client went, or is to go: why, where that is its fault. */
  readonly gone: (why: string | null) => void;
}

/** Milliseconds in which a client must have taken a reply. */
const REPLY_PATIENCE = 1000;

/** What the message at the inbox's start waits for: to be served at all, or to its end, or room for its reply. */
type Awaited = 'admission' | 'turn' | 'room';

export class Session {
  readonly requests: Requests;
  readonly dma: ClientDma;
  readonly #socket: UnixSocket;
  readonly #attendance: Attendance;
  readonly #inbox: Inbox;
  readonly #outbox: Outbox;
  readonly #context: SessionContext;
  #timer: NodeJS.Timeout | null = null;
  #awaited: Awaited | null = null;
  #broken: string | null = null;
  #serving = false;
  #later: NodeJS.Immediate | null = null;
  #begun = false;
  #closed = false;

  constructor(socket: UnixSocket, requests: Requests, context: SessionContext) {
    this.#socket = socket;
    this.requests = requests;
    this.#context = context;
    this.#inbox = new Inbox(socket);
    this.#outbox = new Outbox(socket);
    this.dma = new ClientDma(socket, this.#inbox, this.#outbox, {
      turn: context.turn,
      broken: (why) => {
        this.#broken ??= why;
        this.#comeBack();
      },
      received: () => this.#comeBack(),
    });
    this.#attendance = attend(socket.fd, { readable: () => this.#guard(() => this.#ready()) });
    this.#expect(context.patience, (ms) => `silent for ${ms} ms after connecting`);
  }

  /** Whether all that it has to say to be served has come: it waits for that. */
  get waits(): boolean {
    return this.#awaited === 'admission';
  }

  /** Its turn has come, later. */
  admit(): void {
    this.#await(null);
    this.#guard(() => this.#serveAll('message'));
  }

  /** Something of the client's, within its time. */
  #expect(milliseconds: number, why: (milliseconds: number) => string): void {
    this.#timer = setTimeout(() => this.#context.gone(why(milliseconds)), milliseconds);
  }

  #expectNothing(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** Until that is there, the client's next messages wait in the socket. */
  #await(what: Awaited | null): void {
    this.#awaited = what;
    this.#attendance.until(what === null ? 'input' : what === 'room' ? 'room' : 'end');
    if (what === 'turn') this.#goOnLater();
  }

  /** DMA that a clock's alarm began may have received requests, or found the client at its end. */
  #comeBack(): void {
    if (this.#serving || (this.#broken === null && !this.#inbox.more)) return;
    this.#goOnLater();
  }

  #goOnLater(): void {
    this.#later ??= setImmediate(() => {
      this.#later = null;
      this.#guard(() => this.#goOn());
    });
  }

  #guard(action: () => void): void {
    this.#serving = true;
    this.#context.turn.begin();
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

  /** The socket has what was waited for, or its other side has closed. */
  #ready(): void {
    if (this.#awaited === 'admission' || this.#awaited === 'turn') this.#context.gone(null);
    else if (this.#awaited === 'room') this.#sendRest();
    else this.#serveAll(this.#inbox.more ? this.#inbox.take() : this.#inbox.receive()); // first what came first
  }

  #goOn(): void {
    if (this.#broken !== null) this.#context.gone(this.#broken);
    else if (this.#awaited === null) this.#serveAll(this.#inbox.take());
    else if (this.#awaited === 'turn') {
      this.#await(null);
      this.#context.pump();
      if (!this.#closed && this.#conclude(this.requests.resume(this.#inbox.message))) this.#serveNext();
    }
  }

  #sendRest(): void {
    this.#outbox.push();
    if (this.#outbox.busy) return;
    this.#expectNothing();
    this.#await(null);
    this.#serveNext();
  }

  /** What was read already, if any. */
  #serveNext(): void {
    if (!this.#inbox.more) return;
    if (this.#context.turn.over) this.#goOnLater();
    else this.#serveAll(this.#inbox.take());
  }

  /** What came whole with one read: nearly always one request, as its client awaits the reply. */
  #serveAll(first: Arrival): void {
    let arrival = first;
    while (arrival === 'message') {
      if (!this.#begun && !this.#begin()) return;
      if (!this.#serve() || !this.#inbox.more) return;
      // Several at once: posted writes, each of which may be a doorbell with a ring full behind it.
      if (this.#context.turn.over) {
        this.#goOnLater();
        return;
      }
      arrival = this.#inbox.take();
    }
    if (arrival === 'end') this.#context.gone(this.#inbox.begun ? 'it went in the middle of a message' : null);
    else if (arrival === 'bad size') this.#refuseSize();
  }

  #begin(): boolean {
    this.#expectNothing();
    this.#begun = this.#context.mayBegin();
    if (!this.#begun) this.#await('admission');
    return this.#begun;
  }

  /** Whether the next message may be looked at. */
  #serve(): boolean {
    const { message, fds } = this.#inbox;
    this.#context.pump();
    if (this.#closed) return false;
    const outcome = this.requests.serve(message, fds);
    fds[0] = 0;
    return this.#conclude(outcome);
  }

  #conclude(outcome: Outcome): boolean {
    switch (outcome) {
      case 'unfinished':
        this.#await('turn');
        break;
      case 'reply':
        this.#reply();
        this.#context.settle();
        break;
      case 'silence':
        this.#context.settle();
        break;
      case 'reply, then close':
        this.#reply();
        this.#context.gone('it must begin with its version, 0.x');
        break;
      case 'close':
        this.#context.gone('a reply to nothing');
        break;
    }
    if (this.#broken !== null && !this.#closed) this.#context.gone(this.#broken);
    return !this.#closed && this.#awaited === null;
  }

  #reply(): void {
    const { message } = this.#inbox;
    this.#outbox.send(message.bytes, message.length);
    this.dma.most = this.requests.clientMost;
    if (!this.#outbox.busy) return;
    this.#await('room');
    this.#expect(REPLY_PATIENCE, (ms) => `it has not taken a reply for ${ms} ms`);
  }

  /** Where the next message begins cannot be known. */
  #refuseSize(): void {
    const { message } = this.#inbox;
    const { size } = message;
    message.payload = 0;
    message.header(message.id, message.command, TYPE_REPLY | ERROR, EINVAL);
    this.#outbox.send(message.bytes, message.length);
    this.#context.gone(`a message of ${size} bytes`);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#expectNothing();
    if (this.#later !== null) clearImmediate(this.#later);
    this.#inbox.close();
    this.requests.close();
    this.#socket.close(); // and its watch
  }
}
