import test from 'ava';
import { kernelArguments } from '../../../vm/machine.ts';

test('an emulated guest keeps time by its one counter and halts when idle; with KVM the processors are real', (t) => {
  const emulated = kernelArguments({ accelerator: 'tcg' }).split(' ');
  const real = kernelArguments({ accelerator: 'kvm' }).split(' ');
  for (const argument of ['tsc=reliable', 'idle=halt', 'cryptomgr.notests']) {
    t.true(emulated.includes(argument));
    t.false(real.includes(argument));
  }
  t.true(real.includes('console=ttyS0'));
});

test("the caller's arguments come last, where the kernel takes the last word", (t) => {
  t.true(kernelArguments({ accelerator: 'tcg', append: ['idle=poll', 'quiet'] }).endsWith(' idle=poll quiet'));
});
