import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import type { Command } from 'commander';
import { available } from '../../native/index.ts';
import { whyNoSimd } from '../../sim/kernels/index.ts';
import { exportsDevices } from '../../vm/export.ts';
import { cachedStockKernel, devKernel, stockKernel } from '../../vm/kernel.ts';
import { chooseAccelerator, forgetAccelerator, knownAccelerator } from '../../vm/kvm.ts';
import { findQemu, lookForQemu, type Qemu } from '../../vm/qemu.ts';
import { lineOf } from '../errors.ts';
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
    .option('--probe', 'boot a guest to find out anew whether KVM works (10 s; else nothing is booted or downloaded)')
    .addOption(OPTIONS.json())
    .action(async ({ json, probe }: { json?: true; probe?: true }) => {
      if (probe) await probeKvm();
      const checks = await examine();
      const can = abilities(checks);
      console.log(json ? JSON.stringify({ checks, can }) : report(checks, can));
    });
}

const note = (line: string) => void process.stderr.write(`${line}\n`);

async function probeKvm(): Promise<void> {
  const qemu = await findQemu(note);
  const kernel = await stockKernel(note);
  forgetAccelerator();
  await chooseAccelerator(qemu, kernel, note);
}

async function examine(): Promise<Check[]> {
  const qemu = await lookForQemu().catch((error: unknown) => ({ plan: lineOf(error) }) as const);
  return [
    node(),
    addon(),
    packetKernels(),
    device('/dev/net/tun', 'TAP', 'modprobe tun; in a container pass --device /dev/net/tun'),
    privileges(),
    tool('unshare', ['-V'], 'namespaces', 'util-linux'),
    tool('setpriv', ['-V'], 'namespaces', 'util-linux'),
    tool('ip', ['-V'], 'namespaces', 'iproute2'),
    tool('ping', ['-V'], 'demo', 'iputils-ping'),
    tool('iperf3', ['-v'], 'demo', 'iperf3'),
    tool('tshark', ['-v'], 'captures', 'tshark'),
    tool('cc', ['--version'], 'benchmarks', 'gcc'),
    { name: 'QEMU', ok: 'qemu' in qemu, about: qemuText(qemu), for: 'guests' },
    await serving('qemu' in qemu ? qemu.qemu : undefined),
    kvm('qemu' in qemu ? qemu.qemu : undefined),
    stock(),
    dev(),
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

function packetKernels(): Check {
  return {
    name: 'packet kernels',
    ok: whyNoSimd === null,
    about: [
      whyNoSimd === null ? 'WebAssembly SIMD' : `TypeScript, as there is ${whyNoSimd}: slower, nothing else`,
      available().ok ? "the addon for guests' memory" : "TypeScript for guests' memory",
    ].join('; '),
    for: 'speed',
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

function qemuText({ qemu, plan }: { readonly qemu?: Qemu; readonly plan: string }): string {
  return qemu ? `${qemu.version}: ${plan}` : `${plan}; else install QEMU 10.1 or newer, or name one in FAUXNIC_QEMU`;
}

/** Either way serves; QEMU's own is rarely built. */
async function serving(qemu: Qemu | undefined): Promise<Check> {
  const check = { name: 'qemu: served', for: 'fauxnic serve' };
  if (qemu === undefined) return { ...check, ok: false, about: 'needs QEMU' };
  const own = await exportsDevices(qemu);
  const about = own ? 'by QEMU itself: it has x-vfio-user-server' : 'by us: this QEMU has no x-vfio-user-server';
  return { ...check, ok: true, about };
}

/** Without it guests run all the same, slower. Nothing is booted here to find out. */
function kvm(qemu: Qemu | undefined): Check {
  const found = device('/dev/kvm', 'fast guests', 'turn virtualization on in the firmware, or join the group kvm');
  const known = qemu && knownAccelerator(qemu);
  if (!found.ok) return { ...found, about: `${found.about}; until then guests run under TCG` };
  if (!known) return { ...found, about: 'there; whether it works is not known yet: fauxnic doctor --probe' };
  const ok = known.accelerator === 'kvm';
  return { ...found, ok, about: ok ? `works: ${known.why}` : `${known.why}: guests run under TCG` };
}

function stock(): Check {
  const kernel = cachedStockKernel();
  const about = kernel ? `${kernel.release}, in the cache (fauxnic vm --refresh gets a newer one)` : null;
  const plan = 'on Debian, fauxnic vm downloads it (70 MB)';
  return { name: 'stock kernel', ok: kernel !== null, about: about ?? plan, for: 'guests' };
}

function dev(): Check {
  const check = { name: 'own kernel', for: 'faster guests' };
  try {
    return { ...check, ok: true, about: `${devKernel().release}, for fauxnic vm --kernel dev` };
  } catch {
    return { ...check, ok: false, about: 'make build-dev-kernel (5 minutes)' };
  }
}

/** Cards, through an IOMMU each in a group that is passed on as a whole. */
function vfio(): Check {
  const list = (path: string) => (existsSync(path) ? readdirSync(path) : []);
  const groups = list('/sys/kernel/iommu_groups').length;
  const bound = list('/sys/bus/pci/drivers/vfio-pci').filter((name) => name.includes(':'));
  const check = { name: 'VFIO', for: 'cards in a slot' };
  const lacking =
    groups === 0
      ? 'no IOMMU groups: turn the IOMMU on (firmware; intel_iommu=on)'
      : !existsSync('/sys/bus/pci/drivers/vfio-pci')
        ? `${groups} IOMMU groups, no vfio-pci: modprobe vfio-pci`
        : !existsSync('/dev/vfio/vfio')
          ? `${groups} IOMMU groups, no /dev/vfio/vfio: modprobe vfio; in a container pass --device /dev/vfio`
          : null;
  if (lacking !== null) return { ...check, ok: false, about: lacking };
  return {
    ...check,
    ok: true,
    about: `${groups} IOMMU groups, ${bound.length} cards bound to vfio-pci ${bound.join(' ')}`.trim(),
  };
}

/** What follows, for those who only want to know that. */
function abilities(checks: readonly Check[]): Record<string, boolean> {
  const has = (...names: string[]) => checks.every(({ name, ok }) => ok || !names.includes(name));
  const tap = has('Node', 'native addon', '/dev/net/tun', 'privileges');
  return {
    models: has('Node'),
    tap,
    demo: tap && has('unshare', 'setpriv', 'ip', 'ping', 'iperf3'),
    guests: has('Node', 'native addon', 'setpriv', 'QEMU'),
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
    can.guests ? 'fauxnic vm boots guests.' : 'fauxnic vm has no guests: see what is missing above.',
  ];
  return `${table([['WHAT', '', 'FOR', 'FOUND, OR WHAT TO DO'], ...rows])}\n\n${bold(verdicts.join(' '))}`;
}
