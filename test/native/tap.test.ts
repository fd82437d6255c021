import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { networkInterfaces } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { Worker } from 'node:worker_threads';
import {
  Interface,
  type InterfaceSettings,
  NativeError,
  openTap,
  type Tap,
  type TapOptions,
  watch,
} from '../../native/index.ts';
import { compile } from '../bench/yardstick.ts';
import { until } from '../util/until.ts';
import { enterNamespace } from './lane.ts';
import { echoRequest, Peer } from './peer.ts';

enterNamespace(import.meta.url);
const { t } = await import('tap');

const OURS = Uint8Array.of(0x02, 0, 0, 0, 0, 1); // the interface's MAC
const THEIRS = Uint8Array.of(0x02, 0, 0, 0, 0, 2); // the far station's
const library = new URL('../../native/index.js', import.meta.url).href;

const exists = (name: string) => existsSync(`/sys/class/net/${name}`);
const sysfs = (name: string, file: string) => readFileSync(`/sys/class/net/${name}/${file}`, 'utf8').trim();

/** A program of this library in a process of its own, once it has said "ready". */
async function start(program: string, command: string[] = []): Promise<ChildProcess> {
  const node = [process.execPath, '--input-type=module', '-e', program];
  const [file, ...args] = [...command, ...node];
  return ready(spawn(file!, args, { stdio: ['pipe', 'pipe', 'inherit'] }));
}

async function ready(child: ChildProcess): Promise<ChildProcess> {
  t.teardown(() => child.kill('SIGKILL'));
  const exit = once(child, 'exit').then(([code]) => Promise.reject(new Error(`ended with ${code}`)));
  exit.catch(() => {});
  await Promise.race([once(child.stdout!, 'data'), exit]);
  return child;
}

function open(test: { teardown(close: () => void): unknown }, options?: TapOptions): Tap {
  const tap = openTap(options);
  test.teardown(() => tap.close());
  return tap;
}

/** Whether all that is wanted of it is so. */
const isLike = <T extends object>(it: T, wanted: Partial<T>) =>
  Object.entries(wanted).every(([name, value]) => isDeepStrictEqual(it[name as keyof T], value));

const refusal = (code: string) => ({ name: 'NativeError', code });

await t.test('names', async (t) => {
  t.equal(open(t).name, 'fauxnic0');
  t.equal(open(t).name, 'fauxnic1', 'the next free one');
  t.equal(open(t, { name: 'a%db' }).name, 'a0b');
  t.equal(open(t, { name: 'exactly15bytes_' }).name, 'exactly15bytes_');
  t.throws(() => openTap({ name: 'exactly15bytes_' }), refusal('EBUSY'));
  t.throws(() => openTap({ name: 'lo' }), NativeError);
  t.throws(() => openTap({ name: 'sixteen_bytes_xx' }), refusal('ENAMETOOLONG'));
  t.throws(() => openTap({ name: 'ééééèèèè' }), refusal('ENAMETOOLONG'), 'bytes count, not characters');
  t.throws(() => openTap({ name: 'lo' }), { ...refusal('EEXIST'), message: /choose another/ });
  for (const name of ['', '.', '..', 'a/b', 'a b', 'a\tb', 'a:b', 'a\0b', 'a%sb', '%d%d', '%'])
    t.throws(() => openTap({ name }), refusal('EINVAL'), JSON.stringify(name));
});

await t.test('options are checked before the kernel sees them', async (t) => {
  const before = readdirSync('/sys/class/net').length;
  const wrong = [
    { nmae: 'x' },
    { name: 7 },
    { vnetHeader: 1 },
    { mac: new Uint8Array(5) },
    { mac: [2, 0, 0, 0, 0, 1] },
    { mac: Uint8Array.of(1, 0, 0, 0, 0, 1) },
    { mac: new Uint8Array(6) },
    { mtu: 67 },
    { mtu: 65522 },
    { mtu: 1500.5 },
    { mtu: NaN },
  ];
  for (const options of wrong)
    t.throws(() => openTap(options as unknown as TapOptions), refusal('EINVAL'), JSON.stringify(options));
  t.equal(readdirSync('/sys/class/net').length, before);
});

