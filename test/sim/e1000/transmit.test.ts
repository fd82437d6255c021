/** The transmitter, from the manual's sections 3.3 to 3.5: descriptors in memory, frames at the other end of the cable. */
import test from 'ava';
import fc from 'fast-check';
import { FCS_ERROR, SUM_KNOWN } from '../../../sim/wire/port.ts';
import { Bench, type Context, EOP, IC, IDE, IFCS, IXSM, R, RS, TSE, TXSM, VLE } from '../../util/e1000-harness.ts';
import {
  BROADCAST,
  be16,
  be32,
  ethernet,
  fcs,
  type IpFrame,
  type IpOptions,
  internetChecksum,
  ip,
  pattern,
  pause,
} from '../../util/packets.ts';

const US = 1024; // ns, the unit of TIDV and TADV

function bench(descriptors = 64): Bench {
  const b = new Bench();
  b.transmitter(descriptors);
  return b;
}

/** So that a failure shows frames as lines. */
const hex = (bytes: ArrayLike<number>) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
const list = (frames: ArrayLike<number>[]) => frames.map(hex);

// Legacy descriptors (3.3.3).

test('a legacy descriptor sends its buffer', (t) => {
  const b = bench();
  const frame = ethernet({ length: 1514 });
  b.send(frame);
  t.deepEqual(b.sent(), [frame]);
  t.true(b.done(0));
  t.is(b.read(R.TDH), 1);
});

test('frames leave in the order of their descriptors, round and round the ring', (t) => {
  const b = bench(8);
  const frames = Array.from({ length: 30 }, (_, i) => ethernet({ seed: i }));
  for (const frame of frames) b.send(frame);
  t.deepEqual(list(b.sent()), list(frames));
  t.is(b.read(R.TDH), 30 % 8);
});

test('a frame may be spread over descriptors, of any length and address', (t) => {
  const b = bench();
  const frame = ethernet({ length: 200 });
  for (const [from, to] of [
    [0, 1],
    [1, 60],
    [60, 63],
    [63, 200],
  ] as const) {
    b.legacy(frame.subarray(from, to), to === 200 ? EOP | IFCS | RS : IFCS);
    b.alloc(3, 1);
  }
  b.ring();
  t.deepEqual(b.sent(), [frame]);
});

test('null descriptors and empty ones move no data; DD is written if they ask (3.3.3)', (t) => {
  const b = bench();
  const frame = ethernet();
  b.post(0, 0, (100 | ((IFCS | RS) << 24)) >>> 0, 0);
  b.legacy([], IFCS | RS);
  b.legacy(frame);
  b.legacy([], EOP | RS);
  b.ring();
  t.deepEqual(b.sent(), [frame]);
  t.deepEqual(
    [0, 1, 2, 3].map((i) => b.done(i)),
    [true, true, true, true],
  );
  t.is(b.card.dma.faults, 0);
});

test('DD only where RS is (3.3.3.1)', (t) => {
  const b = bench();
  b.legacy(ethernet(), EOP | IFCS);
  b.legacy(ethernet(), EOP | IFCS | RS);
  b.ring();
  t.deepEqual([b.done(0), b.done(1)], [false, true]);
});

test('nothing moves while TCTL.EN is clear, and all when it is set', (t) => {
  const b = bench();
  b.write(R.TCTL, 0);
  b.send(ethernet());
  t.deepEqual(b.sent(), []);
  b.write(R.TCTL, R.TCTL.EN);
  t.is(b.sent().length, 1);
});

test('short frames are padded with zeros to 60 bytes where TCTL.PSP says so (13.4.33)', (t) => {
  const b = bench();
  const frame = ethernet({ length: 20 });
  b.send(frame);
  b.write(R.TCTL, R.TCTL.EN);
  b.send(frame);
  t.deepEqual(list(b.sent()), list([[...frame, ...new Array<number>(40).fill(0)], frame]));
});

