/** fauxnic nvram: images kept, checked, written and undone; and what is refused. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import type { Nvram } from '../../drivers/chip-tools.ts';
import { Failure, UsageError } from '../../scripts/errors.ts';
import { readImage, writeImage, writeNewImage } from '../../scripts/toolkit/files.ts';
import { acceptable, findEntry, hexDump, replace } from '../../scripts/toolkit/nvram.ts';
import { assertRefused, fauxnic, fauxnicHere } from '../util/command.ts';

const folder = mkdtempSync(join(tmpdir(), 'fauxnic-nvram-'));
test.after.always(() => rmSync(folder, { recursive: true }));

let places = 0;
/** A folder for a test: `./` in a line is there. */
function place() {
  const cwd = join(folder, String(places++));
  mkdirSync(cwd);
  return {
    cwd,
    nvram: (line: string) => fauxnicHere(`nvram ${line.replaceAll('./', `${cwd}/`)}`),
    files: () => readdirSync(cwd).toSorted(),
  };
}

/** Eight bytes that add up to nothing. */
class FakeNvram implements Nvram {
  readonly size = 8;
  readonly cell = 2;
  bytes = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 228);
  /** Bytes that are still taken, before a write fails; and whether it says so. */
  takes = Infinity;
  silent = false;
  read = async () => this.bytes.slice();
  write = async (_before: Uint8Array, image: Uint8Array) => {
    for (const [at, byte] of image.entries()) {
      if (this.bytes[at] === byte) continue;
      if (this.takes-- > 0) this.bytes[at] = byte;
      else if (!this.silent) throw new Error('the part gave up');
    }
  };
  check = (image: Uint8Array) => (image.reduce((a, b) => (a + b) & 0xff, 0) === 0 ? [] : ['the sum is wrong']);
  entries = () => [{ name: 'mac', at: 0, length: 6, about: 'address' }];
  macOf = (image: Uint8Array) => image.slice(0, 6);
  withMac = (image: Uint8Array) => image;
}

const wanted = Uint8Array.of(9, 9, 9, 9, 9, 9, 9, 193);

test('the copy is made before anything is written, and not where nothing would be', async (t) => {
  const nvram = new FakeNvram();
  const before = await nvram.read();
  const kept: Uint8Array[] = [];
  const keep = (bytes: Uint8Array) => {
    t.deepEqual(nvram.bytes, before);
    kept.push(bytes);
    return 'copy';
  };
  t.deepEqual(await replace(nvram, before, keep), { changed: 0, copy: null });
  t.deepEqual(await replace(nvram, wanted, keep), { changed: 4, copy: 'copy' });
  t.deepEqual(kept, [before]);
  t.deepEqual(nvram.bytes, wanted);
});

test('without a copy nothing is written', async (t) => {
  const nvram = new FakeNvram();
  const before = await nvram.read();
  const keep = () => {
    throw new UsageError('no room');
  };
  await t.throwsAsync(replace(nvram, wanted, keep), { instanceOf: UsageError });
  t.deepEqual(nvram.bytes, before);
});

test('whatever fails in the middle of a write is undone, and said', async (t) => {
  for (let takes = 0; takes < 8; takes++) {
    for (const silent of [false, true]) {
      const nvram = new FakeNvram();
      const before = await nvram.read();
      nvram.takes = takes;
      nvram.silent = silent;
      const { write } = nvram;
      let first = true;
      nvram.write = async (...images) => {
        if (!first) nvram.takes = Infinity;
        first = false;
        await write(...images);
      };
      const error = await t.throwsAsync(
        replace(nvram, wanted, () => 'copy'),
        { instanceOf: Failure },
      );
      t.deepEqual(nvram.bytes, before, `${takes}`);
      t.regex(error.message, silent ? /^NVM address 0x0\d reads/ : /^the part gave up;/);
      t.regex(error.message, takes === 0 ? /the NVM holds what it held/ : /was written back/);
    }
  }
});

