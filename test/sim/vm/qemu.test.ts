/** A QEMU that is missing, too old or none: one line each, before anything is downloaded or started. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { findQemu, howItEnded, lastWords } from '../../../vm/qemu.ts';
import { assertRefused, fauxnic } from '../../util/command.ts';
import { fakeQemu } from '../../util/fake-qemu.ts';

const folder = mkdtempSync(join(tmpdir(), 'fauxnic-qemu-'));
test.after.always(() => rmSync(folder, { recursive: true }));

const cache = join(folder, 'cache');
process.env.XDG_CACHE_HOME = cache;
const kernel = join(folder, 'vmlinux');
writeFileSync(kernel, '\x7fELF'.padEnd(64, '\0'), 'latin1');
const plain = join(folder, 'plain');
writeFileSync(plain, 'hello');

const QEMUS: Record<string, { readonly path: string; readonly says: RegExp }> = {
  missing: { path: join(folder, 'nothing'), says: /nothing is missing here, or not for us to run/ },
  'not executable': { path: plain, says: /plain is missing here, or not for us to run/ },
  'a folder': { path: folder, says: /is missing here, or not for us to run/ },
  'too old': {
    path: fakeQemu(folder, 'old', { version: 'QEMU emulator version 7.2.0 (Debian 1:7.2+dfsg-7)' }),
    says: /old is version 7\.2\.0, and 10\.1 is needed/,
  },
  'hardly too old': {
    path: fakeQemu(folder, 'hardly', { version: 'QEMU emulator version 10.0.9' }),
    says: /version 10\.0\.9, and 10\.1 is needed/,
  },
  'without vfio-user-pci': {
    path: fakeQemu(folder, 'without', { help: 'echo "no such device" >&2; exit 1' }),
    says: /without 11\.1\.3 was built without vfio-user-pci/,
  },
  'something else': {
    path: fakeQemu(folder, 'other', { version: 'hello' }),
    says: /other is no QEMU: it does not tell its version/,
  },
};

const COMMANDS = [`vm --accel tcg --kernel ${kernel} true`, 'conformance e1000', 'diff e1000 qemu:e1000'];

for (const [what, { path, says }] of Object.entries(QEMUS))
  test.serial(`a QEMU that is ${what}`, async (t) => {
    process.env.FAUXNIC_QEMU = path;
    for (const line of COMMANDS) await assertRefused(t, line, says);
    t.regex((await t.throwsAsync(findQemu())).message, says);
    t.false(existsSync(cache), 'nothing was downloaded');
  });

test('doctor says what is wrong with one', async (t) => {
  const { path, says } = QEMUS['too old']!;
  const { stdout, exitCode } = await fauxnic('doctor --json', { env: { FAUXNIC_QEMU: path } });
  t.is(exitCode, 0);
  const { checks } = JSON.parse(stdout) as { checks: { name: string; ok: boolean; about: string }[] };
  const { ok, about } = checks.find(({ name }) => name === 'QEMU')!;
  t.false(ok);
  t.regex(about, says);
});

test('one that is just new enough, and one of the next numbers', async (t) => {
  for (const version of ['10.1.0', '10.2', '11.0.0 (v11.0.0-dirty)']) {
    const path = fakeQemu(folder, `good-${version.slice(0, 4)}`, { version: `QEMU emulator version ${version}` });
    const { stdout } = await fauxnic('doctor --json', { env: { FAUXNIC_QEMU: path } });
    const { checks } = JSON.parse(stdout) as { checks: { name: string; ok: boolean; about: string }[] };
    const { ok, about } = checks.find(({ name }) => name === 'QEMU')!;
    t.true(ok, version);
    t.is(about, `${version.split(' ')[0]}: FAUXNIC_QEMU names it`);
  }
});

test('one that breaks when asked is told of in its own words', async (t) => {
  const path = fakeQemu(folder, 'broken', { version: "'; echo 'libfoo.so.1: not found' >&2; exit 3; echo '" });
  const { stderr, exitCode } = await fauxnic(COMMANDS[0]!, { env: { FAUXNIC_QEMU: path } });
  t.is(exitCode, 1);
  t.regex(stderr, /^fauxnic: FAUXNIC_QEMU: \S+broken: libfoo\.so\.1: not found$/);
});

test('what a QEMU said at last is the reason, and a warning is none', (t) => {
  const warning = "qemu-system-x86_64: -mon chardev=s7: warning: '-mon' is deprecated";
  t.is(lastWords(`${warning}\n`), '');
  t.is(lastWords(`qemu-system-x86_64: no memory\n${warning}\n`), 'no memory');
  t.is(lastWords('/usr/bin/qemu-system-x86_64: one\n/usr/bin/qemu-system-x86_64: two\n'), 'two');
  t.is(lastWords(''), '');
  t.is(howItEnded(null, 'SIGKILL'), 'it was killed (SIGKILL)');
  t.is(howItEnded(3, null), 'it ended with 3');
  t.is(howItEnded(0, null), '');
});

const MISTAKES: [line: string, says: RegExp][] = [
  ['vm --nonsense', /unknown option '--nonsense'/],
  ['vm --nic foo true', /it is one of sim:e1000, .*qemu:e1000,.*or vfio-user:SOCKET/],
  ['vm --nic sim: true', /it is one of/],
  ['vm --nic qemu:nothing true', /it is one of/],
  ['vm --nic vfio-user:/nowhere/nic true', /no socket is there; start its server first/],
  [`vm --nic vfio-user:${plain} true`, /no socket is there/],
  [`vm --kernel ${plain} true`, /plain is no kernel: neither a bzImage nor an ELF file/],
  ['vm --kernel /nowhere true', /no kernel \/nowhere: give stock, dev, an image or a folder/],
  [`vm --kernel ${cache}x true`, /no kernel/],
  ['vm --kernel dev true', /has not been built here: make build-dev-kernel/],
  ['vm --memory 191 true', /it is 192 at least/],
  ['vm --memory much true', /whole number above zero/],
  ['vm --smp 0 true', /whole number above zero/],
  ['vm --smp 1e3 true', /whole number above zero/],
  ['vm --timeout -1 true', /whole number above zero/],
  ['vm --timeout 99999999 true', /it is 2147483 at most/],
  ['vm --accel fast true', /it is kvm or tcg/],
  ['vm --pcap x.pcapng true', /--pcap is for models/],
  ['vm --peer echo true', /--peer is for models/],
  ['vm --nic sim:e1000 --peer tap= true', /it is tap, tap=NAME or echo/],
  ['vm --nic sim:e1000 --trace - true', /both want standard output/],
  ['conformance', /missing required argument 'model'/],
  ['conformance x540', /no model "x540": there is e1000/],
  ['conformance e1000 --only (', /it is no regular expression/],
  ['conformance e1000 --only nothing-of-that-name', /names no test: see --list/],
  ['conformance e1000 extra', /too many arguments/],
  ['diff', /missing required argument 'one'/],
  ['diff e1000', /missing required argument 'other'/],
  ['diff e1000 x540', /no model "x540"/],
  ['diff e1000 vfio-user:/tmp/x', /no model/],
  ['diff e1000 e1000 --seed -1', /whole number from 0/],
  ['serve', /required option '--socket <path>'|missing required argument 'model'/],
  ['serve e1000', /required option '--socket <path>' not specified/],
  ['serve e1000 --socket', /argument missing/],
  ['serve nothing --socket /nowhere/x', /no model "nothing"/],
  ['serve e1000 --socket /nowhere/x --peer stream=', /stream=PATH/],
  ['serve e1000 --socket /nowhere/x --peer echo=1', /stream=PATH/],
  ['serve e1000 --socket /nowhere/x --mac 01:00:00:00:00:00', /multicast/],
  ['serve e1000 --socket /nowhere/x --trace - --json', /both want standard output/],
  ['bind', /missing required argument 'address'/],
  ['bind eth0', /"eth0" is no PCI address: give one such as/],
  ['bind ffff:ff:1f.7', /there is no PCI function ffff:ff:1f\.7/],
  ['bind ffff:ff:1f.7 --frobnicate', /unknown option '--frobnicate'/],
  ['unbind eth0', /is no PCI address/],
  ['unbind ffff:ff:1f.7', /there is no PCI function ffff:ff:1f\.7/],
  ['drive pci:eth0 --echo', /is no PCI address/],
  ['drive pci:ffff:ff:1f.7 --echo', /there is no PCI function ffff:ff:1f\.7/],
  ['drive pci: --echo', /lacks something: give pci:ADDRESS/],
];

for (const [line, says] of MISTAKES)
  test.serial(`refused: fauxnic ${line.replaceAll(folder, '')}`, async (t) => {
    process.env.FAUXNIC_QEMU = QEMUS['too old']!.path;
    await assertRefused(t, line, says);
  });
