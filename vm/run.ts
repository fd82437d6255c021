import { VmError } from './errors.ts';

/** Should we be killed: the kernel ends the child with us. */
export const WITH_US = ['setpriv', '--pdeathsig', 'KILL', '--'] as const;

export interface RunOptions {
  readonly cwd?: string;
  /** Milliseconds. */
  readonly timeout?: number;
}

/** Runs a tool to its end and returns what it printed. What goes wrong is said in one line. */
export async function run([tool, ...args]: readonly string[], { cwd, timeout }: RunOptions = {}): Promise<string> {
  const { execa } = await import('execa'); // 0.1 s to load, which most commands need not spend
  const [supervisor, ...how] = WITH_US;
  const { stdout, stderr, failed, timedOut, code, exitCode } = await execa(supervisor, [...how, tool!, ...args], {
    cwd,
    timeout,
    reject: false,
    stdin: 'ignore',
    env: { LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
  });
  if (!failed) return stdout;
  if (timedOut) throw new VmError('TIMEOUT', `${tool}: took longer than ${timeout! / 1000} s`);
  if (code === 'ENOENT') throw new VmError('UNAVAILABLE', 'setpriv is missing: apt-get install util-linux');
  if (exitCode === 126 || exitCode === 127)
    throw new VmError('UNAVAILABLE', `${tool} is missing here, or not for us to run`);
  throw new VmError('FAILED', `${tool}: ${gist(stderr || stdout) || `ended with ${exitCode}`}`);
}

/** The line that says what went wrong: apt's begin with "E:". */
function gist(text: string): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return (lines.find((line) => line.startsWith('E:')) ?? lines.at(-1) ?? '').trim();
}
