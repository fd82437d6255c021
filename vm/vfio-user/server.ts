/**
 * Serves a model over vfio-user: any number of clients, one after another, over a UNIX socket.
 *
 * The model is called from the event loop, in the machine's time, whenever a request has arrived. What there is to a
 * request is in requests.ts, which knows nothing of how it came: a loop that blocks on the socket can take this one's place.
 */
import { closeSync } from 'node:fs';
import { MachineClock } from '../../drivers/backends/machine-clock.ts';
import {
  attend,
  END,
  listenUnix,
  NativeError,
  receivedDescriptors,
  type UnixListener,
  type UnixSocket,
  type Watch,
  watch,
} from '../../native/index.ts';
import { Clock } from '../../sim/clock.ts';
import { AddressSpace } from '../../sim/memory.ts';
import type { Host, PciFunction } from '../../sim/pci/function.ts';
import { EINVAL, ERROR, HEADER_BYTES, MAX_DESCRIPTORS, MAX_MESSAGE_BYTES, Message, TYPE_REPLY } from './codec.ts';
import { GuestMemory } from './guest-memory.ts';
import { ClientInterrupts } from './interrupts.ts';
import { interruptCounts, messageIndex, Requests } from './requests.ts';

export interface ServeOptions {
  /** Where to listen. */
  readonly socket: string;
  /** The model's time, which somebody else keeps, as other models run by it; else the server has one of its own. */
  readonly clock?: { readonly clock: Clock; readonly pump: () => void };
  /** Milliseconds in which a client must have introduced itself, as others may be waiting. Default 5000. */
  readonly patience?: number;
  /** Told what a person may want to know: clients that come and go, and why. */
  readonly note?: (text: string) => void;
}

export interface ServerCounters {
  /** Clients so far. */
  clients: number;
  requests: number;
  /** Requests answered with an error. */
  refused: number;
  /** Clients that were shut out: they broke the protocol, did not introduce themselves, or did not read. */
  dropped: number;
  /** Mappings that came without a descriptor. */
  unreachable: number;
}

export interface Server<Model extends PciFunction = PciFunction> {
  readonly model: Model;
  readonly socket: string;
  readonly counters: ServerCounters;
  /** Whether a client is being served. */
  readonly connected: boolean;
  /** Parts with the client, removes the socket. Idempotent. */
  close(): void;
}

/**
 * What is read at once, where a message begins. A client that posts writes has several on the way; they wait in the buffer
 * behind the longest message.
 */
const READ_AHEAD_BYTES = 4096;
const AHEAD = MAX_MESSAGE_BYTES;
const NO_FDS = receivedDescriptors(0);

/** Makes the model and listens for clients. */
export function serve<Model extends PciFunction>(
  functionFactory: (host: Host) => Model,
  options: ServeOptions,
): Server<Model> {
  return new VfioUserServer(functionFactory, options);
}

class VfioUserServer<Model extends PciFunction> implements Server<Model> {
  readonly model: Model;
  readonly counters: ServerCounters = { clients: 0, requests: 0, refused: 0, dropped: 0, unreachable: 0 };
  readonly #listener: UnixListener;
  readonly #waiting: Watch;
  readonly #own: MachineClock | null = null;
  readonly #clock: Clock;
  readonly #pump: () => void;
  readonly #patience: number;
  readonly #note: (text: string) => void;
  readonly #memory: GuestMemory;
  readonly #interrupts: ClientInterrupts;
  readonly #message = new Message(AHEAD + READ_AHEAD_BYTES);
  #client: Client | null = null;
  #closed = false;

