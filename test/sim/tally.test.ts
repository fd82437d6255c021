/** The counting behind the last line of `make test`. */
import test from 'ava';
import { byReason, Tally } from '../../scripts/tally.ts';

function count(tap: string, how: string | null = null) {
  const tally = new Tally('it');
  for (const line of tap.split('\n')) tally.line(line);
  tally.end(how);
  const { passed, failed, skipped } = tally;
  return { passed, failed, skipped, skips: tally.skips, failures: tally.failures.map((line) => line.trim()) };
}

test("AVA's results", (t) => {
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
  t.deepEqual(count(tap), {
    passed: 1,
    failed: 1,
    skipped: 2,
    skips: ['link › later', 'link › one day: TODO'],
    failures: ['not ok link › breaks', '---', 'name: AssertionError', '...'],
  });
});

test("tap's results: an outer failure that an inner one explains is the same", (t) => {
  const tap = `TAP version 14
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
1..3`;
  const { passed, failed, skipped, skips, failures } = count(tap, 'it ended with 1');
  t.deepEqual({ passed, failed, skipped }, { passed: 1, failed: 1, skipped: 1 });
  t.deepEqual(skips, ['flies: no wings']);
  t.deepEqual(failures, ['not ok two', '---', 'diff: here', '...', 'not ok reads']);
});

test('a file may be skipped, and break, as a whole', (t) => {
  const skipped = count('TAP version 14\n1..0 # SKIP no /dev/net/tun');
  t.deepEqual([skipped.passed, skipped.failed, skipped.skips], [0, 0, ['it: no /dev/net/tun']]);
  t.deepEqual(count('1..0 # no QEMU').skips, ['it: no QEMU'], "as tap's plan() has it");
  const broken = count('TAP version 14\nok 1 - one', 'it ended with 1');
  t.deepEqual([broken.passed, broken.failed, broken.failures], [1, 1, ['not ok it: it ended with 1']]);
  const { failures } = count('TAP version 14\n# Subtest: breaks\n    # Subtest: here', 'it was killed (SIGSEGV)');
  t.deepEqual(failures, ['not ok it: it was killed (SIGSEGV), in "here"']);
});

test('a tool without results fails by its end alone', (t) => {
  const tally = new Tally('lint');
  tally.remark('a.ts: wrong');
  t.is(tally.failed, 0);
  tally.end('it ended with 1');
  t.is(tally.failed, 1);
  t.deepEqual(tally.failures, ['  a.ts: wrong', '  not ok lint: it ended with 1']);
});

test('what was skipped for one reason is one line', (t) => {
  const skips = [
    'e1000 › msi: RSS (one queue (§3.2))',
    'a TAP: no /dev/net/tun',
    'e1000 › intx: RSS (one queue (§3.2))',
  ];
  t.deepEqual(byReason(skips), ['2 tests: one queue (§3.2)', 'a TAP: no /dev/net/tun']);
});
