/** Cards offered to guests over vfio-user, and all that is on their wire. */
import { runClock } from '../../drivers/backends/clock-steps.ts';
import { HostMemory } from '../../drivers/backends/host-memory.ts';
import { MachineClock } from '../../drivers/backends/machine-clock.ts';
import { Clock } from '../../sim/clock.ts';
import type { PciFunction } from '../../sim/pci/function.ts';
import type { HostPort } from '../../sim/wire/host-port.ts';
import { Link } from '../../sim/wire/link.ts';
import type { Port } from '../../sim/wire/port.ts';
import { Switch } from '../../sim/wire/switch.ts';
import { NetdevStream } from '../../vm/netdev-stream.ts';
import { type Server, serve } from '../../vm/vfio-user/server.ts';
import { MODELS, type Model } from '../catalogue.ts';
import { TextTrace } from '../trace-format.ts';
import { CaptureFile } from './capture-file.ts';
import { openCard, type SimCard } from './card.ts';
import { echoRole, noRole, type Role, type RoleContext, tapRole } from './roles.ts';
import { TraceFile } from './trace-file.ts';

export interface ServedCard {
  readonly model: Model;
  /** Where its client connects. */
  readonly socket: string;
  readonly mac?: Uint8Array;
}

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
  readonly peer?: Peer;
  readonly pcap?: string;
  readonly trace?: string;
  /** Told of clients that come and go. */
  readonly note?: (text: string) => void;
  /** Told what the peer could not go on after. */
  readonly failed?: (error: unknown) => void;
}

type Served = Server<PciFunction & { readonly port: Port }>;

/** A pipe that is not read any more ends a program; what a TAP or a file says ends the run. */
const uncaught = (error: unknown) => {
  throw error;
};

export class Network {
  readonly servers: Served[] = [];
  readonly streams: NetdevStream[] = [];
  /** The streams' ends of the wire. */
  readonly ports: HostPort[] = [];
  /** The cable, where there are two ends at most; else a switch stands between them. */
  link: Link | null = null;
  peer: Role = noRole();
  capture: CaptureFile | null = null;
  trace: TraceFile | null = null;
  readonly #clock = new Clock();
  readonly #machine = new MachineClock(this.#clock);
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
  static nameOf({ model }: ServedCard, index: number): string {
    return `${model.name}-${index}`;
  }

  async #open({ cards, streams = [], peer, pcap, trace, note = () => {}, failed = uncaught }: NetworkOptions) {
    const clock = this.#clock;
    const plug = this.#wire(cards.length + streams.length + (peer ? 1 : 0));
    if (trace !== undefined) this.trace = new TraceFile(trace);
    if (pcap !== undefined) this.capture = new CaptureFile(pcap, clock, { hardware: hardwareText(cards) });
    for (const [index, card] of cards.entries()) {
      const name = Network.nameOf(card, index);
      const model = this.#serve(card, index, cards.length > 1 ? (text) => note(`${name}: ${text}`) : note);
      plug(model.port);
      this.capture?.tap(model.port, { mac: card.mac ?? macOf(index), description: `${card.model.chip}'s wire` });
    }
    for (const [index, path] of streams.entries()) this.#openStream(path, `stream-${index}`, plug, note);
    if (peer) await this.#openPeer(cards[0]?.model ?? MODELS[0]!, peer, cards.length, plug, failed);
    this.#machine.start();
    this.peer.start();
    this.peer.tap?.up();
  }

  /** A cable for two, a switch for more; returns what plugs a port in. */
  #wire(ends: number): (port: Port) => void {
    if (ends <= 2) {
      const link = new Link(this.#clock);
      this.link = link;
      return (port) => link.plug(port);
    }
    const middle = new Switch(this.#clock, { ports: ends });
    return (port) => void middle.plug(port);
  }

  /** Moves the wire's time to now. */
  readonly pump = (): void => this.#machine.pump();

  #serve({ model, socket, mac }: ServedCard, index: number, note: (text: string) => void) {
    const name = `${model.name}-${index}`;
    const clock = this.#clock;
    const server = serve((host) => model.make(host, { name, mac: mac ?? macOf(index) }), {
      ...{ socket, clock: { clock, pump: this.pump }, note },
    });
    this.servers.push(server);
    if (this.trace) server.model.trace = new TextTrace(name, () => clock.now, this.trace.line);
    return server.model;
  }

  #openStream(path: string, name: string, plug: (port: Port) => void, note: (text: string) => void): void {
    const onCarrier = (connected: boolean, why: string | null) =>
      note(connected ? 'stream connected' : `stream gone${why === null ? '' : `: ${why}`}`);
    const stream = NetdevStream.listen(path, { onCarrier });
    this.streams.push(stream);
    const port = stream.port(name, this.pump);
    this.ports.push(port);
    plug(port);
  }

  async #openPeer(
    model: Model,
    { kind, name }: Peer,
    index: number,
    plug: (port: Port) => void,
    failed: (error: unknown) => void,
  ): Promise<void> {
    const clock = this.#clock;
    const slot = { clock, memory: new HostMemory(), name: `${model.name}-${index}`, mac: macOf(index), trace: null };
    this.#card = await runClock(clock, openCard(model, slot, {}));
    plug(this.#card.port);
    await runClock(clock, this.#card.driver.start());
    const context: RoleContext = { card: this.#card, now: () => clock.now, pump: this.pump, failed };
    this.peer = kind === 'echo' ? echoRole(context) : tapRole(context, { name });
  }

  /** Parts with the clients, stops the peer, completes the files. Idempotent. */
  async close(): Promise<void> {
    try {
      for (const server of this.servers) server.close();
      for (const stream of this.streams) stream.close();
      this.peer.stop();
      this.#machine.stop();
      if (this.#card) {
        await runClock(this.#clock, this.#card.driver.close());
        this.#card.device.close();
        this.#card = null;
      }
    } finally {
      this.capture?.end();
      this.trace?.end();
    }
  }
}

/** 02:00:00:82:54:01 and up. */
function macOf(index: number): Uint8Array {
  return Uint8Array.of(0x02, 0x00, 0x00, 0x82, 0x54, index + 1);
}

function hardwareText(cards: readonly ServedCard[]): string {
  return `${[...new Set(cards.map(({ model }) => model.chip))].join(', ')} model, served over vfio-user`;
}
