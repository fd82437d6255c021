import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tap from 'tap';
import { FAMILIES } from '../../scripts/families/index.ts';
import { WITH_US } from '../../vm/run.ts';
import { checkLane, digest, virtually } from './lane.ts';

checkLane();
/** Of each family; FAUXNIC_RUNS=50 is the proof. */
const RUNS = Number(process.env.FAUXNIC_RUNS ?? 3);
const LIMIT = 60_000; // milliseconds a run may take
const COMMAND = [
  'ip link set eth0 up; ip address add 10.0.0.1/24 dev eth0; sleep 5',
  'ping -c 5 -i 0.2 10.0.0.2; ip -s link show eth0; head -c 16 /dev/urandom | od -x; date',
].join('\n');

const folder = mkdtempSync(join(tmpdir(), 'fauxnic-uml-test-'));
/** Others want the processors, too. */
const [supervisor, ...how] = WITH_US;
const load = [0, 1].map(() => spawn(supervisor, [...how, process.execPath, '-e', 'for(;;);'], { stdio: 'ignore' }));
tap.teardown(() => {
  for (const child of load) child.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

async function trace(model: string, seed: number) {
  const path = join(folder, `${model}-${seed}`);
  const { code, stdout } = await virtually(model, COMMAND, '--peer', 'echo', '--seed', String(seed), '--trace', path);
  return { code, stdout, trace: digest(path) };
}

tap.setTimeout(LIMIT * (RUNS + 1) * FAMILIES.length);
for (const { name, models } of FAMILIES)
  void tap.test(
    `${name}: the same seed is the same run, another seed another`,
    { timeout: LIMIT * (RUNS + 1) },
    async (t) => {
      const model = models[0]!.name;
      const first = await trace(model, 1);
      t.equal(first.code, 0, first.stdout);
      for (let run = 1; run < RUNS; run++) t.same(await trace(model, 1), first, `run ${run + 1} of ${RUNS}`);
      const other = await trace(model, 2);
      t.not(other.trace, first.trace);
      t.not(other.stdout, first.stdout, 'what is random');
    },
  );