await t.test('configuration is what the system sees', async (t) => {
  const tap = open(t, { name: 'conf', mac: OURS, mtu: 9000 });
  t.equal(sysfs('conf', 'address'), '02:00:00:00:00:01');
  t.equal(sysfs('conf', 'mtu'), '9000');
  tap.setMtu(1400);
  tap.setMac(THEIRS);
  t.equal(sysfs('conf', 'mtu'), '1400');
  t.equal(sysfs('conf', 'address'), '02:00:00:00:00:02');
  tap.address('10.200.30.4', 20);
  tap.up();
  t.match(networkInterfaces().conf, [{ address: '10.200.30.4', netmask: '255.255.240.0' }]);
  t.equal(Number(sysfs('conf', 'flags')) & 1, 1);
  tap.down();
  t.equal(Number(sysfs('conf', 'flags')) & 1, 0);
  for (const address of ['10.0.0', '::1', '10.0.0.256', ''])
    t.throws(() => tap.address(address, 24), refusal('EINVAL'), address);
  for (const prefix of [-1, 33, 1.5, NaN]) t.throws(() => tap.address('10.0.0.1', prefix), refusal('EINVAL'));
  t.throws(() => tap.setMtu(0), refusal('EINVAL'));
  t.throws(() => tap.setMac(new Uint8Array(7)), refusal('EINVAL'));
});

await t.test('the carrier is seen', async (t) => {
  const tap = open(t, { name: 'cable' });
  tap.up();
  t.equal(sysfs('cable', 'carrier'), '1');
  tap.carrier(false);
  t.equal(sysfs('cable', 'carrier'), '0');
  tap.carrier(true);
  t.equal(sysfs('cable', 'carrier'), '1');
});

await t.test('offloads', async (t) => {
  const tap = open(t);
  tap.setOffload({ checksum: true, tso4: true, tso6: true });
  tap.setOffload({});
  t.throws(() => tap.setOffload({ tso4: true }), refusal('EINVAL'));
  t.throws(() => tap.setOffload({ checksun: true } as object), refusal('EINVAL'));
  t.throws(() => open(t, { vnetHeader: false }).setOffload({ checksum: true }), refusal('EINVAL'));
});

await t.test('after close everything says CLOSED', async (t) => {
  const tap = openTap({ name: 'shut' });
  const watched = watch(tap.fd, { readable: () => t.fail('called') });
  watched.start();
  tap.close();
  tap.close();
  t.notOk(exists('shut'), 'the interface is gone');
  const [memory, vec] = [new ArrayBuffer(4096), Int32Array.of(0, 2048, 0)];
  const uses: (() => unknown)[] = [
    () => tap.fd,
    () => tap.up(),
    () => tap.down(),
    () => tap.carrier(true),
    () => tap.setMac(OURS),
    () => tap.setMtu(1500),
    () => tap.address('10.0.0.1', 24),
    () => tap.setOffload({}),
    () => tap.read(memory, vec, 1),
    () => tap.write(memory, vec, 1),
    () => watched.start(),
    () => watched.stop(),
    () => watched.ref(),
    () => watched.unref(),
  ];
  for (const use of uses) t.throws(use, refusal('CLOSED'), String(use));
  watched.close();
  t.equal(tap.refused, 0);
  t.equal(tap.name, 'shut');
});

