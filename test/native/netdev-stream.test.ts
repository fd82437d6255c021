/** The cable to QEMU's -netdev stream: frames either way, what breaks it, and that a slow reader costs frames only. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { connectUnix, END, listenUnix, receivedDescriptors } from '../../native/index.ts';
import { Clock } from '../../sim/clock.ts';
import { MAX_FRAME } from '../../sim/wire/frame-queue.ts';
import { HostPort } from '../../sim/wire/host-port.ts';
import { Link } from '../../sim/wire/link.ts';
import { FCS_ERROR } from '../../sim/wire/port.ts';
import { NetdevStream, type NetdevStreamOptions } from '../../vm/netdev-stream.ts';
import { until } from '../util/until.ts';
import { Place } from './command.ts';
import { enterNamespace } from './lane.ts';

enterNamespace(import.meta.url);
const { t } = await import('tap');

interface Test {
  teardown(action: () => void): unknown;
}

const place = new Place();
t.teardown(() => place.remove());
let paths = 0;
const path = () => join(place.folder, `wire${paths++}`);
const descriptors = () => readdirSync('/proc/self/fd').length;

function frame(length: number, number = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + number) & 0xff);
}

/** A frame as it is on the socket. */
function framed(bytes: Uint8Array, length = bytes.length): Uint8Array {
  return Uint8Array.of(length >>> 24, length >>> 16, length >>> 8, length, ...bytes);
}

async function pair(t: Test, options: NetdevStreamOptions = {}) {
  const at = path();
  const near = NetdevStream.listen(at, options);
  const far = NetdevStream.connect(at);
  t.teardown(() => {
    near.close();
    far.close();
  });
  await until(() => near.connected, 'a connection');
  return { near, far, at };
}

/** A stream, and whoever writes what they like into it. */
async function raw(t: Test, options: NetdevStreamOptions = {}) {
  const at = path();
  const stream = NetdevStream.listen(at, options);
  const socket = connectUnix(at);
  t.teardown(() => {
    stream.close();
    socket.close();
  });
  await until(() => stream.connected, 'a connection');
  return { stream, socket, at };
}

await t.test('frames of every length, both ways, in order', async (t) => {
  const { near, far } = await pair(t);
  const frames = [14, 60, 61, 1514, 9014, MAX_FRAME].map((length, i) => frame(length, i));
  for (const [from, to] of [
    [near, far],
    [far, near],
  ] as const) {
    for (const it of frames) t.ok(from.send(it));
    await until(() => to.waiting === frames.length, 'the frames');
    for (const it of frames) t.same(to.take()?.bytes, it);
    t.equal(to.take(), null);
  }
  t.match(near.counters, { sent: 6, received: 6, unsent: 0, dropped: 0, refused: 0, connections: 1, broken: 0 });
});

await t.test('a part of an array is sent as it was then', async (t) => {
  const { near, far } = await pair(t);
  const bytes = frame(200);
  const wanted = bytes.slice(10, 110);
  near.send(bytes, 10, 100);
  bytes.fill(0);
  await until(() => far.waiting === 1, 'it');
  t.same(far.take()?.bytes, wanted);
});

