import test from 'ava';
import { superFramePool, TapJoin } from '../../../drivers/join/tap-join.ts';
import { FEATURE_TSO4, FEATURE_TX_CHECKSUM } from '../../../drivers/netdev.ts';
import { PacketPool, RX_ERROR, RX_L4_CHECKSUM_GOOD, RX_VLAN } from '../../../drivers/packet.ts';
import { FakeDma, FakeNetDevice, type FakeOptions, pair, toPacket, until } from '../../util/fake-netdev.ts';
import { FakeTap } from '../../util/fake-tap.ts';
import { be16, bytesOf, naiveSum, pseudo, sumsRight, tcpFrame, udpFrame } from '../../util/frames.ts';

const le16 = (value: number) => [value & 255, value >>> 8];
const plain = new Uint8Array(10);

/** What the kernel hands over for a TCP super-frame: the pseudo-header sum in place, and the header that says so. */
function superFrame(payload: Uint8Array, mss: number): [Uint8Array, Uint8Array] {
  const frame = tcpFrame({ payload, sequence: 1, id: 1 });
  frame.set(be16(naiveSum(pseudo({}, 6, 20 + payload.length))), 50);
  return [frame, Uint8Array.from([1, 1, ...le16(0), ...le16(mss), ...le16(34), ...le16(16)])];
}

function join(options: FakeOptions = {}, more: { batch?: number; small?: boolean } = {}) {
  const [near, far] = pair(options);
  const tap = new FakeTap();
  const pool = more.small ? near.pool : superFramePool(near.dma, { chunk: 8, limit: 64 });
  const errors: unknown[] = [];
  const failed = (error: unknown) => errors.push(error);
  const it = new TapJoin({ device: near, tap, watch: tap.watch, pool, batch: more.batch ?? 16, failed });
  it.start();
  return { near, far, tap, pool, join: it, errors };
}

function arrivals(device: FakeNetDevice): Uint8Array[] {
  const frames: Uint8Array[] = [];
  const into: never[] = [];
  for (const packet of into.slice(0, device.receive(into, 1000)) as ReturnType<typeof toPacket>[]) {
    frames.push(packet.bytes.slice(packet.start, packet.start + packet.length));
    packet.free();
  }
  return frames;
}

test('the interface looks like the card', (t) => {
  const { near, tap, join: it } = join();
  t.deepEqual(tap.mac, near.mac);
  t.is(tap.mtu, 1500);
  t.true(tap.plugged);
  t.deepEqual(tap.offload, { checksum: true, tso4: true, tso6: true });
  near.setLink(false);
  t.false(tap.plugged);
  near.setLink(true);
  t.true(tap.plugged);
  it.close();
  t.false(tap.plugged);
  near.setLink(true);
  t.false(tap.plugged, 'after close nothing moves');
});

test('without room for super-frames the kernel is offered checksums alone', (t) => {
  const { tap, join: it } = join({}, { small: true });
  t.deepEqual(tap.offload, { checksum: true, tso4: false, tso6: false });
  it.close();
});

for (const [name, features] of Object.entries({
  'the card': undefined,
  'software, sums by the card': FEATURE_TX_CHECKSUM,
  software: 0,
  'software, TSO without checksums being useless': FEATURE_TSO4,
})) {
  test(`from the kernel: a super-frame is cut by ${name}`, async (t) => {
    const { near, far, tap, join: it } = join(features === undefined ? {} : { features });
    const payload = bytesOf(20_000);
    tap.send(...superFrame(payload, 1448));
    t.true(await until(() => far.rings.rx.used === 14));
    const frames = arrivals(far);
    t.true(frames.every((frame) => sumsRight(frame)));
    t.deepEqual(Uint8Array.from(frames.flatMap((frame) => [...frame.subarray(54)])), payload);
    t.is(it.statistics.fromKernel, 1);
    t.is(near.statistics().txPackets, features === undefined ? 1 : 14);
    it.close();
    near.reclaim();
    t.is(near.pool.available, near.pool.size);
  });
}