await t.test('nothing reaches outside of memory', async (t) => {
  const tap = open(t);
  const memory = new ArrayBuffer(4096);
  const most = 0x7fffffff;
  const outside = [
    [-1, 100],
    [0, -1],
    [0, 4097],
    [4096, 24],
    [4090, 100],
    [most, most],
    [-0x80000000, -0x80000000],
    [-100, 200],
  ];
  for (const [offset, length] of outside) {
    t.throws(() => tap.read(memory, Int32Array.of(offset!, length!, 0), 1), RangeError, `read ${offset}, ${length}`);
    t.throws(() => tap.write(memory, Int32Array.of(offset!, length!, 0), 1), RangeError, `write ${offset}, ${length}`);
  }
  const vec = Int32Array.of(0, 100, 0);
  for (const count of [2, -1, 2 ** 31, 2 ** 32 - 1]) t.throws(() => tap.read(memory, vec, count), RangeError);
  t.throws(() => tap.read(memory, Int32Array.of(0, 23, 0), 1), RangeError, 'room for no frame');
  t.throws(() => tap.write(memory, Int32Array.of(0, 60, 1), 1), RangeError, 'more, but no more');
  const pieces = new Int32Array(1026 * 3).map((_, i) => (i % 3 === 1 || (i % 3 === 2 && i < 1025 * 3) ? 1 : 0));
  t.throws(() => tap.write(memory, pieces, 1026), RangeError, 'too many pieces');
  const wrong: unknown[][] = [
    [new Uint8Array(64), vec, 1],
    [new SharedArrayBuffer(64), vec, 1],
    [memory, [0, 100, 0], 1],
    [memory, new Uint32Array(3), 1],
    [memory, vec, '1'],
    [memory, vec],
    [],
  ];
  for (const args of wrong) t.throws(() => Reflect.apply(tap.read, tap, args), TypeError);
  structuredClone(memory, { transfer: [memory] });
  t.throws(() => tap.write(memory, vec, 1), RangeError, 'detached');
  t.equal(tap.refused, 0);
});

await t.test('the far station answers ping', async (t) => {
  const tap = open(t, { mac: OURS });
  tap.address('10.9.0.1', 24);
  tap.up();
  const peer = new Peer(tap, THEIRS);
  const ping = spawn('ping', ['-c', '3', '-i', '0.01', '-W', '5', '-s', '1400', '10.9.0.2'], { stdio: 'ignore' });
  const [code] = await once(ping, 'exit');
  t.equal(code, 0);
  t.ok(peer.answered >= 4, 'ARP and three echoes');
});

await t.test('a frame in pieces arrives whole, and a batch in order', async (t) => {
  const tap = open(t, { mac: OURS });
  tap.address('10.9.0.1', 24);
  tap.up();
  const peer = new Peer(tap, THEIRS);
  const payload = (n: number) => new Uint8Array(601).map((_, i) => i * 7 + n);
  const memory = new ArrayBuffer(65536);
  const vec = new Int32Array(10 * 5 * 3);
  for (let n = 0; n < 10; n++) {
    const frame = echoRequest(OURS, THEIRS, [10, 9, 0, 1], [10, 9, 0, 2], payload(n));
    const at = n * 4096;
    new Uint8Array(memory).set(frame, at + 10);
    // An empty piece among them, and the header apart from the frame.
    vec.set([at, 10, 1, at + 10, 3, 1, 0, 0, 1, at + 13, 40, 1, at + 53, frame.length - 43, 0], n * 15);
  }
  t.equal(tap.write(memory, vec, 50), 50);
  await until(() => peer.others.length === 10, 'ten replies');
  for (const [n, reply] of peer.others.entries()) t.same(reply.subarray(42), payload(n));
  t.equal(tap.refused, 0);
});

await t.test('reading stops at the last entry and goes on from there', async (t) => {
  const tap = open(t, { name: 'queue', vnetHeader: false, mac: OURS });
  tap.address('10.9.0.1', 24);
  tap.up();
  execFileSync('ip', ['neigh', 'add', '10.9.0.2', 'lladdr', '02:00:00:00:00:02', 'dev', 'queue']);
  spawnSync('ping', ['-c', '5', '-i', '0.01', '-W', '0.01', '10.9.0.2']);
  const memory = new ArrayBuffer(8192);
  const vec = Int32Array.of(0, 2048, -1, 2048, 50, -1, 4096, 2048, -1);
  t.equal(tap.read(memory, vec, 0), 0);
  t.equal(tap.read(memory, vec, 3), 3);
  t.same(vec, Int32Array.of(0, 2048, 98, 2048, 50, 50, 4096, 2048, 98), 'lengths, the second one cut');
  t.equal(tap.read(memory, vec, 3), 2);
  t.equal(tap.read(memory, vec, 3), 0);
});

