/**
 * What every table of registers promises of the model behind it: one spec, run on the registers of each model of the catalogue
 * and on its configuration space. Beside `live` registers, whose effects the model's own tests know, each access is compared
 * with a plain reading of the fields, bit by bit.
 *
 * It knows no test runner: `register` adds a named test.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type {
  Access,
  Field,
  FieldAccess,
  FieldBits,
  NamedRow,
  RegisterMap,
  RegisterReset,
} from '../../sim/registers.ts';

type Width = 1 | 2 | 4;

/** Registers at work, fresh from power-on. */
export interface Subject {
  read(at: number, width: Width): number;
  write(at: number, width: Width, value: number): void;
  /** What is stored, without effects; whole registers. */
  peek(at: number): number;
  poke(at: number, value: number): void;
  readonly refused: number;
  /** What resets there are. */
  readonly resets: Partial<Record<RegisterReset, () => void>>;
}

export interface Options {
  /** Registers that are somebody else's affair, or show what the model makes of them. */
  readonly apart?: (row: NamedRow) => boolean;
  /** Registers whose value is made from elsewhere: they reset to nothing of their own. */
  readonly computed?: readonly string[];
  /** Those that only read, but take a write for something. */
  readonly heard?: readonly number[];
  readonly runs?: number;
}

type Register = (name: string, body: () => void) => void;

export function registersKeepTheirTable(
  map: RegisterMap,
  make: () => Subject,
  { apart = () => false, computed = [], heard = [], runs = 30 }: Options,
  register: Register,
): void {
  const rows = map.rows.filter((row) => !apart(row));
  const plain = rows.filter(({ live }) => !live);

  register('every register reads its reset value after power-on', () => {
    const subject = make();
    for (const row of rows.filter(({ name }) => !computed.includes(name)))
      for (const at of ends(row)) assert.equal(subject.read(at, widthOf(row)), shown(row, row.reset ?? 0), row.name);
  });

  register('each bit of a register does what its field says, whatever is written', () => {
    const subject = make();
    for (const row of plain) {
      for (const at of ends(row)) {
        subject.poke(at, fieldsOf(row));
        for (const value of [0, wholeOf(row), 0, 0xa5a5a5a5 % 2 ** (8 * widthOf(row))]) {
          const stored = subject.peek(at);
          subject.write(at, widthOf(row), value);
          assert.equal(subject.peek(at), afterWrite(row, stored, value, wholeOf(row)), `${row.name} after a write`);
          const before = subject.peek(at);
          assert.equal(subject.read(at, widthOf(row)), shown(row, before), `${row.name} read`);
          assert.equal(subject.peek(at), afterRead(row, before), `${row.name} after a read`);
        }
      }
    }
  });

  register('property: so it does at any width, and an access leaves its neighbours alone', () => {
    const some = fc.constantFrom(...plain).chain((row) => {
      const widths = ([1, 2, 4] as const).filter((width) => width <= widthOf(row));
      return fc.record({
        row: fc.constant(row),
        index: fc.nat(row.count - 1),
        width: fc.constantFrom(...widths),
        part: fc.nat(3),
        value: fc.option(fc.integer({ min: 0, max: 0xffffffff })),
      });
    });
    fc.assert(
      fc.property(fc.array(some, { maxLength: 40 }), (accesses) => {
        const subject = make();
        for (const { row, index, width, part, value } of accesses) {
          const at = row.offsets[index]!;
          const byte = (part * width) % widthOf(row);
          const mask = ones(width) * 2 ** (8 * byte);
          const stored = subject.peek(at);
          const kept = afterRead(row, stored);
          if (value === null) {
            const expected = Math.floor(shown(row, stored) / 2 ** (8 * byte)) & ones(width);
            assert.equal(subject.read(at + byte, width), expected >>> 0, row.name);
            assert.equal(subject.peek(at), kept, row.name);
          } else {
            const written = (value & ones(width)) >>> 0;
            subject.write(at + byte, width, written);
            assert.equal(subject.peek(at), afterWrite(row, stored, written * 2 ** (8 * byte), mask), row.name);
          }
        }
      }),
      { numRuns: runs },
    );
  });

  register('a register that only reads refuses a write, and the refusal is counted', () => {
    const subject = make();
    for (const row of rows.filter(({ access, masks, at }) => {
      return (
        (access === 'RO' || access === 'RC') && masks.stores + masks.clears + masks.sets === 0 && !heard.includes(at)
      );
    })) {
      const [before, value] = [subject.refused, subject.peek(row.at)];
      subject.write(row.at, widthOf(row), wholeOf(row));
      assert.equal(subject.peek(row.at), value, row.name);
      assert.equal(subject.refused, before + 1, row.name);
    }
  });

  register('a counter is cleared by reading, whole', () => {
    const subject = make();
    for (const row of rows.filter(({ access, fields }) => access === 'RC' && fields === undefined)) {
      subject.poke(row.at, 0x12345678);
      assert.equal(subject.read(row.at, 4), 0x12345678, row.name);
      assert.equal(subject.read(row.at, 4), 0, row.name);
    }
  });

  register('an alias is the same register', () => {
    const subject = make();
    for (const row of rows)
      for (const { at, count, stride } of row.aliases) {
        for (const index of new Set([0, count - 1])) {
          const alias = at + index * stride;
          const stored = row.offsets[index]!;
          subject.write(alias, 4, 0x380);
          assert.equal(subject.read(stored, 4), subject.read(alias, 4), row.name);
          assert.equal(subject.peek(stored) & row.masks.stores, 0x380 & row.masks.stores, row.name);
        }
      }
  });

  register('in the gaps nothing answers: zero, and a count in `refused`', () => {
    const subject = make();
    const gaps = map.gaps().filter(([first]) => !apart({ at: first } as NamedRow));
    assert.ok(gaps.length > 0);
    for (const [first, last] of gaps)
      for (const at of [first, last]) {
        const before = subject.refused;
        subject.write(at, map.unit, ones(map.unit));
        assert.equal(subject.read(at, map.unit), 0, map.nameAt(at));
        assert.equal(subject.refused, before + 2, map.nameAt(at));
      }
  });

  for (const kind of Object.keys(make().resets) as RegisterReset[]) {
    register(`a ${kind} reset puts back what does not survive it`, () => {
      const subject = make();
      const pattern = (row: NamedRow) => 0x5a5a5a5a & fieldsOf(row);
      const survives = (row: NamedRow) => kind !== 'power-on' && row.survives?.includes(kind);
      for (const row of plain) for (const at of ends(row)) subject.poke(at, pattern(row));
      subject.resets[kind]!();
      for (const row of plain)
        for (const at of ends(row))
          assert.equal(subject.peek(at), survives(row) ? pattern(row) : (row.reset ?? 0), row.name);
    });
  }

  register('no two registers have one name, and each says what it is', () => {
    assert.equal(new Set(map.rows.map(({ name }) => name)).size, map.rows.length);
    for (const { name, title } of map.rows) assert.ok(title.length > 0, name);
  });
}

