/**
 * Building a kernel of the distribution's source: what the guests' (kernel.ts) and the one that is a process (uml-kernel.ts)
 * have in common. Where neither patches, nor fragment, nor source have changed there is nothing to do.
 */
import { createHash } from 'node:crypto';
import { constants, cpus } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { $, argv, echo, fs, glob, which } from 'zx';
import { cached, cacheFolder, prune, touch } from '../../vm/cache.ts';
import { WITH_US } from '../../vm/run.ts';
import { exitCodeOf, Failure, lineOf, UsageError } from '../errors.ts';
import { LiveLine } from '../terminal/live.ts';
import { errorIn, refusedOptions, stepOf } from './kernel-log.ts';
import { openSource, type Patch, removeSource, sourceVersion } from './kernel-source.ts';

/** One kernel that is built of the source. */
export interface Recipe {
  /** For who waits: "the kernel". */
  readonly what: string;
  /** In the cache's folder of kernels: the link to the one that was built last, and how all of them begin. */
  readonly name: string;
  /** In vm/kernel/. */
  readonly fragment: string;
  /** Below vm/: the patches that it depends on. All are in the source, whatever is built of it. */
  readonly patches: string;
  /** For make, and for the configuration: "um"; this machine's where there is none. */
  readonly arch?: string;
  readonly goals: readonly string[];
  /** Copies what was built in a folder to where it is kept. */
  install(built: string, into: string): Promise<void>;
}

const TOOLS = ['make', 'gcc', 'flex', 'bison', 'bc', 'xz', 'patch'] as const;
const HEADER = '/usr/include/libelf.h';
const PACKAGES = 'make gcc flex bison bc xz-utils patch libelf-dev';
const ALL_PATCHES = 'patches/**/*.patch';
const KEPT = 3;
const note = (line: string) => void process.stderr.write(`${line}\n`);

const logFile = (name: string) => cacheFolder('log', `kernel-${name}.log`);
const makeOf = ({ arch }: Recipe): string[] => [...MAKE, ...(arch ? [`ARCH=${arch}`] : [])];

function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!fs.existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

const vmFolder = () => join(packageRoot(), 'vm');

/** In the order of their names, which are each another. */
async function readPatches(pattern: string): Promise<Patch[]> {
  const paths = await glob(pattern, { cwd: vmFolder(), absolute: true });
  const patches = paths.map((path) => ({ name: basename(path), text: fs.readFileSync(path, 'utf8') }));
  return patches.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

async function nameOf({ name, fragment, patches }: Recipe, version: string): Promise<string> {
  const hash = createHash('sha256')
    .update(version)
    .update(fs.readFileSync(join(vmFolder(), 'kernel', fragment)));
  for (const patch of await readPatches(patches)) hash.update(`\0${patch.name}\0${patch.text}`);
  return `${name}-${hash.digest('hex').slice(0, 16)}`;
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
async function build(
  recipe: Recipe,
  what: string,
  cwd: string,
  command: readonly string[],
  heed?: (line: string) => void,
) {
  const path = logFile(recipe.name);
  const log = fs.createWriteStream(path, { flags: 'a' });
  const env = { ...process.env, LC_ALL: 'C', MAKEFLAGS: '', ...(recipe.arch && { ARCH: recipe.arch }) };
  const run = $({ quiet: true, nothrow: true, detached: true, cwd, env });
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
  if (!ok) throw new Failure(`${what}: ${errorIn(lines)}; all it printed is in ${path}`);
  return lines.join('\n');
}

/** Options that are as they were keep their times, and so does what was built with them. */
async function configure(recipe: Recipe, source: string, into: string): Promise<void> {
  const fragment = join(vmFolder(), 'kernel', recipe.fragment);
  const command = ['scripts/kconfig/merge_config.sh', '-n', '-O', into, fragment];
  await fs.mkdirp(into);
  const refused = refusedOptions(await build(recipe, `${recipe.what}'s configuration`, source, command));
  if (refused.length > 0)
    throw new Failure(
      `vm/kernel/${recipe.fragment}: this kernel cannot have ${refused.join(', ')} as they are set there`,
    );
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

async function compile(recipe: Recipe, folder: string): Promise<void> {
  const { what, goals } = recipe;
  const started = performance.now();
  let done = 0;
  let now = '';
  const seconds = () => `${((performance.now() - started) / 1000).toFixed(0)} s`;
  const live = new LiveLine(() => `… building ${what}: ${done} files, ${seconds()} ${now}`, { plain: 30_000 });
  try {
    await build(recipe, `${what}'s build`, folder, [...makeOf(recipe), ...goals], (line) => {
      const step = stepOf(line);
      if (step === null) return;
      done++;
      now = step;
    });
  } finally {
    live.stop();
  }
  note(`✓ built ${what} (${done} files, ${seconds()})`);
}

/** Runs make in the folder of what was built: for a recipe's `install`. */
export async function makeIn(recipe: Recipe, built: string, what: string, goals: readonly string[]): Promise<void> {
  await build(recipe, what, built, [...makeOf(recipe), ...goals]);
}

/** The link is replaced in one go: a guest that starts meanwhile finds the one or the other. */
async function choose(recipe: Recipe, name: string): Promise<void> {
  const link = cacheFolder('kernel', recipe.name);
  const fresh = `${link}.${process.pid}.link`;
  await fs.symlink(name, fresh);
  await fs.rename(fresh, link);
  touch(cacheFolder('kernel', name));
}

async function knownVersion({ name }: Recipe): Promise<string | null> {
  return sourceVersion() ?? (await fs.readFile(join(cacheFolder('kernel', name), 'version'), 'utf8').catch(() => null));
}

async function buildKernel(recipe: Recipe): Promise<void> {
  const version = await knownVersion(recipe);
  const known = version && (await nameOf(recipe, version));
  if (known && !argv.refresh && fs.existsSync(cacheFolder('kernel', known))) {
    await choose(recipe, known);
    note(`✓ ${recipe.what} is up to date (${version})`);
    return;
  }
  await checkTools();
  const release = await lock();
  try {
    if (argv.refresh) await removeSource();
    await fs.outputFile(logFile(recipe.name), '');
    const { root } = await openSource(await readPatches(ALL_PATCHES), note);
    const name = await nameOf(recipe, sourceVersion()!);
    const built = join(root, `build-${recipe.name}`);
    await cached(`kernel/${name}`, async (folder) => {
      await configure(recipe, join(root, 'source'), built);
      await compile(recipe, built);
      await recipe.install(built, folder);
      await fs.copy(join(built, '.config'), join(folder, 'config'));
      await fs.copy(join(root, 'version'), join(folder, 'version'));
    });
    await choose(recipe, name);
    prune('kernel', new RegExp(`^${recipe.name}-[\\da-f]+$`), KEPT);
  } finally {
    await release();
  }
}

/** Builds it where it is not up to date, and prints where it is. --refresh gets the source that the distribution has now. */
export async function buildAndPrint(recipe: Recipe, image: () => string): Promise<void> {
  // What is half made is removed at the exit, and what runs for us ends with us.
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(name, () => process.exit(128 + constants.signals[name]));
  try {
    await buildKernel(recipe);
    echo(image());
  } catch (error) {
    note(`fauxnic: ${lineOf(error)}`);
    process.exitCode = exitCodeOf(error);
  }
}
