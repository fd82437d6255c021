/**
 * Network namespaces that leave nothing behind: each is held by a child that reads a pipe of ours, so that it ends with
 * us however we end, and the namespace, with all that is in it, with the child. Nothing gets a name in /run/netns.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { execa } from 'execa';
import { Failure, lineOf } from '../errors.ts';
import { Ledger } from './ledger.ts';

/** Should the pipe not be enough: the kernel ends the child when we die. */
const WITH_US = ['--pdeathsig', 'KILL', '--'];
const ledger = new Ledger();

export class Namespace {
  readonly name: string;
  readonly pid: number;
  readonly #end: () => Promise<void>;

  private constructor(name: string, pid: number, end: () => Promise<void>) {
    this.name = name;
    this.pid = pid;
    this.#end = end;
  }

  static async open(name: string): Promise<Namespace> {
    const hold = ['unshare', '--net', '--', 'sh', '-c', 'echo held; exec cat >&2'];
    const child = spawn('setpriv', [...WITH_US, ...hold], { stdio: ['pipe', 'pipe', 'pipe'] });
    child.stdin.on('error', () => {}); // it was killed: its end is seen below
    const errors: Buffer[] = [];
    child.stderr.on('data', (chunk: Buffer) => errors.push(chunk));
    const ended = once(child, 'exit');
    const held = await Promise.race([once(child.stdout, 'data').then(() => true), ended.then(() => false)]);
    if (!held) throw new Failure(`no network namespace: ${Buffer.concat(errors).toString().trim()}`);
    const pid = child.pid!;
    ledger.add(pid, `network namespace ${name}`);
    return new Namespace(name, pid, async () => {
      child.stdin.end();
      await ended;
      ledger.remove(pid);
    });
  }

  /** Moves an interface from our own namespace into this one. */
  async take(link: string): Promise<void> {
    await run('ip', ['link', 'set', link, 'netns', String(this.pid)]);
  }

  /** Runs a tool in it to its end and returns what it printed. */
  async run(tool: string, args: readonly string[], signal?: AbortSignal): Promise<string> {
    return await run('nsenter', ['--target', String(this.pid), '--net', '--', tool, ...args], signal);
  }

  /** Starts a tool in it that runs until it is told to stop. */
  start(tool: string, args: readonly string[]): { stop(): Promise<void> } {
    const child = supervised('nsenter', ['--target', String(this.pid), '--net', '--', tool, ...args]);
    const ended = child.catch(() => {});
    return {
      async stop() {
        child.kill('SIGTERM');
        await ended;
      },
    };
  }

  async close(): Promise<void> {
    await this.#end();
  }
}

function supervised(tool: string, args: readonly string[], cancelSignal?: AbortSignal) {
  const child = execa('setpriv', [...WITH_US, tool, ...args], {
    cancelSignal,
    forceKillAfterDelay: 1000,
    stdin: 'ignore',
  });
  const { pid } = child;
  if (pid !== undefined) {
    ledger.add(pid, args.join(' '));
    child.catch(() => {}).finally(() => ledger.remove(pid));
  }
  return child;
}

async function run(tool: string, args: readonly string[], signal?: AbortSignal): Promise<string> {
  try {
    return (await supervised(tool, args, signal)).stdout;
  } catch (error) {
    const { stderr, stdout, isCanceled } = error as { stderr?: string; stdout?: string; isCanceled?: boolean };
    if (isCanceled) throw error;
    throw new Failure(`${tool} ${args.join(' ')}: ${stderr?.trim() || stdout?.trim() || lineOf(error)}`);
  }
}
