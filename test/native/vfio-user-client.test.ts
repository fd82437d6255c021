/** The e1000 driver over vfio-user, on our own server in a process of its own: the netdev spec, and the backend's own. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { InterruptMode } from '../../drivers/device.ts';
import { createE1000 } from '../../drivers/e1000/e1000.ts';
import { listenUnix } from '../../native/index.ts';
import { NetdevStream } from '../../vm/netdev-stream.ts';
import { openVfioUser } from '../../vm/vfio-user/client.ts';
import { lacksOf } from '../spec/lacks.ts';
import { netdevSpec } from '../spec/netdev.ts';
import { streamBench } from '../util/stream-bench.ts';
import { until } from '../util/until.ts';
import { Place } from './command.ts';
import { type Answer, type Ask, type Fault, fakeServer } from './fake-vfio-server.ts';
import { enterNamespace } from './lane.ts';

enterNamespace(import.meta.url);
const { t } = await import('tap');

interface Test {
  teardown(action: () => Promise<void>): unknown;
}

const place = new Place();
const descriptors = () => readdirSync('/proc/self/fd').length;
const socket = join(place.folder, 'nic');
const wire = join(place.folder, 'wire');

const server = place.fauxnic(`serve e1000 --socket ${socket} --peer stream=${wire}`);
await until(() => existsSync(wire), 'fauxnic serve');
t.teardown(async () => {
  server.kill('SIGINT');
  await server;
  await place.quiet();
  place.remove();
});

for (const interrupts of ['msi', 'intx'] as const satisfies InterruptMode[])
  await t.test(`${interrupts}: the netdev spec`, async (t) => {
    const tests: [name: string, skip: string | undefined, body: () => Promise<void>][] = [];
    netdevSpec(
      (name, body, skip) => tests.push([name, skip, body]),
      async (options) => {
        const connect = () => NetdevStream.connect(wire);
        const stream = connect();
        try {
          const device = await openVfioUser(socket, { name: 'vfio-user:nic' });
          const driver = await createE1000(device, { buffers: 1024, ...options, interrupts: [interrupts] });
          return streamBench({ device, driver, stream, reconnect: connect });
        } catch (error) {
          stream.close();
          throw error;
        }
      },
      lacksOf('82540EM'),
    );
    for (const [name, skip, body] of tests) await t.test(name, { skip: skip ?? false }, body);
  });

// ---- Servers that are none ------------------------------------------------------------------------------------------

/** Milliseconds: soon where no answer is to come, and late where one is. */
const TIMEOUTS: Partial<Record<Fault, number>> = { silent: 300, dribbles: 300, 'asks for ever': 300 };
const LATE = 30_000;
let fakes = 0;

/** A server that is wrong from its `from`th answer on, and a device opened on it. */
async function fake(t: Test, fault: Fault, from: number) {
  const path = join(place.folder, `fake${fakes++}`);
  const worker = await fakeServer({ path, fault, from });
  t.teardown(async () => void (await worker.terminate()));
  const timeout = TIMEOUTS[fault] ?? LATE;
  return { worker, open: () => openVfioUser(path, { name: 'vfio-user:fake', timeout, dmaBytes: 1 << 20 }) };
}

const failure = (code: string, says: RegExp) => ({
  name: 'DeviceError',
  code,
  message: new RegExp(`^vfio-user:fake: ${says.source}[^\\n]*$`),
});

const WHILE_OPENING: [fault: Fault, code: string, says: RegExp][] = [
  ['silent', 'TIMEOUT', /the server did not answer within 300 ms/],
  ['closes at once', 'FAILED', /the server closed the connection/],
  ['version 1', 'FAILED', /it speaks version 1\.0, not 0\.x/],
  ['capabilities are no JSON', 'FAILED', /its capabilities are no JSON/],
  ['no PCI', 'FAILED', /what it serves is no PCI function/],
  ['no configuration space', 'FAILED', /its configuration space has 0 bytes/],
  ['huge message', 'FAILED', /the server announced a message of 2147483647 bytes/],
  ['tiny message', 'FAILED', /the server announced a message of 15 bytes/],
  ['another id', 'FAILED', /request \d+ was answered with a reply to \d+/],
  ['another command', 'FAILED', /request \d+ was answered with a reply to \d+/],
  ['short reply', 'FAILED', /the reply to request \d+ has \d+ bytes, not \d+/],
  ['refuses', 'FAILED', /the server refused request \d+: EINVAL/],
  ['dies in a reply', 'FAILED', /the server closed the connection/],
  ['dribbles', 'TIMEOUT', /the server did not answer/],
];

await t.test('a server that lies is told of in one line, and nothing stays open', async (t) => {
  const before = descriptors();
  for (const [fault, code, says] of WHILE_OPENING)
    for (const from of fault.includes('capabilities') || fault.startsWith('version')
      ? [1]
      : fault === 'silent'
        ? [1, 4]
        : [4]) {
      const { worker, open } = await fake(t, fault, from);
      const started = performance.now();
      await t.rejects(open(), failure(code, says), `${fault}, from request ${from} on`);
      t.ok(performance.now() - started < 10_000);
      await worker.terminate();
    }
  await until(() => descriptors() <= before, 'every descriptor closed');
});

const WHILE_USED: [fault: Fault, code: string][] = [
  ['silent', 'TIMEOUT'],
  ['closes at once', 'FAILED'],
  ['huge message', 'FAILED'],
  ['another id', 'FAILED'],
  ['short reply', 'FAILED'],
  ['asks for ever', 'TIMEOUT'],
];

