/** Every model under Linux's own driver: what `fauxnic conformance MODEL` tries. */
import tap from 'tap';
import { MODELS, type Model } from '../../scripts/catalogue.ts';
import { BED_MODULES } from '../../scripts/conformance/bed.ts';
import { runTests } from '../../scripts/conformance/run.ts';
import { parts } from './parts.ts';

const LIMIT = 900_000; // milliseconds a model may take, on a busy machine; it takes some 100 s

tap.setTimeout(LIMIT * MODELS.length);
for (const model of MODELS)
  await tap.test(`sim:${model.name}`, { timeout: LIMIT }, async (t) => {
    for (const { name, result, detail } of await conformance(model)) t.equal(result, 'passed', `${name}: ${detail}`);
  });

async function conformance(model: Model) {
  return await runTests({ parts: await parts([model.linux, ...BED_MODULES]), subject: { kind: 'sim', model } });
}