  constructor(functionFactory: (host: Host) => Model, options: ServeOptions) {
    const { socket, patience = 5000, note = () => {} } = options;
    this.#patience = patience;
    this.#note = note;
    let { clock: time } = options;
    if (time === undefined) {
      const own = new MachineClock(new Clock());
      this.#own = own;
      time = { clock: own.clock, pump: () => own.pump() };
    }
    this.#clock = time.clock;
    this.#pump = time.pump;
    const space = new AddressSpace();
    // A model may signal while it is being made, when nobody can listen yet.
    let signalled: ClientInterrupts | null = null;
    this.model = functionFactory({
      clock: time.clock,
      memory: space,
      packetMemory: (size) => ({ bytes: new Uint8Array(size), start: 0 }),
      intx: (asserted) => signalled?.line(asserted),
      message: (vector) => signalled?.fire(messageIndex(this.model), vector),
    });
    this.#memory = new GuestMemory(space);
    this.#interrupts = signalled = new ClientInterrupts(interruptCounts(this.model));
    this.#listener = listenUnix(socket);
    try {
      this.#waiting = watch(this.#listener.fd, { readable: () => this.#accept() });
      this.#waiting.start();
    } catch (error) {
      this.#listener.close();
      throw error;
    }
    this.#own?.start();
  }

  get socket(): string {
    return this.#listener.path;
  }

  get connected(): boolean {
    return this.#client !== null;
  }

  #accept(): void {
    const socket = this.#listener.accept();
    if (socket === null) return;
    this.counters.clients++;
    this.#waiting.stop(); // whoever comes next waits in the socket's queue
    this.#note('client connected');
    const requests = new Requests(this.model, this.#memory, this.#interrupts, this.#note);
    this.#client = new Client(socket, requests, this.#message, {
      patience: this.#patience,
      pump: this.#pump,
      settle: () => {
        if (this.#clock.next <= this.#clock.now) this.#pump();
      },
      gone: (why) => this.#gone(why),
    });
  }

  /** The card is reset as its slot would reset it, before the memory that it knows of goes. */
  #gone(why: string | null): void {
    const client = this.#client;
    if (client === null) return;
    this.#client = null;
    client.close();
    if (client.requests.ready) this.model.reset('bus');
    this.#memory.clear();
    this.#interrupts.clear();
    const { requests, refused } = client.requests.counters;
    this.counters.requests += requests;
    this.counters.refused += refused;
    this.counters.unreachable = this.#memory.unreachable;
    if (why !== null) this.counters.dropped++;
    this.#note(why === null ? 'client gone' : `client dropped: ${why}`);
    if (!this.#closed) this.#waiting.start();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#gone(null);
    this.#listener.close();
    this.#own?.stop();
  }
}

interface ClientContext {
  readonly patience: number;
  readonly pump: () => void;
  /** After a request: runs what the model put off to this very moment. */
  readonly settle: () => void;
  /** The client went, or is to go: why, where that is its fault. */
  readonly gone: (why: string | null) => void;
}

/** A connection: bytes to requests and back. */
class Client {
  readonly requests: Requests;
  readonly #socket: UnixSocket;
  readonly #message: Message;
  readonly #context: ClientContext;
  readonly #timer: NodeJS.Timeout;
  readonly #fds = receivedDescriptors(MAX_DESCRIPTORS);
  readonly #part = receivedDescriptors(MAX_DESCRIPTORS);
  #got = 0; // bytes of the present message
  #ahead = AHEAD; // what was read beyond it
  #aheadEnd = AHEAD;
  #introduced = false;
  #closed = false;

