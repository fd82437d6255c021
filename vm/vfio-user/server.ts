/**
 * Serves a model over vfio-user: any number of clients, one after another, over a UNIX socket.
 *
 * The thread sleeps on its clients' sockets itself (native/wait.ts) and calls the model on waking, in the machine's time;
 * TAP interfaces, timers and signals of the same thread go on. A register read takes 1.3 times what it takes through a C
 * server that blocks in recv, where the event loop's own watch took 1.45 times (npm run bench -- mmio): a request costs one
 * poll, one receive and one send.
 */
import { MachineClock } from '../../drivers/backends/machine-clock.ts';
import { listenUnix, type UnixListener, type Watch, watch } from '../../native/index.ts';
import { Clock } from '../../sim/clock.ts';
import { AddressSpace, type DistantMemory } from '../../sim/memory.ts';
import type { Host, PciFunction } from '../../sim/pci/function.ts';
import { type Backing, GuestMemory, ModelMemory } from './guest-memory.ts';
import { ClientInterrupts } from './interrupts.ts';
import { interruptCounts, messageIndex, Requests } from './requests.ts';
import type { Servable, Signals } from './servable.ts';
import { Session } from './session.ts';

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
  /** Mappings that came without a descriptor, and messages that DMA there took. */
  distant: number;
  exchanges: number;
}

export interface Server<Model extends Servable = Servable> {
  readonly model: Model;
  readonly socket: string;
  readonly counters: ServerCounters;
  /** Whether a client is being served. */
  readonly connected: boolean;
  /** Parts with the client, removes the socket. Idempotent. */
  close(): void;
}

/** Makes the model and listens for clients. */
export function serve<Model extends PciFunction>(
  functionFactory: (host: Host) => Model,
  options: ServeOptions,
): Server<Model> {
  return new VfioUserServer(({ clock, signals, distant }) => {
    const memory = new AddressSpace();
    const packetMemory = (size: number) => ({ bytes: new Uint8Array(size), start: 0 });
    return {
      model: functionFactory({ clock, memory, packetMemory, ...signals }),
      backing: new ModelMemory(memory, distant),
    };
  }, options);
}

/** What is served, and how it gets at the client's memory. */
export interface Offer<Model extends Servable> {
  readonly model: Model;
  readonly backing: Backing;
  /** What ends with the server. */
  readonly close?: () => void;
}

/** Listens for clients of something that is no model of ours. */
export function serveOther<Model extends Servable>(
  offer: (signals: Signals) => Offer<Model>,
  options: ServeOptions,
): Server<Model> {
  return new VfioUserServer(({ signals }) => offer(signals), options);
}

interface Surroundings {
  readonly clock: Clock;
  readonly signals: Signals;
  /** Memory that the client has to be asked for. */
  readonly distant: DistantMemory;
}

class VfioUserServer<Model extends Servable> implements Server<Model> {
  readonly model: Model;
  readonly counters: ServerCounters = { clients: 0, requests: 0, refused: 0, dropped: 0, distant: 0, exchanges: 0 };
  readonly #listener: UnixListener;
  readonly #waiting: Watch;
  readonly #own: MachineClock | null = null;
  readonly #clock: Clock;
  readonly #pump: () => void;
  readonly #patience: number;
  readonly #note: (text: string) => void;
  readonly #memory: GuestMemory;
  readonly #interrupts: ClientInterrupts;
  readonly #end: () => void;
  #client: Session | null = null;
  #closed = false;

  constructor(offer: (surroundings: Surroundings) => Offer<Model>, options: ServeOptions) {
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
    // A model may signal while it is being made, when nobody can listen yet.
    let signalled: ClientInterrupts | null = null;
    const {
      model,
      backing,
      close = () => {},
    } = offer({
      clock: time.clock,
      signals: {
        intx: (asserted) => signalled?.line(asserted),
        message: (vector) => signalled?.fire(messageIndex(this.model), vector),
      },
      distant: {
        read: (...access) => this.#client?.dma.read(...access) ?? false,
        write: (...access) => this.#client?.dma.write(...access) ?? false,
      },
    });
    this.model = model;
    this.#end = close;
    this.#memory = new GuestMemory(backing);
    this.#interrupts = signalled = new ClientInterrupts(interruptCounts(model));
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
    this.#client = new Session(socket, requests, {
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
    this.counters.distant = this.#memory.distant;
    this.counters.exchanges += client.dma.exchanges;
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
    this.#end();
  }
}
