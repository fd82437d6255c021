/** Files that a person names, and what may be behind the names: pipes, devices, readers that come late or go early. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { execa } from 'execa';
import { command, fauxnic } from '../util/command.ts';
import { until } from '../util/until.ts';

const folder = mkdtempSync(join(tmpdir(), 'fauxnic-output-'));
test.after.always(() => rmSync(folder, { recursive: true }));

let pipes = 0;
function pipe(): string {
  const path = join(folder, `pipe-${pipes++}`);
  execFileSync('mkfifo', [path]);
  return path;
}

const DRIVE = 'drive sim:e1000 --generate --count 2000';

/** Whether the process listens to SIGTERM (proc(5), SigCgt); null where there is none any more. */
function listens(pid: number): boolean | null {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    if (/^State:\s+Z/m.test(status)) return null;
    return (BigInt(`0x${/^SigCgt:\s+(\w+)/m.exec(status)![1]}`) & (1n << 14n)) !== 0n;
  } catch {
    return null;
  }
}

/** Bytes (proc(5), io). */
const writtenBy = (pid: number) => Number(/^wchar: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))![1]);

test('a trace whose reader has stopped: a signal ends the command', async (t) => {
  const line = `${process.execPath} ${command} drive sim:e1000 --generate --seconds 600 --trace -`;
  const child = execa('sh', ['-c', `sh -c 'echo $$ >&2; exec ${line}' | sh -c 'exec sleep 600'`], {
    reject: false,
    detached: true,
  });
  const [said] = (await once(child.stderr, 'data')) as [Buffer];
  const pid = Number(said);
  await until(() => writtenBy(pid) > 60_000 && listens(pid) === false, 'a full pipe');
  process.kill(pid, 'SIGTERM');
  await until(() => listens(pid) === null, 'its end');
  process.kill(-child.pid!, 'SIGKILL'); // the sleeper, too
  await child;
  t.pass();
});

for (const [option, what] of [
  ['--trace', 'trace'],
  ['--pcap', 'capture'],
] as const) {
  test(`${option}: a pipe without a reader is waited for, and SIGINT ends it`, async (t) => {
    const path = pipe();
    const child = fauxnic(`${DRIVE} ${option} ${path}`);
    let said = '';
    await new Promise<void>((resolve) => {
      child.stderr.on('data', (chunk: Buffer) => {
        said += chunk.toString();
        if (said.includes('\n')) resolve();
      });
      child.on('close', () => resolve());
    });
    t.is(said, `${what} ${path} waits for somebody to read it\n`);
    child.kill('SIGINT');
    const { exitCode, stderr } = await child;
    t.is(exitCode, 130);
    t.is(stderr.split('\n')[1], `fauxnic: ${what} ${path}: nobody came to read it`);
  });

  test(`${option}: a reader that comes late gets all of it, one that goes early is told of`, async (t) => {
    const path = pipe();
    const child = fauxnic(`${DRIVE} ${option} ${path}`);
    await once(child.stderr, 'data');
    const counted = execa('cat', [path]).pipe('wc', ['-c']);
    t.is((await child).exitCode, 0);
    const { stdout: bytes } = await counted;
    t.true(Number(bytes) > 100_000, bytes);

    const other = pipe();
    const reader = execa('head', ['-c', '10', other], { reject: false });
    const { exitCode, stdout, stderr } = await fauxnic(`${DRIVE} ${option} ${other}`);
    await reader;
    t.is(exitCode, 1);
    t.regex(stderr, new RegExp(`fauxnic: ${what} ${other} is not complete: EPIPE.*$`));
    t.regex(stdout, /frames sent +2,000/, 'the run was not cut short');
  });

  test(`${option}: a full disk is said in one line, at the end`, async (t) => {
    const { exitCode, stdout, stderr } = await fauxnic(`${DRIVE} ${option} /dev/full`);
    t.is(exitCode, 1);
    t.regex(stderr, new RegExp(`^fauxnic: ${what} /dev/full is not complete: ENOSPC[^\n]*$`));
    t.regex(stdout, /frames sent +2,000/);
  });
}

test('--script: a pipe is read to its end; what never ends is refused', async (t) => {
  const path = pipe();
  const writer = execa('sh', ['-c', `sleep 0.3; echo '0.1 e1000-0 read STATUS 0x0' > "$0"`, path]);
  const { exitCode, stderr } = await fauxnic(`diff e1000 e1000 --script ${path}`);
  await writer;
  t.is(exitCode, 0, stderr);
  const zero = await fauxnic('diff e1000 e1000 --script /dev/zero');
  t.is(zero.exitCode, 2);
  t.is(zero.stderr, 'fauxnic: --script /dev/zero: it has more than 256 MiB');
});

test('a path that leads through a file is refused', async (t) => {
  const path = join(folder, 'plain');
  writeFileSync(path, '');
  const { exitCode, stderr } = await fauxnic(`${DRIVE} --trace ${path}/inside`);
  t.is(exitCode, 2);
  t.regex(stderr, /^fauxnic: trace .*inside cannot be written: ENOTDIR; choose another path$/);
});
