import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants as fs } from 'node:fs';
import { constants } from 'node:os';
import { available } from '../../native/index.ts';
import { Ledger } from './ledger.ts';

const INSIDE = 'FAUXNIC_NAMESPACE';

export const isRoot = process.getuid?.() === 0;

/** Set where this process has a network namespace of its own already: as root, or inside a user namespace. */
export const inside = process.env[INSIDE] as 'root' | 'user' | undefined;

const FLAGS = isRoot ? ['--net'] : ['--user', '--map-root-user', '--net'];
const TOOLS: Record<string, string> = {
  unshare: 'util-linux',
  nsenter: 'util-linux',
  setpriv: 'util-linux',
  ip: 'iproute2',
  ping: 'iputils-ping',
  iperf3: 'iperf3',
};

/** Why the kernel's own traffic cannot be had here; null where it can. */
export function obstacle(): string | null {
  if (process.platform !== 'linux') return `TAP interfaces need Linux, not ${process.platform}`;
  const addon = available();
  if (!addon.ok) return addon.why;
  try {
    accessSync('/dev/net/tun', fs.R_OK | fs.W_OK);
  } catch (error) {
    return `/dev/net/tun: ${(error as NodeJS.ErrnoException).code}`;
  }
  const missing = Object.keys(TOOLS).filter((tool) => spawnSync(tool, ['-V']).error !== undefined);
  if (missing.length > 0)
    return `no ${missing.join(', ')}: apt-get install ${[...new Set(missing.map((tool) => TOOLS[tool]))].join(' ')}`;
  const probe = spawnSync('unshare', [...FLAGS, 'true'], { encoding: 'utf8' });
  return probe.status === 0 ? null : `no ${isRoot ? '' : 'user and '}network namespace: ${probe.stderr.trim()}`;
}

/**
 * Runs this very command once more in a network namespace of its own, where its interfaces bother nobody, and returns
 * the exit code. What is inside ends with this process.
 */
export async function reenter(): Promise<number> {
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const child = spawn('unshare', [...FLAGS, '--', 'setpriv', '--pdeathsig', 'KILL', '--', ...again], {
    stdio: 'inherit',
    detached: true, // signals reach it through us only, once each
    env: { ...process.env, [INSIDE]: isRoot ? 'root' : 'user' },
  });
  const ledger = new Ledger();
  if (child.pid !== undefined) ledger.add(child.pid, 'fauxnic in its namespace');
  const forward = (signal: NodeJS.Signals) => child.kill(signal);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, forward);
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (...how) => resolve(how));
  });
  if (child.pid !== undefined) ledger.remove(child.pid);
  return code ?? 128 + constants.signals[signal!];
}
