/** The receiver, from the manual's section 3.2 and chapter 13: frames from the cable, descriptors in memory. */
import test from 'ava';
import fc from 'fast-check';
import { FCS_ERROR, SUM_KNOWN } from '../../../sim/wire/index.ts';
import { Bench, type BenchOptions, R } from '../../util/e1000-harness.ts';
import {
  BROADCAST,
  be16,
  ethernet,
  fcs,
  type IpOptions,
  internetChecksum,
  ip,
  PAUSE_GROUP,
  pattern,
  pause,
  STATION,
} from '../../util/packets.ts';

const US = 1024; // ns, the unit of RDTR and RADV
const { BAM, MPE, UPE, SBP, LPE, SECRC, VFE, CFIEN, CFI, DPF, PMCF } = R.RCTL;

// Descriptor status and errors (3.2.3.1, 3.2.3.2).
const DD = 0x01;
const IXSM = 0x04;
const VP = 0x08;
const TCPCS = 0x20;
const IPCS = 0x40;
const PIF = 0x80;
const CE = 0x01;
const TCPE = 0x20;
const IPE = 0x40;
const RXE = 0x80;

function bench(
  control: number = BAM | SECRC,
  options: BenchOptions & { descriptors?: number; buffer?: number; give?: number } = {},
): Bench {
  const b = new Bench(options);
  b.receiver(options.descriptors ?? 16, { control, buffer: options.buffer, give: options.give });
  return b;
}

const hex = (bytes: ArrayLike<number>) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
const list = (frames: ArrayLike<number>[]) => frames.map(hex);
const lengths = (b: Bench) => b.received().map(({ bytes }) => bytes.length);
const counters = (b: Bench, ...names: string[]) =>
  Object.fromEntries(names.map((name) => [name, b.read(R[name as 'MPC'])]));

test('a frame goes into the next buffer, its length and DD and EOP into the descriptor', (t) => {
  const b = bench();
  const frame = ethernet({ length: 1514 });
  b.inject(frame);
  t.is(b.rxDescriptor(0)[3]! & 3, 3);
  const [packet] = b.received();
  t.is(hex(packet!.bytes), hex(frame));
  t.is(packet!.errors, 0);
  t.is(b.read(R.RDH), 1);
});

test('with RCTL.SECRC clear the FCS is stored with the frame (13.4.22)', (t) => {
  const b = bench(BAM);
  const frame = ethernet({ length: 100 });
  b.inject(frame);
  t.is(hex(b.received()[0]!.bytes), hex([...frame, ...fcs(frame)]));
});

test('nothing is received or counted while RCTL.EN is clear', (t) => {
  const b = bench();
  b.clear(R.RCTL, R.RCTL.EN);
  b.inject(ethernet());
  t.deepEqual(lengths(b), []);
  t.deepEqual(counters(b, 'TPR', 'TORL', 'GPRC', 'MPC'), { TPR: 0, TORL: 0, GPRC: 0, MPC: 0 });
});

// Buffers (3.2.2).

for (const buffer of [256, 512, 1024, 2048, 4096, 8192, 16384]) {
  test(`buffers of ${buffer} bytes: a frame takes as many as it needs`, (t) => {
    for (const length of [60, buffer - 4, buffer - 3, buffer, buffer + 1, 3 * buffer].filter(
      (n) => n >= 60 && n <= 16380,
    )) {
      const b = new Bench({ memory: 1 << 22 });
      b.receiver(80, { control: BAM | SECRC | LPE, buffer });
      const frame = ethernet({ length });
      b.inject(frame);
      const [packet] = b.received();
      t.is(hex(packet!.bytes), hex(frame));
      t.is(packet!.descriptors, Math.ceil(length / buffer));
    }
  });
}

test('of a frame over several descriptors only the last has EOP and its checksum bits', (t) => {
  const b = bench(BAM | SECRC, { buffer: 256 });
  b.write(R.RXCSUM, R.RXCSUM.IPOFLD | R.RXCSUM.TUOFLD);
  b.inject(ip({ data: pattern(500) }).bytes);
  const words = [0, 1, 2].map((i) => b.rxDescriptor(i)[3]! & 0xff);
  t.deepEqual(words, [DD | IXSM, DD | IXSM, DD | 2 | TCPCS | IPCS]);
});

test('an FCS may be all that the last buffer holds', (t) => {
  const b = bench(BAM, { buffer: 256 });
  b.inject(ethernet({ length: 255 }));
  const [packet] = b.received();
  t.deepEqual([packet!.bytes.length, packet!.descriptors], [259, 2]);
});

// Length (13.4.22, 13.7.34 to 13.7.37).