test('where it cannot be undone, the message names the copy', async (t) => {
  const nvram = new FakeNvram();
  nvram.takes = 3;
  const error = await t.throwsAsync(replace(nvram, wanted, () => 'the-copy'));
  t.regex(error.message, /could not be written back \(the part gave up\): it is in the-copy$/);
});

test('what is no image of this card is refused, unless forced; too long a one always', (t) => {
  const nvram = new FakeNvram();
  const accept = (bytes: Uint8Array, force = false) => acceptable(nvram, nvram.bytes, 'file', bytes, force);
  t.deepEqual(accept(wanted), wanted);
  t.throws(() => accept(wanted.slice(1)), { instanceOf: UsageError, message: /file has 7 bytes, the NVM 8.*--force/ });
  t.throws(() => accept(wanted.with(0, 0)), {
    instanceOf: UsageError,
    message: /the sum is wrong: nothing was written/,
  });
  t.throws(() => accept(new Uint8Array(9), true), { instanceOf: UsageError });
  t.deepEqual([...accept(Uint8Array.of(7, 7), true)], [7, 7, 3, 4, 5, 6, 7, 228]);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 16 }), (bytes) => {
      const right = bytes.length === 8 && nvram.check(bytes).length === 0;
      try {
        t.deepEqual(accept(bytes), bytes);
        t.true(right);
      } catch (error) {
        t.true(error instanceof UsageError && !right, String(error));
      }
    }),
  );
});

test('by name or address', (t) => {
  const nvram = new FakeNvram();
  const find = (what: string) => findEntry(nvram, nvram.bytes, what);
  t.is(find('MAC').name, 'mac');
  t.like(find('0x3'), { at: 6, length: 2 });
  t.throws(() => find('4'), { message: /address 4 is outside: the NVM ends at 0x04/ });
  t.throws(() => find('mak'), { message: /did you mean mac\?/ });
  t.throws(() => find('__proto__'), { message: /there is mac$/ });
  fc.assert(
    fc.property(fc.string({ maxLength: 50 }), (what) => {
      try {
        find(what);
      } catch (error) {
        t.true(error instanceof UsageError, String(error));
      }
    }),
  );
  t.is(hexDump(nvram, nvram.bytes), '0x00  01 02 03 04 05 06 07 e4');
});

test('a copy never goes over a file that is there', (t) => {
  const path = join(folder, 'copies');
  const names = [1, 2, 3].map((n) => writeNewImage(path, Uint8Array.of(n)));
  t.deepEqual(names, [path, `${path}.1`, `${path}.2`]);
  t.deepEqual([...readFileSync(path)], [1]);
});

test('what is no file, or no image, is refused; a path that cannot be, too', (t) => {
  const huge = join(folder, 'huge');
  writeFileSync(huge, '');
  truncateSync(huge, 1e9);
  const refuses = (act: () => unknown, message: RegExp) => t.throws(act, { instanceOf: UsageError, message });
  refuses(() => readImage(huge), /no image of an NVM/);
  refuses(() => readImage(folder), /is no file/);
  refuses(() => readImage('/dev/zero'), /is no file/);
  refuses(() => readImage(join(folder, 'missing')), /there is no such file/);
  refuses(() => writeImage('/nowhere/x', wanted), /there is no folder \/nowhere/);
  refuses(() => writeImage('/dev/null', wanted), /is no file/);
  refuses(() => writeNewImage('/nowhere/x', wanted), /there is no folder/);
});

test('a link to a file stays one', (t) => {
  const [file, link] = [join(folder, 'linked'), join(folder, 'link')];
  writeFileSync(file, 'old');
  symlinkSync(file, link);
  writeImage(link, Uint8Array.of(5));
  t.deepEqual([...readFileSync(file)], [5]);
});

