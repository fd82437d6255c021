/**
 * What a driver, or a guest, may do wrong on purpose. The rule: the model never throws, does a bounded amount of work, and
 * says what it refused in a counter.
 */
import test from 'ava';
import { FIRST_WORK, FRAME_WORK } from '../../../sim/nic/budget.ts';
import { COMMAND, COMMAND_MASTER, COMMAND_MEMORY } from '../../../sim/pci/config.ts';
import { FCS_ERROR } from '../../../sim/wire/index.ts';
import { Prng } from '../../../sim/wire/prng.ts';
import { sameBytes } from '../../util/bytes.ts';
import { BASE, Bench, DEXT, EOP, IC, IFCS, IXSM, R, RS, TSE, TXSM, VLE } from '../../util/e1000-harness.ts';
import { ethernet, ip, pattern } from '../../util/packets.ts';

const NOWHERE = 0x4000_0000;

/** Frames that reached the other end, counted only: what comes of hostile rings is too much to keep. */
function counting(options = {}): { b: Bench; sent: () => number } {
  const b = new Bench({ ...options, onFrame: () => {} });
  return { b, sent: () => b.partner.counters.received };
}

test('an unmapped transmit ring: `dma.faults` counts, the head stays', (t) => {
  const b = new Bench();
  b.transmitter();
  b.write(R.TDBAL, NOWHERE);
  b.write(R.TDT, 5);
  t.is(b.card.dma.faults, 1);
  t.is(b.read(R.TDH), 0);
});

test('an unmapped receive ring: `dma.faults` counts', (t) => {
  const b = new Bench();
  b.receiver();
  b.write(R.RDBAL, NOWHERE);
  b.inject(ethernet());
  t.is(b.card.dma.faults, 1);
});

test('a ring unmapped under the card: `dma.faults` counts, and no view of it is left', (t) => {
  const b = new Bench();
  b.transmitter();
  b.receiver();
  b.send(ethernet());
  b.inject(ethernet());
  b.space.unmap(BASE);
  const before = b.ram.slice();
  b.write(R.TDT, 5);
  b.inject(ethernet());
  t.is(b.card.dma.faults, 2);
  t.deepEqual(b.ram, before);
});

test('a read-only ring is not written back: `dma.faults` counts', (t) => {
  const b = new Bench();
  const ring = new Uint8Array(256);
  new Uint32Array(ring.buffer).set([BASE, 0, (60 | ((EOP | IFCS | RS) << 24)) >>> 0, 0]);
  b.space.map(NOWHERE, ring, { writable: false });
  b.transmitter(8);
  b.write(R.TDBAL, NOWHERE);
  b.write(R.TDT, 1);
  t.is(b.card.dma.faults, 1);
  b.receiver(8);
  b.write(R.RDBAL, NOWHERE);
  b.inject(ethernet());
  t.is(b.card.dma.faults, 2);
  t.is(ring[12], 0);
});

test('an unmapped buffer: the packet is dropped, `refused` and `dma.faults` count, the ring goes on', (t) => {
  const b = new Bench();
  b.transmitter();
  b.post(NOWHERE, 0, (100 | ((EOP | IFCS | RS) << 24)) >>> 0, 0);
  b.send(ethernet());
  t.is(b.sent().length, 1);
  t.is(b.card.dma.faults, 1);
  t.is(b.card.refused.packets, 1);
  t.true(b.done(0));
});

test('an address beyond 2^53', (t) => {
  const b = new Bench();
  b.transmitter();
  b.post(0xffffffff, 0xffffffff, (100 | ((EOP | IFCS) << 24)) >>> 0, 0);
  b.ring();
  b.write(R.TDBAH, 0xffffffff);
  b.write(R.TDT, 7);
  t.is(b.card.dma.faults, 2);
});

for (const [name, tail] of [
  ['TDT', 0xffff],
  ['TDT', 64],
] as const) {
  test(`${name} of ${tail} in a ring of 64: once around a doorbell, no more`, (t) => {
    const { b, sent } = counting();
    b.transmitter(64);
    for (let i = 0; i < 64; i++) b.legacy(ethernet());
    b.write(R[name], tail);
    t.is(sent(), 64);
    b.write(R[name], tail);
    t.is(sent(), 128);
  });
}

