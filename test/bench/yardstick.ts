import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const FLAGS = ['-O2', '-std=gnu11', '-Wall', '-Wextra', '-Werror'];

/**
 * Compiles test/bench/NAME.c and returns the path of the binary, which is kept in the user's cache for as long as the
 * source stays the same. Throws what the compiler says, or ENOENT where there is none (apt-get install gcc).
 */
export function compile(name: string): string {
  const source = join(packageRoot(), 'test/bench', `${name}.c`);
  const hash = createHash('sha256').update(FLAGS.join(' ')).update(readFileSync(source)).digest('hex').slice(0, 16);
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'fauxnic/bench');
  const binary = join(cache, `${name}-${hash}`);
  if (existsSync(binary)) return binary;
  mkdirSync(cache, { recursive: true });
  const unfinished = `${binary}.${process.pid}`; // renamed when whole: two runs may compile at once
  execFileSync('cc', [...FLAGS, '-o', unfinished, source], { stdio: ['ignore', 'ignore', 'pipe'] });
  renameSync(unfinished, binary);
  return binary;
}

/** The C sources stay where they are; this file may have been compiled to dist/. */
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}
