/**
 * Drivers, and what their frames are joined to, on cards that lie: nothing is thrown but a DeviceError, no work goes on
 * without end; and once the card tells the truth frames flow both ways, and every buffer is back in its pool.
 *
 * FAUXNIC_RUNS: how many cards, 100 by default; FAUXNIC_SEED: the seed of the first.
 */
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { Run } from './lying-run.ts';

const RUNS = Number(process.env.FAUXNIC_RUNS ?? 100);
const FIRST = Number(process.env.FAUXNIC_SEED ?? 1);

interface Result {
  readonly name: string;
  readonly error: string | null;
}

/** In a thread of its own: tap follows every promise of this one, which makes them six times as dear. */
async function runAll(): Promise<void> {
  for (let seed = FIRST; seed < FIRST + RUNS; seed++) {
    const run = new Run(seed);
    const error = await run.go().then(
      () => null,
      (error: unknown) => (error instanceof Error ? (error.stack ?? error.message) : String(error)),
    );
    parentPort!.postMessage({ name: `seed ${seed}: ${run.name}`, error } satisfies Result);
  }
}

async function report(): Promise<void> {
  const { t } = await import('tap');
  t.setTimeout(0); // as many as were asked for
  t.plan(RUNS);
  const worker = new Worker(new URL(import.meta.url));
  t.teardown(() => worker.terminate());
  worker.on('message', ({ name, error }: Result) => t.equal(error, null, name));
  worker.on('error', (error) => t.fail(`the thread: ${error.stack ?? error.message}`));
}

await (isMainThread ? report() : runAll());
