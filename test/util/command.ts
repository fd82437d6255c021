/** The command in a process of its own, as a person types it. */
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

const command = fileURLToPath(new URL('../../scripts/fauxnic.js', import.meta.url));

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
    timeout: 30_000,
  });
}