test('from the kernel: hostile headers are dropped and counted', async (t) => {
  const { far, tap, join: it } = join();
  const [frame, header] = superFrame(bytesOf(4000), 1448);
  for (const [at, value] of [
    [0, 0],
    [1, 3],
    [1, 4],
    [1, 0x7f],
    [4, 0],
    [6, 33],
    [7, 255],
    [8, 6],
    [9, 9],
  ] as const) {
    const other = header.slice();
    other[at] = value;
    if (at === 4) other[5] = 0;
    tap.send(frame, other);
  }
  tap.send(bytesOf(13), plain);
  tap.send(udpFrame({ payload: bytesOf(9) }), plain);
  t.true(await until(() => far.rings.rx.used === 1));
  t.is(it.statistics.droppedMalformed, 10);
  it.close();
});

test('a full ring: the TAP is left alone, and nothing is lost or overtaken', async (t) => {
  const { near, far, tap, pool, join: it } = join({ ring: 8 });
  near.stuck = true;
  for (let i = 0; i < 40; i++) tap.send(udpFrame({ id: i, payload: bytesOf(50, i) }));
  t.true(await until(() => it.stalled));
  await until(() => false, 20);
  t.is(tap.queue.length, 40 - 12, 'what the ring took, and a batch');
  t.false(tap.watched);
  const { reads } = tap;
  await until(() => false, 20);
  t.is(tap.reads, reads, 'it sleeps');
  const frames: Uint8Array[] = [];
  near.release();
  await until(() => {
    frames.push(...arrivals(far));
    return frames.length === 40;
  });
  t.deepEqual(
    frames,
    Array.from({ length: 40 }, (_, i) => udpFrame({ id: i, payload: bytesOf(50, i) })),
  );
  t.is(it.statistics.stalls > 0, true);
  it.close();
  near.reclaim();
  t.is(pool.available, pool.size);
});

test('a pool that runs dry holds the TAP up until buffers come back', async (t) => {
  const [near, far] = pair({ ring: 64 });
  const tap = new FakeTap();
  const pool = superFramePool(near.dma, { chunk: 4, limit: 4 });
  const it = new TapJoin({ device: near, tap, watch: tap.watch, pool });
  it.start();
  near.stuck = true;
  for (let i = 0; i < 30; i++) tap.send(udpFrame({ payload: bytesOf(50, i) }));
  await until(() => false, 50);
  t.is(near.rings.tx.used, 4);
  near.release();
  t.true(await until(() => far.rings.rx.used === 30));
  it.close();
});

test('a card joined to a kernel takes every multicast: nobody says which groups the kernel is in', (t) => {
  const { near, join: it } = join();
  t.true(near.allMulticast);
  it.close();
});

test('more segments than the pools hold: they go as buffers come back; the event loop turns meanwhile', async (t) => {
  const near = new FakeNetDevice({ features: 0, ring: 64 });
  const far = new FakeNetDevice({ ring: 65536 });
  near.peer = far;
  const tap = new FakeTap();
  const hold = Array.from({ length: 4090 }, () => near.pool.take()!);
  const pool = superFramePool(near.dma, { chunk: 8, limit: 8 });
  const it = new TapJoin({ device: near, tap, watch: tap.watch, pool, batch: 64 });
  it.start();
  const payload = bytesOf(20_000);
  tap.send(...superFrame(payload, 1));
  tap.send(...superFrame(bytesOf(3000), 1000));
  let turns = 0;
  const got: number[] = [];
  t.true(
    await until(() => {
      turns++;
      for (const frame of arrivals(far)) got.push(...frame.subarray(54));
      return got.length === 23_000;
    }, 20_000),
  );
  t.deepEqual(Uint8Array.from(got.slice(0, 20_000)), payload);
  t.true(turns > 10);
  for (const buffer of hold.splice(0)) buffer.free();
  it.close();
  near.reclaim();
  t.is(pool.available, pool.size);
  t.is(near.pool.available, near.pool.size);
});