async function ok(t: ExecutionContext, run: ReturnType<typeof fauxnicHere>): Promise<string> {
  const { stdout, stderr, exitCode } = await run;
  t.is(exitCode, 0, stderr);
  return stdout;
}

interface Card {
  readonly model: string;
  readonly bytes: number;
  readonly mac: string;
  /** Another address, written. */
  readonly changed: RegExp;
  /** A thing by its address, and what is there. */
  readonly at: readonly [where: string, what: string];
  readonly damaged: RegExp;
}

const CARDS: readonly Card[] = [
  {
    model: 'e1000',
    bytes: 128,
    mac: '02:00:00:82:54:01',
    changed: /^3 words written and read back; .* 02:00:00:00:00:07\nwhat it held before is in nvram-02-00/,
    at: ['0x0d', '0x100e'],
    damaged: /the words add up to 0x[0-9a-f]{4}, not 0xbaba/,
  },
  ...['tg3', 'tg3-5721'].map((model) => ({
    model,
    bytes: 128 * 1024,
    mac: '02:00:00:57:62:01',
    changed: /^\d bytes written and read back; .* 02:00:00:00:00:07\nwhat it held before is in nvram-02-00/,
    at: ['0x01', '0x99'] as const,
    damaged: /image-1 \(PXE\) is said to be from 0x00|the directory and its checksum add up to 0x/,
  })),
];

for (const { model, bytes, mac, changed, at, damaged } of CARDS) {
  const target = `sim:${model}`;

  test.serial(`${model}: an image in a file: changed, dumped, restored, and the copies of it`, async (t) => {
    const { cwd, nvram, files } = place();
    const backup = `nvram-${mac.replaceAll(':', '-')}.backup`;
    // In a process: where the copy goes is the folder that it is run in.
    t.regex((await fauxnic(`nvram ${target} mac 02:00:00:00:00:07 --image a`, { cwd })).stdout as string, changed);
    t.is(await ok(t, nvram(`${target} mac --image ./a`)), '02:00:00:00:00:07');
    t.regex(await ok(t, nvram(`${target} check --image ./a`)), /✓ all checksums are right/);
    t.regex(await ok(t, nvram(`${target} restore ./${backup} --image ./a --backup ./kept`)), /is in \S+kept$/);
    t.is(await ok(t, nvram(`${target} get mac --image ./a`)), mac);
    t.is(await ok(t, nvram(`${target} get ${at[0]} --image ./a`)), at[1]);
    t.is(await ok(t, nvram(`${target} dump ./out --image ./a`)), `${join(cwd, 'out')}: ${bytes} bytes`);
    t.deepEqual(readFileSync(join(cwd, 'out')), readFileSync(join(cwd, 'a')));
    t.is(await ok(t, nvram(`${target} restore ./out --image ./a`)), 'the NVM holds just that: nothing was written');
    t.deepEqual(files(), ['a', 'kept', backup, 'out']);
  });

  test.serial(`${model}: damaged and truncated files: refused, left alone, forced`, async (t) => {
    const { cwd, nvram, files } = place();
    await ok(t, nvram(`${target} dump ./good`));
    const good = readFileSync(join(cwd, 'good'));
    const short = bytes - 28;
    writeFileSync(join(cwd, 'bad'), good.with(0x20, 0xfe));
    writeFileSync(join(cwd, 'short'), good.subarray(0, short));
    writeFileSync(join(cwd, 'long'), Buffer.concat([good, good]));
    const before = files();
    const refused = async (line: string, says: RegExp) => {
      const { stdout, stderr, exitCode } = await nvram(`${target} ${line}`);
      t.is(exitCode, 2, line);
      t.regex(stderr, says);
      t.regex(stderr, /^fauxnic: [^\n]+$/, 'one line');
      t.is(stdout, '');
    };
    await refused('restore ./bad', new RegExp(`(${damaged.source}).*nothing was written`));
    await refused('restore ./short', new RegExp(`short has ${short} bytes, the NVM ${bytes}`));
    await refused('restore ./long --force', new RegExp(`long has ${2 * bytes} bytes`));
    await refused('restore ./good --backup ./bad', /bad is there already/);
    await refused('check --image ./short', new RegExp(`an image of ${short} bytes: the NVM of ${model} has ${bytes}`));
    await refused('check --image ./missing', /no such file/);
    t.deepEqual(files(), before);
    t.regex(await ok(t, nvram(`${target} restore ./bad --force --image ./kept`)), /^1 (word|byte)s? written/);
    const { stdout, exitCode } = await nvram(`${target} check --image ./kept`);
    t.is(exitCode, 1);
    t.regex(stdout, new RegExp(`✗ (${damaged.source})`));
    const address = await nvram(`${target} mac 02:00:00:00:00:07 --image ./kept`);
    t.is(address.exitCode, 1);
    t.regex(address.stderr, /not right as it is/);
  });
}

