/** A model under Linux's own driver: what `fauxnic conformance MODEL` tries. */
import tap from 'tap';
import { findModel, linuxDriverOf } from '../../scripts/catalogue.ts';
import { BED_MODULES } from '../../scripts/conformance/bed.ts';
import { runTests } from '../../scripts/conformance/run.ts';
import { parts } from './parts.ts';

export async function conforms(name: string): Promise<void> {
  const model = findModel(name);
  const guest = await parts([linuxDriverOf(model).module, ...BED_MODULES]);
  await tap.test(`sim:${name}`, async (t) => {
    const beginning = (test: { readonly name: string }) => t.comment(test.name);
    const results = await runTests({ bed: { ...guest, subject: { kind: 'sim', model } }, beginning });
    for (const { name, result, detail } of results) t.equal(result, 'passed', `${name}: ${detail}`);
  });
}
