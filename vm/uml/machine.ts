/**
 * Linux as a process of ours: it dies with us, and leaves nothing behind. Its cards and its serial lines are sockets in one
 * folder, which it is started in, so that its command line is the same each time.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { basename, dirname } from 'node:path';
import { Writable } from 'node:stream';
import { listenUnix, type UnixListener, type Watch, watch } from '../../native/index.ts';
import { SECOND } from '../../sim/clock.ts';
import { VmError } from '../errors.ts';
import { Capture, GuestMachine, type GuestOptions } from '../guest-machine.ts';
import { howItEnded, lastWords } from '../qemu.ts';
import { WITH_US } from '../run.ts';
import type { Calendar, Kernel } from './calendar.ts';
import type { ConsoleLine } from './console.ts';
import type { UmlKernel } from './kernel.ts';
import type { Reactor } from './reactor.ts';
import { type DeviceServer, type ServeOptions, serveConsole } from './server.ts';
import type { RealTime, Time } from './time.ts';

/** Where a machine lives: its time, and who reads its sockets. */
export type Surroundings =
  | { readonly reactor: Reactor; readonly time: RealTime; readonly calendar?: undefined }
  | { readonly reactor: Reactor; readonly time: Kernel; readonly calendar: Calendar };

/** A device that is served to the machine. */
export interface Plugged {
  /** In the machine's folder. */
  readonly socket: string;
  /** Virtio's number of its kind. */
  readonly id: number;
  /** The machine has gone. */
  leave(): void;
}

export interface UmlOptions extends GuestOptions {
  readonly kernel: UmlKernel;
  readonly surroundings: Surroundings;
  /** In their order; at least one, whose folder is the machine's. */
  readonly devices: readonly Plugged[];
  /** What its randomness begins with; the host's randomness, if absent. */
  readonly seed?: number;
  /** In virtual time: seconds after which it is ended. */
  readonly virtualSeconds?: number;
}

const MEMORY = 256; // MiB
const INITRAMFS = 3;
const LINES = 4;

export class UmlMachine extends GuestMachine {
  readonly input: Writable;
  readonly #options: UmlOptions;
  readonly #child: ChildProcess;
  readonly #said = new Capture();
  readonly #lines: DeviceServer<ConsoleLine>[] = [];
  readonly #ended: Promise<void>;
  #listener: UnixListener | null = null;
  #waiting: Watch | null = null;
  #how = '';

