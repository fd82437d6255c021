/** Kernels for guests, in the cache: the distribution's stock one, unpacked, and ours, built by scripts/build/kernel.ts. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { dependsOn, download, removeDownloads } from './apt.ts';
import { cached, cacheFolder } from './cache.ts';
import { VmError } from './errors.ts';
import { moduleDependencies } from './module-info.ts';
import { type Progress, step } from './progress.ts';
import { run } from './run.ts';
import { isBootable, unpackKernel } from './vmlinux.ts';

/** A kernel that a guest boots. */
export interface Kernel {
  readonly release: string;
  /** The bootable image. */
  readonly image: string;
  /** The folder with its modules; an empty name where all that it has is built in. */
  readonly modules: string;
}

export interface Module {
  /** As its file is called, without the ending. */
  readonly name: string;
  /** The names of those that it needs loaded. */
  readonly needs: readonly string[];
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

const STOCK = 'kernel/stock';
/** Leads to the one that was built last. */
export const DEV = 'kernel/dev';

/** What is asked for: "stock", "dev", a folder that holds a kernel with its modules, or an image that needs none. */
export async function findKernel(choice: string, progress?: Progress): Promise<Kernel> {
  if (choice === 'stock') return await stockKernel(progress);
  if (choice === 'dev') return devKernel();
  const path = resolve(choice);
  const found = choice === '' ? undefined : statSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory()) return kernelIn(path);
  if (found === undefined) throw new VmError('INVALID', `no kernel ${choice}: give stock, dev, an image or a folder`);
  if (!found.isFile() || !isBootable(path))
    throw new VmError('INVALID', `${choice} is no kernel: neither a bzImage nor an ELF file`);
  return { release: basename(path), image: path, modules: '' };
}

/** The small one of our own. It is never built in passing: that takes minutes. */
export function devKernel(): Kernel {
  const root = cacheFolder(DEV);
  if (existsSync(root)) return kernelIn(root);
  throw new VmError('UNAVAILABLE', 'the kernel of our own has not been built here: make build-dev-kernel (minutes)');
}

/** The stock kernel where it has been unpacked already. */
export function cachedStockKernel(): Kernel | null {
  return existsSync(cacheFolder(STOCK)) ? kernelIn(cacheFolder(STOCK)) : null;
}

/** @param refresh get the one that the distribution has now, even where another is in the cache. */
export async function stockKernel(progress?: Progress, { refresh = false } = {}): Promise<Kernel> {
  const make = async (folder: string) => {
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
  };
  return kernelIn(await cached(STOCK, make, { refresh }));
}

/** Where packages keep modules; newer ones keep the kernel beside them. */
const TREES = ['lib/modules', 'usr/lib/modules'];

/** A kernel as its package lays it out below a folder; `vmlinux`, where it is there, is the same kernel unpacked. */
export function kernelIn(root: string): Kernel {
  const boot = join(root, 'boot');
  const trees = TREES.flatMap((tree) => list(join(root, tree)).map((release) => join(root, tree, release)));
  const inBoot = list(boot).find((name) => name.startsWith('vmlinuz-'));
  const beside = inBoot === undefined ? trees.find((tree) => existsSync(join(tree, 'vmlinuz'))) : undefined;
  const release = inBoot?.slice('vmlinuz-'.length) ?? basename(beside ?? trees[0] ?? '');
  const unpacked = join(root, 'vmlinux');
  const packed = inBoot === undefined ? beside && join(beside, 'vmlinuz') : join(boot, inBoot);
  const image = existsSync(unpacked) ? unpacked : packed;
  if (release === '' || image === undefined)
    throw new VmError('UNAVAILABLE', `there is no kernel in ${root}: if it is of the cache, remove it, it comes anew`);
  const modules = trees.find((tree) => basename(tree) === release) ?? join(root, TREES[0]!, release);
  return { release, image, modules };
}

function list(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** For kernels that can be booted so; the others boot as they are. */
async function unpackImage(root: string): Promise<void> {
  const { image, release } = kernelIn(root);
  const config = join(root, 'boot', `config-${release}`);
  if (!existsSync(config) || !readFileSync(config, 'utf8').includes('\nCONFIG_PVH=y\n')) return;
  await unpackKernel(image, root).catch(() => null);
}

/** The modules and what they depend on, each after all that it needs; none where the kernel came without modules. */
export async function modulesInOrder(kernel: Kernel, names: readonly string[]): Promise<Module[]> {
  if (kernel.modules === '') return [];
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
    const needs = moduleDependencies(await content());
    for (const needed of needs) await add(needed, name);
    const loaded = needs.map((needed) => order.get(normal(needed))?.name).filter((one) => one !== undefined);
    order.set(key, { name: nameOf(path), needs: loaded, content });
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
