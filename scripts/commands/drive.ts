import { type Command, Option } from 'commander';
import { MAX_DESCRIPTORS, MIN_DESCRIPTORS } from '../../drivers/e1000/descriptors.ts';
import { IMIX, LEAST_FRAME } from '../../drivers/join/generator.ts';
import { FEATURE_TSO4, FEATURE_TSO6, type LinkState } from '../../drivers/netdev.ts';
import { FRAME_BUFFER, HEADROOM } from '../../drivers/packet.ts';
import type { Impairments } from '../../sim/wire/impairments.ts';
import { findTarget } from '../catalogue.ts';
import { UsageError } from '../errors.ts';
import { features, frameSizes, macAddress, OPTIONS, type Rate, rate, whole } from '../options.ts';
import type { Card } from '../rig/card.ts';
import {
  cardDrops,
  cardJson,
  cardText,
  checkCapture,
  featureText,
  linkText,
  Rates,
  summaryTable,
  wireJson,
} from '../rig/report.ts';
import { Rig } from '../rig/rig.ts';
import {
  echoRole,
  generateRole,
  noRole,
  ROLES,
  type Role,
  type RoleContext,
  type RoleKind,
  sinkRole,
  tapRole,
} from '../rig/roles.ts';
import { StopSignals } from '../stop-signals.ts';
import { LiveLine } from '../terminal/live.ts';
import { labelled } from '../terminal/print.ts';
import { bold, paint } from '../terminal/style.ts';
import { bits, bytes, count, packets, time } from '../terminal/units.ts';