const widthOf = ({ width = 4 }: NamedRow): Width => width;
const ones = (width: Width): number => 2 ** (8 * width) - 1;
const wholeOf = (row: NamedRow): number => ones(widthOf(row));
const ends = ({ offsets }: NamedRow): number[] => [...new Set([offsets[0]!, offsets.at(-1)!])];

/** Of each bit, by number; a bit without a field is reserved, and reads 0 as nothing stores it. */
function accessesOf({ access, fields, width = 4 }: NamedRow): (Access | 'SC' | 'none')[] {
  const bits: (Access | 'SC' | 'none')[] = new Array(8 * width).fill(fields === undefined ? access : 'none');
  for (const field of Object.values<FieldBits | Field>(fields ?? {})) {
    const named = typeof field === 'object' && 'bits' in field;
    const own: FieldAccess = named ? field.access : access;
    const place = named ? field.bits : field;
    const [high, low] = typeof place === 'number' ? [place, place] : place;
    bits.fill(own === 'RSVD' ? access : own, low, high + 1);
  }
  return bits;
}

/** A word whose bits `bit` gives. */
function word(row: NamedRow, bit: (access: Access | 'SC' | 'none', mask: number) => boolean): number {
  return accessesOf(row).reduce((sum, access, i) => (bit(access, 2 ** i) ? sum + 2 ** i : sum), 0);
}

/** The bits that are there. */
const fieldsOf = (row: NamedRow): number => word(row, (access) => access !== 'none');

const has = (value: number, bit: number): boolean => Math.floor(value / bit) % 2 === 1;

function shown(row: NamedRow, stored: number): number {
  return word(row, (access, bit) => has(stored, bit) && access !== 'WO' && access !== 'none');
}

function afterRead(row: NamedRow, stored: number): number {
  return word(row, (access, bit) => {
    if (access === 'RC' || access === 'RC/W1C') return false;
    return access === 'RS' || has(stored, bit);
  });
}

/** @param mask what of the register was written. */
function afterWrite(row: NamedRow, stored: number, value: number, mask: number): number {
  return word(row, (access, bit) => {
    if (!has(mask, bit)) return has(stored, bit);
    if (access === 'RW' || access === 'RS') return has(value, bit);
    if (access === 'W1S') return has(stored, bit) || has(value, bit);
    if (access === 'W1C' || access === 'RC/W1C') return has(stored, bit) && !has(value, bit);
    return has(stored, bit);
  });
}