test('without IFCS the last four bytes are the FCS that software made: right or wrong', (t) => {
  const b = bench();
  const frame = ethernet({ length: 100 });
  b.send([...frame, ...fcs(frame)], EOP | RS);
  b.send([...frame, 1, 2, 3, 4], EOP | RS);
  t.deepEqual(b.sentWithFlags(), [
    { bytes: frame, flags: 0 },
    { bytes: frame, flags: FCS_ERROR },
  ]);
});

test('IC sums from CSS to the end into CSO', (t) => {
  const b = bench();
  const { bytes, l4 } = ip({ checksum: 'pseudo', protocol: 'udp', data: pattern(33) });
  b.send(bytes, EOP | IFCS | IC, { css: l4, cso: l4 + 6 });
  t.deepEqual(b.sent(), [ip({ protocol: 'udp', data: pattern(33) }).bytes]);
});

for (const [what, css, cso] of [
  ['CSS at the end', 100, 20],
  ['CSO at the last byte', 14, 99],
] as const) {
  test(`IC is ignored with ${what}: out of the packet's range (3.3.3.1)`, (t) => {
    const b = bench();
    const frame = ethernet({ length: 100 });
    b.send(frame, EOP | IFCS | IC, { css, cso });
    t.deepEqual(b.sent(), [frame]);
  });
}

test('CSS and CSO are the first descriptor’s, IC the last one’s', (t) => {
  const b = bench();
  const frame = ethernet({ length: 100 });
  b.legacy(frame.subarray(0, 50), IFCS, { css: 14, cso: 20 });
  b.legacy(frame.subarray(50), EOP | IFCS | IC, { css: 50, cso: 60 });
  b.ring();
  const expected = Uint8Array.from(frame);
  expected.set(be16(internetChecksum(frame.subarray(14))), 20);
  t.deepEqual(b.sent(), [expected]);
});

// VLAN (9.1).

const tagged = (frame: Uint8Array, tag: number) =>
  Uint8Array.from([...frame.subarray(0, 12), 0x81, 0, ...be16(tag), ...frame.subarray(12)]);

test('VLE inserts VET and the descriptor’s tag, where CTRL.VME is set', (t) => {
  const b = bench();
  const frame = ethernet({ length: 100 });
  b.send(frame, EOP | IFCS | VLE, { special: 0xe123 });
  b.set(R.CTRL, R.CTRL.VME);
  b.send(frame, EOP | IFCS | VLE, { special: 0xe123 });
  b.send(frame, EOP | VLE, { special: 0xe123 });
  const with0 = tagged(frame, 0xe123);
  t.deepEqual(list(b.sent()), list([frame, with0, with0]));
});

test('the tag is the last descriptor’s (3.3.7.1), and its type VET’s', (t) => {
  const b = bench();
  b.set(R.CTRL, R.CTRL.VME);
  b.write(R.VET, 0x88a8);
  const frame = ethernet({ length: 100 });
  b.data(frame.subarray(0, 30), IFCS | VLE, { special: 5 });
  b.data(frame.subarray(30), EOP | IFCS | VLE, { special: 6 });
  b.ring();
  const expected = tagged(frame, 6);
  expected.set([0x88, 0xa8], 12);
  t.deepEqual(b.sent(), [expected]);
});

test('a short frame is padded behind its tag', (t) => {
  const b = bench();
  b.set(R.CTRL, R.CTRL.VME);
  b.send(ethernet({ length: 20 }), EOP | IFCS | VLE, { special: 1 });
  t.is(b.sent()[0]!.length, 60);
});

// Checksum offload (3.5.5).

function offload({ l3, l4 }: IpFrame, options: IpOptions): Context {
  const tcp = options.protocol !== 'udp';
  const v4 = options.version !== 6;
  const ipFields = v4 ? { ipStart: l3, ipSum: l3 + 10, ipEnd: l4 - 1 } : { ipStart: l3 };
  return { ...ipFields, l4Start: l4, l4Sum: l4 + (tcp ? 16 : 6), tcp, ipv4: v4 };
}

