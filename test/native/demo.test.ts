/** The demo on the kernel's own traffic, and that nothing of it stays, however it ends. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import t from 'tap';
import { until } from '../util/until.ts';
import { interfaces, Place, WITHOUT_ROOT } from './command.ts';
import { enterNamespace } from './lane.ts';

enterNamespace(import.meta.url);

const place = new Place();
t.teardown(() => place.remove());
const before = interfaces();

interface Result {
  traffic: string;
  userNamespace: boolean;
  ping: { sent: number; received: number };
  tcp: Record<'forward' | 'backward', { bitsPerSecond: number }>;
  pcap: { path: string; bytes: number };
  cards: { link: { up: boolean }; statistics: { rxErrors: number; txErrors: number } }[];
}

for (const [who, wrapped, userNamespace] of [
  ['as root', [], false],
  ['in a user namespace', WITHOUT_ROOT, true],
] as const) {
  void t.test(`ping and TCP between two network namespaces, ${who}`, async (t) => {
    const { stdout, stderr, exitCode } = await place.fauxnic('demo --seconds 1 --json', { before: [...wrapped] });
    t.equal(stderr, '');
    t.equal(exitCode, 0);
    const result = JSON.parse(stdout) as Result;
    t.match(result, { traffic: 'kernel', userNamespace });
    t.equal(result.ping.received, result.ping.sent);
    for (const { bitsPerSecond } of Object.values(result.tcp)) t.ok(bitsPerSecond > 1e6, `${bitsPerSecond} bit/s`);
    for (const { statistics } of result.cards) t.match(statistics, { rxErrors: 0, txErrors: 0 });
    t.same(interfaces(), before);
    t.same(place.processes(), []);
    t.same(place.ledger(), []);
  });
}

void t.test('tshark finds nothing wrong in the capture', async (t) => {
  const path = join(place.folder, 'fauxnic/demo.pcapng');
  const checks = ['ip', 'tcp', 'udp'].flatMap((protocol) => ['-o', `${protocol}.check_checksum:TRUE`]);
  const read = async (filter: string) =>
    (await execa('tshark', ['-r', path, ...checks, '-Y', filter, '-c', '20000'])).stdout.split('\n').filter(Boolean);
  const bad = ['ip', 'tcp', 'udp', 'icmp'].map((protocol) => `${protocol}.checksum.status == "Bad"`).join(' || ');
  t.same(await read(`${bad} || _ws.malformed`), []);
  t.equal((await read('icmp')).length, 40);
  t.ok((await read('tcp.len > 0')).length > 100);
});

/** Starts a demo, waits until TCP is on its way, and sends the signal. */
async function interrupt(signal: NodeJS.Signals) {
  const child = place.fauxnic('demo --seconds 30');
  let ended = false;
  void child.finally(() => {
    ended = true;
  });
  await until(() => ended || place.processes().some((line) => line.includes('iperf3 --client')), 'TCP');
  child.kill(signal);
  return await child;
}

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  void t.test(`${signal} stops it cleanly`, async (t) => {
    const { exitCode, stderr, stdout } = await interrupt(signal);
    t.equal(exitCode, code);
    t.equal(stderr, '');
    t.match(stdout, new RegExp(`stopped by ${signal}`));
    t.same(place.processes(), []);
    t.same(place.ledger(), []);
    t.same(interfaces(), before);
  });
}

void t.test('after SIGKILL everything goes with it', async (t) => {
  await interrupt('SIGKILL');
  await place.quiet();
  t.not(place.ledger().length, 0, 'it had no time to clear its ledger');
  t.same(interfaces(), before);
  await place.fauxnic('demo --generated --seconds 1 --json');
  t.same(place.ledger(), [], 'which the next start does');
});

void t.test('what a killed run left is ended by the next start', async (t) => {
  const [left, reused] = [spawn('sleep', ['60']), spawn('sleep', ['60'])];
  t.teardown(() => [left, reused].map((child) => child.kill('SIGKILL')));
  const stat = readFileSync(`/proc/${left.pid}/stat`, 'utf8');
  const start = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  const run = join(place.folder, 'fauxnic/run');
  mkdirSync(run, { recursive: true });
  const child = { pid: left.pid, start, what: 'a sleeper' };
  const other = { pid: reused.pid, start: '1', what: 'somebody else' }; // the number was given anew
  writeFileSync(join(run, '1.json'), JSON.stringify({ owner: { pid: 1, start: '-1' }, children: [child, other] }));
  const ended = new Promise((resolve) => left.once('exit', (_code, signal) => resolve(signal)));
  const { stderr } = await place.fauxnic('demo --generated --seconds 1 --json');
  t.match(stderr, /an earlier run was killed and left a sleeper \(process \d+\): removed/);
  t.equal(await ended, 'SIGKILL');
  t.ok(existsSync(`/proc/${reused.pid}`), 'a process that only has the number is let be');
  t.same(place.ledger(), []);
});
