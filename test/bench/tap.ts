/**
 * `tap`: iperf3's TCP from one network namespace to another through two TAP interfaces, drivers and models, against a C
 * relay between the same two TAPs (relay.c): with segmentation offload at both, and without at both.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { findModel } from '../../scripts/catalogue.ts';
import { Namespace } from '../../scripts/rig/namespaces.ts';
import { inside, obstacle, reenter } from '../../scripts/rig/reenter.ts';
import { Rig } from '../../scripts/rig/rig.ts';
import { tapRole } from '../../scripts/rig/roles.ts';
import { median, type Result, result } from './result.ts';
import { compile } from './yardstick.ts';

const TAPS = ['benchA', 'benchB'] as const;
const ADDRESSES = ['10.82.54.1', '10.82.54.2'] as const;
const ROUNDS = 3;
const SECONDS = 2;

export async function bench(): Promise<Result[]> {
  const why = obstacle();
  if (why !== null) throw new Error(`tap: ${why}`);
  if (!inside) process.exit(await reenter()); // prints for us
  const results: Result[] = [];
  for (const gso of [true, false]) {
    const ours: number[] = [];
    const theirs: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      ours.push(await throughModels(gso));
      theirs.push(await throughRelay(gso));
    }
    results.push(result(gso ? 'tap/gso' : 'tap/plain', median(ours), 'bit/s', median(theirs)));
  }
  return results;
}

async function throughModels(gso: boolean): Promise<number> {
  const rig = await Rig.open({ model: findModel('e1000') });
  const { now, pump, cards } = rig;
  const failed = (error: unknown) => {
    throw error;
  };
  const roles = cards.map((card, i) => tapRole({ card, now, pump, failed }, { name: TAPS[i], gro: gso, tso: gso }));
  for (const role of roles) role.start();
  rig.start();
  return await iperf(async () => {
    for (const role of roles) role.stop();
    await rig.close();
  });
}

async function throughRelay(gso: boolean): Promise<number> {
  const relay = spawn(compile('relay'), [...(gso ? ['--gso'] : []), ...TAPS], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(relay, 'exit');
  await once(relay.stdout, 'data');
  return await iperf(async () => {
    relay.kill();
    await ended;
  });
}

/**
 * Bits a second that TCP carries between the two TAPs, each in a namespace of its own. `end` closes the TAPs, before the
 * namespaces would take them along.
 */
async function iperf(end: () => Promise<void>): Promise<number> {
  const ends: Namespace[] = [];
  for (const [i, tap] of TAPS.entries()) ends.push(await settle(tap, ADDRESSES[i]!));
  const [a, b] = ends as [Namespace, Namespace];
  const server = b.start('iperf3', ['--server', '--one-off']);
  await b.run('sh', ['-c', 'until grep -q ":1451 .* 0A " /proc/net/tcp*; do sleep 0.05; done']); // it listens on 5201
  const client = ['--client', ADDRESSES[1], '--time', String(SECONDS), '--omit', '1', '--json'];
  const report = JSON.parse(await a.run('iperf3', client)) as { end: { sum_received: { bits_per_second: number } } };
  await server.stop();
  await end();
  for (const namespace of ends) await namespace.close();
  return Math.round(report.end.sum_received.bits_per_second);
}

async function settle(tap: string, address: string): Promise<Namespace> {
  const namespace = await Namespace.open(tap);
  await namespace.take(tap);
  await namespace.run('ip', ['address', 'add', `${address}/24`, 'dev', tap]);
  await namespace.run('ip', ['link', 'set', tap, 'up']);
  return namespace;
}
