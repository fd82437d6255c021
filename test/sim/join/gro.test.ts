import test from 'ava';
import fc from 'fast-check';
import { Gro } from '../../../drivers/join/gro.ts';
import { Segmenter } from '../../../drivers/join/segment.ts';
import {
  type PacketBuffer,
  PacketPool,
  RX_IP_CHECKSUM_GOOD,
  RX_L4_CHECKSUM_GOOD,
  RX_VLAN,
  TX_TSO4,
  TX_TSO6,
} from '../../../drivers/packet.ts';
import { FakeDma, NOTHING, toBytes, toPacket } from '../../util/fake-netdev.ts';
import {
  ACK,
  bytesOf,
  CWR,
  ECE,
  FIN,
  PSH,
  RST,
  SYN,
  sumsRight,
  type TcpFrame,
  tcpFrame,
  URG,
  udpFrame,
} from '../../util/frames.ts';

const GOOD = RX_IP_CHECKSUM_GOOD | RX_L4_CHECKSUM_GOOD;
const pool = new PacketPool(new FakeDma(), { limit: 65536, chunk: 4096 });
const segmenter = new Segmenter(NOTHING, pool);
const used = () => pool.size - pool.available;

function receive(frames: readonly Uint8Array[], flags = GOOD): PacketBuffer[] {
  return frames.map((frame) => {
    const packet = toPacket(frame, pool);
    packet.flags = flags;
    packet.mss = 77; // stale: GRO must not trust it
    return packet;
  });
}

function coalesce(frames: readonly Uint8Array[], flags = GOOD): PacketBuffer[] {
  const packets = receive(frames, flags);
  packets.length = new Gro().coalesce(packets, packets.length);
  return packets;
}

/** The frames that packets stand for; frees the packets. */
function apart(packets: readonly PacketBuffer[]): Uint8Array[] {
  const frames: Uint8Array[] = [];
  const into: PacketBuffer[] = [];
  for (const packet of packets) {
    const count = segmenter.prepare(packet, into, 0, Infinity);
    for (let i = 0; i < count; i++) {
      frames.push(toBytes(into[i]!));
      into[i]!.free();
    }
  }
  return frames;
}

function stream(count: number, size: number, more: TcpFrame = {}): Uint8Array[] {
  return Array.from({ length: count }, (_, i) =>
    tcpFrame({ sequence: 100 + i * size, id: 5 + i, payload: bytesOf(size, i), ...more }),
  );
}

for (const version of [4, 6] as const) {
  test(`IPv${version}: a run of segments becomes one super-frame, and comes apart again`, (t) => {
    const frames = stream(40, 1448, { version, timestamp: 9 });
    const packets = coalesce(frames);
    t.is(packets.length, 1);
    const [packet] = packets as [PacketBuffer];
    t.is(packet.mss, 1448);
    t.is(packet.headerLength, version === 4 ? 66 : 86);
    t.truthy(packet.flags & (version === 4 ? TX_TSO4 : TX_TSO6));
    t.is(packet.total, packet.headerLength + 40 * 1448);
    t.deepEqual(apart(packets), frames);
  });
}

test('a super-frame stays within what an IP header can say', (t) => {
  const frames = stream(100, 1448);
  const packets = coalesce(frames);
  t.deepEqual(
    packets.map((packet) => packet.total - 14 <= 65535),
    [true, true, true],
  );
  t.is(packets[0]!.total, 54 + 45 * 1448);
  t.deepEqual(apart(packets), frames);
});

test('a shorter segment, PSH and FIN end a super-frame and are carried by it', (t) => {
  for (const flags of [ACK | PSH, ACK | FIN, ACK | PSH | FIN]) {
    const frames = [
      ...stream(3, 1000),
      tcpFrame({ sequence: 3100, id: 8, payload: bytesOf(1000), flags }),
      tcpFrame({ sequence: 4100, id: 9, payload: bytesOf(1000) }),
    ];
    const packets = coalesce(frames);
    t.deepEqual(
      packets.map((packet) => packet.mss),
      [1000, 0],
    );
    t.is(packets[0]!.bytes[packets[0]!.start + 47], flags);
    t.deepEqual(apart(packets), frames);
  }
  const short = [...stream(2, 1000), tcpFrame({ sequence: 2100, id: 7, payload: bytesOf(5) })];
  t.is(coalesce(short).length, 1);
});

