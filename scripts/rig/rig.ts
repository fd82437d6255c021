/** Two cards at the ends of a wire, in this process. */
import { runClock, runFor } from '../../drivers/backends/clock-steps.ts';
import { HostMemory } from '../../drivers/backends/host-memory.ts';
import { MachineClock } from '../../drivers/backends/machine-clock.ts';
import { Clock, MILLISECOND, SECOND } from '../../sim/clock.ts';
import { Link, type LinkOptions } from '../../sim/wire/link.ts';
import type { Model } from '../catalogue.ts';
import { Failure } from '../errors.ts';
import { time } from '../terminal/units.ts';
import { TextTrace } from '../trace-format.ts';
import { CaptureFile } from './capture-file.ts';
import { type Card, type CardOptions, openCard, type SimCard } from './card.ts';
import { TraceFile } from './trace-file.ts';

export interface RigOptions {
  readonly model: Model;
  readonly near?: CardOptions;
  /** Null: nobody at the other end. */
  readonly far?: CardOptions | null;
  readonly wire?: LinkOptions;
  readonly pcap?: string;
  readonly pcapLimit?: number;
  readonly trace?: string;
}

/** Cards at work: what a run and its report need of them. */
export interface Setup {
  readonly near: Card;
  /** Who is at the other end of the wire, where that is in this process too. */
  readonly far: Card | null;
  readonly cards: readonly Card[];
  readonly link: Link | null;
  readonly capture: CaptureFile | null;
  readonly trace: TraceFile | null;
  /** Nanoseconds the link took. */
  readonly negotiation: number;
  /** What there is to say of the link, behind its state. */
  readonly linkNote: string;
  start(): void;
  /** Moves the cards' time to now; from the event loop only. */
  readonly pump: () => void;
  /** Nanoseconds, in the cards' time. */
  readonly now: () => number;
  close(): Promise<void>;
}

const MEMORY = 192 * 1024 * 1024; // reserved; only what is used costs
const MACS = [0x01, 0x02].map((last) => Uint8Array.of(0x02, 0x00, 0x00, 0x82, 0x54, last));
const LINK_TIMEOUT = 10 * SECOND;

export class Rig implements Setup {
  readonly clock = new Clock();
  readonly link: Link;
  near!: SimCard;
  far: SimCard | null = null;
  capture: CaptureFile | null = null;
  trace: TraceFile | null = null;
  /** Nanoseconds the cards took to agree, on their own clock. */
  negotiation = 0;
  readonly #machine = new MachineClock(this.clock);
  readonly #memory = new HostMemory(MEMORY);

  private constructor(wire: LinkOptions) {
    this.link = new Link(this.clock, wire);
  }

  /** Opens everything, starts the drivers and waits for the link; on the cards' own clock, so that nobody waits for it. */
  static async open(options: RigOptions): Promise<Rig> {
    const rig = new Rig(options.wire ?? {});
    try {
      await rig.#open(options);
    } catch (error) {
      await rig.close();
      throw error;
    }
    return rig;
  }

  get linkNote(): string {
    if (this.far === null) return ': nobody at the other end';
    return ` (negotiated in ${time(this.negotiation)} of the cards' own time)`;
  }

  get cards(): SimCard[] {
    return this.far === null ? [this.near] : [this.near, this.far];
  }

  async #open({ model, near = {}, far = {}, pcap, pcapLimit, trace }: RigOptions): Promise<void> {
    if (trace !== undefined) this.trace = new TraceFile(trace);
    if (pcap !== undefined) {
      const hardware = `${model.chip} models and ${model.driver} drivers`;
      this.capture = new CaptureFile(pcap, this.clock, { hardware, limit: pcapLimit });
    }
    this.near = await this.#card(model, 0, near);
    if (far !== null) this.far = await this.#card(model, 1, far);
    for (const { port } of this.cards) this.link.plug(port);
    for (const { driver } of this.cards) await runClock(this.clock, driver.start());
    await this.#awaitLink();
    this.capture?.tap(this.near.port, { mac: this.near.driver.mac, description: `${this.near.driver.model}'s wire` });
  }

  async #card(model: Model, index: number, options: CardOptions): Promise<SimCard> {
    const { clock } = this;
    const name = `${model.name}-${index}`;
    const trace = this.trace && new TextTrace(name, this.now, this.trace.line);
    const slot = { clock, memory: this.#memory, name, mac: MACS[index]!, trace };
    return await runClock(clock, openCard(model, slot, options));
  }

  async #awaitLink(): Promise<void> {
    if (this.far === null) return;
    const start = this.clock.now;
    while (!this.cards.every(({ driver }) => driver.link.up)) {
      if (this.clock.now - start > LINK_TIMEOUT) throw new Failure('the cards found no link: nothing they both can do');
      await runFor(this.clock, MILLISECOND);
    }
    this.negotiation = this.clock.now - start;
  }

  /** From here on the cards live in the machine's time. */
  start(): void {
    this.#machine.start();
  }

  /** Moves the cards' time to now; from the event loop only. */
  readonly pump = (): void => this.#machine.pump();

  readonly now = (): number => this.clock.now;

  /** Stops the drivers, whose quiet stop takes no time either, and completes the files. Idempotent. */
  async close(): Promise<void> {
    this.#machine.stop();
    try {
      for (const card of [this.near, this.far]) {
        if (!card) continue;
        await runClock(this.clock, card.driver.close());
        card.device.close();
      }
    } finally {
      this.capture?.end();
      this.trace?.end();
    }
  }
}
