/** The packet kernels: every implementation gives the reference's results, wherever a range begins and however long it is. */
import { execFileSync } from 'node:child_process';
import test from 'ava';
import * as kernels from '../../sim/kernels/index.ts';
import * as reference from '../../sim/kernels/reference.ts';
import { MOST, simdOf } from '../../sim/kernels/simd.ts';
import { Prng } from '../../sim/wire/prng.ts';

const SIZE = 4 * MOST;
const TARGET = 2 * MOST;
const LENGTHS = [...Array.from({ length: 2101 }, (_, length) => length), 9018, 16288, 65534, 65535, MOST];
const prng = new Prng(7);

const CONTENTS: Readonly<Record<string, (at: number) => number>> = {
  random: () => prng.next() & 0xff,
  zeros: () => 0,
  ones: () => 0xff,
  'ones and a zero': (at) => (at % 61 === 60 ? 0 : 0xff),
};

/** An arena and an ordinary array with the same in both. */
function twins(content: (at: number) => number) {
  const arena = new Uint8Array(kernels.makeArena(SIZE));
  for (let at = 0; at < MOST + 64; at++) arena[at] = content(at);
  return { arena, plain: arena.slice() };
}

for (const [name, content] of Object.entries(CONTENTS))
  test(`sums and copies of ${name} are the reference's at every alignment and length`, (t) => {
    const { arena, plain } = twins(content);
    const simd = simdOf(arena.buffer)!;
    const wrong: string[] = [];
    for (const length of LENGTHS)
      for (let start = 0; start < 16; start++) {
        const expected = reference.littleSum(plain, start, length);
        const to = TARGET + ((start * 7 + length) & 15);
        const sums = {
          sum: simd.sum(start, length),
          littleSum: kernels.littleSum(arena, start, length),
          copyAndSum: simd.copyAndSum(start, to, length),
          elsewhere: kernels.copyAndSum(plain, start, arena, to, length),
        };
        for (const [how, sum] of Object.entries(sums))
          if (sum !== expected) wrong.push(`${how}(${start}, ${length}): ${sum}, not ${expected}`);
      }
    t.deepEqual(wrong.slice(0, 5), []);
  });

test('copies move these bytes and no others', (t) => {
  const { arena } = twins(CONTENTS.random!);
  const simd = simdOf(arena.buffer)!;
  const copies = {
    copy: simd.copy,
    copyAndSum: simd.copyAndSum,
    copyBytes: (at: number, to: number, length: number) => kernels.copyBytes(arena, at, arena, to, length),
    both: (at: number, to: number, length: number) => kernels.copyAndSum(arena, at, arena, to, length),
  };
  const guard = 32;
  for (const [how, copy] of Object.entries(copies))
    for (const length of LENGTHS)
      for (const [at, to] of [
        [0, 0],
        [3, 8],
        [13, 1],
        [(length * 5) & 15, (length * 11) & 15],
      ] as const) {
        const from = TARGET + guard + to;
        arena.fill(0xa5, from - guard, from + length + guard);
        copy(at, from, length);
        const target = Buffer.from(arena.subarray(from - guard, from + length + guard));
        const intact =
          target.subarray(0, guard).every((byte) => byte === 0xa5) &&
          target.subarray(guard, guard + length).equals(arena.subarray(at, at + length)) &&
          target.subarray(guard + length).every((byte) => byte === 0xa5);
        if (!intact) return t.fail(`${how}(${at}, ${to}, ${length})`);
      }
  t.pass();
});

test('ranges that overlap end up as the reference leaves them', (t) => {
  for (const distance of [-200, -16, -1, 1, 8, 33])
    for (const length of [17, 64, 300, 1500]) {
      const { arena, plain } = twins(CONTENTS.random!);
      const sum = kernels.copyAndSum(arena, 1000, arena, 1000 + distance, length);
      t.is(kernels.copyAndSum(plain, 1000, plain, 1000 + distance, length), sum);
      kernels.copyBytes(arena, 3000, arena, 3000 + distance, length);
      kernels.copyBytes(plain, 3000, plain, 3000 + distance, length);
      t.true(Buffer.from(arena).equals(plain), `${distance}, ${length}`);
    }
});

test('a view of an arena is summed where it begins, and not past its end', (t) => {
  const { arena } = twins(CONTENTS.random!);
  const view = arena.subarray(101, 401);
  t.is(kernels.littleSum(view, 7, 200), reference.littleSum(arena, 108, 200));
  t.is(kernels.littleSum(view, 250, 100), reference.littleSum(view, 250, 100));
});

test('longer ranges than a call of WebAssembly takes', (t) => {
  const { arena, plain } = twins(CONTENTS.ones!);
  t.is(kernels.littleSum(arena, 1, MOST + 33), reference.littleSum(plain, 1, MOST + 33));
  t.is(kernels.copyAndSum(arena, 0, arena, TARGET, MOST + 1), kernels.copyAndSum(plain, 0, plain, TARGET, MOST + 1));
  t.true(Buffer.from(arena).equals(plain));
});

test('an array whose memory was given away is summed as the reference sums it', (t) => {
  const bytes = new Uint8Array(100).fill(1);
  kernels.littleSum(bytes, 0, 64);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  t.is(bytes.length, 0);
  t.is(kernels.littleSum(bytes, 0, 0), 0);
  t.notThrows(() => kernels.copyAndSum(bytes, 0, new Uint8Array(64), 0, 0));
});

const RESULTS = `
  const kernels = await import(${JSON.stringify(new URL('../../sim/kernels/index.js', import.meta.url).href)});
  const bytes = new Uint8Array(kernels.makeArena(8192));
  for (let i = 0; i < 4096; i++) bytes[i] = i * i * 31;
  const results = [];
  for (let length = 0; length < 2000; length += 37)
    results.push(kernels.littleSum(bytes, length & 15, length), kernels.copyAndSum(bytes, 1, bytes, 4100, length));
  console.log(JSON.stringify({ why: kernels.whyNoSimd, results }));
`;

test('without WebAssembly the reference does it, and says so', (t) => {
  const run = (...flags: string[]) =>
    JSON.parse(
      execFileSync(process.execPath, [...flags, '--input-type=module', '-e', RESULTS], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }),
    ) as { why: string | null; results: number[] };
  const [quick, plain] = [run(), run('--jitless', '--no-warnings')]; // without a compiler there is no WebAssembly either
  t.is(quick.why, null);
  t.is(plain.why, 'no WebAssembly');
  t.deepEqual(plain.results, quick.results);
});
