/** A guest's whole file system: busybox, modules in load order, host programs with their libraries, and its init. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { constants, gzipSync } from 'node:zlib';
import { download, removeDownloads, unpack } from './apt.ts';
import { cached, cachedFile, prune } from './cache.ts';
import { Cpio } from './cpio.ts';
import { VmError } from './errors.ts';
import { init, type Tty } from './init.ts';
import { type Kernel, type Module, modulesInOrder } from './kernel.ts';
import { type Progress, step } from './progress.ts';
import { run } from './run.ts';

export interface InitramfsOptions {
  readonly kernel: Pick<Kernel, 'release' | 'image' | 'modules'>;
  /** What the guest's serial lines are; ttyS, if absent. */
  readonly tty?: Tty;
  /** Loaded in this order, each after what it needs. */
  readonly modules: readonly string[];
  /** Commands of this machine, by name or path; of those in PROGRAMS what is missing here is missing there. */
  readonly programs?: readonly string[];
  readonly progress?: Progress;
}

export const PROGRAMS = ['ethtool', 'iperf3', 'ip', 'ping'] as const;
/** Busybox's own shell would run its applets in place of the programs taken along. */
const SHELL = 'dash';
const OPTIONAL: readonly string[] = [SHELL, ...PROGRAMS];
/** Another number where the same parts make another archive. */
const LAYOUT = '2';
/** Archives in the cache, the last used: each is of another kernel or other modules and programs. */
const KEPT = 16;
const SYSTEM_FOLDERS = ['/usr/sbin', '/sbin'];

/** Builds it, or finds that it has been built, and returns where it is. */
export async function buildInitramfs(options: InitramfsOptions): Promise<string> {
  const { kernel, tty = 'ttyS', modules, programs = PROGRAMS, progress } = options;
  const script = init(tty);
  const busybox = await findBusybox(progress);
  const files = await withLibraries([SHELL, ...programs].flatMap(findProgram));
  const stamp = (path: string) => `${path} ${statSync(path).size} ${statSync(path).mtimeMs}`;
  const parts = [
    LAYOUT,
    script,
    kernel.release,
    stamp(kernel.image),
    modules.join(),
    stamp(busybox),
    ...[...files.values()].map(stamp),
  ];
  const key = createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 16);
  const loaded = await modulesInOrder(kernel, modules);
  const applets = (await run([busybox, '--list'])).split('\n').filter((name) => name !== 'busybox');
  const contents = await Promise.all(loaded.map(async ({ name, content }) => [name, await content()] as const));
  const path = cachedFile(`initramfs/${key}.cpio.gz`, () => {
    const cpio = new Cpio().file('init', script, 0o755).file('bin/busybox', readFileSync(busybox), 0o755);
    for (const folder of ['proc', 'sys', 'dev', 'run', 'tmp', 'etc', 'root']) cpio.folder(folder);
    const shell = files.has(`usr/bin/${SHELL}`) ? `/usr/bin/${SHELL}` : 'busybox';
    for (const name of applets) cpio.link(`bin/${name}`, name === 'sh' ? shell : 'busybox');
    for (const [name, content] of contents) cpio.file(`modules/${name}.ko`, content);
    cpio.file('modules/order', loaded.map(({ name }) => `${name}\n`).join(''));
    cpio.file('modules/modules.dep', dependencies(loaded)).link(`lib/modules/${kernel.release}`, '/modules');
    for (const [path, source] of files) cpio.file(path, readFileSync(source), 0o755);
    cpio.file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n').file('etc/group', 'root:x:0:\n');
    cpio.file('etc/hosts', '127.0.0.1 localhost\n::1 localhost\n');
    return gzipSync(cpio.finish(), { level: constants.Z_BEST_SPEED });
  });
  prune('initramfs', /\.cpio\.gz$/, KEPT);
  return path;
}

/** For modprobe, as modules.dep(5) has it: all that a module needs, those that it needs directly first. */
function dependencies(modules: readonly Module[]): string {
  const all = new Map<string, readonly string[]>();
  // Each stands after what it needs.
  for (const { name, needs } of modules)
    all.set(name, [...new Set([...needs, ...needs.flatMap((needed) => all.get(needed) ?? [])])]);
  return [...all].map(([name, needs]) => `${name}.ko:${needs.map((needed) => ` ${needed}.ko`).join('')}\n`).join('');
}

/** An archive to be read behind the other one: files of this run. */
export function overlay(files: Readonly<Record<string, string>>): Uint8Array {
  const cpio = new Cpio();
  for (const [path, content] of Object.entries(files)) cpio.file(path, content, 0o755);
  return cpio.finish();
}

async function findBusybox(progress?: Progress): Promise<string> {
  const root = await cached('busybox', async (folder) => {
    await step('downloading busybox', progress, async () => {
      await unpack(await download(['busybox-static'], folder), folder);
    });
    removeDownloads(folder);
  });
  const path = ['bin/busybox', 'usr/bin/busybox'].map((name) => join(root, name)).find(existsSync);
  if (path === undefined) throw new VmError('FAILED', `there is no busybox in ${root}: remove it, it comes anew`);
  return path;
}

/** Where it goes in the guest, and where it is here. */
function findProgram(name: string): [string, string][] {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...SYSTEM_FOLDERS];
  const places = name.includes('/') ? [name] : folders.map((folder) => join(folder, name));
  // A folder that is not for us to enter has nothing for us.
  const path = places.find((place) => existsSync(place) && statSync(place).isFile());
  if (path !== undefined) return [[`usr/bin/${name.slice(name.lastIndexOf('/') + 1)}`, path]];
  if (OPTIONAL.includes(name)) return [];
  throw new VmError('INVALID', `there is no program ${JSON.stringify(name)} on this machine to take along`);
}

/** With the libraries that the dynamic linker says they load, where it would look for them. */
async function withLibraries(programs: readonly [string, string][]): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const [path, source] of programs) {
    files.set(path, realpathSync(source));
    for (const library of await librariesOf(source)) files.set(library, realpathSync(library));
  }
  return files;
}

async function librariesOf(program: string): Promise<string[]> {
  try {
    const said = await run(['ldd', program]);
    return [...said.matchAll(/(?:^|=>)\s*(\/\S+) \(0x/gm)].map(([, path]) => path!);
  } catch {
    return []; // a static one, or a script
  }
}
