/** Cards offered to guests, over vfio-user or to Linux as a process, and all that is on their wire. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { runClock } from '../../drivers/backends/clock-steps.ts';
import { HostMemory } from '../../drivers/backends/host-memory.ts';
import { MachineClock } from '../../drivers/backends/machine-clock.ts';
import { Clock } from '../../sim/clock.ts';
import { type Board, CardBoard, type HostOf } from '../../sim/nic/board.ts';
import type { PciFunction } from '../../sim/pci/function.ts';
import type { HostPort } from '../../sim/wire/host-port.ts';
import { Link } from '../../sim/wire/link.ts';
import type { Port } from '../../sim/wire/port.ts';
import { Switch } from '../../sim/wire/switch.ts';
import { type ExportedQemu, exportQemu, exportsDevices } from '../../vm/export.ts';
import { NetdevStream } from '../../vm/netdev-stream.ts';
import { privateFolder } from '../../vm/private-folder.ts';
import type { Progress } from '../../vm/progress.ts';
import { findQemu } from '../../vm/qemu.ts';
import { serveQemu } from '../../vm/qtest/served.ts';
import { Calendar } from '../../vm/uml/calendar.ts';
import type { Plugged, Surroundings } from '../../vm/uml/machine.ts';
import { Reactor } from '../../vm/uml/reactor.ts';
import { serveFunction, serveNetwork } from '../../vm/uml/server.ts';
import { RealTime } from '../../vm/uml/time.ts';
import { type Server, type ServerCounters, serveBoard } from '../../vm/vfio-user/server.ts';
import { ANY_MODEL, familyOf, modelLike } from '../catalogue.ts';
import { boardOf, type Model } from '../families/family.ts';
import { TextTrace } from '../trace-format.ts';
import { CaptureFile } from './capture-file.ts';
import { openCard, type SimCard } from './card.ts';
import { echoRole, noRole, type Role, type RoleContext, tapRole } from './roles.ts';
import { TraceFile } from './trace-file.ts';

/** A model, or a device that QEMU emulates, by QEMU's name for it. */
export type ServedCard = ({ readonly model: Model } | { readonly qemu: string }) & {
  /** Where its client connects. */
  readonly socket: string;
  readonly mac?: Uint8Array;
};

/** Who else is on the wire: a card of ours with its driver, joined to a TAP or an echo. */
export interface Peer {
  readonly kind: 'tap' | 'echo';
  /** The TAP's. */
  readonly name?: string;
}

export interface NetworkOptions {
  readonly cards: readonly ServedCard[];
  /** Sockets where cards of QEMU's connect, each by a `-netdev stream`. */
  readonly streams?: readonly string[];
  /** The cards are for Linux as a process, in the machine's time or in a calendar's. */
  readonly uml?: 'real' | 'virtual';
  /** Sockets where that Linux finds cards of virtio's, which are no models. */
  readonly virtio?: readonly string[];
  readonly peer?: Peer;
  readonly pcap?: string;
  readonly trace?: string;
  /** Told of clients that come and go. */
  readonly note?: (text: string) => void;
  /** Told what there is to say of the peer's frames, and its interface's settings. */
  readonly log?: (line: string) => void;
  /** Told what the peer, or a QEMU, could not go on after. */
  readonly failed?: (error: unknown) => void;
  /** Told what takes its time before any of it is there. */
  readonly progress?: Progress;
}

interface Closable {
  close(): void;
}

/** Where computing takes no time a window full of frames is sent at one moment: the wire must take its time. Bits a second. */
const VIRTUAL_RATE = 1e9;

/** A pipe that is not read any more ends a program; what a TAP or a file says ends the run. */
const uncaught = (error: unknown) => {
  throw error;
};

export class Network {
  /** In the order of the cards. */
  readonly boards: Board[] = [];
  /** Of models, over vfio-user: one for each function. */
  readonly servers: Server<PciFunction>[] = [];
  /** For Linux as a process: what it is to have plugged in, and where it lives. */
  readonly plugged: (Plugged & Closable)[] = [];
  surroundings: Surroundings | null = null;
  /** Of QEMU's devices. */
  readonly qemus: ({ readonly counters: ServerCounters | ExportedQemu['counters'] } & Closable)[] = [];
  readonly streams: NetdevStream[] = [];
  /** The ends of the wire of streams, and of virtio's cards. */
  readonly ports: HostPort[] = [];
  /** The cable, where there are two ends at most; else a switch stands between them. */
  link: Link | null = null;
  peer: Role = noRole();
  capture: CaptureFile | null = null;
  trace: TraceFile | null = null;
  readonly #clock = new Clock();
  readonly #machine = new MachineClock(this.#clock);
  readonly #wires: NetdevStream[] = []; // to the QEMUs
  #folder: string | null = null; // where they listen
  #card: SimCard | null = null;

