import { IMIX, LEAST_FRAME } from '../../drivers/join/generator.ts';
import type { LinkState } from '../../drivers/netdev.ts';
import type { Impairments } from '../../sim/wire/impairments.ts';
import type { Rate } from '../options.ts';
import { labelled } from '../terminal/print.ts';
import { bold } from '../terminal/style.ts';
import { bits, bytes, count, packets, time } from '../terminal/units.ts';
import type { Card } from './card.ts';
import type { DriverLog } from './driver-log.ts';
import { cardJson, cardText, featureText, linkText, summaryTable, wireJson } from './report.ts';
import type { Setup } from './rig.ts';
import {
  echoRole,
  generateRole,
  noRole,
  type Role,
  type RoleContext,
  type RoleKind,
  sinkRole,
  tapRole,
} from './roles.ts';
import { Session } from './session.ts';

export interface DriveOptions {
  readonly tap?: string | true;
  readonly echo?: true;
  readonly generate?: true;
  readonly peer?: RoleKind;
  readonly peerTap?: string;
  readonly rate?: Rate;
  readonly size?: readonly number[];
  readonly count?: number;
  readonly to?: Uint8Array;
  readonly seconds?: number;
  readonly mac?: Uint8Array;
  readonly mtu?: number;
  readonly rxRing?: number;
  readonly txRing?: number;
  readonly features?: number;
  readonly tso: boolean;
  readonly gro: boolean;
  readonly wire?: Impairments;
  readonly pcap?: string;
  readonly trace?: string;
  readonly json?: true;
  readonly seed: number;
}

/** Whether standard output is for something else than what goes on. */
export const isQuiet = ({ json, trace }: DriveOptions) => json === true || trace === '-';

/** Milliseconds in which nothing arrived, after which nothing is under way any more. */
const SETTLE = 50;
const LOOKS = 10;

/** The cards at work, from joining their frames to something to the summary. */
export class Run {
  readonly #rig: Setup;
  readonly #options: DriveOptions;
  readonly #near: Role;
  readonly #far: Role;
  readonly #log: DriverLog;
  readonly #quiet: boolean;
  readonly #finished: Promise<void>;
  #finish!: () => void;
  #fail!: (error: unknown) => void;
  #session: Session | null = null;
  #started = 0;
  #elapsed = 0;
  /** When the statistics were reset, in seconds. */
  #countedSince = 0;
  /** As they were before the cards were stopped. */
  #links: LinkState[] = [];