interface DriveOptions {
  readonly tap?: string | true;
  readonly echo?: true;
  readonly generate?: true;
  readonly peer?: RoleKind;
  readonly peerTap?: string;
  readonly rate?: Rate;
  readonly size?: readonly number[];
  readonly count?: number;
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

/** What the other end does, unless told. */
const PEERS: Record<string, RoleKind> = { tap: 'echo', echo: 'generate', generate: 'echo' };

const ring = whole(MIN_DESCRIPTORS, MAX_DESCRIPTORS, 8);

const AFTER = `
At the other end of the wire of sim:MODEL there is a second model with its own driver. Unless --peer says otherwise,
  with --tap       it answers pings, for whatever address
  with --generate  it sends back what it gets, so that loss and round-trip times are measured
  with --echo      it generates (with --rate, --size, --count)

Examples:
  fauxnic drive sim:e1000 --generate --seconds 5
  fauxnic drive sim:e1000 --tap=nic0            (as root; then: ip addr add 10.0.0.1/24 dev nic0; ping 10.0.0.2)
  fauxnic drive sim:e1000 --generate --count 100 --trace - | less
  fauxnic drive sim:e1000 --generate --rate 10k --wire latency=2ms,loss=1% --pcap lossy.pcapng`;

export function addDrive(program: Command): void {
  program
    .command('drive')
    .summary('run the user-space driver on a device')
    .description(
      'Runs the user-space driver on a device and joins its frames to a TAP interface, an echo or a generator.',
    )
    .argument('<target>', 'the device: sim:MODEL (see fauxnic devices)')
    .option('--tap [name]', 'join it to a TAP interface, by this name or the next free fauxnicN (needs root)')
    .option('--echo', 'answer ARP, pings and UDP')
    .option('--generate', 'send UDP frames, and judge those that come back')
    .addOption(new Option('--peer <role>', 'what the other end of the wire does').choices(ROLES))
    .option('--peer-tap <name>', 'the name of the TAP with --peer tap')
    .addOption(new Option('--rate <rate>', 'generated: 100k (packets/s), 1Gbit, or max').argParser(rate))
    .addOption(new Option('--size <bytes>', 'generated: 64, 64-1514 or imix; without FCS').argParser(frameSizes))
    .addOption(new Option('--count <n>', 'generated: stop after so many').argParser(whole(1, Number.MAX_SAFE_INTEGER)))
    .addOption(OPTIONS.seconds())
    .addOption(new Option('--mac <address>', "the card's own address, in its EEPROM").argParser(macAddress))
    .addOption(new Option('--mtu <bytes>', 'both cards: 68 to 16110').argParser(whole(68, 16110)))
    .addOption(new Option('--rx-ring <n>', 'receive descriptors').argParser(ring))
    .addOption(new Option('--tx-ring <n>', 'transmit descriptors').argParser(ring))
    .addOption(
      new Option('--features <list>', 'offloads to enable: all, none, or tx-checksum,tso4,…').argParser(features),
    )
    .option('--no-tso', 'no segmentation offload')
    .option('--no-gro', 'no coalescing of what goes to the TAP')
    .addOption(OPTIONS.wire())
    .addOption(OPTIONS.pcap())
    .addOption(OPTIONS.trace())
    .addOption(OPTIONS.json())
    .addOption(OPTIONS.seed())
    .addHelpText('after', AFTER)
    .action(drive);
}

async function drive(target: string, options: DriveOptions): Promise<void> {
  const model = findTarget(target);
  const near = roleOf(options);
  const far = options.peer ?? PEERS[near]!;
  check(options, near, far);
  const stop = new StopSignals();
  const rig = await Rig.open({
    model,
    near: { ...cardOptions(options), mac: options.mac },
    far: far === 'none' ? null : cardOptions(options),
    wire: { ...options.wire, seed: options.seed },
    pcap: options.pcap,
    trace: options.trace,
  });
  let run: Run | undefined;
  try {
    run = new Run(rig, options, near, far);
    await run.until(stop.signal);
  } finally {
    run?.stop();
    await rig.close();
    stop.close();
  }
  run.report();
  checkCapture(rig);
  // Ctrl-C is how a run without end ends; else it is an interruption.
  const endless = options.seconds === undefined && options.count === undefined;
  process.exitCode = endless && stop.received === 'SIGINT' ? 0 : stop.exitCode;
}

function roleOf({ tap, echo, generate }: DriveOptions): 'tap' | 'echo' | 'generate' {
  const given = Object.entries({ tap, echo, generate }).filter(([, value]) => value !== undefined);
  if (given.length === 0) throw new UsageError('nothing to do: give one of --tap, --echo and --generate');
  if (given.length > 1) throw new UsageError(`give one of --tap, --echo and --generate, not ${given.length}`);
  return given[0]![0] as 'tap' | 'echo' | 'generate';
}

function check(options: DriveOptions, near: RoleKind, far: RoleKind): void {
  const generates = near === 'generate' || far === 'generate';
  for (const name of ['rate', 'size', 'count'] as const)
    if (options[name] !== undefined && !generates)
      throw new UsageError(`--${name} is for generated frames: give --generate, or --peer generate`);
  if (options.peerTap !== undefined && far !== 'tap') throw new UsageError('--peer-tap is for --peer tap: give both');
  if (options.trace === '-' && options.json) throw new UsageError('--trace - and --json both want standard output');
  const most = Math.min((options.mtu ?? 1500) + 14, FRAME_BUFFER - HEADROOM);
  const longest = Math.max(...(options.size ?? [LEAST_FRAME]));
  if (longest > most && options.size !== IMIX)
    throw new UsageError(
      `frames of ${longest} bytes: at most ${most} are generated at an MTU of ${options.mtu ?? 1500}`,
    );
}

function cardOptions({ mtu, rxRing, txRing, features, tso }: DriveOptions) {
  const all = features ?? 0xffffffff;
  const wanted = tso ? all : all & ~(FEATURE_TSO4 | FEATURE_TSO6);
  return { mtu, rxDescriptors: rxRing, txDescriptors: txRing, features: wanted >>> 0 };
}

/** Milliseconds in which nothing arrived, after which nothing is under way any more. */
const SETTLE = 50;

/** The cards at work, from joining their frames to something to the summary. */
class Run {
  readonly #rig: Rig;
  readonly #options: DriveOptions;
  readonly #near: Role;
  readonly #far: Role;
  readonly #quiet: boolean;
  readonly #finished: Promise<void>;
  #finish!: () => void;
  #fail!: (error: unknown) => void;
  #started = 0;
  #elapsed = 0;
  #stopped = false;
  /** As they were before the cards were stopped. */
  #links: LinkState[] = [];

