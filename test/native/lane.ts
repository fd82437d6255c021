import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { available } from '../../native/index.ts';

const INSIDE = 'FAUXNIC_TEST_NAMESPACE';
// Its own /sys shows the namespace's interfaces. Without IPv6 no frames turn up that a test did not cause. And when the
// runner is killed so is the test, and the namespace goes with it, with everything in it.
const SETUP =
  'mount -t sysfs none /sys && for f in all default; do echo 1 >/proc/sys/net/ipv6/conf/$f/disable_ipv6; done 2>&-;' +
  'ip link set lo up; exec setpriv --pdeathsig KILL -- "$@"';

/**
 * Runs the calling test file once more, in a network namespace of its own, and ends this process with its result.
 * Returns only inside. A machine that cannot do it is told why, and the file is skipped; FAUXNIC_LANES=all forbids that.
 */
export function enterNamespace(url: string): void {
  if (process.env[INSIDE]) return;
  const flags = ['--net', '--mount', ...(process.getuid?.() === 0 ? [] : ['--map-root-user'])];
  const why = obstacle(flags);
  if (why) skip(why);
  const command = [process.execPath, ...process.execArgv, fileURLToPath(url)];
  const result = spawnSync('unshare', [...flags, 'sh', '-c', SETUP, 'sh', ...command], {
    stdio: 'inherit',
    env: { ...process.env, [INSIDE]: '1' },
  });
  if (result.signal) console.error(`its process was killed (${result.signal})`);
  process.exit(result.status ?? 1);
}

function obstacle(flags: string[]): string | null {
  const addon = available();
  if (!addon.ok) return addon.why;
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
  } catch (error) {
    return `/dev/net/tun cannot be opened: ${(error as NodeJS.ErrnoException).code}`;
  }
  for (const tool of ['ip', 'setpriv'])
    if (spawnSync(tool, ['-V']).error) return `${tool} not found: apt-get install iproute2 util-linux`;
  const probe = spawnSync('unshare', [...flags, 'sh', '-c', 'mount -t sysfs none /sys'], { encoding: 'utf8' });
  if (probe.status === 0) return null;
  return `no network namespace of one's own: ${probe.error?.message ?? probe.stderr.trim()}`;
}

function skip(why: string): never {
  const must = process.env.FAUXNIC_LANES === 'all';
  console.log(must ? `TAP version 14\nnot ok 1 - native lane: ${why}\n1..1` : `TAP version 14\n1..0 # SKIP ${why}`);
  process.exit(must ? 1 : 0);
}