  /** @param initramfs a descriptor; it may be closed once this returns. */
  constructor(options: UmlOptions, initramfs: number) {
    super(options);
    this.#options = options;
    const { kernel, signal, devices } = options;
    const folder = dirname(devices[0]!.socket);
    this.#serveLines(folder);
    this.input = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        this.#lines[1]!.device.write(chunk);
        done();
      },
    });
    if (options.surroundings.calendar) this.#awaitKernel(folder, options.surroundings.time);
    const [supervisor, ...args] = [...WITH_US, ...REPEATABLE, kernel.image, ...kernelArguments(options)];
    // A session of its own: a terminal's Ctrl-C reaches it through us only. Nothing of our environment, which is in its memory.
    const stdio = ['ignore' as const, 'pipe' as const, 'pipe' as const, initramfs];
    this.#child = spawn(supervisor!, args, { stdio, detached: true, cwd: folder, env: { PATH: process.env.PATH } });
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      stream.on('data', (chunk: Buffer) => this.#said.add(chunk));
    this.#ended = new Promise((resolve, reject) => {
      this.#child.once('close', (code, signal) => {
        this.#how = howItEnded(code, signal);
        this.#close();
        resolve();
      });
      this.#child.once('error', () =>
        reject(new VmError('UNAVAILABLE', 'setpriv is missing: apt-get install util-linux')),
      );
    });
    this.#ended.catch(() => {}); // it may fail before anybody waits
    if (this.#child.pid !== undefined) options.started?.(this.#child.pid);
    signal?.addEventListener('abort', this.kill);
    if (signal?.aborted) this.kill();
  }

  /** In virtual time whatever the guest says is heard before time goes on. */
  #serveLines(folder: string): void {
    const { surroundings } = this.#options;
    const { calendar } = surroundings;
    const heard = (hear: (chunk: Buffer) => void) => (chunk: Buffer) =>
      calendar ? calendar.turn(() => hear(chunk)) : hear(chunk);
    const listeners = [
      (chunk: Buffer) => this.consoleSaid(chunk),
      heard((chunk) => this.commandSaid(chunk)),
      heard((chunk) => this.controlSaid(chunk)),
      heard((chunk) => this.resultsSaid(chunk)),
    ];
    for (const [index, listener] of listeners.entries())
      this.#lines.push(serveConsole(listener, serving(folder, `line${index}`, surroundings)));
  }

  /** It connects to its calendar as the first thing that it does. */
  #awaitKernel(folder: string, time: Kernel): void {
    time.onBroken = (why) => {
      this.#said.add(Buffer.from(`${why}\n`));
      this.kill();
    };
    // Its sockets close one after the other: what its end does to the wire happens at one moment of virtual time.
    time.onOver = () => this.pause();
    const { virtualSeconds } = this.#options;
    if (virtualSeconds !== undefined)
      time.clock.alarm(() => time.end(`after ${virtualSeconds} virtual seconds: ended it`)).in(virtualSeconds * SECOND);
    const listener = listenUnix(`${folder}/calendar`);
    this.#listener = listener;
    this.#waiting = watch(listener.fd, {
      readable: () => {
        const socket = listener.accept();
        if (socket === null) return;
        this.#waiting!.stop();
        time.connect(socket);
      },
    });
    this.#waiting.start();
  }

  async reset(): Promise<void> {
    throw new VmError('INVALID', 'Linux as a process has no reset button');
  }

  /** With all that are its userspace. */
  readonly kill = (): void => {
    try {
      process.kill(-this.#child.pid!, 'SIGKILL');
    } catch {} // it has just ended
  };

  override pause(): void {
    this.#options.surroundings.calendar?.hold();
  }

  override resume(): void {
    this.#options.surroundings.calendar?.release();
  }

  async ended(): Promise<void> {
    try {
      await this.#ended;
    } finally {
      this.hangUp();
    }
  }

  protected lastWords(): string {
    return lastWords(this.#said.text) || this.#how;
  }

  #close(): void {
    const { devices, surroundings } = this.#options;
    for (const line of this.#lines) line.close();
    for (const device of devices) device.leave();
    if (surroundings.calendar) {
      surroundings.time.end(null);
      this.resume();
    }
    this.#waiting?.close();
    this.#listener?.close();
  }
}

/** For a server of a device of the machine's. */
export function serving(
  folder: string,
  name: string,
  { reactor, time }: { reactor: Reactor; time: Time },
): ServeOptions {
  return { socket: `${folder}/${name}`, time, reactor };
}

/** The host places the kernel's memory where it likes, unless told not to: what is found at an address depends on it. */
const REPEATABLE = ['setarch', 'x86_64', '--addr-no-randomize'];

function kernelArguments({ surroundings, devices, seed, memory = MEMORY, append = [] }: UmlOptions): string[] {
  const lines = Array.from({ length: LINES }, (_, index) => ({ socket: `line${index}`, id: 3 }));
  const plugged = [...lines, ...devices].map(({ socket, id }) => `virtio_uml.device=${basename(socket)}:${id}`);
  return [
    ...(surroundings.calendar ? ['time-travel=ext:calendar'] : []),
    ...(seed === undefined ? [] : [`random_seed=${seed}`]),
    ...['uml_dir=uml', 'umid=kernel', 'noreboot', `mem=${memory}M`, `initrd=/dev/fd/${INITRAMFS}`],
    ...['con=null', 'ssl=null', 'stderr=1', 'console=hvc0', 'quiet', 'loglevel=5'],
    ...plugged,
    ...append,
  ];
}

/**
 * This thread and whatever it starts share a processor from here on: who waits for whom in turn is quicker so. Does nothing
 * where the machine does not let it.
 */
export function shareProcessor(): void {
  spawnSync('taskset', ['--cpu-list', '--pid', '0', String(process.pid)], { stdio: 'ignore' });
}
