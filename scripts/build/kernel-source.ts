/**
 * The distribution's kernel source and what is built of it, in one folder of the cache that is kept between builds:
 * `source`, a folder for each kernel that is built of it, `patches` (those that are in the source, as they were applied) and
 * `version`.
 */
import { basename, join } from 'node:path';
import { $, fs } from 'zx';
import { dependsOn, download, removeDownloads, unpack } from '../../vm/apt.ts';
import { cached, cacheFolder } from '../../vm/cache.ts';
import { VmError } from '../../vm/errors.ts';
import { type Progress, step } from '../../vm/progress.ts';
import { WITH_US } from '../../vm/run.ts';
import { Failure } from '../errors.ts';

export interface Patch {
  readonly name: string;
  readonly text: string;
}

const META = 'linux-source';
const TREE = 'kernel/tree';
/** Half of the source, of other machines and for other devices; what names its files to Kconfig stays. */
const LEFT_OUT = [
  ...['gpu', 'media', 'staging', 'infiniband', 'scsi'].map((name) => `*/drivers/${name}/*.[ch]`),
  ...['*/sound/*.[ch]', '*/Documentation/*.rst', '*.dts', '*.dtsi', '*.yaml', '*/tools/testing'],
];

/** What was unpacked, as its package is called with its version; null before that. */
export function sourceVersion(): string | null {
  const path = join(cacheFolder(TREE), 'version');
  return fs.existsSync(path) ? fs.readFileSync(path, 'utf8') : null;
}

/** The source with these patches in it. Files that need no change keep their times. */
export async function openSource(patches: readonly Patch[], progress: Progress): Promise<{ root: string }> {
  let root = await unpackedSource(progress);
  if (!(await patched(root, patches))) {
    // A patch that was cut short, or that somebody has edited the source behind: it begins anew.
    await fs.remove(root);
    root = await unpackedSource(progress);
    await patched(root, patches);
  }
  return { root };
}

export async function removeSource(): Promise<void> {
  await fs.remove(cacheFolder(TREE));
}

async function unpackedSource(progress: Progress): Promise<string> {
  return await cached(TREE, async (folder) => {
    const [deb] = await step("downloading the kernel's source (140 MB)", progress, async () => {
      const name = (await dependsOn(META, folder)).find((one) => /^linux-source-\d/.test(one));
      if (name === undefined) throw new VmError('UNAVAILABLE', `${META} names no source here: this is not Debian`);
      return await download([name], folder);
    });
    await step("unpacking the kernel's source (700 MB)", progress, async () => {
      await unpack([deb!], join(folder, 'package'));
      const excluded = LEFT_OUT.map((pattern) => `--exclude=${pattern}`);
      const into = join(folder, 'source');
      await fs.mkdirp(into);
      const sources = join(folder, 'package/usr/src');
      const [packed] = (await fs.readdir(sources)).filter((name: string) => name.includes('.tar.'));
      await $({
        quiet: true,
      })`${WITH_US} tar -xf ${join(sources, packed!)} -C ${into} --strip-components=1 ${excluded}`;
    });
    await fs.mkdirp(join(folder, 'patches'));
    await fs.writeFile(join(folder, 'version'), basename(deb!).replace(/_(all|amd64)\.deb$/, ''));
    await fs.remove(join(folder, 'package'));
    removeDownloads(folder);
  });
}

/** False where the source is not as it was left. */
async function patched(root: string, patches: readonly Patch[]): Promise<boolean> {
  const [source, kept, marker] = ['source', 'patches', 'patching'].map((name) => join(root, name)) as [
    string,
    string,
    string,
  ];
  if (fs.existsSync(marker)) return false;
  const applied = (await fs.readdir(kept)).toSorted();
  const texts = await Promise.all(applied.map((name: string) => fs.readFile(join(kept, name), 'utf8')));
  const same = (patch: Patch, index: number) => patch.name === applied[index] && patch.text === texts[index];
  const first = [...patches, null].findIndex((patch, index) => patch === null || !same(patch, index));
  if (first === patches.length && first === applied.length) return true;
  const patch = (args: readonly string[]) =>
    $({ cwd: source, quiet: true, nothrow: true })`patch --strip=1 --force --no-backup-if-mismatch ${args}`;
  await fs.writeFile(marker, '');
  for (const name of applied.slice(first).toReversed()) {
    const path = join(kept, name);
    if (!(await patch(['--reverse', '--input', path])).ok) return false;
    await fs.remove(path);
  }
  for (const { name, text } of patches.slice(first)) {
    const path = join(kept, name);
    await fs.writeFile(path, text);
    const trial = await patch(['--dry-run', '--input', path]);
    if (!trial.ok) {
      await Promise.all([fs.remove(path), fs.remove(marker)]);
      const said = trial.stdout
        .trim()
        .split('\n')
        .find((line) => /FAILED|No file|malformed/i.test(line));
      throw new Failure(`vm/patches/${name} does not apply to ${sourceVersion()}: ${said ?? trial.stderr.trim()}`);
    }
    await patch(['--input', path]);
  }
  await fs.remove(marker);
  return true;
}
