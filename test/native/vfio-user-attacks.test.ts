/**
 * What a client can do to a server with what it shares with it, and with how much it asks for. Nothing of it may end the
 * server, keep it from signals, or from whoever else it serves: every test has a good client beside the bad one.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, ftruncateSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createEventfd, createMemfd, drainEventfd, mapMemory } from '../../native/index.ts';
import { E1000 } from '../../sim/e1000/i82540em.ts';
import { configurationMap } from '../../sim/pci/configuration.ts';
import { type Host, PciFunction } from '../../sim/pci/function.ts';
import { serve } from '../../vm/vfio-user/server.ts';
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
const EINVAL = 22;
const [TDBAL, TDLEN, TDT, TCTL] = [0x3800, 0x3808, 0x3818, 0x400];
const place = new Place();
t.teardown(() => place.remove());
let sockets = 0;
const nextSocket = () => join(place.folder, `${sockets++}.sock`);
const turn = () => new Promise((resolve) => setImmediate(resolve));

function served<Model extends PciFunction>(t: Test, make: (host: Host) => Model) {
  const notes: string[] = [];
  const server = serve(make, { socket: nextSocket(), note: (text) => notes.push(text) });
  t.teardown(() => server.close());
  return { server, socket: server.socket, notes };
}

/** The command, which a blocked server cannot take this process with; it must end at SIGTERM. */
async function commanded(t: Test) {
  const socket = nextSocket();
  const running = place.fauxnic(`serve e1000 --socket ${socket} --json`);
  t.teardown(() => running.kill('SIGKILL'));
  await place.appears(socket);
  /** What it exits with, and how many milliseconds later. */
  const end = async () => {
    const began = performance.now();
    running.kill('SIGTERM');
    const { exitCode } = await running;
    return { exitCode, took: performance.now() - began };
  };
  return { socket, end, pid: running.pid! };
}

async function serves(socket: string): Promise<boolean> {
  const it = await Client.connected(socket);
  const id = await it.read(CONFIG, 0);
  it.close();
  return id === ID;
}

// ---- Memory -----------------------------------------------------------------------------------------------------------

/** Mappings of this process. */
const mappings = () => readFileSync('/proc/self/maps', 'latin1').split('\n').length;

for (const [name, order] of [
  ['up', (i: number) => 2 * i],
  ['down', (i: number, pages: number) => pages - 1 - 2 * i],
] as const)
  await t.test(`a file that was cut short and is touched page by page, ${name}, takes one mapping more`, async (t) => {
    const pages = 80_000;
    const [fd, bell] = [createMemfd('cut', pages * PAGE), createEventfd()];
    const memory = mapMemory(fd, { length: pages * PAGE, bell });
    const view = new Uint8Array(memory.buffer);
    const before = mappings();
    t.equal(drainEventfd(bell), 0);
    ftruncateSync(fd, 0);
    for (let i = 0; i < pages / 2; i++) view[PAGE * order(i, pages)]!++;
    // One more, and what the engine takes for itself meanwhile.
    t.ok(mappings() < before + 100, `${mappings()} mappings, and ${before} before`);
    t.ok(drainEventfd(bell) > 0, 'somebody is told');
    memory.close();
    for (const one of [fd, bell]) closeSync(one);
  });

await t.test('huge pages that are cut short', async (t) => {
  const huge = 2 * 2 ** 20;
  const [fd, bell] = [createMemfd('huge', 2 * huge, { huge: true }), createEventfd()];
  t.teardown(() => [fd, bell].map((one) => closeSync(one)));
  let memory: ReturnType<typeof mapMemory>;
  try {
    memory = mapMemory(fd, { length: 2 * huge, bell });
  } catch (error) {
    return t.comment(`not tried: ${(error as Error).message}`);
  }
  const view = new Uint8Array(memory.buffer).fill(7);
  ftruncateSync(fd, huge);
  t.equal(view[huge + 5 * PAGE], 0);
  t.equal(view[huge - 1], 7, 'what is left is left');
  t.equal(drainEventfd(bell), 1, 'one fault for all of it');
  return memory.close();
});