test('no buffer anywhere: the frame is dropped, counted and told of once, and the next one goes', async (t) => {
  const near = new FakeNetDevice({ features: 0 });
  const far = new FakeNetDevice();
  near.peer = far;
  const tap = new FakeTap();
  const pool = superFramePool(near.dma, { chunk: 4, limit: 4 });
  const hold = Array.from({ length: 4096 }, () => near.pool.take()!);
  const lines: string[] = [];
  const it = new TapJoin({ device: near, tap, watch: tap.watch, pool, log: (line) => lines.push(line) });
  it.start();
  for (let i = 0; i < 4; i++) tap.send(...superFrame(bytesOf(20_000), 1000));
  tap.send(udpFrame({ payload: bytesOf(9) }), plain);
  t.true(await until(() => far.rings.rx.used > 0));
  t.is(it.statistics.droppedNoBuffers, 1, 'its own buffer serves for the others');
  t.deepEqual(lines, ['no buffers to cut a super-frame from the kernel in: dropped and counted as droppedNoBuffers']);
  t.is(hold.length, 4096);
  it.close();
});

test('what cannot be sent is counted by its name and told of once', async (t) => {
  const [near, far] = pair();
  const tap = new FakeTap();
  const lines: string[] = [];
  const pool = superFramePool(near.dma, { chunk: 8 });
  const it = new TapJoin({ device: near, tap, watch: tap.watch, pool, log: (line) => lines.push(line) });
  it.start();
  for (let i = 0; i < 2; i++) {
    tap.send(udpFrame({ payload: bytesOf(1600) }), plain);
    tap.send(...superFrame(bytesOf(20_000), 1465));
    tap.send(udpFrame({}), Uint8Array.of(0, 1, 0, 0, 0, 0, 0, 0, 0, 0));
  }
  tap.send(udpFrame({ payload: bytesOf(9) }), plain);
  t.true(await until(() => far.rings.rx.used === 1));
  t.like(it.statistics, { droppedTooLong: 4, droppedMalformed: 2, droppedNoBuffers: 0 });
  t.is(near.statistics().txErrors, 0);
  t.is(lines.length, 2);
  it.close();
});

test('to the kernel: segments come as one super-frame with the sum it wants', async (t) => {
  const { near, tap, join: it } = join();
  const frames = Array.from({ length: 10 }, (_, i) =>
    tcpFrame({ sequence: i * 1000, id: i, payload: bytesOf(1000, i) }),
  );
  for (const frame of frames) near.arriveBytes(frame);
  t.true(await until(() => tap.got.length > 0));
  const [whole] = tap.got as [Uint8Array];
  t.deepEqual([...whole.subarray(0, 10)], [1, 1, ...le16(54), ...le16(1000), ...le16(34), ...le16(16)]);
  t.is(whole.length, 10 + 54 + 10_000);
  t.deepEqual([...whole.subarray(60, 62)], be16(naiveSum(pseudo({}, 6, 10_020))));
  t.is(tap.writes, 1);
  t.is(it.statistics.toKernel, 10);
  it.close();
  t.is(near.pool.available, near.pool.size);
});

test('to the kernel: one call for a batch; checksums as the card found them', async (t) => {
  const { near, tap, join: it } = join();
  const frame = udpFrame({ payload: bytesOf(100) });
  near.arriveBytes(frame);
  near.arriveBytes(frame, 0);
  near.arriveBytes(frame, RX_ERROR);
  near.arrive(Object.assign(toPacket(frame, near.pool), { vlan: 0x2005 }), RX_VLAN | RX_L4_CHECKSUM_GOOD);
  t.true(await until(() => tap.got.length === 3));
  t.deepEqual(
    tap.got.map((it) => it[0]),
    [2, 0, 2],
  );
  t.deepEqual(tap.got[1], Uint8Array.from([...plain, ...frame]));
  t.deepEqual(tap.got[2]!.subarray(10), udpFrame({ payload: bytesOf(100), vlan: 0x2005 }), 'the tag is back');
  t.is(tap.writes, 1);
  t.is(it.statistics.droppedDamaged, 1);
  it.close();
});

