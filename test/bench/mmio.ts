/**
 * `mmio`: a register read through vfio-user, of the e1000 model in a process of its own, against a C server that blocks in
 * recv and answers the same messages (mmio.c). One C client measures both, in alternating rounds.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Result, result } from './result.ts';
import { compile } from './yardstick.ts';

const ROUNDS = 21;
const READS = 10_000;
const command = fileURLToPath(new URL('../../scripts/fauxnic.js', import.meta.url));

export async function bench(): Promise<Result[]> {
  const yardstick = compile('mmio');
  const folder = mkdtempSync(join(tmpdir(), 'fauxnic-bench-'));
  const [ours, theirs] = [join(folder, 'ours'), join(folder, 'theirs')];
  const servers: ChildProcess[] = [];
  try {
    servers.push(
      await ready(process.execPath, [command, 'serve', 'e1000', '--socket', ours, '--peer', 'none']),
      await ready(yardstick, ['serve', theirs]),
    );
    const printed = execFileSync(yardstick, ['measure', `${ROUNDS}`, `${READS}`, ours, theirs], { encoding: 'utf8' });
    const [p50, p99, yardstick50, yardstick99] = printed.split(' ').map((ns) => Number(ns) / 1000);
    return [result('mmio/p50', p50!, 'µs', yardstick50!), result('mmio/p99', p99!, 'µs', yardstick99!)];
  } finally {
    for (const server of servers) server.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Started, and it has said that it listens. */
async function ready(file: string, args: readonly string[]): Promise<ChildProcess> {
  const server = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await Promise.race([
    once(server.stdout!, 'data'),
    once(server, 'exit').then(() => {
      throw new Error(`mmio: ${file} ended before it served`);
    }),
  ]);
  server.stdout!.resume();
  return server;
}
