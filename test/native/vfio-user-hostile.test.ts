/**
 * Clients that mean no good: mappings beyond every bound, and conversations that were right until somebody altered them.
 * After each of them a good client is served, and neither a descriptor nor memory is left.
 *
 * Of libvfio-user's list of tests (test/py/test_*.py) these files have, here or in vfio-user*.test.ts: negotiate,
 * request_errors, device_get_info, device_get_region_info, device_get_irq_info, device_set_irqs, irq_trigger, dma_map,
 * dma_unmap, sgl_read_write; pci_caps, pci_status, setup_region, vfu_create_ctx, map_unmap_sg and sgl_get_put are about a
 * library's calls: what they check of a device is in test/sim/pci.test.ts and test/sim/memory.test.ts. What there is none
 * of here: migration, dirty_pages, device_features and shadow_ioeventfd (ENOTSUP, or EINVAL for a dirty bitmap), quiesce
 * (a model does nothing while nobody runs it), pci_ext_caps (no model has 4096 bytes of configuration space).
 */
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createEventfd, createMemfd, END, receivedDescriptors } from '../../native/index.ts';
import { E1000 } from '../../sim/e1000/i82540em.ts';
import { configurationMap } from '../../sim/pci/configuration.ts';
import { type Host, PciFunction } from '../../sim/pci/function.ts';
import { serve } from '../../vm/vfio-user/server.ts';
import { conversation, generator, type Said, say, spoilt } from '../fuzz/conversations.ts';
import { until } from '../util/until.ts';
import { Place } from './command.ts';
import { enterNamespace } from './lane.ts';
import { access, Client, COMMAND, fields } from './vfio-client.ts';

enterNamespace(import.meta.url);
const { t } = await import('tap');

interface Test {
  teardown(action: () => unknown): unknown;
}

const [BAR0, CONFIG, PAGE, ID] = [0, 7, 4096, 0x100e8086];
const [EINVAL, ENOSPC] = [22, 28];
const place = new Place();
t.teardown(() => place.remove());
let sockets = 0;
const descriptors = (pid: number | 'self' = 'self') => readdirSync(`/proc/${pid}/fd`).length;

/** How many descriptors, and mappings, there are once what is given back is: other threads do that. */
const settles = (t: { pass(name: string): unknown }, count: () => number, to: number) =>
  until(() => count() <= to, `no more than ${to}`).then(() => t.pass(`no more than ${to}`));

/** Mappings of a client's memory in this process. */
const maps = () => readFileSync('/proc/self/maps', 'latin1').split('/memfd:guest').length - 1;

function served(t: Test, patience = 5000) {
  const notes: string[] = [];
  const socket = join(place.folder, `${sockets++}.sock`);
  const server = serve((host) => new E1000(host), { socket, patience, note: (text) => notes.push(text) });
  t.teardown(() => server.close());
  return { server, socket, notes };
}

function opened(t: Test, fd: number): number {
  t.teardown(() => closeSync(fd));
  return fd;
}

async function serves(socket: string): Promise<boolean> {
  const it = await Client.connected(socket);
  const id = await it.read(CONFIG, 0);
  it.close();
  return id === ID;
}

// ---- Introductions --------------------------------------------------------------------------------------------------

await t.test('capabilities that make no sense, and those that do', async (t) => {
  const { socket, server } = served(t);
  const introduce = async (text: string | null) => {
    const it = new Client(socket);
    const data = text === null ? Buffer.alloc(0) : Buffer.from(`${text}\0`);
    const reply = await it.ask(COMMAND.version, Buffer.concat([fields([16, 0], [16, 0]), data]));
    if (reply.error !== 0) t.equal(await it.reply(), null, 'and the connection is closed');
    it.close();
    return reply.error;
  };
  const capabilities = (text: string) => `{"capabilities":{${text}}}`;
  const wrong = [
    ...['{', '"', '', '[]]', 'null', '"x"', '{"capabilities":"23"}', '{"capabilities":[]}', '{"capabilities":null}'],
    ...['"max_msg_fds":"foo"', '"max_msg_fds":-1', '"max_msg_fds":1.5', '"pgsizes":"4096"'].map(capabilities),
    ...['"max_data_xfer_size":0', '"max_data_xfer_size":1e300', '"max_dma_maps":[]'].map(capabilities),
    ...['"migration":"23"', '"migration":{"pgsize":"foo"}', '"migration":{"pgsize":4095}'].map(capabilities),
    ...['"migration":{"pgsize":0}', '"migration":{"pgsize":-4096}', '"migration":[]'].map(capabilities),
    `{${' '.repeat(20_000)}}`,
    '['.repeat(10_000),
  ];
  for (const text of wrong) t.equal(await introduce(text), EINVAL, text.slice(0, 60));
  // libvfio-user refuses a client that takes more descriptors than it knows what to do with; we send it none.
  const right = [null, '{}', '{"capabilities":{}}', '{"other":1}', capabilities('"max_msg_fds":100000,"new":{}')];
  for (const text of [...right, capabilities('"migration":{"pgsize":65536}')])
    t.equal(await introduce(text), 0, text ?? 'none');
  t.equal(server.counters.dropped, wrong.length);
});

