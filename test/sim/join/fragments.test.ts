/** Fragmented datagrams, and an echo that answers them: against a plain fragmentation of the whole datagram's answer. */
import test from 'ava';
import fc from 'fast-check';
import { Echo } from '../../../drivers/join/echo.ts';
import { Fragments } from '../../../drivers/join/fragments.ts';
import { Headers, parseHeaders } from '../../../sim/packet.ts';
import { bigPool, FakeNetDevice, toBytes, toPacket, until } from '../../util/fake-netdev.ts';
import { be16, bytesOf, naiveSum, sumsRight, udpFrame } from '../../util/frames.ts';

const SECOND = 1e9;
const ID = [0x12, 0x34];

/** A ping or UDP datagram in one frame, as long as can be. */
function datagram(version: 4 | 6, kind: 'ping' | 'udp', payload: number): Uint8Array {
  const frame = udpFrame({ version, payload: bytesOf(payload) });
  if (kind === 'udp') return frame;
  const l4 = version === 4 ? 34 : 54;
  frame[version === 4 ? 23 : 20] = version === 4 ? 1 : 58;
  frame.set([version === 4 ? 8 : 128, 0, 0, 0, 0, 7, 0, 1], l4);
  const length = frame.length - l4;
  const pseudo = version === 4 ? [] : [...frame.subarray(22, 54), 0, 0, ...be16(length), 0, 0, 0, 58];
  frame.set(be16(~naiveSum([...pseudo, ...frame.subarray(l4)])), l4 + 2);
  return frame;
}

/** A piece of a datagram's data as a frame. */
function fragment(whole: Uint8Array, start: number, end: number, more: boolean): Uint8Array {
  const v4 = whole[12] === 8;
  const data = whole.subarray((v4 ? 34 : 54) + start, (v4 ? 34 : 54) + end);
  if (!v4) {
    const header = [whole[20]!, 0, ...be16(start | (more ? 1 : 0)), 0, 0, ...ID];
    const frame = Uint8Array.from([...whole.subarray(0, 54), ...header, ...data]);
    frame.set([...be16(data.length + 8), 44], 18);
    return frame;
  }
  const frame = Uint8Array.from([...whole.subarray(0, 34), ...data]);
  frame.set([...be16(data.length + 20), ...ID, ...be16((start >> 3) | (more ? 0x2000 : 0))], 16);
  frame.set([0, 0], 24);
  frame.set(be16(~naiveSum(frame.subarray(14, 34))), 24);
  return frame;
}

function cut(whole: Uint8Array, size: number): Uint8Array[] {
  const data = whole.length - (whole[12] === 8 ? 34 : 54);
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < data; at += size) pieces.push(fragment(whole, at, Math.min(data, at + size), at + size < data));
  return pieces;
}

/** What goes back for frames that come in. */
async function answers(frames: readonly Uint8Array[], now = () => 0): Promise<Uint8Array[]> {
  const device = new FakeNetDevice({ ring: 1024 });
  const peer = new FakeNetDevice({ ring: 1024 });
  device.peer = peer;
  const echo = new Echo(device, { now });
  echo.start();
  for (const frame of frames) device.arriveBytes(frame);
  await until(() => device.rings.rx.used === 0);
  await until(() => false, 3);
  const into: Parameters<FakeNetDevice['receive']>[0] = [];
  const count = peer.receive(into, 1024);
  const sent = into.slice(0, count).map(toBytes);
  echo.close();
  for (const packet of into.slice(0, count)) packet.free();
  await device.stop();
  if (device.pool.available !== device.pool.size) throw new Error('buffers are missing');
  return sent;
}

/** The echo's answer to a datagram in one piece. */
function answerWhole(frame: Uint8Array): Uint8Array {
  const packet = toPacket(frame, bigPool);
  const answered = new Echo(new FakeNetDevice()).answer(packet);
  const bytes = toBytes(packet);
  packet.free();
  if (!answered) throw new Error('no answer');
  return bytes;
}

for (const version of [4, 6] as const)
  for (const kind of ['ping', 'udp'] as const)
    test(`IPv${version}: a fragmented ${kind} is answered, whatever the order of its parts`, async (t) => {
      for (const [payload, size] of [
        [1473, 1480],
        [8000, 1480],
        [version === 4 ? 65507 : 65527, 1448],
        [100, 8],
      ] as const) {
        const whole = datagram(version, kind, payload);
        const expected = answerWhole(whole);
        t.true(kind === 'ping' || sumsRight(expected));
        for (const order of [(list: Uint8Array[]) => list, (list: Uint8Array[]) => list.toReversed()]) {
          const sent = await answers(order(cut(whole, size)));
          t.deepEqual(sent, cut(expected, size));
        }
      }
    });

