/** How `make test` runs a file of tests, and ends one that gets no further, naming the test. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { runJob } from '../../scripts/job.ts';
import { familyOf } from '../../scripts/processes.ts';
import { Tally } from '../../scripts/tally.ts';

const folder = mkdtempSync(join(tmpdir(), 'fauxnic-job-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const TAP = createRequire(import.meta.url).resolve('tap');
const LIMITS = { stalled: 5000, silent: 600_000, last: 60_000 };

async function run(body: string, limits: Partial<typeof LIMITS> = {}) {
  const file = join(folder, 'it.test.mjs');
  writeFileSync(file, `import t from ${JSON.stringify(TAP)};\n${body}`);
  const tally = new Tally('it');
  const log = join(folder, 'log');
  const command = [process.execPath, file];
  await runJob(
    { name: 'it', command, interrupt: 'SIGALRM' },
    { cwd: folder, log, tally, limits: { ...LIMITS, ...limits } },
  );
  const { passed, failed, skipped, failures } = tally;
  return { passed, failed, skipped, failures: failures.join('\n'), log: readFileSync(log, 'utf8') };
}

const GOOD = "void t.test('good', (t) => t.end());\n";

void t.test('what it reports is counted, and what it prints is kept', async (t) => {
  const { passed, failed, skipped, log } = await run(
    `${GOOD}void t.test('left out', { skip: true });\nconsole.error('hm');`,
  );
  t.same([passed, failed, skipped], [1, 0, 1]);
  t.match(log, /^ok 1 - good/m);
  t.match(log, /^hm$/m);
});

void t.test('one that breaks outside of any test has failed', async (t) => {
  const { failed, failures } = await run("console.error('no wings'); process.exit(7);");
  t.equal(failed, 1);
  t.match(failures, /not ok it: it ended with 7\n {4}no wings$/);
});

void t.test('one that waits for what does not come is ended, and named; the others have run', async (t) => {
  const waits = "void t.test('waits', () => new Promise((resolve) => setTimeout(resolve, 1e9)));\n";
  const { passed, failed, failures } = await run(GOOD + waits + GOOD);
  t.same([passed, failed], [2, 1]);
  t.match(failures, /not ok waits/);
});

void t.test('one that works without end and without a word, too; and its children', async (t) => {
  const child = "import('node:child_process').then(({ spawn }) => { spawn('sleep', ['1000']); for (;;); });";
  const { failed, failures } = await run(`setTimeout(() => ${child.slice(0, -1)}, 1);`, { silent: 4000, last: 1000 });
  t.equal(failed, 1);
  t.match(failures, /not ok it: it said nothing for 4 s$/);
  t.equal(familyOf(process.pid).length, 1, 'nothing is left');
});
