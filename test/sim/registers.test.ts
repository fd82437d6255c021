/** Registers as data: the table's own checks, and every access mode in every width. */
import test from 'ava';
import fc from 'fast-check';
import {
  type Access,
  encode,
  field,
  fieldsMask,
  maskOf,
  offsetOf,
  partly,
  place,
  RegisterFile,
  RegisterMap,
  type Run,
  ro,
  rsvd,
  run,
  sc,
} from '../../sim/registers.ts';
import type { Trace } from '../../sim/trace.ts';

const row = <const A extends number | readonly Run[]>(at: A, access: Access, more: object = {}) => ({
  at,
  access,
  title: '',
  section: '',
  ...more,
});

const MAP = new RegisterMap('toy', 0x100, {
  RO: row(0x00, 'RO', { reset: 0x11223344 }),
  RW: row(0x04, 'RW', {
    reset: 0x80000001,
    survives: ['software'],
    fields: { HIGH: 31, HIGH_REST: [30, 24], MID: [23, 16], LOW: 0, LOW_REST: [7, 1] },
  }),
  WO: row(0x08, 'WO'),
  RC: row(0x0c, 'RC', { reset: 0xffffffff }),
  W1C: row(0x10, 'W1C', { reset: 0xff00ff, fields: { CAUSES: [19, 0], LEVELS: ro([23, 20]) } }),
  W1S: row(0x14, 'W1S', { fields: { MASK: [15, 0] }, survives: ['software', 'bus'] }),
  RS: row(0x18, 'RS', { fields: { SEMAPHORE: 0 } }),
  BOTH: row(0x1c, 'RC/W1C', { reset: 0xf0, fields: { CAUSES: [7, 0] } }),
  ARRAY: row([run(0x40, 4, 8)], 'RW', { reset: 5, aliases: [0x80] }),
  BETWEEN: row([run(0x44, 3, 8)], 'RW'),
  MIXED: row(0xa0, 'RW', {
    reset: 0x1010,
    fields: {
      MODE: [3, 0],
      SPEED: ro([7, 4]),
      STATUS: { bits: [11, 8], access: 'W1C' },
      LATCH: { bits: [15, 12], access: 'RC' },
      ARM: { bits: [19, 16], access: 'W1S' },
      KEY: { bits: [23, 20], access: 'WO' },
      RESET: sc(24),
      RSVD_25: rsvd(25),
    },
  }),
  RUNS: row([run(0xb0, 2, 4), run(0xc0, 3, 8)], 'RW', { aliases: [run(0xe0, 4)] }),
  CTRL: { at: 0xa8, access: 'RW', title: '', section: '', fields: { EN: 0, SPEED: [9, 8] } },
  PART: row(0xa4, 'RW', { fields: partly({ A: 31, B: [15, 8] }) }),
});
const { r } = MAP;

function file() {
  const notes: string[] = [];
  const registers = new RegisterFile(MAP);
  const trace: Trace = {
    register: (map, kind, offset, value) => notes.push(`${kind} ${map.nameAt(offset)} ${value.toString(16)}`),
    descriptor: () => {},
    note: (chip, text) => notes.push(`${chip}: ${text}`),
  };
  return { registers, notes, trace };
}

const wrong: [string, Record<string, object>, RegExp][] = [
  ['two rows at one offset', { A: row(0, 'RW'), B: row(0, 'RO') }, /B overlaps A at 0x00000/],
  ['an array that runs into a row', { A: row(8, 'RW'), B: row([run(0, 3)], 'RW') }, /B overlaps A at 0x00008/],
  ['an array over itself', { A: row([run(0, 2, 0)], 'RW') }, /A overlaps A/],
  ['an alias on a row', { A: row(0, 'RW'), B: row(4, 'RW', { aliases: [0] }) }, /B overlaps A/],
  ['a row past the end', { A: row(0x100, 'RW') }, /A at 0x00100/],
  ['an array past the end', { A: row([run(0xf8, 3)], 'RW') }, /A at 0x00100/],
  ['a row off a word', { A: row(2, 'RW') }, /A at 0x00002/],
  ['a stride off a word', { A: row([run(0, 2, 6)], 'RW') }, /A at 0x00006/],
  ['a row before the start', { A: row(-4, 'RW') }, /toy: A/],
  ['an alias of more than there are', { A: row([run(0, 2)], 'RW', { aliases: [run(8, 3)] }) }, /toy: A has 2/],
  ['no register at all', { A: row([], 'RW') }, /toy: A has 0/],
  ['a reset value that no field has', { A: row(0, 'RW', { reset: 3, fields: { B: 0 } }) }, /toy: A resets to 0x3/],
  ['a field beyond its register', { A: row(0, 'RW', { width: 1, fields: { B: 8 } }) }, /toy: A.B is beyond/],
  ['one bit of two accesses', { A: row(0, 'RW', { fields: { B: [3, 0], C: ro(2) } }) }, /toy: A.C has bits/],
];
for (const [what, table, message] of wrong) {
  test(`a table is refused with ${what}`, (t) => {
    t.throws(() => new RegisterMap('toy', 0x100, table as never), { instanceOf: RangeError, message });
  });
}