  private constructor() {}

  /** Throws what a socket, a file or the TAP says; nothing is left then. */
  static async open(options: NetworkOptions): Promise<Network> {
    const network = new Network();
    try {
      await network.#open(options);
    } catch (error) {
      await network.close();
      throw error;
    }
    return network;
  }

  /** Of a card, in traces and captures. */
  static nameOf(card: ServedCard, index: number): string {
    return `${'model' in card ? card.model.name : card.qemu}-${index}`;
  }

  async #open(options: NetworkOptions): Promise<void> {
    const {
      cards,
      streams = [],
      uml,
      virtio = [],
      peer,
      pcap,
      trace,
      note = () => {},
      log,
      failed = uncaught,
    } = options;
    const clock = this.#clock;
    if (uml) this.surroundings = this.#surround(uml);
    if (trace !== undefined) this.trace = await TraceFile.open(trace);
    if (pcap !== undefined) this.capture = await CaptureFile.open(pcap, clock, { hardware: hardwareText(cards) });
    const wired: Port[] = [];
    const captured: Parameters<CaptureFile['tap']>[] = [];
    for (const [index, card] of cards.entries()) {
      const name = Network.nameOf(card, index);
      const tell = cards.length > 1 ? (text: string) => note(`${name}: ${text}`) : note;
      const { mac = macOf(wired.length) } = card;
      const ports =
        'model' in card
          ? this.#serve({ ...card, mac }, name, tell).ports
          : [await this.#serveQemu({ ...card, mac }, name, { ...options, note: tell, failed })];
      for (const port of ports) captured.push([port, { mac, description: `${hardwareOf(card)}'s wire` }]);
      wired.push(...ports);
    }
    const cardPorts = wired.length;
    for (const [index, path] of streams.entries()) wired.push(this.#openStream(path, `stream-${index}`, note));
    for (const [index, path] of virtio.entries()) wired.push(this.#openVirtio(path, cardPorts + index));
    const plug = this.#wire(wired.length + (peer ? 1 : 0), uml === 'virtual');
    for (const port of wired) plug(port);
    for (const [port, about] of captured) this.capture?.tap(port, about);
    if (peer) await this.#openPeer(farModel(cards), peer, cardPorts, plug, { failed, log });
    if (uml !== 'virtual') this.#machine.start();
    this.peer.start();
    this.peer.tap?.up();
  }

  /** A cable for two, a switch for more; returns what plugs a port in. */
  #wire(ends: number, virtual: boolean): (port: Port) => void {
    if (ends <= 2) {
      const link = new Link(this.#clock, { rate: virtual ? VIRTUAL_RATE : 0 });
      this.link = link;
      return (port) => link.plug(port);
    }
    const middle = new Switch(this.#clock, { ports: ends });
    return (port) => void middle.plug(port);
  }

  /** Where the functions are offered of the model whose function 0 is at that socket. */
  socketsOf(socket: string): string[] {
    return this.servers
      .map((server) => server.socket)
      .filter((path) => path === socket || path.startsWith(`${socket}.`));
  }

  /** Nanoseconds on the wire's clock. */
  get now(): number {
    return this.#clock.now;
  }

  /** Moves the wire's time to now; a calendar's is. */
  readonly pump = (): void => this.#machine.pump();

  #serve({ model, socket, mac }: Extract<ServedCard, { model: Model }>, name: string, note: (text: string) => void) {
    const clock = this.#clock;
    let board: Board;
    if (this.surroundings) {
      const server = serveFunction((host) => model.make(host, { name, mac }), { ...this.surroundings, socket, note });
      this.plugged.push({ socket, id: server.device.id, leave: server.leave, close: server.close });
      board = new CardBoard([server.model]);
    } else {
      const make = (hostOf: HostOf) => boardOf(model, hostOf, { name, mac });
      const served = serveBoard(make, { socket, clock: { clock, pump: this.pump }, note });
      this.servers.push(...served.servers);
      ({ board } = served);
    }
    this.boards.push(board);
    const { describe } = familyOf(model);
    for (const [number, it] of board.functions.entries()) {
      const own = board.functions.length === 1 ? name : `${name}/${number}`;
      if (this.trace) it.trace = new TextTrace(own, () => clock.now, this.trace.line, describe);
    }
    return board;
  }

  #surround(time: 'real' | 'virtual'): Surroundings {
    const reactor = new Reactor();
    if (time === 'real') return { reactor, time: new RealTime(this.#machine) };
    const calendar = new Calendar(this.#clock, reactor);
    return { reactor, calendar, time: calendar.kernel() };
  }

  #openVirtio(socket: string, index: number): HostPort {
    const { device, leave, close } = serveNetwork(`virtio-${index}`, macOf(index), { ...this.surroundings!, socket });
    this.plugged.push({ socket, id: device.id, leave, close });
    this.ports.push(device.port);
    return device.port;
  }

  /** Its wire leaves QEMU as a stream, and is plugged in here like any other. */
  async #serveQemu(
    { qemu: device, socket, mac }: Extract<ServedCard, { qemu: string }>,
    name: string,
    { note, failed: onEnd = uncaught, progress }: NetworkOptions,
  ): Promise<HostPort> {
    const qemu = await findQemu(progress);
    this.#folder ??= privateFolder();
    const path = join(this.#folder, name);
    const stream = NetdevStream.listen(path);
    this.#wires.push(stream);
    const netdev = `stream,server=off,addr.type=unix,addr.path=${path}`;
    const common = { qemu, socket, mac, netdev, note, onEnd };
    if (await exportsDevices(qemu)) {
      this.qemus.push(await exportQemu(device, common));
      return stream.port(name, this.pump);
    }
    const server = await serveQemu(device, { ...common, clock: { clock: this.#clock, pump: this.pump } });
    this.qemus.push(server);
    while (!stream.connected) await turn(); // it has, before it answered: it is only to be accepted
    return stream.port(name, this.pump, (partner) => server.model.link(partner !== null));
  }

  #openStream(path: string, name: string, note: (text: string) => void): HostPort {
    const onCarrier = (connected: boolean, why: string | null) =>
      note(connected ? 'stream connected' : `stream gone${why === null ? '' : `: ${why}`}`);
    const stream = NetdevStream.listen(path, { onCarrier });
    this.streams.push(stream);
    const port = stream.port(name, this.pump);
    this.ports.push(port);
    return port;
  }

  async #openPeer(
    model: Model,
    { kind, name }: Peer,
    index: number,
    plug: (port: Port) => void,
    told: Pick<RoleContext, 'failed' | 'log'>,
  ): Promise<void> {
    const clock = this.#clock;
    const slot = { clock, memory: new HostMemory(), name: `${model.name}-${index}`, mac: macOf(index), trace: null };
    this.#card = await runClock(clock, openCard(model, slot, {}));
    plug(this.#card.port);
    await runClock(clock, this.#card.driver.start());
    const context: RoleContext = { card: this.#card, now: () => clock.now, pump: this.pump, ...told };
    this.peer = kind === 'echo' ? echoRole(context) : tapRole(context, { name });
  }

  /** Parts with the clients, stops the peer, completes the files. Idempotent. */
  async close(): Promise<void> {
    try {
      for (const server of [...this.servers, ...this.qemus, ...this.plugged]) server.close();
      for (const stream of [...this.streams, ...this.#wires]) stream.close();
      this.peer.stop();
      this.#machine.stop();
      if (this.#card) {
        await runClock(this.#clock, this.#card.driver.close());
        this.#card.device.close();
        this.#card = null;
      }
    } finally {
      if (this.#folder !== null) rmSync(this.#folder, { recursive: true, force: true });
      this.#folder = null;
      this.capture?.end();
      this.trace?.end();
    }
  }
}

/** 02:00:00:82:54:01 and up. */
function macOf(index: number): Uint8Array {
  return Uint8Array.of(0x02, 0x00, 0x00, 0x82, 0x54, index + 1);
}

function hardwareOf(card: ServedCard): string {
  return 'model' in card ? card.model.chip : `QEMU's ${card.qemu}`;
}

/** What a peer's card is: like one that is served, as far as a driver of ours drives such a one. */
function farModel(cards: readonly ServedCard[]): Model {
  const like = cards.map((card) => ('model' in card ? card.model : modelLike(card.qemu)));
  return like.find((model) => familyOf(model).driver !== undefined) ?? ANY_MODEL;
}

function hardwareText(cards: readonly ServedCard[]): string {
  const names = cards.map((card) => ('model' in card ? `${card.model.chip} model` : hardwareOf(card)));
  return `${[...new Set(names)].join(', ')}, served over vfio-user`;
}

const turn = () => new Promise((resolve) => setImmediate(resolve));
