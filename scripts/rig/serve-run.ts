/** A model offered over vfio-user, and what is at the other end of its wire. */
import { runClock } from '../../drivers/backends/clock-steps.ts';
import { HostMemory } from '../../drivers/backends/host-memory.ts';
import { MachineClock } from '../../drivers/backends/machine-clock.ts';
import { Clock } from '../../sim/clock.ts';
import type { PciFunction } from '../../sim/pci/function.ts';
import { Link } from '../../sim/wire/link.ts';
import type { Port } from '../../sim/wire/port.ts';
import { NetdevStream } from '../../vm/netdev-stream.ts';
import { type Server, serve } from '../../vm/vfio-user/server.ts';
import type { Model } from '../catalogue.ts';
import { TextTrace } from '../trace-format.ts';
import { CaptureFile } from './capture-file.ts';
import { type Card, openCard } from './card.ts';
import { echoRole, noRole, type Role, type RoleContext, tapRole } from './roles.ts';
import { TraceFile } from './trace-file.ts';

export type PeerKind = 'tap' | 'echo' | 'stream' | 'none';

export interface ServeRunOptions {
  readonly model: Model;
  readonly socket: string;
  readonly peer: PeerKind;
  /** The TAP's, with peer 'tap'; where to listen, with peer 'stream'. */
  readonly peerName?: string;
  readonly mac?: Uint8Array;
  readonly pcap?: string;
  readonly trace?: string;
  readonly note: (text: string) => void;
  /** What the peer could not go on after. */
  readonly failed: (error: unknown) => void;
}

const SERVED_MAC = Uint8Array.of(0x02, 0x00, 0x00, 0x82, 0x54, 0x01);
const PEER_MAC = Uint8Array.of(0x02, 0x00, 0x00, 0x82, 0x54, 0x02);

export class ServeRun {
  readonly name: string;
  server!: Server<PciFunction & { readonly port: Port }>;
  peer: Role = noRole();
  capture: CaptureFile | null = null;
  trace: TraceFile | null = null;
  readonly #clock = new Clock();
  readonly #machine = new MachineClock(this.#clock);
  readonly #link = new Link(this.#clock);
  #card: Card | null = null;
  #stream: NetdevStream | null = null;

  private constructor(name: string) {
    this.name = name;
  }

  static async open(options: ServeRunOptions): Promise<ServeRun> {
    const run = new ServeRun(`${options.model.name}-0`);
    try {
      await run.#open(options);
    } catch (error) {
      await run.close();
      throw error;
    }
    return run;
  }

  async #open({ model, socket, peer, peerName, mac = SERVED_MAC, note, failed, ...files }: ServeRunOptions) {
    const { name } = this;
    const clock = this.#clock;
    const pump = () => this.#machine.pump();
    this.server = serve((host) => model.make(host, { name, mac }), { socket, clock: { clock, pump }, note });
    const served = this.server.model;
    if (files.trace !== undefined) {
      this.trace = new TraceFile(files.trace);
      served.trace = new TextTrace(name, () => clock.now, this.trace.line);
    }
    if (files.pcap !== undefined)
      this.capture = new CaptureFile(files.pcap, clock, { hardware: `${model.chip} model, served over vfio-user` });
    this.#link.plug(served.port);
    if (peer === 'stream') this.#openStream(peerName!, pump, note);
    else if (peer !== 'none') await this.#openPeer(model, peer, peerName, { pump, failed });
    this.capture?.tap(served.port, { mac, description: `${model.chip}'s wire` });
    this.#machine.start();
    this.peer.start();
    this.peer.tap?.up();
  }

  #openStream(path: string, pump: () => void, note: (text: string) => void): void {
    const onCarrier = (connected: boolean, why: string | null) =>
      note(connected ? 'stream connected' : `stream gone${why === null ? '' : `: ${why}`}`);
    this.#stream = NetdevStream.listen(path, { onCarrier });
    this.#link.plug(this.#stream.port('stream', pump));
  }

  /** What the model's wire is joined to. */
  get about(): string {
    return this.#stream === null ? this.peer.about : 'whoever connects to the stream';
  }

  async #openPeer(
    model: Model,
    kind: 'tap' | 'echo',
    name: string | undefined,
    hands: Pick<RoleContext, 'pump' | 'failed'>,
  ): Promise<void> {
    const clock = this.#clock;
    const slot = { clock, memory: new HostMemory(), name: `${model.name}-1`, mac: PEER_MAC, trace: null };
    this.#card = await runClock(clock, openCard(model, slot, {}));
    this.#link.plug(this.#card.port);
    await runClock(clock, this.#card.driver.start());
    const context: RoleContext = { card: this.#card, now: () => clock.now, ...hands };
    this.peer = kind === 'echo' ? echoRole(context) : tapRole(context, { name });
  }

  /** Parts with the client, stops the peer, completes the files. Idempotent. */
  async close(): Promise<void> {
    try {
      this.server?.close();
      this.#stream?.close();
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