const limits: [string, number, number, number, boolean, string | null][] = [
  // control, length with FCS, flags, accepted, counter
  ['the shortest', 0, 64, 0, true, null],
  ['a byte less', 0, 63, 0, false, 'RUC'],
  ['a byte less, damaged', 0, 63, FCS_ERROR, false, 'RFC'],
  ['the longest standard frame', 0, 1522, 0, true, null],
  ['a byte more', 0, 1523, 0, false, 'ROC'],
  ['a byte more, damaged', 0, 1523, FCS_ERROR, false, 'RJC'],
  ['a byte more with LPE', LPE, 1523, 0, true, null],
  ['the longest with LPE', LPE, 16384, 0, true, null],
  ['a byte more than that', LPE, 16385, 0, false, 'ROC'],
  ['damaged', 0, 100, FCS_ERROR, false, 'CRCERRS'],
  ['damaged, with SBP', SBP, 100, FCS_ERROR, true, 'CRCERRS'],
  ['short, with SBP', SBP, 63, 0, true, 'RUC'],
];
for (const [what, control, length, flags, accepted, counter] of limits) {
  test(`length ${length}: ${what}`, (t) => {
    const b = bench(BAM | SECRC | control);
    b.inject(ethernet({ length: length - 4 }), flags);
    t.deepEqual(lengths(b), accepted ? [length - 4] : []);
    for (const name of ['RUC', 'RFC', 'ROC', 'RJC', 'CRCERRS'])
      t.is(b.read(R[name as 'RUC']), Number(name === counter), name);
    t.is(b.read(R.RLEC), Number(counter !== null && counter !== 'CRCERRS'));
    t.is(b.read(R.GPRC), Number(accepted && counter === null));
    t.deepEqual(counters(b, 'TPR', 'TORL'), { TPR: 1, TORL: length });
  });
}

test('a damaged frame that is stored says so: CE, and an FCS that does not match', (t) => {
  const b = bench(BAM | SBP);
  const frame = ethernet({ length: 100 });
  b.inject(frame, FCS_ERROR);
  const [packet] = b.received();
  t.is(packet!.errors, CE);
  t.not(hex(packet!.bytes.subarray(100)), hex(fcs(frame)));
});

// Address filters (3.2.1, 13.5).

for (let i = 0; i < 16; i++) {
  test(`receive address ${i} matches exactly, if it is valid`, (t) => {
    const b = bench(SECRC);
    b.write(R.RAH, 0);
    b.write(R.RAL, 0x44332202, i);
    b.write(R.RAH, 0x80006655, i);
    b.inject(ethernet({ to: [0x02, 0x22, 0x33, 0x44, 0x55, 0x66] }));
    b.inject(ethernet({ to: [0x02, 0x22, 0x33, 0x44, 0x55, 0x67] }));
    b.inject(ethernet({ to: [0x03, 0x22, 0x33, 0x44, 0x55, 0x66] }));
    t.deepEqual(
      b.received().map(({ status }) => status & PIF),
      [0],
    );
    b.write(R.RAH, 0x6655, i);
    b.inject(ethernet({ to: [0x02, 0x22, 0x33, 0x44, 0x55, 0x66] }));
    t.deepEqual(lengths(b), []);
  });
}

// RCTL.MO: which 12 of the address' last 16 bits index the table (table 13-67).
for (const [mo, shift] of [
  [0, 4],
  [1, 3],
  [2, 2],
  [3, 0],
] as const) {
  test(`multicast hash with MO ${mo}: bits ${shift + 11}:${shift} of the last two bytes`, (t) => {
    const b = bench(SECRC | (mo << 12), { descriptors: 64 });
    for (const high of [0x0000, 0x1234, 0xffff, 0x8001, 0x0ff0]) {
      const hash = Math.floor(high / 2 ** shift) % 4096;
      const frame = ethernet({ to: [0x01, 0, 0x5e, 1, high & 0xff, high >>> 8] });
      b.write(R.MTA, 1 << (hash % 32), Math.floor(hash / 32));
      b.inject(frame);
      b.write(R.MTA, ~(1 << (hash % 32)), Math.floor(hash / 32));
      b.inject(frame);
      t.deepEqual(
        b.received().map(({ status }) => status & PIF),
        [PIF],
        high.toString(16),
      );
      b.write(R.MTA, 0, Math.floor(hash / 32));
    }
  });
}

