/** A QEMU that dies, a kernel that is none, a module that is missing: one line, and nothing left behind. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import tap, { type Test } from 'tap';
import { MODELS } from '../../scripts/catalogue.ts';
import { BED_MODULES } from '../../scripts/conformance/bed.ts';
import { runTests } from '../../scripts/conformance/run.ts';
import { testsOf } from '../../scripts/conformance/tests.ts';
import { E1000_LOCKSTEP } from '../../scripts/families/e1000/lockstep/index.ts';
import { lockstep } from '../../scripts/lockstep/lockstep.ts';
import { openModel, openSide } from '../../scripts/lockstep/side.ts';
import { I82540EM } from '../../sim/e1000/registers.ts';
import type { QemuDevice } from '../../vm/qtest/device.ts';
import { fakeQemu } from '../util/fake-qemu.ts';
import { until } from '../util/until.ts';
import { parts as partsWith } from './parts.ts';

const parts = await partsWith(['e1000', ...BED_MODULES]);
const command = fileURLToPath(new URL('../../scripts/fauxnic.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'fauxnic-dying-'));
tap.teardown(() => rmSync(folder, { recursive: true }));

const quoted = parts.qemu.command.map((word) => `'${word}'`).join(' ');
const pidFile = join(folder, 'pid');
/** The real one, which leaves its number. */
const real = fakeQemu(folder, 'real', {
  help: `exec ${quoted} "$@"`,
  machine: `echo $$ > ${pidFile}.new; mv ${pidFile}.new ${pidFile}; exec ${quoted} "$@"`,
});

let runs = 0;
/** The command, with temporary files and a ledger that are its own. */
function fauxnic(args: readonly string[], qemu: string) {
  const place = join(folder, String(runs++));
  mkdirSync(place);
  rmSync(pidFile, { force: true });
  const env = { FAUXNIC_QEMU: qemu, TMPDIR: place };
  const child = execa(process.execPath, [command, ...args], {
    env,
    reject: false,
    forceKillAfterDelay: false,
    stdin: 'ignore',
  });
  return { child, left: () => readdirSync(place) };
}

async function qemuPid(): Promise<number> {
  await until(() => existsSync(pidFile), 'QEMU');
  return Number(readFileSync(pidFile, 'utf8'));
}

const VM = ['vm', '--accel', 'tcg'];
const DIFF = ['diff', 'e1000', 'qemu:e1000', '--steps', '50'];
const CONFORMANCE = ['conformance', 'e1000', '--no-beside'];
const KILLED = 'it was killed \\(SIGKILL\\)';
const BEFORE = 'the guest ended before it started the command: ';

async function fails(t: Test, { child, left }: ReturnType<typeof fauxnic>, says: RegExp, code = 1): Promise<void> {
  const { stderr, stdout, exitCode } = await child;
  const lines = stderr.split('\n').filter((line) => !line.startsWith('  ')); // what the guest's kernel said is set off
  t.equal(exitCode, code, stderr);
  t.equal(lines.length, 1, stderr);
  t.match(lines[0], says);
  t.equal(stdout, '');
  t.same(left(), [], 'nothing is left');
}

const machines: Record<string, { readonly machine: string; readonly why: string }> = {
  'is killed at once': { machine: 'kill -KILL $$', why: KILLED },
  refuses: { machine: 'echo "qemu-system-x86_64: no memory" >&2; exit 1', why: 'no memory' },
  'fails and says nothing': { machine: 'exit 7', why: 'it ended with 7' },
};
for (const [what, { machine, why }] of Object.entries(machines))
  void tap.test(`a QEMU that ${what}`, async (t) => {
    const path = fakeQemu(folder, 'fake', { machine });
    await fails(t, fauxnic([...VM, '--nic', 'sim:e1000', 'true'], path), new RegExp(`^fauxnic: ${BEFORE}${why}$`));
    await fails(t, fauxnic(CONFORMANCE, path), new RegExp(`^fauxnic: ${BEFORE}${why}$`));
    await fails(t, fauxnic(DIFF, path), new RegExp(`^fauxnic: qemu:e1000: QEMU did not start: ${why}$`));
  });

void tap.test('a QEMU that is killed while it boots', async (t) => {
  for (const args of [[...VM, '--nic', 'sim:e1000', 'true'], CONFORMANCE]) {
    const run = fauxnic(args, real);
    process.kill(await qemuPid(), 'SIGKILL');
    await fails(t, run, new RegExp(`^fauxnic: ${BEFORE}${KILLED}$`));
  }
});