await t.test('frames that the kernel refuses are counted', async (t) => {
  const tap = open(t);
  const memory = new ArrayBuffer(4096);
  const frame = [0, 100, 0];
  t.equal(tap.write(memory, Int32Array.of(...frame, ...frame), 2), 2, 'taken');
  t.equal(tap.refused, 2, 'but refused: the interface is down');
  tap.up();
  t.equal(tap.write(memory, Int32Array.of(...frame, 0, 12, 0, 0, 5, 0, ...frame), 4), 4);
  t.equal(tap.refused, 4, 'two too short, between two good ones');
});

await t.test('interfaces go with their process and their worker', async (t) => {
  const program = (name: string, end: string) => `
    const { openTap, watch } = await import(${JSON.stringify(library)});
    const tap = openTap({ name: '${name}' });
    watch(tap.fd, { readable() {} }).start();
    ${end}`;
  const child = await start(program('victim', 'console.log("ready")'));
  t.ok(exists('victim'));
  t.throws(() => openTap({ name: 'victim' }), { ...refusal('EBUSY'), message: /another process has this TAP open/ });
  child.kill('SIGKILL');
  await once(child, 'exit');
  await until(() => !exists('victim'), 'victim gone');

  const source = program(
    'hand',
    'const { parentPort } = await import("node:worker_threads"); parentPort.postMessage(1)',
  );
  const worker = new Worker(`(async () => {${source}})()`, { eval: true });
  await once(worker, 'message');
  t.ok(exists('hand'));
  await worker.terminate();
  await until(() => !exists('hand'), 'hand gone');
});

await t.test('an interface that was moved, renamed or deleted', async (t) => {
  const holder = await start('console.log("ready"); process.stdin.resume()', ['unshare', '--net']);
  const tap = open(t, { name: 'rover' });
  execFileSync('ip', ['link', 'set', 'rover', 'name', 'nomad']);
  tap.up();
  t.equal(Number(sysfs('nomad', 'flags')) & 1, 1, 'renamed: still ours');
  t.equal(tap.name, 'nomad');
  const seen = new Interface(tap, () => {});
  t.teardown(() => seen.close());
  t.match(seen.read(), { name: 'nomad', up: true, mtu: 1500, promiscuity: 0, master: 0 });
  execFileSync('ip', ['link', 'set', 'nomad', 'netns', String(holder.pid)]);
  open(t, { name: 'nomad' });
  tap.up();
  tap.setMtu(1400);
  tap.address('10.200.30.4', 20);
  t.match(seen.read(), { name: 'nomad', up: true, mtu: 1400 }, 'moved: configured where it is');
  const there = execFileSync('nsenter', ['-t', String(holder.pid), '--net', 'ip', '-o', '-4', 'addr', 'show', 'nomad']);
  t.match(there.toString(), /10\.200\.30\.4\/20/);
  t.same([Number(sysfs('nomad', 'flags')) & 1, sysfs('nomad', 'mtu')], [0, '1500'], 'its namesake was left alone');
  tap.carrier(false);
  tap.setMac(OURS);
  const [memory, vec] = [new ArrayBuffer(4096), Int32Array.of(0, 2048, 0)];
  t.ok(tap.read(memory, vec, 1) <= 1, 'perhaps a word of IPv6');
  vec.set([0, 2048, 0]);

  const doomed = open(t, { name: 'doomed' });
  doomed.up();
  let calls = 0;
  watch(doomed.fd, { readable: () => calls++ }).start();
  execFileSync('ip', ['link', 'delete', 'doomed']);
  await until(() => calls > 0, 'the watch telling of it');
  t.throws(() => doomed.read(memory, vec, 1), { ...refusal('EBADFD'), message: /deleted/ });
  t.throws(() => doomed.write(memory, vec, 1), refusal('EBADFD'));
  t.throws(() => doomed.up(), { ...refusal('EBADFD'), message: /TAP doomed.*deleted/ });
  t.throws(() => new Interface(doomed, () => {}).read(), refusal('EBADFD'));
});

