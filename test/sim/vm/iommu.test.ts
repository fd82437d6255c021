/** The IOMMU's tables, judged by a walk through them as the specification has it (VT-d 3.7). */
import test from 'ava';
import fc from 'fast-check';
import { Iommu, type Translation } from '../../../vm/qtest/iommu.ts';

const PAGE = 4096;
const BASE = 0x10_0000;
const BUS = 1;

function made(tables: number) {
  const words = new Uint32Array((tables * PAGE) / 4);
  const writes: [register: number, value: number][] = [];
  const registers = {
    write: (_: number, address: number, value: number) => void writes.push([address & 0xfff, value]),
  };
  return { words, writes, iommu: new Iommu(registers, { iova: BASE, words }, BUS) };
}

/** Where an address leads, and whether it may be written; null where nowhere. */
function walk(words: Uint32Array, address: number): { target: number; writable: boolean } | null {
  const entry = (table: number, index: number) => {
    const at = (table - BASE) / 4 + 2 * index;
    return { low: words[at]!, address: words[at + 1]! * 2 ** 32 + (words[at]! - (words[at]! % PAGE)) };
  };
  const context = entry(entry(BASE, 2 * BUS).address, 0);
  let table = context.address;
  for (let level = 4; level >= 1; level--) {
    const span = 2 ** (12 + 9 * (level - 1));
    const { low, address: next } = entry(table, Math.floor(address / span) % 512);
    if ((low & 1) === 0) return null;
    // 9.8: of a large page's address the bits inside of it are reserved.
    if (level === 1 || (low & 0x80) !== 0)
      return next % span !== 0 ? null : { target: next + (address % span), writable: (low & 2) !== 0 };
    table = next;
  }
  return null;
}

const pages = (most: number) => fc.nat({ max: most }).map((count) => count * PAGE);

/** Small ones, large ones, and those that could be large were they aligned alike. */
const translation: fc.Arbitrary<Translation> = fc
  .record({
    region: fc.nat({ max: 7 }),
    inside: fc.oneof(pages(2048), fc.constant(0)),
    length: fc.oneof(pages(1200), fc.constantFrom(2 ** 21, 2 ** 22, 2 ** 30)).map((length) => length + PAGE),
    target: fc.oneof(pages(3000), fc.constantFrom(0, 2 ** 21)),
    writable: fc.boolean(),
  })
  .map(({ region, inside, length, target, writable }) => ({
    start: region * 2 ** 45 + inside,
    ...{ length, target: 2 ** 32 + target, writable },
  }));

test('property: what is mapped leads there, what is not leads nowhere, and no table is lost', (t) => {
  fc.assert(
    fc.property(fc.array(fc.oneof(translation, fc.nat({ max: 7 })), { maxLength: 30 }), (steps) => {
      const { words, iommu } = made(64);
      const mapped = new Map<number, Translation>(); // by region
      for (const step of steps) {
        const region = typeof step === 'number' ? step : Math.floor(step.start / 2 ** 45);
        const before = mapped.get(region);
        if (before !== undefined) {
          iommu.unmap([{ start: before.start, end: before.start + before.length }]);
          mapped.delete(region);
        }
        if (typeof step !== 'number' && iommu.map(step)) mapped.set(region, step);
        for (const { start, length, target, writable } of mapped.values()) {
          for (const inside of [0, PAGE, length / 2 - ((length / 2) % PAGE), length - PAGE].filter((at) => at < length))
            if (walk(words, start + inside)?.target !== target + inside) return false;
          if (walk(words, start)?.writable !== writable) return false;
          if (walk(words, start + length) !== null) return false;
          if (start % 2 ** 45 !== 0 && walk(words, start - PAGE) !== null) return false;
        }
        if (before !== undefined && !mapped.has(region) && walk(words, before.start) !== null) return false;
      }
      for (const { start, length } of mapped.values()) iommu.unmap([{ start, end: start + length }]);
      return iommu.free === 64 - 3;
    }),
    { numRuns: 300 },
  );
  t.pass();
});

test('no room: nothing of it is mapped, and its tables are free again', (t) => {
  const { words, iommu } = made(10);
  const wanted = { start: 0, target: 2 ** 32 + PAGE, length: 2 ** 24, writable: true };
  t.false(iommu.map(wanted));
  t.is(walk(words, 0), null);
  t.is(iommu.free, 7);
  t.true(iommu.map({ ...wanted, length: 2 ** 22 }));
  t.deepEqual(walk(words, 0x1234), { target: 2 ** 32 + PAGE + 0x1234, writable: true });
});

test('what was unmapped is forgotten before that returns', (t) => {
  const { words, writes, iommu } = made(10);
  iommu.map({ start: 0, target: 0, length: PAGE, writable: false });
  writes.length = 0;
  iommu.unmap([{ start: 0, end: PAGE }]);
  t.is(walk(words, 0), null);
  t.deepEqual(writes, [
    [0xf8, 0],
    [0xfc, 0x90000000],
  ]);
});