await t.test('what is asked about is told in as many bytes as there are, whatever room the client has', async (t) => {
  const { socket } = served(t);
  const it = await Client.connected(socket);
  t.teardown(() => it.close());
  // argsz, flags, index; in DEVICE_GET_INFO there is no index.
  const cases = [
    { command: COMMAND.deviceInfo, bytes: 16 },
    { command: COMMAND.regionInfo, bytes: 32 },
    { command: COMMAND.irqInfo, bytes: 16 },
  ];
  for (const { command, bytes } of cases) {
    const ask = (argsz: number, index: number) =>
      Buffer.concat([fields([32, argsz], [32, 0], [32, index]), Buffer.alloc(bytes - 12)]);
    t.equal(await it.error(command, ask(8, 0)), EINVAL, `${command}: argsz too small`);
    t.equal(await it.error(command, ask(bytes - 1, 0)), EINVAL);
    const { payload } = await it.ask(command, Buffer.concat([ask(bytes + 16, 0), Buffer.alloc(16)]));
    t.equal(payload.length, bytes, 'more room is no harm');
    t.equal(payload.readUInt32LE(0), bytes);
    const indexes = { [COMMAND.regionInfo]: 9, [COMMAND.irqInfo]: 5 }[command as 5 | 7];
    if (indexes !== undefined) t.equal(await it.error(command, ask(bytes, indexes)), EINVAL, 'an index too many');
  }
  for (const flags of [2, 3, 15])
    t.equal(await it.error(COMMAND.deviceInfo, fields([32, 16], [32, 0], [64, 0]), { flags }), EINVAL, 'no such type');
  const entry = (count: number) => fields([64, 1], [64, 0x3800], [32, BAR0], [32, count], [64, 0]);
  t.equal(await it.error(COMMAND.writeMulti, entry(8)), 0);
  t.equal(await it.error(COMMAND.writeMulti, entry(9)), EINVAL, 'more than an entry holds');
  const small = fields([32, 3], [32, 1 | 32], [32, 0], [32, 0], [32, 0]);
  t.equal(await it.error(COMMAND.setIrqs, small), EINVAL, 'SET_IRQS with a small argsz');
});

const LARGE = configurationMap('large', {
  identity: { vendor: 0x1234, device: 2, revision: 0, subsystemVendor: 0, subsystem: 0, class: 0xff0000 },
  bars: { 0: { kind: 'memory', size: 1 << 22 } },
});

/** A function with more behind a BAR than one message may carry. */
class Large extends PciFunction {
  constructor(host: Host) {
    super(host, LARGE);
    this.addBar(0, { kind: 'memory', size: 1 << 22, read: () => 7, write: () => {} });
  }
  protected override resetChip(): void {}
  protected override traceChanged(): void {}
}

await t.test('more than a megabyte at once', async (t) => {
  const socket = join(place.folder, 'large.sock');
  const server = serve((host) => new Large(host), { socket });
  t.teardown(() => server.close());
  const it = await Client.connected(socket);
  t.teardown(() => it.close());
  await it.write(CONFIG, 4, 6, 2);
  t.equal(await it.error(COMMAND.read, access(BAR0, 0, (1 << 20) + 4)), EINVAL);
  t.equal(await it.read(BAR0, 4), 7);
});

// ---- Mappings -------------------------------------------------------------------------------------------------------

