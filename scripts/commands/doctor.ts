import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import type { Command } from 'commander';
import { available } from '../../native/index.ts';
import { OPTIONS } from '../options.ts';
import { isRoot } from '../rig/reenter.ts';
import { bold, paint } from '../terminal/style.ts';
import { table } from '../terminal/table.ts';

interface Check {
  readonly name: string;
  readonly ok: boolean;
  /** What was found, or what to do. */
  readonly about: string;
  /** What it is for. */
  readonly for: string;
}

export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .summary('what this machine can run, and what to do about the rest')
    .description('Looks at what this machine has, and says what to do about what is missing.')
    .addOption(OPTIONS.json())
    .action(({ json }: { json?: true }) => {
      const checks = examine();
      const can = abilities(checks);
      console.log(json ? JSON.stringify({ checks, can }) : report(checks, can));
    });
}

function examine(): Check[] {
  return [
    node(),
    addon(),
    device('/dev/net/tun', 'TAP', 'modprobe tun; in a container pass --device /dev/net/tun'),
    privileges(),
    tool('unshare', ['-V'], 'namespaces', 'util-linux'),
    tool('setpriv', ['-V'], 'namespaces', 'util-linux'),
    tool('ip', ['-V'], 'namespaces', 'iproute2'),
    tool('ping', ['-V'], 'demo', 'iputils-ping'),
    tool('iperf3', ['-v'], 'demo', 'iperf3'),
    tool('tshark', ['-v'], 'captures', 'tshark'),
    tool('cc', ['--version'], 'benchmarks', 'gcc'),
    qemu(),
    device('/dev/kvm', 'fast guests', 'turn virtualization on in the firmware; add yourself to the group kvm'),
    vfio(),
  ];
}

function node(): Check {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const ok = major > 20 || (major === 20 && minor >= 19);
  return {
    name: 'Node',
    ok,
    about: ok ? process.version : `${process.version}: install 20.19 or later`,
    for: 'everything',
  };
}

function addon(): Check {
  const { platform } = process;
  if (platform !== 'linux')
    return { name: 'native addon', ok: false, about: `needs Linux, not ${platform}`, for: 'TAP' };
  const built = available();
  const advice = 'npm run build:native (needs: apt-get install g++ make python3)';
  return {
    name: 'native addon',
    ok: built.ok,
    about: built.ok ? 'built, loads' : `${built.why}; ${advice}`,
    for: 'TAP',
  };
}

function device(path: string, what: string, advice: string): Check {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return { name: path, ok: true, about: 'there, ours to open', for: what };
  } catch (error) {
    const denied = (error as NodeJS.ErrnoException).code === 'EACCES';
    return { name: path, ok: false, about: denied ? `not allowed: run as root, or ${advice}` : advice, for: what };
  }
}

/** Root, or a user namespace in which one is. */
function privileges(): Check {
  const name = 'privileges';
  const flags = isRoot ? ['--net'] : ['--user', '--map-root-user', '--net'];
  const probe = spawnSync('unshare', [...flags, 'true'], { encoding: 'utf8' });
  const who = isRoot ? 'root' : 'user namespace';
  if (probe.status === 0)
    return { name, ok: true, about: isRoot ? 'root' : 'through user namespaces', for: 'TAP, demo' };
  const why = probe.error ? 'unshare is missing' : (probe.stderr ?? '').trim().split('\n')[0];
  const advice = isRoot
    ? 'give the container CAP_SYS_ADMIN'
    : 'run as root, or sysctl kernel.unprivileged_userns_clone=1';
  return { name, ok: false, about: `${who}: ${why}; ${advice}`, for: 'TAP, demo' };
}

function tool(name: string, args: readonly string[], what: string, debian: string): Check {
  const { error, stdout, stderr } = spawnSync(name, args, { encoding: 'utf8' });
  if (error) return { name, ok: false, about: `apt-get install ${debian}`, for: what };
  const line =
    `${stdout}\n${stderr}`.split('\n').find((line) => /\d/.test(line) && !/running as user/i.test(line)) ?? '';
  return { name, ok: true, about: /\d[\w.]*\.[\w.]*\w|\d{4,}/.exec(line)?.[0] ?? 'there', for: what };
}

/** One that is too old is no obstacle either: a guest needs 10.1, and `fauxnic vm` looks for that itself. */
function qemu(): Check {
  const found = tool('qemu-system-x86_64', ['--version'], 'guests', 'qemu-system-x86');
  if (found.ok) return found;
  return { ...found, about: 'on Debian, fauxnic vm unpacks one of its own; else install QEMU 10.1 or newer' };
}

function vfio(): Check {
  const groups = existsSync('/sys/kernel/iommu_groups') ? readdirSync('/sys/kernel/iommu_groups').length : 0;
  const ok = existsSync('/dev/vfio/vfio') && groups > 0;
  const advice = groups > 0 ? 'modprobe vfio-pci' : 'turn the IOMMU on (firmware; intel_iommu=on), modprobe vfio-pci';
  return { name: 'VFIO', ok, about: ok ? `${groups} IOMMU groups` : advice, for: 'cards in a slot' };
}

/** What follows, for those who only want to know that. */
function abilities(checks: readonly Check[]): Record<string, boolean> {
  const has = (...names: string[]) => checks.every(({ name, ok }) => ok || !names.includes(name));
  const tap = has('Node', 'native addon', '/dev/net/tun', 'privileges');
  return {
    models: has('Node'),
    tap,
    demo: tap && has('unshare', 'setpriv', 'ip', 'ping', 'iperf3'),
    guests: has('Node', 'native addon', 'qemu-system-x86_64'),
  };
}

function report(checks: readonly Check[], can: Record<string, boolean>): string {
  const mark = (ok: boolean) => (ok ? paint('green', 'ok') : paint('yellow', 'missing'));
  const rows = checks.map(({ name, ok, about, for: what }) => [name, mark(ok), what, about]);
  const verdicts = [
    can.models ? 'fauxnic drive sim:… runs.' : 'Nothing runs without a newer Node.',
    can.demo
      ? "fauxnic demo runs, on the kernel's own traffic."
      : 'fauxnic demo runs on generated traffic only: see what is missing above.',
  ];
  return `${table([['WHAT', '', 'FOR', 'FOUND, OR WHAT TO DO'], ...rows])}\n\n${bold(verdicts.join(' '))}`;
}
