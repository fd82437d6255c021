import { spawnSync } from 'node:child_process';
import test from 'ava';
import { Cpio } from '../../../vm/cpio.ts';
import { moduleDependencies } from '../../../vm/module-info.ts';

/** The archive's entries, read back by the format's own rules. */
function entries(archive: Uint8Array) {
  const text = (from: number, to: number) => Buffer.from(archive.subarray(from, to)).toString();
  const found: { name: string; mode: number; inode: number; links: number; content: string }[] = [];
  const padded = (at: number) => (at + 3) & ~3;
  for (let at = 0; at < archive.length; ) {
    const field = (index: number) => Number.parseInt(text(at + 6 + index * 8, at + 14 + index * 8), 16);
    const name = text(at + 110, at + 110 + field(11) - 1);
    const start = padded(at + 110 + field(11));
    found.push({ name, mode: field(1), inode: field(0), links: field(4), content: text(start, start + field(6)) });
    at = padded(start + field(6));
  }
  return found;
}

const archive = () =>
  new Cpio().file('/a/b/init', 'abcde', 0o755).file('a/other', '').link('bin/sh', 'busybox').folder('/proc').finish();

test('an archive holds folders before what is in them, once, and ends with the trailer', (t) => {
  t.deepEqual(
    entries(archive()).map(({ name, mode, content }) => [name, mode.toString(8), content]),
    [
      ['a', '40755', ''],
      ['a/b', '40755', ''],
      ['a/b/init', '100755', 'abcde'],
      ['a/other', '100644', ''],
      ['bin', '40755', ''],
      ['bin/sh', '120777', 'busybox'],
      ['proc', '40755', ''],
      ['TRAILER!!!', '0', ''],
    ],
  );
});

test('no two entries are links of one another: a number each, and as many links as such an entry has', (t) => {
  const found = entries(archive()).slice(0, -1);
  t.is(new Set(found.map(({ inode }) => inode)).size, found.length);
  for (const { name, mode, links } of found) t.is(links, (mode & 0o170000) === 0o040000 ? 2 : 1, name);
});

test('the same content makes the same archive, of a multiple of four bytes', (t) => {
  t.deepEqual(archive(), archive());
  t.is(archive().length % 4, 0); // another one may follow
});

test('cpio itself reads it, where there is one', (t) => {
  const { error, stdout, status } = spawnSync('cpio', ['-t', '--quiet'], { input: archive(), encoding: 'utf8' });
  if (error) {
    t.pass('no cpio here');
    return;
  }
  t.is(status, 0);
  t.deepEqual(stdout.trim().split('\n'), ['a', 'a/b', 'a/b/init', 'a/other', 'bin', 'bin/sh', 'proc']);
});

test('what is no module needs nothing', (t) => {
  t.deepEqual(moduleDependencies(new Uint8Array()), []);
  t.deepEqual(moduleDependencies(Buffer.from('#!/bin/sh\n'.repeat(20))), []);
});
