/**
 * The models under attack: random operations on each, with guards around all that a card may write. What was found once is in
 * corpus/models.json, and is tried first.
 *
 *     FAUXNIC_OPERATIONS=10000000 FAUXNIC_SEED=7 npx tap --disable-coverage --timeout=0 dist/test/fuzz/models.test.js
 */
import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import t from 'tap';
import { Prng } from '../../sim/wire/prng.ts';
import { E1000Scene } from './e1000-scene.ts';
import { MOST_WORK, type Operation, type Scene } from './scene.ts';
import { Tg3Scene } from './tg3-scene.ts';

const MODELS: Record<string, () => Scene> = {
  e1000: () => new E1000Scene(),
  tg3: () => new Tg3Scene('tg3'),
  'tg3-5751': () => new Tg3Scene('tg3-5751'),
};
const OPERATIONS = Number(process.env.FAUXNIC_OPERATIONS ?? 400_000); // on each model
const SEED = Number(process.env.FAUXNIC_SEED ?? 1);
const RUN = 2000; // operations on one card
const EVERY = 16; // operations between two looks at all guards

interface Found {
  readonly model: string;
  readonly what: string;
  readonly operations: Operation[];
}

const corpus = JSON.parse(
  readFileSync(new URL('../../../test/fuzz/corpus/models.json', import.meta.url), 'utf8'),
) as Found[];

void t.test('what was found before', async (t) => {
  for (const { model, what, operations } of corpus) t.equal(play(MODELS[model]!(), operations), '', what);
});

for (const [model, make] of Object.entries(MODELS)) {
  void t.test(`${OPERATIONS} random operations on ${model}, seed ${SEED}`, async (t) => {
    const dearest = { work: 0, ns: 0 };
    for (let run = 0; run * RUN < OPERATIONS; run++) {
      const seed = SEED * 1_000_000 + run;
      const operations = random(seed, Math.min(RUN, OPERATIONS - run * RUN));
      const what = play(make(), operations, dearest);
      if (what === '') continue;
      const few = shorten(make, operations);
      t.fail(`seed ${seed}: ${what}`, { corpus: JSON.stringify({ model, what, operations: few }) });
      return;
    }
    t.ok(dearest.work <= MOST_WORK);
    t.comment(`the dearest: ${dearest.work} units of work of ${MOST_WORK}, ${(dearest.ns / 1e6).toFixed(1)} ms`);
  });
}

function random(seed: number, count: number): Operation[] {
  const prng = new Prng(seed);
  return Array.from({ length: count }, () => [prng.next() & 0xff, prng.next(), prng.next(), prng.next()] as const);
}

/** What went wrong, or ''. */
function play(scene: Scene, operations: readonly Operation[], dearest = { work: 0, ns: 0 }): string {
  for (const [i, operation] of operations.entries()) {
    const start = performance.now();
    const what = attempt(scene, operation, i % EVERY === EVERY - 1 || i === operations.length - 1);
    dearest.ns = Math.max(dearest.ns, (performance.now() - start) * 1e6);
    dearest.work = Math.max(dearest.work, scene.card.work);
    if (what !== '') return what;
  }
  return '';
}

function attempt(scene: Scene, operation: Operation, check: boolean): string {
  try {
    return scene.do(operation, check);
  } catch (error) {
    return `thrown: ${(error as Error).stack}`;
  }
}

/** Leaves out what is not needed to fail. */
function shorten(make: () => Scene, operations: readonly Operation[]): readonly Operation[] {
  let few = operations;
  for (let part = Math.ceil(few.length / 2); part >= 1; part = Math.floor(part / 2)) {
    for (let at = 0; at < few.length; ) {
      const fewer = [...few.slice(0, at), ...few.slice(at + part)];
      if (play(make(), fewer) !== '') few = fewer;
      else at += part;
    }
  }
  return few;
}
