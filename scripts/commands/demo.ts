import { mkdirSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { macText } from '../../drivers/station-address.ts';
import type { Impairments } from '../../sim/wire/impairments.ts';
import { cacheFolder } from '../../vm/cache.ts';
import { ANY_MODEL, drivenFamilyOf, findModel } from '../catalogue.ts';
import type { Model } from '../families/family.ts';
import { OPTIONS, whole } from '../options.ts';
import { awaitIperf, iperf, type Ping, ping, settle, type Tcp } from '../rig/kernel-traffic.ts';
import { sweep } from '../rig/ledger.ts';
import type { Namespace } from '../rig/namespaces.ts';
import { inside, isRoot, obstacle, reenter } from '../rig/reenter.ts';
import { cardJson, checkFiles, linkText, Rates, summaryTable, wireJson } from '../rig/report.ts';
import { Rig } from '../rig/rig.ts';
import { echoRole, generateRole, type Role, type RoleContext, tapRole } from '../rig/roles.ts';
import { StopSignals } from '../stop-signals.ts';
import { LiveLine } from '../terminal/live.ts';
import { done, labelled } from '../terminal/print.ts';
import { bold, dim } from '../terminal/style.ts';
import { bits, bytes, count, packets, time } from '../terminal/units.ts';

interface DemoOptions {
  readonly model: Model;
  readonly seconds: number;
  readonly pcap?: string;
  readonly trace?: string;
  readonly wire?: Impairments;
  readonly generated?: true;
  readonly json?: true;
  readonly seed: number;
}

/** The capture ends here: enough for the pings and the beginning of TCP, too little to slow the rest. */
const CAPTURE_LIMIT = 4 * 1024 * 1024;
const ADDRESSES = ['10.82.54.1', '10.82.54.2'] as const;

export function addDemo(program: Command): void {
  program
    .command('demo')
    .summary('two cards, a wire, and real traffic between two network namespaces')
    .description(
      "Sends ping and iperf3's TCP from one network namespace to another, through two TAP interfaces, two user-space\n" +
        'drivers and two models of a card on a wire. Needs root, or user namespaces; where there is neither,\n' +
        'generated traffic takes the same way.',
    )
    .addOption(
      new Option('--model <name>', 'the cards (see fauxnic devices)')
        .argParser(findModel)
        .default(ANY_MODEL, ANY_MODEL.name),
    )
    .addOption(new Option('--seconds <n>', 'of TCP, each way').argParser(whole(1, 3600)).default(3))
    .addOption(OPTIONS.pcap().default(undefined, 'demo.pcapng in the cache folder'))
    .addOption(OPTIONS.trace())
    .addOption(OPTIONS.wire())
    .option('--generated', 'generated traffic, even where the kernel could send its own')
    .addOption(OPTIONS.json())
    .addOption(OPTIONS.seed())
    .action(demo);
}

async function demo(options: DemoOptions): Promise<void> {
  const why = options.generated ? '--generated' : inside ? null : obstacle();
  if (why === null && !inside) {
    sweepAloud();
    process.exitCode = await reenter();
    return;
  }
  if (why !== null) sweepAloud();
  const stop = new StopSignals();
  const demo = new Demo(options, stop.signal, why);
  try {
    await demo.run();
  } catch (error) {
    if (stop.received === null) throw error;
  } finally {
    await demo.close();
    stop.close();
  }
  if (stop.received === null) demo.report();
  else if (!options.json) console.log(`stopped by ${stop.received}; nothing is left behind`);
  process.exitCode = stop.exitCode;
  demo.check();
}

function sweepAloud(): void {
  for (const what of sweep()) console.error(`fauxnic: an earlier run was killed and left ${what}: removed`);
}

class Demo {
  readonly #options: DemoOptions;
  readonly #signal: AbortSignal;
  /** Why not the kernel's own traffic. */
  readonly #why: string | null;
  readonly #pcap: string;
  readonly #namespaces: Namespace[] = [];
  #roles: Role[] = [];
  #rig!: Rig;
  #failure: unknown = null;
  #ping: Ping | null = null;
  #tcp: { forward: Tcp; backward: Tcp } | null = null;
  #seconds = 0;

  constructor(options: DemoOptions, signal: AbortSignal, why: string | null) {
    this.#options = options;
    this.#signal = signal;
    this.#why = why;
    this.#pcap = options.pcap ?? cacheFolder('demo.pcapng');
    if (options.pcap === undefined) mkdirSync(cacheFolder(), { recursive: true });
  }

  async run(): Promise<void> {
    await this.#openCards();
    if (this.#why === null) await this.#kernelTraffic();
    else await this.#generatedTraffic();
    if (this.#failure !== null) throw this.#failure;
  }

  #say(line: string): void {
    if (!this.#options.json) console.log(line);
  }

  async #openCards(): Promise<void> {
    const { model, wire, trace, seed } = this.#options;
    const joined = this.#why === null ? ['TAP', 'TAP'] : ['generator', 'echo'];
    const [driver, chip] = [`${drivenFamilyOf(model).name} driver`, model.chip];
    this.#say(bold(`${joined[0]} ── ${driver} ── ${chip} ══ wire ══ ${chip} ── ${driver} ── ${joined[1]}`));
    if (this.#why !== null) this.#say(`  no kernel traffic here (${this.#why}), so generated traffic takes this way`);
    else if (!isRoot || inside === 'user') this.#say(dim('  inside a user namespace: no privileges needed'));
    this.#rig = await Rig.open({
      model,
      wire: { ...wire, seed },
      pcap: this.#pcap,
      pcapLimit: CAPTURE_LIMIT,
      trace,
    });
    const { cards, near, negotiation } = this.#rig;
    this.#say(
      done('cards', `2 × ${near.driver.model}, MAC ${cards.map(({ driver }) => macText(driver.mac)).join(' and ')}`),
    );
    this.#say(done('link', `${linkText(near.driver.link)}; agreed in ${time(negotiation)} of the cards' own time`));
  }

  #context(index: number): RoleContext {
    const { now, pump, cards } = this.#rig;
    const failed = (error: unknown) => {
      this.#failure ??= error;
    };
    return { card: cards[index]!, now, pump, failed };
  }

  // Two kernels' worth of network stack.

  async #kernelTraffic(): Promise<void> {
    this.#roles = [0, 1].map((i) => tapRole(this.#context(i), { name: `fauxnic${'ab'[i]}` }));
    for (const role of this.#roles) role.start();
    this.#rig.start();
    for (const [i, { tap }] of this.#roles.entries())
      this.#namespaces.push(await settle('ab'[i]!, tap!.name, ADDRESSES[i]!));
    this.#say(
      done('namespaces', ADDRESSES.map((address, i) => `${this.#roles[i]!.tap!.name} ${address}`).join(' and ')),
    );
    const [a, b] = this.#namespaces as [Namespace, Namespace];
    this.#ping = await this.#step('ping', () => ping(a, ADDRESSES[1], this.#signal), pingText);
    this.#rig.endTrace(); // every register access of TCP at full speed would fill the disk
    const { seconds } = this.#options;
    const signal = this.#signal;
    const server = b.start('iperf3', ['--server']);
    try {
      await awaitIperf(b, this.#signal);
      const forward = await this.#step('TCP a to b', () => iperf(a, ADDRESSES[1], { seconds, signal }), tcpText);
      const backward = await this.#step(
        'TCP b to a',
        () => iperf(a, ADDRESSES[1], { seconds, signal, reverse: true }),
        tcpText,
      );
      this.#tcp = { forward, backward };
    } finally {
      await server.stop();
    }
  }

  /** Runs a part of the demo with a line that lives meanwhile, and says how it went. */
  async #step<T>(label: string, action: () => Promise<T>, text: (result: T) => string): Promise<T> {
    const rates = new Rates(this.#rig.near);
    const began = performance.now();
    const seconds = () => ((performance.now() - began) / 1000).toFixed(0);
    const live = this.#options.json
      ? null
      : new LiveLine((interval) => `… ${label.padEnd(10)} ${seconds()} s  ${rates.text(interval)}`);
    try {
      const result = await action();
      live?.stop();
      this.#say(done(label, text(result)));
      return result;
    } finally {
      live?.stop();
    }
  }

  // Where the kernel's cannot be had.

  async #generatedTraffic(): Promise<void> {
    const { seconds, seed } = this.#options;
    const [{ driver }] = this.#rig.cards.slice(1) as [Rig['near']];
    const role = generateRole(this.#context(0), {
      destinationMac: driver.mac,
      sizes: [1514],
      seed,
      about: 'generator',
    });
    this.#roles = [role, echoRole(this.#context(1))];
    this.#rig.start();
    for (const role of this.#roles.toReversed()) role.start();
    const began = performance.now();
    await this.#step(
      'UDP',
      () => this.#until(seconds),
      () => this.#generatedText((performance.now() - began) / 1000),
    );
    this.#seconds = (performance.now() - began) / 1000;
    this.#rig.endTrace(); // every register access of TCP at full speed would fill the disk
  }

  async #until(seconds: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      this.#signal.addEventListener('abort', () => {
        clearTimeout(timer);
        resolve();
      });
    });
    this.#roles[0]!.generator!.finish();
    await new Promise((resolve) => setTimeout(resolve, 100)); // what is under way comes back
  }

  #generatedText(seconds: number): string {
    const { sink } = this.#roles[0]!;
    const { received, bytes: volume, latency } = sink!;
    const rate = `${packets(received / seconds)}, ${bits((volume * 8) / seconds)} there and back`;
    return `${count(received)} frames of 1514 bytes, ${rate}; p50 ${time(latency.percentile(50))}`;
  }

  // The end.

  report(): void {
    if (this.#options.json) console.log(JSON.stringify(this.#json()));
    else console.log(`\n${this.#summary()}`);
  }

  check(): void {
    checkFiles(this.#rig);
  }

  #summary(): string {
    const { cards, capture, trace } = this.#rig;
    const lines = [summaryTable(cards, this.#roles), ''];
    if (this.#ping) lines.push(labelled('ping', pingText(this.#ping)));
    if (this.#tcp) {
      lines.push(
        labelled(
          'TCP',
          `${bits(this.#tcp.forward.bitsPerSecond)} a to b, ${bits(this.#tcp.backward.bitsPerSecond)} b to a`,
        ),
      );
      if (!this.#options.wire)
        lines.push(labelled('', dim('an ideal wire: it takes no time. --wire rate=1G makes it a gigabit')));
    }
    if (capture) {
      const what = capture.full ? `the first ${bytes(capture.size)}` : 'every frame';
      lines.push(labelled('capture', `${what}, in ${capture.path}`), labelled('', dim(`tshark -r ${capture.path}`)));
    }
    if (trace)
      lines.push(
        labelled('trace', `${trace.path} (${count(trace.lines)} lines${this.#tcp ? ', until TCP began' : ''})`),
      );
    return lines.join('\n');
  }

  #json() {
    const { capture, trace, near, far } = this.#rig;
    return {
      traffic: this.#why === null ? 'kernel' : 'generated',
      ...(this.#why !== null && { why: this.#why, seconds: this.#seconds }),
      userNamespace: inside === 'user',
      ping: this.#ping,
      tcp: this.#tcp,
      cards: [near, far!].map((card, i) => cardJson(card, this.#roles[i]!)),
      wire: wireJson(this.#rig.link),
      pcap: capture && { path: capture.path, bytes: capture.size, complete: !capture.full },
      ...(trace && { trace: { path: trace.path, lines: trace.lines } }),
    };
  }

  async close(): Promise<void> {
    for (const role of this.#roles) role.stop();
    for (const namespace of this.#namespaces) await namespace.close();
    await (this.#rig as Rig | undefined)?.close();
  }
}

function pingText({ sent, received, rtt }: Ping): string {
  return `${received} of ${sent} answered, rtt min/avg/max ${rtt.min}/${rtt.avg}/${rtt.max} ms`;
}

function tcpText({ bitsPerSecond, retransmits }: Tcp): string {
  return `${bits(bitsPerSecond)}, ${count(retransmits)} retransmitted`;
}
