/** What every test of this lane runs: the command, whose exit code and output count, and traces to compare. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chownSync, cpSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheFolder } from '../../vm/cache.ts';
import { umlObstacle } from '../../vm/uml/parts.ts';

const FAUXNIC = fileURLToPath(new URL('../../scripts/fauxnic.js', import.meta.url));

/** Ends the file, as skipped, where this machine lacks something; FAUXNIC_LANES=all forbids that. */
export function checkLane(): void {
  const why = umlObstacle();
  if (why === null) return;
  const must = process.env.FAUXNIC_LANES === 'all';
  console.log(must ? `TAP version 14\nnot ok 1 - uml lane: ${why}\n1..1` : `TAP version 14\n1..0 # SKIP ${why}`);
  process.exit(must ? 1 : 0);
}

export interface Ran {
  readonly pid: number;
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Real ones. */
  readonly seconds: number;
}

const NOBODY = 65534;

/** Another user than root, with the cache's parts that a run needs in a cache of its own: its environment. */
export function asNobody(folder: string): { readonly uid: number; readonly env: NodeJS.ProcessEnv } {
  for (const part of ['kernel/uml', 'busybox'])
    cpSync(realpathSync(cacheFolder(part)), join(folder, 'fauxnic', part), { recursive: true });
  for (const path of [folder, join(folder, 'fauxnic')]) chownSync(path, NOBODY, NOBODY);
  return { uid: NOBODY, env: { PATH: process.env.PATH, HOME: folder, XDG_CACHE_HOME: folder } };
}

export async function fauxnic(
  args: readonly string[],
  as: { uid?: number; env?: NodeJS.ProcessEnv } = {},
): Promise<Ran> {
  const began = performance.now();
  const identity = as.uid === undefined ? as : { ...as, gid: as.uid };
  const child = spawn(process.execPath, [FAUXNIC, ...args], { stdio: ['ignore', 'pipe', 'pipe'], ...identity });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { pid: child.pid!, code, stdout, stderr, seconds: (performance.now() - began) / 1000 };
}

/** A command in virtual time. */
export async function virtually(model: string, command: string, ...options: readonly string[]): Promise<Ran> {
  return await fauxnic(['vm', '--uml', '--virtual', '--nic', `sim:${model}`, ...options, '--', command]);
}

export function digest(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}
