/**
 * `tap`: iperf3's TCP from one network namespace to another through two TAP interfaces, drivers and models, against a C
 * relay between the same two TAPs (relay.c): with segmentation offload at both, and without at both.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { findModel } from '../../scripts/catalogue.ts';
import { awaitIperf, iperf, settle } from '../../scripts/rig/kernel-traffic.ts';
import type { Namespace } from '../../scripts/rig/namespaces.ts';
import { inside, obstacle, reenter } from '../../scripts/rig/reenter.ts';
import { Rig } from '../../scripts/rig/rig.ts';
import { tapRole } from '../../scripts/rig/roles.ts';
import { median, type Result, result } from './result.ts';
import { compile } from './yardstick.ts';

const TAPS = ['benchA', 'benchB'] as const;
const ADDRESSES = ['10.82.54.1', '10.82.54.2'] as const;
const ROUNDS = 3;
const SECONDS = 3;
const NEVER = new AbortController().signal;

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
  return await tcp(async () => {
    for (const role of roles) role.stop();
    await rig.close();
  });
}

async function throughRelay(gso: boolean): Promise<number> {
  const relay = spawn(compile('relay'), [...(gso ? ['--gso'] : []), ...TAPS], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(relay, 'exit');
  await once(relay.stdout, 'data');
  return await tcp(async () => {
    relay.kill();
    await ended;
  });
}

/** Bits a second that TCP carries between the two TAPs. `end` closes the TAPs, before the namespaces take them along. */
async function tcp(end: () => Promise<void>): Promise<number> {
  const ends: Namespace[] = [];
  for (const [i, tap] of TAPS.entries()) ends.push(await settle(tap, tap, ADDRESSES[i]!));
  const [a, b] = ends as [Namespace, Namespace];
  const server = b.start('iperf3', ['--server']);
  await awaitIperf(b, NEVER);
  const { bitsPerSecond } = await iperf(a, ADDRESSES[1], { seconds: SECONDS, omit: 1, signal: NEVER });
  await server.stop();
  await end();
  for (const namespace of ends) await namespace.close();
  return Math.round(bitsPerSecond);
}