await t.test('a client that cuts its memory short is dropped', async (t) => {
  const { socket, server, notes } = served(t, (host) => new E1000(host));
  const fd = createMemfd('guest', 64 * PAGE);
  const it = await Client.connected(socket);
  t.equal(await it.map(0, 64 * PAGE, { fd }), 0);
  await it.write(CONFIG, 4, 6, 2);
  for (const [offset, value] of [
    [TDBAL, 0x1000],
    [TDLEN, 128],
    [TCTL, 0x0004_010a],
  ] as const)
    await it.write(BAR0, offset, value);
  ftruncateSync(fd, 0);
  it.post(BAR0, TDT, 3);
  await until(() => server.counters.dropped === 1, 'the client dropped');
  t.match(notes.at(-1), /^client dropped: it cut a file short/);
  const next = await Client.connected(socket);
  closeSync(fd);
  t.equal(await next.read(CONFIG, 0), ID);
  next.close();
  await until(() => !server.connected, 'gone');
  t.equal(server.counters.dropped, 1, 'the next one had cut nothing');
});

await t.test('memory that somebody may have to be waited for is not mapped', async (t) => {
  const { socket } = served(t, (host) => new E1000(host));
  const it = await Client.connected(socket);
  t.teardown(() => it.close());
  for (const path of ['/dev/zero', '/proc/self/status', '/proc/self/mem']) {
    const fd = openSync(path, 'r');
    t.equal(await it.map(0, PAGE, { fd, flags: 1 }), EINVAL, path);
    closeSync(fd);
  }
});

// ---- Eventfds ---------------------------------------------------------------------------------------------------------

/** A client of which the eventfds are what a hostile one's may be: Node makes none of these. */
const EVENTFD_CLIENT = `
import array, fcntl, os, socket, struct, sys, time
path, case, index, action = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM); s.connect(path); s.settimeout(5)
def ask(command, payload, fds=()):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
    s.sendmsg([struct.pack('<HHIII', 1, command, 16 + len(payload), 0, 0) + payload], rights)
    header = s.recv(16, socket.MSG_WAITALL); size, flags = struct.unpack('<II', header[4:12])
    if size > 16: s.recv(size - 16, socket.MSG_WAITALL)
    assert flags & 0x20 == 0, struct.unpack('<I', header[12:16])
ask(1, struct.pack('<HH', 0, 0) + b'{}\\0')
fd = os.eventfd(0, os.EFD_SEMAPHORE if case == 'semaphore' else 0)
if case != 'empty': os.eventfd_write(fd, 0xfffffffffffffffe)
ask(8, struct.pack('<IIIII', 20, 4 | action, index, 0, 1), [fd])
fcntl.fcntl(fd, fcntl.F_SETFL, 0)
if action == 32:
    for i in range(3): ask(8, struct.pack('<IIIII', 20, 1 | 32, index, 0, 1))
else:
    time.sleep(1)
ask(9, struct.pack('<QII', 0, 7, 4))
`;

/** Clock ticks, of a hundredth of a second each, that a process has worked (proc(5), stat: utime and stime). */
const ticks = (pid: number) => {
  const [utime, stime] = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ').slice(11, 13);
  return Number(utime) + Number(stime);
};

