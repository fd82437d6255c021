/**
 * Serves a model over vfio-user: any number of clients, one after another, over a UNIX socket. Who has introduced himself is
 * served before who has only connected.
 *
 * The thread sleeps on its clients' sockets itself (native/wait.ts) and calls the model on waking, in the machine's time;
 * TAP interfaces, timers and signals of the same thread go on. A register read takes 1.3 times what it takes through a C
 * server that blocks in recv, where the event loop's own watch took 1.45 times (npm run bench -- mmio): a request costs one
 * poll, one receive and one send.
 */
import { MachineClock } from '../../drivers/backends/machine-clock.ts';
import {
  listenUnix,
  packetKernels,
  type UnixListener,
  type UnixSocket,
  type Watch,
  watch,
} from '../../native/index.ts';
import { Clock } from '../../sim/clock.ts';
import { makeArena, useNative } from '../../sim/kernels/index.ts';
import { AddressSpace, type DistantMemory } from '../../sim/memory.ts';
import type { Board, HostOf } from '../../sim/nic/board.ts';
import type { Host, PciFunction } from '../../sim/pci/function.ts';
import { type Backing, GuestMemory, ModelMemory } from './guest-memory.ts';
import { ClientInterrupts } from './interrupts.ts';
import { interruptCounts, messageIndex, Requests } from './requests.ts';
import type { Servable, Signals } from './servable.ts';
import { Session } from './session.ts';
import { Turn } from './turn.ts';

export interface ServeOptions {
  /** Where to listen. */
  readonly socket: string;
  /** The model's time, which somebody else keeps, as other models run by it; else the server has one of its own. */
  readonly clock?: { readonly clock: Clock; readonly pump: () => void };
  /** Milliseconds in which a client must have introduced itself, as others may be waiting. Default 5000. */
  readonly patience?: number;
  /** Milliseconds in which a client must answer for memory by message, as the thread waits; five times that in a turn. Default 50. */
  readonly dmaPatience?: number;
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
  /** Whether a client is being served, or waits for it. */
  readonly connected: boolean;
  /** Parts with the client, removes the socket. Idempotent. */
  close(): void;
}

/** Makes the model and listens for clients. */
export function serve<Model extends PciFunction>(
  functionFactory: (host: Host) => Model,
  options: ServeOptions,
): Server<Model> {
  return new VfioUserServer(({ clock, signals, distant, cut }) => {
    const memory = new AddressSpace();
    useNative(packetKernels());
    return {
      model: functionFactory({ clock, memory, packetMemory, ...signals }),
      backing: new ModelMemory(memory, distant, cut),
    };
  }, options);
}

/** Where function `number` of a board listens: 0 at the path itself, 1 at PATH.1, and so on. */
export function socketOf(path: string, number: number): string {
  return number === 0 ? path : `${path}.${number}`;
}

/** Makes a board and listens for clients of each of its functions. They share the board's time, and nothing of a client's. */
export function serveBoard<Kind extends Board>(
  makeBoard: (hostOf: HostOf) => Kind,
  options: ServeOptions & Required<Pick<ServeOptions, 'clock'>>,
): { readonly board: Kind; readonly servers: readonly Server<PciFunction>[] } {
  const { clock } = options.clock;
  const memories: AddressSpace[] = [];
  useNative(packetKernels());
  const signals: (Signals | undefined)[] = []; // there are none until the function's server is there
  const board = makeBoard((number) => {
    const memory = new AddressSpace();
    memories[number] = memory;
    return {
      ...{ clock, memory, packetMemory },
      intx: (asserted) => signals[number]?.intx(asserted),
      message: (vector) => signals[number]?.message(vector),
      wasReset: () => signals[number]?.wasReset(),
    };
  });
  const servers: Server<PciFunction>[] = [];
  try {
    for (const [number, model] of board.functions.entries())
      servers.push(
        new VfioUserServer(
          ({ signals: own, distant, cut }) => {
            signals[number] = own;
            return { model, backing: new ModelMemory(memories[number]!, distant, cut) };
          },
          { ...options, socket: socketOf(options.socket, number) },
        ),
      );
  } catch (error) {
    for (const server of servers) server.close();
    throw error;
  }
  return { board, servers };
}

const packetMemory = (size: number) => ({ bytes: new Uint8Array(makeArena(size)), start: 0 });

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
  /** The client has cut a file short whose memory the model was to have. */
  readonly cut: () => void;
}