await t.test('an interface tells when it is set, wherever it is', async (t) => {
  const holder = await start('console.log("ready"); process.stdin.resume()', ['unshare', '--net']);
  const there = (...args: string[]) => execFileSync('nsenter', ['-t', String(holder.pid), '--net', 'ip', ...args]);
  const tap = open(t, { name: 'told', mac: OURS });
  let seen: InterfaceSettings | null = null;
  const it = new Interface(tap, () => {
    seen = it.read();
  });
  t.teardown(() => it.close());
  t.match(it.read(), { name: 'told', up: false, mac: OURS });
  const becomes = (wanted: Partial<InterfaceSettings>) =>
    until(() => seen !== null && isLike(seen, wanted), JSON.stringify(wanted));
  execFileSync('ip', ['link', 'set', 'told', 'mtu', '4000', 'address', '02:00:00:00:00:02', 'up']);
  await becomes({ mtu: 4000, mac: THEIRS, up: true });
  execFileSync('ip', ['link', 'set', 'told', 'promisc', 'on']);
  await becomes({ promiscuity: 1 });
  execFileSync('ip', ['link', 'set', 'told', 'promisc', 'off']);
  await becomes({ promiscuity: 0 });
  execFileSync('ip', ['link', 'set', 'told', 'netns', String(holder.pid)]);
  await becomes({ up: false });
  there('link', 'set', 'told', 'name', 'there', 'mtu', '1400', 'up');
  await becomes({ name: 'there', mtu: 1400, up: true });
  for (let i = 0; i < 2000; i++) it.read(); // a descriptor each would be too many
  t.ok(readdirSync('/proc/self/fd').length < 200);
  it.close();
  t.throws(() => it.read(), refusal('CLOSED'));
});

await t.test('watching', async (t) => {
  const tap = open(t, { name: 'watched' });
  t.throws(() => watch(-1, { readable() {} }), refusal('EINVAL'));
  t.throws(() => watch(1.5, { readable() {} }), refusal('EINVAL'));
  t.throws(() => watch(tap.fd, {} as never), refusal('EINVAL'));
  t.throws(() => watch(9999, { readable() {} }), refusal('EBADF'));
  const file = openSync('/etc/passwd', 'r');
  t.throws(() => watch(file, { readable() {} }), refusal('EPERM'));
  closeSync(file);
  let calls = 0;
  const first = watch(tap.fd, {
    readable: () => {
      if (++calls === 3) first.stop();
    },
  });
  t.throws(() => watch(tap.fd, { readable() {} }), refusal('EEXIST'));
  first.start();
  first.start();
  tap.address('10.9.0.1', 24);
  tap.up();
  const ping = spawn('ping', ['-c', '1', '-W', '0.1', '10.9.0.2'], { stdio: 'ignore' });
  await once(ping, 'exit');
  t.equal(calls, 3, 'called again for what was left unread, until stopped from within');

  const thrown = once(process, 'uncaughtException');
  first.close();
  const second = watch(tap.fd, {
    readable: () => {
      second.close();
      throw new Error('from the callback');
    },
  });
  second.start();
  t.match(await thrown, [{ message: 'from the callback' }]);
});

await t.test('a TAP stays though nobody holds it', async (t) => {
  const child = await start(`
    import { setFlagsFromString } from 'node:v8';
    import { runInNewContext } from 'node:vm';
    const { openTap } = await import(${JSON.stringify(library)});
    setFlagsFromString('--expose-gc');
    openTap({ name: 'unheld' });
    await new Promise(setImmediate);
    runInNewContext('gc')();
    setImmediate(() => setImmediate(() => console.log('ready')));
    setInterval(() => {}, 1000);`);
  t.ok(exists('unheld'));
  t.equal(child.exitCode, null);
});

