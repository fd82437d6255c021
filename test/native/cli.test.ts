/** drive with TAP interfaces: pings through it, names that cannot be had, and that no interface stays. */
import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { openTap } from '../../native/index.ts';
import { interfaces, Place, WITHOUT_ROOT } from './command.ts';
import { enterNamespace } from './lane.ts';

enterNamespace(import.meta.url);

const place = new Place();
t.teardown(() => place.remove());
const before = interfaces();

/** Starts it, waits until it is joined, lets `meanwhile` happen, and stops it. */
async function drive(options: string, meanwhile: () => void, signal: NodeJS.Signals = 'SIGINT') {
  const child = place.fauxnic(`drive sim:e1000 ${options}`);
  for await (const line of child)
    if (/^ {13}e1000-1 to /.test(line)) {
      meanwhile();
      child.kill(signal);
    }
  return await child;
}

function ip(line: string): void {
  const { status, stderr } = spawnSync('ip', line.split(' '), { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${line}: ${stderr}`);
}

void t.test('a card behind a TAP is pinged', async (t) => {
  const { stdout, stderr, exitCode } = await drive('--tap=fx0 --mac 02:00:00:00:00:42', () => {
    ip('address add 10.82.55.1/24 dev fx0');
    const link = spawnSync('ip', ['link', 'show', 'fx0'], { encoding: 'utf8' }).stdout;
    t.match(link, /link\/ether 02:00:00:00:00:42/);
    const ping = spawnSync('ping', ['-n', '-c', '3', '-i', '0.05', '-w', '5', '10.82.55.9'], { encoding: 'utf8' });
    t.match(ping.stdout, / 3 received/);
  });
  t.equal(stderr, '');
  t.equal(exitCode, 0);
  t.match(stdout, /joined +e1000-0 to TAP fx0/);
  t.match(stdout, /after [\d.]+ s/);
  t.same(interfaces(), before);
});

for (const [signal, code] of [
  ['SIGTERM', 143],
  ['SIGKILL', undefined],
] as const) {
  void t.test(`two TAPs, by free names, are gone after ${signal}`, async (t) => {
    const { exitCode } = await drive(
      '--tap --peer tap',
      () => t.same(interfaces(), [...before, 'fauxnic0', 'fauxnic1'].toSorted()),
      signal,
    );
    t.equal(exitCode, code);
    t.same(interfaces(), before);
  });
}

void t.test('TAPs that cannot be had', async (t) => {
  const held = openTap({ name: 'held' });
  ip('link add bridge type bridge');
  t.teardown(() => {
    held.close();
    ip('link delete bridge');
  });
  const refusals: [line: string, says: RegExp, before?: string[]][] = [
    ['--tap=abcdefghijklmnop', /at most 15 bytes/],
    ['--tap=a/b', /no slash/],
    ['--tap=held', /TAP held: .*EBUSY: another process has this TAP open/],
    ['--tap=bridge', /TAP bridge: .*(EEXIST|EINVAL)/],
    ['--tap=fine --peer tap --peer-tap held', /EBUSY/],
    ['--tap', /EPERM: run as root/, WITHOUT_ROOT],
  ];
  for (const [options, says, before] of refusals) {
    const { stdout, stderr, exitCode } = await place.fauxnic(`drive sim:e1000 ${options}`, { before });
    t.equal(exitCode, 2, options);
    t.match(stderr, says);
    t.match(stderr, /^fauxnic: [^\n]+$/, 'one line');
    t.notMatch(stdout, /joined/); // the steps of the bring-up up to there, no more
  }
  t.same(interfaces(), [...before, 'bridge', 'held'].toSorted());
});

void t.test(
  'a card that another process serves is pinged over vfio-user; its server gone, that is said in one line',
  async (t) => {
    const socket = join(place.folder, 'nic');
    const server = place.fauxnic(`serve e1000 --socket ${socket} --peer echo`);
    await place.appears(socket);
    const child = place.fauxnic(`drive vfio-user:${socket} --tap=fx1`);
    for await (const line of child) {
      if (!/^ +joined /.test(line)) continue;
      ip('address add 10.82.56.1/24 dev fx1');
      const ping = spawn('ping', ['-n', '-c', '3', '-i', '0.05', '-w', '5', '10.82.56.9']);
      const said = await text(ping.stdout);
      t.match(said, / 3 received/);
      server.kill('SIGKILL');
    }
    const { stderr, exitCode } = await child;
    t.equal(exitCode, 1);
    t.match(stderr, /^fauxnic: vfio-user:[^\n]+: the server closed the connection[^\n]*$/, 'one line');
    await server;
    t.same(interfaces(), before);
    const { stderr: nobody, exitCode: none } = await place.fauxnic(`drive vfio-user:${socket}x --echo`);
    t.equal(none, 2);
    t.match(nobody, /^fauxnic: [^\n]*ENOENT: there is no such socket: is the server running\?$/);
  },
);

for (const option of ['--pcap', '--trace'])
  void t.test(`serve ${option}: a full disk is said in one line, at the end`, async (t) => {
    const socket = join(place.folder, 'full');
    const server = place.fauxnic(`serve e1000 --socket ${socket} --peer echo ${option} /dev/full`);
    await place.appears(socket);
    await place.fauxnic(`drive vfio-user:${socket} --generate --count 10`);
    server.kill('SIGINT');
    const { stdout, stderr, exitCode } = await server;
    t.match(stdout, / served +1 client, /);
    t.match(stderr, /^fauxnic: (capture|trace) \/dev\/full is not complete: ENOSPC[^\n]*$/);
    t.equal(exitCode, 1);
  });
