/** A virtual machine that runs one command and ends. It dies with us, and leaves nothing behind. */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { gunzipSync } from 'node:zlib';
import { VmError } from './errors.ts';
import { overlay } from './initramfs.ts';
import type { Kernel } from './kernel.ts';
import type { Qemu } from './qemu.ts';
import { WITH_US } from './run.ts';

export type Accelerator = 'kvm' | 'tcg';

/** A card: QEMU's own device, or one that a vfio-user server offers at a socket. */
export type Nic =
  | { readonly kind: 'qemu'; readonly device: string; readonly netdev?: string }
  | { readonly kind: 'vfio-user'; readonly socket: string };

export interface GuestOptions {
  readonly qemu: Qemu;
  readonly kernel: Kernel;
  readonly initramfs: string;
  readonly accelerator: Accelerator;
  readonly nics?: readonly Nic[];
  /** One is a line for the shell, several are a command and its arguments. */
  readonly command: readonly string[];
  /** Milliseconds for all of it; then the machine is ended. */
  readonly timeout: number;
  /** MiB. */
  readonly memory?: number;
  readonly processors?: number;
  /** For the kernel's command line, and for QEMU's. */
  readonly append?: readonly string[];
  readonly qemuArguments?: readonly string[];
  /** Gets what the command prints, as it prints it. */
  readonly output?: (chunk: Buffer) => void;
  /** Gets what the kernel prints, as it prints it. */
  readonly console?: (chunk: Buffer) => void;
  /** Goes to the command. */
  readonly input?: Readable;
  /** Told of the machine's process, for whoever keeps a list. */
  readonly started?: (pid: number) => void;
  /** Ends the machine. */
  readonly signal?: AbortSignal;
}

export interface GuestResult {
  readonly exitCode: number;
  /** What the command printed. */
  readonly output: string;
  /** What the kernel printed. */
  readonly console: string;
  /** Modules that could not be loaded. */
  readonly notes: readonly string[];
  /** Milliseconds to the command's start, and in all. */
  readonly times: { readonly started: number; readonly ended: number };
}

/** The machine did not do what it was started for; all it said is in `console`. */
export class GuestError extends VmError {
  readonly console: string;

  constructor(code: 'FAILED' | 'TIMEOUT' | 'UNAVAILABLE', message: string, console: string) {
    super(code, message);
    this.console = console;
  }
}

const LIMIT = 16 * 1024 * 1024; // bytes kept of any one stream
const POWER_OFF = 10_000; // milliseconds from the exit code to the end
const [CONSOLE, OUTPUT, CONTROL] = [3, 4, 5] as const; // descriptors, in the order of the serial ports
const INITRAMFS = 6;

export async function runGuest(options: GuestOptions): Promise<GuestResult> {
  const command = overlay({ command: `#!/bin/sh\n${commandLine(options.command)}\n` });
  // Unpacked here, where it is quicker than in the guest.
  const main = gunzipSync(readFileSync(options.initramfs));
  const initramfs = namelessFile(Buffer.concat([main, command]));
  try {
    return await new Machine(options, initramfs).run();
  } finally {
    closeSync(initramfs);
  }
}

/** Has no name any more when it is filled: it is gone with its descriptors, however we end. */
function namelessFile(content: Uint8Array): number {
  const folder = mkdtempSync(join(tmpdir(), 'fauxnic-vm-'));
  const path = join(folder, 'initramfs');
  const fd = openSync(path, 'w+', 0o600);
  rmSync(folder, { recursive: true });
  writeFileSync(fd, content);
  return fd;
}

function commandLine(command: readonly string[]): string {
  if (command.length === 1) return command[0]!;
  return `exec ${command.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')}`;
}

/** QEMU's arguments, without those that say where to boot from. */
export function machineArguments(options: GuestOptions): string[] {
  const { accelerator, nics = [], memory = 512, processors = 1, qemuArguments = [] } = options;
  return [
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ...['-M', 'q35,memory-backend=m0', '-m', String(memory), '-smp', String(processors)],
    ...['-object', `memory-backend-memfd,id=m0,size=${memory}M,share=on`],
    ...(accelerator === 'kvm' ? ['-accel', 'kvm', '-cpu', 'host'] : ['-accel', 'tcg', '-cpu', 'max,la57=off']),
    ...nics.flatMap((nic, index) => nicArguments(nic, index, nics.length)),
    ...[CONSOLE, OUTPUT, CONTROL].flatMap((fd) => [
      '-chardev',
      `socket,id=s${fd},fd=${fd}`,
      '-serial',
      `chardev:s${fd}`,
    ]),
    ...qemuArguments,
  ];
}

function nicArguments(nic: Nic, index: number, count: number): string[] {
  if (nic.kind === 'vfio-user') {
    const socket = { path: nic.socket, type: 'unix' };
    return ['-device', JSON.stringify({ driver: 'vfio-user-pci', socket })];
  }
  // Several are wired together; one alone has QEMU's user-mode network, which leads nowhere.
  const { netdev = count > 1 ? 'hubport,hubid=0' : 'user,restrict=on' } = nic;
  const mac = `52:54:00:00:00:${(index + 1).toString(16).padStart(2, '0')}`;
  const [kind, ...rest] = netdev.split(',');
  const backend = [kind, `id=n${index}`, ...rest].join(',');
  return ['-netdev', backend, '-device', `${nic.device},netdev=n${index},mac=${mac},romfile=`];
}

