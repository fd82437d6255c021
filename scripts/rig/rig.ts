/** Two cards at the ends of a wire: models in this process, or the near one QEMU's. */
import { runClock, runFor } from '../../drivers/backends/clock-steps.ts';
import { HostMemory } from '../../drivers/backends/host-memory.ts';
import { MachineClock } from '../../drivers/backends/machine-clock.ts';
import { Clock, MILLISECOND, SECOND } from '../../sim/clock.ts';
import { Link, type LinkOptions } from '../../sim/wire/link.ts';
import type { Progress } from '../../vm/progress.ts';
import { openWired, type WiredQemu } from '../../vm/qtest/wired.ts';
import { drivenFamilyOf, driverFor, familyOf } from '../catalogue.ts';
import { Failure } from '../errors.ts';
import type { Model } from '../families/family.ts';
import { time } from '../terminal/units.ts';
import { TextTrace } from '../trace-format.ts';
import { CaptureFile } from './capture-file.ts';
import { type Card, type CardOptions, openCard, openDriver, type SimCard, type WiredCard } from './card.ts';
import { TraceFile } from './trace-file.ts';

export interface RigOptions {
  readonly model: Model;
  /** The near card is not a model, but this device of QEMU's. */
  readonly qemu?: string;
  readonly near?: CardOptions;
  /** Null: nobody at the other end. */
  readonly far?: CardOptions | null;
  readonly wire?: LinkOptions;
  readonly pcap?: string;
  readonly pcapLimit?: number;
  readonly trace?: string;
  /** Told of what takes its time. */
  readonly progress?: Progress;
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
const QEMU_MEMORY = 128 * 1024 * 1024; // likewise
/** Milliseconds: QEMU's e1000 keeps frames back for a second after RCTL was written (hw/net/e1000.c), then bursts. */
const QEMU_DEAF = 1100;
/** Cards whose model in QEMU is that one: not e1000e, which has its own (hw/net/e1000e_core.c). */
const DEAF = /^e1000(-|$)/;
const MACS = [0x01, 0x02].map((last) => Uint8Array.of(0x02, 0x00, 0x00, 0x82, 0x54, last));
const LINK_TIMEOUT = 10 * SECOND;

export class Rig implements Setup {
  readonly clock = new Clock();
  readonly link: Link;
  near!: WiredCard;
  far: SimCard | null = null;
  capture: CaptureFile | null = null;
  trace: TraceFile | null = null;
  /** Nanoseconds the cards took to agree, on their own clock. */
  negotiation = 0;
  readonly #machine = new MachineClock(this.clock);
  readonly #memory = new HostMemory(MEMORY);
  readonly #models: SimCard[] = [];
  #qemu: WiredQemu | null = null;

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
    return ` (negotiated in ${time(this.negotiation)}${this.#qemu === null ? " of the cards' own time" : ''})`;
  }

  get cards(): WiredCard[] {
    return this.far === null ? [this.near] : [this.near, this.far];
  }

  async #open(options: RigOptions): Promise<void> {
    const { model, qemu, near = {}, far = {}, pcap, pcapLimit, trace } = options;
    if (trace !== undefined) this.trace = await TraceFile.open(trace);
    if (pcap !== undefined) {
      const hardware = `${model.chip} models and ${drivenFamilyOf(model).name} drivers`;
      this.capture = await CaptureFile.open(pcap, this.clock, { hardware, limit: pcapLimit });
    }
    if (far !== null) this.far = await this.#card(model, 1, far);
    this.near = await (qemu === undefined ? this.#card(model, 0, near) : this.#qemuCard(qemu, near, options.progress));
    for (const { port } of this.cards) this.link.plug(port);
    const start = this.clock.now;
    for (const { driver } of this.cards) await this.#run(driver.start());
    await this.#awaitLink(start);
    if (qemu !== undefined && DEAF.test(qemu)) await new Promise((resolve) => setTimeout(resolve, QEMU_DEAF));
    this.capture?.tap(this.near.port, { mac: this.near.driver.mac, description: `${this.near.driver.model}'s wire` });
  }

  /** On the cards' own clock, until that follows the machine's. */
  #run<T>(promise: Promise<T>): Promise<T> {
    return this.#machine.running ? promise : runClock(this.clock, promise);
  }

  async #card(model: Model, index: number, options: CardOptions): Promise<SimCard> {
    const { clock } = this;
    const name = `${model.name}-${index}`;
    const trace = this.trace && new TextTrace(name, this.now, this.trace.line, familyOf(model).describe);
    const slot = { clock, memory: this.#memory, name, mac: MACS[index]!, trace };
    const card = await runClock(clock, openCard(model, slot, options));
    this.#models.push(card);
    return card;
  }

  /** QEMU lives in the machine's time, and so do we from here on. */
  async #qemuCard(name: string, options: CardOptions, progress?: Progress): Promise<WiredCard> {
    const { mac = MACS[0]! } = options;
    this.#qemu = await openWired(name, { mac, dmaBytes: QEMU_MEMORY, progress });
    const { device, stream } = this.#qemu;
    this.start();
    const driver = await openDriver(driverFor(device), device, options);
    return { name: `${name}-0`, device, driver, port: stream.port(`${name}-0`, this.pump) };
  }

  async #awaitLink(start: number): Promise<void> {
    if (this.far === null) return;
    while (!this.cards.every(({ driver }) => driver.link.up)) {
      if (this.clock.now - start > LINK_TIMEOUT) throw new Failure('the cards found no link: nothing they both can do');
      if (this.#machine.running) await new Promise((resolve) => setTimeout(resolve, 1));
      else await runFor(this.clock, MILLISECOND);
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

  /** Completes the trace, the cards going on without. */
  endTrace(): void {
    for (const { device } of this.#models) device.function.trace = null;
    this.trace?.end();
  }

  /** Stops the drivers, whose quiet stop takes no time either, and completes the files. Idempotent. */
  async close(): Promise<void> {
    if (this.#qemu === null) this.#machine.stop();
    try {
      for (const card of [this.near, this.far]) {
        if (!card) continue;
        await this.#run(card.driver.close());
        card.device.close();
      }
    } finally {
      this.#machine.stop();
      this.#qemu?.close();
      this.capture?.end();
      this.trace?.end();
    }
  }
}
