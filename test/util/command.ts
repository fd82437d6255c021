/** The command as a person types it: in a process of its own; and in this one, where it is to be refused. */
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import type { ExecutionContext } from 'ava';
import { execa } from 'execa';
import { asSaid, endingOf, makeProgram } from '../../scripts/program.ts';

export const command = fileURLToPath(new URL('../../scripts/fauxnic.js', import.meta.url));

export interface FauxnicOptions {
  readonly cwd?: string;
  /** What comes in from the pipe; null leaves it open. */
  readonly input?: string | null;
  readonly env?: Record<string, string>;
}

export function fauxnic(line: string, { cwd, input = '', env = {} }: FauxnicOptions = {}) {
  return execa(process.execPath, [command, ...line.split(' ').filter(Boolean)], {
    env: { NO_COLOR: undefined, FORCE_COLOR: undefined, ...env },
    cwd,
    ...(input !== null && { input }),
    reject: false,
    forceKillAfterDelay: false,
  });
}

interface Ending {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * What a line comes to, without a process of its own, which would take a fifth of a second. One after the other: it
 * listens to what is printed here.
 */
export async function fauxnicHere(line: string): Promise<Ending> {
  const words = line.split(' ').filter(Boolean);
  const said: string[] = [];
  const { log } = console;
  console.log = (...what: unknown[]) => void said.push(what.join(' '));
  try {
    const program = await makeProgram(words.find((word) => !word.startsWith('-')));
    await program.parseAsync(words, { from: 'user' });
    return { exitCode: Number(process.exitCode ?? 0), stdout: said.join('\n'), stderr: '' };
  } catch (error) {
    const { exitCode, says } = endingOf(error);
    return { exitCode, stdout: said.join('\n'), stderr: says === null ? '' : stripVTControlCharacters(asSaid(says)) };
  } finally {
    console.log = log;
    process.exitCode = undefined;
  }
}

/** Refused in one line, with the exit code for mistakes. One after the other: it listens to what is printed here. */
export async function assertRefused(t: ExecutionContext, line: string, says: RegExp): Promise<void> {
  const { exitCode, stdout, stderr } = await fauxnicHere(line);
  t.is(exitCode, 2, stderr);
  t.regex(stderr, says);
  t.regex(stderr, /^fauxnic: [^\n]+$/, 'one line');
  t.is(stdout, '');
}