await t.test('mappings: too long, too high, beyond their file', async (t) => {
  const { socket, server } = served(t);
  const before = descriptors();
  const it = await Client.connected(socket);
  const fd = createMemfd('guest', 4 * PAGE);
  const whole = createMemfd('guest', 2 ** 40);
  const raw = (address: bigint, size: bigint, offset = 0n, fds = [fd]) => {
    const payload = Buffer.alloc(32);
    payload.writeUInt32LE(32, 0);
    payload.writeUInt32LE(3, 4);
    payload.writeBigUInt64LE(offset, 8);
    payload.writeBigUInt64LE(address, 16);
    payload.writeBigUInt64LE(size, 24);
    return it.error(COMMAND.map, payload, { fds });
  };
  const top = 2n ** 64n - 4096n;
  for (const [address, size, offset] of [
    [top, 4096n, 0n],
    [top, 8192n, 0n], // wraps around
    [0n, top, 0n],
    [2n ** 63n, 4096n, 0n],
    [2n ** 53n - 4096n, 4096n, 0n],
    [0x10_0000n, 4096n, top],
    [0x10_0000n, 4096n, 2n ** 63n],
    [0x10_0000n, 5n * 4096n, 0n],
    [0x10_0000n, 4096n, 4n * 4096n],
    [0x10_0000n, 4095n, 0n],
  ] as const)
    for (const fds of [[fd], []]) {
      const error = await raw(address, size, offset, fds);
      const harmless = fds.length === 0 && address === 0x10_0000n && size % 4096n === 0n; // nobody looks at the offset
      t.equal(error, harmless ? 0 : EINVAL, `${address} ${size} ${offset} ${fds.length}`);
      if (harmless) t.equal(await it.unmap(Number(address), Number(size)), 0);
    }
  t.equal(await it.map(0, 2 ** 40 + PAGE, { fd: whole }), ENOSPC, 'all at once');
  t.equal(await it.map(0, 2 ** 40 + PAGE), ENOSPC, 'without a descriptor, too');
  t.equal(await it.map(0, 2 ** 33, { fd: whole }), 0, 'in four pieces');
  t.equal(await it.map(2 ** 33, 2 ** 39 - 2 ** 33), 0, 'half of what there may be');
  t.equal(await it.map(2 ** 41, 2 ** 39), 0, 'the other half');
  t.equal(await it.map(2 ** 42, PAGE, { fd }), ENOSPC, 'and no more');
  t.equal(await it.unmap(2 ** 41, 2 ** 39), 0);
  t.equal(await it.map(2 ** 42, PAGE, { fd }), 0, 'room again');
  await settles(t, maps, 5);
  const argsz = fields([32, 8], [32, 3], [64, 0], [64, 2 ** 43], [64, PAGE]);
  t.equal(await it.error(COMMAND.map, argsz, { fds: [fd] }), EINVAL, 'argsz');
  const small = fields([32, 8], [32, 0], [64, 2 ** 42], [64, PAGE]);
  t.equal(await it.error(COMMAND.unmap, small), EINVAL, 'argsz');
  t.equal(await it.unmap(2 ** 42, PAGE, 4), EINVAL, 'flags that there are not'); // where libvfio-user says ENOTSUP
  t.equal(await it.unmap(2 ** 42, PAGE, 2), EINVAL, 'all, and a place');
  t.equal(await it.unmap(0, 0, 3), EINVAL, 'all, and a bitmap');
  t.equal(await it.unmap(2 ** 42, PAGE), 0, 'it was there all the while');
  t.equal(await it.unmapped(2 ** 42, PAGE), 0);
  closeSync(fd);
  closeSync(whole);
  it.close();
  await until(() => !server.connected, 'gone');
  await settles(t, descriptors, before);
});

await t.test('as many pieces of one file as were promised, in one mapping of ours', async (t) => {
  const { socket, server } = served(t);
  const fd = opened(t, createMemfd('guest', 65_536 * PAGE));
  const it = await Client.connected(socket);
  t.teardown(() => it.close());
  for (let i = 65_535; i > 0; i--)
    if ((await it.map(0x1000_0000 + i * 2 * PAGE, PAGE, { fd, offset: i * PAGE })) !== 0) throw new Error(`piece ${i}`);
  t.equal(await it.map(0, PAGE, { fd }), ENOSPC, 'and no more');
  await settles(t, maps, 1);
  t.equal(await it.unmapped(0x1000_0000, 20_000 * 2 * PAGE), 19_999 * PAGE, 'whatever is inside');
  t.equal(await it.unmapped(0, 2 ** 63), 45_536 * PAGE, 'a whole address space, as an emulated IOMMU asks for');
  await settles(t, maps, 0);
  t.equal(await it.unmapped(2 ** 63, 2 ** 63), 0, 'and the other half, in which nothing is');
  t.equal(await it.unmap(2 ** 63, 2 ** 63 + PAGE), EINVAL, 'but not around its end');
  t.ok(server.connected);
});