const unicast = [2, 9, 9, 9, 9, 9];
const multicast = [1, 0, 0x5e, 0, 0, 1];
const modes: [string, number, readonly number[], boolean][] = [
  ['another’s unicast', 0, unicast, false],
  ['unicast with UPE', UPE, unicast, true],
  ['multicast with UPE', UPE, multicast, false],
  ['multicast with MPE', MPE, multicast, true],
  ['unicast with MPE', MPE, unicast, false],
  ['broadcast', 0, BROADCAST, false],
  ['broadcast with BAM', BAM, BROADCAST, true],
  ['broadcast with MPE', MPE, BROADCAST, true],
];
for (const [what, control, to, accepted] of modes) {
  test(`filter: ${what} is ${accepted ? 'taken' : 'left'}`, (t) => {
    const b = bench(SECRC | control);
    b.inject(ethernet({ to }));
    const exact = to === BROADCAST && control === BAM;
    t.deepEqual(
      b.received().map(({ status }) => status & PIF),
      accepted ? [exact ? 0 : PIF] : [],
    );
    t.is(b.read(R.GPRC), Number(accepted));
  });
}

test('what filters reject is counted in the totals only (13.7)', (t) => {
  const b = bench(SECRC | SBP);
  b.inject(ethernet({ to: unicast }), FCS_ERROR);
  b.inject(ethernet({ to: unicast, length: 40 }));
  b.inject(ethernet({ to: unicast, length: 3000 }));
  t.deepEqual(counters(b, 'TPR', 'CRCERRS', 'RUC', 'ROC', 'RLEC'), { TPR: 3, CRCERRS: 0, RUC: 0, ROC: 0, RLEC: 0 });
});

test('broadcasts count in BPRC while BAM is set, multicasts in MPRC (13.7.28, 13.7.29)', (t) => {
  const b = bench(SECRC | BAM | MPE);
  b.inject(ethernet({ to: BROADCAST }));
  b.inject(ethernet({ to: [0xff, 0xff, 0xff, 0xff, 0xff, 0x7f] }));
  b.inject(ethernet());
  t.deepEqual(counters(b, 'BPRC', 'MPRC', 'GPRC'), { BPRC: 1, MPRC: 1, GPRC: 3 });
});

// VLAN (9.2, 9.3).

test('VFE takes the VLANs whose bit is set, and untagged frames', (t) => {
  const b = bench(SECRC | VFE);
  b.write(R.VFTA, 1 << 5, 3);
  b.inject(ethernet({ vlan: 0xe000 | (3 * 32 + 5), length: 64 }));
  b.inject(ethernet({ vlan: 3 * 32 + 6, length: 65 }));
  b.inject(ethernet({ length: 66 }));
  b.inject(ethernet({ vlan: 4 * 32 + 5, length: 67 }));
  t.deepEqual(lengths(b), [64, 66]);
  b.clear(R.RCTL, VFE);
  b.inject(ethernet({ vlan: 7, length: 68 }));
  t.deepEqual(lengths(b), [68]);
});

for (const cfi of [0, CFI]) {
  test(`CFIEN takes tags whose CFI is ${cfi ? 1 : 0} (13.4.22)`, (t) => {
    const b = bench(SECRC | VFE | CFIEN | cfi);
    b.write(R.VFTA, 2, 0);
    b.inject(ethernet({ vlan: 0x0001, length: 60 }));
    b.inject(ethernet({ vlan: 0x1001, length: 61 }));
    t.deepEqual(lengths(b), [cfi ? 61 : 60]);
  });
}

test('CTRL.VME strips the tag into the descriptor; the frame is the same without', (t) => {
  const b = bench();
  b.set(R.CTRL, R.CTRL.VME);
  const frame = ethernet({ vlan: 0xe123, length: 200 });
  b.inject(frame);
  b.inject(ethernet());
  const [tagged, plain] = b.received();
  t.is(hex(tagged!.bytes), hex([...frame.subarray(0, 12), ...frame.subarray(16)]));
  t.deepEqual([tagged!.status & VP, tagged!.special], [VP, 0xe123]);
  t.deepEqual([plain!.status & VP, plain!.special], [0, 0]);
});

test('a frame that is stripped may span buffers, and keep its FCS', (t) => {
  const b = bench(BAM, { buffer: 256 });
  b.set(R.CTRL, R.CTRL.VME);
  const frame = ethernet({ vlan: 1, length: 600 });
  b.inject(frame);
  t.is(hex(b.received()[0]!.bytes), hex([...frame.subarray(0, 12), ...frame.subarray(16), ...fcs(frame)]));
});

// Checksums (3.2.9).

