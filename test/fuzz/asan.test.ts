/** The addon's own tests once more, with an addon that AddressSanitizer watches. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { enterNamespace } from '../native/lane.ts';

enterNamespace(import.meta.url);
const { t } = await import('tap');
t.setTimeout(0); // nothing here is heard of while it runs

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const build = here('../../native/asan.mjs').replace('/dist/native/', '/native/');
const { status, stdout, stderr } = spawnSync(process.execPath, [build], { encoding: 'utf8' });
const why = status === 0 ? null : `it cannot be built: ${stderr.trim().split('\n').at(-1)}`;
const skip = process.env.FAUXNIC_LANES === 'all' ? false : (why ?? false);
if (why !== null && skip === false) t.fail(why);
const watched = Object.fromEntries(
  stdout
    .trim()
    .split('\n')
    .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
);

for (const name of ['addon', 'registers', 'tap', 'vfio-user-loop'])
  await t.test(name, { skip }, (t) => {
    const env = { ...process.env, ...watched };
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, [here(`../native/${name}.test.js`)], {
      encoding: 'utf8',
      env,
      maxBuffer: 1 << 26,
    });
    t.notMatch(stderr, /AddressSanitizer/);
    t.same(
      { status, signal },
      { status: 0, signal: null },
      status === 0 ? name : `${stdout.slice(-4000)}${stderr.slice(-4000)}`,
    );
    t.end();
  });