void tap.test('a QEMU that is killed while a command runs in it', async (t) => {
  const run = fauxnic([...VM, '--nic', 'sim:e1000', '--nic', 'sim:e1000', 'echo going; sleep 1000'], real);
  for await (const line of run.child) if (line === 'going') process.kill(await qemuPid(), 'SIGKILL');
  const { stderr, exitCode } = await run.child;
  t.equal(exitCode, 1);
  t.match(stderr, new RegExp(`^fauxnic: the guest ended while the command was running: ${KILLED}$`, 'm'));
  t.same(run.left(), []);
});

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGKILL', undefined],
] as const)
  void tap.test(`fauxnic vm itself: ${signal}`, async (t) => {
    const run = fauxnic([...VM, '--nic', 'sim:e1000', 'echo going; sleep 1000'], real);
    for await (const line of run.child) if (line === 'going') run.child.kill(signal);
    t.equal((await run.child).exitCode, code);
    const pid = await qemuPid();
    await until(() => !existsSync(`/proc/${pid}`), "QEMU's end");
    if (signal !== 'SIGKILL') t.same(run.left(), []);
  });

void tap.test('a QEMU that is killed between two tests fails those that remain, at once', async (t) => {
  let pid = 0;
  const tests = testsOf(MODELS[0]!).slice(0, 4);
  const results = await runTests({
    tests,
    bed: {
      ...parts,
      subject: { kind: 'sim', model: MODELS[0]! },
      started: (child) => {
        pid = child;
      },
    },
    beginning: (_, index) => {
      if (index === 2) process.kill(pid, 'SIGKILL');
    },
  });
  t.same(
    results.map(({ result }) => result),
    ['passed', 'passed', 'failed', 'failed'],
  );
  for (const { detail } of results.slice(2)) t.match(detail, new RegExp(`^the guest: the guest ended .*${KILLED}$`));
});

void tap.test('a QEMU that is killed in the middle of a lockstep is no difference', async (t) => {
  const other = await openSide('qemu:e1000');
  const model = openModel(MODELS[0]!);
  let frames = 0;
  const doomed = Object.create(other, {
    send: {
      value: (frame: Uint8Array) => {
        if (++frames === 3) process.kill((other.device as QemuDevice).pid, 'SIGKILL');
        other.send(frame);
      },
    },
  }) as typeof other;
  t.teardown(() => {
    for (const side of [model, other]) side.close();
  });
  await t.rejects(lockstep(E1000_LOCKSTEP, [model, doomed], I82540EM, E1000_LOCKSTEP.script(1, 200)), {
    name: 'DeviceError',
    message: /^qemu:e1000: QEMU: it (has ended|was killed \(SIGKILL\))$/,
  });
  t.equal(frames, 3);
});

void tap.test('kernels, modules and programs that there are not', async (t) => {
  const noise = join(folder, 'noise');
  writeFileSync(noise, 'x'.repeat(100_000));
  const elf = join(folder, 'elf');
  writeFileSync(elf, '\x7fELF'.padEnd(5000, '\0'), 'latin1');
  const refusals: [args: string[], says: RegExp][] = [
    [['--kernel', '/nonexistent'], /no kernel \/nonexistent: give stock, dev, an image or a folder$/],
    [['--kernel', noise], /noise is no kernel: neither a bzImage nor an ELF file$/],
    [['--kernel', folder], /there is no kernel in /],
    [['--module', 'no_such_module'], /kernel \S+ has no module no_such_module$/],
    [['--module', '../../etc/passwd'], /has no module \.\.\/\.\.\/etc\/passwd$/],
    [['--program', 'no-such-program'], /there is no program "no-such-program" on this machine to take along$/],
    [['--program', '/no/such'], /there is no program "\/no\/such" on this machine/],
    [['--program', folder], /there is no program /],
  ];
  for (const [args, says] of refusals) await fails(t, fauxnic([...VM, ...args, 'true'], real), says, 2);
  t.notOk(existsSync(pidFile), 'QEMU was not started for any of them');
  await fails(t, fauxnic([...VM, '--kernel', elf, 'true'], real), new RegExp(`^fauxnic: ${BEFORE}`));
});