test('to the kernel: memories are written apart, and chains through several are gathered', async (t) => {
  const { near, tap, join: it } = join();
  const other = new PacketPool(new FakeDma(), { chunk: 1 });
  const [a, b] = [udpFrame({ payload: bytesOf(100) }), udpFrame({ payload: bytesOf(5000) })];
  near.arriveBytes(a);
  near.arrive(toPacket(a, other));
  near.arrive(toPacket(b, other)); // every buffer has a memory of its own
  near.arriveBytes(b);
  t.true(await until(() => tap.got.length === 4));
  t.deepEqual(
    tap.got.map((it) => it.subarray(10)),
    [a, a, b, b],
  );
  it.close();
  t.is(other.available, other.size);
});

test('to the kernel: what it does not take is counted, and its buffers come back', async (t) => {
  const { near, tap, join: it } = join();
  tap.room = 2;
  for (let i = 0; i < 5; i++) near.arriveBytes(udpFrame({ payload: bytesOf(100) }));
  t.true(await until(() => it.statistics.droppedKernelBusy === 3));
  t.is(near.pool.available, near.pool.size);
  it.close();
});

test('idle it sleeps: no reads, no interrupts taken, no turns', async (t) => {
  const { near, tap, join: it } = join();
  tap.send(udpFrame({ payload: bytesOf(1) }));
  await until(() => false, 20);
  const before = [tap.reads, near.interrupts, near.rearms];
  await until(() => false, 200);
  t.deepEqual([tap.reads, near.interrupts, near.rearms], before);
  t.true(tap.watched);
  it.close();
});

test('a TAP that fails closes the join and says so once', async (t) => {
  const { near, tap, pool, join: it, errors } = join();
  await until(() => false, 5);
  const error = new Error('the interface was deleted');
  tap.fail(error);
  t.true(await until(() => errors.length > 0));
  near.arriveBytes(udpFrame({ payload: bytesOf(1) }));
  await until(() => false, 20);
  t.deepEqual(errors, [error]);
  t.is(pool.available, pool.size);
  it.close();
});

test('a TAP without headers: frames alone, nothing offloaded', async (t) => {
  const [near, far] = pair();
  const tap = new FakeTap(0);
  const it = new TapJoin({ device: near, tap, watch: tap.watch });
  it.start();
  t.is(it.gro, null);
  t.deepEqual(tap.offload, {});
  const frame = udpFrame({ payload: bytesOf(100) });
  tap.send(frame, []);
  near.arriveBytes(frame);
  t.true(await until(() => tap.got.length === 1 && far.rings.rx.used === 1));
  t.deepEqual(tap.got, [frame]);
  t.deepEqual(arrivals(far), [frame]);
  it.close();
});

test('buffers too small for the MTU are refused at once', (t) => {
  const device = new FakeNetDevice();
  device.mtu = 9000;
  const tap = new FakeTap();
  t.throws(() => new TapJoin({ device, tap, watch: tap.watch }), { message: /too small for an MTU of 9000/ });
});

test('jumbo segments cut in software get buffers that hold them', async (t) => {
  const [near, far] = pair({ features: 0 });
  near.mtu = 9000;
  const tap = new FakeTap();
  const it = new TapJoin({ device: near, tap, watch: tap.watch, pool: superFramePool(near.dma) });
  it.start();
  tap.send(...superFrame(bytesOf(20_000), 8960));
  t.true(await until(() => far.rings.rx.used === 3));
  it.close();
});
