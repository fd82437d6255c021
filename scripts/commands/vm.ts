import { statSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type GuestOptions, type GuestResult, runGuest, runIn } from '../../vm/guest.ts';
import { GuestError } from '../../vm/guest-machine.ts';
import { buildInitramfs, PROGRAMS } from '../../vm/initramfs.ts';
import { findKernel, stockKernel } from '../../vm/kernel.ts';
import { type AcceleratorChoice, chooseAccelerator } from '../../vm/kvm.ts';
import type { Nic } from '../../vm/machine.ts';
import { findQemu } from '../../vm/qemu.ts';
import { interactiveShell, pipedShell } from '../../vm/shell.ts';
import { shareProcessor, UmlMachine, type UmlOptions } from '../../vm/uml/machine.ts';
import { umlParts } from '../../vm/uml/parts.ts';
import { MODELS, modelNamed } from '../catalogue.ts';
import { UsageError } from '../errors.ts';
import type { Model } from '../families/family.ts';
import { FAMILIES } from '../families/index.ts';
import { OPTIONS } from '../options.ts';
import { Ledger, sweep } from '../rig/ledger.ts';
import { Network, type Peer } from '../rig/network.ts';
import { checkFiles } from '../rig/report.ts';
import { SocketFolder } from '../rig/socket-folder.ts';
import { readScript, TerminalLine } from '../rig/terminal-line.ts';
import { StopSignals } from '../stop-signals.ts';
import { dim } from '../terminal/style.ts';

/** A card of the guest's, as asked for: one of these, or a model of ours that is served to it. */
type WantedNic = Nic | { readonly kind: 'sim'; readonly model: Model };

interface Options {
  readonly nic: readonly WantedNic[];
  readonly peer?: Peer;
  readonly pcap?: string;
  readonly trace?: string;
  readonly module: readonly string[];
  readonly program: readonly string[];
  readonly accel?: 'tcg' | 'kvm';
  readonly smp: number;
  readonly memory: number;
  readonly timeout?: number;
  readonly kernel: string;
  readonly uml?: true;
  readonly virtual?: true;
  readonly virtualSeconds: number;
  readonly seed?: number;
  readonly refresh?: true;
  readonly console?: true;
  readonly times?: true;
}

/** Linux's modules for QEMU's devices: the families', and others that no family has. */
const MODULES: Readonly<Record<string, readonly string[]>> = {
  ...Object.fromEntries(
    FAMILIES.flatMap(({ qemu = {} }) => Object.entries(qemu)).map(([device, module]) => [device, [module]]),
  ),
  igb: ['igb'],
  'virtio-net-pci': ['virtio_pci', 'virtio_net'],
  vmxnet3: ['vmxnet3'],
};
/** Those that a card of unknown kind may want, served by another process. */
const SERVED = [
  ...new Set([
    ...FAMILIES.flatMap(({ models, qemu = {} }) => [
      ...models.flatMap(({ linux }) => linux?.module ?? []),
      ...Object.values(qemu),
    ]),
    'igb',
    'ixgbe',
  ]),
];
const CONSOLE_LINES = 40;
const TIMEOUT = 120; // seconds
const NEVER = 0x7fffffff; // milliseconds: what a timer can be set to
/** A stock kernel does not start with much less, and does not say so. */
const LEAST_MEMORY = 192;

