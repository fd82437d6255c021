import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { errorIn, refusedOptions, stepOf } from '../../../scripts/build/kernel-log.ts';
import { KeyFilter } from '../../../scripts/rig/terminal-line.ts';
import { cached, prune } from '../../../vm/cache.ts';
import { findKernel, kernelIn } from '../../../vm/kernel.ts';
import { unpackKernel } from '../../../vm/vmlinux.ts';

const folder = mkdtempSync(join(tmpdir(), 'fauxnic-test-'));
process.env.XDG_CACHE_HOME = folder; // this file's own: AVA gives each a thread
test.after.always(() => rmSync(folder, { recursive: true }));

function put(path: string, content = ''): string {
  const whole = join(folder, path);
  mkdirSync(join(whole, '..'), { recursive: true });
  writeFileSync(whole, content);
  return whole;
}

test('our configuration sets each option once, in a form that merge_config.sh reads', (t) => {
  const text = readFileSync(new URL('../../../../vm/kernel/fauxnic.config', import.meta.url), 'utf8');
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  for (const line of lines) t.regex(line, /^CONFIG_\w+=(y|m|\d+|"[^"]*")$/);
  const names = lines.map((line) => line.split('=')[0]);
  t.deepEqual(names, [...new Set(names)]);
  for (const card of ['E1000', 'E1000E', 'IGB', 'IXGBE', 'TIGON3', 'VIRTIO_NET'])
    t.true(lines.includes(`CONFIG_${card}=m`), `${card} is a module, to be loaded again`);
});

test('options that the kernel refuses are named; those that only a newer one has are not', (t) => {
  const said = (name: string) =>
    `Value requested for ${name} not in final .config\nRequested value:  ${name}=y\nActual value:     \n\n`;
  t.deepEqual(refusedOptions(`#\n${said('CONFIG_IOMMUFD')}${said('CONFIG_NET_SCH_INGRESS')}`), [
    'CONFIG_NET_SCH_INGRESS',
  ]);
  t.deepEqual(refusedOptions(''), []);
});

test("the build's lines", (t) => {
  t.is(stepOf('  CC [M]  drivers/net/tun.o'), 'drivers/net/tun.o');
  t.is(stepOf('  LD      vmlinux'), 'vmlinux');
  t.is(stepOf('make[1]: Entering directory'), null);
  const compiler = "../net/core/dev.c:12:3: error: 'x' undeclared (first use in this function)";
  t.is(errorIn(['  CC  net/core/dev.o', compiler, 'make: *** [Makefile:250: __sub-make] Error 2']), compiler);
  t.is(errorIn(['make: *** No rule to make target.  Stop.', '']), 'make: *** No rule to make target.  Stop.');
  t.is(errorIn([]), 'it said nothing');
});

test('a kernel with a folder, with and without its package around it', async (t) => {
  put('own/vmlinux');
  put('own/lib/modules/6.1-own/modules.order');
  t.deepEqual(kernelIn(join(folder, 'own')), {
    release: '6.1-own',
    image: join(folder, 'own/vmlinux'),
    modules: join(folder, 'own/lib/modules/6.1-own'),
  });
  put('package/boot/vmlinuz-6.1-50');
  t.is((await findKernel(join(folder, 'package'))).image, join(folder, 'package/boot/vmlinuz-6.1-50'));
  for (const tree of ['lib/modules', 'usr/lib/modules']) {
    const root = `new/${tree}`; // no boot: the kernel is beside its modules
    put(`${root}/${tree}/6.12-new/modules.order`);
    put(`${root}/${tree}/6.12-new/vmlinuz`);
    put(`${root}/${tree}/6.11-old/modules.order`);
    const modules = join(folder, root, tree, '6.12-new');
    t.deepEqual(await findKernel(join(folder, root)), {
      release: '6.12-new',
      image: join(modules, 'vmlinuz'),
      modules,
    });
  }
  put('merged/boot/vmlinuz-6.1-usr');
  put('merged/usr/lib/modules/6.1-usr/modules.order');
  t.is(kernelIn(join(folder, 'merged')).modules, join(folder, 'merged/usr/lib/modules/6.1-usr'));
  const bzImage = Buffer.alloc(1024);
  bzImage.write('HdrS', 0x202); // The Linux/x86 Boot Protocol
  for (const [name, content] of [
    ['bzImage', bzImage],
    ['vmlinux', Buffer.from('\x7fELF'.padEnd(64, '\0'))],
  ] as const) {
    const image = put(name, content.toString('latin1'));
    t.deepEqual(await findKernel(image), { release: name, image, modules: '' });
  }
  const message = /is no kernel: neither a bzImage nor an ELF file/;
  for (const none of [put('empty'), put('short', 'HdrS'), put('noise', 'x'.repeat(5000)), '/dev/null'])
    await t.throwsAsync(findKernel(none), { code: 'INVALID', message });
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  await t.throwsAsync(findKernel(pipe), { code: 'INVALID', message }, 'nobody waits for what may come of it');
  t.is(await unpackKernel(put('cut', bzImage.toString('latin1', 0, 520)), folder), null);
  await t.throwsAsync(findKernel(join(folder, 'nowhere')), { code: 'INVALID', message: /^no kernel .*nowhere: give/ });
  await t.throwsAsync(findKernel(''), { code: 'INVALID', message: /^no kernel/ });
  t.throws(() => kernelIn(folder), { message: /there is no kernel in/ });
  await t.throwsAsync(findKernel('dev'), { message: /make build-dev-kernel/ });
});

test('the cache keeps what was used last, and what was used within the hour', (t) => {
  const hours = (n: number) => new Date(Date.now() - n * 3600_000);
  for (const [name, age] of Object.entries({ a: 5, b: 4, c: 3, d: 2, now: 0, 'other.txt': 9 })) {
    const path = put(`fauxnic/things/${name.includes('.') ? name : `${name}.gz`}`);
    utimesSync(path, hours(age), hours(age));
  }
  t.deepEqual(prune('things', /\.gz$/, 3), ['b.gz', 'a.gz']);
  t.deepEqual(prune('things', /\.gz$/, 0), ['d.gz', 'c.gz']);
  t.deepEqual(readdirSync(join(folder, 'fauxnic/things')), ['now.gz', 'other.txt']);
  t.deepEqual(prune('nowhere', /./, 0), []);
});

test('what is refreshed stays as it was until the new one is whole', async (t) => {
  const make = (text: string) => async (into: string) => writeFileSync(join(into, 'text'), text);
  const text = (path: string) => readFileSync(join(path, 'text'), 'utf8');
  t.is(text(await cached('thing', make('one'))), 'one');
  t.is(text(await cached('thing', make('two'))), 'one');
  const failing = async () => {
    throw new Error('no network');
  };
  await t.throwsAsync(cached('thing', failing, { refresh: true }), { message: 'no network' });
  t.deepEqual(
    readdirSync(join(folder, 'fauxnic')).filter((name) => name.startsWith('thing.')),
    [],
    'nothing half made',
  );
  t.is(text(await cached('thing', make('two'), { refresh: true })), 'two');
  t.false(existsSync(join(folder, 'fauxnic', `thing.${process.pid}.new`)));
});

test('what somebody left unfinished long ago goes; what somebody may be at stays', async (t) => {
  const old = new Date(Date.now() - 2 * 3600_000);
  for (const name of ['part.1.new', 'part.2.new', 'other.1.new', 'part.old']) put(`fauxnic/${name}/file`);
  for (const name of ['part.1.new', 'other.1.new', 'part.old']) utimesSync(join(folder, 'fauxnic', name), old, old);
  await cached('part', async (into) => writeFileSync(join(into, 'file'), ''));
  const left = readdirSync(join(folder, 'fauxnic')).filter((name) => /^(part|other)/.test(name));
  t.deepEqual(left.toSorted(), ['other.1.new', 'part', 'part.2.new', 'part.old']);
});

test('Ctrl-A X leaves a guest, every other key goes there', (t) => {
  const typed = (...chunks: string[]) => {
    const filter = new KeyFilter();
    const taken = chunks.map((chunk) => filter.take(Buffer.from(chunk)));
    return [Buffer.concat(taken.map(({ pass }) => pass)).toString(), taken.some(({ leave }) => leave)];
  };
  t.deepEqual(typed('ls\r\x03'), ['ls\r\x03', false]);
  t.deepEqual(typed('a\x01xb'), ['a', true]);
  t.deepEqual(typed('\x01', 'x'), ['', true]);
  t.deepEqual(typed('\x01\x18'), ['', true]);
  t.deepEqual(typed('\x01\x01x'), ['\x01x', false]);
  t.deepEqual(typed('\x01e'), ['\x01e', false]);
});
