/** `kernels`: what touches every byte of a frame, in an arena and in other memory, against the reference in TypeScript. */
import { performance } from 'node:perf_hooks';
import { available, packetKernels } from '../../native/index.ts';
import * as kernels from '../../sim/kernels/index.ts';
import * as reference from '../../sim/kernels/reference.ts';
import { median, type Result, result } from './result.ts';

const RUNS = 9;
const CALLS = 100_000;
const BUFFERS = 64;
const STRIDE = 2048;
const HALF = BUFFERS * STRIDE;

type Call = (at: number, length: number) => number;

export async function bench(): Promise<Result[]> {
  if (available().ok) kernels.useNative(packetKernels());
  const plain = new Uint8Array(2 * HALF).map((_, i) => i * i);
  const inArena = new Uint8Array(kernels.makeArena(2 * HALF));
  inArena.set(plain);
  const other = new Uint8Array(HALF);
  const copyThenSum = (from: Uint8Array, at: number, to: Uint8Array, toAt: number, length: number) => {
    reference.copyBytes(from, at, to, toAt, length);
    return reference.littleSum(to, toAt, length);
  };
  const pairs: Readonly<Record<string, readonly [Call, Call]>> = {
    sum: [
      (at, length) => kernels.littleSum(inArena, at, length),
      (at, length) => reference.littleSum(plain, at, length),
    ],
    'copy+sum': [
      (at, length) => kernels.copyAndSum(inArena, at, inArena, HALF + at, length),
      (at, length) => copyThenSum(plain, at, plain, HALF + at, length),
    ],
    'guest-copy+sum': [
      (at, length) => kernels.copyAndSum(plain, at, other, at, length),
      (at, length) => copyThenSum(plain, at, other, at, length),
    ],
    crc: [(at, length) => kernels.crc32(plain, at, length), (at, length) => reference.crc32(plain, at, length)],
  };
  return Object.entries(pairs).flatMap(([name, [ours, theirs]]) =>
    [60, 1514].map((length) => {
      const rates = Array.from({ length: RUNS }, () => [rate(ours, length), rate(theirs, length)] as const);
      return result(
        `kernels/${name}/${length}`,
        median(rates.map(([value]) => value)),
        'calls/s',
        median(rates.map(([, value]) => value)),
      );
    }),
  );
}

function rate(call: Call, length: number): number {
  const start = performance.now();
  let sums = 0;
  for (let i = 0; i < CALLS; i++) sums += call((i % BUFFERS) * STRIDE, length);
  if (Number.isNaN(sums)) throw new Error('a sum is no number');
  return Math.round((CALLS / (performance.now() - start)) * 1000);
}