export function addVm(program: Command): void {
  program
    .command('vm')
    .summary('boot a guest with these cards and run a command in it')
    .description(
      'Boots a kernel with the cards named, runs a command there and ends with its exit code. ' +
        'One argument is a line for the shell, several are a command and its arguments; none is a shell at this ' +
        'terminal, which Ctrl-A X leaves, or what comes over a pipe. Models run in this process, and the guest drives ' +
        'them over vfio-user.',
    )
    .option(
      '--nic <card>',
      "sim:MODEL, qemu:DEVICE or vfio-user:SOCKET; again for more: models and QEMU's own are wired together",
      addNic,
      [],
    )
    .addOption(new Option('--peer <role>', "who else is on the models' wire: tap, tap=NAME or echo").argParser(peer))
    .addOption(OPTIONS.pcap())
    .addOption(OPTIONS.trace())
    .option('--module <name>', "load this kernel module, instead of the cards' drivers; again for more", add, [])
    .option('--program <name>', 'take this program of the machine along; again for more', add, [])
    .option(
      '--kernel <which>',
      "stock (the distribution's), dev (make build-dev-kernel), an image or a folder",
      'stock',
    )
    .option('--refresh', 'get the stock kernel that the distribution has now')
    .option('--uml', 'Linux as a process, without QEMU (docs/uml.md; make build-uml-kernel); models only')
    .option('--virtual', 'with --uml, in virtual time: whoever sleeps does not wait, and a run repeats')
    .option('--virtual-seconds <n>', 'with --virtual: end it then, in its own time', seconds, 86_400)
    .option('--seed <n>', 'with --uml: what its randomness follows from (default: 1 with --virtual)', seed)
    .option('--accel <kind>', 'kvm or tcg (default: KVM where a guest booted with it)', accelerator)
    .option('--smp <n>', 'processors', whole, 1)
    .option('--memory <MiB>', `memory, ${LEAST_MEMORY} at least`, memorySize, 512)
    .option('--timeout <seconds>', `end the guest then (default: ${TIMEOUT}, never for a shell at a terminal)`, seconds)
    .option('--console', "show the kernel's console as it comes, on standard error")
    .option('--times', 'say how long it took, on standard error')
    .argument('[command...]', 'what to run in the guest')
    .passThroughOptions()
    .action(async (command: string[], options: Options) => {
      process.exitCode = await runVm(command, options);
    });
}

const note = (line: string) => void process.stderr.write(`${dim(line)}\n`);

async function runVm(words: readonly string[], options: Options): Promise<number> {
  checkNics(options);
  checkTime(options);
  const atTerminal = words.length === 0 && process.stdin.isTTY;
  if (atTerminal && options.virtual) throw new UsageError('in virtual time nobody can type: name a command');
  const timeout = options.timeout ? options.timeout * 1000 : atTerminal ? NEVER : TIMEOUT * 1000;
  const command = words.length > 0 ? words : [atTerminal ? interactive(options) : await piped()];
  sweep();
  const run = await (options.uml ? asProcess(options) : inQemu(options));
  const stop = new StopSignals();
  const ledger = new Ledger();
  const sockets = new SocketFolder();
  let network: Network | undefined;
  let line: TerminalLine | undefined;
  let pid: number | undefined;
  try {
    network = await openNetwork(options, sockets);
    if (atTerminal) line = new TerminalLine();
    const result = await run(network, sockets, {
      ...{ command, timeout },
      input: line?.input,
      output: (chunk) => process.stdout.write(chunk),
      console: options.console && ((chunk) => process.stderr.write(chunk)),
      signal: line ? AbortSignal.any([stop.signal, line.left]) : stop.signal,
      started: (child) => {
        pid = child;
        ledger.add(child, 'a guest');
      },
    });
    report(result, options);
    if (network) {
      await network.close();
      checkFiles(network);
    }
    return atTerminal ? 0 : result.exitCode;
  } catch (error) {
    if (stop.received) return stop.exitCode;
    if (line?.left.aborted) return 0;
    if (error instanceof GuestError && !options.console) showConsole(error.console);
    throw error;
  } finally {
    line?.close();
    if (pid !== undefined) ledger.remove(pid);
    await network?.close();
    sockets.remove();
    stop.close();
  }
}

/** What of a run does not depend on the machine. */
type Common = Pick<GuestOptions, 'command' | 'timeout' | 'input' | 'output' | 'console' | 'signal' | 'started'>;
type Run = (network: Network | undefined, sockets: SocketFolder, common: Common) => Promise<GuestResult>;

async function inQemu(options: Options): Promise<Run> {
  const { module, program, smp: processors, memory, refresh = false } = options;
  // What is wrong with it is said before anything is downloaded.
  const named = options.kernel === 'stock' ? null : await findKernel(options.kernel);
  const qemu = await findQemu(note);
  const kernel = named ?? (await stockKernel(note, { refresh }));
  const modules = module.length > 0 ? module : [...new Set(options.nic.flatMap(driversOf))];
  const programs = [...PROGRAMS, ...program];
  const initramfs = await buildInitramfs({ kernel, modules, programs, progress: note });
  const choice: AcceleratorChoice = options.accel
    ? { accelerator: options.accel, why: 'as asked for' }
    : await chooseAccelerator(qemu, kernel, note);
  if (options.times)
    note(`QEMU ${qemu.version} (${qemu.why}), ${choice.accelerator} (${choice.why}), Linux ${kernel.release}`);
  return async (network, sockets, common) =>
    await runGuest({
      ...{ ...common, qemu, kernel, initramfs, processors, memory },
      accelerator: choice.accelerator,
      nics: options.nic.map((nic, index) => plugged(nic, index, sockets, network)),
    });
}

