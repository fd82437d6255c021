import { type Command, InvalidArgumentError, Option } from 'commander';
import { guestParts } from '../../vm/parts.ts';
import { shareProcessor } from '../../vm/uml/machine.ts';
import { umlParts } from '../../vm/uml/parts.ts';
import { EXAMPLE, findModel, linuxDriverOf } from '../catalogue.ts';
import { BED_MODULES, type BedOptions } from '../conformance/bed.ts';
import { runTests, type TestResult } from '../conformance/run.ts';
import { type Test, testsOf } from '../conformance/tests.ts';
import { UsageError } from '../errors.ts';
import type { Model } from '../families/family.ts';
import { OPTIONS } from '../options.ts';
import { Ledger, sweep } from '../rig/ledger.ts';
import { StopSignals } from '../stop-signals.ts';
import { LiveLine } from '../terminal/live.ts';
import { bold, dim, paint } from '../terminal/style.ts';
import { table } from '../terminal/table.ts';

interface Options {
  readonly only?: RegExp;
  readonly beside: boolean;
  readonly uml?: true;
  readonly long?: true;
  readonly seed: number;
  readonly list?: true;
  readonly json?: true;
}

const AFTER = `
Each test runs in one guest after another, on the card and on QEMU's own card of that name, whose results are shown
beside and do not count. At the other end of the wire is a virtio card in a network namespace of the guest's.
With --uml Linux is a process in virtual time (docs/uml.md): no QEMU, no root, seconds; what it cannot run is skipped.
Ends with 0 where every test has passed on the model.

Examples:
  fauxnic conformance ${EXAMPLE.model}
  fauxnic conformance ${EXAMPLE.model} --uml
  fauxnic conformance ${EXAMPLE.model} --only 'ethtool -t' --no-beside`;

export function addConformance(program: Command): void {
  program
    .command('conformance')
    .summary("a model under Linux's own driver, as a table")
    .description(
      'Boots a guest whose kernel drives the model with its own, unmodified driver, and tries all that it can do.',
    )
    .argument('<model>', 'the model (see fauxnic devices)')
    .addOption(new Option('--only <pattern>', 'only tests whose name matches').argParser(pattern))
    .option('--no-beside', "without QEMU's own card beside it")
    .option('--uml', 'with Linux as a process, in virtual time (make build-uml-kernel)')
    .option('--long', 'with --uml: the slow self-tests, too')
    .addOption(OPTIONS.seed())
    .option('--list', 'only name the tests')
    .option('--json', 'the result as JSON')
    .addHelpText('after', AFTER)
    .action(async (name: string, options: Options) => {
      process.exitCode = await conformance(findModel(name), options);
    });
}

const note = (line: string) => void process.stderr.write(`${dim(line)}\n`);

async function conformance(model: Model, options: Options): Promise<number> {
  const linux = linuxDriverOf(model).module;
  const tests = testsOf(model).filter(({ name }) => options.only?.test(name) ?? true);
  if (tests.length === 0) throw new UsageError(`--only ${options.only!.source} names no test: see --list`);
  if (options.list) {
    console.log(tests.map(({ name }) => name).join('\n'));
    return 0;
  }
  sweep();
  const stop = new StopSignals();
  const ledger = new Ledger();
  const run = async (about: string, bedOptions: BedOptions) => {
    const progress = options.json ? null : new Progress(about, tests.length);
    const guests: number[] = [];
    const started = (pid: number) => {
      guests.push(pid);
      ledger.add(pid, 'a guest');
    };
    try {
      return await runTests({
        bed: { ...bedOptions, signal: stop.signal, started },
        ...{ tests, long: options.long },
        beginning: (test, index) => progress?.at(test, index),
      });
    } finally {
      progress?.end();
      for (const pid of guests) ledger.remove(pid);
    }
  };
  try {
    const columns = await (options.uml ? inProcess(model, options, run) : inGuests(model, options, run));
    const [ours, theirs] = columns.tests;
    const result = { model: model.name, driver: linux, kernel: columns.kernel, ...tally(ours!) };
    const beside = theirs && { device: model.qemu, qemu: columns.qemu, ...tally(theirs) };
    if (options.json) console.log(JSON.stringify({ ...result, ...(beside && { beside }) }));
    else print(model, columns);
    return result.failed === 0 ? 0 : 1;
  } catch (error) {
    if (stop.received) return stop.exitCode;
    throw error;
  } finally {
    stop.close();
  }
}