test('bit 31 is not negative, and the whole word is a field', (t) => {
  t.is(maskOf(31), 0x80000000);
  t.is(maskOf([31, 0]), 0xffffffff);
  t.is(maskOf([9, 8]), 0x300);
  t.is(field(0xffffffff, 0x80000000), 1);
  t.is(place(0x80000000, 1), 0x80000000);
});

test('property: field undoes place, and place stays within the mask', (t) => {
  fc.assert(
    fc.property(fc.nat(31), fc.nat(31), fc.integer({ min: 0, max: 0xffffffff }), (a, b, value) => {
      const mask = maskOf([Math.max(a, b), Math.min(a, b)]);
      const width = Math.abs(a - b) + 1;
      t.is((place(mask, value) & ~mask) >>> 0, 0);
      t.is(field(place(mask, value), mask), value % 2 ** width);
    }),
  );
});

test('names: a register, a member of an array, an alias, a gap', (t) => {
  t.deepEqual(
    [0x04, 0x07, 0x48, 0x98, 0xf0].map((at) => MAP.nameAt(at)),
    ['RW', 'RW', 'ARRAY[1]', 'ARRAY[3]', '0x000f0'],
  );
  t.is(MAP.find(0x1000), undefined);
});

test('a value decodes into its fields, zeros left out', (t) => {
  t.is(MAP.decode(4, 0x80ff0000), 'HIGH=1 MID=0xff');
  t.is(MAP.decode(0xf0, 1), '');
});

test('the gaps are the runs that no row describes', (t) => {
  t.deepEqual(MAP.gaps(), [
    [0x20, 0x3c],
    [0x5c, 0x7c],
    [0x84, 0x84],
    [0x8c, 0x8c],
    [0x94, 0x94],
    [0x9c, 0x9c],
    [0xac, 0xac],
    [0xb8, 0xbc],
    [0xc4, 0xc4],
    [0xcc, 0xcc],
    [0xd4, 0xdc],
    [0xf0, 0xfc],
  ]);
});

// register, first read, value written, then read, then read again
const modes: [keyof typeof r, number, number, number, number][] = [
  ['RO', 0x11223344, 0xffffffff, 0x11223344, 0x11223344],
  ['RW', 0x80000001, 0x7fff55aa, 0x7fff00aa, 0x7fff00aa],
  ['WO', 0, 0xffffffff, 0, 0],
  ['RC', 0xffffffff, 0xffffffff, 0, 0],
  ['W1C', 0xff00ff, 0xffff000f, 0xf000f0, 0xf000f0],
  ['W1S', 0, 0x8001ff00, 0xff00, 0xff00],
  ['RS', 0, 0, 0, 1],
  ['BOTH', 0xf0, 0x30, 0, 0],
];
for (const [name, first, written, then, again] of modes) {
  test(`${name}: read, write, read twice`, (t) => {
    const { registers } = file();
    t.is(registers.read32(offsetOf(r[name])), first);
    registers.write32(offsetOf(r[name]), written);
    t.is(registers.read32(offsetOf(r[name])), then);
    t.is(registers.read32(offsetOf(r[name])), again);
  });
}

test('fields of one register have each its own access, and reserved bits read 0', (t) => {
  const { registers } = file();
  const { MIXED } = r;
  t.is(registers.read32(MIXED.at), 0x1010);
  t.is(registers.words[MIXED.word], 0x0010, 'LATCH was cleared by reading');
  registers.words[MIXED.word] = 0x0f10;
  registers.write32(MIXED.at, 0xffff_f3ff);
  t.is(registers.read32(MIXED.at), 0x020f_0c1f, 'STATUS lost two bits, ARM has all, RESET and KEY are not stored');
  registers.write32(MIXED.at, 0);
  t.is(registers.read32(MIXED.at), 0x000f_0c10, 'MODE is 0; STATUS and ARM stay');
});