const offloads: [string, IpOptions][] = [
  ['TCP over IPv4', {}],
  ['UDP over IPv4', { protocol: 'udp' }],
  ['TCP over IPv6', { version: 6 }],
  ['UDP over IPv6', { version: 6, protocol: 'udp' }],
  ['IPv4 options', { ipOptions: [1, 1, 1, 1] }],
  ['TCP options', { tcpOptions: [1, 1, 1, 1, 1, 1, 1, 1] }],
  ['an odd length', { data: pattern(101) }],
  ['no data', { data: [] }],
  ['a tag in the buffer', { vlan: 7 }],
];
for (const [what, options] of offloads) {
  test(`checksums inserted: ${what}`, (t) => {
    const b = bench();
    const frame = ip({ ...options, checksum: 'pseudo', ipChecksum: 0 });
    b.context(offload(frame, options));
    b.data(frame.bytes.subarray(0, 40), 0, { options: (IXSM * Number(options.version !== 6)) | TXSM });
    b.data(frame.bytes.subarray(40), EOP | IFCS | RS);
    b.ring();
    t.deepEqual(list(b.sent()), list([ip({ ...options, length: 60 }).bytes]));
  });
}

test('IXSM alone leaves the transport checksum, TXSM alone the IP header’s (3.3.7.3)', (t) => {
  const b = bench();
  const options: IpOptions = { checksum: 0x1111, ipChecksum: 0 };
  const frame = ip(options);
  b.context(offload(frame, options));
  b.data(frame.bytes, EOP | IFCS, { options: IXSM });
  b.data(frame.bytes, EOP | IFCS);
  b.ring();
  t.deepEqual(list(b.sent()), list([ip({ checksum: 0x1111 }).bytes, frame.bytes]));
});

test('a context serves every packet after it', (t) => {
  const b = bench();
  const frame = ip({ checksum: 'pseudo' });
  b.context(offload(frame, {}));
  for (let i = 0; i < 3; i++) b.data(frame.bytes, EOP | IFCS, { options: TXSM });
  b.ring();
  t.deepEqual(list(b.sent()), list(new Array(3).fill(ip().bytes)));
});

test('TUCSE bounds what is summed (3.3.6)', (t) => {
  const b = bench();
  const frame = ethernet({ length: 100 });
  b.context({ l4Start: 20, l4Sum: 30, l4End: 49 });
  b.data(frame, EOP | IFCS, { options: TXSM });
  b.ring();
  const expected = Uint8Array.from(frame);
  expected.set(be16(internetChecksum(frame.subarray(20, 50))), 30);
  t.deepEqual(b.sent(), [expected]);
});

test('a UDP sum of 0 is sent as FFFFh (RFC 768), a TCP one as it is', (t) => {
  for (const tcp of [true, false]) {
    const b = bench();
    const frame = new Uint8Array(60);
    frame.set([0xff, 0xff], 40);
    b.context({ l4Start: 20, l4Sum: 30, tcp });
    b.data(frame, EOP | IFCS, { options: TXSM });
    b.ring();
    t.deepEqual([...b.sent()[0]!.subarray(30, 32)], tcp ? [0, 0] : [0xff, 0xff]);
  }
});

// Segmentation (3.5).

interface Super extends IpOptions {
  mss: number;
  tag?: number;
  /** Where the buffer is cut into descriptors. */
  cuts?: readonly number[];
}

function segment(b: Bench, { mss, tag, cuts = [], ...options }: Super): void {
  const frame = ip({ ...options, segmented: true, checksum: 'pseudo', ipChecksum: 0 });
  const header = frame.payload;
  b.context({ ...offload(frame, options), header, mss, payload: frame.bytes.length - header, segment: true });
  const ends = [...cuts.filter((cut) => cut < frame.bytes.length), frame.bytes.length];
  for (const [i, end] of ends.entries()) {
    const command = TSE | IFCS | (i === ends.length - 1 ? EOP | RS : 0) | (tag === undefined ? 0 : VLE);
    b.data(frame.bytes.subarray(ends[i - 1] ?? 0, end), command, {
      options: TXSM | (options.version === 6 ? 0 : IXSM),
      special: tag,
    });
  }
}

