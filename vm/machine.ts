/** QEMU as a child of ours: it dies with us, and leaves nothing behind. */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { VmError } from './errors.ts';
import { Capture, GuestMachine, type GuestOptions } from './guest-machine.ts';
import type { Kernel } from './kernel.ts';
import { howItEnded, lastWords, type Qemu } from './qemu.ts';
import { Qmp } from './qmp.ts';
import { WITH_US } from './run.ts';

export type Accelerator = 'kvm' | 'tcg';

/** A card: QEMU's own device, or one that a vfio-user server offers at a socket. */
export type Nic =
  | {
      readonly kind: 'qemu';
      readonly device: string;
      /** QEMU's -netdev without its id; unless told, several are wired together, and one alone leads nowhere. */
      readonly netdev?: string;
      readonly mac?: string;
    }
  | {
      readonly kind: 'vfio-user';
      readonly socket: string;
      /** Where its further functions are, from 1 on: in the same slot. */
      readonly functions?: readonly string[];
    };

export interface MachineOptions extends GuestOptions {
  readonly qemu: Qemu;
  readonly kernel: Kernel;
  readonly accelerator: Accelerator;
  readonly nics?: readonly Nic[];
  readonly processors?: number;
  /** Whether the guest may start anew; else that ends the machine. */
  readonly restarts?: boolean;
  readonly qemuArguments?: readonly string[];
}

const SERIAL = [3, 4, 5, 6] as const; // descriptors, in the order of the serial ports
const [CONSOLE, OUTPUT, CONTROL, RESULTS] = SERIAL;
const MONITOR = 7;
const INITRAMFS = 8;

/** QEMU's arguments, without those that say where to boot from. */
export function machineArguments(options: MachineOptions): string[] {
  const { accelerator, nics = [], memory = 512, processors = 1, restarts = false, qemuArguments = [] } = options;
  const socket = (fd: number) => ['-chardev', `socket,id=s${fd},fd=${fd}`];
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', ...(restarts ? [] : ['-no-reboot'])],
    ...['-M', 'q35,memory-backend=m0', '-m', String(memory), '-smp', String(processors)],
    ...['-object', `memory-backend-memfd,id=m0,size=${memory}M,share=on`],
    ...(accelerator === 'kvm' ? ['-accel', 'kvm', '-cpu', 'host'] : ['-accel', 'tcg', '-cpu', EMULATED_PROCESSOR]),
    ...nics.flatMap((nic, index) => nicArguments(nic, index, nics.length)),
    ...SERIAL.flatMap((fd) => [...socket(fd), '-serial', `chardev:s${fd}`]),
    ...[...socket(MONITOR), '-mon', `chardev=s${MONITOR},mode=control`],
    ...qemuArguments,
  ];
}

function nicArguments(nic: Nic, index: number, count: number): string[] {
  // The guest's cards come in our order; left alone QEMU would plug those in JSON last.
  const addr = (FIRST_SLOT + index).toString(16);
  if (nic.kind === 'vfio-user') {
    const sockets = [nic.socket, ...(nic.functions ?? [])];
    return sockets.flatMap((path, number) => {
      const place = sockets.length === 1 ? { addr } : { addr: `${addr}.${number}`, multifunction: number === 0 };
      return ['-device', JSON.stringify({ driver: 'vfio-user-pci', ...place, socket: { path, type: 'unix' } })];
    });
  }
  const { netdev = count > 1 ? 'hubport,hubid=0' : 'user,restrict=on' } = nic;
  const { mac = `52:54:00:00:00:${(index + 1).toString(16).padStart(2, '0')}` } = nic;
  const [kind, ...rest] = netdev.split(',');
  const backend = [kind, `id=n${index}`, ...rest].join(',');
  return [
    '-netdev',
    backend,
    '-device',
    `${nic.device},id=nic${index},netdev=n${index},addr=${addr},mac=${mac},romfile=`,
  ];
}

/** On q35's root bus; 0 is the bridge, and 1 is left to what else a guest may have. */
const FIRST_SLOT = 2;

/**
 * The kernel copies by `rep movsb` or `movsq` where the processor says that these are quick, or is one that had them quick
 * (X86_FEATURE_REP_GOOD; an Opteron of 2004, which this claims to be, had not). Emulated, plain moves are four times as fast.
 */