await t.test('eventfds that a client fills, empties, or makes blocking again', async (t) => {
  const { socket, end, pid } = await commanded(t);
  const [TRIGGER, UNMASK, MASK] = [32, 16, 8];
  const cases = [
    ...[0, 1, 3, 4].flatMap((index) => [['full', index, TRIGGER]] as const),
    ...(['semaphore', 'empty', 'full'] as const).map((kind) => [kind, 0, UNMASK] as const),
    ['semaphore', 0, MASK] as const,
  ];
  for (const [kind, index, action] of cases) {
    const before = ticks(pid);
    const args = ['-c', EVENTFD_CLIENT, socket, kind, String(index), String(action)];
    const { status, stderr } = spawnSync('python3', args, { encoding: 'utf8', timeout: 20_000 });
    t.equal(status, 0, `${kind} eventfd, index ${index}, action ${action}: ${stderr.trim().split('\n').at(-1)}`);
    t.ok(ticks(pid) - before < 60, `and it does not keep the server busy: ${ticks(pid) - before} ticks`);
  }
  t.ok(await serves(socket));
  t.match(await end(), { exitCode: 143 });
});

// ---- Work -------------------------------------------------------------------------------------------------------------

const SLOW = configurationMap('slow', {
  identity: { vendor: 0x8086, device: 0x100e, revision: 0, subsystemVendor: 0, subsystem: 0, class: 0xff0000 },
  bars: { 0: { kind: 'memory', size: 4 * PAGE } },
});

/** Each access takes a millisecond, as a doorbell may. */
class Slow extends PciFunction {
  readonly writes: number[] = [];
  accesses = 0;
  constructor(host: Host) {
    super(host, SLOW);
    this.addBar(0, {
      kind: 'memory',
      size: 4 * PAGE,
      read: (offset) => this.#work(offset),
      write: (offset, _width, value) => {
        this.#work(0);
        this.writes.push(value);
        return offset;
      },
    });
  }
  #work(result: number): number {
    this.accesses++;
    for (const end = performance.now() + 1; performance.now() < end; );
    return result;
  }
  protected override resetChip(): void {}
  protected override traceChanged(): void {}
}

/** Most accesses between two turns of the event loop, until something has come. */
async function mostAccesses(model: Slow, awaited: Promise<unknown>): Promise<number> {
  let [most, last, done] = [0, model.accesses, false];
  void awaited.then(() => {
    done = true;
  });
  while (!done) {
    await turn();
    most = Math.max(most, model.accesses - last);
    last = model.accesses;
  }
  return most;
}

await t.test('one message with much work in it has as many turns as it needs', async (t) => {
  const { server, socket } = served(t, (host) => new Slow(host));
  const it = await Client.connected(socket);
  await it.write(CONFIG, 4, 6, 2);
  const numbers = Array.from({ length: 200 }, (_, i) => i);
  const entries = numbers.map((value) => fields([64, 0], [32, BAR0], [32, 4], [64, value]));
  const multi = it.ask(COMMAND.writeMulti, Buffer.concat([fields([64, 200]), ...entries]));
  t.ok((await mostAccesses(server.model, multi)) < 12, 'WRITE_MULTI');
  t.same((await multi).payload, fields([64, 200]));
  t.same(server.model.writes, numbers, 'each once, in order');

  const data = Buffer.from(Uint32Array.from(numbers.concat(numbers)).buffer);
  const write = it.ask(COMMAND.write, Buffer.concat([access(BAR0, 0, data.length), data]));
  const last = it.send(COMMAND.read, access(CONFIG, 0, 4));
  t.ok((await mostAccesses(server.model, write)) < 2 * 64 + 12, 'REGION_WRITE');
  t.same((await write).payload, access(BAR0, 0, data.length));
  t.same(server.model.writes.slice(200), numbers.concat(numbers));
  t.equal((await it.reply())!.id, last, 'what came behind it is answered behind it');

  const read = it.ask(COMMAND.read, access(BAR0, 4, 1600));
  t.ok((await mostAccesses(server.model, read)) < 2 * 64 + 12, 'REGION_READ');
  const { payload } = await read;
  t.same(payload.subarray(0, 16), access(BAR0, 4, 1600));
  t.same(
    Array.from({ length: 400 }, (_, i) => payload.readUInt32LE(16 + 4 * i)),
    numbers.concat(numbers.map((i) => i + 200)).map((i) => 4 * i + 4),
  );
  const before = server.model.writes.length;
  it.send(COMMAND.writeMulti, Buffer.concat([fields([64, 200]), ...entries]));
  await until(() => server.model.writes.length > before, 'the first write');
  it.close();
  await until(() => !server.connected, 'the end');
  t.ok(server.model.writes.length < before + 100, 'nobody works for a client that has gone');
});

