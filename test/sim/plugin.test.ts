/** Families from outside the repository, as the command takes them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { execa } from 'execa';
import { pluginsIn } from '../../scripts/families/plugin.ts';

const command = fileURLToPath(new URL('../../scripts/fauxnic.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'fauxnic-plugin-'));
test.after.always(() => rmSync(folder, { recursive: true }));

const fauxnic = (...args: string[]) => execa(process.execPath, [command, ...args], { cwd: folder, reject: false });

function written(name: string, source: string): string {
  writeFileSync(join(folder, name), source);
  return `./${name}`;
}

const MODEL = `{ name: 'my-card', chip: 'MY1', id: '1234:0001', registers: {}, configuration: {}, make() {} }`;

test('modules are found among the words of a command line, and nothing else is', (t) => {
  t.deepEqual(pluginsIn(['drive', './my-card.js', '--generate']), ['./my-card.js']);
  t.deepEqual(pluginsIn(['vm', '--nic', 'sim:../a/card.mjs', '--', 'node', './inside.js']), ['../a/card.mjs']);
  t.deepEqual(pluginsIn(['diff', '/a/one.ts', '/a/one.ts']), ['/a/one.ts']);
  t.deepEqual(pluginsIn(['drive', 'sim:e1000', '--pcap', './odd.js', '--trace', 'x.js']), []);
});

for (const [about, name, source] of [
  ['a family', 'family.mjs', `export default { name: 'mine', models: [${MODEL}] };`],
  ['a single model', 'single.mjs', `export default ${MODEL};`],
] as const)
  test(`${about} is in the lists`, async (t) => {
    const { stdout, exitCode } = await fauxnic('devices', written(name, source), '--json');
    t.is(exitCode, 0);
    const { models } = JSON.parse(stdout) as { models: { name: string; drivers: string[] }[] };
    t.like(
      models.find((model) => model.name === 'my-card'),
      { chip: 'MY1', id: '1234:0001', drivers: [] },
    );
  });

const REFUSED: readonly (readonly [about: string, source: string, says: RegExp])[] = [
  ['it throws', `throw new Error('two\\nlines');`, /cannot be loaded: two; lines/],
  ['no JavaScript', 'this is none', /cannot be loaded: Unexpected/],
  ['nothing exported', 'export const model = 1;', /default export is neither a family nor a model/],
  ['no name', 'export default { models: [] };', /has no name/],
  ['empty', `export default { name: 'mine' };`, /neither a model nor a driver/],
  ['no list', `export default { name: 'mine', models: 5 };`, /models is no list/],
  ['a member lacks', `export default { name: 'mine', models: [{ name: 'x' }] };`, /models\[0\] lacks chip \(string/],
  ['null', `export default { name: 'mine', models: [null] };`, /models\[0\] lacks name/],
  ['half a driver', `export default { name: 'mine', models: [], driver: {} };`, /driver lacks cards/],
  ['a name that is taken', `export default { name: 'tg3', models: [${MODEL}] };`, /there is a tg3 already/],
];
for (const [index, [about, source, says]] of REFUSED.entries())
  test(`refused in one line: ${about}`, async (t) => {
    const path = written(`refused-${index}.mjs`, source);
    const { stderr, exitCode } = await fauxnic('serve', path, '--socket', 'never');
    t.is(exitCode, 2);
    t.regex(stderr, says);
    t.true(stderr.startsWith(`fauxnic: ${path}: `));
    t.is(stderr.split('\n').length, 1);
  });

test('a model without a driver: served, but not driven, and that is said', async (t) => {
  const path = written('undriven.mjs', `export default ${MODEL};`);
  const { stderr, exitCode } = await fauxnic('drive', path, '--generate');
  t.is(exitCode, 2);
  t.regex(stderr, /my-card has no driver here/);
  const conformance = await fauxnic('conformance', path, '--list');
  t.regex(conformance.stderr, /names no driver of Linux's/);
});