async function asProcess(options: Options): Promise<Run> {
  const { program, memory, virtual, virtualSeconds, kernel: path } = options;
  const parts = await umlParts({
    kernel: path === 'stock' ? undefined : path,
    programs: [...PROGRAMS, ...program],
    progress: note,
  });
  shareProcessor();
  const seed = options.seed ?? (virtual ? 1 : undefined);
  if (options.times) note(`Linux ${parts.kernel.release}, a process, in ${virtual ? 'virtual' : 'real'} time`);
  return async (network, _sockets, common) => {
    const result = await runIn((all: UmlOptions, initramfs) => new UmlMachine(all, initramfs), {
      ...{ ...common, ...parts, memory, seed, virtualSeconds },
      ...{ surroundings: network!.surroundings!, devices: network!.plugged },
    });
    if (options.times && virtual) note(`${(network!.now / 1e9).toFixed(2)} virtual seconds`);
    return result;
  };
}

async function piped(): Promise<string> {
  const script = await readScript();
  if (script === null) throw new UsageError('what came over standard input is no script: it is too long, or no text');
  return pipedShell(script);
}

function interactive({ nic, kernel }: Options): string {
  const { rows = 24, columns = 80 } = process.stdout;
  return interactiveShell({ rows, columns, kind: process.env.TERM ?? '' }, greeting(nic, kernel));
}

/** What there is, and what to try. */
function greeting(nics: readonly WantedNic[], kernel: string): string[] {
  const about = (nic: WantedNic) =>
    nic.kind === 'sim' ? `fauxnic's ${nic.model.chip}` : nic.kind === 'qemu' ? `QEMU's ${nic.device}` : nic.socket;
  const wired = nics.filter(({ kind }) => kind !== 'vfio-user').length > 1;
  const tries = [
    ['ip -br link', 'the cards as Linux has them'],
    ['ethtool -i eth0', 'which driver; -t runs its self-test, -S shows its statistics, -d its registers'],
    ['ip netns add b; ip link set eth1 netns b; ip -n b addr add 10.0.0.2/24 dev eth1; ip -n b link set eth1 up'],
    ['ip addr add 10.0.0.1/24 dev eth0; ping -c 3 10.0.0.2', 'over the wire, from one card to the other'],
  ].slice(0, wired ? 4 : nics.length > 0 ? 2 : 0);
  return [
    '',
    ...nics.map(
      (nic, index) => `  card ${index}    ${about(nic)}${wired && nic.kind !== 'vfio-user' ? ', on the wire' : ''}`,
    ),
    ...tries.map(
      ([command, what], index) => `  ${index === 0 ? 'try ' : '    '}      ${command}${what ? `   (${what})` : ''}`,
    ),
    `  leave     exit, or Ctrl-A X (kernel: ${kernel})`,
    '',
  ];
}

/** The models, served; with them QEMU's own cards are on the same wire. */
async function openNetwork(options: Options, sockets: SocketFolder): Promise<Network | undefined> {
  const { nic, peer, pcap, trace, uml, virtual } = options;
  const indexed = nic.map((nic, index) => ({ nic, socket: sockets.at(String(index)) }));
  const cards = indexed.flatMap(({ nic, socket }) => (nic.kind === 'sim' ? [{ model: nic.model, socket }] : []));
  if (cards.length === 0) return undefined;
  const streams = indexed.flatMap(({ nic, socket }) => (nic.kind === 'qemu' ? [socket] : []));
  const time = uml && (virtual ? 'virtual' : 'real');
  return await Network.open({ cards, streams, peer, pcap, trace, log: note, uml: time });
}

/** The card as QEMU is to have it. */
function plugged(nic: WantedNic, index: number, sockets: SocketFolder, network: Network | undefined): Nic {
  if (network === undefined || nic.kind === 'vfio-user') return nic as Nic;
  const socket = sockets.at(String(index));
  if (nic.kind === 'sim') return { kind: 'vfio-user', socket, functions: network.socketsOf(socket).slice(1) };
  return { ...nic, netdev: `stream,server=off,addr.type=unix,addr.path=${socket}` };
}

