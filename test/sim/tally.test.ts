/** The counting behind the last line of `make test`. */
import test from 'ava';
import { Tally } from '../../scripts/tally.ts';

function count(depth: number, tap: string) {
  const tally = new Tally(depth);
  for (const line of tap.split('\n')) tally.line(line);
  const { passed, failed, skipped } = tally;
  return { passed, failed, skipped, skips: tally.skips, failures: tally.failures.map((line) => line.trim()) };
}

test("AVA's results are the outermost", (t) => {
  const tap = `TAP version 13
ok 1 - link › passes
not ok 2 - link › breaks
  ---
    name: AssertionError
  ...
ok 3 - link › later # SKIP
ok 4 - link › one day # TODO
1..4
# pass 2`;
  t.deepEqual(count(0, tap), {
    passed: 1,
    failed: 1,
    skipped: 2,
    skips: ['link › later', 'link › one day: TODO'],
    failures: ['not ok link › breaks', '---', 'name: AssertionError', '...'],
  });
});

test("tap's are one below the files", (t) => {
  const tap = `TAP version 14
# Subtest: a.test.js
    # Subtest: reads
        ok 1 - one
        not ok 2 - two
          ---
          diff: here
          ...
        1..2
    not ok 1 - reads # time=3ms
    ok 2 - writes # time=5ms
    ok 3 - flies # SKIP no wings
    1..3
not ok 1 - a.test.js # time=9ms
ok 2 - b.test.js # SKIP no /dev/net/tun
not ok 3 - c.test.js # time=1ms
  ---
  exitCode: 1
  ...
1..3`;
  const { passed, failed, skipped, skips, failures } = count(1, tap);
  t.deepEqual({ passed, failed, skipped }, { passed: 1, failed: 2, skipped: 2 }, 'a file that breaks by itself counts');
  t.deepEqual(skips, ['flies: no wings', 'b.test.js: no /dev/net/tun']);
  t.deepEqual(failures.slice(0, 4), ['not ok two', '---', 'diff: here', '...']);
  t.deepEqual(failures.slice(-5), ['not ok reads', 'not ok c.test.js', '---', 'exitCode: 1', '...']);
});
