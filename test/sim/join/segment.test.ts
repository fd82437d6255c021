import test from 'ava';
import fc from 'fast-check';
import { fillChecksum, MALFORMED, Segmenter, TOO_LONG } from '../../../drivers/join/segment.ts';
import { readVirtioNetHeader, writeVirtioNetHeader } from '../../../drivers/join/virtio-net-header.ts';
import { FEATURE_TSO4, FEATURE_TSO6, FEATURE_TX_CHECKSUM } from '../../../drivers/netdev.ts';
import {
  type PacketBuffer,
  PacketPool,
  TX_IP_CHECKSUM,
  TX_L4_CHECKSUM,
  TX_TSO4,
  TX_TSO6,
  TX_UDP,
} from '../../../drivers/packet.ts';
import { cardDoes } from '../../../drivers/requests.ts';
import { bigPool, FakeDma, NO_LIMITS, NOTHING, toBytes, toPacket } from '../../util/fake-netdev.ts';
import {
  ACK,
  be16,
  be32,
  bytesOf,
  CWR,
  FIN,
  naiveSum,
  PSH,
  pseudo,
  sumsRight,
  type TcpFrame,
  tcpFrame,
  udpFrame,
} from '../../util/frames.ts';
import { left, requests } from '../../util/super-frames.ts';

const pool = new PacketPool(new FakeDma());
const ALL = FEATURE_TX_CHECKSUM | FEATURE_TSO4 | FEATURE_TSO6;

/** A TSO request as the kernel makes it. */
function request(frame: TcpFrame, mss: number, from: PacketPool = bigPool): PacketBuffer {
  const l4 = frame.version === 6 ? 54 : 34;
  const bytes = tcpFrame(frame);
  bytes.set(be16(naiveSum(pseudo(frame, 6, bytes.length - l4))), l4 + 16);
  const packet = toPacket(bytes, from);
  packet.flags = TX_L4_CHECKSUM | (frame.version === 6 ? TX_TSO6 : TX_TSO4);
  const headerLength = bytes.length - frame.payload!.length;
  return Object.assign(packet, { mss, headerLength, checksumStart: l4, checksumOffset: 16 });
}

/** For a card with these features. */
function segmenterFor(enabled: number, from = pool): Segmenter {
  return new Segmenter({ ...NOTHING, features: { available: enabled, enabled } }, from);
}

function segments(packet: PacketBuffer, enabled: number): Uint8Array[] {
  const into: PacketBuffer[] = [];
  const count = segmenterFor(enabled).prepare(packet, into, 0, Infinity);
  return into.slice(0, count).map((frame) => {
    const bytes = toBytes(frame);
    frame.free();
    return bytes;
  });
}

test('segments are the frames that a sender without TSO would have sent', (t) => {
  const property = fc.property(
    fc.constantFrom(4 as const, 6 as const),
    fc.integer({ min: 1, max: 9000 }),
    fc.integer({ min: 1, max: 1448 }),
    fc.nat(0xffffffff),
    fc.nat(0xffff),
    fc.constantFrom(ACK, ACK | PSH, ACK | FIN | PSH, ACK | CWR),
    fc.constantFrom(undefined, 77),
    fc.boolean(),
    (version, size, mss, sequence, id, flags, timestamp, chained) => {
      const payload = bytesOf(size, sequence);
      const packet = request({ version, payload, sequence, id, flags, timestamp }, mss, chained ? pool : bigPool);
      const expected: Uint8Array[] = [];
      for (let at = 0; at < size; at += mss) {
        const last = at + mss >= size;
        const ends = flags & (FIN | PSH) & (last ? 0xff : 0);
        const mine = (flags & ACK) | ends | (at === 0 ? flags & CWR : 0);
        const part = payload.subarray(at, at + mss);
        const next = (sequence + at) >>> 0;
        const index = at / mss;
        expected.push(
          tcpFrame({ version, payload: part, sequence: next, id: (id + index) & 0xffff, flags: mine, timestamp }),
        );
      }
      return String(segments(packet, 0)) === String(expected);
    },
  );
  t.notThrows(() => fc.assert(property, { numRuns: 200 }));
  t.is(pool.available, pool.size);
});

test('a card that sums gets the pseudo-header sum and the request', (t) => {
  const packet = request({ payload: bytesOf(3000), id: 1 }, 1000);
  const into: PacketBuffer[] = [];
  t.is(segmenterFor(FEATURE_TX_CHECKSUM).prepare(packet, into, 0, Infinity), 3);
  for (const frame of into) {
    t.is(frame.flags, TX_L4_CHECKSUM);
    t.deepEqual([...frame.bytes.subarray(frame.start + 50, frame.start + 52)], be16(naiveSum(pseudo({}, 6, 1020))));
    fillChecksum(frame);
    t.true(sumsRight(toBytes(frame)));
    frame.free();
  }
});