test('what clears itself is for the hook to see, and reads 0', (t) => {
  const { registers } = file();
  const seen: number[] = [];
  registers.onWrite(r.MIXED, (value) => seen.push(value & maskOf(24)));
  registers.write32(r.MIXED.at, maskOf(24));
  t.deepEqual(seen, [maskOf(24)]);
  t.is(registers.read32(r.MIXED.at) & maskOf(24), 0);
});

test('a byte written to a register of many accesses acts on its own fields only', (t) => {
  const { registers } = file();
  registers.words[r.MIXED.word] = 0x0203_f51a;
  registers.write(r.MIXED.at + 1, 1, 0x04);
  t.is(registers.words[r.MIXED.word], 0x0203_f11a);
});

test('of a register that is described in part, the other bits store too', (t) => {
  const { registers } = file();
  registers.write32(r.PART.at, 0xa5a5a5a5);
  t.is(registers.read32(r.PART.at), 0xa5a5a5a5);
  t.deepEqual(Object.keys(MAP.find(r.PART.at)!.fields!), ['A', 'B', 'RSVD_30_16', 'RSVD_7_0']);
});

test('RC/W1C: ones that are written are cleared, the rest is left to be read', (t) => {
  const { registers } = file();
  registers.write32(r.BOTH.at, 0x30);
  t.is(registers.read32(r.BOTH.at), 0xc0);
  t.is(registers.read32(r.BOTH.at), 0);
});

test('the members of an array are apart, its alias is the same register', (t) => {
  const { registers } = file();
  registers.write32(0x48, 7);
  t.deepEqual(
    [0x40, 0x48, 0x80, 0x88].map((at) => registers.read32(at)),
    [5, 7, 5, 7],
  );
  registers.write32(0x98, 9);
  t.is(registers.words[r.ARRAY.word(3)], 9);
});

test('an array in several runs is one register, with an alias that has a stride of its own', (t) => {
  const { registers } = file();
  const { RUNS } = r;
  t.is(RUNS.count, 5);
  t.deepEqual(
    [0, 1, 2, 3, 4].map((i) => RUNS.at(i)),
    [0xb0, 0xb4, 0xc0, 0xc8, 0xd0],
  );
  for (let i = 0; i < RUNS.count; i++) {
    registers.write32(RUNS.at(i), 100 + i);
    t.is(registers.words[RUNS.word(i)], 100 + i);
    t.is(MAP.nameAt(RUNS.at(i)), `RUNS[${i}]`);
  }
  t.deepEqual(
    [0xe0, 0xe4, 0xe8, 0xec].map((at) => registers.read32(at)),
    [100, 101, 102, 103],
  );
  t.is(MAP.nameAt(0xec), 'RUNS[3]');
  const seen: number[] = [];
  registers.onWrite(RUNS, (_, index) => seen.push(index));
  for (const at of [0xc8, 0xec, 0xd0]) registers.write32(at, 0);
  t.deepEqual(seen, [3, 3, 4]);
});

test('bytes and halves of a register are read in place', (t) => {
  const { registers } = file();
  t.deepEqual(
    [0, 1, 2, 3].map((at) => registers.read(at, 1)),
    [0x44, 0x33, 0x22, 0x11],
  );
  t.deepEqual([registers.read(0, 2), registers.read(2, 2)], [0x3344, 0x1122]);
  t.is(registers.read(0, 4), 0x11223344);
});

test('a byte that is written leaves its neighbours', (t) => {
  const { registers } = file();
  registers.write(r.ARRAY.at(0), 4, 0x11223344);
  registers.write(r.ARRAY.at(0) + 1, 1, 0xff);
  t.is(registers.read32(r.ARRAY.at(0)), 0x1122ff44);
  registers.write(r.ARRAY.at(0) + 2, 2, 0xaabb);
  t.is(registers.read32(r.ARRAY.at(0)), 0xaabbff44);
});

test('a byte written to W1C or W1S does nothing to its neighbours', (t) => {
  const { registers } = file();
  registers.write(r.W1C.at, 1, 0xff);
  t.is(registers.read32(r.W1C.at), 0xff0000);
  registers.write(r.W1S.at + 1, 1, 0x80);
  t.is(registers.read32(r.W1S.at), 0x8000);
});

test('a byte read of RC clears the whole register', (t) => {
  const { registers } = file();
  t.is(registers.read(r.RC.at + 3, 1), 0xff);
  t.is(registers.read32(r.RC.at), 0);
});

