/**
 * Every lane, one after the other: `make test`.
 *
 * A lane that this machine cannot run is named, with the reason; FAUXNIC_LANES=all makes that a failure (but for the
 * lane that needs a card). The last line is "N passed, N failed", counted from what AVA and tap report.
 */
import { spawn } from 'node:child_process';
import { createWriteStream, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { cacheFolder } from '../vm/cache.ts';
import { obstacle } from './rig/reenter.ts';
import { Tally } from './tally.ts';
import { bold, dim, paint } from './terminal/style.ts';

interface Lane {
  readonly name: string;
  readonly commands: readonly (readonly string[])[];
  /** Why it cannot run here. */
  readonly obstacle: string | null;
  /** It may be left out even where all lanes must run. */
  readonly optional?: true;
  /** Whether its output is TAP, and the tests' depth in it. */
  readonly depth: number | null;
}

const root = packageRoot();
const must = process.env.FAUXNIC_LANES === 'all';
const total = { passed: 0, failed: 0, skipped: 0 };

function lanes(): Lane[] {
  const tapLane = (name: string, why: () => string | null, optional?: true): Lane[] => {
    const files = testFiles(name);
    if (files.length === 0) return []; // there is no such lane yet
    return [{ name, commands: [['npx', 'tap', '--reporter=tap', ...files]], obstacle: why(), optional, depth: 1 }];
  };
  return [
    { name: 'lint', commands: [['npm', 'run', '--silent', 'lint']], obstacle: null, depth: null },
    { name: 'sim', commands: [['npx', 'ava', '--tap']], obstacle: null, depth: 0 },
    ...tapLane('native', obstacle),
    ...tapLane('qemu', () => null),
    ...tapLane('guest', () => null),
    ...tapLane('hil', () => (process.env.FAUXNIC_BDF ? null : 'no card named: set FAUXNIC_BDF'), true),
  ];
}

function testFiles(lane: string): string[] {
  const folder = join('dist/test', lane);
  if (!existsSync(join(root, folder))) return [];
  const files = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' });
  // Compiled tests of sources that have gone are no tests.
  const live = (file: string) => existsSync(join(root, 'test', lane, file.replace(/\.js$/, '.ts')));
  return files.filter((file) => file.endsWith('.test.js') && live(file)).map((file) => join(folder, file));
}

async function run(lane: Lane): Promise<void> {
  if (lane.obstacle !== null) {
    const forbidden = must && !lane.optional;
    if (forbidden) total.failed++;
    else total.skipped++;
    console.log(`${forbidden ? paint('red', '✗') : paint('yellow', '-')} ${bold(lane.name)} not run: ${lane.obstacle}`);
    return;
  }
  const started = performance.now();
  const tally = new Tally(lane.depth ?? -1);
  const log = logPath(lane.name);
  let codes = 0;
  for (const command of lane.commands) codes += await attend(lane, command, log, tally, started);
  if (codes !== 0 && tally.failed === 0) tally.failed = 1; // it broke outside of any test
  total.passed += tally.passed;
  total.failed += tally.failed;
  total.skipped += tally.skipped;
  const ok = tally.failed === 0;
  const counts = lane.depth === null ? (ok ? 'clean' : 'not clean') : tally.text;
  console.log(`${ok ? paint('green', '✓') : paint('red', '✗')} ${bold(lane.name)} ${counts} ${dim(since(started))}`);
  for (const skipped of tally.skips) console.log(`  ${paint('yellow', 'skipped')} ${skipped}`);
  if (!ok) console.log(`${tally.failures.join('\n')}\n  all it printed is in ${log}`);
}

/** Runs a command to its end, its output to the log and to the tally. */
async function attend(lane: Lane, command: readonly string[], path: string, tally: Tally, started: number) {
  const log = createWriteStream(path);
  const child = spawn(command[0]!, command.slice(1), { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  const progress = setInterval(() => draw(`… ${lane.name} ${tally.text} ${since(started)}`), 500);
  const ended = new Promise<number>((resolve) => {
    child.once('error', (error) => {
      tally.line(`not ok ${command[0]}: ${error.message}`);
      resolve(1);
    });
    child.once('close', (code) => resolve(code ?? 1));
  });
  const heed = (line: string) => {
    log.write(`${line}\n`);
    tally.line(line);
  };
  if (lane.depth === null) createInterface(child.stderr).on('line', heed);
  else child.stderr.pipe(log, { end: false }); // no results: TAP is on standard output
  createInterface(child.stdout).on('line', heed);
  const code = await ended;
  clearInterval(progress);
  draw('');
  log.end();
  return code;
}

function draw(text: string): void {
  if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${text}`);
}

function logPath(lane: string): string {
  const folder = cacheFolder('log');
  mkdirSync(folder, { recursive: true });
  return join(folder, `test-${lane}.log`);
}

const since = (started: number) => `(${((performance.now() - started) / 1000).toFixed(1)} s)`;

function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

process.stdout.on('error', () => process.exit(1)); // nobody reads any more
for (const lane of lanes()) await run(lane);
const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : '';
console.log(`${total.passed} passed, ${total.failed} failed${skipped}`);
process.exitCode = total.failed > 0 ? 1 : 0;