function report({ notes, times }: GuestResult, options: Options): void {
  for (const line of notes) note(line);
  const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;
  if (options.times) note(`to the command's start ${seconds(times.started)}, in all ${seconds(times.ended)}`);
}

function showConsole(console: string): void {
  const lines = console.trimEnd().split(/\r?\n/).filter(Boolean).slice(-CONSOLE_LINES);
  for (const line of lines) note(`  ${line}`);
}

function driversOf(nic: WantedNic): readonly string[] {
  if (nic.kind === 'sim') return nic.model.linux ? [nic.model.linux.module] : [];
  return nic.kind === 'vfio-user' ? SERVED : (MODULES[nic.device] ?? []);
}

/** Said before anything is downloaded. */
function checkNics({ nic: nics, peer, pcap, trace }: Options): void {
  const served = nics.some(({ kind }) => kind === 'sim');
  for (const [name, value] of Object.entries({ peer, pcap, trace }))
    if (value !== undefined && !served) throw new UsageError(`--${name} is for models: give a --nic sim:MODEL with it`);
  if (trace === '-') throw new UsageError('--trace - and the command both want standard output: name a file');
  for (const nic of nics)
    if (nic.kind === 'vfio-user' && !statSync(nic.socket, { throwIfNoEntry: false })?.isSocket())
      throw new UsageError(`--nic vfio-user:${nic.socket}: no socket is there; start its server first`);
}

/** Which options go together. */
function checkTime(options: Options): void {
  const { uml, virtual, seed, nic, peer, refresh, kernel } = options;
  if (refresh && (uml || kernel !== 'stock')) throw new UsageError('--refresh is for the stock kernel');
  if (!uml && (virtual || seed !== undefined))
    throw new UsageError(`--${virtual ? 'virtual' : 'seed'} is for Linux as a process: give --uml with it`);
  if (!uml) return;
  if (nic.length === 0 || nic.some(({ kind }) => kind !== 'sim'))
    throw new UsageError('--uml is for models: give one --nic sim:MODEL or several, and no other card');
  if (nic.some((card) => card.kind === 'sim' && card.model.board !== undefined))
    throw new UsageError('--uml has slots of one function: give --nic sim:MODEL/0, and another for each function');
  if (virtual && peer?.kind === 'tap')
    throw new UsageError("a TAP is this machine's, which lives in another time: give --peer echo with --virtual");
}

function addNic(text: string, before: readonly WantedNic[]): readonly WantedNic[] {
  const [, kind, what = ''] = /^(sim|qemu|vfio-user):(.+)$/.exec(text) ?? [];
  const model = modelNamed(what);
  if (kind === 'sim' && model) return [...before, { kind, model }];
  if (kind === 'vfio-user') return [...before, { kind, socket: what }];
  if (kind === 'qemu' && Object.hasOwn(MODULES, what)) return [...before, { kind, device: what }];
  const models = MODELS.map(({ name }) => `sim:${name}`);
  const devices = Object.keys(MODULES).map((device) => `qemu:${device}`);
  throw new InvalidArgumentError(`it is one of ${[...models, ...devices].join(', ')}, or vfio-user:SOCKET.`);
}

function peer(text: string): Peer {
  const [, kind, name] = /^(tap|echo)(?:=(.+))?$/.exec(text) ?? [];
  if (kind === 'tap' || (kind === 'echo' && name === undefined)) return { kind, name };
  throw new InvalidArgumentError('it is tap, tap=NAME or echo.');
}

const add = (text: string, before: readonly string[]) => [...before, text];

function accelerator(text: string): string {
  if (text === 'kvm' || text === 'tcg') return text;
  throw new InvalidArgumentError('it is kvm or tcg.');
}

function seed(text: string): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value <= 0xffffffff) return value;
  throw new InvalidArgumentError('it is a whole number of 32 bits.');
}

function whole(text: string): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (value > 0) return value;
  throw new InvalidArgumentError('it is a whole number above zero.');
}

function seconds(text: string): number {
  const value = whole(text);
  if (value * 1000 < NEVER) return value;
  throw new InvalidArgumentError(`it is ${Math.floor(NEVER / 1000)} at most.`);
}

function memorySize(text: string): number {
  const value = whole(text);
  if (value >= LEAST_MEMORY) return value;
  throw new InvalidArgumentError(`it is ${LEAST_MEMORY} at least.`);
}
