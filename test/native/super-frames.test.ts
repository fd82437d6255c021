/** What the kernel hands a TAP beyond what cards do, end to end: each case over a veth as well, which shows what is right. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { openTap, type Tap } from '../../native/index.ts';
import { findModel } from '../../scripts/catalogue.ts';
import { Rig } from '../../scripts/rig/rig.ts';
import { type Role, tapRole } from '../../scripts/rig/roles.ts';
import { tapPort } from '../../sim/wire/capture.ts';
import { OUTBOUND } from '../../sim/wire/pcapng.ts';
import { expected, type Left, left, type Request } from '../util/super-frames.ts';
import { enterNamespace } from './lane.ts';

enterNamespace(import.meta.url);
const { t } = await import('tap');

/** Milliseconds without progress after which nothing more is expected. */
const STALLED = 15_000;
const MODELS = ['e1000', 'tg3', 'tg3-5751'];

const ip = (...args: string[]) => execFileSync('ip', args);
const far = await startFar();
const inFar = (command: string) => execFileSync('nsenter', ['-t', String(far.pid), '--net', 'sh', '-ec', command]);

/** A host of its own at the other end, which sends back what it is sent. */
async function startFar(): Promise<ChildProcess> {
  const program = `require('net').createServer((s) => s.pipe(s)).listen(7, () => console.log('ready'));`;
  const child = spawn('unshare', ['--net', process.execPath, '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout!, 'data');
  execFileSync('nsenter', ['-t', String(child.pid), '--net', 'ip', 'link', 'set', 'lo', 'up']);
  return child;
}

/** A number for each pair of interfaces, so that what the kernel remembers of one is nothing to the next. */
let pairs = 0;

interface Ends {
  /** In addresses. */
  readonly net: string;
  readonly near: string;
  readonly far: string;
}

/** Addresses at either end: 10.NET.0.1 and .2, fdNET::1 and ::2. */
function address(near: string, remote: string): Ends {
  const net = String(10 + pairs++);
  ip('link', 'set', remote, 'netns', String(far.pid));
  writeFileSync(`/proc/sys/net/ipv6/conf/${near}/disable_ipv6`, '0');
  ip('addr', 'add', `10.${net}.0.1/24`, 'dev', near);
  ip('link', 'set', near, 'up');
  ip('addr', 'add', `fd${net}::1/64`, 'dev', near, 'nodad');
  inFar(`
    for f in all ${remote}; do
      echo 0 >/proc/sys/net/ipv6/conf/$f/disable_ipv6; echo 1 >/proc/sys/net/ipv6/conf/$f/seg6_enabled
    done
    ip addr add 10.${net}.0.2/24 dev ${remote}
    ip link set ${remote} up
    ip addr add fd${net}::2/64 dev ${remote} nodad`);
  return { net, near, far: remote };
}

/** Waits as long as it goes on. */
async function until(done: () => boolean, progress: () => number): Promise<void> {
  for (let [before, since] = [progress(), Date.now()]; !done() && Date.now() - since < STALLED; ) {
    await sleep(10);
    if (progress() !== before) [before, since] = [progress(), Date.now()];
  }
}

/** Sends bytes there and has them back; what became of them. */
async function echo(host: string, bytes: number): Promise<string> {
  const sent = randomBytes(bytes);
  const socket = connect(7, host);
  const hash = createHash('sha256');
  let got = 0;
  socket.on('error', () => {});
  socket.on('data', (part) => {
    got += part.length;
    hash.update(part);
  });
  let ended = false;
  socket.on('close', () => {
    ended = true;
  });
  socket.end(sent);
  await until(
    () => ended,
    () => got,
  );
  socket.destroy();
  if (got < bytes) return `stalled after ${got} of ${bytes} bytes`;
  return hash.digest('hex') === createHash('sha256').update(sent).digest('hex') ? 'right' : 'damaged';
}

interface Case {
  /** Sets it up between the ends, and says where to connect to. */
  readonly host: (ends: Ends) => string;
  readonly bytes: number;
}

/** TCP behind a routing header with so many segments, which all are the far end's (RFC 8754). */
const segments =
  (count: number) =>
  ({ net, near, far: remote }: Ends): string => {
    const hops = Array.from({ length: count }, (_, i) => `fd${net}::${(0x100 + i).toString(16)}`);
    inFar([...hops.slice(1), `fd${net}:1::2`].map((it) => `ip addr add ${it}/128 dev ${remote} nodad`).join('\n'));
    inFar(`ip addr add ${hops[0]}/64 dev ${remote} nodad`);
    ip('-6', 'route', 'add', `fd${net}:1::/64`, 'encap', 'seg6', 'mode', 'inline', 'segs', hops.join(','), 'dev', near);
    return `fd${net}:1::2`;
  };

/** The far end says that it takes segments of so many bytes: those that hold data have 12 less, for the timestamp. */
const advertised =
  (mss: number, version: 4 | 6) =>
  ({ net, far: remote }: Ends): string => {
    const station = version === 4 ? `10.${net}.0.1` : `fd${net}::1`;
    inFar(`ip -${version} route add ${station} dev ${remote} advmss ${mss}`);
    return version === 4 ? `10.${net}.0.2` : `fd${net}::2`;
  };

const CASES: Record<string, Case> = {
  'TCP behind a routing header': { host: segments(1), bytes: 4 << 20 },
  'TCP behind 248 bytes of extension headers': { host: segments(14), bytes: 1 << 20 },
  'an MSS of 70 over IPv4': { host: advertised(70, 4), bytes: 1 << 18 },
  'an MSS of 70 over IPv6': { host: advertised(70, 6), bytes: 1 << 18 },
  'an MSS of 48 over IPv4': { host: advertised(48, 4), bytes: 1 << 18 },
  'an MSS of 48 over IPv6': { host: advertised(48, 6), bytes: 1 << 18 },
};

await t.test('veth, to compare with', async (t) => {
  for (const [name, { host, bytes }] of Object.entries(CASES)) {
    ip('link', 'add', 'near0', 'type', 'veth', 'peer', 'name', 'far0');
    t.equal(await echo(host(address('near0', 'far0')), bytes), 'right', name);
    ip('link', 'del', 'near0');
  }
});

interface Joined {
  readonly rig: Rig;
  readonly roles: readonly Role[];
  readonly log: string[];
}

/** Two cards on a wire, their TAPs near0 and far0. */
async function joined(name: string): Promise<Joined> {
  const rig = await Rig.open({ model: findModel(name) });
  const log: string[] = [];
  const failed = (error: unknown) => {
    throw error;
  };
  const roles = [rig.near, rig.far!].map((card, i) =>
    tapRole(
      { card, now: rig.now, pump: rig.pump, failed, log: (line) => log.push(line) },
      { name: ['near0', 'far0'][i]! },
    ),
  );
  rig.start();
  for (const role of roles) role.start();
  return { rig, roles, log };
}

async function part({ rig, roles }: Joined): Promise<void> {
  for (const role of roles) role.stop();
  await rig.close();
}

for (const model of MODELS) {
  await t.test(model, async (t) => {
    for (const [name, { host, bytes }] of Object.entries(CASES)) {
      const it = await joined(model);
      try {
        t.equal(await echo(host(address('near0', 'far0')), bytes), 'right', name);
        t.same(it.log, [], 'nothing to be told of');
        for (const { driver } of it.rig.cards) t.equal(driver.statistics().txErrors, 0, 'nothing refused');
      } finally {
        await part(it);
      }
    }
  });
}

const PLAIN: Request = {
  tags: [],
  version: 4,
  protocol: 'tcp',
  tos: 0,
  ttl: 64,
  id: 7,
  flow: 0x4000,
  destination: 9,
  parts: [],
  sequence: 1,
  flags: 0x18,
  reserved: 0,
  urgent: 0,
  options: [],
  payload: 20_000,
  seed: 1,
  mss: 1400,
  pieces: [],
};

const TAGS = [0x8100, 0x88a8, 0x8100].map((type, i) => [type, 100 + i] as const);
const WHOLE: Request = { ...PLAIN, mss: 0, payload: 1400 };

/** As from a guest whose own interface is in the same bridge: super-frames, and frames without their checksums. */
const STACKED: Record<string, Request> = Object.fromEntries(
  [0, 1, 2, 3].flatMap((count) =>
    ([4, 6] as const).flatMap((version) => {
      const tags = TAGS.slice(0, count);
      const what = `${count} tags, IPv${version}`;
      return [
        [`${what}, TCP to be cut`, { ...PLAIN, tags, version }],
        [`${what}, TCP to be summed`, { ...WHOLE, tags, version }],
        [`${what}, UDP to be summed`, { ...WHOLE, tags, version, protocol: 'udp' }],
      ] as const;
    }),
  ),
);

function write(tap: Tap, { header, bytes }: Left): void {
  const memory = Uint8Array.from([...header, ...bytes]);
  tap.write(memory.buffer, Int32Array.of(0, memory.length, 0), 1);
}

for (const model of MODELS) {
  await t.test(`${model}: frames of a bridge's other port, whatever their tags`, async (t) => {
    const it = await joined(model);
    const guest = openTap({ name: 'guest0' });
    ip('link', 'add', 'br0', 'type', 'bridge');
    for (const port of ['guest0', 'near0']) {
      ip('link', 'set', port, 'master', 'br0');
      ip('link', 'set', port, 'up');
    }
    ip('link', 'set', 'br0', 'up');
    const seen: Uint8Array[] = [];
    const watch = tapPort(it.rig.near.port, (direction, bytes, start, length) => {
      const mine = direction === OUTBOUND && bytes[start + 5] === 9 && bytes[start + 11] === 1;
      if (mine) seen.push(bytes.slice(start, start + length));
    });
    for (const [what, request] of Object.entries(STACKED)) {
      const frames = expected(request);
      seen.length = 0;
      write(guest, left(request));
      await until(
        () => seen.length >= frames.length,
        () => seen.length,
      );
      t.equal(seen.length, frames.length, what);
      t.ok(
        seen.every((frame, i) => Buffer.compare(frame, frames[i]!) === 0),
        `${what}: every byte`,
      );
    }
    watch.remove();
    guest.close();
    ip('link', 'del', 'br0');
    await part(it);
  });
}