type Run = (about: string, bed: BedOptions) => Promise<TestResult[]>;

/** What was found, by card: ours, and where it was asked for QEMU's. */
interface Columns {
  readonly tests: readonly (readonly TestResult[])[];
  readonly kernel: string;
  readonly qemu?: string;
  /** What it ran on, for who reads the table. */
  readonly about: string;
}

async function inGuests(model: Model, { beside }: Options, run: Run): Promise<Columns> {
  const parts = await guestParts({ modules: [linuxDriverOf(model).module, ...BED_MODULES], progress: note });
  const tests = [await run(`sim:${model.name}`, { ...parts, subject: { kind: 'sim', model } })];
  const device = beside ? model.qemu : undefined;
  if (device) tests.push(await run(`qemu:${device}`, { ...parts, subject: { kind: 'qemu', device, model } }));
  const { kernel, qemu, accelerator } = parts;
  return { tests, kernel: kernel.release, qemu: qemu.version, about: `QEMU ${qemu.version}, ${accelerator}` };
}

async function inProcess(model: Model, { seed }: Options, run: Run): Promise<Columns> {
  const parts = await umlParts({ progress: note });
  shareProcessor();
  const tests = await run(`sim:${model.name}`, { ...parts, uml: true, seed, subject: { kind: 'sim', model } });
  const sum = (which: 'guest' | 'real') => tests.reduce((sum, { seconds }) => sum + seconds[which], 0);
  const about = `a process, seed ${seed}: ${sum('guest').toFixed(1)} virtual seconds in ${sum('real').toFixed(1)} s`;
  return { tests: [tests], kernel: parts.kernel.release, about };
}

function tally(tests: readonly TestResult[]) {
  const count = (wanted: TestResult['result']) => tests.filter(({ result }) => result === wanted).length;
  return { tests, passed: count('passed'), failed: count('failed'), skipped: count('skipped') };
}

class Progress {
  readonly #live: LiveLine;
  readonly #about: string;
  readonly #count: number;
  readonly #began = performance.now();
  #at = 'booting';

  constructor(about: string, count: number) {
    this.#about = about;
    this.#count = count;
    this.#live = new LiveLine(
      () => `${this.#about}  ${this.#at}  ${((performance.now() - this.#began) / 1000).toFixed(0)} s`,
      {
        plain: 30_000,
      },
    );
  }

  at({ name }: Test, index: number): void {
    this.#at = `${index + 1}/${this.#count} ${name}`;
  }

  end(): void {
    this.#live.stop();
  }
}

const VERDICTS: Record<TestResult['result'], string> = {
  passed: paint('green', 'passed'),
  failed: paint('red', 'FAILED'),
  skipped: dim('skipped'),
};

function print(model: Model, { tests: columns, kernel, qemu, about }: Columns): void {
  const names = [`sim:${model.name}`, `qemu:${model.qemu}`].slice(0, columns.length);
  const times = qemu ? [] : ['virtual', 'real']; // in real time they are one and the same
  const rows = columns[0]!.map(({ name, result, detail, seconds }, i) => [
    name,
    ...columns.map((tests) => VERDICTS[tests[i]!.result]),
    ...(times.length > 0 ? [`${seconds.guest.toFixed(1)} s`, `${seconds.real.toFixed(2)} s`] : []),
    result === 'failed' ? '' : dim(detail),
  ]);
  const sum = (tests: readonly TestResult[]) => `${tally(tests).passed} of ${tests.length}`;
  const total = ['', ...columns.map(sum), ...times.map(() => ''), ''];
  const head = [`Linux ${kernel}, ${model.linux!.module}`, ...names, ...times, ''];
  console.log(table([head, ...rows, total]));
  console.log(dim(`  ${about}`));
  for (const [column, tests] of columns.entries())
    for (const { name, result, detail } of tests)
      if (result === 'failed') console.log(`  ${bold(names[column]!)} ${name}: ${detail}`);
}

function pattern(text: string): RegExp {
  try {
    return new RegExp(text, 'i');
  } catch {
    throw new InvalidArgumentError('it is no regular expression.');
  }
}
