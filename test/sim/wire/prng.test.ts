import test from 'ava';
import { Prng } from '../../../sim/wire/index.ts';

test('gives what the reference implementation gives', (t) => {
  const prng = new Prng(0);
  prng.restore([1, 2, 3, 4]);
  t.deepEqual(
    Array.from({ length: 5 }, () => prng.next()),
    [11520, 0, 5927040, 70819200, 2031721883],
  );
});

test('goes on from where it was saved', (t) => {
  const one = new Prng(5);
  for (let i = 0; i < 10; i++) one.next();
  const two = new Prng(0);
  two.restore(one.save());
  t.is(two.next(), one.next());
});

test('is even enough', (t) => {
  const prng = new Prng(1);
  const hits = Array.from({ length: 10 }, () => 0);
  for (let i = 0; i < 100_000; i++) hits[prng.below(10)]!++;
  for (const hit of hits) t.true(hit > 9_600 && hit < 10_400, `${hits}`);
});
