/**
 * Serves a model over vfio-user: any number of clients, one after another, over a UNIX socket.
 *
 * The model is called from the event loop, in the machine's time, whenever a request has arrived. What there is to a
 * request is in requests.ts, which knows nothing of how it came: a loop that blocks on the socket can take this one's place.
 */
import { closeSync } from 'node:fs';
import { MachineClock } from '../../drivers/backends/machine-clock.ts';
import {
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

/** Requests served in one turn of the event loop, which others use too. */
const REQUESTS_A_TURN = 1024;

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
  readonly #pump: () => void;
  readonly #patience: number;
  readonly #note: (text: string) => void;
  readonly #memory: GuestMemory;
  readonly #interrupts: ClientInterrupts;
  readonly #message = new Message();
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
  /** The client went, or is to go: why, where that is its fault. */
  readonly gone: (why: string | null) => void;
}

/** A connection: bytes to requests and back. */
class Client {
  readonly requests: Requests;
  readonly #socket: UnixSocket;
  readonly #message: Message;
  readonly #context: ClientContext;
  readonly #watch: Watch;
  readonly #timer: NodeJS.Timeout;
  readonly #fds = receivedDescriptors(MAX_DESCRIPTORS);
  readonly #part = receivedDescriptors(MAX_DESCRIPTORS);
  #got = 0; // bytes of the present message
  #closed = false;

  constructor(socket: UnixSocket, requests: Requests, message: Message, context: ClientContext) {
    this.#socket = socket;
    this.requests = requests;
    this.#message = message;
    this.#context = context;
    this.#watch = watch(socket.fd, { readable: () => this.#readable() });
    this.#watch.start();
    const { patience, gone } = context;
    this.#timer = setTimeout(() => gone(`silent for ${patience} ms after connecting`), patience);
  }

  #readable(): void {
    try {
      for (let served = 0; served < REQUESTS_A_TURN && !this.#closed; served++) if (!this.#one()) return;
    } catch (error) {
      if (!(error instanceof NativeError)) throw error;
      // It has gone in the middle of a reply, or does not read it.
      this.#context.gone(error.code === 'EPIPE' || error.code === 'ECONNRESET' ? null : error.message);
    }
  }

  /** Serves the next request; false where it has not arrived whole. */
  #one(): boolean {
    const message = this.#message;
    if (this.#got < HEADER_BYTES && !this.#receive(HEADER_BYTES)) return false;
    const { size } = message;
    if (size < HEADER_BYTES || size > MAX_MESSAGE_BYTES) {
      // Where the next message begins cannot be known.
      this.#closeReceived();
      message.payload = 0;
      message.header(message.id, message.command, TYPE_REPLY | ERROR, EINVAL);
      this.#socket.send(message.bytes, 0, message.length);
      this.#context.gone(`a message of ${size} bytes`);
      return false;
    }
    if (this.#got < size && !this.#receive(size)) return false;
    message.length = size;
    this.#got = 0;
    this.#context.pump();
    const outcome = this.requests.serve(message, this.#fds);
    this.#fds[0] = 0;
    if (outcome === 'reply' || outcome === 'reply, then close') this.#socket.send(message.bytes, 0, message.length);
    if (outcome === 'reply' || outcome === 'silence') {
      clearTimeout(this.#timer);
      return true;
    }
    this.#context.gone(outcome === 'close' ? 'a reply to nothing' : 'it must begin with its version, 0.x');
    return false;
  }

  /** Reads on up to `length` bytes of the message; true once they are there. */
  #receive(length: number): boolean {
    while (this.#got < length) {
      const got = this.#socket.receive(this.#message.bytes, this.#got, length - this.#got, this.#part);
      this.#keepDescriptors();
      if (got === END) {
        this.#context.gone(this.#got === 0 ? null : 'it went in the middle of a message');
        return false;
      }
      if (got === 0) return false;
      this.#got += got;
    }
    return true;
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