/** By 3.5.7, each segment made from nothing: what must arrive. */
function segments({ mss, tag, ...options }: Super): Uint8Array[] {
  const { data = [], sequence = 0x01020304, id = 0x4321, flags = 0x10 } = options;
  return Array.from({ length: Math.ceil(data.length / mss) }, (_, i) => {
    const last = (i + 1) * mss >= data.length;
    const { bytes } = ip({
      ...options,
      data: data.slice(i * mss, (i + 1) * mss),
      sequence: (sequence + i * mss) >>> 0,
      id: (id + i) & 0xffff,
      flags: last ? flags : flags & ~0x09,
    });
    const out = tag === undefined ? bytes : tagged(bytes, tag);
    return Uint8Array.from([...out, ...new Array<number>(Math.max(0, 60 - out.length)).fill(0)]);
  });
}

const supers: [string, Super][] = [
  ['TCP over IPv4', { mss: 1460, data: pattern(10_000) }],
  ['TCP over IPv6', { mss: 1440, version: 6, data: pattern(10_000) }],
  ['an exact multiple of MSS', { mss: 1000, data: pattern(3000) }],
  ['less than one MSS', { mss: 1460, data: pattern(100) }],
  ['an odd MSS', { mss: 333, data: pattern(1000) }],
  ['one byte at a time', { mss: 1, data: pattern(9) }],
  ['FIN and PSH only on the last', { mss: 100, data: pattern(250), flags: 0x19 }],
  ['SYN, URG and the rest on all', { mss: 100, data: pattern(250), flags: 0xf6 }],
  ['a sequence number and an id that wrap', { mss: 100, data: pattern(350), sequence: 0xffffff9c, id: 0xfffe }],
  ['TCP and IP options', { mss: 100, data: pattern(250), tcpOptions: pattern(12), ipOptions: [1, 1, 1, 0] }],
  ['VLAN tags inserted', { mss: 100, data: pattern(250), tag: 0x6005 }],
  ['a tag in the header', { mss: 100, data: pattern(250), vlan: 9 }],
  ['the header apart, data cut anywhere', { mss: 100, data: pattern(350), cuts: [54, 55, 200, 254, 255] }],
  ['a header cut in two', { mss: 100, data: pattern(150), cuts: [14, 34] }],
  ['UDP over IPv4', { mss: 100, protocol: 'udp', data: pattern(250) }],
  ['UDP over IPv6', { mss: 100, protocol: 'udp', version: 6, data: pattern(250) }],
];
for (const [what, packet] of supers) {
  test(`segmentation: ${what}`, (t) => {
    const b = bench();
    if (packet.tag !== undefined) b.set(R.CTRL, R.CTRL.VME);
    segment(b, packet);
    b.ring();
    t.deepEqual(list(b.sent()), list(segments(packet)));
    t.is(b.read(R.TSCTC), 1);
    t.is(b.read(R.TSCTFC), 0);
    t.is(b.read(R.TDH), b.read(R.TDT));
  });
}

test('segmentation: sums start from what software left, so a routing header’s final destination counts (RFC 8200 §8.1)', (t) => {
  const b = bench();
  const data = pattern(2500);
  const routing = [0, 2, 4, 1, 0, 0, 0, 0, 0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]; // one segment left
  const { bytes, l3, l4, payload } = ip({ version: 6, extension: routing, segmented: true, data, checksum: 0 });
  bytes[l3 + 6] = 43; // a routing header
  const pseudo = [...bytes.subarray(l3 + 8, l3 + 24), ...bytes.subarray(l4 - 16, l4), 0, 0, 0, 6];
  bytes.set(be16(0xffff - internetChecksum(pseudo)), l4 + 16);
  const context = { ipStart: l3, ipSum: l3 + 10, l4Start: l4, l4Sum: l4 + 16, ipv4: false };
  b.context({ ...context, header: payload, mss: 1000, payload: data.length, segment: true });
  b.data(bytes, TSE | IFCS | EOP, { options: TXSM });
  b.ring();
  const sent = b.sent();
  t.is(sent.length, 3);
  for (const frame of sent) {
    const segment = frame.subarray(l4);
    t.is(internetChecksum([...pseudo, ...be32(segment.length), ...segment]), 0);
  }
});

