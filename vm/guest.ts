/** A guest that runs one command and ends, or one that is told what to do, step by step. */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { GuestError, type GuestMachine } from './guest-machine.ts';
import { overlay } from './initramfs.ts';
import { Machine, type MachineOptions } from './machine.ts';

/** Starts a machine on an initramfs's descriptor, which may be closed once this returns. */
export type Start<Options, Kind extends GuestMachine> = (options: Options, initramfs: number) => Kind;

const startQemu: Start<MachineOptions, Machine> = (options, initramfs) => new Machine(options, initramfs);

/** What a guest is to run, whatever machine it runs in. */
export interface Errand {
  readonly initramfs: string;
  /** One is a line for the shell, several are a command and its arguments. */
  readonly command: readonly string[];
  /** Milliseconds for all of it; then the machine is ended. Unless told it may take its time. */
  readonly timeout?: number;
}

export type GuestOptions = MachineOptions & Errand;

export interface GuestResult {
  readonly exitCode: number;
  /** What the command printed. */
  readonly output: string;
  /** What the kernel printed. */
  readonly console: string;
  /** What was written to /dev/results. */
  readonly results: string;
  /** Modules that could not be loaded. */
  readonly notes: readonly string[];
  /** Milliseconds to the command's start, and in all. */
  readonly times: { readonly started: number; readonly ended: number };
}

const POWER_OFF = 10_000; // milliseconds from the exit code to the end

export async function runGuest(options: GuestOptions): Promise<GuestResult> {
  return await runIn(startQemu, options);
}

/** The same in any machine. */
export async function runIn<Options extends { readonly signal?: AbortSignal }>(
  start: Start<Options, GuestMachine>,
  options: Options & Errand,
): Promise<GuestResult> {
  const machine = boot(start, options, `#!/bin/sh\n${commandLine(options.command)}\n`);
  const notes: string[] = [];
  let exitCode: number | null = null;
  let powerOff: NodeJS.Timeout | undefined;
  machine.onControl = (line) => {
    const exit = /^exit (\d+)$/.exec(line);
    if (exit) {
      exitCode = Number(exit[1]);
      powerOff = setTimeout(machine.kill, POWER_OFF);
    } else if (line !== 'started') notes.push(line);
  };
  let timedOut = false;
  const end = () => {
    timedOut = true;
    machine.kill();
  };
  const timer = options.timeout === undefined ? undefined : setTimeout(end, options.timeout);
  try {
    await machine.ended();
  } finally {
    clearTimeout(timer);
    clearTimeout(powerOff);
  }
  const { output, console, results, startedAt: started, age: ended } = machine;
  if (exitCode !== null) return { exitCode, output, console, results, notes, times: { started, ended } };
  if (!timedOut || options.signal?.aborted) throw machine.failure();
  const still = Number.isNaN(started) ? 'the guest had not started the command' : 'the command was still running';
  throw new GuestError('TIMEOUT', `after ${options.timeout! / 1000} s ${still}: ended it`, console);
}