await t.test('byte for byte as QEMU has it, however it is cut', async (t) => {
  const { stream, socket } = await raw(t);
  const bytes = Uint8Array.of(...framed(frame(60, 1)), ...framed(frame(300, 2)));
  for (let at = 0; at < bytes.length; at++) {
    socket.send(bytes, at, 1);
    if (at % 7 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => stream.waiting === 2, 'two frames');
  t.same(stream.take()?.bytes, frame(60, 1));
  t.same(stream.take()?.bytes, frame(300, 2));
  stream.send(frame(77));
  const into = new Uint8Array(100);
  let got = 0;
  await until(() => {
    got += socket.receive(into, got, 100 - got, receivedDescriptors(0));
    return got === 81;
  }, 'an answer');
  t.same(into.slice(0, 81), framed(frame(77)));
});

await t.test('a length that no frame has ends the connection; the next one is served', async (t) => {
  for (const length of [MAX_FRAME + 1, 0xffffffff]) {
    const told: (string | null)[] = [];
    const { stream, socket, at } = await raw(t, { onCarrier: (on, why) => on || told.push(why) });
    socket.send(framed(frame(60)));
    socket.send(framed(new Uint8Array(0), length));
    await until(() => !stream.connected, 'the end');
    t.same(told, [`it announced a frame of ${length} bytes`]);
    t.equal(stream.counters.broken, 1);
    t.equal(stream.waiting, 1, 'what came before is kept');
    const next = NetdevStream.connect(at);
    t.teardown(() => next.close());
    next.send(frame(99));
    await until(() => stream.waiting === 2, 'a frame of the next');
    t.equal(stream.counters.connections, 2);
  }
});

await t.test('what is no frame is skipped and counted', async (t) => {
  const { stream, socket } = await raw(t);
  for (const length of [0, 1, 13, 14]) socket.send(framed(frame(length)));
  await until(() => stream.waiting === 1, 'the one that is');
  t.equal(stream.take()?.bytes.length, 14);
  t.equal(stream.counters.refused, 3);
  t.notOk(stream.send(frame(13)));
  t.notOk(stream.send(frame(MAX_FRAME + 1)));
  t.equal(stream.counters.unsent, 2);
});

await t.test('whoever goes in the middle of a frame leaves nothing of it', async (t) => {
  const { stream, socket, at } = await raw(t);
  socket.send(framed(frame(50), 100));
  socket.close();
  await until(() => !stream.connected, 'its end');
  const next = NetdevStream.connect(at);
  t.teardown(() => next.close());
  next.send(frame(64));
  await until(() => stream.waiting === 1, 'a frame');
  t.same(stream.take()?.bytes, frame(64));
  t.equal(stream.counters.broken, 0);
});

await t.test('a reader that does not read costs frames, no memory; then all that was kept arrives whole', async (t) => {
  const { stream, socket } = await raw(t, { capacity: 256 * 1024 });
  let sent = 0;
  for (let i = 0; i < 2000; i++) {
    if (stream.send(frame(1500, i))) sent++;
    if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  t.ok(sent < 2000);
  t.equal(stream.counters.unsent, 2000 - sent);
  const bytes = new Uint8Array(sent * 1504);
  let got = 0;
  await until(() => {
    const part = got < bytes.length ? socket.receive(bytes, got, bytes.length - got, receivedDescriptors(0)) : 0;
    if (part !== END) got += part;
    return got === bytes.length;
  }, 'the rest');
  for (let i = 0; i < sent; i++) if (bytes[i * 1504 + 2] !== 1500 >> 8) t.fail(`frame ${i} is out of step`);
  t.ok(stream.send(frame(60)), 'there is room again');
  t.ok(stream.connected);
});

await t.test('one at a time: the next one waits, and is heard from its first frame on', async (t) => {
  const before = descriptors();
  const { stream, socket, at } = await raw(t);
  const next = connectUnix(at);
  next.send(framed(frame(60, 2)));
  socket.send(framed(frame(60, 1)));
  await until(() => stream.waiting === 1, 'the first one');
  t.equal(stream.counters.connections, 1);
  t.same(Buffer.from(stream.take()!.bytes), Buffer.from(frame(60, 1)));
  // Nobody reads: what is sent waits for room, and is nobody's any more once they have gone.
  while (stream.send(frame(9000, 3)));
  await new Promise((resolve) => setImmediate(resolve));
  socket.close();
  await until(() => stream.counters.connections === 2 && stream.waiting === 1, 'the next one');
  t.same(Buffer.from(stream.take()!.bytes), Buffer.from(frame(60, 2)));
  t.ok(stream.send(frame(60, 4)));
  const got = Buffer.alloc(200);
  const fds = receivedDescriptors(0);
  let length = 0;
  await until(() => {
    length += next.receive(got, length, got.length - length, fds);
    return length >= 64;
  }, 'a frame the other way');
  t.same(got.subarray(0, length), Buffer.from(framed(frame(60, 4))));
  next.close();
  stream.close();
  await until(() => descriptors() <= before, 'every descriptor closed');
});

await t.test('whoever gets a frame may hang up: what had come behind it is forgotten', async (t) => {
  const seen: number[] = [];
  let hang = () => {};
  const { stream, socket, at } = await raw(t, {
    onFrame: (bytes, start) => {
      seen.push(bytes[start]!);
      hang();
    },
  });
  hang = () => stream.hangUp();
  const three = [1, 2, 3].map((number) => framed(frame(60, number)));
  socket.send(Buffer.concat([...three, Uint8Array.of(0, 0, 1)])); // and the beginning of another
  await until(() => seen.length > 0 && !stream.connected, 'the end');
  hang = () => {};
  const next = connectUnix(at);
  t.teardown(() => next.close());
  next.send(framed(frame(60, 9)));
  await until(() => seen.length > 1, 'a frame');
  t.same(seen, [1, 9]);
  t.equal(stream.counters.broken, 0);
});

await t.test('a slow reader: what was taken arrives whole and in order, however the buffer is moved', async (t) => {
  const { stream, socket } = await raw(t, { capacity: 512 * 1024 }); // more than a socket takes at once
  const got: Buffer[] = [];
  const part = Buffer.alloc(40_007);
  const fds = receivedDescriptors(0);
  let number = 0;
  for (let round = 0; round < 400; round++) {
    for (let i = 0; i < 40; i++) if (stream.send(frame(1000 + (number % 500), number))) number++;
    await new Promise((resolve) => setImmediate(resolve));
    const length = socket.receive(part, 0, part.length, fds);
    if (length > 0) got.push(Buffer.from(part.subarray(0, length)));
  }
  t.ok(stream.counters.unsent > 100, 'it was slow');
  const sent = Array.from({ length: number }, (_, i) => framed(frame(1000 + (i % 500), i)));
  const whole = sent.reduce((sum, { length }) => sum + length, 0);
  let length = got.reduce((sum, { length }) => sum + length, 0);
  await until(() => {
    for (let more = 1; more > 0; length += more) {
      more = socket.receive(part, 0, part.length, fds);
      if (more > 0) got.push(Buffer.from(part.subarray(0, more)));
    }
    return length >= whole;
  }, 'the rest');
  t.ok(Buffer.concat(got).equals(Buffer.concat(sent)));
});

await t.test('nobody takes what arrives: it is dropped and counted', async (t) => {
  const { near, far } = await pair(t, { capacity: 10_000 });
  for (let i = 0; i < 20; i++) far.send(frame(1000, i));
  await until(() => near.counters.received === 20, 'all');
  t.equal(near.waiting, 10);
  t.equal(near.counters.dropped, 10);
});

await t.test('joined to a wire: frames both ways, short ones padded, and the carrier is the connection', async (t) => {
  const at = path();
  let pumped = 0;
  const stream = NetdevStream.listen(at);
  const link = new Link(new Clock());
  const peer = new HostPort('peer');
  link.plug(peer);
  link.plug(stream.port('stream', () => pumped++));
  t.teardown(() => stream.close());
  t.notOk(peer.carrier);
  peer.send(frame(60)); // into nothing
  const far = NetdevStream.connect(at);
  await until(() => peer.carrier, 'the carrier');
  peer.send(frame(100));
  peer.send(frame(101), 0, 101, FCS_ERROR);
  peer.send(frame(102));
  await until(() => far.waiting === 2, 'frames');
  t.same([far.take()?.bytes, far.take()?.bytes], [frame(100), frame(102)], 'a damaged one goes no further');
  far.send(frame(42));
  far.send(frame(1000));
  await until(() => peer.waiting === 2, 'frames back');
  t.same(peer.take()?.bytes, Uint8Array.of(...frame(42), ...new Uint8Array(18)));
  t.same(peer.take()?.bytes, frame(1000));
  t.equal(pumped, 2, 'the time is moved first');
  far.close();
  await until(() => !peer.carrier, 'no carrier');
  const again = NetdevStream.connect(at);
  await until(() => peer.carrier, 'the carrier again');
  stream.hangUp();
  t.notOk(peer.carrier);
  await until(() => !again.connected, 'the end at the other side');
  again.close();
});

await t.test('closed, nothing is left: no path, no descriptor', async (t) => {
  const before = descriptors();
  const at = path();
  const stream = NetdevStream.listen(at);
  const far = NetdevStream.connect(at);
  await until(() => stream.connected, 'a connection');
  stream.send(frame(60));
  stream.close();
  stream.close();
  t.notOk(stream.send(frame(60)));
  far.close();
  t.notOk(existsSync(at));
  await until(() => descriptors() <= before, 'every descriptor closed');
  t.throws(() => NetdevStream.connect(at), { code: 'ENOENT' });
  const held = listenUnix(at);
  t.throws(() => NetdevStream.listen(at), { code: 'EADDRINUSE' });
  held.close();
});