const EMULATED_PROCESSOR = 'max,la57=off,erms=off,fsrm=off,model=5,stepping=1';
const KERNEL_ARGUMENTS = [
  ...['console=ttyS0', 'quiet', 'loglevel=5', 'panic=-1', 'mitigations=off', 'random.trust_cpu=on'],
  'no_timer_check', // an emulated timer that is late on a busy machine is no broken one
];
/**
 * Emulated, all processors have one TSC. Linux cannot know that of several, and would read the time off the HPET, a device.
 * And where there are several, MWAIT returns at once (QEMU's target/i386/tcg/system/misc_helper.c): to idle would take up
 * one of the host's. That the kernel's ciphers work is known: to try them takes a fifth of the time to boot.
 */
const EMULATED_ARGUMENTS = ['tsc=reliable', 'idle=halt', 'cryptomgr.notests'];

/** The kernel's command line. */
export function kernelArguments({ accelerator, append = [] }: Pick<MachineOptions, 'accelerator' | 'append'>): string {
  return [...KERNEL_ARGUMENTS, ...(accelerator === 'kvm' ? [] : EMULATED_ARGUMENTS), ...append].join(' ');
}

export class Machine extends GuestMachine {
  readonly qmp: Qmp;
  readonly #child: ChildProcess;
  readonly #said = new Capture();
  readonly #complained = new Capture();
  readonly #ended: Promise<void>;
  #how = '';

  /** @param initramfs a descriptor; it may be closed once this returns. */
  constructor(options: MachineOptions, initramfs: number) {
    super(options);
    const { qemu, kernel, signal } = options;
    const boot = ['-kernel', kernel.image, '-initrd', `/dev/fd/${INITRAMFS}`, '-append', kernelArguments(options)];
    const [supervisor, ...args] = [...WITH_US, ...qemu.command, ...machineArguments(options), ...boot];
    // A session of its own: a terminal's Ctrl-C reaches it through us only.
    const pipes = Array.from({ length: MONITOR }, () => 'pipe' as const);
    const stdio: StdioOptions = ['ignore', ...pipes, initramfs];
    this.#child = spawn(supervisor!, args, { stdio, detached: true });
    this.#ended = new Promise((resolve, reject) => {
      this.#child.once('close', (code, signal) => {
        this.#how = howItEnded(code, signal);
        resolve();
      });
      this.#child.once('error', () => {
        reject(new VmError('UNAVAILABLE', 'setpriv is missing: apt-get install util-linux'));
      });
    });
    this.#ended.catch(() => {}); // it may fail before anybody waits
    const hear = (fd: number, heard: (chunk: Buffer) => void) => this.#stream(fd).on('data', heard);
    hear(1, (chunk) => this.#said.add(chunk));
    hear(2, (chunk) => this.#complained.add(chunk));
    hear(CONSOLE, (chunk) => this.consoleSaid(chunk));
    hear(OUTPUT, (chunk) => this.commandSaid(chunk));
    hear(RESULTS, (chunk) => this.resultsSaid(chunk));
    hear(CONTROL, (chunk) => this.controlSaid(chunk));
    this.qmp = new Qmp(this.#stream(MONITOR), this.#child.stdio[MONITOR as 3] as Writable);
    if (this.#child.pid !== undefined) options.started?.(this.#child.pid);
    signal?.addEventListener('abort', this.kill);
    if (signal?.aborted) this.kill();
  }

  get input(): Writable {
    return this.#child.stdio[OUTPUT] as Writable;
  }

  async reset(): Promise<void> {
    await this.qmp.execute('system_reset');
  }

  readonly kill = (): void => void this.#child.kill('SIGKILL');

  async ended(): Promise<void> {
    try {
      await this.#ended;
    } finally {
      this.hangUp();
    }
  }

  protected lastWords(): string {
    return lastWords(this.#complained.text || this.#said.text) || this.#how;
  }

  #stream(fd: number): Readable {
    const stream = this.#child.stdio[fd as 3] as unknown as Readable;
    stream.on('error', () => {}); // the machine has gone: its end is seen elsewhere
    return stream;
  }
}
