/** Host memory behind a function's bus mastering. */
import test from 'ava';
import fc from 'fast-check';
import { AddressSpace, BusMaster } from '../../sim/memory.ts';

function host() {
  const space = new AddressSpace();
  const low = new Uint8Array(64);
  const high = new Uint8Array(64);
  space.map(0x1000, low);
  space.map(0x1040, high);
  const master = new BusMaster(space);
  master.enabled = true;
  return { space, low, high, master };
}

const bytes = (...values: number[]) => Uint8Array.from(values);

const refused: [string, number, number, { length?: number }?][] = [
  ['an odd address', 0x2001, 64],
  ['an odd length', 0x2000, 63],
  ['nothing', 0x2000, 0],
  ['more than there is', 0x2000, 64, { length: 128 }],
  ['a negative address', -4, 64],
  ['an address past 2^53', 2 ** 53 - 32, 64],
  ['what overlaps from below', 0xfe0, 64],
  ['what overlaps from above', 0x1060, 64],
  ['what is mapped already', 0x1000, 64],
  ['what covers another', 0xf00, 4096],
];
for (const [what, start, length, options] of refused) {
  test(`map refuses ${what}`, (t) => {
    const { space } = host();
    t.throws(() => space.map(start, new Uint8Array(length), options), { instanceOf: RangeError });
  });
}

test('find tells neighbours apart, and misses on both sides', (t) => {
  const { space } = host();
  t.is(space.find(0x103f)?.start, 0x1000);
  t.is(space.find(0x1040)?.start, 0x1040);
  t.is(space.find(0xfff), undefined);
  t.is(space.find(0x1080), undefined);
});

test('transfers span mappings', (t) => {
  const { master, low, high } = host();
  t.true(master.write(0x103e, bytes(9, 1, 2, 3, 4), 1, 4));
  t.deepEqual([low[62], low[63], high[0], high[1]], [1, 2, 3, 4]);
  const into = new Uint8Array(6);
  t.true(master.read(0x103e, into, 1, 4));
  t.deepEqual(into, bytes(0, 1, 2, 3, 4, 0));
  t.is(master.faults, 0);
});

test('a transfer that runs off the mapped memory is refused and counted in `faults`', (t) => {
  const { master, high } = host();
  t.false(master.write(0x107e, bytes(1, 2, 3, 4), 0, 4));
  t.is(high[63], 2, 'what came before is written');
  t.false(master.read(0xffe, new Uint8Array(4), 0, 4));
  t.is(master.faults, 2);
});

test('a read-only mapping is read, and a write to it is counted in `faults`', (t) => {
  const { space, master } = host();
  space.map(0x2000, bytes(1, 2, 3, 4), { writable: false });
  t.true(master.read(0x2000, new Uint8Array(4), 0, 4));
  t.false(master.write(0x2000, bytes(9), 0, 1));
  t.is(master.faults, 1);
});

test('without bus mastering nothing is reached, nor through a window that was open', (t) => {
  const { master } = host();
  const window = master.window();
  t.true(window.covers(0x1000, 16));
  master.enabled = false;
  t.false(window.covers(0x1000, 16));
  t.false(master.read(0x1000, new Uint8Array(1), 0, 1));
  t.is(master.faults, 1);
  master.enabled = true;
  t.true(window.covers(0x1000, 16));
});

test('unmapping revokes what a window has cached, and the bytes themselves', (t) => {
  const { space, master } = host();
  const window = master.window();
  t.true(window.covers(0x1000, 64));
  const { mapping } = window;
  t.true(space.unmap(0x1000));
  t.is(mapping.bytes.length, 0);
  t.is(mapping.words.length, 0);
  t.false(window.covers(0x1000, 4));
  t.false(window.covers(0, 0));
  t.false(space.unmap(0x1000));
});

test('unmap wants the very start', (t) => {
  const { space } = host();
  t.false(space.unmap(0x1004));
  t.truthy(space.find(0x1004));
});

test('a window covers a range within one mapping only, and counts nothing', (t) => {
  const { master } = host();
  const window = master.window();
  t.true(window.covers(0x1030, 16));
  t.false(window.covers(0x1030, 17));
  t.true(window.covers(0x1040, 64));
  t.false(window.covers(0x1080, 1));
  t.is(master.faults, 0);
});

test('the epoch moves with what may have been resolved: unmap and bus mastering', (t) => {
  const { space, master } = host();
  const seen = [master.epoch];
  space.unmap(0x1040);
  seen.push(master.epoch);
  master.enabled = false;
  seen.push(master.epoch);
  t.is(new Set(seen).size, 3);
});

test('a mapping’s words start at its first byte, and may be many', (t) => {
  const { space } = host();
  const arena = new Uint8Array(new ArrayBuffer(64), 8, 12);
  arena.set([1, 0, 0, 0, 2]);
  const mapping = space.map(0x3000, arena);
  t.deepEqual([...mapping.words], [1, 2, 0]);
  let large: ArrayBuffer;
  try {
    large = new ArrayBuffer(2 ** 31 + 64); // never touched, so it takes no memory
  } catch {
    t.pass('this machine has no 2 GiB of addresses to spare');
    return;
  }
  t.is(space.map(2 ** 33, new Uint8Array(large)).words.length, 2 ** 29 + 16);
});

test('property: reads and writes agree with a plain array over a patchwork of mappings', (t) => {
  const access = fc.record({ at: fc.nat(255), length: fc.nat(64), write: fc.boolean() });
  const patches = fc.uniqueArray(fc.nat(15), { minLength: 1, maxLength: 16, size: 'max' });
  fc.assert(
    fc.property(patches, fc.array(access, { size: 'max', maxLength: 30 }), (pages, accesses) => {
      const space = new AddressSpace();
      const plain = new Map<number, number>();
      for (const page of pages) {
        space.map(page * 16, new Uint8Array(16));
        for (let i = 0; i < 16; i++) plain.set(page * 16 + i, 0);
      }
      const master = new BusMaster(space);
      master.enabled = true;
      for (const [n, { at, length, write }] of accesses.entries()) {
        const range = Array.from({ length }, (_, i) => at + i);
        const whole = range.every((i) => plain.has(i));
        if (write) {
          t.is(master.write(at, new Uint8Array(length).fill(n + 1), 0, length), whole);
          for (const i of range) {
            if (!plain.has(i)) break;
            plain.set(i, n + 1);
          }
        } else {
          const into = new Uint8Array(length);
          t.is(master.read(at, into, 0, length), whole);
          if (whole)
            t.deepEqual(
              [...into],
              range.map((i) => plain.get(i)!),
            );
        }
      }
    }),
    { numRuns: 100 },
  );
});

test('unmapping all that lies within bounds', (t) => {
  const space = new AddressSpace();
  const mappings = [0, 1, 2, 3].map((i) => space.map(i * 0x1000, new Uint8Array(0x800)));
  space.mapDistant(0x1800, 0x800, { read: () => true, write: () => true });
  const { epoch } = space;
  space.unmapWithin(0x1000, 0x2800);
  t.deepEqual(
    [0, 0x1000, 0x2000, 0x3000].map((address) => space.find(address) !== undefined),
    [true, false, false, true],
  );
  t.is(space.findDistant(0x1800), undefined);
  t.is(mappings[1]!.bytes.length, 0, 'and whoever kept one misses');
  t.not(space.epoch, epoch);
  space.unmapWithin(0x5000, 0x6000);
  t.truthy(space.find(0x3000));
});
