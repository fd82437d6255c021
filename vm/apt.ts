/**
 * Debian packages unpacked beside the system: nothing is installed, no root is needed. Signatures are checked as ever,
 * by apt-get itself.
 */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { VmError } from './errors.ts';
import { run } from './run.ts';

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const NETWORK = 600_000; // milliseconds, for what comes over the network

/** Where this machine gets Debian from, as its own sources say. */
export async function debianMirrors(): Promise<string[]> {
  const rows = await run(['apt-get', 'indextargets', '--format', '$(REPO_URI) $(RELEASE) $(ORIGIN)']);
  const mirrors = rows
    .split('\n')
    .map((row) => row.split(' '))
    .filter(([uri = '', release = '', origin]) => {
      const main = !/security|backports|updates/.test(release);
      return main && (origin === 'Debian' || /\/debian\/?$/.test(uri));
    });
  return [...new Set(mirrors.map(([uri]) => uri!))];
}

export interface Suites {
  readonly mirror: string;
  /** The last is preferred. */
  readonly suites: readonly string[];
}

/** Downloads packages and all they depend on from suites that need not be this machine's, into a folder. */
export async function downloadFrom({ mirror, suites }: Suites, packages: readonly string[], folder: string) {
  const state = resolve(folder, 'apt');
  const options = ownState(state);
  const list = join(state, 'sources.list');
  writeFileSync(list, suites.map((suite) => `deb [signed-by=${KEYRING}] ${mirror} ${suite} main\n`).join(''));
  options.push('-o', `Dir::Etc::SourceList=${list}`, '-o', 'Dir::Etc::SourceParts=/dev/null');
  // The system's own pins and packages have no say.
  options.push('-o', 'Dir::Etc::Preferences=/dev/null', '-o', 'Dir::Etc::PreferencesParts=/dev/null');
  await aptGet([...options, '-o', 'APT::Update::Error-Mode=any', 'update']);
  const chosen = ['--target-release', suites.at(-1)!, ...packages];
  await aptGet([...options, '--yes', '--no-install-recommends', '--download-only', 'install', ...chosen]);
  return debsIn(join(state, 'cache/archives'));
}

/** Downloads packages, without what they depend on, from this machine's own sources. */
export async function download(packages: readonly string[], folder: string): Promise<string[]> {
  const into = resolve(folder, 'download');
  mkdirSync(into, { recursive: true });
  try {
    await aptGet([...SANDBOX, 'download', ...packages], into);
  } catch {
    // The machine's lists are old, or were never fetched: ours are new.
    const options = ownState(resolve(folder, 'apt'));
    await aptGet([...options, 'update']);
    await aptGet([...options, 'download', ...packages], into);
  }
  return debsIn(into);
}

/** The packages that a package depends on, as this machine's lists say, or as lists of our own do. */
export async function dependsOn(name: string, folder: string): Promise<string[]> {
  const ask = async (options: readonly string[]) => {
    const text = await run(['apt-cache', ...options, 'show', '--no-all-versions', name]);
    return /^Depends: (.*)$/m
      .exec(text)![1]!
      .split(',')
      .map((one) => one.trim().split(/[ :]/)[0]!);
  };
  try {
    return await ask([]);
  } catch {
    const options = ownState(resolve(folder, 'apt'));
    await aptGet([...options, 'update']);
    return await ask(options);
  }
}

export async function unpack(debs: readonly string[], into: string): Promise<void> {
  mkdirSync(into, { recursive: true });
  for (const deb of debs) await run(['dpkg-deb', '--extract', deb, into]);
}

/** What downloading needed and nobody needs any more. */
export function removeDownloads(folder: string): void {
  for (const name of ['apt', 'download']) rmSync(join(folder, name), { recursive: true, force: true });
}

const SANDBOX = ['-o', 'APT::Sandbox::User=root']; // the cache is in a home that apt's own user may not enter

function ownState(state: string): string[] {
  for (const part of ['lists/partial', 'cache/archives/partial']) mkdirSync(join(state, part), { recursive: true });
  writeFileSync(join(state, 'status'), '');
  const own = [
    `Dir::State=${state}`,
    `Dir::State::Status=${join(state, 'status')}`,
    `Dir::Cache=${join(state, 'cache')}`,
  ];
  return [...SANDBOX, ...own.flatMap((option) => ['-o', option])];
}

async function aptGet(args: readonly string[], cwd?: string): Promise<void> {
  try {
    await run(['apt-get', '--quiet', ...args], { cwd, timeout: NETWORK });
  } catch (error) {
    if (error instanceof VmError && error.code === 'UNAVAILABLE')
      throw new VmError('UNAVAILABLE', 'packages come with apt-get, and there is none here');
    throw error;
  }
}

function debsIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.deb'))
    .map((name) => join(folder, name));
}