  constructor(rig: Rig, options: DriveOptions, near: RoleKind, far: RoleKind) {
    this.#rig = rig;
    this.#options = options;
    this.#quiet = options.json === true || options.trace === '-';
    this.#finished = new Promise((resolve, reject) => {
      this.#finish = resolve;
      this.#fail = reject;
    });
    this.#finished.catch(() => {}); // it may fail before anybody waits
    this.#far = this.#role(far, rig.far, options.peerTap);
    try {
      this.#near = this.#role(near, rig.near, options.tap === true ? undefined : options.tap);
    } catch (error) {
      this.#far.stop();
      throw error;
    }
  }

  #role(kind: RoleKind, card: Card | null, tapName?: string): Role {
    if (card === null) return noRole();
    const context: RoleContext = { card, now: this.#rig.now, pump: this.#rig.pump, failed: this.#fail };
    switch (kind) {
      case 'tap':
        return tapRole(context, { name: tapName, gro: this.#options.gro, tso: this.#options.tso });
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
    const { size: sizes, seed, rate, count: most } = this.#options;
    const other = this.#rig.cards.find((card) => card !== context.card);
    const howFast =
      rate === undefined
        ? 'as fast as it goes'
        : 'bitsPerSecond' in rate
          ? bits(rate.bitsPerSecond)
          : packets(rate.packetsPerSecond);
    const about = `generator: UDP, ${sizesText(sizes)}, ${howFast}${most === undefined ? '' : `, ${count(most)} frames`}`;
    const destinationMac = other?.driver.mac;
    return generateRole(context, { sizes, seed, rate, count: most, destinationMac, about, finished: this.#finish });
  }

  /** What is under way may arrive, so that it does not count as lost. */
  async #settle(): Promise<void> {
    for (const { generator } of [this.#near, this.#far]) generator?.finish();
    const seen = () => [this.#near, this.#far].reduce((sum, { sink }) => sum + (sink?.received ?? 0), 0);
    for (let before = -1; before !== seen(); ) {
      before = seen();
      await new Promise((resolve) => setTimeout(resolve, SETTLE));
    }
  }

  async until(signal: AbortSignal): Promise<void> {
    this.#log();
    this.#rig.start();
    this.#far.start();
    this.#near.start();
    for (const role of [this.#near, this.#far]) role.tap?.up();
    this.#started = performance.now();
    const rates = new Rates(this.#rig.near);
    const live = this.#quiet ? null : new LiveLine((interval) => this.#live(rates, interval));
    for (const { driver, name } of this.#rig.cards)
      driver.on('link', () => {
        if (!this.#stopped) live?.print(labelled('link', `${name} ${linkText(driver.link)}`));
      });
    const { seconds } = this.#options;
    const timer = seconds === undefined ? undefined : setTimeout(this.#finish, seconds * 1000);
    signal.addEventListener('abort', this.#finish);
    if (signal.aborted) this.#finish();
    try {
      await this.#finished;
      this.#elapsed = (performance.now() - this.#started) / 1000;
      await this.#settle();
    } finally {
      clearTimeout(timer);
      live?.stop();
      this.#stopped = true;
      this.#links = this.#rig.cards.map(({ driver }) => driver.link);
    }
  }

  stop(): void {
    this.#near.stop();
    this.#far.stop();
  }

  #log(): void {
    if (this.#quiet) return;
    const { near, far, negotiation } = this.#rig;
    const lines = this.#rig.cards.map((card) => labelled('card', cardText(card)));
    lines.push(labelled('offloads', featureText(near)));
    const took =
      far === null ? ': nobody at the other end' : ` (negotiated in ${time(negotiation)} of the cards' own time)`;
    lines.push(labelled('link', `${linkText(near.driver.link)}${took}`));
    lines.push(labelled('joined', `${near.name} to ${this.#near.about}`));
    if (far) lines.push(labelled('', `${far.name} to ${this.#far.about}`));
    const { tap } = this.#near;
    if (tap && this.#far.kind === 'echo')
      lines.push(labelled('try', `ip address add 10.0.0.1/24 dev ${tap.name}; ping 10.0.0.2`));
    if (this.#rig.capture) lines.push(labelled('capture', this.#rig.capture.path));
    if (this.#rig.trace) lines.push(labelled('trace', this.#rig.trace.path));
    console.log(lines.join('\n'));
  }

  #live(rates: Rates, interval: number): string {
    const { near } = this.#rig;
    const { up, speed } = near.driver.link;
    const dropped = cardDrops(near) + this.#near.dropped;
    const drops = dropped === 0 ? 'no drops' : paint('yellow', `${count(dropped)} dropped`);
    const elapsed = `${((performance.now() - this.#started) / 1000).toFixed(0).padStart(4)} s`;
    return `${elapsed}  ${rates.text(interval)} · ${drops} · link ${up ? `${speed}` : paint('red', 'down')}`;
  }

  report(): void {
    if (this.#options.trace === '-') return;
    if (this.#options.json) console.log(JSON.stringify(this.#json()));
    else console.log(this.#summary());
  }

  #json() {
    const { capture, trace, negotiation } = this.#rig;
    return {
      seconds: this.#elapsed,
      seed: this.#options.seed,
      negotiationNs: negotiation,
      cards: this.#rig.cards.map((card, i) => ({
        ...cardJson(card, [this.#near, this.#far][i]!),
        link: this.#links[i],
      })),
      wire: wireJson(this.#rig),
      ...(capture && { pcap: { path: capture.path, bytes: capture.size } }),
      ...(trace && { trace: { path: trace.path, lines: trace.lines } }),
    };
  }

  #summary(): string {
    const { trace, capture, cards } = this.#rig;
    const lines = [bold(`after ${this.#elapsed.toFixed(1)} s`), summaryTable(cards, [this.#near, this.#far])];
    for (const role of [this.#near, this.#far]) lines.push(...sinkLines(role, this.#elapsed));
    if (capture) lines.push(labelled('capture', `${capture.path} (${bytes(capture.size)}); tshark -r ${capture.path}`));
    if (trace) lines.push(labelled('trace', `${trace.path} (${count(trace.lines)} lines)`));
    return lines.join('\n');
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
