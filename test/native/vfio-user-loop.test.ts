/** The server in its thread: everything else there goes on, and whoever floods it or several at once are all served. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { MachineClock } from '../../drivers/backends/machine-clock.ts';
import { attend, connectUnix, createMemfd, END, listenUnix, receivedDescriptors } from '../../native/index.ts';
import { Clock } from '../../sim/clock.ts';
import { E1000 } from '../../sim/e1000/i82540em.ts';
import { configurationMap } from '../../sim/pci/configuration.ts';
import { type Host, PciFunction } from '../../sim/pci/function.ts';
import { HostPort } from '../../sim/wire/host-port.ts';
import { Link } from '../../sim/wire/link.ts';
import { serve } from '../../vm/vfio-user/server.ts';
import { until } from '../util/until.ts';
import { Place } from './command.ts';
import { enterNamespace } from './lane.ts';
import { access, Client, COMMAND, closeAll, fields, written } from './vfio-client.ts';

enterNamespace(import.meta.url);
const { t } = await import('tap');

const place = new Place();
t.teardown(() => place.remove());
const [BAR0, CONFIG, PAGE, ID] = [0, 7, 4096, 0x100e8086];
const descriptors = () => readdirSync('/proc/self/fd').length;
let sockets = 0;

function served(t: { teardown(action: () => void): unknown }) {
  const server = serve((host) => new E1000(host), { socket: join(place.folder, `${sockets++}.sock`) });
  t.teardown(() => server.close());
  return server;
}

await t.test('timers, immediates, ticks and signals go on beside it', async (t) => {
  const { socket } = served(t);
  const it = await Client.connected(socket);
  t.teardown(() => it.close());
  await new Promise((resolve) => setTimeout(resolve, 5));
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise<void>((resolve) => process.nextTick(resolve));
  const signal = new Promise((resolve) => process.once('SIGUSR2', resolve));
  process.kill(process.pid, 'SIGUSR2');
  await signal;
  t.equal(await it.read(CONFIG, 0), ID);
});

await t.test('several servers in one thread', async (t) => {
  const servers = [1, 2, 3, 4].map(() => served(t));
  const clients = await Promise.all(servers.map(({ socket }) => Client.connected(socket)));
  for (let i = 0; i < 20; i++) t.same(await Promise.all(clients.map((it) => it.read(CONFIG, 0))), [ID, ID, ID, ID]);
  servers[1]!.close();
  t.equal(await clients[1]!.reply(), null);
  t.equal(await clients[2]!.read(CONFIG, 0), ID, 'one leaves, the others stay');
  for (const it of clients) it.close();
});

await t.test('in a worker, which ends with its client connected', async (t) => {
  const socket = join(place.folder, 'worker.sock');
  const [model, server] = ['../../sim/e1000/i82540em.js', '../../vm/vfio-user/server.js'].map(
    (path) => new URL(path, import.meta.url).href,
  );
  const source = `import { parentPort } from 'node:worker_threads'; import { E1000 } from '${model}';
    import { serve } from '${server}'; serve((host) => new E1000(host), { socket: '${socket}' }); parentPort.postMessage(1);`;
  const before = descriptors();
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
  await new Promise((resolve) => worker.once('message', resolve));
  const it = await Client.connected(socket);
  t.equal(await it.read(CONFIG, 0), ID);
  await worker.terminate();
  t.equal(await it.reply(), null, 'its socket went with it');
  it.close();
  await until(() => descriptors() <= before, 'every descriptor closed');
});

await t.test('a descriptor attended to: its reader may end it, or another', async (t) => {
  const listener = listenUnix(join(place.folder, 'pair'));
  t.teardown(() => listener.close());
  const pairs = [0, 1].map(() => {
    const near = connectUnix(listener.path);
    return { near, far: listener.accept()! };
  });
  const [one, two] = pairs as [(typeof pairs)[0], (typeof pairs)[0]];
  const got: string[] = [];
  const fds = receivedDescriptors(0);
  attend(one.far.fd, {
    readable: () => {
      one.far.receive(new Uint8Array(9), 0, 9, fds);
      two.far.close(); // has something to read, too
      got.push('one');
    },
  });
  attend(two.far.fd, { readable: () => got.push('two') });
  t.throws(() => attend(one.far.fd, { readable: () => {} }), { code: 'EEXIST' });
  t.throws(() => attend(-1, { readable: () => {} }), { code: 'EINVAL' });
  one.near.send(Uint8Array.of(1));
  two.near.send(Uint8Array.of(1));
  while (got.length === 0) await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  t.same(got, ['one']);
  const end = new Promise((resolve) => {
    one.far.close();
    resolve(one.near.receive(new Uint8Array(1), 0, 1, fds));
  });
  t.equal(await end, END);
  for (const { near, far } of pairs) {
    near.close();
    far.close();
  }
});

await t.test('the loop does not sleep without it, even where what kept the loop awake is taken back', async (t) => {
  const listener = listenUnix(join(place.folder, 'awake'));
  const near = connectUnix(listener.path);
  const far = listener.accept()!;
  let immediate: NodeJS.Immediate | undefined;
  let called = 0;
  await new Promise<void>((resolve) => {
    attend(far.fd, {
      readable: () => {
        clearImmediate(immediate);
        if (++called === 3) resolve(); // it leaves unread what there is, and is called again
      },
    });
    setTimeout(() => {
      immediate = setImmediate(() => {});
      near.send(Uint8Array.of(1));
    }, 1);
  });
  t.equal(called, 3);
  far.close();
  near.close();
  listener.close();
});

await t.test('messages one behind the other, cut anywhere', async (t) => {
  const { socket } = served(t);
  const it = await Client.connected(socket);
  t.teardown(() => it.close());
  const memfd = createMemfd('guest', PAGE);
  t.teardown(() => closeAll(memfd));
  await it.write(CONFIG, 4, 6, 2);
  const before = descriptors();
  const message = (id: number, command: number, payload: Buffer, flags = 0) =>
    Buffer.concat([fields([16, id], [16, command], [32, 16 + payload.length], [32, flags], [32, 0]), payload]);
  // Longer than what is read at once, so that it is cut there as well.
  const parts: Buffer[] = [];
  for (let i = 0; i < 100; i++) {
    parts.push(message(0, COMMAND.write, written(BAR0, 0x3800, i * 16, 4), 0x10));
    parts.push(message(i, COMMAND.read, access(BAR0, 0x3800, 4)));
  }
  const stream = Buffer.concat(parts);
  for (const size of [stream.length, 4096, 1021, 37]) {
    for (let at = 0; at < stream.length; at += size) {
      it.raw(stream.subarray(at, at + size));
      if (at % 20 === 0) await new Promise((resolve) => setImmediate(resolve)); // the socket has room for so many
    }
    for (let i = 0; i < 100; i++) {
      const { id, payload } = (await it.reply())!;
      if (id !== i || payload.readUInt32LE(16) !== i * 16) t.fail(`${size} bytes at a time: reply ${i}`);
    }
  }
  // Descriptors belong to the message they came with, whatever came before it.
  const map = Buffer.concat([fields([32, 32], [32, 3], [64, 0], [64, 0x10_0000], [64, PAGE])]);
  it.raw(message(1, COMMAND.read, access(CONFIG, 0, 4)));
  it.raw(message(2, COMMAND.map, map), [memfd]);
  it.raw(message(3, COMMAND.read, access(CONFIG, 0, 4)));
  for (const id of [1, 2, 3]) t.match(await it.reply(), { id, error: 0 });
  const header = message(4, COMMAND.map, map);
  it.raw(Buffer.concat([message(5, COMMAND.read, access(CONFIG, 0, 4)), header.subarray(0, 20)]), [memfd]);
  t.match(await it.reply(), { id: 5, error: 0 });
  it.raw(header.subarray(20));
  t.match(await it.reply(), { id: 4, error: 17 }, 'mapped already');
  it.raw(message(6, COMMAND.unmap, fields([32, 24], [32, 0], [64, 0x10_0000], [64, PAGE])));
  t.match(await it.reply(), { id: 6, error: 0 });
  await until(() => descriptors() <= before, 'every descriptor closed');
});

const SLOW = configurationMap('slow', {
  identity: { vendor: 0x1234, device: 1, revision: 0, subsystemVendor: 0, subsystem: 0, class: 0xff0000 },
  bars: { 0: { kind: 'memory', size: PAGE } },
});

/** A function whose register writes take 5 ms, as a doorbell with a long ring behind it may. */
class Slow extends PciFunction {
  writes: number[] = [];
  constructor(host: Host) {
    super(host, SLOW);
    const write = (_offset: number, value: number) => {
      for (const end = performance.now() + 5; performance.now() < end; );
      this.writes.push(value);
    };
    this.addBar(0, {
      kind: 'memory',
      size: PAGE,
      read: () => 0,
      write: (offset, _width, value) => write(offset, value),
    });
  }
  protected override resetChip(): void {}
  protected override traceChanged(): void {}
}