test('the sum that is told of a tagged segment is the frame’s', (t) => {
  const b = bench();
  b.set(R.CTRL, R.CTRL.VME);
  segment(b, { mss: 100, data: pattern(250), tag: 0x6005 });
  b.ring();
  for (const { bytes, flags } of b.sentWithFlags()) {
    t.is(flags & SUM_KNOWN, SUM_KNOWN);
    t.is((flags >>> 16) % 0xffff, (0xffff - internetChecksum(bytes)) % 0xffff);
  }
});

test('an EOP that is not at the end of PAYLEN counts in TSCTFC (3.3.7.1)', (t) => {
  const b = bench();
  const frame = ip({ segmented: true, data: pattern(300) });
  b.context({ ...offload(frame, {}), header: frame.payload, mss: 100, payload: 500, segment: true });
  b.data(frame.bytes, TSE | IFCS | EOP);
  b.ring();
  t.is(b.read(R.TSCTFC), 1);
  t.is(b.read(R.TSCTC), 0);
});

// Interrupts and write-back (3.4.2, 3.4.3).

test('TXDW and TXQE: a descriptor with RS is done, and the ring is empty', (t) => {
  const b = bench();
  b.causes();
  b.send(ethernet(), EOP | IFCS);
  t.deepEqual(b.causes(), ['TXQE', 'TXD_LOW']);
  b.send(ethernet());
  t.deepEqual(b.causes(), ['TXDW', 'TXQE', 'TXD_LOW']);
});

test('IDE delays TXDW by TIDV after the last of them, and DD is there at once (3.3.3.1)', (t) => {
  const b = bench();
  b.write(R.TIDV, 100);
  b.write(R.IMS, R.IMS.TXDW);
  b.send(ethernet(), EOP | IFCS | RS | IDE);
  t.true(b.done(0));
  b.clock.advance(60 * US);
  const last = b.clock.now;
  b.send(ethernet(), EOP | IFCS | RS | IDE);
  b.clock.advance(1000 * US);
  t.deepEqual(b.rises, [last + 100 * US]);
});

test('TADV bounds the delay, from the first of them (13.4.44)', (t) => {
  const b = bench();
  b.write(R.TIDV, 100);
  b.write(R.TADV, 150);
  b.write(R.IMS, R.IMS.TXDW);
  const first = b.clock.now;
  for (let i = 0; i < 5; i++) {
    b.send(ethernet(), EOP | IFCS | RS | IDE);
    b.clock.advance(60 * US);
  }
  t.deepEqual(b.rises, [first + 150 * US]);
});

test('RS without IDE interrupts at once and stands for the delayed one (3.3.3.1)', (t) => {
  const b = bench();
  b.write(R.TIDV, 100);
  b.send(ethernet(), EOP | IFCS | RS | IDE);
  b.causes();
  b.send(ethernet());
  t.true(b.causes().includes('TXDW'));
  b.clock.advance(1000 * US);
  t.deepEqual(b.causes(), []);
});

test('TIDV.FPD ends the delay now', (t) => {
  const b = bench();
  b.write(R.TIDV, 100);
  b.send(ethernet(), EOP | IFCS | RS | IDE);
  b.causes();
  b.write(R.TIDV, (R.TIDV.FPD | 100) >>> 0);
  t.deepEqual(b.causes(), ['TXDW']);
  t.is(b.read(R.TIDV), 100);
});

test('WTHRESH gathers write-backs, from the first with RS on (13.4.43)', (t) => {
  const b = bench();
  b.write(R.TXDCTL, R.TXDCTL.GRAN | (3 << 16));
  b.send(ethernet(), EOP | IFCS);
  for (let i = 0; i < 2; i++) b.send(ethernet());
  t.deepEqual(
    [1, 2, 3].map((i) => b.done(i)),
    [false, false, false],
  );
  b.send(ethernet());
  t.deepEqual(
    [1, 2, 3].map((i) => b.done(i)),
    [true, true, true],
  );
});