test('what the features cover is left alone, save CWR, which cards repeat', (t) => {
  const packet = request({ payload: bytesOf(3000) }, 1000);
  const does = (it: PacketBuffer, enabled: number) => cardDoes(it, enabled, NO_LIMITS);
  t.true(does(packet, ALL));
  t.false(does(packet, ALL & ~FEATURE_TSO4));
  t.false(does(packet, ALL & ~FEATURE_TX_CHECKSUM));
  t.true(does(request({ version: 6, payload: bytesOf(3000) }, 1000), ALL & ~FEATURE_TSO4));
  t.false(does(request({ payload: bytesOf(3000), flags: ACK | CWR }, 1000), ALL));
  const into: PacketBuffer[] = [];
  t.is(segmenterFor(ALL).prepare(packet, into, 3, 1), 1);
  t.is(into[3], packet);
});

test('checksums alone, IP and transport, UDP zero, and chains with odd pieces', (t) => {
  const frame = udpFrame({ payload: bytesOf(1999) });
  const bare = frame.slice();
  bare.set([0, 0], 24);
  bare.set(be16(naiveSum(pseudo({}, 17, 2007))), 40);
  const packet = toPacket(bare.subarray(0, 101), pool);
  packet.next = toPacket(bare.subarray(101, 700), pool);
  packet.next.next = toPacket(bare.subarray(700), pool);
  packet.flags = TX_L4_CHECKSUM | TX_UDP | TX_IP_CHECKSUM;
  Object.assign(packet, { total: bare.length, checksumStart: 34, checksumOffset: 6 });
  t.deepEqual(segments(packet, 0), [frame]);
  const zero = udpFrame({ payload: Uint8Array.from(be16(~naiveSum([...pseudo({}, 17, 10), 4, 210, 16, 225, 0, 10]))) });
  t.deepEqual([...zero.subarray(40, 42)], [255, 255]);
  zero.set(be16(naiveSum(pseudo({}, 17, 10))), 40);
  const small = Object.assign(toPacket(zero, pool), {
    flags: TX_L4_CHECKSUM | TX_UDP,
    checksumStart: 34,
    checksumOffset: 6,
  });
  t.deepEqual([...segments(small, 0)[0]!.subarray(40, 42)], [255, 255], 'RFC 768');
});

test('few buffers, or little room: as many frames as there are, and the rest when it is asked for again', (t) => {
  const payload = bytesOf(3000);
  const expected = segments(request({ payload }, 300), 0);
  const tight = new PacketPool(new FakeDma(), { chunk: 4, limit: 4 });
  const packet = request({ payload }, 300);
  const segmenter = segmenterFor(0, tight);
  const got: Uint8Array[] = [];
  const into: PacketBuffer[] = [];
  for (const room of [3, 9, 9]) {
    t.true(got.length === 0 || segmenter.busy);
    const count = segmenter.prepare(packet, into, 0, room);
    t.is(count, Math.min(room, 4, 10 - got.length));
    if (room === 9 && segmenter.busy) t.is(segmenter.prepare(packet, into, count, 1), 0, 'no buffer is left');
    for (const frame of into.splice(0, count)) {
      got.push(toBytes(frame));
      frame.free();
    }
  }
  t.false(segmenter.busy);
  t.deepEqual(got, expected);
  t.is(tight.available, 4);
});

test('requests that the headers do not bear out, and frames beyond the MTU, are refused and freed', (t) => {
  const before = bigPool.size - bigPool.available;
  const into: PacketBuffer[] = [];
  const prepare = (packet: PacketBuffer, mtu = 65535) =>
    new Segmenter({ ...NOTHING, mtu }, pool).prepare(packet, into, 0, Infinity);
  for (const change of [
    { mss: 0 },
    { length: 40, total: 40 },
    { checksumStart: 38 },
    { checksumOffset: 6 },
    { headerLength: 58 },
    { flags: TX_L4_CHECKSUM | TX_TSO6 },
  ]) {
    const packet = Object.assign(request({ payload: bytesOf(3000) }, 1000), change);
    t.is(prepare(packet), MALFORMED, JSON.stringify(change));
  }
  const sum = Object.assign(toPacket(bytesOf(60), bigPool), {
    flags: TX_L4_CHECKSUM,
    checksumStart: 50,
    checksumOffset: 9,
  });
  t.is(prepare(sum), MALFORMED);
  t.is(prepare(request({ payload: bytesOf(3000) }, 2500)), TOO_LONG, 'a segment fits no buffer');
  t.is(prepare(request({ payload: bytesOf(3000) }, 1461), 1496), TOO_LONG);
  t.is(prepare(toPacket(udpFrame({ payload: bytesOf(1473) }), bigPool), 1496), TOO_LONG);
  t.is(bigPool.size - bigPool.available, before);
});

