#!/usr/bin/env node
/**
 * Builds the guests' kernel of our own and prints where it is: make build-dev-kernel. It is made of the distribution's
 * source, vm/patches/*.patch in the order of their names, and vm/kernel/fauxnic.config; where neither has changed there
 * is nothing to do. --refresh gets the source that the distribution has now.
 */
import { createHash } from 'node:crypto';
import { constants, cpus } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { $, argv, echo, fs, glob, which } from 'zx';
import { cached, cacheFolder, prune, touch } from '../../vm/cache.ts';
import { DEV, devKernel } from '../../vm/kernel.ts';
import { WITH_US } from '../../vm/run.ts';
import { exitCodeOf, Failure, lineOf, UsageError } from '../errors.ts';
import { LiveLine } from '../terminal/live.ts';
import { errorIn, refusedOptions, stepOf } from './kernel-log.ts';
import { openSource, type Patch, removeSource, sourceVersion } from './kernel-source.ts';

const TOOLS = ['make', 'gcc', 'flex', 'bison', 'bc', 'xz', 'patch'] as const;
const HEADER = '/usr/include/libelf.h';
const PACKAGES = 'make gcc flex bison bc xz-utils patch libelf-dev';
const KEPT = 3;
const note = (line: string) => void process.stderr.write(`${line}\n`);

const logFile = () => cacheFolder('log', 'kernel.log');

function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!fs.existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

interface Recipe {
  /** Path of our configuration. */
  readonly fragment: string;
  readonly patches: readonly Patch[];
}

async function readRecipe(): Promise<Recipe> {
  const folder = join(packageRoot(), 'vm');
  const paths = (await glob('patches/*.patch', { cwd: folder, absolute: true })).toSorted();
  const patches = paths.map((path) => ({ name: basename(path), text: fs.readFileSync(path, 'utf8') }));
  return { fragment: join(folder, 'kernel/fauxnic.config'), patches };
}

function nameOf({ fragment, patches }: Recipe, version: string): string {
  const hash = createHash('sha256').update(version).update(fs.readFileSync(fragment));
  for (const { name, text } of patches) hash.update(`\0${name}\0${text}`);
  return `dev-${hash.digest('hex').slice(0, 16)}`;
}

/** Said before anything is downloaded. */
async function checkTools(): Promise<void> {
  const missing: string[] = [];
  for (const tool of TOOLS) if ((await which(tool, { nothrow: true })) === null) missing.push(tool);
  if (!fs.existsSync(HEADER)) missing.push('libelf.h');
  if (missing.length > 0)
    throw new UsageError(`to build a kernel ${missing.join(', ')} is missing: apt-get install ${PACKAGES}`);
}

/** One build at a time; the lock goes with us, however we end. */
async function lock(): Promise<() => Promise<void>> {
  const path = cacheFolder('kernel', 'lock');
  await fs.mkdirp(dirname(path));
  const holder = $({ quiet: true, nothrow: true })`${WITH_US} flock ${path} sh -c 'echo held; exec cat'`;
  const waiting = setTimeout(() => note('… waiting for another build to end'), 2000);
  try {
    await new Promise<void>((resolve, reject) => {
      holder.stdout.once('data', () => resolve());
      void holder.then(({ stderr }) => reject(new Failure(`no lock on ${path}: ${stderr.trim()}`)));
    });
  } finally {
    clearTimeout(waiting);
  }
  return async () => {
    holder.stdin.end();
    await holder;
  };
}

/** Runs a part of the build, all it prints to the log, and says what went wrong in one line. */
async function build(what: string, cwd: string, command: readonly string[], heed?: (line: string) => void) {
  const log = fs.createWriteStream(logFile(), { flags: 'a' });
  const run = $({
    quiet: true,
    nothrow: true,
    detached: true,
    cwd,
    env: { ...process.env, LC_ALL: 'C', MAKEFLAGS: '' },
  });
  const running = run`exec ${WITH_US} ${command} 2>&1`;
  // A make that is ended leaves those that it called behind: they go with its group.
  const kill = () => {
    try {
      process.kill(-running.pid!, 'SIGKILL');
    } catch {} // it has just ended
  };
  process.once('exit', kill);
  const lines: string[] = [];
  for await (const line of running) {
    log.write(`${line}\n`);
    lines.push(line);
    heed?.(line);
  }
  log.end();
  const { ok } = await running;
  process.off('exit', kill);
  if (!ok) throw new Failure(`${what}: ${errorIn(lines)}; all it printed is in ${logFile()}`);
  return lines.join('\n');
}

