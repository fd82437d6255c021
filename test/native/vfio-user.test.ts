import { closeSync, existsSync, ftruncateSync, openSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MachineClock } from '../../drivers/backends/machine-clock.ts';
import {
  connectUnix,
  createEventfd,
  createMemfd,
  listenUnix,
  type MappedMemory,
  mapMemory,
  receivedDescriptors,
  signalEventfd,
} from '../../native/index.ts';
import { Clock } from '../../sim/clock.ts';
import { E1000 } from '../../sim/e1000/i82540em.ts';
import { msiX } from '../../sim/pci/capabilities/index.ts';
import { configurationMap } from '../../sim/pci/configuration.ts';
import { type Host, PciFunction } from '../../sim/pci/function.ts';
import { HostPort } from '../../sim/wire/host-port.ts';
import { Link } from '../../sim/wire/link.ts';
import { serve } from '../../vm/vfio-user/server.ts';
import { until } from '../util/until.ts';
import { Place } from './command.ts';
import { enterNamespace } from './lane.ts';
import { access, Client, COMMAND, closeAll, fields, signals } from './vfio-client.ts';

enterNamespace(import.meta.url);
const { t } = await import('tap');

interface Test {
  teardown(action: () => void): unknown;
}

const EINVAL = 22;
const EEXIST = 17;
const ENOTSUP = 95;
const BAR0 = 0;
const CONFIG = 7;
const PAGE = 4096;
const NONE = 1;
const BOOL = 2;
const EVENTFD = 4;
const MASK = 8;
const UNMASK = 16;
const TRIGGER = 32;
const INTX = 0;
const MSI = 1;
const MSIX = 2;
const COMMAND_REGISTER = 4;

// The 82540EM's (Intel 317453, 13.4).
const [CTRL, STATUS, ICR, ICS, IMS, TCTL, RAL, TDBAL, TDBAH, TDLEN, TDT] = [
  0x0, 0x8, 0xc0, 0xc8, 0xd0, 0x400, 0x5400, 0x3800, 0x3804, 0x3808, 0x3818,
] as const;

const place = new Place();
t.teardown(() => place.remove());
let sockets = 0;
const refusal = (code: string) => ({ name: 'NativeError', code });
const descriptors = () => readdirSync('/proc/self/fd').length;