const le16 = (value: number) => [value & 255, value >>> 8];

function read(frame: Uint8Array, header: readonly number[]): PacketBuffer | null {
  const packet = toPacket(frame, bigPool);
  packet.bytes.set(header, packet.start - 10);
  if (readVirtioNetHeader(packet)) return packet;
  packet.free();
  return null;
}

test('virtio-net header: what is written is read back as the same request', (t) => {
  for (const version of [4, 6] as const) {
    const packet = request({ version, payload: bytesOf(5000) }, 1000);
    const { flags, mss, headerLength, checksumStart, checksumOffset } = packet;
    writeVirtioNetHeader(packet);
    Object.assign(packet, { flags: 0, mss: 1, headerLength: 1, checksumStart: 1, checksumOffset: 1 });
    t.true(readVirtioNetHeader(packet));
    t.like(packet, { flags, mss, headerLength, checksumStart, checksumOffset });
    packet.free();
  }
});

test('virtio-net header: sums are asked for wherever they are; places outside of the frame are refused', (t) => {
  const sum = (start: number, offset: number) => [1, 0, 0, 0, 0, 0, ...le16(start), ...le16(offset)];
  t.is(read(tcpFrame({}), sum(34, 16))!.flags, TX_L4_CHECKSUM);
  t.is(read(udpFrame({ version: 6 }), sum(54, 6))!.flags, TX_L4_CHECKSUM | TX_UDP);
  t.is(read(tcpFrame({}), Array<number>(10).fill(0))!.flags, 0);
  const odd = Uint8Array.from([...bytesOf(12), 0x88, 0xb5, ...be32(1), ...be32(2), 0, 0, ...bytesOf(30)]);
  const packet = read(odd, sum(14, 8))!;
  t.is(packet.flags, TX_L4_CHECKSUM);
  t.is(naiveSum(segments(packet, 0)[0]!.subarray(14)), 0xffff);
  for (const [start, offset] of [
    [13, 16],
    [34, 19],
    [65535, 65535],
    [54, 0],
  ] as const)
    t.is(read(tcpFrame({}), sum(start, offset)), null, `${start}+${offset}`);
});

test('virtio-net header: super-frames of one segment need no cutting; hdr_len is not believed', (t) => {
  const frame = tcpFrame({ payload: bytesOf(500) });
  const packet = read(frame, [1, 1, 255, 255, ...le16(500), ...le16(34), ...le16(16)])!;
  t.is(packet.flags, TX_L4_CHECKSUM);
  t.is(read(frame, [1, 1, 255, 255, ...le16(499), ...le16(34), ...le16(16)])!.headerLength, 54);
  const long = Uint8Array.from([...frame, 0]);
  t.is(read(long, [1, 1, 0, 0, ...le16(400), ...le16(34), ...le16(16)]), null, 'longer than its IP header says');
});

test('virtio-net header: any ten bytes in front of any frame do no harm', (t) => {
  const frames = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc
      .tuple(fc.constantFrom(4 as const, 6 as const), fc.nat(400), fc.nat(80), fc.nat(255))
      .map(([version, size, at, value]) => {
        const frame = tcpFrame({ version, payload: bytesOf(size) });
        return at < frame.length ? frame.with(at, value) : frame;
      }),
  );
  const header = fc.tuple(
    fc.nat(3),
    fc.constantFrom(0, 1, 4, 0x81, 9),
    fc.constantFrom(48, 100, 9, 1, 0, 60000),
    fc.constantFrom(34, 54, 14, 300),
    fc.constantFrom(16, 6, 200),
  );
  const property = fc.property(frames, header, (frame, [flags, type, mss, start, offset]) => {
    const packet = read(frame, [flags, type, 0, 0, ...le16(mss), ...le16(start), ...le16(offset)]);
    return packet === null || segments(packet, 0).every((it) => it.length <= Math.max(frame.length, 1514));
  });
  t.notThrows(() => fc.assert(property, { numRuns: 2000 }));
});

test('whatever bytes of a request are others: it is refused or done, and every buffer comes back', (t) => {
  const changes = fc.array(fc.tuple(fc.nat(140), fc.nat(255)), { minLength: 1, maxLength: 4 });
  const before = bigPool.size - bigPool.available;
  const property = fc.property(requests, changes, (request, others) => {
    const { bytes, header } = left({ ...request, payload: Math.min(request.payload, 3000) });
    const whole = Uint8Array.from([...header, ...bytes]);
    for (const [at, value] of others) if (at < whole.length) whole[at] = value;
    const packet = read(whole.subarray(10), [...whole.subarray(0, 10)]);
    return packet === null || segments(packet, 0).every((it) => it.length <= bytes.length);
  });
  t.notThrows(() => fc.assert(property, { numRuns: 1000 }));
  t.is(bigPool.size - bigPool.available, before);
  t.is(pool.available, pool.size);
});