await t.test('one that goes wrong later: every access says the same, and closing works', async (t) => {
  const { worker, open } = await fake(t, 'none', 0);
  const counted = await open();
  t.equal(counted.bar(0).read32(0x1234), 0x1234);
  t.equal(counted.bar(0).read16(0x10000), 0xffff, 'outside');
  t.throws(() => counted.bar(1), { code: 'UNSUPPORTED' });
  t.same(counted.interrupts.available, { intx: 0, msi: 0, msix: 0 }, 'it has no pin and no capability');
  counted.close();
  counted.close();
  await worker.terminate();
  for (const [fault, code] of WHILE_USED) {
    const { worker, open } = await fake(t, fault, 0);
    const device = await open();
    const bar = device.bar(0);
    const memory = device.dma.alloc(64, 64);
    t.throws(() => bar.read32(0), { name: 'DeviceError', code }, fault);
    const { failure } = device;
    for (const access of [
      () => bar.read32(0),
      () => bar.write32(0, 1),
      () => device.config.read16(0),
      () => device.reset(),
    ])
      t.throws(access, failure!);
    device.close();
    t.throws(() => bar.read32(0), { code: 'CLOSED' });
    t.throws(() => device.dma.alloc(64, 64), { code: 'CLOSED' });
    t.throws(() => device.time.now(), { code: 'CLOSED' });
    t.throws(() => device.interrupts.enable('intx', 1), { code: 'CLOSED' });
    t.equal(memory.bytes.length, 0, 'no view reaches what was unmapped');
    await worker.terminate();
  }
});

await t.test('memory by message: what the server may reach of it', async (t) => {
  const [DMA_READ, DMA_WRITE, NO_REPLY, START, SIZE] = [11, 12, 0x10, 0x0010_0000, 1 << 20];
  const path = join(place.folder, 'asking');
  const asks: Ask[] = [
    { command: DMA_READ, address: START + 64, count: 4 },
    { command: DMA_WRITE, address: START + 66, count: 2, data: [9, 8] },
    { command: DMA_WRITE, address: START + 70, count: 1, data: [7], flags: NO_REPLY },
    { command: DMA_READ, address: START + 64, count: 8 },
    { command: DMA_READ, address: START + SIZE - 4, count: 4 }, // the last that there is
    { command: DMA_READ, address: START + SIZE - 4, count: 5 },
    { command: DMA_READ, address: START - 1, count: 1 },
    { command: DMA_READ, address: START, count: 0x7fffffff },
    { command: DMA_READ, address: START, count: 4, data: [0] }, // more than a request to read has
    { command: DMA_WRITE, address: START + SIZE - 1, count: 2, data: [1, 2] },
    { command: DMA_WRITE, address: START - 1, count: 1, data: [1] },
    { command: DMA_WRITE, address: START, count: 2, data: [1] }, // less than it says
    { command: 9, address: START, count: 4 }, // no request of a server's
  ];
  const worker = await fakeServer({ path, fault: 'asks first', from: 0, asks });
  t.teardown(() => worker.terminate());
  const answers = new Promise<(Answer | null)[]>((resolve) => worker.once('message', resolve));
  const device = await openVfioUser(path, { dmaBytes: SIZE });
  const memory = device.dma.alloc(SIZE, 4096);
  t.equal(memory.iova, START);
  memory.bytes.set([1, 2, 3, 4], 64);
  t.equal(device.bar(0).read32(0x40), 0x40, 'answered in the end');
  const [EINVAL, ENOTSUP] = [22, 95];
  const data = (await answers).map((it) => it && (it.error === 0 ? it.payload.slice(16) : it.error));
  t.same(data.slice(0, 5), [[1, 2, 3, 4], [], null, [1, 2, 9, 8, 0, 0, 7, 0], [0, 0, 0, 0]]);
  t.same(data.slice(5), [...Array<number>(7).fill(EINVAL), ENOTSUP]);
  t.same([memory.bytes[0], memory.bytes[SIZE - 1]], [0, 0], 'what was refused is not half done');
  device.close();
});

await t.test('nobody listens; or this very thread does', async (t) => {
  await t.rejects(openVfioUser(join(place.folder, 'nothing')), { code: 'ENOENT' });
  const own = listenUnix(join(place.folder, 'own'));
  t.teardown(() => own.close());
  await t.rejects(openVfioUser(own.path), { code: 'INVALID', message: /this very thread/ });
});

await t.test('a server that is killed: the driver says so, once, and stops', async (t) => {
  const path = join(place.folder, 'doomed');
  const doomed = place.fauxnic(`serve e1000 --socket ${path}`);
  await until(() => existsSync(path), 'fauxnic serve');
  const device = await openVfioUser(path);
  const driver = await createE1000(device, { buffers: 1024, interrupts: ['msi'] });
  await driver.start();
  doomed.kill('SIGKILL');
  await doomed;
  await until(() => driver.failure !== null, 'the driver noticing');
  t.match(driver.failure, { code: 'FAILED', message: /the server closed the connection/ });
  t.throws(() => driver.receive([], 1), driver.failure!);
  await driver.close();
  t.equal(device.dma.used, 0);
  device.close();
});

await t.test('closed, nothing is left', async (t) => {
  const before = descriptors();
  const device = await openVfioUser(socket);
  device.interrupts.enable('msi', 1);
  device.dma.alloc(4096, 4096);
  device.close();
  await until(() => descriptors() <= before, 'every descriptor closed');
  t.pass();
});