test('TDT beyond the ring: what is behind the ring is neither sent nor written to, wherever the head is', (t) => {
  for (const head of [1, 4, 7]) {
    const { b } = counting();
    let sent = 0;
    const receiveBurst = (_bytes: Uint8Array, _starts: Int32Array, _lengths: Int32Array, count: number) => {
      sent += count;
      return count;
    };
    Object.assign(b.partner, { receiveBurst });
    b.transmitter(8);
    for (let i = 0; i < 8; i++) b.legacy(ethernet());
    const ring = b.read(R.TDBAL);
    b.ram.copyWithin(ring - BASE + 128, ring - BASE, ring - BASE + 128);
    const before = b.get(ring + 128, 128);
    b.write(R.TDH, head);
    b.write(R.TDT, 0xffff);
    t.deepEqual(b.get(ring + 128, 128), before, `head ${head}`);
    t.true(sent > 0);
  }
});

test('write-backs held by WTHRESH while the ring is made shorter: none goes behind it', (t) => {
  const b = new Bench();
  b.transmitter(16);
  b.receiver(16);
  const both = () => {
    b.send(ethernet());
    b.inject(ethernet());
  };
  for (let i = 0; i < 10; i++) both();
  b.write(R.TXDCTL, R.TXDCTL.GRAN | (20 << 16));
  b.write(R.RXDCTL, R.RXDCTL.GRAN | (20 << 16));
  b.write(R.RDTR, 100);
  both();
  const [transmit, receive] = [b.read(R.TDBAL), b.read(R.RDBAL)];
  b.write(R.TDLEN, 128);
  b.write(R.RDLEN, 128);
  const before = [b.get(transmit + 128, 128), b.get(receive + 128, 128)];
  b.write(R.TIDV, R.TIDV.FPD);
  b.write(R.RDTR, R.RDTR.FPD);
  t.deepEqual([b.get(transmit + 128, 128), b.get(receive + 128, 128)], before);
});

test('TDH beyond the ring begins at 0', (t) => {
  const b = new Bench();
  b.transmitter(8);
  b.write(R.TDH, 0x1234);
  b.send(ethernet());
  t.is(b.sent().length, 1);
  t.is(b.read(R.TDH), 1);
});

test('TDLEN 0 and RDLEN 0 are no rings: nothing is read or written', (t) => {
  const b = new Bench();
  b.transmitter();
  b.receiver();
  b.legacy(ethernet());
  b.write(R.TDLEN, 0);
  b.write(R.RDLEN, 0);
  b.ring();
  b.write(R.RDT, 9);
  const before = b.ram.slice();
  b.inject(ethernet());
  t.deepEqual(b.ram, before);
  t.deepEqual(b.sent(), []);
  t.is(b.read(R.MPC) + b.card.dma.faults, 0, 'the frame waits in the FIFO');
});

test('RDT and RDH beyond the ring', (t) => {
  const b = new Bench();
  b.receiver(8);
  for (const [head, tail] of [
    [0xffff, 0],
    [0, 0xffff],
    [0xffff, 0xffff],
    [9, 12],
    [7, 8],
  ] as const) {
    b.write(R.RDH, head);
    b.write(R.RDT, tail);
    for (let i = 0; i < 20; i++) b.inject(ethernet({ length: 1514 }));
    t.true(b.read(R.RDH) < 8 || b.read(R.RDH) === head);
  }
  t.is(b.card.dma.faults, 0);
});

test('without bus mastering nothing moves, and all of it when it is back', (t) => {
  const b = new Bench();
  b.transmitter();
  b.receiver();
  b.card.config.write(COMMAND, 2, COMMAND_MEMORY);
  b.send(ethernet());
  b.inject(ethernet());
  t.deepEqual([b.sent().length, b.received().length], [0, 0]);
  b.card.config.write(COMMAND, 2, COMMAND_MEMORY | COMMAND_MASTER);
  b.write(R.TDT, b.read(R.TDT));
  b.write(R.RDT, b.read(R.RDT));
  t.deepEqual([b.sent().length, b.received().length], [1, 1]);
});

