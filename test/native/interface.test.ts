/**
 * The interface is its user's, and the card follows it: as a person sets it with ip(8), for both drivers.
 *
 *     station ─ this namespace: near ── card ══ wire ══ card ── far: a namespace of its own
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Test } from 'tap';
import { Place } from './command.ts';
import { enterNamespace } from './lane.ts';

enterNamespace(import.meta.url);
const { t } = await import('tap');

const place = new Place();
t.teardown(() => place.remove());

const ip = (...args: string[]) => execFileSync('ip', args, { stdio: 'pipe' }).toString();
const turn = (ms = 20) => new Promise((resolve) => setTimeout(resolve, ms));

/** Another network namespace, as long as the test runs. */
class Elsewhere {
  readonly pid: string;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.pid = String(child.pid);
  }

  static async open(t: Test): Promise<Elsewhere> {
    const disable = 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; echo held; exec cat';
    const child = spawn('unshare', ['--net', 'sh', '-c', disable], { stdio: ['pipe', 'pipe', 'inherit'] });
    t.teardown(() => child.kill('SIGKILL'));
    await once(child.stdout!, 'data');
    return new Elsewhere(child);
  }

  run(tool: string, ...args: string[]): string {
    return execFileSync('nsenter', ['-t', this.pid, '--net', tool, ...args], { stdio: 'pipe' }).toString();
  }

  /** Takes an interface of ours, which gets this address. */
  take(name: string, address: string): void {
    ip('link', 'set', name, 'netns', this.pid);
    this.run('ip', 'address', 'add', address, 'dev', name);
    this.run('ip', 'link', 'set', name, 'up');
  }

  async reaches(address: string, ...how: string[]): Promise<void> {
    await answered(['nsenter', '-t', this.pid, '--net'], address, how);
  }

  close(): void {
    this.#child.kill('SIGKILL');
  }
}

/** Asks until there is an answer: the test's own bound is the limit. */
async function answered(before: string[], address: string, how: string[]): Promise<void> {
  const ask = [...before, 'ping', '-c', '1', '-W', '1', ...how, address];
  while (spawnSync(ask[0]!, ask.slice(1), { stdio: 'ignore' }).status !== 0) await turn(100);
}

const reaches = (address: string, ...how: string[]) => answered([], address, how);

async function until(happened: () => boolean): Promise<void> {
  while (!happened()) await turn();
}

const sysfs = (name: string, file: string) => readFileSync(`/sys/class/net/${name}/${file}`, 'utf8').trim();
const received = (name: string) => Number(sysfs(name, 'statistics/rx_packets'));

/** What a command has said so far. */
function listen(child: ReturnType<Place['fauxnic']>) {
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (said += chunk));
  return { says: (what: RegExp) => until(() => what.test(said)) };
}

/** `near` here and `far` there, over two cards of that kind. */
async function connected(t: Test, model: string) {
  const far = await Elsewhere.open(t);
  const drive = place.fauxnic(`drive sim:${model} --tap=near --peer tap --peer-tap=far`);
  t.teardown(() => drive.kill());
  const { says } = listen(drive);
  await says(/joined/);
  far.take('far', '10.9.0.2/24');
  ip('address', 'add', '10.9.0.1/24', 'dev', 'near');
  await reaches('10.9.0.2');
  return { far, drive, says };
}