await t.test('many posted writes at once leave the event loop its turns, and stay in order', async (t) => {
  const server = serve((host) => new Slow(host), { socket: join(place.folder, 'slow.sock') });
  t.teardown(() => server.close());
  const it = await Client.connected(server.socket);
  t.teardown(() => it.close());
  await it.write(CONFIG, 4, 6, 2);
  const count = 70;
  const message = (value: number) =>
    Buffer.concat([fields([16, 0], [16, COMMAND.write], [32, 36], [32, 0x10], [32, 0]), written(BAR0, 0, value, 4)]);
  it.raw(Buffer.concat(Array.from({ length: count }, (_, i) => message(i))));
  let turns = 0;
  for (; server.model.writes.length < count; turns++) await new Promise((resolve) => setImmediate(resolve));
  t.ok(turns > 10, `${turns} turns`);
  t.same(
    server.model.writes,
    Array.from({ length: count }, (_, i) => i),
  );
  t.equal(await it.read(CONFIG, 0), 0x0001_1234);
  it.raw(Buffer.concat(Array.from({ length: count }, (_, i) => message(i))));
  while (server.model.writes.length === count) await new Promise((resolve) => setImmediate(resolve));
  it.close(); // in the midst of it
  while (server.connected) await new Promise((resolve) => setImmediate(resolve));
  t.equal(server.model.writes.length, 2 * count, 'what it had sent is done');
});