  constructor(socket: UnixSocket, requests: Requests, message: Message, context: ClientContext) {
    this.#socket = socket;
    this.requests = requests;
    this.#message = message;
    this.#context = context;
    attend(socket.fd, { readable: () => this.#readable() });
    const { patience, gone } = context;
    this.#timer = setTimeout(() => gone(`silent for ${patience} ms after connecting`), patience);
  }

  #readable(): void {
    try {
      this.#serveAll();
    } catch (error) {
      if (!(error instanceof NativeError)) throw error;
      // It has gone in the middle of a reply, or does not read it.
      this.#context.gone(error.code === 'EPIPE' || error.code === 'ECONNRESET' ? null : error.message);
    }
  }

  /** One read, and what came whole with it and before it: nearly always one request, as its client awaits the reply. */
  #serveAll(): void {
    if (!this.#receive()) return;
    do this.#serve();
    while (!this.#closed && this.#take());
  }

  /** Serves the message in the buffer. */
  #serve(): void {
    const message = this.#message;
    message.length = message.size;
    this.#got = 0;
    const fds = this.#ahead === this.#aheadEnd ? this.#fds : NO_FDS;
    this.#context.pump();
    const outcome = this.requests.serve(message, fds);
    fds[0] = 0;
    if (outcome === 'reply' || outcome === 'reply, then close') this.#socket.send(message.bytes, 0, message.length);
    if (outcome === 'reply' || outcome === 'silence') {
      if (!this.#introduced) this.#introduce();
      this.#context.settle();
    } else this.#context.gone(outcome === 'close' ? 'a reply to nothing' : 'it must begin with its version, 0.x');
  }

  /** Reads what is there, as far as there is room for it; true where a message is whole now. */
  #receive(): boolean {
    const whole = this.#got < HEADER_BYTES ? READ_AHEAD_BYTES : this.#message.size;
    const got = this.#socket.receive(this.#message.bytes, this.#got, whole - this.#got, this.#part);
    if (this.#part[0] !== 0) this.#keepDescriptors();
    if (got === END) {
      this.#context.gone(this.#got === 0 ? null : 'it went in the middle of a message');
      return false;
    }
    this.#got += got;
    if (this.#got < HEADER_BYTES || !this.#sensibleSize()) return false;
    const surplus = this.#got - this.#message.size;
    if (surplus > 0) this.#putAhead(surplus);
    return surplus >= 0;
  }

  /** Puts what came behind the message out of its way: the reply may be longer than the request. */
  #putAhead(surplus: number): void {
    const { bytes, size } = this.#message;
    bytes.copyWithin(AHEAD, size, size + surplus);
    this.#ahead = AHEAD;
    this.#aheadEnd = AHEAD + surplus;
  }

  /** Takes the next message from what was read ahead; true where it is whole. */
  #take(): boolean {
    if (!this.#takeUpTo(HEADER_BYTES) || !this.#sensibleSize()) return false;
    return this.#takeUpTo(this.#message.size);
  }

  #takeUpTo(length: number): boolean {
    const part = Math.min(length - this.#got, this.#aheadEnd - this.#ahead);
    this.#message.bytes.copyWithin(this.#got, this.#ahead, this.#ahead + part);
    this.#ahead += part;
    this.#got += part;
    return this.#got === length;
  }

  /** Where its size is wrong nobody knows where the next message begins. */
  #sensibleSize(): boolean {
    const message = this.#message;
    const { size } = message;
    if (size >= HEADER_BYTES && size <= MAX_MESSAGE_BYTES) return true;
    this.#closeReceived();
    message.payload = 0;
    message.header(message.id, message.command, TYPE_REPLY | ERROR, EINVAL);
    this.#socket.send(message.bytes, 0, message.length);
    this.#context.gone(`a message of ${size} bytes`);
    return false;
  }

  #introduce(): void {
    this.#introduced = true;
    clearTimeout(this.#timer);
  }

  /** Descriptors may come with any of a message's bytes. Those beyond the most allowed are closed, and counted. */
  #keepDescriptors(): void {
    const came = this.#part[0]!;
    for (let i = 0; i < Math.min(came, MAX_DESCRIPTORS); i++) {
      const fd = this.#part[1 + i]!;
      const at = 1 + this.#fds[0]!;
      if (at < this.#fds.length) this.#fds[at] = fd;
      else closeSync(fd);
      this.#fds[0]!++;
    }
    if (came > MAX_DESCRIPTORS) this.#fds[0] = MAX_DESCRIPTORS + 1;
  }

  #closeReceived(): void {
    const count = Math.min(this.#fds[0]!, MAX_DESCRIPTORS);
    for (let i = 0; i < count; i++) closeSync(this.#fds[1 + i]!);
    this.#fds[0] = 0;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#closeReceived();
    this.#socket.close(); // and its watch
  }
}
