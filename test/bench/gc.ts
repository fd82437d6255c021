/**
 * `gc`: scavenges per million packets in steady state. The yardstick is the same traffic where each packet leaves one small
 * typed-array view behind, as code that slices its buffers does.
 */
import { constants, PerformanceObserver } from 'node:perf_hooks';
import { setImmediate } from 'node:timers/promises';
import { openLoop } from './loop-rig.ts';
import { type Result, result } from './result.ts';

const MILLION = 1_000_000;
const MEMORY = new Uint8Array(4096);

export async function bench(): Promise<Result[]> {
  const { round, close } = await openLoop(60);
  const views: Uint8Array[] = new Array(64).fill(MEMORY);
  const slicing = () => {
    const received = round();
    for (let i = 0; i < received; i++) views[i] = MEMORY.subarray(0, 60);
    return received;
  };
  await scavenges(round, MILLION); // warm up: compilation itself allocates
  const ours = (await scavenges(round, 10 * MILLION)) / 10;
  const theirs = await scavenges(slicing, MILLION);
  await close();
  return [result('gc', ours, 'scavenges/Mpacket', theirs)];
}

async function scavenges(round: () => number, packets: number): Promise<number> {
  let count = 0;
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { kind } = (entry as unknown as { detail: { kind: number } }).detail;
      if (kind === constants.NODE_PERFORMANCE_GC_MINOR) count++;
    }
  });
  observer.observe({ entryTypes: ['gc'] });
  for (let done = 0; done < packets; ) done += round();
  await setImmediate(); // entries are delivered from the event loop
  await setImmediate();
  observer.disconnect();
  return count;
}
