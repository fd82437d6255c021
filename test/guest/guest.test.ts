import tap from 'tap';
import { GuestSession, runGuest } from '../../vm/guest.ts';
import { GuestError } from '../../vm/guest-machine.ts';
import { parts as partsWith } from './parts.ts';

const parts = await partsWith(['e1000']);

void tap.test('one command: what it printed, where, and its exit code', async (t) => {
  const result = await runGuest({
    ...parts,
    nics: [{ kind: 'qemu', device: 'e1000' }],
    command: ['echo out; echo TAP > /dev/results; cat /sys/class/net/eth0/address; exit 3'],
  });
  t.equal(result.exitCode, 3);
  t.equal(result.output, 'out\n52:54:00:00:00:01\n');
  t.equal(result.results, 'TAP\n');
  t.same(result.notes, []);
});

void tap.test('a command without end is ended with its machine', async (t) => {
  const hanging = runGuest({ ...parts, command: ['sleep 1000'], timeout: 8_000 });
  await t.rejects(hanging, {
    code: 'TIMEOUT',
    message: /^after 8 s (the command was still running|the guest had not started the command): ended it$/,
  });
});

void tap.test('a kernel that panics says why', async (t) => {
  const panicking = runGuest({ ...parts, append: ['rdinit=/nothing'], command: ['true'] });
  const error = await panicking.catch((error: unknown) => error);
  t.ok(error instanceof GuestError);
  t.match((error as GuestError).message, /before it started the command: Kernel panic/);
});

void tap.test('step by step', async (t) => {
  const guest = await GuestSession.open({ ...parts, restarts: true, nics: [{ kind: 'qemu', device: 'e1000' }] });
  t.teardown(() => guest.close());
  t.same(await guest.run('echo one; echo two >&2; exit 7'), { exitCode: 7, output: 'one\ntwo' });
  t.equal((await guest.run('sleep 100', 1)).exitCode, 137, 'a script that takes too long');
  t.equal((await guest.run('seq 20000')).output.split('\n').length, 20000, 'much output');
  await guest.run('echo kept > /run/note; ip link set eth0 up');
  await guest.machine.qmp.execute('set_link', { name: 'nic0', up: false });
  await t.rejects(guest.machine.qmp.execute('no_such_command'), { message: /QEMU: / });
  t.equal((await guest.run('until grep -q 0 /sys/class/net/eth0/carrier; do sleep 0.1; done', 10)).exitCode, 0);
  await guest.restart();
  t.equal((await guest.run('cat /run/note')).exitCode, 1, 'another life');
});