await t.test('SIGTERM in the midst of it', async (t) => {
  const { socket, end } = await commanded(t);
  const it = await Client.connected(socket);
  t.teardown(() => it.close());
  await it.write(CONFIG, 4, 6, 2);
  const fd = createMemfd('guest', 2 ** 21);
  t.equal(await it.map(0, 2 ** 21, { fd }), 0);
  closeSync(fd);
  // A ring of 65528 descriptors with nothing in them, in loopback.
  const [CTRL, RCTL, last] = [0, 0x100, 65_527];
  for (const [offset, value] of [
    [CTRL, 0x40],
    [RCTL, 0x80da],
    [TDLEN, 16 * (last + 1)],
    [TCTL, 0x0004_010a],
  ] as const)
    await it.write(BAR0, offset, value);
  const entries = Array.from({ length: 43_000 }, (_, i) =>
    fields([64, TDT], [32, BAR0], [32, 4], [64, i % 2 === 0 ? last : 0]),
  );
  const message = Buffer.concat([fields([64, entries.length]), ...entries]);
  it.send(COMMAND.writeMulti, message);
  await new Promise((resolve) => setTimeout(resolve, 500));
  const { exitCode, took } = await end();
  t.equal(exitCode, 143);
  t.ok(took < 5000, `${took} ms`);
});

// ---- Time -------------------------------------------------------------------------------------------------------------

await t.test('silent clients keep nobody waiting', async (t) => {
  const { server, socket } = served(t, (host) => new E1000(host));
  const half = fields([16, 0], [16, COMMAND.version], [32, 100], [32, 0], [32, 0]);
  const silent = Array.from({ length: 7 }, (_, i) => {
    const it = new Client(socket);
    if (i % 2 === 1) it.raw(half.subarray(0, i));
    return it;
  });
  t.ok(await serves(socket));
  t.same([server.counters.clients, server.counters.dropped], [8, 0], 'before any of them has lost its chance');
  const late = silent[4]!;
  await late.version();
  t.equal(await late.read(CONFIG, 0), ID, 'which a late one takes');
  late.close();
  for (const it of silent) it.close();
  await until(() => !server.connected, 'gone');
});

await t.test('and many of them make way', async (t) => {
  const { server, socket } = served(t, (host) => new E1000(host));
  const one = await Client.connected(socket);
  const silent: Client[] = [];
  for (let i = 0; i < 60; i++) silent.push(new Client(socket));
  await until(() => server.counters.clients === 61, 'all accepted');
  t.equal(await one.read(CONFIG, 0), ID, 'who is served stays');
  const two = new Client(socket);
  const answer = two.version();
  for (let i = 0; i < 10; i++) silent.push(new Client(socket));
  one.close();
  t.equal((await answer).error, 0);
  t.equal(await two.read(CONFIG, 0), ID);
  for (const it of [two, ...silent]) it.close();
  await until(() => !server.connected, 'gone');
});

await t.test('a client that does not read its replies', async (t) => {
  const { server, socket } = served(t, (host) => new E1000(host));
  const other = served(t, (host) => new E1000(host));
  const it = await Client.connected(socket);
  const ids = Array.from({ length: 10 }, () => it.send(COMMAND.read, access(BAR0, 0, 0x20000)));
  t.ok(await serves(other.socket));
  t.equal(server.counters.dropped, 0, 'another server of the thread has its turns meanwhile');
  for (const id of ids) {
    const reply = await it.reply();
    t.match(reply, { id, error: 0 });
    t.equal(reply!.payload.length, 16 + 0x20000, 'nothing of it is lost');
  }
  it.close();
});

