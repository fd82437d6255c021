/** The page on a card of one's own: its code, typed in, compiled, and run. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { execa } from 'execa';

const root = dirname(fileURLToPath(new URL('../../../package.json', import.meta.url)));
const page = readFileSync(join(root, 'docs/new-chip.md'), 'utf8');
const folder = mkdtempSync(join(tmpdir(), 'fauxnic-new-chip-'));
test.after.always(() => rmSync(folder, { recursive: true }));

/** The page's blocks by file, those of one file behind one another. */
function files(): Map<string, string> {
  const found = new Map<string, string>();
  for (const [, name, code] of page.matchAll(/```js\n\/\/ (\S+)\n([\s\S]*?)```/g))
    found.set(name!, (found.get(name!) ?? '') + code!);
  return found;
}

test.before(() => {
  for (const [name, code] of files()) writeFileSync(join(folder, name), code);
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules/fauxnic'));
  symlinkSync(join(root, 'node_modules/@types'), join(folder, 'node_modules/@types'));
});

const run = (file: string, ...args: string[]) =>
  execa(process.execPath, [file, ...args], { cwd: folder, reject: false });
const fauxnic = (...args: string[]) => run(join(root, 'dist/scripts/fauxnic.js'), ...args);

test('it compiles', async (t) => {
  const flags = [
    '--allowJs',
    '--checkJs',
    '--noEmit',
    '--strict',
    '--skipLibCheck',
    '--types',
    'node',
    '--module',
    'nodenext',
    '--target',
    'es2023',
  ];
  const { stdout, exitCode } = await run(join(root, 'node_modules/typescript/bin/tsc'), ...flags, ...files().keys());
  t.is(exitCode, 0, stdout);
});

test('it runs, and prints what the page says', async (t) => {
  const { stdout, stderr } = await run('try.js');
  t.is(stderr, '');
  t.true(page.includes(`$ node try.js\n${stdout}\n`), stdout);
});

for (const module of ['my-card', 'my-family'])
  test(`the commands have it: ${module}`, async (t) => {
    const { stdout, stderr, exitCode } = await fauxnic('devices', `./${module}.js`, '--json');
    t.is(exitCode, 0, stderr);
    const { models } = JSON.parse(stdout) as { models: { name: string; chip: string }[] };
    t.true(models.some(({ chip }) => chip === 'MY1'));
  });
