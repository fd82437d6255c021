/**
 * `loop`: driver and model in one thread, against a C loop that does the same ring work (loop.c); and tg3's, against
 * e1000's of the same size.
 */
import { execFileSync } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import { E1000_CARD, openLoop, TG3_CARD } from './loop-rig.ts';
import { median, type Result, result } from './result.ts';
import { compile } from './yardstick.ts';

const RUNS = 5;
const SECONDS = 0.5;
const FCS = 4;

export async function bench(): Promise<Result[]> {
  const yardstick = compile('loop');
  const results: Result[] = [];
  for (const size of [64, 1500 + 14 + FCS]) {
    const length = size - FCS;
    const { round, close } = await openLoop(length);
    measure(round); // warm up
    // In turn, so that what else the machine does meets both alike.
    const rates = Array.from({ length: RUNS }, () => [measure(round), measureC(yardstick, length)] as const);
    await close();
    const name = `loop/${size === 64 ? 64 : 1500}`;
    results.push(
      result(name, median(rates.map(([ours]) => ours)), 'frames/s', median(rates.map(([, theirs]) => theirs))),
    );
  }
  results.push(await benchTg3());
  return results;
}

async function benchTg3(): Promise<Result> {
  const tg3 = await openLoop(64 - FCS, TG3_CARD);
  const e1000 = await openLoop(64 - FCS, E1000_CARD);
  for (const { round } of [tg3, e1000]) measure(round); // warm up
  const rates = Array.from({ length: RUNS }, () => [measure(tg3.round), measure(e1000.round)] as const);
  for (const { close } of [tg3, e1000]) await close();
  return result('loop/tg3', median(rates.map(([ours]) => ours)), 'frames/s', median(rates.map(([, theirs]) => theirs)));
}

function measure(round: () => number): number {
  const start = performance.now();
  let frames = 0;
  let elapsed = 0;
  while (elapsed < SECONDS * 1000) {
    for (let i = 0; i < 200; i++) frames += round();
    elapsed = performance.now() - start;
  }
  return Math.round((frames / elapsed) * 1000);
}

function measureC(binary: string, length: number): number {
  return Number(execFileSync(binary, [String(length), String(SECONDS)], { encoding: 'utf8' }));
}