/** A served model, whose wire ends in the test. */
function served(t: Test, { patience = 5000 } = {}) {
  const socket = join(place.folder, `${sockets++}.sock`);
  const clock = new Clock();
  const machine = new MachineClock(clock);
  const notes: string[] = [];
  const server = serve((host) => new E1000(host), {
    socket,
    patience,
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
  return { server, socket, far, notes };
}

async function client(t: Test, socket: string): Promise<Client> {
  const it = await Client.connected(socket);
  t.teardown(() => it.close());
  return it;
}

function sharedMemory(t: Test, bytes: number): { fd: number; memory: MappedMemory; bytes: Buffer } {
  const fd = createMemfd('guest', bytes);
  const memory = mapMemory(fd, { length: bytes });
  t.teardown(() => {
    memory.close();
    closeSync(fd);
  });
  return { fd, memory, bytes: Buffer.from(memory.buffer) };
}

function eventfd(t: Test): number {
  const fd = createEventfd();
  t.teardown(() => closeSync(fd));
  return fd;
}

/** The event loop has looked at every descriptor. */
async function turns(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Memory decoding and bus mastering on. */
const enable = (it: Client) => it.write(CONFIG, COMMAND_REGISTER, 6, 2);

await t.test('mapped memory is shared, and gone once it is closed', async (t) => {
  const fd = createMemfd('shared', 3 * PAGE);
  const [one, two] = [mapMemory(fd, { length: 3 * PAGE }), mapMemory(fd, { offset: PAGE, length: PAGE })];
  const view = new Uint8Array(one.buffer);
  new Uint8Array(two.buffer)[5] = 77;
  t.equal(view[PAGE + 5], 77);
  const own = mapMemory(fd, { length: PAGE, shared: false });
  new Uint8Array(own.buffer)[0] = 1;
  t.equal(view[0], 0, 'not shared: nobody else sees what is written');
  one.close();
  one.close();
  t.equal(view.length, 0, 'the view reaches nothing any more');
  t.equal(one.buffer.byteLength, 0);
  t.equal(new Uint8Array(two.buffer)[5], 77);
  two.close();
  own.close();
  t.throws(() => mapMemory(fd, { length: 4 * PAGE }), refusal('ENXIO'), 'beyond its end');
  t.throws(() => mapMemory(fd, { offset: 2 * PAGE, length: 2 * PAGE }), refusal('ENXIO'));
  t.throws(() => mapMemory(fd, { offset: 1, length: 1 }), refusal('EINVAL'));
  for (const length of [0, -1, 1.5, NaN, 2 ** 32 + 1])
    t.throws(() => mapMemory(fd, { length }), refusal('EINVAL'), `${length}`);
  closeSync(fd);
  t.throws(() => mapMemory(fd, { length: PAGE }), refusal('EBADF'));
});

await t.test('a file that is cut short under its mapping is not the end', async (t) => {
  const fd = createMemfd('shrinks', 2 * PAGE);
  const memory = mapMemory(fd, { length: 2 * PAGE });
  const view = new Uint8Array(memory.buffer).fill(9);
  ftruncateSync(fd, PAGE);
  t.equal(view[PAGE - 1], 9);
  t.equal(view[PAGE], 0, 'zeros, and the process goes on');
  view[PAGE] = 1;
  ftruncateSync(fd, 0);
  view.fill(1);
  t.equal(view[0], 1);
  memory.close();
  closeSync(fd);
});

await t.test('sockets carry descriptors, and lose none', async (t) => {
  const path = join(place.folder, 'pair');
  const before = descriptors();
  const listener = listenUnix(path);
  t.equal(statSync(path).mode & 0o777, 0o600, 'for its owner alone');
  t.throws(() => listenUnix(path), refusal('EADDRINUSE'));
  listener.accept()?.close(); // who found out that somebody listens
  t.equal(listener.accept(), null);
  const near = connectUnix(path);
  const far = listener.accept()!;
  const fd = createMemfd('x', PAGE);
  near.send(Buffer.from('hello'), 0, 5, Int32Array.of(fd, fd, fd));
  const bytes = new Uint8Array(16);
  const fds = receivedDescriptors(2);
  t.equal(far.receive(bytes, 0, 16, fds), 5);
  t.equal(fds[0], 3, 'three came, two fit');
  closeAll(fds[1]!, fds[2]!);
  t.equal(far.receive(bytes, 0, 16, fds), 0, 'nothing waits');
  t.equal(fds[0], 0);
  t.throws(() => far.receive(bytes, 10, 7, fds), refusal('EINVAL'));
  const much = new Uint8Array(1 << 22);
  t.throws(() => near.send(much, 0, much.length, new Int32Array(0), 10), refusal('ETIMEDOUT'), 'nobody reads');
  near.close();
  t.throws(() => near.send(bytes), refusal('CLOSED'));
  far.close();
  listener.close();
  listener.close();
  closeSync(fd);
  t.notOk(existsSync(path));
  await until(() => descriptors() <= before, 'every descriptor closed');
  t.throws(() => connectUnix(path), refusal('ENOENT'));
  t.throws(() => connectUnix('x'.repeat(108)), refusal('ENAMETOOLONG'));
  writeFileSync(path, 'precious');
  t.throws(() => listenUnix(path), refusal('EADDRINUSE'), 'what is no socket stays');
});

await t.test('the whole introduction', async (t) => {
  const { socket } = served(t);
  const it = new Client(socket);
  t.teardown(() => it.close());
  const { payload, flags } = await it.version();
  t.equal(flags, 1);
  t.equal(payload.readUInt32LE(0), 0, '0.0');
  t.equal(payload.at(-1), 0);
  t.match(JSON.parse(payload.subarray(4, -1).toString()), {
    capabilities: { max_msg_fds: 16, max_data_xfer_size: 1 << 20, pgsizes: 4096 },
  });
  const info = (await it.ask(COMMAND.deviceInfo, fields([32, 16], [32, 0], [32, 0], [32, 0]))).payload;
  t.same(info, fields([32, 16], [32, 3], [32, 9], [32, 5]), 'resettable, PCI, 9 regions, 5 interrupts');
  const sizes = [0x20000, 0, 64, 0, 0, 0, 0, 256, 0];
  for (const [index, size] of sizes.entries()) {
    const ask = fields([32, 32], [32, 0], [32, index], [32, 0], [64, 0], [64, 0]);
    const { payload } = await it.ask(COMMAND.regionInfo, ask);
    t.same(payload, fields([32, 32], [32, size > 0 ? 3 : 0], [32, index], [32, 0], [64, size], [64, 0]), `${index}`);
  }
  const counts = [1, 1, 0, 1, 1];
  for (const [index, count] of counts.entries()) {
    const { payload } = await it.ask(COMMAND.irqInfo, fields([32, 16], [32, 0], [32, index], [32, 0]));
    t.same(payload, fields([32, 16], [32, [7, 3, 0, 1, 1][index]!], [32, index], [32, count]), `irq ${index}`);
  }
  t.equal(await it.read(CONFIG, 0), 0x100e8086);
});

await t.test('registers, in every width, posted and in batches', async (t) => {
  const { socket, server } = served(t);
  const it = await client(t, socket);
  t.equal(await it.read(BAR0, STATUS), 0xffffffff, 'decoding is off');
  t.equal(await enable(it), 0);
  t.equal(await it.read(CONFIG, COMMAND_REGISTER, 2), 6);
  t.equal(await it.read(BAR0, RAL), server.model.registers.words[RAL / 4]);
  t.equal(await it.write(BAR0, TDBAL, 0x12345670), 0);
  t.equal(await it.read(BAR0, TDBAL), 0x12345670);
  it.post(BAR0, TDBAL, 0xabcdef0);
  it.post(BAR0, 0x20000, 1); // refused, and still not answered
  t.equal(await it.read(BAR0, TDBAL), 0xabcdef0, 'no reply in between');
  const entry = (offset: number, value: number, count = 4) =>
    fields([64, offset], [32, BAR0], [32, count], [64, value]);
  const batch = Buffer.concat([fields([64, 2]), entry(TDBAL, 0x1000), entry(TDLEN, 0x100)]);
  t.same((await it.ask(COMMAND.writeMulti, batch)).payload, fields([64, 2]));
  t.equal(await it.read(BAR0, TDBAL), 0x1000);
  t.equal(await it.read(BAR0, TDLEN), 0x100);
  const { payload } = await it.ask(COMMAND.read, access(CONFIG, 1, 7));
  t.equal(payload.subarray(16).toString('hex'), '800e1006001000', 'from an odd place on');
  const whole = await it.ask(COMMAND.read, access(BAR0, 0, 0x20000));
  t.equal(whole.payload.length, 16 + 0x20000);
  t.equal(await it.error(COMMAND.reset), 0);
  t.equal(await it.read(CONFIG, COMMAND_REGISTER, 2), 0, 'reset');
});

/** A legacy transmit descriptor (3.3.3) for `length` bytes at `address`: EOP, IFCS and RS. */
function descriptor(into: Buffer, at: number, address: number, length: number): void {
  into.writeBigUInt64LE(BigInt(address), at);
  into.writeUInt32LE(length | (0x0b << 24), at + 8);
  into.writeUInt32LE(0, at + 12);
}

/** The link comes up, and a ring of eight descriptors is at `ring`. */
async function prepareTransmit(it: Client, ring: number): Promise<void> {
  await enable(it);
  await it.write(BAR0, CTRL, 0x40); // SLU
  await until(async () => ((await it.read(BAR0, STATUS)) & 2) !== 0, 'link');
  await it.write(BAR0, TDBAL, ring % 2 ** 32);
  await it.write(BAR0, TDBAH, Math.floor(ring / 2 ** 32));
  await it.write(BAR0, TDLEN, 128);
  await it.write(BAR0, TCTL, 0x0004010a); // EN, PSP
}

for (const base of [0x10_0000, 0x1_0000_0000])
  await t.test(`a frame leaves the memory of a client at 0x${base.toString(16)}`, async (t) => {
    const { socket, far, server } = served(t);
    const it = await client(t, socket);
    const { fd, bytes } = sharedMemory(t, 4 * PAGE);
    t.equal(await it.map(base, 2 * PAGE, { fd, offset: 2 * PAGE }), 0);
    await prepareTransmit(it, base);
    const frame = Buffer.alloc(100, 'fauxnic');
    frame.copy(bytes, 3 * PAGE);
    descriptor(bytes, 2 * PAGE, base + PAGE, 100);
    it.post(BAR0, TDT, 1);
    await until(() => far.counters.received === 1, 'the frame');
    t.same(Buffer.from(far.take()!.bytes), frame);
    await until(() => (bytes[2 * PAGE + 12]! & 1) === 1, 'descriptor done, written to the client');
    t.equal(server.model.refused.memory, 0);

    t.equal(await it.unmap(base, 2 * PAGE), 0);
    descriptor(bytes, 2 * PAGE + 16, base + PAGE, 100);
    const before = Buffer.from(bytes);
    await it.write(BAR0, TDT, 2);
    await until(() => server.model.refused.memory > 0, 'a refusal');
    t.equal(far.counters.received, 1, 'memory unmapped is out of reach');
    t.same(bytes, before);
  });

await t.test('mappings', async (t) => {
  const { socket, server, notes } = served(t);
  const it = await client(t, socket);
  const { fd } = sharedMemory(t, 16 * PAGE);
  t.equal(await it.map(0x10000, 4 * PAGE, { fd }), 0);
  t.equal(await it.map(0x10000, 4 * PAGE, { fd }), EEXIST, 'twice');
  t.equal(await it.map(0x10000 - PAGE, 2 * PAGE, { fd }), EEXIST, 'overlapping');
  t.equal(await it.map(0x10000 + 3 * PAGE, 2 * PAGE, { fd }), EEXIST);
  t.equal(await it.map(0x20000, 17 * PAGE, { fd }), EINVAL, 'beyond the end of its file');
  t.equal(await it.map(0x20000, 0, { fd }), EINVAL);
  t.equal(await it.map(0x20001, PAGE, { fd }), EINVAL);
  t.equal(await it.map(0x20000, PAGE, { fd, offset: 1 }), EINVAL);
  t.equal(await it.map(0x20000, PAGE, { fd, flags: 7 }), EINVAL);
  t.equal(await it.map(0x20000, PAGE, { fds: [fd, fd] }), EINVAL);
  t.equal(await it.map(2 ** 60, PAGE, { fd }), EINVAL);
  const readOnly = openSync(`/proc/self/fd/${fd}`, 'r');
  t.equal(await it.map(0x20000, PAGE, { fd: readOnly }), EINVAL, 'not to be written');
  t.equal(await it.map(0x20000, PAGE, { fd: readOnly, flags: 1 }), 0, 'but to be read');
  closeSync(readOnly);
  t.equal(await it.map(0x30000, PAGE), 0, 'without a descriptor: by message');
  t.match(notes, [/client connected/, /0x30000/]);
  t.equal(await it.unmap(0x10000, PAGE), EINVAL, 'not in part');
  t.equal(await it.unmapped(0x90000, PAGE), 0, 'nothing is there, which is no error');
  t.equal(await it.unmap(0x10000, PAGE, 1), EINVAL, 'no dirty bitmap');
  t.equal(await it.unmapped(0x10000, 0x10000 + PAGE), 5 * PAGE, 'several');
  t.equal(await it.unmap(0x30000, PAGE), 0);
  t.equal(await it.map(0x10000, 4 * PAGE, { fd }), 0, 'and again');
  t.equal(await it.unmapped(0, 0, 2), 4 * PAGE, 'all');
  t.equal(await it.unmapped(0x10000, 4 * PAGE), 0);
  t.equal(server.model.refused.memory, 0);
});

await t.test('INTx: signalled once, again after unmask while it is pending', async (t) => {
  const { socket } = served(t);
  const it = await client(t, socket);
  const fd = eventfd(t);
  await enable(it);
  t.equal(await it.setIrqs(EVENTFD | TRIGGER, INTX, 0, 1, { fds: [fd] }), 0);
  await it.write(BAR0, IMS, 4);
  await it.write(BAR0, ICS, 4);
  await until(() => signals(fd) === 1, 'the interrupt');
  t.equal(await it.setIrqs(NONE | UNMASK, INTX, 0, 1), 0);
  t.equal(signals(fd), 1, 'still asserted');
  t.equal((await it.read(BAR0, ICR)) & 4, 4, 'which acknowledges it');
  t.equal(await it.setIrqs(BOOL | UNMASK, INTX, 0, 1, { data: [1] }), 0);
  t.equal(signals(fd), 0);
  t.equal(await it.setIrqs(NONE | MASK, INTX, 0, 1), 0);
  await it.write(BAR0, ICS, 4);
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.equal(signals(fd), 0, 'masked');
  await it.setIrqs(NONE | UNMASK, INTX, 0, 1);
  t.equal(signals(fd), 1);
  const other = eventfd(t);
  t.equal(await it.setIrqs(EVENTFD | TRIGGER, INTX, 0, 1, { fds: [other] }), 0);
  t.equal(signals(other), 1, 'a level is there for whoever comes');
  t.equal(await it.setIrqs(NONE | TRIGGER, INTX, 0, 0), 0, 'disabled');
  await it.setIrqs(NONE | UNMASK, INTX, 0, 1);
  t.equal(signals(other) + signals(fd), 0);
});

await t.test('INTx: masked and unmasked by eventfd, as KVM does', async (t) => {
  const { socket } = served(t);
  const it = await client(t, socket);
  const [fd, mask, unmask, other] = [eventfd(t), eventfd(t), eventfd(t), eventfd(t)];
  await enable(it);
  const before = descriptors();
  t.equal(await it.setIrqs(EVENTFD | TRIGGER, INTX, 0, 1, { fds: [fd] }), 0);
  t.equal(await it.setIrqs(EVENTFD | UNMASK, INTX, 0, 1, { fds: [other] }), 0);
  t.equal(await it.setIrqs(EVENTFD | UNMASK, INTX, 0, 1, { fds: [unmask] }), 0, 'another one in its place');
  t.equal(await it.setIrqs(EVENTFD | MASK, INTX, 0, 1, { fds: [mask] }), 0);
  await it.write(BAR0, IMS, 4);
  await it.write(BAR0, ICS, 4);
  await until(() => signals(fd) === 1, 'the interrupt');
  for (let i = 0; i < 3; i++) {
    signalEventfd(unmask);
    await until(() => signals(fd) === 1, 'the same again, still asserted');
  }
  t.equal((await it.read(BAR0, ICR)) & 4, 4);
  signalEventfd(unmask);
  await turns();
  t.equal(signals(fd), 0, 'nothing pends');
  signalEventfd(mask);
  await turns();
  await it.write(BAR0, ICS, 4);
  await until(async () => ((await it.read(CONFIG, 6, 2)) & 8) !== 0, 'pending');
  t.equal(signals(fd), 0, 'masked');
  signalEventfd(unmask);
  await until(() => signals(fd) === 1, 'unmasked');
  t.equal(await it.setIrqs(EVENTFD | UNMASK, INTX, 0, 1), 0, 'taken away');
  signalEventfd(unmask);
  await turns();
  t.equal(signals(fd), 0);
  t.equal(await it.setIrqs(NONE | TRIGGER, INTX, 0, 0), 0, 'all of them');
  await until(() => descriptors() <= before, 'every descriptor closed');
});

await t.test('MSI: a signal for each message', async (t) => {
  const { socket } = served(t);
  const it = await client(t, socket);
  const [intx, msi] = [eventfd(t), eventfd(t)];
  await enable(it);
  t.equal(await it.setIrqs(EVENTFD | TRIGGER, INTX, 0, 1, { fds: [intx] }), 0);
  t.equal(await it.setIrqs(EVENTFD | TRIGGER, MSI, 0, 1, { fds: [msi] }), 0);
  await it.write(CONFIG, 0xf2, 1, 2); // MSI enable
  await it.write(BAR0, IMS, 4);
  for (let i = 0; i < 3; i++) {
    await it.write(BAR0, ICS, 4);
    await until(() => signals(msi) === 1, 'the message');
    await it.read(BAR0, ICR);
  }
  t.equal(signals(intx), 0, 'INTx is silent');
  t.equal(await it.setIrqs(NONE | TRIGGER, MSI, 0, 1), 0);
  t.equal(signals(msi), 1, 'triggered by the client');
  t.equal(await it.setIrqs(BOOL | TRIGGER, MSI, 0, 1, { data: [0] }), 0);
  t.equal(signals(msi), 0);
  t.equal(await it.setIrqs(NONE | MASK, MSI, 0, 1), 0);
  await it.setIrqs(NONE | TRIGGER, MSI, 0, 1);
  t.equal(signals(msi), 0);
  await it.setIrqs(NONE | UNMASK, MSI, 0, 1);
  t.equal(signals(msi), 1, 'kept while masked');
  t.equal(await it.setIrqs(EVENTFD | TRIGGER, MSI, 0, 1), 0, 'taken away');
  await it.setIrqs(NONE | TRIGGER, MSI, 0, 1);
  t.equal(signals(msi), 0);
});

const BELL = configurationMap('bell', {
  identity: { vendor: 0x1234, device: 1, revision: 0, subsystemVendor: 0, subsystem: 0, class: 0xff0000 },
  bars: { 0: { kind: 'memory', size: PAGE }, 1: { kind: 'memory', size: PAGE } },
  capabilities: [msiX(0x40, { vectors: 4, bar: 1, table: 0, pending: 0x800 })],
});

/** As little as has MSI-X. */
class Bell extends PciFunction {
  constructor(host: Host) {
    super(host, BELL);
    this.addBar(0, { kind: 'memory', size: PAGE, read: () => 0, write: (offset) => this.interruptVector(offset / 4) });
    this.addBar(1, { kind: 'memory', size: PAGE, read: () => 0, write: () => {} });
  }
  protected override resetChip(): void {}
  protected override traceChanged(): void {}
}

await t.test('MSI-X: a vector is open while it has an eventfd', async (t) => {
  const socket = join(place.folder, 'bell');
  const server = serve((host) => new Bell(host), { socket });
  t.teardown(() => server.close());
  const it = await client(t, socket);
  const fds = [0, 1, 2, 3].map(() => eventfd(t));
  const heard = () => fds.map(signals);
  await enable(it);
  await it.write(CONFIG, 0x42, 0x8000, 2); // MSI-X enable
  t.equal(await it.setIrqs(EVENTFD | TRIGGER, MSIX, 0, 2, { fds: fds.slice(0, 2) }), 0);
  t.equal(await it.setIrqs(EVENTFD | TRIGGER, MSIX, 3, 1, { fds: fds.slice(3) }), 0);
  for (const vector of [0, 1, 1, 2, 3, 4]) await it.write(BAR0, 4 * vector, 1);
  t.same(heard(), [1, 2, 0, 1]);
  t.equal(await it.read(1, 0x800), 4, 'vector 2 pends');
  t.equal(await it.setIrqs(EVENTFD | TRIGGER, MSIX, 2, 1, { fds: [fds[2]!] }), 0);
  t.same(heard(), [0, 0, 1, 0], 'until somebody listens');
  t.equal(await it.setIrqs(NONE | MASK, MSIX, 1, 2), 0);
  for (const vector of [0, 1, 2, 3]) await it.write(BAR0, 4 * vector, 1);
  t.same(heard(), [1, 0, 0, 1], 'two are masked');
  t.equal(await it.setIrqs(BOOL | UNMASK, MSIX, 0, 4, { data: [0, 1, 0, 1] }), 0);
  t.same(heard(), [0, 1, 0, 0]);
  t.equal(await it.setIrqs(NONE | TRIGGER, MSIX, 0, 0), 0, 'all disabled');
  await it.write(BAR0, 0, 1);
  t.same(heard(), [0, 0, 0, 0]);
});

await t.test('interrupts that make no sense', async (t) => {
  const { socket } = served(t);
  const it = await client(t, socket);
  const fd = eventfd(t);
  const memfd = createMemfd('no eventfd', PAGE);
  t.teardown(() => closeSync(memfd));
  const before = descriptors();
  const wrong: Parameters<Client['setIrqs']>[] = [
    [NONE | TRIGGER, 5, 0, 1],
    [NONE | TRIGGER, 0xffffffff, 0, 0],
    [NONE | TRIGGER, INTX, 1, 1],
    [NONE | TRIGGER, INTX, 0, 2],
    [NONE | TRIGGER, INTX, 0xffffffff, 1],
    [NONE | TRIGGER, MSI, 0, 0xffffffff],
    [NONE | TRIGGER, 2, 0, 1],
    [NONE | TRIGGER, 3, 0, 2],
    [NONE | MASK, INTX, 0, 0],
    [NONE | TRIGGER, INTX, 1, 0],
    [BOOL | TRIGGER, INTX, 0, 0],
    [NONE | MASK, 3, 0, 1],
    [NONE | UNMASK, 4, 0, 1],
    [EVENTFD | MASK, INTX, 0, 1, { fds: [memfd] }],
    [EVENTFD | UNMASK, INTX, 0, 1, { fds: [fd, fd] }],
    [NONE | BOOL | TRIGGER, INTX, 0, 1],
    [NONE | MASK | UNMASK, INTX, 0, 1],
    [NONE, INTX, 0, 1],
    [TRIGGER, INTX, 0, 1],
    [NONE | TRIGGER | 64, INTX, 0, 1],
    [BOOL | TRIGGER, INTX, 0, 1],
    [BOOL | TRIGGER, INTX, 0, 1, { data: [1, 1] }],
    [NONE | TRIGGER, INTX, 0, 1, { fds: [fd] }],
    [EVENTFD | TRIGGER, INTX, 0, 1, { fds: [fd, fd] }],
    [EVENTFD | TRIGGER, INTX, 0, 1, { fds: [memfd] }],
    [EVENTFD | TRIGGER, INTX, 0, 1, { fds: Array(17).fill(fd) }],
  ];
  for (const args of wrong) t.not(await it.setIrqs(...args), 0, JSON.stringify(args));
  t.equal(await it.setIrqs(EVENTFD | UNMASK, MSI, 0, 1, { fds: [fd] }), ENOTSUP, 'INTx alone');
  for (const index of [0, 1, 2, 3, 4]) t.equal(await it.setIrqs(NONE | TRIGGER, index, 0, 0), 0, `disable ${index}`);
  await until(() => descriptors() <= before, 'every descriptor closed');
  signalEventfd(fd);
  t.equal(signals(fd), 1, 'nobody signalled it meanwhile');
});

await t.test('requests that are malformed are answered with an error', async (t) => {
  const { socket, server } = served(t);
  const it = await client(t, socket);
  const memfd = createMemfd('extra', PAGE);
  t.teardown(() => closeSync(memfd));
  const before = descriptors();
  const commands = [2, 3, 4, 5, 7, 8, 9, 10, 15];
  for (const command of commands) {
    t.equal(await it.error(command), EINVAL, `${command} empty`);
    t.equal(await it.error(command, Buffer.alloc(3)), EINVAL, `${command} too short`);
    if (command !== COMMAND.deviceInfo)
      t.equal(await it.error(command, Buffer.alloc(70, 0xff)), EINVAL, `${command} all ones`);
    if (command !== 2)
      t.equal(await it.error(command, Buffer.alloc(24), { fds: [memfd] }), EINVAL, `${command} with a descriptor`);
  }
  t.equal(await it.error(COMMAND.reset, Buffer.alloc(4)), EINVAL);
  t.equal(await it.error(COMMAND.version, fields([32, 0])), EINVAL, 'a second introduction');
  for (const command of [0, 6, 11, 12, 14, 16, 99, 0xffff]) t.equal(await it.error(command), ENOTSUP, `${command}`);
  t.equal(await it.error(COMMAND.read, access(BAR0, 0, 0)), EINVAL);
  t.equal(await it.error(COMMAND.read, access(BAR0, 0x1fffd, 4)), EINVAL, 'over the end');
  t.equal(await it.error(COMMAND.read, access(BAR0, 2 ** 53, 4)), EINVAL);
  t.equal(await it.error(COMMAND.read, access(CONFIG, 256, 1)), EINVAL);
  t.equal(await it.error(COMMAND.read, access(1, 0, 4)), EINVAL, 'no such BAR');
  t.equal(await it.error(COMMAND.read, access(8, 0, 4)), EINVAL, 'no VGA');
  t.equal(await it.error(COMMAND.read, access(9, 0, 4)), EINVAL);
  t.equal(await it.error(COMMAND.read, access(0xffffffff, 0, 4)), EINVAL);
  t.equal(await it.error(COMMAND.read, access(BAR0, 0, 0xffffffff)), EINVAL);
  t.equal(await it.error(COMMAND.write, access(BAR0, 0, 4)), EINVAL, 'without its data');
  t.equal(await it.error(COMMAND.writeMulti, fields([64, 2 ** 52])), EINVAL);
  t.equal(await it.error(COMMAND.deviceInfo, Buffer.alloc(16), { flags: 5 }), EINVAL, 'a type that there is not');
  t.equal(await it.error(COMMAND.deviceInfo, fields([32, 16], [32, 0], [64, 0]), { fds: Array(20).fill(memfd) }), 7);
  await until(() => descriptors() <= before, 'every descriptor closed');
  t.equal(await it.read(CONFIG, 0), 0x100e8086, 'still serving');
  t.ok(server.connected);
});

await t.test('whoever breaks the protocol is shut out, and the next one served', async (t) => {
  const { socket, server } = served(t, { patience: 100 });
  const memfd = createMemfd('left', PAGE);
  t.teardown(() => closeSync(memfd));
  const before = descriptors();
  const json = (text: string) => Buffer.concat([fields([16, 0], [16, 0]), Buffer.from(text)]);
  const first: Record<string, (it: Client) => void> = {
    'another command first': (it) => it.send(COMMAND.deviceInfo, Buffer.alloc(16)),
    'version 1': (it) => it.send(COMMAND.version, fields([16, 1], [16, 0])),
    'half a version': (it) => it.send(COMMAND.version, fields([16, 0])),
    'no JSON': (it) => it.send(COMMAND.version, json('{"capabilities"\0')),
    'JSON of another shape': (it) => it.send(COMMAND.version, json('null\0')),
    'JSON without end': (it) => it.send(COMMAND.version, json('{}')),
    'capabilities of another type': (it) => it.send(COMMAND.version, json('{"capabilities":{"max_msg_fds":"x"}}\0')),
    'a version with descriptors': (it) => it.raw(Buffer.from('00000100140000000000000000000000', 'hex'), [memfd]),
    'a header that is too small': (it) => it.send(1, undefined, { size: 15 }),
    'a header that is too large': (it) => it.send(1, undefined, { size: 0xffffffff, fds: [memfd, memfd] }),
    'a reply': (it) => it.send(1, undefined, { flags: 1 }),
    nothing: () => {},
    'half a header': (it) => it.raw(Buffer.alloc(7), [memfd]),
    'half a message': (it) => it.send(1, Buffer.alloc(4), { size: 1000, fds: [memfd] }),
    noise: (it) => it.raw(Buffer.alloc(1000, 0xa5)),
  };
  for (const [name, act] of Object.entries(first)) {
    const it = new Client(socket);
    act(it);
    let last = null;
    for (let reply = await it.reply(); reply !== null; reply = await it.reply()) last = reply;
    if (last !== null) t.equal(last.flags, 0x21, `${name}: an error`);
    it.close();
    const next = await Client.connected(socket);
    t.equal(await next.read(CONFIG, 0), 0x100e8086, name);
    next.close();
  }
  await until(() => !server.connected, 'the last one gone');
  t.equal(server.counters.dropped, Object.keys(first).length);
  await until(() => descriptors() <= before, 'every descriptor closed');
});

await t.test('a client that dies takes everything with it', async (t) => {
  const { socket, server, notes } = served(t);
  const idle = descriptors();
  const { fd, bytes } = sharedMemory(t, 4 * PAGE);
  const interrupt = eventfd(t);
  for (let round = 0; round < 20; round++) {
    const it = await Client.connected(socket);
    t.equal(await it.map(0x10_0000, 4 * PAGE, { fd }), 0, 'nothing is left of the one before');
    t.equal(await it.setIrqs(EVENTFD | TRIGGER, INTX, 0, 1, { fds: [interrupt] }), 0);
    await enable(it);
    await it.write(BAR0, TDBAL, 0x10_0000);
    it.send(COMMAND.read, Buffer.alloc(8), { size: 32, fds: [fd] }); // and dies in mid-message
    it.close();
  }
  const last = await client(t, socket);
  t.equal(await last.read(CONFIG, COMMAND_REGISTER, 2), 0, 'the card was reset');
  t.equal(await last.unmapped(0x10_0000, 4 * PAGE), 0);
  t.equal(signals(interrupt), 0);
  t.ok(bytes.every((byte) => byte === 0));
  t.equal(server.counters.clients, 21);
  t.match(notes.at(-2), /middle of a message/);
  last.close();
  await until(() => !server.connected, 'gone');
  t.equal(descriptors(), idle + 2, 'the memfd and the eventfd of this test');
});

await t.test('one is served while others wait', async (t) => {
  const { socket } = served(t);
  const one = await client(t, socket);
  const two = new Client(socket);
  t.teardown(() => two.close());
  const answered = two.version();
  t.equal(await one.read(CONFIG, 0), 0x100e8086);
  one.close();
  t.equal((await answered).flags, 1);
  t.equal(await two.read(CONFIG, 0), 0x100e8086);
});

await t.test('a client that does not read is dropped', async (t) => {
  const { socket, server } = served(t);
  const it = await client(t, socket);
  for (let i = 0; i < 10; i++) it.send(COMMAND.read, access(BAR0, 0, 0x20000));
  await until(() => server.counters.dropped === 1, 'the end of patience');
  t.equal(await (await client(t, socket)).read(CONFIG, 0), 0x100e8086);
});

await t.test('a hundred thousand random messages', async (t) => {
  const { socket, server } = served(t);
  const before = descriptors();
  let seed = 1;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const odd = [0, 1, 2, 3, 4, 7, 16, 20, 24, 32, 0x1000, 0x20000, 0x7fffffff, 0xffffffff];
  const it = await Client.connected(socket);
  const memfd = createMemfd('random', PAGE);
  let asked = 0;
  for (let i = 0; i < 100_000; i++) {
    const words = Array.from({ length: random(9) }, () => [32, odd[random(odd.length)]!] as const);
    const payload = fields(...words);
    const posted = random(8) > 0;
    if (!posted) asked++;
    it.send(2 + random(15), payload, { fds: random(50) === 0 ? [memfd] : [], flags: posted ? 0x10 : 0 });
    if (i % 100 < 99) continue;
    for (; asked > 0; asked--) if ((await it.reply()) === null) throw new Error('closed');
    await until(() => server.connected, 'served');
  }
  t.equal(await it.read(CONFIG, 0), 0x100e8086);
  it.close();
  closeSync(memfd);
  await until(() => !server.connected, 'gone');
  await until(() => descriptors() <= before, 'every descriptor closed');
});

await t.test('closing the server parts with the client and leaves nothing', async (t) => {
  const before = descriptors();
  const path = join(place.folder, 'closing');
  const server = serve((host) => new E1000(host), { socket: path });
  const it = await Client.connected(path);
  server.close();
  server.close();
  t.equal(await it.reply(), null);
  it.close();
  t.notOk(existsSync(path));
  await until(() => descriptors() <= before, 'every descriptor closed');
});

await t.test('the command serves, and a killed one leaves its socket to the next', async (t) => {
  const socket = join(place.folder, 'command.sock');
  const one = place.fauxnic(`serve e1000 --socket ${socket} --peer none`);
  await until(() => existsSync(socket), 'the socket');
  const busy = await place.fauxnic(`serve e1000 --socket ${socket}`);
  t.equal(busy.exitCode, 2);
  t.match(busy.stderr, /another process serves there/);
  one.kill('SIGKILL');
  await one;
  t.ok(existsSync(socket));
  const two = place.fauxnic(`serve e1000 --socket ${socket} --peer echo --json`);
  let it: Client | undefined;
  await until(() => {
    try {
      it = new Client(socket);
      return true;
    } catch {
      return false;
    }
  }, 'a server');
  await it!.version();
  t.equal(await it!.read(CONFIG, 0), 0x100e8086);
  two.kill('SIGINT');
  const { stdout, exitCode } = await two;
  t.equal(exitCode, 0);
  t.match(JSON.parse(stdout as string), { clients: 1, requests: 2, refused: 0 });
  t.notOk(existsSync(socket));
  it!.close();
  for (const line of [`serve nothing --socket ${socket}`, `serve e1000`, `serve e1000 --socket ${socket} --peer tap=`])
    t.equal((await place.fauxnic(line)).exitCode, 2, line);
});