await t.test('an unref’ed watch lets the process end', async (t) => {
  const child = await start(`
    const { openTap, watch } = await import(${JSON.stringify(library)});
    const watching = watch(openTap().fd, { readable() {} });
    watching.start();
    watching.unref();
    console.log('ready')`);
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  t.same([child.exitCode, child.signalCode], [0, null]);
});

/** Two TAPs; the second is moved into a namespace where a TCP server counts what it gets and answers with the sum. */
async function twoNamespaces(a: string, b: string): Promise<void> {
  const server = await start(
    `import { createServer } from 'node:net';
    import { execSync } from 'node:child_process';
    process.stdin.once('data', () => {
      execSync('ip address add 10.8.0.2/24 dev ${b} && ip link set ${b} up');
      createServer({ allowHalfOpen: true }, (socket) => {
        let sum = 0;
        socket.on('data', (data) => { sum += data.length; }).on('end', () => socket.end(String(sum)));
      }).listen(5001, '10.8.0.2', () => console.log('listening'));
    });
    console.log('ready');`,
    ['unshare', '--net'],
  );
  execFileSync('ip', ['link', 'set', b, 'netns', String(server.pid)]);
  execFileSync('ip', ['address', 'add', '10.8.0.1/24', 'dev', a]);
  execFileSync('ip', ['link', 'set', a, 'up']);
  const listening = once(server.stdout!, 'data');
  server.stdin!.write('\n');
  await listening;
}

async function send(bytes: number): Promise<number> {
  const socket = createConnection(5001, '10.8.0.2');
  const chunk = Buffer.alloc(1 << 18);
  for (let left = bytes; left > 0; left -= chunk.length) socket.write(chunk.subarray(0, Math.min(left, chunk.length)));
  socket.end();
  let answer = '';
  for await (const data of socket) answer += data;
  return Number(answer);
}

await t.test('TCP in segments of up to 64 KiB between two TAPs', async (t) => {
  const [a, b] = [open(t, { name: 'left' }), open(t, { name: 'right' })];
  for (const tap of [a, b]) tap.setOffload({ checksum: true, tso4: true, tso6: true });
  const slot = 66 * 1024;
  const memory = new ArrayBuffer(64 * slot);
  const bytes = new Uint8Array(memory);
  let largest = 0;
  let segmented = 0;
  const relay = (from: Tap, to: Tap) => () => {
    const vec = new Int32Array(64 * 3).map((_, i) => (i % 3 === 0 ? (i / 3) * slot : i % 3 === 1 ? slot : 0));
    const frames = from.read(memory, vec, 64);
    for (let i = 0; i < frames; i++) {
      const length = vec[3 * i + 2]!;
      if (bytes[i * slot + 1] !== 0) segmented++; // gso_type
      largest = Math.max(largest, length);
      vec.set([i * slot, length, 0], 3 * i);
    }
    t.equal(to.write(memory, vec, frames), frames);
  };
  watch(a.fd, { readable: relay(a, b) }).start();
  watch(b.fd, { readable: relay(b, a) }).start();
  await twoNamespaces('left', 'right');
  t.equal(await send(20e6), 20e6);
  t.ok(segmented > 0, `${segmented} segmented frames`);
  t.ok(largest > 30_000, `the largest of ${largest} bytes`);
  t.equal(a.refused + b.refused, 0);
});

for (const flags of [[], ['--gso']])
  await t.test(`the yardstick relays ${flags.join()}`, async (t) => {
    const relay = await ready(
      spawn(compile('relay'), [...flags, 'yardA', 'yardB'], { stdio: ['ignore', 'pipe', 'inherit'] }),
    );
    await twoNamespaces('yardA', 'yardB');
    t.equal(await send(5e6), 5e6);
    relay.kill('SIGTERM');
    t.same(await once(relay, 'exit'), [0, null]);
    t.notOk(exists('yardA'));
  });