const GOOD = IPCS | TCPCS;
const sums: [string, IpOptions, number, number][] = [
  ['TCP over IPv4', {}, GOOD, 0],
  ['UDP over IPv4', { protocol: 'udp' }, GOOD, 0],
  ['a wrong TCP checksum', { checksum: 0x1234 }, GOOD, TCPE],
  ['a wrong UDP checksum', { protocol: 'udp', checksum: 0x1234 }, GOOD, TCPE],
  ['a wrong IP checksum', { ipChecksum: 0x1234 }, GOOD, IPE],
  ['both wrong', { ipChecksum: 1, checksum: 1 }, GOOD, IPE | TCPE],
  ['UDP that is not summed', { protocol: 'udp', checksum: 0 }, IPCS, 0],
  ['a fragment', { fragment: 0x2000 }, IPCS, 0],
  ['the last fragment', { fragment: 0x0010 }, IPCS, 0],
  ['IP options', { ipOptions: [1, 1, 1, 0] }, GOOD, 0],
  ['TCP options', { tcpOptions: pattern(20) }, GOOD, 0],
  ['a tag', { vlan: 3 }, GOOD, 0],
  ['an odd length', { data: pattern(33) }, GOOD, 0],
  ['padding', { protocol: 'udp', data: [1], length: 60 }, GOOD, 0],
  ['TCP over IPv6', { version: 6 }, TCPCS, 0],
  ['a wrong sum over IPv6', { version: 6, checksum: 0x1234 }, TCPCS, TCPE],
  ['UDP behind an IPv6 extension', { version: 6, protocol: 'udp', extension: [0, 0, 1, 4, 0, 0, 0, 0] }, TCPCS, 0],
];
for (const [what, options, status, errors] of sums) {
  for (const vme of [false, true]) {
    test(`checksum: ${what}${vme ? ', CTRL.VME' : ''}`, (t) => {
      const b = bench();
      if (vme) b.set(R.CTRL, R.CTRL.VME);
      b.write(R.RXCSUM, R.RXCSUM.IPOFLD | R.RXCSUM.TUOFLD | R.RXCSUM.IPV6OFL);
      b.inject(ip(options).bytes);
      const [packet] = b.received();
      t.is(packet!.status & (IXSM | GOOD), status);
      t.is(packet!.errors, errors);
    });
  }
}

test('padding that is not zero is no part of the sum, wherever it starts', (t) => {
  const b = bench();
  b.write(R.RXCSUM, R.RXCSUM.IPOFLD | R.RXCSUM.TUOFLD);
  for (const size of [1, 2]) {
    const { bytes } = ip({ data: pattern(size), length: 60 });
    b.inject(bytes.fill(0xa5, 54 + size));
  }
  t.deepEqual(
    b.received().map(({ errors }) => errors),
    [0, 0],
  );
});

const switches: [string, number, number][] = [
  ['nothing', 0, IXSM],
  ['IP only', R.RXCSUM.IPOFLD, IPCS],
  ['transport only', R.RXCSUM.TUOFLD, TCPCS],
];
for (const [what, control, status] of switches) {
  test(`RXCSUM asks for ${what} (13.4.47)`, (t) => {
    const b = bench();
    b.write(R.RXCSUM, control);
    b.inject(ip({ ipChecksum: control === 0 ? 1 : 'right' }).bytes);
    const [packet] = b.received();
    t.is(packet!.status & (IXSM | GOOD), status);
    t.is(packet!.errors, 0);
  });
}

test('frames that are not IP, and IPv6 without IPV6OFL, are not checked: IXSM', (t) => {
  const b = bench();
  b.write(R.RXCSUM, R.RXCSUM.IPOFLD | R.RXCSUM.TUOFLD);
  b.inject(ethernet());
  b.inject(ip({ version: 6 }).bytes);
  t.deepEqual(
    b.received().map(({ status }) => status & (IXSM | GOOD)),
    [IXSM, IXSM],
  );
});

test('property: the packet checksum is of what is stored, from PCSS on (13.4.47)', (t) => {
  const settings = fc.record({
    pcss: fc.nat(255),
    length: fc.integer({ min: 60, max: 400 }),
    vme: fc.boolean(),
    tag: fc.boolean(),
    strip: fc.boolean(),
    known: fc.boolean(),
  });
  fc.assert(
    fc.property(settings, ({ pcss, length, vme, tag, strip, known }) => {
      const b = bench(BAM | (strip ? SECRC : 0));
      if (vme) b.set(R.CTRL, R.CTRL.VME);
      b.write(R.RXCSUM, pcss);
      const frame = ethernet({ length, vlan: tag ? 5 : undefined });
      b.inject(frame, known ? SUM_KNOWN | ((0xffff - internetChecksum(frame)) << 16) : 0);
      const { bytes, checksum } = b.received()[0]!;
      const expected = internetChecksum(bytes.subarray(pcss));
      if (pcss < length - 4) t.is(hex(be16(checksum)), hex(be16(expected).reverse()));
    }),
    { numRuns: 300 },
  );
});

// Ring and FIFO (3.2.2, 13.7.5, 13.7.33).

