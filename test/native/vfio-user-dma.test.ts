/**
 * DMA by message, to memory that came without a descriptor. The server blocks for its replies, so it runs in a process of
 * its own. Cases: libvfio-user's test_sgl_read_write.py, and clients that do not answer as they should.
 */
import { join } from 'node:path';
import { createMemfd } from '../../native/index.ts';
import { NetdevStream } from '../../vm/netdev-stream.ts';
import { until } from '../util/until.ts';
import { Place } from './command.ts';
import { enterNamespace } from './lane.ts';
import { access, Client, COMMAND, closeAll } from './vfio-client.ts';

enterNamespace(import.meta.url);
const { t } = await import('tap');

const place = new Place();
t.teardown(() => place.remove());

const [BAR0, CONFIG, PAGE, BASE] = [0, 7, 4096, 0x10_0000];
// The 82540EM's (Intel 317453, 13.4).
const [CTRL, STATUS, RCTL, TCTL] = [0x0, 0x8, 0x100, 0x400];
const [RDBAL, RDLEN, RDT, TDBAL, TDLEN, TDT] = [0x2800, 0x2808, 0x2818, 0x3800, 0x3808, 0x3818];
const [TX_RING, RX_RING, TX_BUFFER, RX_BUFFERS] = [0, 0x100, PAGE, 2 * PAGE];

let sockets = 0;

/** The command, serving a card whose peer answers ARP. */
async function served(t: { teardown(action: () => unknown): unknown }, peer = 'echo') {
  const socket = join(place.folder, `${sockets++}.sock`);
  const running = place.fauxnic(`serve e1000 --socket ${socket} --peer ${peer} --json`);
  t.teardown(async () => {
    running.kill('SIGINT');
    await running;
  });
  const connect = async (most?: number): Promise<Client> => {
    let it: Client | undefined;
    await until(() => {
      try {
        it = new Client(socket);
      } catch {}
      return it !== undefined;
    }, 'a server');
    await it!.version(most);
    return it!;
  };
  const end = async () => {
    running.kill('SIGINT');
    return JSON.parse((await running).stdout as string) as Record<string, number>;
  };
  return { connect, end };
}

const arp = Buffer.from(
  `ffffffffffff020000825401${'0806'}0001080006040001${'020000825401'}0a000001${'000000000000'}0a000002`.padEnd(
    120,
    '0',
  ),
  'hex',
);

/** Both rings in `bytes`, and an ARP request in the first transmit buffer. */
async function prepare(it: Client, bytes: Buffer): Promise<void> {
  await it.write(CONFIG, 4, 6, 2);
  await it.write(BAR0, CTRL, 0x40);
  await until(async () => ((await it.read(BAR0, STATUS)) & 2) !== 0, 'link');
  for (let i = 0; i < 8; i++) bytes.writeBigUInt64LE(BigInt(BASE + RX_BUFFERS + i * 2048), RX_RING + 16 * i);
  await it.write(BAR0, RDBAL, BASE + RX_RING);
  await it.write(BAR0, RDLEN, 128);
  await it.write(BAR0, RCTL, 0x801a); // EN, UPE, MPE, BAM
  await it.write(BAR0, RDT, 7);
  await it.write(BAR0, TDBAL, BASE + TX_RING);
  await it.write(BAR0, TDLEN, 128);
  await it.write(BAR0, TCTL, 0x0004010a);
  arp.copy(bytes, TX_BUFFER);
  bytes.writeBigUInt64LE(BigInt(BASE + TX_BUFFER), TX_RING);
  bytes.writeUInt32LE(arp.length | (0x0b << 24), TX_RING + 8);
}

const done = (bytes: Buffer, ring: number) => (bytes[ring + 12]! & 1) === 1;

for (const most of [1 << 20, 16])
  await t.test(`frames both ways, rings and buffers by message, ${most} bytes at a time`, async (t) => {
    const { connect, end } = await served(t);
    const it = await connect(most);
    t.teardown(() => it.close());
    const bytes = Buffer.alloc(8 * PAGE);
    t.equal(await it.map(BASE, bytes.length), 0);
    const seen = it.serveDma(BASE, bytes);
    await prepare(it, bytes);
    it.post(BAR0, TDT, 1);
    // What is asked while the server awaits its own replies is answered afterwards, in order.
    const ids = [0, 1, 2].map(() => it.send(COMMAND.read, access(CONFIG, 0, 4)));
    for (const id of ids) t.equal((await it.reply())!.id, id);
    await until(async () => (await it.read(CONFIG, 0)) !== 0 && done(bytes, RX_RING), 'the reply');
    t.ok(done(bytes, TX_RING));
    t.equal(bytes.readUInt16LE(RX_RING + 8), 64);
    t.equal(bytes.toString('hex', RX_BUFFERS, RX_BUFFERS + 6), '020000825401');
    t.equal(bytes.readUInt16BE(RX_BUFFERS + 20), 2, 'an ARP reply');
    t.ok(seen.every(({ count }) => count <= most));
    t.ok(seen.some(({ command }) => command === COMMAND.dmaWrite));
    it.close();
    const counters = await end();
    t.equal(counters.dropped, 0);
    t.equal(counters.exchanges, seen.length);
  });