// 3.3.6, 3.5: contexts that make no sense. "TSCTFC counts contexts that fail."
const contexts: [string, object][] = [
  ['MSS 0', { mss: 0, header: 54 }],
  ['a header of 0', { mss: 100, header: 0 }],
  ['a header that does not hold the TCP header', { mss: 100, header: 40 }],
  ['a checksum field behind the header', { mss: 100, header: 54, l4Sum: 200 }],
  ['an IP header behind the header', { mss: 100, header: 54, ipStart: 250 }],
  ['segments longer than any frame', { mss: 0xffff, header: 54 }],
];
for (const [what, context] of contexts) {
  test(`segmentation with ${what}: dropped, TSCTFC and \`refused.packets\` count`, (t) => {
    const b = new Bench();
    b.transmitter();
    const { bytes } = ip({ segmented: true, data: pattern(300) });
    b.context({ ipStart: 14, ipSum: 24, ipEnd: 33, l4Start: 34, l4Sum: 50, payload: 300, segment: true, ...context });
    b.data(bytes, EOP | IFCS | TSE | RS, { options: IXSM | TXSM });
    b.send(ethernet());
    t.is(b.sent().length, 1, 'what comes after is sent');
    t.is(b.read(R.TSCTFC), 1);
    t.is(b.card.refused.packets, 1);
    t.true(b.done(1));
  });
}

test('a context in the midst of a packet: dropped, `refused.packets` counts', (t) => {
  const b = new Bench();
  b.transmitter();
  const { bytes } = ip({ segmented: true, data: pattern(300) });
  const sane = {
    ipStart: 14,
    ipSum: 24,
    ipEnd: 33,
    l4Start: 34,
    l4Sum: 50,
    header: 54,
    mss: 200,
    payload: 300,
    segment: true,
  };
  b.context(sane);
  b.data(bytes.subarray(0, 200), IFCS | TSE);
  b.context({ ...sane, header: 60, mss: 10 });
  b.data(bytes.subarray(200), EOP | IFCS | TSE | RS);
  b.send(ethernet());
  t.is(b.sent().length, 1);
  t.is(b.card.refused.packets, 1);
});

test('checksum offsets anywhere: what is sent is the buffer but for the field, and a sum that is told is right', (t) => {
  const b = new Bench();
  b.transmitter();
  b.receiver(64, { control: R.RCTL.UPE | R.RCTL.MPE | R.RCTL.SECRC | (1 << 6) });
  const prng = new Prng(7);
  const byte = () => prng.next() & 255;
  for (let i = 0; i < 2000; i++) {
    const frame = ethernet({ length: 60 + byte(), seed: i });
    b.context({ ipStart: byte(), ipSum: byte(), ipEnd: byte() * 2, l4Start: byte(), l4Sum: byte(), l4End: byte() });
    b.data(frame, EOP | IFCS, { options: i & 3 });
    b.ring();
    const [packet] = b.received();
    b.refill();
    t.is(packet!.bytes.length, frame.length);
    const sum = frameSum(packet!.bytes);
    t.true(packet!.checksum === sum || (packet!.checksum % 0xffff === 0 && sum % 0xffff === 0), `${i}`);
    if (i % 100 === 99) b.transmitter();
    b.clock.advance(1); // what one moment may hold is not the question
  }
});