test('without descriptors frames wait in the FIFO, in order, and RNBC counts them', (t) => {
  const b = bench(BAM | SECRC, { descriptors: 8, give: 0 });
  const frames = [1, 2, 3].map((seed) => ethernet({ seed }));
  for (const frame of frames) b.inject(frame);
  t.deepEqual(counters(b, 'RNBC', 'MPC', 'GPRC'), { RNBC: 3, MPC: 0, GPRC: 3 });
  b.write(R.RDT, 2);
  t.deepEqual(list(b.received().map(({ bytes }) => bytes)), list(frames.slice(0, 2)));
  b.write(R.RDT, 7);
  t.deepEqual(list(b.received().map(({ bytes }) => bytes)), list(frames.slice(2)));
});

test('a full FIFO misses frames: MPC and RXO, and no other counter (13.7.5)', (t) => {
  const b = bench(BAM | SECRC, { descriptors: 8, give: 0 });
  b.write(R.PBA, 8);
  for (let i = 0; i < 10; i++) b.inject(ethernet({ length: 1000 }));
  t.deepEqual(counters(b, 'MPC', 'GPRC', 'TPR', 'PRC1023'), { MPC: 2, GPRC: 8, TPR: 10, PRC1023: 8 });
  t.true(b.causes().includes('RXO'));
});

for (const [rdmts, left] of [
  [0, 8],
  [1, 4],
  [2, 2],
] as const) {
  test(`RXDMT0 when 1/${2 << rdmts} of the ring is left, once (13.4.22)`, (t) => {
    const b = bench(BAM | SECRC | (rdmts << 8));
    const at: number[] = [];
    for (let owned = 14; owned >= 0; owned--) {
      b.inject(ethernet());
      if (b.causes().includes('RXDMT0')) at.push(owned);
    }
    t.deepEqual(at, [left]);
  });
}

test('RXDMT0 also where a long frame jumps over the threshold', (t) => {
  const b = bench(BAM | SECRC, { buffer: 256 });
  b.inject(ethernet({ length: 1514 }));
  t.false(b.causes().includes('RXDMT0'), '9 are left');
  b.inject(ethernet({ length: 500 }));
  t.true(b.causes().includes('RXDMT0'), '7 are left, never 8');
});

test('a buffer that is not mapped: RXE in its descriptor, counted in `faults`, and the ring goes on', (t) => {
  const b = bench();
  b.rxDescriptor(0)[0] = 0x4000_0000;
  b.inject(ethernet());
  b.inject(ethernet());
  t.is((b.rxDescriptor(0)[3]! >>> 8) & 0xff, RXE);
  t.is((b.rxDescriptor(1)[3]! >>> 8) & 0xff, 0);
  t.is(b.card.dma.faults, 1);
});

test('a buffer may span two mappings', (t) => {
  const b = bench();
  const [low, high] = [new Uint8Array(64), new Uint8Array(4096)];
  b.space.map(0x4000_0000, low);
  b.space.map(0x4000_0040, high);
  b.rxDescriptor(0)[0] = 0x4000_0020;
  const frame = ethernet({ length: 300 });
  b.inject(frame);
  t.is(hex([...low.subarray(32), ...high.subarray(0, 268)]), hex(frame));
});

// Interrupts (3.2.7).

test('RXT0 at once where RDTR is 0', (t) => {
  const b = bench();
  b.inject(ethernet());
  t.deepEqual(b.causes(), ['RXT0']);
});

test('RDTR delays RXT0 from the last frame; RADV bounds it from the first', (t) => {
  const b = bench(BAM | SECRC, { descriptors: 64 });
  b.write(R.RDTR, 100);
  b.write(R.IMS, R.IMS.RXT0);
  const start = b.clock.now;
  b.inject(ethernet());
  b.clock.advance(60 * US);
  b.inject(ethernet());
  b.clock.advance(1000 * US);
  b.causes();
  b.write(R.RADV, 150);
  const again = b.clock.now;
  for (let i = 0; i < 3; i++) {
    b.inject(ethernet());
    b.clock.advance(60 * US);
  }
  t.deepEqual(b.rises, [start + 160 * US, again + 150 * US]);
});

test('RDTR.FPD ends the delay now', (t) => {
  const b = bench();
  b.write(R.RDTR, 100);
  b.inject(ethernet());
  t.deepEqual(b.causes(), []);
  b.write(R.RDTR, (R.RDTR.FPD | 100) >>> 0);
  t.deepEqual(b.causes(), ['RXT0']);
  t.is(b.read(R.RDTR), 100, 'FPD reads 0');
});

