import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tap from 'tap';
import { MODELS } from '../../scripts/catalogue.ts';
import { asNobody, checkLane, fauxnic } from './lane.ts';

checkLane();
const LONG = process.env.FAUXNIC_LONG === '1';
const LIMIT = 300_000; // milliseconds a model may take, on a busy machine; it takes some 20 s

interface Report {
  readonly tests: readonly { readonly name: string; readonly result: string; readonly detail: string }[];
  readonly passed: number;
}

const folder = mkdtempSync(join(tmpdir(), 'fauxnic-uml-test-'));
tap.teardown(() => rmSync(folder, { recursive: true }));
/** Where root runs the tests, they are nobody's. */
const user = process.getuid?.() === 0 ? asNobody(folder) : {};

tap.setTimeout(LIMIT * MODELS.length);
for (const { name } of MODELS)
  void tap.test(
    `sim:${name}: Linux's own driver, in virtual time, as a user without rights`,
    { timeout: LIMIT },
    async (t) => {
      const { stdout, stderr } = await fauxnic(
        ['conformance', name, '--uml', '--json', ...(LONG ? ['--long'] : [])],
        user,
      );
      const { tests, passed } = JSON.parse(stdout || `{"tests":[],"passed":0}`) as Report;
      t.ok(passed > 20, stderr);
      for (const { name, result, detail } of tests) t.not(result, 'failed', `${name}: ${detail}`);
    },
  );
