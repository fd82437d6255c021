import tap from 'tap';
import { MODELS } from '../../scripts/catalogue.ts';
import { checkLane, fauxnic } from './lane.ts';

checkLane();
const NOBODY = 65534;
const LONG = process.env.FAUXNIC_LONG === '1';
const LIMIT = 300_000; // milliseconds a model may take, on a busy machine; it takes some 20 s

interface Report {
  readonly tests: readonly { readonly name: string; readonly result: string; readonly detail: string }[];
  readonly passed: number;
}

tap.setTimeout(LIMIT * MODELS.length);
for (const { name } of MODELS)
  void tap.test(
    `sim:${name}: Linux's own driver, in virtual time, as a user without rights`,
    { timeout: LIMIT },
    async (t) => {
      const user = process.getuid?.() === 0 ? NOBODY : undefined;
      const { stdout, stderr } = await fauxnic(['conformance', name, '--uml', '--json', ...(LONG ? ['--long'] : [])], {
        user,
      });
      const { tests, passed } = JSON.parse(stdout || `{"tests":[],"passed":0}`) as Report;
      t.ok(passed > 20, stderr);
      for (const { name, result, detail } of tests) t.not(result, 'failed', `${name}: ${detail}`);
    },
  );