await t.test(
  'as much of a file as there may be is mapped in many turns, and nothing is left where its client goes',
  async (t) => {
    const { socket, server } = served(t);
    const before = descriptors();
    const it = await Client.connected(socket);
    const fd = createMemfd('guest', 2 ** 40);
    const reply = it.map(0, 2 ** 40, { fd });
    closeSync(fd);
    for (let seen = 0, turns = 0; turns < 3; await new Promise((resolve) => setImmediate(resolve))) {
      if (maps() > seen) turns++;
      seen = maps();
    }
    t.ok(maps() < 2 ** 9, `${maps()} parts of 512, and others have had three turns`);
    it.close();
    await t.rejects(reply);
    await until(() => !server.connected, 'gone');
    await settles(t, maps, 0);
    await until(() => descriptors() <= before, 'every descriptor closed');

    const next = await Client.connected(socket);
    t.teardown(() => next.close());
    const small = opened(t, createMemfd('guest', 2 ** 33));
    t.equal(await next.map(0, 2 ** 33, { fd: small }), 0, 'and the next one gets his own');
    t.equal(maps(), 4);
    t.equal(await next.unmapped(0, 2 ** 40), 2 ** 33);
    await settles(t, maps, 0);
  },
);

await t.test('parts of files: too many', async (t) => {
  const { socket } = served(t);
  const other = served(t);
  /** How many are taken of files that are mapped once each. */
  const fill = async (it: Client, most: number) => {
    for (let i = 0; i < most; i++) {
      const fd = createMemfd('guest', PAGE);
      const error = await it.map(i * PAGE, PAGE, { fd });
      closeSync(fd);
      if (error === 0) continue;
      t.equal(error, ENOSPC);
      return i;
    }
    return most;
  };
  const it = await Client.connected(socket);
  const two = await Client.connected(other.socket);
  t.equal(await fill(it, 10_000), 10_000);
  const rest = await fill(two, 10_000);
  t.ok(rest > 1000 && rest < 10_000, `${rest} for another card's client: the process has so many in all, and lives`);
  await settles(t, maps, 10_000 + rest);
  t.equal(await it.map(2 ** 40, PAGE), 0, 'memory by message needs none');
  t.equal(await it.unmap(0, 0, 2), 0);
  t.equal(await two.unmap(0, 0, 2), 0);
  t.equal(await fill(two, 1000), 1000, 'room again');
  it.close();
  two.close();
  await until(() => !other.server.connected, 'gone');
  await settles(t, maps, 0);
  t.ok((await serves(socket)) && (await serves(other.socket)));
});

// ---- Conversations --------------------------------------------------------------------------------------------------