function boot<Options extends { readonly initramfs: string }, Kind extends GuestMachine>(
  start: Start<Options, Kind>,
  options: Options,
  command: string,
): Kind {
  // Unpacked here, where it is quicker than in the guest.
  const main = gunzipSync(readFileSync(options.initramfs));
  const initramfs = namelessFile(Buffer.concat([main, overlay({ command })]));
  try {
    return start(options, initramfs);
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

// ---- Step by step ---------------------------------------------------------------------------------------------------

export interface Sitting {
  readonly initramfs: string;
  readonly output?: (chunk: Buffer) => void;
  /** Milliseconds that booting may take. */
  readonly patience?: number;
}

export type SessionOptions = MachineOptions & Sitting;

export interface Answer {
  readonly exitCode: number;
  /** What the script printed, on either stream. */
  readonly output: string;
}

/** Runs what comes, a line each: a mark, seconds, and the script in base64. A script never waits for input.
 * The shell has its path, or busybox would take its own. */
const AGENT = `#!/bin/sh
while read -r mark limit script; do
  echo "$script" | base64 -d > /run/script
  timeout -s KILL "$limit" /bin/sh /run/script < /dev/null 2>&1
  printf '\n%s %d\n' "$mark" $?
done
`;
const PATIENCE = 60_000;
const SCRIPT_LIMIT = 60; // seconds
/** What the serial line and an emulated processor may add to a script's limit, in milliseconds. */
const GRACE = 15_000;

/** A guest that stands by for scripts. */
export class GuestSession<Kind extends GuestMachine = Machine> {
  readonly machine: Kind;
  readonly #patience: number;
  #said = '';
  #starts = 0;
  #number = 0;
  #changed: () => void = () => {};
  #over = false;

  private constructor(machine: Kind, patience: number) {
    this.machine = machine;
    this.#patience = patience;
  }

  /** Boots it. Throws a GuestError where it does not come up in time. */
  static async open(options: SessionOptions): Promise<GuestSession> {
    return await GuestSession.openIn(startQemu, options);
  }

  /** The same in any machine. */
  static async openIn<Options, Kind extends GuestMachine>(
    start: Start<Options, Kind>,
    options: Options & Sitting,
  ): Promise<GuestSession<Kind>> {
    let hear: (chunk: Buffer) => void = () => {};
    const output = (chunk: Buffer) => {
      hear(chunk);
      options.output?.(chunk);
    };
    const session = new GuestSession(boot(start, { ...options, output }, AGENT), options.patience ?? PATIENCE);
    hear = (chunk) => session.#hear(chunk.toString());
    session.machine.onControl = (line) => {
      if (line === 'started') session.#starts++;
      session.#changed();
    };
    session.machine.ended().then(
      () => session.#end(),
      () => session.#end(),
    );
    await session.#untilStarted(1);
    session.machine.pause();
    return session;
  }

  #hear(text: string): void {
    this.#said += text;
    this.#changed();
  }

  #end(): void {
    this.#over = true;
    this.#changed();
  }

  /** Waits until `done` gives something; throws where the machine ends, or `milliseconds` pass. */
  async #until<T>(done: () => T | undefined, milliseconds: number, what: string): Promise<T> {
    const deadline = performance.now() + milliseconds;
    for (;;) {
      const result = done();
      if (result !== undefined) return result;
      if (this.#over) throw this.machine.failure();
      const left = deadline - performance.now();
      if (left <= 0) throw new GuestError('TIMEOUT', `after ${milliseconds / 1000} s ${what}`, this.machine.console);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#changed = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async #untilStarted(starts: number): Promise<void> {
    await this.#until(() => (this.#starts >= starts ? true : undefined), this.#patience, 'the guest had not started');
  }

  /**
   * Runs a script for the shell and waits for its end, one at a time; what it leaves in the background goes on.
   * @param limit seconds; then it is killed, and its exit code is 137.
   */
  async run(script: string, limit = SCRIPT_LIMIT): Promise<Answer> {
    const mark = `fauxnic-${++this.#number}-done`;
    this.#said = '';
    this.machine.input.write(`${mark} ${limit} ${Buffer.from(script).toString('base64')}\n`);
    const end = new RegExp(`\\n${mark} (\\d+)\\n`);
    this.machine.resume();
    try {
      const match = await this.#until(
        () => end.exec(this.#said) ?? undefined,
        limit * 1000 + GRACE,
        `the guest was still at: ${script.trim().split('\n')[0]}`,
      );
      return { exitCode: Number(match[1]), output: this.#said.slice(0, match.index).trimEnd() };
    } finally {
      this.machine.pause();
    }
  }

  /**
   * Starts the guest anew, the machine and whoever serves its cards going on; needs `restarts`.
   * @param hard by the machine's reset button, whatever has become of the guest.
   */
  async restart({ hard = false } = {}): Promise<void> {
    const starts = this.#starts;
    if (hard) await this.machine.reset();
    else this.machine.input.write(`none 5 ${Buffer.from('reboot -f').toString('base64')}\n`);
    await this.#untilStarted(starts + 1);
  }

  /** Ends the machine. Idempotent. */
  async close(): Promise<void> {
    this.machine.kill();
    await this.machine.ended().catch(() => {});
  }
}
