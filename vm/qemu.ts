/** Finds a QEMU that is new enough, or unpacks one beside the system. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { debianMirrors, downloadFrom, removeDownloads, unpack } from './apt.ts';
import { cached, cacheFolder } from './cache.ts';
import { VmError } from './errors.ts';
import { type Progress, step } from './progress.ts';
import { run } from './run.ts';

export interface Qemu {
  /** Goes in front of the machine's arguments. */
  readonly command: readonly string[];
  readonly version: string;
  /** Why this one, for a person. */
  readonly why: string;
}

const BINARY = 'qemu-system-x86_64';
/** The first with vfio-user-pci. */
const LEAST = [10, 1] as const;
/** The distribution's release whose QEMU is new enough; the last is preferred. */
const SUITES = ['trixie', 'trixie-backports'];
const LIBRARIES = 'usr/lib/x86_64-linux-gnu';
const UNPACKED = 'qemu/trixie-backports';
const SIZES = 'a download of 40 MB, 170 MB unpacked';
const QUICK = 20_000; // milliseconds that a question to QEMU may take

export async function findQemu(progress?: Progress): Promise<Qemu> {
  const here = await installedQemu();
  if (typeof here !== 'string') return here;
  return await judge(unpacked(await unpackedRoot(progress, here)), `unpacked beside the system: ${here}`);
}

/** The one that `findQemu` would give, where it is here already; else what it would do, for a person. */
export async function lookForQemu(): Promise<{ readonly qemu?: Qemu; readonly plan: string }> {
  const here = await installedQemu();
  if (typeof here !== 'string') return { qemu: here, plan: here.why };
  const root = cacheFolder(UNPACKED);
  if (!existsSync(root)) return { plan: `${here}; on Debian, fauxnic vm unpacks one beside the system (${SIZES})` };
  const why = `unpacked beside the system: ${here}`;
  return { qemu: await judge(unpacked(root), why), plan: why };
}

/** What a QEMU said at last, without its name; warnings are no reason to end. */
export function lastWords(said: string): string {
  const lines = said.trim().split('\n');
  return (lines.findLast((line) => !/: warning: /.test(line)) ?? '').replace(/^\S*qemu-system-x86_64: /, '').trim();
}

/** How a process ended that nobody told to, and that said nothing; empty where it ended well. */
export function howItEnded(code: number | null, signal: NodeJS.Signals | null): string {
  if (signal !== null) return `it was killed (${signal})`;
  return code ? `it ended with ${code}` : '';
}

/** What is lacking, where it is not one that will do. */
async function installedQemu(): Promise<Qemu | string> {
  const named = process.env.FAUXNIC_QEMU;
  if (named) {
    try {
      return await judge([named], 'FAUXNIC_QEMU names it');
    } catch (error) {
      throw error instanceof VmError ? new VmError(error.code, `FAUXNIC_QEMU: ${error.message}`) : error;
    }
  }
  try {
    return await judge([BINARY], 'the one on PATH has vfio-user-pci');
  } catch (error) {
    if (!(error instanceof VmError)) throw error;
    return error.code === 'UNAVAILABLE' ? 'there is none on PATH' : error.message;
  }
}

/** Throws where it is not there, too old, or without what we need. */
async function judge(command: readonly string[], why: string): Promise<Qemu> {
  const said = await run([...command, '--version'], { timeout: QUICK });
  const version = /version (\d+\.\d+[\d.]*)/.exec(said)?.[1];
  if (version === undefined) throw new VmError('INVALID', `${command[0]} is no QEMU: it does not tell its version`);
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const old = major < LEAST[0] || (major === LEAST[0] && minor < LEAST[1]);
  if (old) throw new VmError('INVALID', `${command[0]} is version ${version}, and ${LEAST.join('.')} is needed`);
  try {
    // One device's help, not all: that would load every module.
    await run([...command, '-device', 'vfio-user-pci,help'], { timeout: QUICK });
  } catch {
    throw new VmError('INVALID', `${command[0]} ${version} was built without vfio-user-pci`);
  }
  return { command, version, why };
}

async function unpackedRoot(progress: Progress | undefined, lacking: string): Promise<string> {
  const advice = `install QEMU ${LEAST.join('.')} or later, or name one in FAUXNIC_QEMU`;
  if (process.arch !== 'x64') throw new VmError('UNAVAILABLE', `no QEMU: ${lacking}; ${advice}`);
  return await cached(UNPACKED, async (folder) => {
    let mirrors: string[] = [];
    try {
      mirrors = await debianMirrors();
    } catch {}
    if (mirrors.length === 0)
      throw new VmError('UNAVAILABLE', `no QEMU: ${lacking}, and none to unpack without a Debian mirror; ${advice}`);
    const debs = await step('downloading QEMU (40 MB)', progress, async () => await fetchFrom(mirrors, folder, advice));
    await step('unpacking QEMU (170 MB)', progress, async () => await unpack(debs, folder));
    removeDownloads(folder);
  });
}

async function fetchFrom(mirrors: readonly string[], folder: string, advice: string): Promise<string[]> {
  let why: unknown;
  for (const mirror of mirrors) {
    try {
      return await downloadFrom({ mirror, suites: SUITES }, ['qemu-system-x86'], folder);
    } catch (error) {
      why = error;
    }
  }
  const said = why instanceof Error ? why.message : String(why);
  throw new VmError(
    'UNAVAILABLE',
    `no QEMU: ${SUITES.at(-1)} could not be had from this machine's Debian mirror (${said}); ${advice}`,
  );
}

/** Through its own dynamic linker, with its own libraries, firmware and modules. */
function unpacked(root: string): string[] {
  const libraries = join(root, LIBRARIES);
  const linker = join(libraries, 'ld-linux-x86-64.so.2');
  const firmware = ['usr/share/qemu', 'usr/share/seabios'].map((folder) => join(root, folder)).filter(existsSync);
  return [
    'env',
    `QEMU_MODULE_DIR=${join(libraries, 'qemu')}`, // else it would take those of a QEMU that is installed
    linker,
    '--library-path',
    libraries,
    join(root, 'usr/bin', BINARY),
    ...firmware.flatMap((folder) => ['-L', folder]),
  ];
}
