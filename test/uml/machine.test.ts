import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tap from 'tap';
import { checkLane, fauxnic, type Ran, virtually } from './lane.ts';

checkLane();
tap.setTimeout(300_000);

/** What still runs in a machine's folder: the kernel, and its userspace. */
function left({ pid }: Ran): string[] {
  return readdirSync('/proc').filter((process) => {
    try {
      return readlinkSync(`/proc/${process}/cwd`).includes(`fauxnic-sockets-${pid}-`);
    } catch {
      return false; // no process, another user's, or it has just ended
    }
  });
}

void tap.test('a command runs, its exit code is the command’s, and time is virtual', async (t) => {
  const { code, stdout, seconds } = await virtually(
    'e1000',
    'cut -d. -f1 /proc/uptime; sleep 3600; cut -d. -f1 /proc/uptime; exit 7',
  );
  t.equal(code, 7);
  const [before, after] = stdout.trim().split('\n').map(Number);
  t.equal(after! - before!, 3600);
  t.ok(seconds < 60, `${seconds} s`);
});

void tap.test('in real time a second is a second', async (t) => {
  const { code, stdout, seconds } = await fauxnic([
    ...['vm', '--uml', '--nic', 'sim:e1000', '--peer', 'echo', '--'],
    'ip link set eth0 up; ip address add 10.0.0.1/24 dev eth0; sleep 4; ping -c 3 -i 0.2 -W 2 10.0.0.2',
  ]);
  t.equal(code, 0, stdout);
  t.match(stdout, ' 0% packet loss');
  t.ok(seconds > 4);
});

void tap.test('what never ends is ended: in its own time, and in ours; and nothing is left of it', async (t) => {
  const virtual = await virtually('e1000', 'while sleep 1; do :; done', '--virtual-seconds', '100');
  t.not(virtual.code, 0);
  t.match(virtual.stderr, 'after 100 virtual seconds: ended it');
  const busy = await virtually('e1000', 'while :; do :; done', '--timeout', '10');
  t.not(busy.code, 0);
  t.match(busy.stderr, 'after 10 s the command was still running: ended it');
  t.same([...left(virtual), ...left(busy)], []);
});

void tap.test('what cannot be is said in one line, before anything starts', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'fauxnic-uml-test-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const nic = ['--nic', 'sim:e1000'];
  for (const [args, why] of [
    [['--uml', ...nic, '--kernel', '/nowhere'], /no kernel \/nowhere/],
    [['--uml', ...nic, '--kernel', process.execPath], /is no kernel$/],
    [['--uml', '--nic', 'qemu:e1000'], /--uml is for models/],
    [['--uml'], /--uml is for models/],
    [['--virtual', ...nic], /give --uml with it/],
    [['--seed', '1', ...nic], /give --uml with it/],
    [['--uml', '--virtual', ...nic, '--peer', 'tap'], /lives in another time/],
  ] as const) {
    const { code, stderr } = await fauxnic(['vm', ...args, '--', 'true']);
    t.not(code, 0);
    t.match(stderr.trim(), why);
    t.equal(stderr.trim().split('\n').length, 1);
  }
  const { stderr } = await fauxnic(['vm', '--uml', ...nic, '--', 'true'], {
    env: { ...process.env, XDG_CACHE_HOME: folder },
  });
  t.match(stderr, /make build-uml-kernel \(minutes\); QEMU's guests do without/);
});