const seed = Number(process.env.FAUXNIC_SEED ?? Date.now() % 2 ** 31);
const MESSAGES = 100_000;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Bytes in use that nobody can free. */
async function inUse(): Promise<{ heap: number; resident: number }> {
  for (let i = 0; i < 3; i++) {
    collect();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { heapUsed, external, rss } = process.memoryUsage();
  return { heap: heapUsed + external, resident: rss };
}

await t.test(`a hundred thousand messages of altered conversations, seed ${seed}`, async (t) => {
  const { socket, server, notes } = served(t, 50);
  const [memfd, eventfd] = [opened(t, createMemfd('guest', 16 * PAGE)), opened(t, createEventfd())];
  const random = generator(seed);
  const said = conversation(memfd, eventfd);
  const counts = { messages: 0, right: 0, wrong: 0 };
  const inbox = Buffer.alloc(1 << 16);
  const noFds = receivedDescriptors(0);
  const MB = 2 ** 20;

  /** Reads what has come; false at the connection's end. Replies are counted roughly: a header where one begins. */
  const listen = (it: Client): boolean => {
    for (;;) {
      const got = it.socket.receive(inbox, 0, inbox.length, noFds);
      if (got === END) return false;
      if (got === 0) return true;
      if (got >= 16) counts[(inbox.readUInt32LE(8) & 0x20) === 0 ? 'right' : 'wrong']++;
    }
  };
  const round = async (messages: readonly Said[]) => {
    const it = new Client(socket);
    try {
      for (const { bytes, fds } of messages) {
        it.raw(bytes, fds);
        counts.messages++;
        if (random(4) === 0) await new Promise((resolve) => setImmediate(resolve));
        if (!listen(it)) break;
      }
      await new Promise((resolve) => setImmediate(resolve));
      listen(it);
    } catch (error) {
      const { code } = error as { code?: string };
      if (code !== 'EPIPE' && code !== 'ECONNRESET') throw error; // the server has had enough
    }
    it.close();
  };

  await round(said); // as it should be
  await until(() => !server.connected, 'the first one gone');
  t.same([server.counters.refused, server.counters.dropped], [0, 0], 'unaltered it is right');
  const before = descriptors();
  let early: Awaited<ReturnType<typeof inUse>> | null = null;
  for (let rounds = 0; counts.messages < MESSAGES; rounds++) {
    await round(spoilt(said, random, [memfd, eventfd]));
    notes.length = Math.min(notes.length, 10);
    if (rounds % 500 === 0) t.ok(await serves(socket), `${rounds} conversations`);
    if (early === null && counts.messages > MESSAGES / 4) early = await inUse();
  }
  t.ok(await serves(socket), `FAUXNIC_SEED=${seed}`);
  await until(() => !server.connected, 'the last one gone');
  const late = await inUse();
  t.ok(counts.right > MESSAGES / 10 && counts.wrong > MESSAGES / 200, JSON.stringify(counts));
  t.ok(server.counters.dropped > 50 && server.model.refused.memory > 0, JSON.stringify(server.counters));
  t.notOk(
    notes.find((note) => note.includes('failed')),
    'nothing was thrown',
  );
  await settles(t, descriptors, before);
  await settles(t, maps, 0);
  t.ok(late.heap - early!.heap < 4 * MB, `heap ${early!.heap / MB} to ${late.heap / MB} MiB`);
  t.ok(late.resident - early!.resident < 48 * MB, `resident ${early!.resident / MB} to ${late.resident / MB} MiB`);
});

await t.test('a client that dies anywhere in what it says', async (t) => {
  const { socket, server } = served(t);
  const before = descriptors();
  const [memfd, eventfd] = [createMemfd('guest', 16 * PAGE), createEventfd()];
  const said = conversation(memfd, eventfd);
  const deaths = said.flatMap(({ bytes }, i) =>
    [0, 1, 7, 16, 17, bytes.length - 1, bytes.length].map((cut) => [i, cut]),
  );
  for (const [i, [last, cut]] of (deaths as [number, number][]).entries()) {
    const it = new Client(socket);
    for (const { bytes, fds } of said.slice(0, last)) it.raw(bytes, fds);
    const { bytes, fds } = said[last]!;
    if (cut > 0) it.raw(bytes.subarray(0, cut), fds);
    it.close();
    await until(() => server.counters.clients === i + 1 && !server.connected, `death ${i}, at byte ${cut} of ${last}`);
  }
  t.ok(await serves(socket));
  closeSync(memfd);
  closeSync(eventfd);
  await until(() => !server.connected, 'gone');
  await settles(t, descriptors, before);
  await settles(t, maps, 0);
});

await t.test('descriptors with every message, and more than there may be', async (t) => {
  const { socket, server } = served(t);
  const fds = [createMemfd('guest', PAGE), createEventfd()];
  const before = descriptors();
  const it = await Client.connected(socket);
  for (let i = 0; i < 3000; i++) {
    const count = [1, 2, 16, 17, 100, 253][i % 6]!;
    const some = Array.from({ length: count }, (_, k) => fds[(i + k) % 2]!);
    const error = await it.error(COMMAND.read, access(CONFIG, 0, 4), { fds: some });
    if (error !== (count > 16 ? 7 : EINVAL)) t.fail(`${count} descriptors: ${error}`);
    await until(() => descriptors() <= before + 2, `${count} descriptors closed`); // the connection's two ends are here
  }
  // A message in three parts that come with as many as may come with one, each.
  const message = say(0, COMMAND.setIrqs, fields([32, 20], [32, 4 | 32], [32, 0], [32, 0], [32, 1])).bytes;
  for (const [from, to] of [
    [0, 5],
    [5, 20],
    [20, 36],
  ])
    it.raw(message.subarray(from, to), Array(16).fill(fds[1]));
  t.equal((await it.reply())!.error, 7);
  await settles(t, descriptors, before + 2);
  t.equal(await it.read(CONFIG, 0), ID);
  it.close();
  for (const fd of fds) closeSync(fd);
  await until(() => !server.connected, 'gone');
});

await t.test('a client that never reads, however little it asks for at a time', async (t) => {
  const { socket, server } = served(t);
  const it = await Client.connected(socket);
  for (let sent = 0; server.counters.dropped === 0; sent++) {
    if (sent > 200_000) throw new Error('it may ask for ever');
    try {
      it.send(COMMAND.read, access(BAR0, 0, 64));
    } catch (error) {
      t.match((error as { code?: string }).code, /^(EPIPE|ETIMEDOUT)$/, 'it is not read either'); // in this thread, it waits first
      break;
    }
    if (sent % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => server.counters.dropped === 1, 'the end of patience');
  t.ok(await serves(socket));
});

// ---- Paths ----------------------------------------------------------------------------------------------------------

await t.test('paths that cannot be had, and those that can', async (t) => {
  const at = (name: string) => join(place.folder, name);
  const [file, ours] = [at('precious'), at('ours.sock')];
  writeFileSync(file, 'precious');
  mkdirSync(at('folder'));
  symlinkSync(file, at('link'));
  const { socket: inUse } = served(t);
  const refusals: [path: string, says: RegExp][] = [
    [at('x'.repeat(108 - place.folder.length - 1)), /a path of at most 107 bytes, please/],
    [at('none/x'), /ENOENT: there is no such folder/],
    [at('precious/x'), /ENOTDIR: what should be its folder is none/],
    [file, /EADDRINUSE: something is there already: choose another path/],
    [at('link'), /EADDRINUSE: something is there already/],
    [at('folder'), /EADDRINUSE: something is there already/],
    ['/proc/nic', /ENOENT/],
  ];
  for (const [path, says] of [...refusals, [inUse, /another process serves there/] as const])
    for (const options of [`--socket ${path}`, `--socket ${ours} --peer stream=${path}`]) {
      const { stdout, stderr, exitCode } = await place.fauxnic(`serve e1000 ${options}`);
      t.equal(exitCode, 2, options);
      t.match(stderr, says);
      t.match(stderr, /^fauxnic: [^\n]+$/, 'one line');
      t.equal(stdout, '');
      t.notOk(existsSync(ours), 'nothing is left of what had succeeded');
    }
  t.equal(readFileSync(file, 'utf8'), 'precious');
  t.ok(await serves(inUse));
  const connects: [path: string, code: number, says: RegExp][] = [
    [at('y'.repeat(108 - place.folder.length - 1)), 2, /at most 107 bytes/],
    [at('none/x'), 2, /ENOENT: there is no such socket: is the server running\?/],
    [at('precious/x'), 2, /ENOTDIR/],
    [file, 1, /ECONNREFUSED: nobody listens there any more/],
    [at('folder'), 1, /ECONNREFUSED/],
  ];
  for (const [path, code, says] of connects) {
    const { stdout, stderr, exitCode } = await place.fauxnic(`drive vfio-user:${path} --echo`);
    t.equal(exitCode, code, path);
    t.match(stderr, says);
    t.match(stderr, /^fauxnic: [^\n]+$/, 'one line');
    t.equal(stdout, '');
  }
  const both = await place.fauxnic(`serve e1000 --socket ${ours} --peer stream=${ours}`);
  t.equal(both.exitCode, 2);
  t.notOk(existsSync(ours));
  // Whoever is not root may not write to what is root's.
  if (process.getuid?.() !== 0) return;
  const before = [
    'env',
    '-u',
    'NODE_OPTIONS',
    'setpriv',
    '--reuid',
    '65534',
    '--regid',
    '65534',
    '--clear-groups',
    '--',
  ];
  chmodSync(place.folder, 0o755);
  const denied = await place.fauxnic(`serve e1000 --socket ${at('x')}`, { before });
  chmodSync(place.folder, 0o700);
  t.equal(denied.exitCode, 2);
  t.match(denied.stderr, /^fauxnic: [^\n]*EACCES: this user may not write there$/);
});