const breakers: Record<string, TcpFrame> = {
  'a gap': { sequence: 1101 },
  'an overlap': { sequence: 1099 },
  'another acknowledgement': { acknowledgement: 1 },
  'another window': { window: 999 },
  'another TOS': { tos: 4 },
  'another TTL': { ttl: 63 },
  'a cleared DF': { df: false },
  'an odd identification': { id: 8 },
  'a new option': { timestamp: 3 },
  'more payload': { payload: bytesOf(1001) },
  'no payload': { payload: bytesOf(0) },
  SYN: { flags: ACK | SYN },
  RST: { flags: ACK | RST },
  URG: { flags: ACK | URG },
  CWR: { flags: ACK | CWR },
  ECE: { flags: ACK | ECE },
  'an urgent pointer': { urgent: 5 },
  'a VLAN tag': { vlan: 5 },
};
for (const [name, change] of Object.entries(breakers)) {
  test(`not merged: ${name}`, (t) => {
    const first = stream(1, 1000);
    const frames = [...first, tcpFrame({ sequence: 1100, id: 6, payload: bytesOf(1000), ...change })];
    const packets = coalesce(frames);
    t.is(packets.length, 2);
    t.deepEqual(
      packets.map((packet) => packet.mss),
      [0, 0],
    );
    t.deepEqual(packets.map(toBytes), frames, 'and not touched');
  });
}

test('not merged: what the card did not find right, and what has another stripped tag', (t) => {
  const frames = stream(2, 1000);
  t.is(coalesce(frames, RX_IP_CHECKSUM_GOOD).length, 2);
  t.is(coalesce(frames, RX_L4_CHECKSUM_GOOD).length, 1, 'an IP header it sums itself');
  const bad = frames.map((frame) => frame.with(24, frame[24]! ^ 1));
  t.is(coalesce(bad, RX_L4_CHECKSUM_GOOD).length, 2);
  const tagged = receive(frames, GOOD | RX_VLAN);
  tagged[0]!.vlan = 1;
  tagged[1]!.vlan = 2;
  t.is(new Gro().coalesce(tagged, 2), 2);
  tagged[1]!.vlan = 1;
  t.is(new Gro().coalesce(tagged, 2), 1);
});

test('not merged: what lies in different memory, for a native batch addresses one', (t) => {
  const other = new PacketPool(new FakeDma());
  const [one, two] = stream(2, 1000) as [Uint8Array, Uint8Array];
  const packets = [toPacket(one, pool), toPacket(two, other)];
  for (const packet of packets) packet.flags = GOOD;
  t.is(new Gro().coalesce(packets, 2), 2);
});

test('jumbo frames in chains merge as chains', (t) => {
  const frames = stream(5, 8000);
  const packets = coalesce(frames);
  t.is(packets.length, 1);
  const small = toBytes(packets[0]!).subarray(54);
  t.deepEqual(small, Uint8Array.from(frames.flatMap((frame) => [...frame.subarray(54)])));
});

test('nine flows: the one opened first gives way', (t) => {
  const round = (i: number) =>
    Array.from({ length: 9 }, (_, flow) =>
      tcpFrame({ flow: flow * 2, sequence: i * 100, id: i, payload: bytesOf(100) }),
    );
  t.is(coalesce([...round(0).slice(0, 8), ...round(1).slice(0, 8)]).length, 8);
  t.true(coalesce([...round(0), ...round(1)]).length > 9);
});

// One segment as the property test knows it, and the plain rule by which it follows another.
interface Known extends TcpFrame {
  flow: number;
  sequence: number;
  flags: number;
  payload: Uint8Array;
  id: number;
  df: boolean;
  window: number;
  version: 4 | 6;
  timestamp: number | undefined;
  udp: boolean;
}

// Mostly segments that follow one another, with all that can come in between.
const usually = <T>(value: T, ...others: T[]) =>
  fc.oneof({ weight: 12, arbitrary: fc.constant(value) }, { weight: 1, arbitrary: fc.constantFrom(...others) });
const step = fc.record({
  flow: fc.oneof(fc.nat(1), fc.nat(9)),
  size: fc.constantFrom(0, 1, 7, 100, 100, 100, 100, 100, 333),
  flags: usually(ACK, ACK | PSH, ACK | FIN, ACK | ECE, ACK | CWR, SYN, RST),
  gap: usually(0, 100, -100),
  idStep: usually(1, 0, 2),
  timestamp: usually<number | undefined>(1, undefined, 2),
  window: usually(5, 6),
  udp: usually(false, true),
});
const batch = fc
  .tuple(fc.constantFrom(4 as const, 6 as const), fc.boolean(), fc.integer(), fc.array(step, { maxLength: 60 }))
  .map(([version, df, first, steps]) => {
    const next = Array<number>(10).fill(first >>> 0);
    const ids = Array<number>(10).fill(first & 0xffff);
    return steps.map(({ flow, size, gap, idStep, ...rest }, i): Known => {
      const sequence = (next[flow]! + gap) >>> 0;
      next[flow] = (sequence + size) >>> 0;
      ids[flow] = (ids[flow]! + idStep) & 0xffff;
      return { flow, sequence, payload: bytesOf(size, i), id: ids[flow]!, df, version, ...rest };
    });
  });