await t.test('a client that answers late for its memory', async (t) => {
  const { socket, end } = await commanded(t);
  const it = await Client.connected(socket);
  t.teardown(() => it.close());
  t.equal(await it.map(0, 16 * PAGE), 0);
  await it.write(CONFIG, 4, 6, 2);
  for (const [offset, value] of [
    [TDBAL, 0x1000],
    [TDLEN, 0x1000],
    [TCTL, 0x0004_010a],
  ] as const)
    await it.write(BAR0, offset, value);
  it.post(BAR0, TDT, 200); // and never a word
  const next = new Client(socket);
  t.teardown(() => next.close());
  const began = performance.now();
  await next.version();
  const took = performance.now() - began;
  t.equal(await next.read(CONFIG, 0), ID);
  t.ok(took < 3000, `the next one is served after ${took} ms`);
  next.close();
  t.match(await end(), { exitCode: 143 });
});

// ---- Descriptors that are no memory -----------------------------------------------------------------------------------

/** Sends a TCP socket that lingers for a minute, as its last owner: with a request, and with one that nobody reads. */
const LINGER_CLIENT = `
import array, os, socket, struct, sys
def lingering():
    listener = socket.socket(); listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.bind(('127.0.0.1', 0)); listener.listen()
    it = socket.socket(); it.connect(listener.getsockname()); it.setblocking(False)
    kept.append(listener.accept())
    try:
        while True: it.send(bytes(65536))
    except BlockingIOError: pass
    it.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 60))
    return it.detach()
kept = []
def send(command, payload, fds=()):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
    message = struct.pack('<HHIII', 1, command, 16 + len(payload), 0, 0) + payload
    s.sendmsg([message[:4]], rights)
    for fd in fds: os.close(fd)  # first, or it is we who linger
    s.sendall(message[4:])
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM); s.connect(sys.argv[1]); s.settimeout(20)
send(1, struct.pack('<HH', 0, 0) + b'{}\\0'); s.recv(4096)
send(9, struct.pack('<QII', 0, 7, 4), [lingering()]); s.recv(4096)
print('answered', flush=True)
send(99, bytes(2 ** 16), [lingering()]); send(0, b'', [lingering()])
s.close()
sys.stdin.read()
`;

await t.test('descriptors that are slow to close', { timeout: 120_000 }, async (t) => {
  const { socket, end } = await commanded(t);
  const bad = spawn('python3', ['-c', LINGER_CLIENT, socket], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.teardown(() => bad.kill('SIGKILL'));
  const began = performance.now();
  await once(bad.stdout, 'data');
  t.ok(await serves(socket));
  t.ok(performance.now() - began < 10_000, 'nobody has lingered');
  const { exitCode, took } = await end();
  t.equal(exitCode, 143);
  t.ok(took < 5000, `${took} ms`);
});

await t.test('no more files may be open', { timeout: 120_000 }, async (t) => {
  const { socket, end, pid } = await commanded(t);
  const it = await Client.connected(socket);
  const fd = createMemfd('guest', PAGE);
  const limit = (files: number) => spawnSync('prlimit', ['--pid', String(pid), `--nofile=${files}:`]);
  const before = readFileSync(`/proc/${pid}/limits`, 'latin1');
  const files = Number(/^Max open files +(\d+)/m.exec(before)![1]);
  limit(5);
  const next = new Client(socket);
  const answer = next.version();
  t.equal(await it.read(CONFIG, 0), ID, 'who is served goes on');
  it.send(COMMAND.map, fields([32, 32], [32, 3], [64, 0], [64, 0], [64, PAGE]), { fds: [fd] });
  t.equal(await it.reply(), null, 'whose descriptor is lost is told, and not taken to have sent none');
  it.close();
  closeSync(fd);
  limit(files);
  t.equal((await answer).error, 0, 'who waited is served once there is room');
  next.close();
  t.match(await end(), { exitCode: 143 });
});