test('the delay timer writes back what WTHRESH has gathered (3.4.2)', (t) => {
  const b = bench();
  b.write(R.TXDCTL, R.TXDCTL.GRAN | (8 << 16));
  b.write(R.TIDV, 10);
  b.send(ethernet(), EOP | IFCS | RS | IDE);
  b.clock.advance(10 * US - 1);
  t.false(b.done(0));
  b.clock.advance(1);
  t.true(b.done(0));
});

test('TXD_LOW: when what is left falls to LWTHRESH times 8 (13.4.43)', (t) => {
  const b = new Bench({ wire: { rate: 1e9 } });
  b.transmitter(64);
  b.write(R.TXDCTL, 2 << 25);
  b.causes();
  for (let i = 0; i < 20; i++) b.legacy(ethernet({ length: 1514 }));
  b.ring();
  t.false(b.causes().includes('TXD_LOW'), '19 are left');
  b.clock.advance(2 * 12_304);
  t.false(b.causes().includes('TXD_LOW'));
  b.clock.advance(12_304);
  t.true(b.causes().includes('TXD_LOW'));
});

// Line and flow control (8.7).

test('a line with a rate is fed as fast as it takes frames, and no faster', (t) => {
  const at: number[] = [];
  const b: Bench = new Bench({ wire: { rate: 1e9 }, onFrame: () => at.push(b.clock.now - start) });
  b.transmitter();
  const start = b.clock.now;
  for (let i = 0; i < 4; i++) b.legacy(ethernet({ length: 60 }));
  b.ring();
  t.is(b.wire.queued('forward'), 1);
  b.clock.advance(10_000);
  t.deepEqual(at, [576, 1248, 1920, 2592], '84 byte times apart, the gap behind each');
});

for (const [speed, abilities] of [
  [1000, 0x20],
  [100, 0x08],
  [10, 0x02],
] as const) {
  test(`PAUSE holds the transmitter for its quanta of 512 bit times, at ${speed} Mbit/s`, (t) => {
    const at: number[] = [];
    const b: Bench = new Bench({ partner: { abilities, negotiates: true }, onFrame: () => at.push(b.clock.now) });
    b.transmitter();
    b.receiver();
    b.set(R.CTRL, R.CTRL.RFCE);
    const start = b.clock.now;
    b.inject(pause(77));
    t.truthy(b.read(R.STATUS) & R.STATUS.TXOFF);
    b.send(ethernet());
    b.clock.advance(1e9);
    t.deepEqual(at, [start + (77 * 512 * 1000) / speed]);
    t.falsy(b.read(R.STATUS) & R.STATUS.TXOFF);
    t.is(b.read(R.XOFFRXC), 1);
  });
}

test('an XON lets the transmitter go at once', (t) => {
  const b = bench();
  b.receiver();
  b.set(R.CTRL, R.CTRL.RFCE);
  b.inject(pause(0xffff));
  b.send(ethernet());
  t.deepEqual(b.sent(), []);
  b.inject(pause(0));
  b.clock.settle();
  t.is(b.sent().length, 1);
  t.is(b.read(R.XONRXC), 1);
});

test('a segmentation stops between two segments, and goes on where it was', (t) => {
  let frames = 0;
  const b: Bench = new Bench({ onFrame: () => ++frames === 3 && b.inject(pause(10)) });
  b.transmitter();
  b.receiver();
  b.set(R.CTRL, R.CTRL.RFCE);
  segment(b, { mss: 100, data: pattern(1000) });
  b.ring();
  b.clock.settle();
  t.is(frames, 3);
  t.is(b.read(R.TDH), 1, 'the data descriptor is not done');
  b.clock.advance(10 * 512 - 1);
  t.is(frames, 3);
  b.clock.advance(1);
  t.is(frames, 10);
});