const KERNEL_ARGUMENTS = ['console=ttyS0', 'quiet', 'loglevel=5', 'panic=-1', 'mitigations=off', 'random.trust_cpu=on'];

class Machine {
  readonly #options: GuestOptions;
  readonly #child: ChildProcess;
  readonly #start = performance.now();
  readonly #streams = new Map<number, Capture>();
  #control = '';
  #exitCode: number | null = null;
  #startedAt = Number.NaN;
  readonly #notes: string[] = [];
  #powerOff: NodeJS.Timeout | undefined;

  constructor(options: GuestOptions, initramfs: number) {
    this.#options = options;
    const { qemu, kernel, append = [] } = options;
    const line = [...KERNEL_ARGUMENTS, ...append].join(' ');
    const boot = ['-kernel', kernel.image, '-initrd', `/dev/fd/${INITRAMFS}`, '-append', line];
    const [supervisor, ...args] = [...WITH_US, ...qemu.command, ...machineArguments(options), ...boot];
    // A session of its own: a terminal's Ctrl-C reaches it through us only.
    const stdio: StdioOptions = ['ignore', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe', initramfs];
    this.#child = spawn(supervisor!, args, { stdio, detached: true });
    this.#capture(1);
    this.#capture(2);
    this.#capture(CONSOLE, options.console);
    this.#capture(OUTPUT, options.output);
    this.#stream(CONTROL).on('data', (chunk: Buffer) => this.#listen(chunk.toString('latin1')));
    if (this.#child.pid !== undefined) options.started?.(this.#child.pid);
    options.input?.pipe(this.#child.stdio[OUTPUT] as Writable);
  }

  async run(): Promise<GuestResult> {
    const { timeout, signal, input } = this.#options;
    let timedOut = false;
    const kill = () => this.#child.kill('SIGKILL');
    const timer = setTimeout(() => {
      timedOut = true;
      kill();
    }, timeout);
    signal?.addEventListener('abort', kill);
    if (signal?.aborted) kill();
    try {
      await this.#ended();
    } finally {
      clearTimeout(timer);
      clearTimeout(this.#powerOff);
      signal?.removeEventListener('abort', kill);
      input?.unpipe();
    }
    if (this.#exitCode !== null) return this.#result(this.#exitCode);
    throw this.#failure(timedOut);
  }

  async #ended(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#child.once('close', () => resolve());
      this.#child.once('error', () => {
        reject(new VmError('UNAVAILABLE', 'setpriv is missing: apt-get install util-linux'));
      });
    });
  }

  #result(exitCode: number): GuestResult {
    const [output, console] = [OUTPUT, CONSOLE].map((fd) => this.#streams.get(fd)!.text) as [string, string];
    const times = { started: this.#startedAt, ended: performance.now() - this.#start };
    return { exitCode, output, console, notes: this.#notes, times };
  }

  #failure(timedOut: boolean): GuestError {
    const console = this.#streams.get(CONSOLE)!.text;
    const started = !Number.isNaN(this.#startedAt);
    if (this.#options.signal?.aborted) return new GuestError('FAILED', 'the guest was stopped', console);
    if (timedOut) return new GuestError('TIMEOUT', this.#overdue(started), console);
    const said = (this.#streams.get(2)!.text || this.#streams.get(1)!.text).trim().split('\n').at(-1) ?? '';
    const why = said.replace(/^\S*qemu-system-x86_64: /, '');
    const panic = /Kernel panic[^\r\n]*/.exec(console)?.[0];
    const when = started ? 'while the command was running' : 'before it started the command';
    return new GuestError('FAILED', `the guest ended ${when}: ${panic ?? (why || 'it reset itself')}`, console);
  }

  #overdue(started: boolean): string {
    const after = `after ${this.#options.timeout / 1000} s`;
    return `${after} ${started ? 'the command was still running' : 'the guest had not started the command'}: ended it`;
  }

  #stream(fd: number): Readable {
    const stream = this.#child.stdio[fd as 3] as unknown as Readable;
    stream.on('error', () => {}); // the machine has gone: its end is seen elsewhere
    return stream;
  }

  #capture(fd: number, tell?: (chunk: Buffer) => void): void {
    const capture = new Capture();
    this.#streams.set(fd, capture);
    this.#stream(fd).on('data', (chunk: Buffer) => {
      capture.add(chunk);
      tell?.(chunk);
    });
  }

  #listen(text: string): void {
    const lines = (this.#control + text).split('\n');
    this.#control = lines.pop()!.slice(-1000);
    for (const line of lines) {
      const exit = /^exit (\d+)$/.exec(line);
      if (line === 'started') this.#startedAt = performance.now() - this.#start;
      else if (!exit) this.#notes.push(line);
      else {
        this.#exitCode = Number(exit[1]);
        this.#powerOff = setTimeout(() => this.#child.kill('SIGKILL'), POWER_OFF);
      }
    }
  }
}

/** The last of a stream. */
class Capture {
  readonly #chunks: Buffer[] = [];
  #size = 0;

  add(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    while (this.#size > LIMIT) this.#size -= this.#chunks.shift()!.length;
  }

  get text(): string {
    return Buffer.concat(this.#chunks).toString();
  }
}