/** A stream of whole numbers below a bound; the same for the same seed. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const seed = Number(process.env.FAUXNIC_SEED ?? Date.now() % 2 ** 31);

await t.test(`a hundred thousand random registers, seed ${seed}`, async (t) => {
  const notes: string[] = [];
  const clock = new Clock();
  const machine = new MachineClock(clock);
  const server = serve((host) => new E1000(host), {
    socket: join(place.folder, 'random.sock'),
    clock: { clock, pump: () => machine.pump() },
    note: (text) => notes.push(text),
  });
  const far = new HostPort('far');
  const link = new Link(clock);
  link.plug(server.model.port);
  link.plug(far);
  machine.start();
  t.teardown(() => {
    server.close();
    machine.stop();
  });
  const it = await Client.connected(server.socket);
  t.teardown(() => it.close());
  const memfd = createMemfd('guest', 64 * PAGE);
  t.teardown(() => closeAll(memfd));
  t.equal(await it.map(0, 64 * PAGE, { fd: memfd }), 0);
  const random = generator(seed);
  // The blocks of 13.4: general, interrupts, receive, transmit, statistics, filters.
  const blocks = [0, 0xc0, 0x100, 0x400, 0x2800, 0x3800, 0x4000, 0x5000, 0x5400];
  const value = () =>
    [0, 0xffffffff, random(64 * PAGE) & ~15, random(2 ** 32), 1 << random(31), random(256)][random(6)]! >>> 0;
  for (let i = 0; i < 100_000; i++) {
    const width = [4, 4, 4, 4, 2, 1][random(6)]!;
    const inConfig = random(40) === 0;
    const region = inConfig ? CONFIG : random(20) === 0 ? 2 : BAR0;
    const place = inConfig
      ? random(256 - 4)
      : region === 2
        ? random(64 - 4)
        : blocks[random(blocks.length)]! + random(0x100);
    const offset = random(10) === 0 ? place : place & ~(width - 1);
    if (random(3) === 0) it.send(COMMAND.read, access(region, offset, width), { flags: 0x10 });
    else it.post(region, offset, value() % 2 ** (8 * width), width);
    if (i % 200 < 199) continue;
    await it.write(CONFIG, 4, 7, 2);
    await it.read(BAR0, 8);
  }
  t.equal(await it.read(CONFIG, 0), ID);
  t.same(notes, ['client connected'], `nothing thrown (FAUXNIC_SEED=${seed})`);
  it.close();
  // Reset by its client's going, the card works for the next one.
  const before = far.counters.received;
  const { stdout, stderr } = await place.fauxnic(`drive vfio-user:${server.socket} --generate --count 50 --json`);
  const { cards } = JSON.parse(stdout as string) as { cards: [{ statistics: { txPackets: number } }] };
  t.equal(cards[0].statistics.txPackets, 50, stderr as string);
  t.ok(far.counters.received >= before + 50);
});