  /** @param log what the near card's driver says. */
  constructor(rig: Setup, options: DriveOptions, near: RoleKind, far: RoleKind, log: DriverLog) {
    this.#rig = rig;
    this.#options = options;
    this.#log = log;
    this.#quiet = isQuiet(options);
    this.#finished = new Promise((resolve, reject) => {
      this.#finish = resolve;
      this.#fail = reject;
    });
    this.#finished.catch(() => {}); // it may fail before anybody waits
    this.#far = this.#role(far, rig.far, options.peerTap);
    try {
      const partner = far === 'tap' ? null : rig.far;
      this.#near = this.#role(near, rig.near, options.tap === true ? undefined : options.tap, partner);
    } catch (error) {
      this.#far.stop();
      throw error;
    }
  }

  /** @param partner the card at the other end, unless that has an interface of its own. */
  #role(kind: RoleKind, card: Card | null, tapName?: string, partner?: Card | null): Role {
    if (card === null) return noRole();
    const { now, pump } = this.#rig;
    const context: RoleContext = { card, now, pump, failed: this.#fail, log: (line) => this.#say(line) };
    const { gro, tso } = this.#options;
    switch (kind) {
      case 'tap':
        return tapRole(context, { name: tapName, gro, tso, partner });
      case 'echo':
        return echoRole(context);
      case 'generate':
        return this.#generator(context);
      case 'sink':
        return sinkRole(context);
      case 'none':
        return noRole();
    }
  }

  #generator(context: RoleContext): Role {
    const { size: sizes, seed, rate, count: most, to } = this.#options;
    const other = this.#rig.cards.find((card) => card !== context.card);
    const howFast =
      rate === undefined
        ? 'as fast as it goes'
        : 'bitsPerSecond' in rate
          ? bits(rate.bitsPerSecond)
          : packets(rate.packetsPerSecond);
    const about = `generator: UDP, ${sizesText(sizes)}, ${howFast}${most === undefined ? '' : `, ${count(most)} frames`}`;
    const destinationMac = to ?? other?.driver.mac;
    return generateRole(context, { sizes, seed, rate, count: most, destinationMac, about, finished: this.#finish });
  }

  /**
   * What is under way may arrive, so that it does not count as lost. In short naps: where others had the processor, a long
   * one is over before a card has had its turn.
   */
  async #settle(): Promise<void> {
    for (const { generator } of [this.#near, this.#far]) generator?.finish();
    const seen = () => [this.#near, this.#far].reduce((sum, { sink }) => sum + (sink?.received ?? 0), 0);
    let before = seen();
    for (let quiet = 0; quiet < LOOKS; quiet++) {
      await new Promise((resolve) => setTimeout(resolve, SETTLE / LOOKS));
      if (seen() !== before) quiet = 0;
      before = seen();
    }
  }

  async until(signal: AbortSignal): Promise<void> {
    this.#rig.start();
    this.#far.start();
    this.#near.start();
    for (const role of [this.#near, this.#far]) role.tap?.up();
    this.#sayStart(); // now its interface can be used
    this.#started = performance.now();
    if (!this.#quiet) this.#session = this.#openSession();
    const { seconds } = this.#options;
    const timer = seconds === undefined ? undefined : setTimeout(this.#finish, seconds * 1000);
    signal.addEventListener('abort', this.#finish);
    if (signal.aborted) this.#finish();
    try {
      await this.#finished;
      this.#elapsed = this.#seconds;
      await this.#settle();
    } finally {
      clearTimeout(timer);
      this.#session?.close();
      this.#session = null;
      this.#links = this.#rig.cards.map(({ driver }) => driver.link);
    }
  }

  #say(line: string): void {
    if (this.#session) this.#session.tell('interface', line);
    else console.error(line);
  }

  #openSession(): Session {
    return new Session({
      rig: this.#rig,
      roles: [this.#near, this.#far],
      log: this.#log,
      elapsed: () => this.#seconds,
      summary: () => this.#figures(this.#seconds).join('\n'),
      reset: () => this.#reset(),
      quit: this.#finish,
    });
  }

  #reset(): void {
    for (const { driver } of this.#rig.cards) driver.resetStatistics();
    for (const role of [this.#near, this.#far]) role.reset();
    this.#countedSince = this.#seconds;
  }

  /** Since the cards were joined to something. */
  get #seconds(): number {
    return (performance.now() - this.#started) / 1000;
  }

  stop(): void {
    this.#near.stop();
    this.#far.stop();
  }

  #sayStart(): void {
    if (this.#quiet) return;
    const { near, far, linkNote } = this.#rig;
    const lines = this.#rig.cards.map((card) => labelled('card', cardText(card)));
    lines.push(labelled('offloads', featureText(near)));
    lines.push(labelled('link', `${linkText(near.driver.link)}${linkNote}`));
    lines.push(labelled('joined', `${near.name} to ${this.#near.about}`));
    if (far) lines.push(labelled('', `${far.name} to ${this.#far.about}`));
    const { tap } = this.#near;
    if (tap && this.#far.kind === 'echo')
      lines.push(labelled('try', `ip address add 10.0.0.1/24 dev ${tap.name}; ping 10.0.0.2`));
    if (this.#rig.capture) lines.push(labelled('capture', this.#rig.capture.path));
    if (this.#rig.trace) lines.push(labelled('trace', this.#rig.trace.path));
    console.log(lines.join('\n'));
  }

  report(): void {
    if (this.#options.trace === '-') return;
    if (this.#options.json) console.log(JSON.stringify(this.#json()));
    else console.log(this.#summary());
  }

  #json() {
    const { capture, trace, negotiation, link } = this.#rig;
    return {
      seconds: this.#elapsed,
      seed: this.#options.seed,
      negotiationNs: negotiation,
      cards: this.#rig.cards.map((card, i) => ({
        ...cardJson(card, [this.#near, this.#far][i]!),
        link: this.#links[i],
      })),
      ...(link && { wire: wireJson(link) }),
      ...(capture && { pcap: { path: capture.path, bytes: capture.size } }),
      ...(trace && { trace: { path: trace.path, lines: trace.lines } }),
    };
  }

  #summary(): string {
    const { trace, capture } = this.#rig;
    const lines = this.#figures(this.#elapsed);
    if (capture) lines.push(labelled('capture', `${capture.path} (${bytes(capture.size)}); tshark -r ${capture.path}`));
    if (trace) lines.push(labelled('trace', `${trace.path} (${count(trace.lines)} lines)`));
    return lines.join('\n');
  }

  #figures(elapsed: number): string[] {
    const roles = [this.#near, this.#far];
    const since = this.#countedSince;
    const counted = since === 0 ? '' : `, counted since ${since.toFixed(1)} s`;
    const lines = [bold(`after ${elapsed.toFixed(1)} s${counted}`), summaryTable(this.#rig.cards, roles)];
    for (const role of roles) lines.push(...sinkLines(role, elapsed));
    return lines;
  }
}

function sizesText(sizes: readonly number[] = [LEAST_FRAME]): string {
  if (sizes === IMIX) return 'IMIX';
  return sizes.length === 1 ? `${sizes[0]} bytes` : `${sizes[0]} to ${sizes.at(-1)} bytes`;
}

function sinkLines({ sink, generator }: Role, elapsed: number): string[] {
  if (sink === undefined) return [];
  const { received, lost, duplicates, reordered, latency } = sink;
  const lines = [];
  if (generator) lines.push(labelled('sent', `${count(generator.sent)} frames, ${packets(generator.sent / elapsed)}`));
  const back = generator === undefined ? 'received' : 'back';
  const missing = generator === undefined ? lost : generator.sent - received + duplicates;
  lines.push(
    labelled(
      back,
      `${count(received)} frames: ${count(missing)} lost, ${count(duplicates)} twice, ${count(reordered)} reordered`,
    ),
  );
  if (received > 0) {
    const at = (percent: number) => time(latency.percentile(percent));
    lines.push(
      labelled(generator ? 'there/back' : 'latency', `p50 ${at(50)}, p99 ${at(99)}, max ${time(latency.max)}`),
    );
  }
  return lines;
}