test('SRPD: a frame as short as RSRPD interrupts at once, with RXT0, and ends the delay (3.2.7.2)', (t) => {
  const b = bench();
  b.write(R.RDTR, 100);
  b.write(R.RSRPD, 100);
  b.inject(ethernet({ length: 101 }));
  t.deepEqual(b.causes(), []);
  b.inject(ethernet({ length: 100 }));
  t.deepEqual(b.causes(), ['RXT0', 'SRPD']);
  b.clock.advance(1000 * US);
  t.deepEqual(b.causes(), []);
});

test('write-backs are gathered by WTHRESH while the delay runs, and flushed at its end (3.2.4)', (t) => {
  const b = bench();
  b.write(R.RXDCTL, R.RXDCTL.GRAN | (4 << 16));
  b.write(R.RDTR, 100);
  for (let i = 0; i < 5; i++) b.inject(ethernet());
  t.is(lengths(b).length, 4);
  b.clock.advance(100 * US);
  t.is(lengths(b).length, 1);
});

test('the line follows ICR and IMS; ICS sets a cause, IMC masks, reading ICR clears (13.4.17 to 13.4.21)', (t) => {
  const b = bench();
  b.write(R.ICS, R.ICS.RXO | 0x20);
  t.false(b.line);
  b.write(R.IMS, R.IMS.RXO);
  t.true(b.line);
  b.write(R.IMC, R.IMC.RXO);
  t.false(b.line);
  t.is(b.read(R.IMS), 0);
  b.write(R.IMS, R.IMS.RXO | R.IMS.LSC);
  t.true(b.line);
  b.write(R.ICR, R.ICR.RXO);
  t.false(b.line);
  b.write(R.ICS, R.ICS.LSC);
  t.deepEqual(b.causes(), ['LSC', 'RSVD_5']);
  t.false(b.line);
  t.is(b.read(R.IMS), R.IMS.RXO | R.IMS.LSC);
});

for (const name of Object.keys(R.ICS).filter((key) => /^[A-Z]/.test(key))) {
  test(`ICS can set ${name}`, (t) => {
    const b = new Bench();
    b.write(R.ICS, R.ICS[name as 'LSC']);
    t.deepEqual(b.causes(), [name]);
  });
}

test('ITR keeps interrupts apart by its 256 ns units (13.4.18)', (t) => {
  const b = bench(BAM | SECRC, { descriptors: 64 });
  b.write(R.ITR, 1000);
  b.write(R.IMS, R.IMS.RXT0);
  const start = b.clock.now;
  for (let i = 0; i < 40; i++) {
    b.inject(ethernet());
    if (b.line) b.causes();
    b.clock.advance(20_000);
    if (b.line) b.causes();
  }
  t.deepEqual(
    b.rises.map((at) => at - start),
    [0, 256_000, 512_000, 768_000],
  );
});

// Flow control (8.7).

function flow(low: number, high: number): Bench {
  const b = bench(BAM | SECRC, { descriptors: 64, give: 0 });
  b.set(R.CTRL, R.CTRL.TFCE);
  b.write(R.FCTTV, 0x1234);
  b.write(R.FCRTL, (R.FCRTL.XONE | low) >>> 0);
  b.write(R.FCRTH, high);
  return b;
}
const quanta = (b: Bench) => b.sent().map((frame) => frame[16]! * 256 + frame[17]!);

test('XOFF when the FIFO has filled to FCRTH, XON when it is down to FCRTL (8.7.5)', (t) => {
  const b = flow(1024, 4096);
  for (let i = 0; i < 3; i++) b.inject(ethernet({ length: 1000 }));
  t.deepEqual(quanta(b), []);
  b.inject(ethernet({ length: 1000 }));
  t.deepEqual(quanta(b), [0x1234]);
  b.inject(ethernet({ length: 1000 }));
  t.deepEqual(quanta(b), [], 'one is enough');
  b.write(R.RDT, 3);
  t.deepEqual(quanta(b), []);
  b.write(R.RDT, 4);
  t.deepEqual(quanta(b), [0]);
  t.deepEqual(counters(b, 'XOFFTXC', 'XONTXC', 'GPTC', 'TPT'), { XOFFTXC: 1, XONTXC: 1, GPTC: 0, TPT: 2 });
});

test('one more XOFF for a frame that overflows the FIFO (8.7.5)', (t) => {
  const b = flow(1024, 4096);
  b.write(R.PBA, 8);
  for (let i = 0; i < 9; i++) b.inject(ethernet({ length: 1000 }));
  t.deepEqual(quanta(b), [0x1234, 0x1234]);
});

