import { type Command, InvalidArgumentError, Option } from 'commander';
import { guestParts } from '../../vm/parts.ts';
import { EXAMPLE, findModel, linuxDriverOf } from '../catalogue.ts';
import { BED_MODULES, type Subject } from '../conformance/bed.ts';
import { runTests, type TestResult } from '../conformance/run.ts';
import { type Test, testsOf } from '../conformance/tests.ts';
import { UsageError } from '../errors.ts';
import type { Model } from '../families/family.ts';
import { Ledger, sweep } from '../rig/ledger.ts';
import { StopSignals } from '../stop-signals.ts';
import { LiveLine } from '../terminal/live.ts';
import { bold, dim, paint } from '../terminal/style.ts';
import { table } from '../terminal/table.ts';

interface Options {
  readonly only?: RegExp;
  readonly beside: boolean;
  readonly list?: true;
  readonly json?: true;
}

const AFTER = `
Each test runs in one guest after another, on the card and on QEMU's own card of that name, whose results are shown
beside and do not count. At the other end of the wire is a virtio card in a network namespace of the guest's.
Ends with 0 where every test has passed on the model.

Examples:
  fauxnic conformance ${EXAMPLE.model}
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
  const parts = await guestParts({ modules: [linux, ...BED_MODULES], progress: note });
  const stop = new StopSignals();
  const ledger = new Ledger();
  const run = async (subject: Subject, about: string) => {
    const progress = options.json ? null : new Progress(about, tests.length);
    const guests: number[] = [];
    try {
      return await runTests({
        ...{ parts, subject, tests, signal: stop.signal },
        beginning: (test, index) => progress?.at(test, index),
        started: (pid) => {
          guests.push(pid);
          ledger.add(pid, 'a guest');
        },
      });
    } finally {
      progress?.end();
      for (const pid of guests) ledger.remove(pid);
    }
  };
  try {
    const ours = await run({ kind: 'sim', model }, `sim:${model.name}`);
    const besides = options.beside && model.qemu ? [model.qemu] : [];
    const theirs: TestResult[][] = [];
    for (const device of besides) theirs.push(await run({ kind: 'qemu', device, model }, `qemu:${device}`));
    const result = { model: model.name, driver: linux, kernel: parts.kernel.release, ...tally(ours) };
    if (options.json) {
      const beside = theirs.map((tests, i) => ({ device: besides[i], qemu: parts.qemu.version, ...tally(tests) }));
      console.log(JSON.stringify({ ...result, ...(beside.length > 0 && { beside: beside[0] }) }));
    } else print(model, parts, ours, theirs[0]);
    return result.failed === 0 ? 0 : 1;
  } catch (error) {
    if (stop.received) return stop.exitCode;
    throw error;
  } finally {
    stop.close();
  }
}

function tally(tests: readonly TestResult[]) {
  const passed = tests.filter(({ result }) => result === 'passed').length;
  return { tests, passed, failed: tests.length - passed };
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

function print(
  model: Model,
  { kernel, qemu, accelerator }: Awaited<ReturnType<typeof guestParts>>,
  ours: readonly TestResult[],
  theirs: readonly TestResult[] | undefined,
): void {
  const verdict = ({ result }: TestResult) => (result === 'passed' ? paint('green', 'passed') : paint('red', 'FAILED'));
  const rows = ours.map((test, i) => [
    test.name,
    verdict(test),
    ...(theirs ? [verdict(theirs[i]!)] : []),
    test.result === 'passed' ? dim(test.detail) : '',
  ]);
  const sum = (tests: readonly TestResult[]) => `${tally(tests).passed} of ${tests.length}`;
  const total = ['', sum(ours), ...(theirs ? [sum(theirs)] : []), ''];
  const head = [
    `Linux ${kernel.release}, ${model.linux!.module}`,
    `sim:${model.name}`,
    ...(theirs ? [`qemu:${model.qemu}`] : []),
    '',
  ];
  console.log(table([head, ...rows, total]));
  console.log(dim(`  QEMU ${qemu.version}, ${accelerator}`));
  for (const [name, tests] of [
    [`sim:${model.name}`, ours],
    [`qemu:${model.qemu}`, theirs ?? []],
  ] as const)
    for (const test of tests) if (test.result === 'failed') console.log(`  ${bold(name)} ${test.name}: ${test.detail}`);
}

function pattern(text: string): RegExp {
  try {
    return new RegExp(text, 'i');
  } catch {
    throw new InvalidArgumentError('it is no regular expression.');
  }
}