function frameSum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes[i]! + 256 * (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

test('a packet without end: dropped when it is too long, `refused.packets` counts once', (t) => {
  const { b, sent } = counting();
  b.transmitter(64);
  for (let i = 0; i < 200; i++) {
    b.legacy(new Uint8Array(1000), IFCS | RS);
    b.ring();
  }
  t.is(b.card.refused.packets, 1);
  t.is(sent(), 0);
  b.legacy(new Uint8Array(1000));
  b.send(ethernet());
  t.is(sent(), 1);
});

// What one moment may hold (sim/nic/budget.ts): all that comes after it waits, whoever asks.
const TSO_CONTEXT = { ipStart: 14, ipSum: 24, ipEnd: 33, l4Start: 34, l4Sum: 50, header: 54, segment: true };
const LONGEST_DESCRIPTOR = 16288;
const LOOPBACK = R.RCTL.UPE | R.RCTL.MPE | R.RCTL.LPE | (1 << 6);

interface Dear {
  context?: object;
  length: number;
  command: number;
  options?: number;
  loopback?: boolean;
}
const dearest: [string, Dear][] = [
  ['plain frames', { length: LONGEST_DESCRIPTOR, command: EOP | IFCS }],
  ['frames of which every byte is summed twice', { length: LONGEST_DESCRIPTOR, command: DEXT | EOP, options: 3 }],
  ['segments of one byte', { context: { ...TSO_CONTEXT, mss: 1 }, length: 16000, command: DEXT | TSE | EOP | IFCS }],
  ['frames in loopback, into the smallest buffers', { length: LONGEST_DESCRIPTOR, command: EOP, loopback: true }],
  ['descriptors of nothing', { length: 0, command: 0 }],
];
for (const [what, { context = {}, length, command, options = 0, loopback = false }] of dearest) {
  test(`a ring of the most ${what}: a moment does its share, a second doorbell or a reset buys no more, time does`, (t) => {
    const { b } = counting({ memory: 4 << 20 });
    b.transmitter(65528);
    if (loopback) b.receiver(64, { control: LOOPBACK, buffer: 256 });
    const address = b.alloc(0x10000);
    b.put(address, ip({ segmented: true, data: [] }).bytes);
    const at = (b.read(R.TDBAL) - BASE) / 4;
    const word2 = (length | (command & DEXT ? 1 << 20 : 0) | (command << 24)) >>> 0;
    b.context({ payload: length - 54, ...context });
    for (let i = 1; i < 65528; i++) b.words.set([address, 0, word2, options << 8], at + 4 * i);
    const most = FIRST_WORK + 64 * (LONGEST_DESCRIPTOR + FRAME_WORK); // it is looked at between two bursts
    const ring = () => {
      b.write(R.TDT, 65527);
      return [b.card.work, b.read(R.TDH), b.read(R.GPTC)] as const;
    };
    const [work, head] = ring();
    t.true(work >= FIRST_WORK && work < most, `${work} units`);
    t.true(head < 65527);
    t.deepEqual(ring(), [work, head, 0], 'again at the same moment');
    b.clock.advance(1000);
    t.deepEqual(ring(), [0, head, 0], 'before the rest is over');
    if (loopback) b.write(R.RCTL, 0);
    const copy = b.fork(987_654_321);
    for (const bench of [b, copy]) bench.clock.advance(8 * work);
    const [went, other] = [b, copy].map((bench) => [bench.read(R.TDH), bench.read(R.GPTC), bench.read(R.TOTL)]);
    t.true(went![0]! > head || went![1]! > 0, 'the rest comes by itself');
    t.deepEqual(other, went, 'in a restored card too');
    const before = b.card.work;
    b.write(R.CTRL, R.CTRL.RST);
    t.is(b.card.work, before);
  });
}

test('segments of one byte: the header that is repeated in each is work, too', (t) => {
  const { b } = counting();
  b.transmitter(256);
  b.context({ ...TSO_CONTEXT, header: 255, mss: 1, payload: 16000 });
  for (let i = 0; i < 200; i++) b.post(BASE, 0, (16255 | (1 << 20) | ((DEXT | TSE | EOP | IFCS) << 24)) >>> 0, 0);
  b.ring();
  t.true(b.read(R.GPTC) <= FIRST_WORK / (FRAME_WORK + 255) + 1);
});

test('a doorbell of a whole ring of the longest frames is one time around', (t) => {
  const { b, sent } = counting();
  b.transmitter(256);
  const address = b.alloc(LONGEST_DESCRIPTOR);
  for (let i = 0; i < 256; i++) b.post(address, 0, (LONGEST_DESCRIPTOR | ((EOP | IFCS) << 24)) >>> 0, 0);
  b.write(R.TDT, 0xffff);
  t.true(sent() < 256);
  b.write(R.TDT, 255);
  b.clock.advance(1e9);
  t.is(sent(), 255);
});

test('memory in the smallest pieces: each that a buffer is put together from is work', (t) => {
  const { b } = counting();
  b.transmitter(4096);
  const bytes = new Uint8Array(16384);
  for (let at = 0; at < bytes.length; at += 4) b.space.map(NOWHERE + at, bytes.subarray(at, at + 4));
  for (let i = 0; i < 4095; i++) b.post(NOWHERE, 0, (LONGEST_DESCRIPTOR | ((EOP | IFCS) << 24)) >>> 0, 0);
  b.ring();
  t.true(b.read(R.TDH) < 8, 'a frame of 4072 pieces is a quarter of all');
});

// What a frame does not have is zero.
test('a tag behind addresses that are not all there: zeros, and nothing of another frame or client', (t) => {
  for (const psp of [0, R.TCTL.PSP]) {
    for (const length of [1, 5, 11, 12, 13]) {
      const b = new Bench();
      const secret = new Uint8Array(1514).fill(0x5e);
      const short = new Uint8Array(length).fill(1);
      const addresses = new Uint8Array(12);
      addresses.set(short.subarray(0, 12));
      const tagged = [...addresses, 0x81, 0, 0x60, 5, ...short.subarray(12)];
      const expected = new Uint8Array(psp === 0 ? tagged.length : 60);
      expected.set(tagged);
      for (const client of ['the same', 'the next']) {
        b.transmitter(64, R.TCTL.EN | psp);
        b.set(R.CTRL, R.CTRL.VME);
        b.write(R.VET, 0x8100);
        b.legacy(secret.subarray(0, 700), IFCS);
        b.send(secret.subarray(700));
        if (client === 'the next') {
          b.card.reset('bus');
          b.up();
          b.clock.advance(1e9);
          b.transmitter(64, R.TCTL.EN | psp);
          b.set(R.CTRL, R.CTRL.VME);
          b.write(R.VET, 0x8100);
        }
        b.sent();
        b.send(short, EOP | IFCS | VLE, { special: 0x6005 });
        t.deepEqual(b.sent(), [expected], `${length} bytes, ${client} client`);
      }
    }
  }
});

test('an FCS that is taken off is not sent as padding, and one that is not all there is zeros', (t) => {
  const b = new Bench();
  b.transmitter();
  b.send(new Uint8Array(1514).fill(0x5e));
  b.sent();
  for (const length of [1, 3, 4, 20, 59]) {
    b.send(new Uint8Array(length).fill(1), EOP);
    const [frame] = b.sent();
    const own = Math.max(0, length - 4);
    t.true(frame!.subarray(own).every((byte) => byte === 0));
    t.is(frame!.length, 60);
  }
});

for (const rxa of [0, 0xffff]) {
  test(`PBA of ${rxa} KB: the FIFO holds nothing, or all there is, and MPC counts the rest`, (t) => {
    const b = new Bench();
    b.receiver(8, { give: 0 });
    b.write(R.PBA, rxa);
    for (let i = 0; i < 100; i++) b.inject(ethernet({ length: 1024 }));
    t.is(b.read(R.MPC), rxa === 0 ? 100 : 36);
  });
}

test('runts without a header, and frames with a header cut short, reach nobody and break nothing', (t) => {
  const b = new Bench();
  b.receiver(16, { control: R.RCTL.UPE | R.RCTL.MPE | R.RCTL.SBP | R.RCTL.SECRC | R.RCTL.VFE });
  b.set(R.CTRL, R.CTRL.VME | R.CTRL.RFCE);
  b.write(R.RXCSUM, 0x7ff);
  const tagged = ethernet({ vlan: 0 });
  for (let length = 0; length < 20; length++) b.inject(tagged.subarray(0, length), length & 1 ? FCS_ERROR : 0);
  t.is(b.read(R.TPR), 6, 'from 14 bytes on it is a frame');
});

for (const seed of [1, 2, 3, 4]) {
  test(`25 000 random register writes with traffic, seed ${seed}: nothing throws, memory that is not mapped stays`, (t) => {
    const { b } = counting();
    const prng = new Prng(seed);
    const upTo = (n: number) => prng.next() % n;
    b.transmitter(32);
    b.receiver(32);
    const guard = b.ram.slice(b.ram.length / 2);
    b.space.unmap(BASE);
    b.space.map(BASE, b.ram.subarray(0, b.ram.length / 2));
    const offsets = b.card.registers.map.rows.flatMap(({ runs, aliases }) => [...runs, ...aliases].map(({ at }) => at));
    const values = [0, 0xffffffff, 2, BASE, BASE + 0x80000 - 128, 0x100, 0x0403_0201, IC];
    for (let i = 0; i < 25_000; i++) {
      const offset = upTo(8) === 0 ? upTo(0x20000) : offsets[upTo(offsets.length)]!;
      const value = upTo(2) === 0 ? values[upTo(values.length)]! : prng.next();
      const width = ([4, 4, 4, 2, 1] as const)[upTo(5)]!;
      if (upTo(4) === 0) b.card.readBar(0, offset, width);
      else b.card.writeBar(0, offset, width, value);
      if (upTo(3) === 0) b.ram[upTo(b.ram.length / 2)] = upTo(256);
      if (upTo(10) === 0) b.inject(ethernet({ length: 60 + upTo(1500), seed: i }), upTo(9) === 0 ? FCS_ERROR : 0);
      if (upTo(10) === 0) b.clock.advance(upTo(100_000));
      if (upTo(500) === 0) b.up();
    }
    sameBytes(t, b.ram.subarray(b.ram.length / 2), guard);
    t.true(b.card.registers.refused > 0);
  });
}
