import { closeSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { MachineClock } from '../../drivers/backends/machine-clock.ts';
import { connectUnix, createMemfd, END, mapMemory, receivedDescriptors, type UnixSocket } from '../../native/index.ts';
import { Clock } from '../../sim/clock.ts';
import { E1000 } from '../../sim/e1000/i82540em.ts';
import { Reactor } from '../../vm/uml/reactor.ts';
import { serveFunction } from '../../vm/uml/server.ts';
import { RealTime } from '../../vm/uml/time.ts';
import { Place } from './command.ts';

const HEADER = 12;
const VERSION = 1;
const REPLY = 4;
const NEED_REPLY = 8;
const [GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE, SET_VRING_NUM, SET_VRING_ADDR] = [
  1, 2, 3, 5, 8, 9,
] as const;
const [GET_PROTOCOL_FEATURES, SET_BACKEND_REQUEST_FD, GET_CONFIG, KICK] = [15, 21, 24, 35] as const;
const MEMORY = 1 << 20;
const BASE = 0x10_0000;

const place = new Place();
t.teardown(() => place.remove());
let sockets = 0;

function served() {
  const notes: string[] = [];
  const reactor = new Reactor();
  const time = new RealTime(new MachineClock(new Clock()));
  const socket = join(place.folder, `vhost${sockets++}`);
  const server = serveFunction((host) => new E1000(host), { socket, reactor, time, note: (text) => notes.push(text) });
  return { server, notes };
}

const words = (...values: readonly (number | bigint)[]): Uint8Array => {
  const bytes = new DataView(
    new ArrayBuffer(values.reduce<number>((sum, v) => sum + (typeof v === 'bigint' ? 8 : 4), 0)),
  );
  let at = 0;
  for (const value of values) {
    if (typeof value === 'bigint') bytes.setBigUint64(at, value, true);
    else bytes.setUint32(at, value, true);
    at += typeof value === 'bigint' ? 8 : 4;
  }
  return new Uint8Array(bytes.buffer);
};

/** A kernel that says what a test wants. */
class FakeKernel {
  readonly socket: UnixSocket;
  readonly #fds = receivedDescriptors(1);

  constructor(path: string) {
    this.socket = connectUnix(path);
  }

  send(
    request: number,
    payload: Uint8Array = new Uint8Array(0),
    fds: readonly number[] = [],
    flags = VERSION | NEED_REPLY,
  ) {
    const message = new Uint8Array(HEADER + payload.length);
    message.set(words(request, flags, payload.length));
    message.set(payload, HEADER);
    this.socket.send(message, 0, message.length, Int32Array.from(fds));
  }

  /** The reply's payload, or null where the server has hung up. */
  async reply(): Promise<DataView | null> {
    const bytes = new Uint8Array(1024);
    for (let got = 0; ; ) {
      const part = this.socket.receive(bytes, got, bytes.length - got, this.#fds);
      if (part === END) return null;
      got += part;
      const view = new DataView(bytes.buffer);
      if (got >= HEADER && got === HEADER + view.getUint32(8, true)) {
        t.equal(view.getUint32(4, true), VERSION | REPLY);
        return new DataView(bytes.buffer, HEADER, got - HEADER);
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  async ask(request: number, payload?: Uint8Array, fds?: readonly number[]): Promise<bigint | null> {
    this.send(request, payload, fds);
    return (await this.reply())?.getBigUint64(0, true) ?? null;
  }
}

const table = (start: number, length: number, offset = 0) =>
  words(1, 0, BigInt(start), BigInt(length), BigInt(start), BigInt(offset), 0n, 0n, 0n, 0n);

/** Introduces itself as UML does, up to two queues in its memory. */
async function introduced(path: string) {
  const kernel = new FakeKernel(path);
  const fd = createMemfd('kernel', MEMORY);
  const memory = new Uint8Array(mapMemory(fd, { length: MEMORY }).buffer);
  t.equal(await kernel.ask(SET_OWNER), 0n);
  const features = await kernel.ask(GET_FEATURES);
  t.equal(features, (1n << 30n) | (1n << 32n));
  t.equal(await kernel.ask(SET_FEATURES, words(features!)), 0n);
  t.equal(await kernel.ask(GET_PROTOCOL_FEATURES), 0x4228n);
  t.equal(await kernel.ask(SET_MEM_TABLE, table(BASE, MEMORY), [fd]), 0n);
  closeSync(fd);
  for (const index of [0, 1]) {
    const at = BigInt(BASE + index * 0x4000);
    t.equal(await kernel.ask(SET_VRING_NUM, words(index, 16)), 0n);
    t.equal(await kernel.ask(SET_VRING_ADDR, words(index, 0, at, at + 0x2000n, at + 0x1000n, 0n)), 0n);
  }
  return { kernel, memory: new DataView(memory.buffer) };
}

void t.test('a kernel reads its card through a queue in its own memory', async (t) => {
  const { server } = served();
  t.teardown(() => server.close());
  const { kernel, memory } = await introduced(server.socket);
  const [request, answer] = [0x8000, 0x9000];
  memory.setUint8(request, 1);
  memory.setUint32(request + 4, 4, true);
  for (const [index, at, length, flags] of [
    [0, request, 16, 1],
    [1, answer, 8, 2],
  ] as const) {
    memory.setBigUint64(16 * index, BigInt(BASE + at), true);
    memory.setUint32(16 * index + 8, length, true);
    memory.setUint32(16 * index + 12, flags | ((index + 1) << 16), true);
  }
  memory.setUint16(0x1000 + 2, 1, true);
  t.equal(await kernel.ask(KICK, words(0, 0)), 0n);
  t.equal(memory.getUint32(answer, true), 0x100e8086);
  t.same([memory.getUint16(0x2002, true), memory.getUint32(0x2008, true)], [1, 4]);
  t.equal(server.device.accesses, 1);
});

void t.test('requests that make no sense are refused and counted, and the kernel is served on', async (t) => {
  const { server, notes } = served();
  t.teardown(() => server.close());
  const { kernel } = await introduced(server.socket);
  const fd = createMemfd('other', 4096);
  for (const [request, payload, fds] of [
    [99, new Uint8Array(0), []],
    [SET_FEATURES, words(1n << 28n), []],
    [SET_FEATURES, words(1), []],
    [SET_MEM_TABLE, table(BASE, MEMORY), []],
    [SET_MEM_TABLE, table(BASE, 2 * 4096), [fd]], // more than there is
    [SET_MEM_TABLE, table(BASE + 1, 4096), [fd]],
    [SET_BACKEND_REQUEST_FD, new Uint8Array(0), [fd]], // no socket
    [SET_VRING_NUM, words(7, 16), []],
    [SET_VRING_ADDR, words(0, 0, 0n, 0n, 0n, 0n), []],
    [KICK, words(9, 0), []],
    [KICK, words(0), []],
    [GET_CONFIG, words(0, 4, 0), []],
  ] as const)
    t.equal(await kernel.ask(request, payload, fds), 1n, `request ${request}`);
  closeSync(fd);
  t.equal(
    Object.values(server.device.refused).reduce((sum, count) => sum + count, 0),
    12,
  );
  t.equal(await kernel.ask(GET_FEATURES), (1n << 30n) | (1n << 32n));
  t.same(notes, []);
});

void t.test('a kernel that breaks the protocol is dropped, and the next one is served', async (t) => {
  const { server, notes } = served();
  t.teardown(() => server.close());
  for (const [bytes, why] of [
    [words(GET_FEATURES, VERSION, 0xffffffff), /a message of \d+ bytes/],
    [words(GET_FEATURES, VERSION | REPLY, 0), /of another version, or a reply/],
    [words(GET_FEATURES, 7, 0), /of another version/],
  ] as const) {
    const kernel = new FakeKernel(server.socket);
    kernel.socket.send(bytes);
    t.equal(await kernel.reply(), null);
    t.match(notes.at(-1), why);
    kernel.socket.close();
  }
  t.equal(server.counters.dropped, 3);
  await introduced(server.socket);
});

void t.test('a kernel that comes and goes leaves nothing behind', async (t) => {
  const { server } = served();
  t.teardown(() => server.close());
  const count = () => readdirSync('/proc/self/fd').length;
  let before = 0;
  for (let round = 0; round < 5; round++) {
    const { kernel } = await introduced(server.socket);
    const fds = Array.from({ length: 5 }, () => createMemfd('flood', 4096));
    kernel.send(SET_OWNER, new Uint8Array(0), fds);
    await kernel.reply();
    for (const fd of fds) closeSync(fd);
    kernel.socket.close();
    await new Promise((resolve) => setTimeout(resolve, 50));
    if (round === 0) before = count();
  }
  t.equal(count(), before);
  t.equal(server.counters.clients, 5);
});
