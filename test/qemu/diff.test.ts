/** fauxnic diff: our model and QEMU's card in lockstep. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { E1000_LOCKSTEP } from '../../scripts/families/e1000/lockstep/index.ts';
import { lockstep } from '../../scripts/lockstep/lockstep.ts';
import { openModel, openSide } from '../../scripts/lockstep/side.ts';
import type { Side } from '../../scripts/lockstep/step.ts';
import { E1000 } from '../../sim/e1000/i82540em.ts';
import { I82540EM } from '../../sim/e1000/registers.ts';
import { qemuOrSkip } from '../util/qemu-lane.ts';

await qemuOrSkip();

const { AIFS, GPRC } = I82540EM.r;
const STEPS = 300;

async function diff(one: Side, seed: number) {
  const other = await openSide('qemu:e1000');
  try {
    return await lockstep(E1000_LOCKSTEP, [one, other], I82540EM, E1000_LOCKSTEP.script(seed, STEPS));
  } finally {
    one.close();
    other.close();
  }
}

for (const seed of [1, 2]) {
  void t.test(`the 82540EM's model and QEMU's e1000 differ as known, and in nothing else: seed ${seed}`, async (t) => {
    const { difference, known, compared } = await diff(await openSide('e1000'), seed);
    t.equal(difference, null);
    t.ok(compared > 2000);
    t.ok(known.length > 15, 'and the list is no longer than it need be');
  });
}

/** A model with something wrong. */
const planted = (spoil: (model: E1000) => void) =>
  openModel({
    name: 'planted',
    make: (host, options) => {
      const model = new E1000(host, options);
      spoil(model);
      return model;
    },
  });

void t.test('a counter that does not count is found, by its name', async (t) => {
  const { difference } = await diff(
    planted((model) => model.registers.onRead(GPRC, () => 0)),
    1,
  );
  t.equal(difference?.what, 'GPRC');
  t.match(difference?.values[0], /^0x00000000/);
  t.equal(difference?.steps.at(-1), 'read GPRC');
});

void t.test('a register of which QEMU has none is not excused where neither reads 0', async (t) => {
  const side = planted((model) => model.registers.onRead(AIFS, () => 5));
  const other = planted((model) => model.registers.onRead(AIFS, () => 6));
  const { difference } = await lockstep(E1000_LOCKSTEP, [side, other], I82540EM, E1000_LOCKSTEP.script(1, 0));
  t.equal(difference?.what, 'AIFS');
  for (const it of [side, other]) it.close();
});

void t.test('what our driver does, recorded on the model, is the same on QEMU’s card but for what is known', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'fauxnic-diff-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const trace = join(folder, 'run.trace');
  const run = (...args: string[]) =>
    spawnSync(process.execPath, ['dist/scripts/fauxnic.js', ...args], { encoding: 'utf8' });
  t.equal(run('drive', 'sim:e1000', '--generate', '--count', '20', '--trace', trace).status, 0);
  const { status, stdout, stderr } = run('diff', 'e1000', 'qemu:e1000', '--script', trace);
  t.equal(status, 0, stderr);
  t.match(stdout, /^alike: \d{3} values in \d{3} steps of /);
  t.end();
});

void t.test('the command: JSON, and 1 where an unknown difference was found', (t) => {
  const run = (...args: string[]) =>
    spawnSync(process.execPath, ['dist/scripts/fauxnic.js', 'diff', ...args, '--steps', '50', '--json'], {
      encoding: 'utf8',
    });
  const alike = run('e1000', 'qemu:e1000', '--seed', '9');
  t.equal(alike.status, 0, alike.stderr);
  const { cards, seed, difference } = JSON.parse(alike.stdout) as { cards: string[]; seed: number; difference: null };
  t.same([cards, seed, difference], [['sim:e1000', 'qemu:e1000'], 9, null]);
  const other = run('e1000', 'qemu:e1000e');
  t.equal(other.status, 1);
  t.type(JSON.parse(other.stdout).difference.what, 'string');
  const wrong = run('e1000', 'qemu:');
  t.equal(wrong.status, 2);
  t.match(wrong.stderr, /As in qemu:e1000/);
  t.end();
});
