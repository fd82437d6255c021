/**
 * `latency`: 100,000 times a second a frame is due; from then until the driver at the other end has handed it up, against a
 * C loop that keeps the same timetable (latency.c).
 */
import { execFileSync } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import { Histogram } from '../../drivers/join/histogram.ts';
import { openLoop } from './loop-rig.ts';
import { type Result, result } from './result.ts';
import { compile } from './yardstick.ts';

const PERIOD = 0.01; // milliseconds: 100 kpps
const SECONDS = 5;
const POINTS = [
  ['p50', 50],
  ['p99', 99],
  ['p99.99', 99.99],
  ['max', 100],
] as const;

export async function bench(): Promise<Result[]> {
  const { round, close } = await openLoop(60);
  timetable(round, 1); // warm up
  const ours = timetable(round, SECONDS);
  await close();
  const theirs = execFileSync(compile('latency'), [String(SECONDS)], { encoding: 'utf8' })
    .trim()
    .split(' ')
    .map(Number);
  return POINTS.map(([name, percent], i) => result(`latency/${name}`, ours.percentile(percent), 'ns', theirs[i]!));
}

function timetable(round: (batch?: number) => number, seconds: number): Histogram {
  const histogram = new Histogram();
  const frames = (seconds * 1000) / PERIOD;
  const start = performance.now();
  for (let i = 0; i < frames; i++) {
    const due = start + i * PERIOD;
    while (performance.now() < due);
    if (round(1) !== 1) throw new Error('a frame was lost');
    histogram.record((performance.now() - due) * 1e6);
  }
  return histogram;
}