test('parts of what is not asked are not answered', async (t) => {
  const reply = answerWhole(datagram(4, 'ping', 3000));
  t.deepEqual(await answers(cut(reply, 1480)), []);
  const [first, second] = cut(datagram(4, 'ping', 2000), 1480) as [Uint8Array, Uint8Array];
  t.deepEqual(await answers([first]), [], 'nor of what is not whole');
  t.deepEqual(await answers([second, first.with(30, 224)]), [], 'nor to a group');
});

function taker() {
  const device = new FakeNetDevice();
  const fragments = new Fragments();
  const headers = new Headers();
  const take = (frame: Uint8Array, now = 0) => {
    const packet = toPacket(frame, device.pool);
    parseHeaders(packet.bytes, packet.start, packet.length, headers);
    const whole = fragments.take(packet, headers, now);
    for (const part of whole ?? []) part.free();
    return whole === null ? 0 : whole.length;
  };
  const leaked = () => device.pool.size - device.pool.available - fragments.held;
  return { fragments, take, leaked };
}

for (const version of [4, 6] as const) {
  const whole = datagram(version, 'udp', 3000);
  const part = (start: number, end: number, more = true) => fragment(whole, start, end, more);

  test(`IPv${version}: overlaps drop the datagram, and what is still to come of it; a copy only itself`, (t) => {
    const { fragments, take, leaked } = taker();
    t.deepEqual([take(part(0, 1480)), take(part(0, 1480))], [0, 0]);
    t.is(fragments.statistics.duplicate, 1);
    t.is(take(part(1472, 2960)), 0);
    t.is(fragments.held, 0);
    t.is(take(part(1480, 3008, false)), 0);
    t.is(take(part(0, 1480)), 0);
    t.is(fragments.statistics.overlapping, 3);
    t.is(take(part(0, 1480), 61 * SECOND), 0);
    t.is(take(part(1480, 3008, false), 61 * SECOND), 2, 'until its time is up');
    t.is(leaked(), 0);
  });

  test(`IPv${version}: lengths that cannot be are refused`, (t) => {
    const { fragments, take, leaked } = taker();
    t.is(take(part(0, 1481)), 0); // no multiple of eight
    t.is(take(part(0, 0)), 0);
    t.is(take(part(0, 1480).subarray(0, 1000)), 0); // cut short
    const far = part(0, 1480, false);
    if (version === 4) far.set([0x1f, 0xff], 20);
    else far.set([0xff, 0xf8], 56);
    t.is(take(far), 0); // beyond 65,535
    t.is(fragments.statistics.malformed, 4);
    t.is(take(part(1480, 2000, false)), 0);
    t.is(take(part(2000, 3008)), 0); // behind the last
    t.is(fragments.statistics.overlapping, 1);
    t.deepEqual([fragments.held, leaked()], [0, 0]);
  });
}

test('what does not become whole is held for 60 s, and never more than 512 fragments of 16 datagrams', (t) => {
  const { fragments, take, leaked } = taker();
  const whole = datagram(4, 'udp', 60000);
  const parts = cut(whole, 96);
  take(parts[0]!, 0);
  take(parts[1]!, 59 * SECOND);
  t.is(fragments.held, 2);
  take(parts[2]!, 60 * SECOND);
  t.deepEqual([fragments.held, fragments.statistics.expired], [1, 1]);
  const numbered = (frame: Uint8Array, id: number) => frame.with(18, id >> 8).with(19, id & 0xff);
  for (let id = 0; id < 1000; id++) take(numbered(parts[0]!, id), 61 * SECOND);
  t.deepEqual([fragments.held, fragments.statistics.crowded], [16, 985]);
  for (const part of parts) {
    take(part, 62 * SECOND);
    t.true(fragments.held <= 512);
  }
  fragments.close();
  t.deepEqual([fragments.held, leaked()], [0, 0]);
});

test('whatever comes, no buffer is lost and the bounds hold', (t) => {
  const whole = datagram(4, 'udp', 2000);
  const frames = fc.array(
    fc.record({
      start: fc.nat(40).map((n) => 8 * n),
      length: fc.nat(400),
      more: fc.boolean(),
      id: fc.nat(20),
      seconds: fc.nat(5),
    }),
    { maxLength: 60 },
  );
  const property = fc.property(frames, (list) => {
    const { fragments, take, leaked } = taker();
    let now = 0;
    for (const { start, length, more, id, seconds } of list) {
      now += seconds * SECOND;
      take(fragment(whole, start, start + length, more).with(19, id), now);
      if (leaked() !== 0 || fragments.held > 512) return false;
    }
    fragments.close();
    return leaked() === 0;
  });
  t.notThrows(() => fc.assert(property, { numRuns: 300 }));
});
