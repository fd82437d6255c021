import test from 'ava';
import fc from 'fast-check';
import { Echo } from '../../../drivers/join/echo.ts';
import { Forward } from '../../../drivers/join/forward.ts';
import { Generator, IMIX, Sink, SinkJoin } from '../../../drivers/join/generator.ts';
import { Histogram } from '../../../drivers/join/histogram.ts';
import type { PacketBuffer } from '../../../drivers/packet.ts';
import { RX_VLAN } from '../../../drivers/packet.ts';
import { FakeNetDevice, pair, toBytes, toPacket, until } from '../../util/fake-netdev.ts';
import { be16, bytesOf, naiveSum, sumsRight, tcpFrame, udpFrame } from '../../util/frames.ts';

const MAC = [2, 0, 0, 0, 0, 1];
const PEER = [2, 0, 0, 0, 0, 9];
const nanoseconds = () => Math.round(performance.now() * 1e6);

test('the histogram keeps every value to within 1/64', (t) => {
  const values = fc.array(fc.oneof(fc.nat(300), fc.nat(), fc.maxSafeNat()), { minLength: 1, maxLength: 50 });
  const property = fc.property(values, fc.constantFrom(0, 1, 50, 99, 99.99, 100), (list, percent) => {
    const histogram = new Histogram();
    for (const value of list) histogram.record(value);
    const sorted = [...list].sort((a, b) => a - b);
    const exact = sorted[Math.max(1, Math.ceil((percent / 100) * list.length)) - 1]!;
    const found = histogram.percentile(percent);
    return found >= exact && found <= exact * (1 + 1 / 64) && histogram.max === sorted.at(-1);
  });
  t.notThrows(() => fc.assert(property, { numRuns: 1000 }));
  const histogram = new Histogram();
  t.is(histogram.percentile(50), 0);
  for (const odd of [-1, Number.NaN, 0.5]) histogram.record(odd);
  t.is(histogram.max, 0);
  const other = new Histogram();
  other.record(1000);
  other.add(histogram);
  t.like(other.toJSON(), { count: 4, min: 0, p50: 0, max: 1000 });
  other.reset();
  t.is(other.count, 0);
});

test('generator to sink: every frame arrives once, in order, with right checksums and a time', async (t) => {
  const [a, b] = pair();
  const sink = new Sink(nanoseconds);
  let finished = 0;
  const generator = new Generator({
    device: a,
    dma: a.dma,
    now: nanoseconds,
    count: 5000,
    sizes: IMIX,
    finished: () => finished++,
  });
  const join = new SinkJoin(b, sink);
  join.start();
  generator.start();
  t.true(await until(() => sink.received === 5000));
  t.is(finished, 1);
  t.like(sink, { lost: 0, duplicates: 0, reordered: 0, stale: 0, foreign: 0, bytes: generator.sentBytes });
  t.is(sink.latency.count, 5000);
  generator.close();
  join.close();
});

test('the same seed makes the same frames', async (t) => {
  const frames: Uint8Array[][] = [];
  for (const seed of [3, 3, 4]) {
    const device = new FakeNetDevice();
    device.peer = device;
    const generator = new Generator({
      device,
      dma: device.dma,
      now: () => 5e12,
      seed,
      count: 50,
      sizes: [60, 61, 1514],
    });
    generator.start();
    await until(() => device.rings.rx.used === 50);
    const into: PacketBuffer[] = [];
    device.receive(into, 50);
    frames.push(into.map(toBytes));
    generator.stop();
  }
  t.deepEqual(frames[0], frames[1]);
  t.notDeepEqual(frames[0], frames[2]);
  t.true(frames[0]!.every((frame) => naiveSum(frame.subarray(14, 34)) === 0xffff));
});

