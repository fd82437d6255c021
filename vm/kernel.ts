/** The distribution's stock kernel and its modules, unpacked in the cache. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { dependsOn, download, removeDownloads } from './apt.ts';
import { cached } from './cache.ts';
import { VmError } from './errors.ts';
import { moduleDependencies } from './module-info.ts';
import { type Progress, step } from './progress.ts';
import { run } from './run.ts';
import { unpackKernel } from './vmlinux.ts';

/** A kernel that a guest boots. */
export interface Kernel {
  readonly release: string;
  /** The bootable image. */
  readonly image: string;
  /** The folder with its modules; empty where all it needs is built in. */
  readonly modules: string;
}

export interface Module {
  /** As its file is called, without the ending. */
  readonly name: string;
  /** Unpacked. */
  content(): Promise<Uint8Array>;
}

const META = 'linux-image-amd64';
/** Most of a stock kernel, and of no use to a guest that is here for its network cards. */
const LEFT_OUT = [
  'sound',
  'drivers/gpu',
  'drivers/media',
  'drivers/staging',
  'drivers/infiniband',
  'drivers/net/wireless',
  'drivers/iio',
  'drivers/input',
  'fs/btrfs',
  'fs/xfs',
  'fs/ocfs2',
];

export async function stockKernel(progress?: Progress): Promise<Kernel> {
  const root = await cached('kernel/stock', async (folder) => {
    const debs = await step('downloading the stock kernel (70 MB)', progress, async () => {
      const image = (await dependsOn(META, folder)).find((name) => /^linux-image-\d/.test(name));
      if (image === undefined) throw new VmError('UNAVAILABLE', `${META} names no kernel here: this is not Debian`);
      return await download([image], folder);
    });
    await step('unpacking the stock kernel', progress, async () => {
      const excluded = LEFT_OUT.map((part) => `--exclude=./lib/modules/*/kernel/${part}`).join(' ');
      const script = `for deb in "$@"; do dpkg-deb --fsys-tarfile "$deb" | tar -x ${excluded} --exclude=./usr; done`;
      await run(['sh', '-ec', script, 'unpack', ...debs], { cwd: folder });
    });
    await step('unpacking the kernel itself', progress, async () => await unpackImage(folder));
    removeDownloads(folder);
  });
  return kernelIn(root);
}

/** A kernel as its package lays it out below a folder. */
export function kernelIn(root: string): Kernel {
  const boot = join(root, 'boot');
  const image = existsSync(boot) ? readdirSync(boot).find((name) => name.startsWith('vmlinuz-')) : undefined;
  if (image === undefined)
    throw new VmError('UNAVAILABLE', `there is no kernel in ${boot}: remove ${root}, it comes anew`);
  const release = image.slice('vmlinuz-'.length);
  const unpacked = join(root, 'vmlinux');
  const modules = join(root, 'lib/modules', release);
  return { release, image: existsSync(unpacked) ? unpacked : join(boot, image), modules };
}

/** For kernels that can be booted so; the others boot as they are. */
async function unpackImage(root: string): Promise<void> {
  const { image, release } = kernelIn(root);
  const config = join(root, 'boot', `config-${release}`);
  if (!existsSync(config) || !readFileSync(config, 'utf8').includes('\nCONFIG_PVH=y\n')) return;
  await unpackKernel(image, root).catch(() => null);
}

/** The modules and what they depend on, each after all that it needs. */
export async function modulesInOrder(kernel: Kernel, names: readonly string[]): Promise<Module[]> {
  const files = moduleFiles(kernel);
  const builtIn = builtInNames(kernel);
  const order = new Map<string, Module>();
  const add = async (name: string, wantedBy: string): Promise<void> => {
    const key = normal(name);
    if (order.has(key) || builtIn.has(key)) return;
    const path = files.get(key);
    if (path === undefined)
      throw new VmError(
        'INVALID',
        `kernel ${kernel.release} has no module ${name}${wantedBy && `, which ${wantedBy} needs`}`,
      );
    const content = async () => await readModule(path);
    for (const needed of moduleDependencies(await content())) await add(needed, name);
    order.set(key, { name: nameOf(path), content });
  };
  for (const name of names) await add(name, '');
  return [...order.values()];
}

/** A module is called both ways. */
const normal = (name: string) => name.replaceAll('-', '_');
const nameOf = (path: string) => basename(path).replace(/\.ko(\.\w+)?$/, '');

function moduleFiles({ modules }: Kernel): Map<string, string> {
  const files = new Map<string, string>();
  if (!existsSync(modules)) return files;
  for (const name of readdirSync(modules, { recursive: true, encoding: 'utf8' }))
    if (/\.ko(\.\w+)?$/.test(name)) files.set(normal(nameOf(name)), join(modules, name));
  return files;
}

function builtInNames({ modules }: Kernel): Set<string> {
  const list = join(modules, 'modules.builtin');
  if (!existsSync(list)) return new Set();
  return new Set(readFileSync(list, 'utf8').split('\n').filter(Boolean).map(nameOf).map(normal));
}

async function readModule(path: string): Promise<Uint8Array> {
  if (path.endsWith('.ko')) return readFileSync(path);
  if (path.endsWith('.gz')) return gunzipSync(readFileSync(path));
  const plain = await cached(`modules/${path.replaceAll('/', '!')}`, async (folder) => {
    const tool = path.endsWith('.zst') ? 'zstd' : 'xz';
    await run(['sh', '-c', `${tool} -dc "$1" > module.ko`, tool, path], { cwd: folder });
  });
  return readFileSync(join(plain, 'module.ko'));
}