test('what no row describes reads 0, takes no write, and is counted in `refused`', (t) => {
  const { registers, notes, trace } = file();
  registers.trace = trace;
  t.is(registers.read32(0x20), 0);
  registers.write(0x22, 2, 7);
  registers.write32(0x7fffff00, 7);
  t.is(registers.read32(0x7fffff00), 0);
  t.is(registers.refused, 4);
  t.deepEqual(
    notes.filter((note) => note.startsWith('toy')),
    [
      'toy: read of an unknown register: 0x00020',
      'toy: write of an unknown register: 0x00020',
      'toy: write of an unknown register: 0x7fffff00',
      'toy: read of an unknown register: 0x7fffff00',
    ],
  );
});

test('a write of what only reads is counted in `refused`', (t) => {
  const { registers } = file();
  registers.write32(r.RO.at, 1);
  registers.write(r.RC.at, 1, 1);
  t.is(registers.refused, 2);
});

test('a write to RO with a hook is the hook’s affair', (t) => {
  const { registers } = file();
  const seen: number[][] = [];
  registers.onWrite(r.RO, (value, index) => seen.push([value, index]));
  registers.write32(r.RO.at, 0xffffffff);
  t.deepEqual(seen, [[0xffffffff, 0]]);
  t.is(registers.read32(r.RO.at), 0x11223344);
  t.is(registers.refused, 0);
});

test('hooks hear the index, from an alias too, and the value as written, after it was stored', (t) => {
  const { registers } = file();
  const seen: number[][] = [];
  registers.onWrite(r.ARRAY, (value, index) => seen.push([value, index, registers.words[r.ARRAY.word(index)]!]));
  registers.onRead(r.ARRAY, (index) => 100 + index);
  registers.write32(0x50, 3);
  registers.write32(0x98, 4);
  t.deepEqual(seen, [
    [3, 2, 3],
    [4, 3, 4],
  ]);
  t.deepEqual([registers.read32(0x50), registers.read32(0x80)], [102, 100]);
});

test('the trace tells every access once, with its name', (t) => {
  const { registers, notes, trace } = file();
  registers.trace = trace;
  registers.write(0x49, 1, 1);
  registers.read(0x4a, 2);
  t.deepEqual(notes, ['write ARRAY[1] 105', 'read ARRAY[1] 105']);
});

test('a reset puts every register back, but those that survive its kind', (t) => {
  const { registers } = file();
  const dirty = () => {
    registers.words[r.RW.word] = 0;
    registers.words[r.W1S.word] = 0xff;
    registers.words[r.ARRAY.word(3)] = 0;
  };
  const values = () => [r.RW.word, r.W1S.word, r.ARRAY.word(3)].map((word) => registers.words[word]);
  for (const [kind, ...expected] of [
    ['software', 0, 0xff, 5],
    ['bus', 0x80000001, 0xff, 5],
    ['function', 0x80000001, 0, 5],
    ['power-on', 0x80000001, 0, 5],
  ] as const) {
    dirty();
    registers.reset(kind);
    t.deepEqual(values(), expected, kind);
  }
});

test('fields are written by name: the word has their values, and nothing else', (t) => {
  t.is(encode(r.CTRL, { EN: true, SPEED: 2 }), 0x201);
  t.is(encode(r.CTRL, {}), 0);
  t.is(fieldsMask(r.CTRL, { EN: 0, SPEED: 0 }), 0x301);
  for (const values of [{ SPEED: 4 }, { SPEED: -1 }, { SPEED: 1.5 }, { EN: Number.NaN }])
    t.throws(() => encode(r.CTRL, values), { instanceOf: RangeError, message: /^CTRL\.(SPEED|EN) takes 0 to / });
});

test('a field of another register is none', (t) => {
  // @ts-expect-error: it does not compile
  t.throws(() => encode(r.CTRL, { LOW: 1 }), { instanceOf: RangeError });
  // @ts-expect-error: neither does a field of a register that has none
  t.throws(() => encode(r.RO, { LOW: 1 }), { instanceOf: RangeError });
});

test('several hooks on one register run one after the other', (t) => {
  const registers = new RegisterFile(MAP);
  const seen: string[] = [];
  for (const name of ['first', 'second', 'third'])
    registers.onWrite(MAP.r.ARRAY, (value, index) => seen.push(`${name} ${value} ${index}`));
  registers.write(MAP.r.ARRAY.at(1), 4, 7);
  t.deepEqual(seen, ['first 7 1', 'second 7 1', 'third 7 1']);
});