/** Options that are as they were keep their times, and so does what was built with them. */
async function configure(root: string, fragment: string): Promise<void> {
  const command = ['scripts/kconfig/merge_config.sh', '-n', '-O', join(root, 'build'), fragment];
  const refused = refusedOptions(await build("the kernel's configuration", join(root, 'source'), command));
  if (refused.length > 0)
    throw new Failure(`vm/kernel/fauxnic.config: this kernel cannot have ${refused.join(', ')} as they are set there`);
}

// No name or time of its own, so that the same source makes the same kernel.
const MAKE = [
  'make',
  `-j${cpus().length}`,
  'LOCALVERSION=',
  'KBUILD_BUILD_TIMESTAMP=1970-01-01',
  'KBUILD_BUILD_USER=fauxnic',
  'KBUILD_BUILD_HOST=fauxnic',
];

async function compile(root: string): Promise<void> {
  const started = performance.now();
  let done = 0;
  let now = '';
  const seconds = () => `${((performance.now() - started) / 1000).toFixed(0)} s`;
  const live = new LiveLine(() => `… building the kernel: ${done} files, ${seconds()} ${now}`, { plain: 30_000 });
  try {
    await build("the kernel's build", join(root, 'build'), [...MAKE, 'vmlinux', 'modules'], (line) => {
      const step = stepOf(line);
      if (step === null) return;
      done++;
      now = step;
    });
  } finally {
    live.stop();
  }
  note(`✓ built the kernel (${done} files, ${seconds()})`);
}

/** What a guest boots, with its modules, and nothing that only a debugger reads. */
async function install(root: string, into: string): Promise<void> {
  const built = join(root, 'build');
  const modules = [`INSTALL_MOD_PATH=${into}`, 'INSTALL_MOD_STRIP=1', 'DEPMOD=true', 'modules_install'];
  await build("installing the kernel's modules", built, [...MAKE, ...modules]);
  for (const link of await glob('lib/modules/*/{build,source}', { cwd: into, absolute: true, onlyFiles: false }))
    await fs.remove(link);
  await $({ quiet: true })`strip -o ${join(into, 'vmlinux')} ${join(built, 'vmlinux')}`;
  await fs.copy(join(built, '.config'), join(into, 'config'));
  await fs.copy(join(root, 'version'), join(into, 'version'));
}

/** The link is replaced in one go: a guest that starts meanwhile finds the one or the other. */
async function choose(name: string): Promise<void> {
  const link = cacheFolder(DEV);
  const fresh = `${link}.${process.pid}.link`;
  await fs.symlink(name, fresh);
  await fs.rename(fresh, link);
  touch(cacheFolder('kernel', name));
}

async function main(): Promise<void> {
  const recipe = await readRecipe();
  const version = sourceVersion() ?? (await fs.readFile(join(cacheFolder(DEV), 'version'), 'utf8').catch(() => null));
  const known = version && nameOf(recipe, version);
  if (known && !argv.refresh && fs.existsSync(cacheFolder('kernel', known))) {
    await choose(known);
    note(`✓ the kernel is up to date (${version})`);
    return;
  }
  await checkTools();
  const release = await lock();
  try {
    if (argv.refresh) await removeSource();
    await fs.outputFile(logFile(), '');
    const { root } = await openSource(recipe.patches, note);
    const name = nameOf(recipe, sourceVersion()!);
    await cached(`kernel/${name}`, async (folder) => {
      await configure(root, recipe.fragment);
      await compile(root);
      await install(root, folder);
    });
    await choose(name);
    prune('kernel', /^dev-[\da-f]+$/, KEPT);
  } finally {
    await release();
  }
}

// What is half made is removed at the exit, and what runs for us ends with us.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(name, () => process.exit(128 + constants.signals[name]));
try {
  await main();
  echo(devKernel().image);
} catch (error) {
  note(`fauxnic: ${lineOf(error)}`);
  process.exitCode = exitCodeOf(error);
}
