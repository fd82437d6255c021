/** One command of a lane, run to its end, or to where it gets no further. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { howItEnded } from '../vm/qemu.ts';
import { familyOf } from './processes.ts';
import { Stall } from './stall.ts';
import type { Tally } from './tally.ts';

export interface Job {
  readonly name: string;
  readonly command: readonly string[];
  /** At this signal it says which tests have not ended; null: there are no tests, and its output is no TAP. */
  readonly interrupt: NodeJS.Signals | null;
}

export interface JobOptions {
  readonly cwd: string;
  /** Gets all that it prints. */
  readonly log: string;
  readonly tally: Tally;
  /** Milliseconds: in which its processes do nothing; in which they do, and say nothing; left to last words. */
  readonly limits?: { readonly stalled: number; readonly silent: number; readonly last: number };
}

/** However slow the machine: no test works so long without a word, nor waits so long, were it for a download of QEMU. */
const LIMITS = { stalled: 600_000, silent: 1_200_000, last: 15_000 };
const LOOK = 2000; // milliseconds from one look at its processes to the next

const running = new Set<ChildProcess>();
process.on('exit', () => running.forEach(kill));

export async function runJob(job: Job, { cwd, log: path, tally, limits = LIMITS }: JobOptions): Promise<void> {
  const log = createWriteStream(path);
  const [program, ...args] = job.command;
  // tap's own limits are of time, and we watch.
  const env = { ...process.env, TAP_TIMEOUT: '0' };
  const child = spawn(program!, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  const watch = new Watch(child, job, limits);
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(howItEnded(code, signal)));
  });
  const heed = (line: string) => {
    watch.heard();
    log.write(`${line}\n`);
    if (job.interrupt === null) tally.remark(line);
    else tally.line(line);
  };
  createInterface(child.stdout).on('line', heed);
  const complaint = (line: string) => {
    log.write(`${line}\n`);
    tally.complaint(line);
  };
  createInterface(child.stderr).on('line', job.interrupt === null ? heed : complaint); // TAP is on standard output
  const how = await ended;
  watch.close();
  running.delete(child);
  tally.end(watch.verdict ?? (how || null));
  log.end();
}

/** Ends a job that gets no further. */
class Watch {
  /** Why it was ended. */
  verdict: string | null = null;
  readonly #child: ChildProcess;
  readonly #job: Job;
  readonly #limits: NonNullable<JobOptions['limits']>;
  readonly #stall: Stall;
  readonly #timer: NodeJS.Timeout;
  #heard = performance.now();

  constructor(child: ChildProcess, job: Job, limits: NonNullable<JobOptions['limits']>) {
    this.#child = child;
    this.#job = job;
    this.#limits = limits;
    this.#stall = new Stall(child.pid!);
    this.#timer = setInterval(() => this.#look(), Math.min(LOOK, limits.stalled));
  }

  heard(): void {
    this.#heard = performance.now();
    this.#stall.end();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const { stalled, silent, last } = this.#limits;
    const quiet = performance.now() - this.#heard;
    if (this.#stall.length > stalled) this.verdict = `its processes did nothing for ${stalled / 1000} s`;
    else if (quiet > silent) this.verdict = `it said nothing for ${silent / 1000} s`;
    else return;
    this.close();
    this.#ask();
    setTimeout(() => kill(this.#child), last).unref();
  }

  /** The test itself may be a process within. */
  #ask(): void {
    const { interrupt, command } = this.#job;
    const file = command.at(-1)!;
    const tester = familyOf(this.#child.pid!).findLast(({ pid }) => commandLine(pid).includes(file));
    if (interrupt !== null && tester) process.kill(tester.pid, interrupt);
  }
}

function kill(child: ChildProcess): void {
  for (const { pid } of familyOf(child.pid!)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {} // it was quicker
  }
}

function commandLine(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}
