/** The addon's packet kernels: the reference's results at every alignment and length; and what is no range is refused. */
import t from 'tap';
import { packetKernels } from '../../native/index.ts';
import * as kernels from '../../sim/kernels/index.ts';
import * as reference from '../../sim/kernels/reference.ts';
import { Prng } from '../../sim/wire/prng.ts';

const LENGTHS = [...Array.from({ length: 2101 }, (_, length) => length), 9018, 16288, 65535, 65536, 200_000];
const prng = new Prng(11);
const CONTENTS: Readonly<Record<string, () => number>> = {
  random: () => prng.next(),
  zeros: () => 0,
  ones: () => 0xff,
};

for (const [name, content] of Object.entries(CONTENTS))
  void t.test(`sums, copies and CRC of ${name}`, async (t) => {
    const native = packetKernels();
    const from = Uint8Array.from({ length: 200_064 }, content);
    const to = new Uint8Array(from.length);
    const wrong: string[] = [];
    const check = (what: string, value: number, expected: number) => {
      if (value !== expected) wrong.push(`${what}: ${value}, not ${expected}`);
    };
    for (const length of LENGTHS)
      for (let start = 0; start < 16; start++) {
        const where = `(${start}, ${length})`;
        const sum = reference.littleSum(from, start, length);
        check(`littleSum${where}`, native.littleSum(from, start, length), sum);
        to.fill(0xa5, 0, length + 32);
        check(`copyAndSum${where}`, native.copyAndSum(from, start, to, 16 - start, length), sum);
        if (Buffer.compare(to.subarray(16 - start, 16 - start + length), from.subarray(start, start + length)) !== 0)
          wrong.push(`copy${where}`);
        if (to[15 - start] !== 0xa5 || to[16 - start + length] !== 0xa5) wrong.push(`around${where}`);
        if (start < 4) check(`crc32${where}`, native.crc32(from, start, length), reference.crc32(from, start, length));
      }
    t.same(wrong.slice(0, 5), []);
  });

void t.test('what is no range is refused, and nothing read', async (t) => {
  const native = packetKernels();
  const bytes = new Uint8Array(100);
  for (const [start, length] of [
    [0, 101],
    [100, 1],
    [-1, 1],
    [0, -1],
    [2 ** 40, 1],
  ] as const) {
    t.throws(() => native.littleSum(bytes, start, length), RangeError, `${start}, ${length}`);
    t.throws(() => native.crc32(bytes, start, length), RangeError);
    t.throws(() => native.copyAndSum(bytes, start, new Uint8Array(200), 0, length), RangeError);
    t.throws(() => native.copyAndSum(new Uint8Array(200), 0, bytes, start, length), RangeError);
  }
  for (const value of [null, 'bytes', new Uint16Array(8), new ArrayBuffer(8)])
    t.throws(() => native.littleSum(value as never, 0, 1), TypeError);
  t.throws(() => native.littleSum(bytes, 'x' as never, 1), TypeError);
});

void t.test('models reach them for long ranges outside of an arena, and without throwing', async (t) => {
  const calls: string[] = [];
  const native = packetKernels();
  const spy = (name: 'littleSum' | 'crc32') => (bytes: Uint8Array, start: number, length: number) => {
    calls.push(`${name} ${length}`);
    return native[name](bytes, start, length);
  };
  const copyAndSum: typeof native.copyAndSum = (...range) => {
    calls.push(`copyAndSum ${range[4]}`);
    return native.copyAndSum(...range);
  };
  kernels.useNative({ littleSum: spy('littleSum'), crc32: spy('crc32'), copyAndSum });
  t.teardown(() => kernels.useNative(null));
  const elsewhere = Uint8Array.from({ length: 4096 }, (_, i) => i * 7);
  const arena = new Uint8Array(kernels.makeArena(4096));
  const sum = reference.littleSum(elsewhere, 3, 1514);
  t.equal(kernels.littleSum(elsewhere, 3, 1514), sum);
  t.equal(kernels.littleSum(elsewhere, 3, 60), reference.littleSum(elsewhere, 3, 60));
  t.equal(kernels.copyAndSum(elsewhere, 3, arena, 0, 1514), sum, 'WebAssembly sums what is in its memory');
  t.equal(kernels.copyAndSum(arena, 0, elsewhere, 2000, 1514), sum);
  t.equal(kernels.crc32(arena, 0, 1514), reference.crc32(arena, 0, 1514));
  t.same(calls, ['littleSum 1514', 'copyAndSum 1514', 'crc32 1514']);
  t.doesNotThrow(() => kernels.littleSum(elsewhere, 4000, 600));
  t.doesNotThrow(() => kernels.crc32(elsewhere, 4000, 600));
});
