/**
 * Every lane, or those that are named: `make test`. Files of tests run side by side; a lane is reported when it is through.
 *
 * A lane that this machine cannot run is named, with the reason; FAUXNIC_LANES=all makes that a failure (but for the
 * lane that needs a card). The last line is "N passed, N failed", counted from what AVA and tap report.
 */
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { availableParallelism, constants } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheFolder } from '../vm/cache.ts';
import { umlObstacle } from '../vm/uml/parts.ts';
import { type Job, runJob } from './job.ts';
import { obstacle } from './rig/reenter.ts';
import { byReason, Tally } from './tally.ts';
import { bold, dim, paint } from './terminal/style.ts';

interface Lane {
  readonly name: string;
  readonly jobs: readonly Job[];
  /** Why it cannot run here. */
  readonly obstacle: string | null;
  /** It may be left out even where all lanes must run. */
  readonly optional?: true;
}

const root = packageRoot();
const must = process.env.FAUXNIC_LANES === 'all';
const LINT: Job = { name: 'lint', command: ['npm', 'run', '--silent', 'lint'], interrupt: null };
const AVA: Job = { name: 'sim', command: ['npx', 'ava', '--tap'], interrupt: 'SIGINT' };

function lanes(): Lane[] {
  const tapLane = (name: string, why: () => string | null, optional?: true): Lane[] => {
    const jobs = testFiles(name).map(tapJob);
    return jobs.length === 0 ? [] : [{ name, jobs, obstacle: why(), optional }];
  };
  return [
    { name: 'lint', jobs: [LINT], obstacle: null },
    { name: 'sim', jobs: [AVA], obstacle: null },
    ...tapLane('native', obstacle),
    ...tapLane('fuzz', obstacle),
    ...tapLane('qemu', () => null),
    ...tapLane('guest', () => null),
    ...tapLane('uml', umlObstacle, true),
    ...tapLane('hil', () => (process.env.FAUXNIC_BDF ? null : 'no card named: set FAUXNIC_BDF'), true),
  ];
}

function chosen(names: readonly string[]): Lane[] {
  const all = lanes();
  const unknown = names.find((name) => !all.some((lane) => lane.name === name));
  if (unknown === undefined) return names.length === 0 ? all : all.filter(({ name }) => names.includes(name));
  console.error(`fauxnic: there is no lane ${unknown}: ${all.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}

/** A file of tap's reports by itself; its runner would be another process, and take a second. */
function tapJob(file: string): Job {
  return { name: basename(file, '.test.js'), command: [process.execPath, file], interrupt: 'SIGALRM' };
}

function testFiles(lane: string): string[] {
  const folder = join('dist/test', lane);
  if (!existsSync(join(root, folder))) return [];
  const files = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).toSorted();
  // Compiled tests of sources that have gone are no tests.
  const live = (file: string) => existsSync(join(root, 'test', lane, file.replace(/\.js$/, '.ts')));
  return files.filter((file) => file.endsWith('.test.js') && live(file)).map((file) => join(folder, file));
}

// ---- Running --------------------------------------------------------------------------------------------------------

/** So many at a time, in the order in which they came: one more than processors, as each waits a good part of its time. */
class Slots {
  #free = availableParallelism() + 1;
  readonly #waiting: (() => void)[] = [];

  async hold<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#free--;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }
}

/** Of a lane, or a part of it. */
interface Result {
  readonly tally: Tally;
  readonly log: string;
  readonly started: number;
  readonly ended: number;
}

const slots = new Slots();
const underWay = new Map<Tally, string>();

function start({ name, jobs, obstacle }: Lane): Promise<Result[]> {
  if (obstacle !== null) return Promise.resolve([]);
  return Promise.all(jobs.map((job) => slots.hold(() => run(job, name))));
}

async function run(job: Job, lane: string): Promise<Result> {
  const started = performance.now();
  const tally = new Tally(job.name);
  const log = logPath(job.name === lane ? lane : `${lane}-${job.name}`);
  underWay.set(tally, lane);
  await runJob(job, { cwd: root, log, tally });
  underWay.delete(tally);
  return { tally, log, started, ended: performance.now() };
}

function logPath(name: string): string {
  const folder = cacheFolder('log');
  mkdirSync(folder, { recursive: true });
  return join(folder, `test-${name}.log`);
}

// ---- Reporting ------------------------------------------------------------------------------------------------------

const total = { passed: 0, failed: 0, skipped: 0 };

function report(lane: Lane, results: readonly Result[]): void {
  const tallies = results.map(({ tally }) => tally);
  const sum = { passed: 0, failed: 0, skipped: 0 };
  for (const kind of ['passed', 'failed', 'skipped'] as const) {
    for (const tally of tallies) sum[kind] += tally[kind];
    total[kind] += sum[kind];
  }
  const ok = sum.failed === 0;
  const tests = lane.jobs.some(({ interrupt }) => interrupt !== null);
  const counts = tests ? textOf(sum) : ok ? 'clean' : 'not clean';
  const began = Math.min(...results.map(({ started }) => started));
  const time = `(${((Math.max(...results.map(({ ended }) => ended)) - began) / 1000).toFixed(1)} s)`;
  console.log(`${ok ? paint('green', '✓') : paint('red', '✗')} ${bold(lane.name)} ${counts} ${dim(time)}`);
  for (const skipped of byReason(tallies.flatMap(({ skips }) => skips)))
    console.log(`  ${paint('yellow', 'skipped')} ${skipped}`);
  for (const { tally, log } of results)
    if (tally.failed > 0) console.log(`${tally.failures.join('\n')}\n  all it printed is in ${log}`);
}

function reportObstacle({ name, obstacle, optional }: Lane): void {
  const forbidden = must && !optional;
  if (forbidden) total.failed++;
  else total.skipped++;
  console.log(`${forbidden ? paint('red', '✗') : paint('yellow', '-')} ${bold(name)} not run: ${obstacle}`);
}

function textOf({ passed, failed, skipped }: { passed: number; failed: number; skipped: number }): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

function draw(text: string): void {
  if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${text}`);
}

function drawProgress(): void {
  const parts = [...underWay].map(([tally, lane]) => {
    const name = tally.source === lane ? lane : `${lane} ${tally.source}`;
    return tally.passed + tally.failed === 0 ? name : `${name} ${textOf(tally)}`;
  });
  draw(`… ${parts.join(' · ')} (${(performance.now() / 1000).toFixed(0)} s)`);
}

function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

process.stdout.on('error', () => process.exit(1)); // nobody reads any more
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(signal, () => process.exit(128 + constants.signals[signal])); // and the jobs end with us
const progress = setInterval(drawProgress, 500);
const all = chosen(process.argv.slice(2)).map((lane) => ({ lane, results: start(lane) }));
for (const { lane, results } of all) {
  const ended = await results;
  draw('');
  if (lane.obstacle === null) report(lane, ended);
  else reportObstacle(lane);
}
clearInterval(progress);
console.log(textOf(total));
process.exitCode = total.failed > 0 ? 1 : 0;