test('no PAUSE without TFCE, and no XON without XONE', (t) => {
  const b = flow(1024, 4096);
  b.write(R.FCRTL, 1024);
  for (let i = 0; i < 4; i++) b.inject(ethernet({ length: 1000 }));
  b.write(R.RDT, 63);
  t.deepEqual(quanta(b), [0x1234]);
  b.clear(R.CTRL, R.CTRL.TFCE);
  b.write(R.RDT, b.read(R.RDH));
  for (let i = 0; i < 8; i++) b.inject(ethernet({ length: 1000 }));
  t.deepEqual(quanta(b), []);
});

test('the PAUSE frame is from the station, to FCAH and FCAL, of type FCT', (t) => {
  const b = flow(0, 1024);
  b.inject(ethernet({ length: 1000 }));
  const expected = pause(0x1234);
  expected.set(STATION, 6);
  t.is(hex(b.sent()[0]!), hex(expected));
});

// What becomes of control frames (8.7.4): control, frame, taken, counted good.
const other = pause(5, { opcode: 7 });
const controls: [string, number, boolean, Uint8Array, number, number][] = [
  ['PAUSE to the group, no filter takes it', 0, true, pause(1), 0, 0],
  ['PAUSE to the group, promiscuous', MPE, true, pause(1), 1, 0],
  ['PAUSE to the group, promiscuous, DPF', MPE | DPF, true, pause(1), 1, 0],
  ['PAUSE to the station', 0, true, pause(1, { to: STATION }), 1, 0],
  ['PAUSE to the station, DPF', DPF, true, pause(1, { to: STATION }), 0, 0],
  ['PAUSE to the station, DPF, RFCE off', DPF, false, pause(1, { to: STATION }), 1, 1],
  ['another opcode', MPE, true, other, 0, 0],
  ['another opcode, PMCF', PMCF, true, other, 1, 0],
  ['another opcode, RFCE off', MPE, false, other, 1, 1],
  ['the type to another address', MPE, true, pause(1, { to: multicast }), 1, 1],
];
for (const [what, control, rfce, frame, taken, good] of controls) {
  test(`MAC control: ${what}`, (t) => {
    const b = bench(SECRC | control);
    if (rfce) b.set(R.CTRL, R.CTRL.RFCE);
    b.inject(frame);
    t.is(lengths(b).length, taken);
    t.is(b.read(R.GPRC), good);
    t.is(b.read(R.TPR), 1);
  });
}

// Loopback and reset.

test('MAC loopback: what is sent comes back, and the wire is deaf and dumb', (t) => {
  const b = bench(SECRC | (1 << 6));
  b.transmitter();
  b.send(ethernet({ length: 100 }));
  b.inject(ethernet({ length: 200 }));
  t.deepEqual(lengths(b), [100]);
  t.deepEqual(b.sent(), []);
});

test('a reset in mid-traffic: the FIFO is empty, timers do not fire, and reception starts anew', (t) => {
  const b = bench(BAM | SECRC, { give: 1 });
  b.write(R.RDTR, 100);
  for (let i = 0; i < 3; i++) b.inject(ethernet());
  b.write(R.CTRL, R.CTRL.RST);
  b.clock.advance(1000 * US);
  t.deepEqual(b.causes(), []);
  b.up();
  b.receiver();
  t.deepEqual(lengths(b), []);
  b.inject(ethernet({ length: 70 }));
  t.deepEqual(lengths(b), [70]);
});

test('descriptors given from within the interrupt are used, and no frame comes twice', (t) => {
  let opened = false;
  const b: Bench = new Bench({
    onLine: (asserted) => {
      if (!asserted || !opened) return;
      b.read(R.ICR);
      b.write(R.RDT, (b.read(R.RDT) + 1) % 16);
    },
  });
  b.receiver(16, { give: 0 });
  b.write(R.IMS, R.IMS.RXT0);
  const frames = [1, 2, 3, 4].map((seed) => ethernet({ seed }));
  for (const frame of frames) b.inject(frame);
  opened = true;
  b.write(R.RDT, 1);
  t.deepEqual(list(b.received().map(({ bytes }) => bytes)), list(frames));
});

// Properties.

const address = fc.constantFrom(
  STATION,
  BROADCAST,
  PAUSE_GROUP,
  unicast,
  multicast,
  [3, 0, 0, 0x82, 0x54, 1],
  [2, 0x22, 0x33, 0x44, 0x55, 0x66],
);

