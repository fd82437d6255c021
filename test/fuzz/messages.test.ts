/**
 * Random messages to a vfio-user server, with a good client beside them whose answers must not be late.
 *
 * FAUXNIC_FUZZ_SECONDS is how long at most (default 60), FAUXNIC_FUZZ_MESSAGES how many (default 10^6), FAUXNIC_SEED which.
 * What was found is in corpus/messages.json, and is said first.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { Place } from '../native/command.ts';
import { enterNamespace } from '../native/lane.ts';
import { access, Client, COMMAND } from '../native/vfio-client.ts';

enterNamespace(import.meta.url);
const { t } = await import('tap');
t.setTimeout(0); // it has bounds of its own

const [CONFIG, ID, MILLION] = [7, 0x100e8086, 1e6];
const seconds = Number(process.env.FAUXNIC_FUZZ_SECONDS ?? 60);
const messages = Number(process.env.FAUXNIC_FUZZ_MESSAGES ?? MILLION);
const seed = process.env.FAUXNIC_SEED ?? '20261130';
const LATE = 100;
const place = new Place();
t.teardown(() => place.remove());

const script = (name: string) => fileURLToPath(new URL(`./${name}.js`, import.meta.url));

/** Milliseconds that a process was ready to run, and others ran (Documentation/scheduler/sched-stats.rst). */
const kept = (pid: number | 'self') => Number(readFileSync(`/proc/${pid}/schedstat`, 'latin1').split(' ')[1]) / MILLION;

await t.test(`random messages, and a good client beside them, seed ${seed}`, async (t) => {
  const [attacked, calm] = ['attacked', 'calm'].map((name) => join(place.folder, name)) as [string, string];
  const server = execa(process.execPath, [script('served'), attacked, calm], { reject: false });
  t.teardown(() => server.kill('SIGKILL'));
  await place.appears(calm);
  const pid = server.pid!;
  const good = await Client.connected(calm);
  let late = 0;
  let worst = 0;
  let asked = 0;
  const ask = async () => {
    const before = kept(pid) + kept('self');
    const began = performance.now();
    const { payload } = await good.ask(COMMAND.read, access(CONFIG, 0, 4));
    if (payload.readUInt32LE(16) !== ID) throw new Error('a wrong answer');
    const took = performance.now() - began - (kept(pid) + kept('self') - before);
    worst = Math.max(worst, took);
    asked++;
    if (took > LATE) late++;
  };
  const attack = execa(process.execPath, [script('attacker'), attacked, seed, String(messages), String(seconds)]);
  let attacks = true;
  void attack.finally(() => {
    attacks = false;
  });
  while (attacks) {
    await ask();
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const counts = JSON.parse((await attack).stdout) as Record<string, number>;
  t.comment(`${JSON.stringify(counts)}, ${asked} answers to the good client, the latest after ${worst.toFixed(1)} ms`);
  t.ok(counts.messages! > 10_000 && counts.replies! > 1000, JSON.stringify(counts));
  t.ok(asked > 100, `${asked} answers`);
  t.equal(late, 0, `answers after more than ${LATE} ms; the latest after ${worst} (FAUXNIC_SEED=${seed})`);
  const last = await Client.connected(attacked);
  t.equal(await last.read(CONFIG, 0), ID, 'and the attacked one serves whoever comes next');
  last.close();
  good.close();
  const began = performance.now();
  server.kill('SIGTERM');
  const { stdout, stderr, exitCode } = await server;
  t.ok(performance.now() - began < 5000, 'SIGTERM ends it at once');
  t.equal(exitCode, 0, stderr);
  t.equal(stdout.split('\n').length, 1, `nothing was thrown: ${stdout}`);
});