test('a rate is kept on average', async (t) => {
  const [a, b] = pair();
  for (const rate of [{ packetsPerSecond: 10_000 }, { bitsPerSecond: 10_000 * (60 + 24) * 8 }]) {
    let now = 0;
    const generator = new Generator({ device: a, dma: a.dma, now: () => now, rate });
    generator.start();
    for (let ms = 0; ms < 10; ms++) {
      await new Promise((resolve) => setTimeout(resolve, 2));
      now += 1e6;
      const into: PacketBuffer[] = [];
      for (const packet of into.slice(0, b.receive(into, 1000))) packet.free();
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
    t.is(generator.sent, 101);
    now += 1e9;
    await new Promise((resolve) => setTimeout(resolve, 20));
    t.true(generator.sent < 101 + 110, 'after a pause: no flood');
    generator.stop();
  }
});

test('the sink tells loss, duplicates and order', (t) => {
  const device = new FakeNetDevice();
  const sink = new Sink(() => 2000);
  const give = (sequence: number) => {
    const frame = udpFrame({
      payload: Uint8Array.from([
        0x46,
        0x58,
        0x4e,
        0x43,
        0,
        ...be16(sequence >>> 8),
        sequence & 255,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        100,
        0,
        0,
      ]),
    });
    const packet = toPacket(frame, device.pool);
    sink.take(packet);
    packet.free();
  };
  for (const sequence of [0, 1, 2, 5, 4, 4, 1, 6]) give(sequence);
  t.like(sink, { received: 8, lost: 1, reordered: 1, duplicates: 2, stale: 0 });
  give(200_000);
  give(6);
  t.like(sink, { lost: 1 + 200_000 - 7, stale: 1 });
  give(200_000 - 65_535);
  t.is(sink.reordered, 2);
  const other = toPacket(udpFrame({ payload: bytesOf(100) }), device.pool);
  sink.take(other);
  t.is(sink.foreign, 1);
  t.is(sink.latency.max, 1900);
});

for (const shared of [false, true]) {
  test(`forward: both ways, nothing lost where the ring is full (${shared ? 'one memory' : 'copied'})`, async (t) => {
    const [left, a] = pair();
    const [b, right] = pair({ ring: 64 });
    const forward = new Forward(a, b, { shared });
    forward.start();
    b.stuck = true;
    const frames = Array.from({ length: 300 }, (_, i) => udpFrame({ payload: bytesOf(60, i) }));
    for (const frame of frames) a.arriveBytes(frame);
    b.arriveBytes(frames[0]!);
    t.true(await until(() => left.rings.rx.used === 1));
    b.release();
    const got: Uint8Array[] = [];
    await until(() => {
      const into: PacketBuffer[] = [];
      for (const packet of into.slice(0, right.receive(into, 300))) {
        got.push(toBytes(packet));
        packet.free();
      }
      return got.length === 300;
    });
    t.deepEqual(got, frames);
    t.like(forward.directions[0].statistics, { forwarded: 300, bytes: 300 * 102, droppedFull: 0, droppedOther: 0 });
    forward.close();
    a.reclaim();
    b.reclaim();
    t.is(a.pool.available, a.pool.size);
    t.is(b.pool.available, b.pool.size);
  });
}

test('forward, dropping: a stuck card drops and counts', async (t) => {
  const [a, b] = [new FakeNetDevice(), new FakeNetDevice({ ring: 8 })];
  b.stuck = true;
  const forward = new Forward(a, b, { onFull: 'drop' });
  forward.start();
  for (let i = 0; i < 100; i++) a.arriveBytes(udpFrame({ payload: bytesOf(60) }));
  t.true(await until(() => forward.directions[0].statistics.droppedFull === 92));
  forward.close();
});

test('forward: a stripped tag comes back where the card cannot insert it', async (t) => {
  const [a, b] = [new FakeNetDevice(), new FakeNetDevice({ features: 0 })];
  const far = new FakeNetDevice();
  b.peer = far;
  const forward = new Forward(a, b);
  forward.start();
  a.arrive(Object.assign(toPacket(udpFrame({ payload: bytesOf(60) }), a.pool), { vlan: 7 }), RX_VLAN);
  t.true(await until(() => far.rings.rx.used === 1));
  const into: PacketBuffer[] = [];
  far.receive(into, 1);
  t.deepEqual(toBytes(into[0]!), udpFrame({ payload: bytesOf(60), vlan: 7 }));
  forward.close();
});

const echoes = new FakeNetDevice();

function answer(frame: Uint8Array, options = {}): Uint8Array | null {
  const packet = toPacket(frame, echoes.pool);
  const echo = new Echo(echoes, options);
  const result = echo.answer(packet) ? toBytes(packet) : null;
  packet.free();
  return result;
}

const arp = (sender: number[], target: number[]) =>
  Uint8Array.from([
    255,
    255,
    255,
    255,
    255,
    255,
    ...PEER,
    8,
    6,
    0,
    1,
    8,
    0,
    6,
    4,
    0,
    1,
    ...PEER,
    ...sender,
    0,
    0,
    0,
    0,
    0,
    0,
    ...target,
    ...Array<number>(18).fill(0),
  ]);

test('echo answers ARP, for its address or any', (t) => {
  const reply = answer(arp([10, 0, 0, 1], [10, 0, 0, 2]))!;
  t.deepEqual(
    [...reply.subarray(0, 42)],
    [...PEER, ...MAC, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, ...MAC, 10, 0, 0, 2, ...PEER, 10, 0, 0, 1],
  );
  const addresses = [Uint8Array.of(10, 0, 0, 3)];
  t.is(answer(arp([10, 0, 0, 1], [10, 0, 0, 2]), { addresses }), null);
  t.truthy(answer(arp([10, 0, 0, 1], [10, 0, 0, 3]), { addresses }));
  t.is(answer(arp([0, 0, 0, 0], [10, 0, 0, 2])), null, 'a probe');
  t.is(answer(arp([10, 0, 0, 2], [10, 0, 0, 2])), null, 'an announcement');
  t.is(answer(arp([10, 0, 0, 1], [10, 0, 0, 2]).subarray(0, 41)), null);
});

function icmp(version: 4 | 6, body: number[]): Uint8Array {
  const frame = udpFrame({ version, payload: Uint8Array.from(body.slice(8)) });
  const l4 = version === 4 ? 34 : 54;
  frame[version === 4 ? 23 : 20] = version === 4 ? 1 : 58;
  frame.set(body.slice(0, 8), l4);
  frame.set([0, 0], l4 + 2);
  if (version === 4) {
    frame.set([0, 0], 24);
    frame.set(be16(~naiveSum(frame.subarray(14, 34))), 24);
  }
  const addresses = version === 4 ? [] : [...frame.subarray(22, 54), 0, 0, ...be16(body.length), 0, 0, 0, 58];
  frame.set(be16(~naiveSum([...addresses, ...frame.subarray(l4)])), l4 + 2);
  return frame;
}

test('echo answers pings', (t) => {
  for (const [version, asked, replied] of [
    [4, 8, 0],
    [6, 128, 129],
  ] as const) {
    const request = icmp(version, [asked, 0, 0, 0, 1, 2, 0, 3, ...bytesOf(57)]);
    const reply = answer(request)!;
    const l4 = version === 4 ? 34 : 54;
    t.is(reply[l4], replied);
    t.deepEqual([...reply.subarray(0, 6)], PEER);
    const body = reply.subarray(l4);
    if (version === 4) t.is(naiveSum(body), 0xffff);
    else t.true(sumsRight(reply));
    t.deepEqual(body.subarray(4), request.subarray(l4 + 4));
    t.is(answer(reply), null, 'a reply is not answered');
  }
});

test('echo answers neighbour solicitations', (t) => {
  const target = [0xfd, ...Array<number>(14).fill(0), 2];
  const body = [135, 0, 0, 0, 0, 0, 0, 0, ...target, 1, 1, ...PEER];
  const request = icmp(6, body);
  request[21] = 255;
  const reply = answer(request)!;
  t.true(sumsRight(reply));
  t.deepEqual([...reply.subarray(54)].with(2, 0).with(3, 0), [136, 0, 0, 0, 0x60, 0, 0, 0, ...target, 2, 1, ...MAC]);
  t.deepEqual([...reply.subarray(22, 38)], target);
  request[21] = 64;
  t.is(answer(request), null, 'not from the link: RFC 4861 §7.1.1');
});

test('echo sends UDP back with addresses and ports swapped; TCP, groups and damage are let be', (t) => {
  for (const version of [4, 6] as const) {
    const frame = udpFrame({ version, payload: bytesOf(60) });
    const reply = answer(frame)!;
    t.true(sumsRight(reply));
    t.notDeepEqual(reply, frame);
    t.deepEqual(answer(reply)!.subarray(12), frame.subarray(12));
    t.is(answer(tcpFrame({ version, payload: bytesOf(60) })), null);
  }
  const frame = udpFrame({ payload: bytesOf(60) });
  t.is(answer(frame.with(30, 224)), null);
  t.is(answer(frame.with(20, 0x20)), null);
  t.is(answer(frame.with(0, 1)), null);
});

test('echo never throws, whatever comes', (t) => {
  const property = fc.property(fc.uint8Array({ minLength: 1, maxLength: 120 }), fc.nat(4), (noise, kind) => {
    const type = [[8, 6], [8, 0, 0x45], [0x86, 0xdd, 0x60], [0x81, 0, 0, 1, 8, 6], []][kind]!;
    answer(Uint8Array.from([...MAC, ...PEER, ...type, ...noise]));
  });
  t.notThrows(() => fc.assert(property, { numRuns: 2000 }));
});

test('generator, echo, sink: there and back over two cards', async (t) => {
  const [a, b] = pair({ ring: 2048 });
  const sink = new Sink(nanoseconds);
  const echo = new Echo(b);
  echo.start();
  const generator = new Generator({ device: a, dma: a.dma, now: nanoseconds, count: 500, destinationMac: b.mac, sink });
  generator.start();
  t.true(await until(() => sink.received === 500));
  t.like(sink, { lost: 0, duplicates: 0, reordered: 0 });
  t.like(echo.statistics, { received: 500, answered: 500 });
  echo.close();
  generator.stop();
  a.reclaim();
  b.reclaim();
  t.is(b.pool.available, b.pool.size);
});
