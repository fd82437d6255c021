/** When `make test` takes a test for one that gets nowhere. */
import test from 'ava';
import { familyOf } from '../../scripts/processes.ts';
import { Stall } from '../../scripts/stall.ts';

const SECOND = 1000;

/** Seconds pass, in each of which the processes use that much of a processor. */
function stallAfter(...used: readonly number[]): number {
  let [time, total] = [0, 0];
  const stall = new Stall(1, { now: () => time, usedBy: () => total });
  let length = stall.length;
  for (const share of used) {
    time += SECOND;
    total += share;
    length = stall.length;
  }
  return length / SECOND;
}

test('whoever works is not stalled, were it with a tenth of a processor', (t) => {
  t.is(stallAfter(1, 1, 1), 0);
  t.is(stallAfter(0.1, 0.1, 0.1), 0);
});

test('whoever waits is, though it look again and again', (t) => {
  t.is(stallAfter(0.02, 0.02, 0.02, 0.02), 4);
  t.is(stallAfter(1, 1, 0, 0, 0), 3);
});

test('it ends when they work again, and when something is heard of them', (t) => {
  t.is(stallAfter(0, 0, 0, 1, 0), 1);
  let time = 0;
  const stall = new Stall(1, { now: () => time, usedBy: () => 0 });
  time = 5 * SECOND;
  t.is(stall.length, 5 * SECOND);
  stall.end();
  t.is(stall.length, 0);
});

test('processes that have ended take their use along: that is no work', (t) => {
  t.is(stallAfter(0, 5, -5, 0), 2);
});

const onLinux = process.platform === 'linux' ? test : test.skip;

onLinux('a process is first of its own family, and has used a processor', (t) => {
  const [self] = familyOf(process.pid);
  t.is(self?.pid, process.pid);
  t.is(self?.parent, process.ppid);
  t.true(self!.used > 0);
  t.deepEqual(familyOf(2 ** 30), []);
});