test('a PAUSE is heard only with RFCE, to an address of ours, and whole (8.7.3)', (t) => {
  const b = bench();
  b.receiver();
  b.inject(pause(100));
  b.set(R.CTRL, R.CTRL.RFCE);
  b.inject(pause(100, { to: [1, 2, 3, 4, 5, 6] }));
  b.inject(pause(100), FCS_ERROR);
  b.inject(pause(100).subarray(0, 20));
  b.inject(pause(100, { opcode: 2 }));
  t.falsy(b.read(R.STATUS) & R.STATUS.TXOFF);
  t.is(b.read(R.XOFFRXC), 0);
  t.is(b.read(R.FCRUC), 1, 'the opcode that is not PAUSE');
  b.inject(pause(100, { to: [2, 0, 0, 0x82, 0x54, 1] }));
  t.truthy(b.read(R.STATUS) & R.STATUS.TXOFF);
});

test('TCTL.SWXOFF sends an XOFF with FCTTV, and clears itself (8.7.6)', (t) => {
  const b = bench();
  b.set(R.CTRL, R.CTRL.TFCE);
  b.write(R.FCTTV, 0x680);
  b.set(R.TCTL, R.TCTL.SWXOFF);
  const expected = pause(0x680);
  expected.set([2, 0, 0, 0x82, 0x54, 1], 6);
  t.deepEqual(b.sent(), [expected]);
  t.is(b.read(R.XOFFTXC), 1);
  t.is(b.read(R.TCTL) & R.TCTL.SWXOFF, 0);
});

// Statistics (13.7).

const sizes: [number, 'PTC64' | 'PTC127' | 'PTC255' | 'PTC511' | 'PTC1023' | 'PTC1522'][] = [
  [60, 'PTC64'],
  [61, 'PTC127'],
  [123, 'PTC127'],
  [124, 'PTC255'],
  [251, 'PTC255'],
  [252, 'PTC511'],
  [507, 'PTC511'],
  [508, 'PTC1023'],
  [1019, 'PTC1023'],
  [1020, 'PTC1522'],
  [9000, 'PTC1522'],
];
for (const [length, name] of sizes) {
  test(`a frame of ${length} bytes and FCS counts in ${name}, once`, (t) => {
    const b = bench();
    b.send(ethernet({ length }));
    for (const [, other] of sizes) if (other !== name) t.is(b.read(R[other]), 0);
    t.is(b.read(R[name]), 1);
    t.is(b.read(R[name]), 0, 'cleared by reading');
    t.deepEqual([b.read(R.GPTC), b.read(R.TPT), b.read(R.GOTCL), b.read(R.TOTL)], [1, 1, length + 4, length + 4]);
  });
}

test('broadcasts and multicasts are counted apart', (t) => {
  const b = bench();
  b.send(ethernet({ to: BROADCAST }));
  b.send(ethernet({ to: [0xff, 0xff, 0xff, 0xff, 0xff, 0xfd] }));
  b.send(ethernet());
  t.deepEqual([b.read(R.BPTC), b.read(R.MPTC), b.read(R.GPTC)], [1, 1, 3]);
});

test('64-bit counters: the low half carries, only reading the high half clears, and all ones stay', (t) => {
  const b = bench();
  const { words } = b.card.registers;
  words[R.GOTCL.word] = 0xffffffff;
  b.send(ethernet({ length: 100 }));
  t.is(b.read(R.GOTCL), 103);
  t.is(b.read(R.GOTCL), 103);
  t.is(b.read(R.GOTCH), 1);
  t.deepEqual([b.read(R.GOTCL), b.read(R.GOTCH)], [0, 0]);
  words[R.GOTCL.word] = 0xfffffff0;
  words[R.GOTCH.word] = 0xffffffff;
  b.send(ethernet({ length: 100 }));
  t.deepEqual([b.read(R.GOTCL), b.read(R.GOTCH)], [0xffffffff, 0xffffffff]);
});