for (const [model, most] of Object.entries({ e1000: 16110, tg3: 9000 })) {
  await t.test(model, async (t) => {
    const { far, drive, says } = await connected(t, model);

    await t.test('MTU up and down, and not beyond the card', async () => {
      const whole = ['-M', 'do', '-s', '8000'];
      ip('link', 'set', 'near', 'mtu', '9000');
      far.run('ip', 'link', 'set', 'far', 'mtu', '9000');
      await reaches('10.9.0.2', ...whole);
      ip('link', 'set', 'near', 'mtu', String(most + 1));
      await says(new RegExp(`near: MTU back to 9000: .* takes 68 to ${most}`));
      await until(() => sysfs('near', 'mtu') === '9000');
      await reaches('10.9.0.2', ...whole);
      ip('link', 'set', 'near', 'mtu', '1400');
      await far.reaches('10.9.0.1', '-s', '1372');
      ip('link', 'set', 'near', 'mtu', '1500');
      far.run('ip', 'link', 'set', 'far', 'mtu', '1500');
      await reaches('10.9.0.2', '-M', 'do', '-s', '1472');
      await says(/near: MTU 1500/);
    });

    await t.test('address', async () => {
      ip('link', 'set', 'near', 'address', '02:00:00:00:12:34');
      far.run('ip', 'neigh', 'flush', 'dev', 'far');
      await far.reaches('10.9.0.1');
    });

    await t.test('promiscuous: frames to others are heard, as long as that is wanted', async (t) => {
      far.run('ip', 'neigh', 'replace', '10.9.0.99', 'lladdr', '02:00:00:00:99:99', 'dev', 'far');
      const heard = async () => {
        const before = received('near');
        await far.reaches('10.9.0.1'); // so that what is under way has arrived
        const own = received('near') - before;
        spawnSync('nsenter', ['-t', far.pid, '--net', 'ping', '-c', '20', '-i', '0.01', '-W', '0.1', '10.9.0.99']);
        await far.reaches('10.9.0.1');
        return received('near') - before - 2 * own;
      };
      ip('link', 'set', 'near', 'promisc', 'on');
      await says(/near: promiscuous/);
      t.ok((await heard()) >= 15, 'twenty pings, and perhaps an ARP less');
      ip('link', 'set', 'near', 'promisc', 'off');
      await says(/near: no longer promiscuous/);
      t.ok((await heard()) <= 5, 'none of them; a group or an ARP now and then');
    });

    await t.test('every station behind a bridge is reached', async (t) => {
      const station = await Elsewhere.open(t);
      t.teardown(() => station.close());
      ip('link', 'add', 'br0', 'type', 'bridge');
      t.teardown(() => ip('link', 'delete', 'br0'));
      ip('link', 'add', 'port', 'type', 'veth', 'peer', 'name', 'host');
      station.take('host', '10.9.0.3/24');
      for (const name of ['near', 'port']) ip('link', 'set', name, 'master', 'br0');
      for (const name of ['br0', 'port']) ip('link', 'set', name, 'up');
      await far.reaches('10.9.0.3');
      await station.reaches('10.9.0.2', '-s', '1400');
    });

    await t.test('a macvlan in a namespace of its own', async (t) => {
      const container = await Elsewhere.open(t);
      t.teardown(() => container.close());
      ip('link', 'add', 'mac0', 'link', 'near', 'type', 'macvlan', 'mode', 'bridge');
      container.take('mac0', '10.9.0.4/24');
      await far.reaches('10.9.0.4');
      container.run('ip', 'link', 'delete', 'mac0');
      ip('link', 'add', 'mac1', 'link', 'near', 'netns', container.pid, 'type', 'macvlan', 'mode', 'bridge');
      container.run('ip', 'address', 'add', '10.9.0.6/24', 'dev', 'mac1');
      container.run('ip', 'link', 'set', 'mac1', 'up'); // of which nothing is told here
      await far.reaches('10.9.0.6');
    });

    const vlans = spawnSync('ip', ['link', 'add', 'near.5', 'link', 'near', 'type', 'vlan', 'id', '5']).status === 0;
    await t.test('a VLAN', { skip: vlans ? false : 'this kernel has no 802.1Q' }, async (t) => {
      t.teardown(() => ip('link', 'delete', 'near.5'));
      far.run('ip', 'link', 'add', 'far.5', 'link', 'far', 'type', 'vlan', 'id', '5');
      far.run('ip', 'address', 'add', '10.9.5.2/24', 'dev', 'far.5');
      far.run('ip', 'link', 'set', 'far.5', 'up');
      ip('link', 'set', 'near.5', 'address', '02:00:00:00:55:55', 'up');
      ip('address', 'add', '10.9.5.1/24', 'dev', 'near.5');
      await reaches('10.9.5.2', '-M', 'do', '-s', '1472');
      await far.reaches('10.9.5.1');
    });

    await t.test('down: the card is stopped; up under another name', async () => {
      ip('link', 'set', 'near', 'down');
      await says(/e1000-0 down|tg3-0 down/);
      ip('link', 'set', 'near', 'name', 'nearer');
      ip('link', 'set', 'nearer', 'up');
      await reaches('10.9.0.2');
      await says(/near: down: the card is stopped[\s\S]*near is now called nearer/);
      ip('link', 'set', 'nearer', 'address', '02:00:00:00:12:35');
      far.run('ip', 'neigh', 'flush', 'dev', 'far');
      await far.reaches('10.9.0.1');
    });

    await t.test(
      'moved to another namespace, it is followed there, until it, or all of that, is deleted',
      async (t) => {
        const away = await Elsewhere.open(t);
        t.teardown(() => away.close());
        away.take('nearer', '10.9.0.5/24');
        await far.reaches('10.9.0.5');
        away.run('ip', 'link', 'set', 'nearer', 'mtu', '1300', 'address', '02:00:00:00:12:36');
        await says(/nearer: MTU 1300/);
        far.run('ip', 'neigh', 'flush', 'dev', 'far');
        await far.reaches('10.9.0.5', '-s', '1272');
        if (model === 'e1000') away.run('ip', 'link', 'delete', 'nearer');
        else away.close();
        const { exitCode, stderr } = await drive;
        t.equal(exitCode, 1);
        t.match(stderr.split('\n'), [/TAP nearer.*the interface was deleted/], 'one line');
        t.equal(stderr.trim().split('\n').length, 1);
      },
    );
  });

  await t.test(`a bridge behind a served ${model}: the guest reaches every station, and they reach it`, async (t) => {
    const socket = `${place.folder}/${model}`;
    const serve = place.fauxnic(`serve ${model} --socket ${socket} --peer tap=behind`);
    t.teardown(() => serve.kill());
    await place.appears(socket);
    const guest = await Elsewhere.open(t);
    const drive = place.fauxnic(`drive vfio-user:${socket} --tap=guest`);
    t.teardown(() => drive.kill());
    await listen(drive).says(/joined/);
    guest.take('guest', '10.9.1.2/24');
    const station = await Elsewhere.open(t);
    ip('link', 'add', 'br1', 'type', 'bridge');
    t.teardown(() => ip('link', 'delete', 'br1'));
    ip('link', 'add', 'port', 'type', 'veth', 'peer', 'name', 'host');
    station.take('host', '10.9.1.3/24');
    for (const name of ['behind', 'port']) ip('link', 'set', name, 'master', 'br1');
    for (const name of ['br1', 'port']) ip('link', 'set', name, 'up');
    await guest.reaches('10.9.1.3');
    await station.reaches('10.9.1.2');
    ip('link', 'set', 'behind', 'mtu', '9000');
    ip('link', 'set', 'port', 'mtu', '9000');
    station.run('ip', 'link', 'set', 'host', 'mtu', '9000');
    guest.run('ip', 'link', 'set', 'guest', 'mtu', '9000');
    await guest.reaches('10.9.1.3', '-M', 'do', '-s', '8000');
    for (const child of [drive, serve]) child.kill('SIGTERM');
    await Promise.all([drive, serve]);
    station.close();
    guest.close();
    t.pass();
  });
}
await place.quiet();