/** Clients connected at a time. Those that have not introduced themselves make way for others, the oldest first. */
const MOST_CLIENTS = 16;
/** Clients that knock between two turns of the event loop. */
const BACKLOG = 64;

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
  readonly #turn: Turn;
  /** In the order in which they came. */
  readonly #sessions = new Set<Session>();
  /** The one that is served. */
  #client: Session | null = null;
  #closed = false;

  constructor(offer: (surroundings: Surroundings) => Offer<Model>, options: ServeOptions) {
    const { socket, patience = 5000, dmaPatience = 50, note = () => {} } = options;
    this.#patience = patience;
    this.#turn = new Turn(dmaPatience);
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
    let interrupts: ClientInterrupts | null = null;
    this.#listener = listenUnix(socket, { backlog: BACKLOG });
    try {
      this.#waiting = watch(this.#listener.fd, { readable: () => this.#acceptAll() });
      const { model, backing, close = () => {} } = offer(this.#surroundings(() => interrupts));
      this.model = model;
      this.#end = close;
      this.#memory = new GuestMemory(backing);
    } catch (error) {
      this.#listener.close();
      throw error;
    }
    this.#interrupts = interrupts = new ClientInterrupts(interruptCounts(this.model));
    this.#waiting.start();
    this.#own?.start();
  }

  #surroundings(interrupts: () => ClientInterrupts | null): Surroundings {
    return {
      clock: this.#clock,
      signals: {
        intx: (asserted) => interrupts()?.line(asserted),
        message: (vector) => interrupts()?.fire(messageIndex(this.model), vector),
        wasReset: () => this.#client?.requests.openVectors(),
      },
      distant: {
        read: (...access) => this.#client?.dma.read(...access) ?? false,
        write: (...access) => this.#client?.dma.write(...access) ?? false,
      },
      cut: () => {
        if (this.#client !== null) this.#gone(this.#client, 'it cut a file short whose memory it had mapped');
      },
    };
  }

  get socket(): string {
    return this.#listener.path;
  }

  get connected(): boolean {
    return this.#sessions.size > 0;
  }

  /** Whoever knocks may introduce himself, so that nobody has to wait for those who do not. */
  #acceptAll(): void {
    for (let most = MOST_CLIENTS; most > 0; most--) {
      if (this.#sessions.size >= MOST_CLIENTS && !this.#makeWay()) return;
      const socket = this.#listener.accept();
      if (socket === null) return;
      this.#accept(socket);
    }
  }

  #accept(socket: UnixSocket): void {
    this.counters.clients++;
    const requests = new Requests(this.model, this.#memory, this.#interrupts, this.#turn, this.#note);
    const session: Session = new Session(socket, requests, {
      patience: this.#patience,
      turn: this.#turn,
      mayBegin: (): boolean => {
        if (this.#client === null) this.#begin(session);
        return this.#client === session;
      },
      pump: this.#pump,
      settle: () => {
        if (this.#clock.next <= this.#clock.now) this.#pump();
      },
      gone: (why) => this.#gone(session, why),
    });
    this.#sessions.add(session);
  }

  /** The oldest that has not introduced itself goes; where all have, whoever knocks waits in the socket's queue. */
  #makeWay(): boolean {
    const silent = [...this.#sessions].find((session) => session !== this.#client && !session.waits);
    if (silent === undefined) this.#waiting.stop();
    else this.#gone(silent, 'silent, and others are waiting');
    return silent !== undefined;
  }

  #gone(session: Session, why: string | null): void {
    if (!this.#sessions.delete(session)) return;
    session.close();
    const served = session === this.#client;
    if (served) this.#tidyUp(session);
    if (why !== null) this.counters.dropped++;
    if (why !== null) this.#note(`client dropped: ${why}`);
    else if (served) this.#note('client gone');
    if (this.#closed) return;
    this.#waiting.start();
    this.#admitNext();
  }

  /** The card is reset as its slot would reset it, before the memory that it knows of goes. */
  #tidyUp(client: Session): void {
    this.#client = null;
    if (client.requests.ready) this.model.reset('function');
    this.#memory.clear();
    this.#interrupts.clear();
    const { requests, refused } = client.requests.counters;
    this.counters.requests += requests;
    this.counters.refused += refused;
    this.counters.distant = this.#memory.distant;
    this.counters.exchanges += client.dma.exchanges;
  }

  #begin(session: Session): void {
    this.#client = session;
    this.#note('client connected');
  }

  /** After a turn for everybody else: it may be that the last one took all of this one, and that the next one will do so, too. */
  #admitNext(): void {
    if (this.#client !== null) return;
    const next = [...this.#sessions].find(({ waits }) => waits);
    if (next === undefined) return;
    this.#begin(next);
    const admit = () => {
      if (this.#client === next) next.admit();
    };
    setImmediate(() => setImmediate(admit));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const session of this.#sessions) this.#gone(session, null);
    this.#listener.close();
    this.#own?.stop();
    this.#turn.close();
    this.#end();
  }
}