test.serial('a card without magic: a line, and 1', async (t) => {
  const { cwd, nvram } = place();
  writeFileSync(join(cwd, 'none'), new Uint8Array(128 * 1024).fill(0x5a, 1));
  const { stdout, exitCode } = await nvram('sim:tg3-5751 check --image ./none');
  t.is(exitCode, 1);
  t.is(stdout, '✗ the image begins with 0x005a5a5a, not 0x669955aa');
  t.regex(
    await ok(t, nvram('sim:tg3-5751 ls --image ./none')),
    /^ {2}0x00\.\.0x03 +magic +0x005a5a5a +what an image begins with$/m,
  );
});

test('a dump leaves out lines that are like the one before', (t) => {
  const lines = (image: Uint8Array) =>
    hexDump({ cell: 1 } as Nvram, image)
      .split('\n')
      .map((line) => line.slice(0, 7));
  t.deepEqual(lines(new Uint8Array(0x400)), ['0x000  ', '*', '0x3f0  ']);
  t.deepEqual(lines(new Uint8Array(0x40).fill(1, 0x10, 0x30)), ['0x00  0', '0x10  0', '*', '0x30  0']);
  t.deepEqual(lines(new Uint8Array(0x20)), ['0x00  0', '0x10  0']);
});

test.serial('what is where, for people and programs', async (t) => {
  const { nvram } = place();
  t.regex(await ok(t, nvram('sim:e1000 ls')), /^ {2}0x00\.\.0x02 +mac +02:00:00:82:54:01 +station address$/m);
  const entries = JSON.parse(await ok(t, nvram('sim:e1000 ls --json'))) as { name: string; value: string }[];
  t.is(entries.find(({ name }) => name === 'device-id')!.value, '0x100e');
  t.regex(await ok(t, nvram('sim:e1000 dump')), /^0x00 {2}02 00 00 82 54 01 00 00 /);
  const broadcom = await ok(t, nvram('sim:tg3 ls'));
  t.regex(broadcom, /^ {2}0x7e\.\.0x83 +mac +02:00:00:57:62:01 +station address$/m);
  t.regex(broadcom, /^ {2}0x12c\.\.0x134 +vpd-pn +BCM957762 +part number$/m);
  t.is(await ok(t, nvram('sim:tg3-5751 get subsystem-id')), '0x1677');
});

const MISTAKES: [line: string, says: RegExp][] = [
  ['sim:e1000 burn', /Give one of dump, restore/],
  ['sim:e1000 restore', /restore of what\? Give FILE/],
  ['sim:e1000 check it', /check takes nothing behind it: it/],
  ['sim:e1000 mac 01:00:5e:00:00:01', /multicast/],
  ['sim:e1000 ls --backup x', /--backup is for what writes/],
  ['qemu:e1000 check --image x', /--image is for models/],
];
for (const [line, says] of MISTAKES)
  test.serial(`refused: fauxnic nvram ${line}`, (t) => assertRefused(t, `nvram ${line}`, says));