test('property: any filter settings agree with the manual’s rules', (t) => {
  const settings = fc.record({
    control: fc
      .nat(0xf)
      .map((bits) => [BAM, MPE, UPE, VFE].reduce((sum, bit, i) => sum | ((bits >> i) & 1 ? bit : 0), 0)),
    mo: fc.nat(3),
    hash: fc.uniqueArray(fc.nat(4095), { size: 'max', maxLength: 6 }),
    vlans: fc.uniqueArray(fc.nat(7), { size: 'max', maxLength: 4 }),
    second: fc.boolean(),
    frames: fc.array(
      fc.record({
        to: fc.oneof(address, fc.tuple(fc.constant(1), fc.nat(3), fc.nat(3), fc.nat(3), fc.nat(255), fc.nat(255))),
        vlan: fc.option(fc.nat(7)),
      }),
      { size: 'max', maxLength: 12 },
    ),
  });
  fc.assert(
    fc.property(settings, ({ control, mo, hash, vlans, second, frames }) => {
      const b = bench(SECRC | control | (mo << 12), { descriptors: 32 });
      const set = new Set(hash);
      const shift = [4, 3, 2, 0][mo]!;
      for (const { to } of frames.slice(0, 3)) set.add(((to[4]! + to[5]! * 256) >>> shift) & 0xfff);
      for (const bit of set) b.write(R.MTA, b.read(R.MTA, bit >>> 5) | (1 << (bit & 31)), bit >>> 5);
      b.write(
        R.VFTA,
        vlans.reduce((sum, id) => sum | (1 << id), 0),
      );
      if (second) {
        b.write(R.RAL, 0x44332202, 7);
        b.write(R.RAH, 0x80006655, 7);
      }
      const exact = [STATION, ...(second ? [[2, 0x22, 0x33, 0x44, 0x55, 0x66]] : [])].map(String);
      const passes = (to: readonly number[]) => {
        if (exact.includes(String(to))) return true;
        if (!(to[0]! & 1)) return (control & UPE) !== 0;
        if (control & MPE || (control & BAM && String(to) === String(BROADCAST))) return true;
        return set.has(((to[4]! + to[5]! * 256) >>> shift) & 0xfff);
      };
      const expected: string[] = [];
      for (const [seed, { to, vlan }] of frames.entries()) {
        const frame = ethernet({ to, vlan: vlan ?? undefined, seed, length: 64 });
        if (passes(to) && (vlan === null || !(control & VFE) || vlans.includes(vlan))) expected.push(hex(frame));
        b.inject(frame);
      }
      t.deepEqual(list(b.received().map(({ bytes }) => bytes)), expected);
    }),
    { numRuns: 300 },
  );
});

test('property: no frame is lost or reordered but as counted, however ring, buffers and FIFO are sized', (t) => {
  const traffic = fc.record({
    descriptors: fc.constantFrom(8, 16, 24),
    buffer: fc.constantFrom(256, 512, 2048),
    fifo: fc.integer({ min: 4, max: 48 }),
    strip: fc.boolean(),
    steps: fc.array(fc.oneof(fc.integer({ min: 60, max: 1518 }), fc.constant('refill' as const)), {
      size: 'max',
      maxLength: 60,
    }),
  });
  fc.assert(
    fc.property(traffic, ({ descriptors, buffer, fifo, strip, steps }) => {
      const b = bench(BAM | (strip ? SECRC : 0), { descriptors, buffer });
      b.write(R.PBA, fifo);
      const sent: string[] = [];
      const got: string[] = [];
      const take = () => {
        for (const { bytes } of b.received()) got.push(hex(strip ? bytes : bytes.subarray(0, -4)));
        b.refill();
      };
      for (const [seed, step] of steps.entries()) {
        if (step === 'refill') take();
        else {
          const frame = ethernet({ length: step, seed });
          const missed = b.read(R.MPC);
          b.inject(frame);
          if (b.read(R.MPC) === 0) sent.push(hex(frame));
          t.is(missed, 0);
        }
      }
      for (let i = 0; i < 400 && got.length < sent.length; i++) take();
      t.deepEqual(got, sent);
      t.is(b.read(R.GPRC), sent.length);
    }),
    { numRuns: 150 },
  );
});

test('a driver that turns receives off from within the interrupt of a frame that waited gets no more of what waited', (t) => {
  const b: Bench = new Bench({ onLine: (asserted) => asserted && b.write(R.RCTL, 0) });
  b.receiver(8, { give: 0 });
  for (let i = 0; i < 3; i++) b.inject(ethernet({ seed: i }));
  b.write(R.IMS, R.IMS.RXT0);
  b.read(R.ICR);
  b.write(R.RDT, 4);
  t.is(b.received().length, 1);
  b.write(R.IMC, R.IMS.RXT0);
  b.write(R.RCTL, R.RCTL.EN | R.RCTL.BAM | R.RCTL.SECRC);
  b.inject(ethernet({ seed: 7 }));
  const [frame, ...more] = b.received();
  t.deepEqual(frame?.bytes, ethernet({ seed: 7 }));
  t.is(more.length, 0);
});