test('a 32-bit counter sticks at its maximum', (t) => {
  const b = bench();
  b.card.registers.words[R.GPTC.word] = 0xffffffff;
  b.send(ethernet());
  t.is(b.read(R.GPTC), 0xffffffff);
});

test('reset in the midst of a packet forgets it', (t) => {
  const b = bench();
  b.legacy(ethernet().subarray(0, 30), 0);
  b.ring();
  b.write(R.CTRL, R.CTRL.RST);
  b.up();
  b.transmitter();
  const frame = ethernet({ seed: 5 });
  b.send(frame);
  t.deepEqual(b.sent(), [frame]);
});

test('a doorbell from within the interrupt it caused is heard, and nothing is sent twice', (t) => {
  const b: Bench = new Bench({
    onLine: (asserted) => {
      if (!asserted || rung) return;
      rung = true;
      b.send(ethernet({ seed: 2 }));
    },
  });
  let rung = false;
  b.transmitter();
  b.receiver(8, { control: R.RCTL.UPE | R.RCTL.SECRC | (1 << 6) }); // loopback: the interrupt is RXT0
  b.write(R.IMS, R.IMS.RXT0);
  b.send(ethernet({ seed: 1 }));
  b.clock.settle();
  t.deepEqual(list(b.received().map(({ bytes }) => bytes)), list([ethernet({ seed: 1 }), ethernet({ seed: 2 })]));
});

// Properties.

interface Step {
  kind: 'legacy' | 'data' | 'super';
  length: number;
  cuts: number[];
  vle: boolean;
  csum: boolean;
  v6: boolean;
  udp: boolean;
  mss: number;
}
const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('legacy', 'data', 'super'),
  length: fc.nat(3000),
  cuts: fc.array(fc.nat(3000), { size: 'max', maxLength: 3 }),
  vle: fc.boolean(),
  csum: fc.boolean(),
  v6: fc.boolean(),
  udp: fc.boolean(),
  mss: fc.integer({ min: 50, max: 1500 }),
});

test('property: any sequence of packets arrives as assembled in plain arrays', (t) => {
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 1, size: 'max', maxLength: 8 }),
      fc.boolean(),
      fc.boolean(),
      (steps, vme, slow) => {
        const b = new Bench({ wire: slow ? { rate: 1e9 } : {} });
        b.transmitter(16);
        if (vme) b.set(R.CTRL, R.CTRL.VME);
        const expected: string[] = [];
        for (const [i, { kind, length, cuts, vle, csum, v6, udp, mss }] of steps.entries()) {
          const options: IpOptions = {
            version: v6 ? 6 : 4,
            protocol: udp ? 'udp' : 'tcp',
            data: pattern(length + 1, i),
          };
          const sorted = [...new Set(cuts)].filter((cut) => cut > 0).sort((x, y) => x - y);
          if (kind === 'super') {
            const packet = { ...options, mss, cuts: sorted, tag: vle ? i : undefined };
            segment(b, packet);
            expected.push(...list(segments({ ...packet, tag: vle && vme ? i : undefined })));
          } else {
            const frame = csum && kind === 'data' ? ip({ ...options, checksum: 'pseudo' }) : ip(options);
            const end = frame.bytes.length;
            const ends = [...sorted.filter((cut) => cut < end), end];
            if (kind === 'data') b.context(offload(frame, options));
            for (const [j, to] of ends.entries()) {
              const command = IFCS | (to === end ? EOP | RS : 0) | (vle ? VLE : 0);
              const piece = frame.bytes.subarray(ends[j - 1] ?? 0, to);
              if (kind === 'data') b.data(piece, command, { options: csum ? TXSM : 0, special: i });
              else b.legacy(piece, command, { special: i });
            }
            const whole = vle && vme ? tagged(ip(options).bytes, i) : ip(options).bytes;
            expected.push(hex([...whole, ...new Array<number>(Math.max(0, 60 - whole.length)).fill(0)]));
          }
          b.ring();
          b.clock.advance(1_000_000);
        }
        t.deepEqual(list(b.sent()), expected);
      },
    ),
    { numRuns: 150 },
  );
});
