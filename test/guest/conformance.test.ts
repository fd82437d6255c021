/** Every model under Linux's own driver: what `fauxnic conformance MODEL` tries. */
import { availableParallelism } from 'node:os';
import tap from 'tap';
import { MODELS } from '../../scripts/catalogue.ts';
import { BED_MODULES } from '../../scripts/conformance/bed.ts';
import { runTests } from '../../scripts/conformance/run.ts';
import type { GuestParts } from '../../vm/parts.ts';
import { parts } from './parts.ts';

const LIMIT = 900_000; // milliseconds a model may take, on a busy machine; it takes some 100 s
/** A guest waits more than it works: it leaves 40 % of a processor idle. */
const AT_ONCE = Math.min(2, availableParallelism());

const guests = new Map<string, GuestParts>();
for (const linux of new Set(MODELS.map(({ linux }) => linux))) guests.set(linux, await parts([linux, ...BED_MODULES]));

tap.setTimeout(LIMIT * MODELS.length);
tap.jobs = AT_ONCE;
for (const model of MODELS)
  void tap.test(`sim:${model.name}`, { timeout: LIMIT, buffered: true }, async (t) => {
    const results = await runTests({ parts: guests.get(model.linux)!, subject: { kind: 'sim', model } });
    for (const { name, result, detail } of results) t.equal(result, 'passed', `${name}: ${detail}`);
  });