await t.test('a client that refuses, and memory that is only to be read', async (t) => {
  const { connect } = await served(t);
  const it = await connect();
  t.teardown(() => it.close());
  const bytes = Buffer.alloc(8 * PAGE);
  t.equal(await it.map(BASE, 2 * PAGE, { flags: 1 }), 0);
  const seen = it.serveDma(BASE, bytes);
  await prepare(it, bytes);
  it.post(BAR0, TDT, 1);
  t.equal(await it.read(CONFIG, 0), 0x100e8086);
  await until(async () => (await it.read(BAR0, 0x3810)) === 1, 'TDH moves on');
  t.notOk(done(bytes, TX_RING), 'not to be written');
  t.ok(seen.every(({ command }) => command === COMMAND.dmaRead));
  it.onRequest = (request) => it.answer(request, Buffer.alloc(0), 14);
  it.post(BAR0, TDT, 2);
  t.equal(await it.read(CONFIG, 0), 0x100e8086, 'still serving');
  t.equal(await it.unmap(BASE, 2 * PAGE), 0);
});

await t.test('what is asked while the card by itself awaits memory is answered', async (t) => {
  const wire = join(place.folder, 'wire');
  const { connect } = await served(t, `stream=${wire}`);
  const it = await connect();
  const stream = NetdevStream.connect(wire);
  t.teardown(() => {
    it.close();
    stream.close();
  });
  const bytes = Buffer.alloc(8 * PAGE);
  t.equal(await it.map(BASE, bytes.length), 0);
  it.serveDma(BASE, bytes);
  await prepare(it, bytes);
  const serve = it.onRequest!;
  let asked = -1;
  it.onRequest = (request) => {
    if (asked < 0) asked = it.send(COMMAND.read, access(CONFIG, 0, 4));
    serve(request);
  };
  t.ok(stream.send(arp)); // and nobody asks anything of the card
  const { id, payload } = (await it.reply())!;
  t.equal(id, asked);
  t.equal(payload.readUInt32LE(16), 0x100e8086);
});

const memfd = createMemfd('extra', PAGE);
t.teardown(() => closeAll(memfd));
const wrong: Record<string, (it: Client) => void> = {
  'goes away': (it) => it.close(),
  'is silent': () => {},
  'answers with another id': (it) =>
    (it.onRequest = (request) => it.answer({ ...request, id: request.id ^ 1 }, request.payload)),
  'answers too short': (it) => (it.onRequest = (request) => it.answer(request, Buffer.alloc(16))),
  'answers with an impossible size': (it) => it.raw(Buffer.from('0000090003000000'.padEnd(32, '0'), 'hex')),
  'sends requests without end': (it) => {
    it.onRequest = () => {};
    const much = Buffer.concat([access(BAR0, 0x1000, 60_000), Buffer.alloc(60_000)]);
    for (let i = 0; i < 100; i++) it.send(COMMAND.write, much, { flags: 0x10 });
  },
  'sends descriptors without end': (it) => {
    for (let i = 0; i < 3; i++) it.send(COMMAND.read, access(CONFIG, 0, 4), { fds: [memfd, memfd] });
  },
};
await t.test('a client that owes a reply and', async (t) => {
  const { connect, end } = await served(t);
  for (const [name, act] of Object.entries(wrong)) {
    const it = await connect();
    const bytes = Buffer.alloc(8 * PAGE);
    t.equal(await it.map(BASE, bytes.length), 0, name);
    it.serveDma(BASE, bytes);
    await prepare(it, bytes);
    it.onRequest = null;
    it.post(BAR0, TDT, 1);
    try {
      act(it);
    } catch (error) {
      if ((error as { code?: string }).code !== 'EPIPE') throw error; // the server has had enough by then
    }
    if (name !== 'goes away') for (let last = await it.reply(); last !== null; last = await it.reply());
    const next = await connect();
    t.equal(await next.read(CONFIG, 0), 0x100e8086, `${name}: the next one is served`);
    next.close();
    it.close();
  }
  const counters = await end();
  t.equal(counters.clients, 2 * Object.keys(wrong).length);
  t.equal(counters.dropped, Object.keys(wrong).length);
});