function follows(run: readonly Known[], it: Known): boolean {
  const [first, last] = [run[0]!, run.at(-1)!];
  const idStep = (it.id - last.id) & 0xffff;
  const runStep = run.length > 1 ? (run[1]!.id - first.id) & 0xffff : idStep;
  return (
    it.sequence === (last.sequence + last.payload.length) >>> 0 &&
    last.payload.length === first.payload.length &&
    (last.flags & (PSH | FIN)) === 0 &&
    it.payload.length > 0 &&
    it.payload.length <= first.payload.length &&
    (it.flags & ~(PSH | FIN)) === first.flags &&
    it.timestamp === first.timestamp &&
    it.window === first.window &&
    (it.version === 6 || ((idStep === 1 || (idStep === 0 && it.df)) && idStep === runStep))
  );
}

/** How the segments of one flow fall into runs. */
function runsOf(segments: readonly Known[]): Known[][] {
  const runs: Known[][] = [];
  for (const it of segments) {
    const run = runs.at(-1);
    const mergeable = run && (run[0]!.flags === ACK || run[0]!.flags === (ACK | ECE)) && run[0]!.payload.length > 0;
    if (mergeable && follows(run, it)) run.push(it);
    else runs.push([it]);
  }
  return runs;
}

const build = (it: Known) => (it.udp ? udpFrame(it) : tcpFrame(it));
const flowOf = (frame: Uint8Array, version: 4 | 6) =>
  String(frame.subarray(26, version === 4 ? 38 : 58)) + frame[version === 4 ? 23 : 20];
/** An atomic datagram's identification says nothing (RFC 6864): it may come back another. */
function neutral(frame: Uint8Array, known: Known): Uint8Array {
  if (known.version === 6 || !known.df) return frame;
  const copy = frame.slice();
  copy.fill(0, 18, 20);
  copy.fill(0, 24, 26);
  return copy;
}

test('any batch: flows keep their order, runs are what the plain rule says, and come apart to the same bytes', (t) => {
  const property = fc.property(batch, (segments) => {
    const before = used();
    const frames = segments.map(build);
    const packets = coalesce(frames);
    const supers = packets.filter((packet) => packet.flags & (TX_TSO4 | TX_TSO6));
    if (!packets.every((packet) => packet.mss > 0 === supers.includes(packet))) return false;
    const total = packets.length;
    const back = apart(packets);
    const version = segments[0]?.version ?? 4;
    if (!back.every((frame) => sumsRight(frame))) return false;
    for (const flow of new Set(frames.map((frame) => flowOf(frame, version)))) {
      const one = { df: segments[0]!.df, version } as Known;
      const mine = (frame: Uint8Array) => flowOf(frame, version) === flow;
      const left = frames.filter(mine).map((frame) => neutral(frame, one));
      const right = back.filter(mine).map((frame) => neutral(frame, one));
      if (String(left) !== String(right)) return false;
    }
    if (used() !== before) return false;
    const flows = new Set(segments.filter((it) => !it.udp).map((it) => it.flow));
    if (flows.size > 8) return true; // which flow gives way is not the rule's business
    const runs = [...flows].flatMap((flow) => runsOf(segments.filter((it) => !it.udp && it.flow === flow)));
    return total === runs.length + segments.filter((it) => it.udp).length;
  });
  t.notThrows(() => fc.assert(property, { numRuns: 400 }));
});

test('hostile frames: anything at all passes without harm, every byte of it', (t) => {
  const seed = fc.record({
    at: fc.nat(70),
    value: fc.nat(255),
    cut: fc.nat(120),
    flags: fc.nat(63),
    version: fc.constantFrom(4 as const, 6 as const),
  });
  const property = fc.property(fc.array(seed, { maxLength: 20 }), (seeds) => {
    const before = used();
    const frames = seeds.map(({ at, value, cut, version }, i) => {
      const frame = tcpFrame({ version, sequence: i * 30, id: i, payload: bytesOf(30, i) });
      frame[at] = value;
      return cut < 14 ? frame.slice(0, frame.length - cut * 5) : frame;
    });
    const packets = frames.map((frame, i) => {
      const packet = toPacket(frame, pool);
      packet.flags = seeds[i]!.flags;
      return packet;
    });
    const left = new Gro().coalesce(packets, packets.length);
    let pieces = 0;
    for (let i = 0; i < left; i++) {
      toBytes(packets[i]!); // the chain's lengths agree
      for (let it: PacketBuffer | null = packets[i]!; it !== null; it = it.next) pieces++;
      packets[i]!.free();
    }
    return pieces === frames.length && used() === before;
  });
  t.notThrows(() => fc.assert(property, { numRuns: 500 }));
});
