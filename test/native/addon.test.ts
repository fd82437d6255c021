/** The addon as whoever calls it wrongly finds it: it refuses, and does not end the process. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { addon } from '../../native/addon.ts';
import { connectUnix, listenUnix } from '../../native/index.ts';
import { enterNamespace } from './lane.ts';

enterNamespace(import.meta.url);
const { t } = await import('tap');

const folder = mkdtempSync(join(tmpdir(), 'fauxnic-addon-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const native = new URL('../../native/index.js', import.meta.url).href;

/** Runs in a process of its own, with descriptors 0 to 2 of no use and nothing else open; says how far it got. */
const MISUSE = `
import { addon } from '${new URL('../../native/addon.js', import.meta.url).href}';
import { writeSync } from 'node:fs';
const it = addon();
const values = [undefined, null, true, 0, 1, 7, 2 ** 31, 2 ** 53, 1e300, NaN, '', 'x', {}, [], () => {},
  new ArrayBuffer(0), new ArrayBuffer(64), new Uint8Array(0), new Uint8Array(64), new Int32Array(3), new Float64Array(2)];
let state = 1;
const random = (below) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
};
const counts = { calls: 0, types: 0, ranges: 0 };
const attempt = (action) => {
  counts.calls++;
  try {
    return action();
  } catch (error) {
    if (error instanceof TypeError) counts.types++;
    else if (error instanceof RangeError) counts.ranges++;
    else throw error;
  }
};
// Those that wait would do so for as long as they are told, and what these would close is not theirs.
const some = (length) => Array.from({ length }, () => values[random(values.length)]);
const functions = Object.entries({ ...it, ...it.vfio }).filter(([, f]) => typeof f === 'function' && !f.prototype?.close);
const classes = ['Tap', 'Poll', 'Memory', 'Registers', 'Socket', 'Wait'];
for (let round = 0; round < ROUNDS; round++) {
  for (const [, f] of functions) attempt(() => f(...some(random(6))));
  for (const name of classes) {
    attempt(() => new it[name](...some(random(2))));
    const object = attempt(() => new it[name](() => {}));
    if (object === undefined) continue;
    const methods = Object.getOwnPropertyNames(it[name].prototype).filter((method) => method !== 'constructor');
    for (let i = 0; i < 8; i++) {
      const method = methods[random(methods.length)];
      const args = name === 'Socket' && (method === 'wait' || method === 'exchange') ? some(4).map((v) => typeof v === 'number' ? 0 : v) : some(random(6));
      attempt(() => object[method](...args));
      attempt(() => object[method].apply(values[random(values.length)], args));
      attempt(() => object[method].apply(Object.create(object), args));
    }
    // Nothing is left to the event loop.
    for (const method of ['close', 'stop']) if (methods.includes(method)) attempt(() => object[method]());
    if (name === 'Wait') for (let place = 0; place < 9; place++) attempt(() => object.remove(place));
  }
}
writeSync(2, JSON.stringify(counts));
process.exit(0);
`;

await t.test('functions called with whatever there is', (t) => {
  const script = join(folder, 'misuse.mjs');
  writeFileSync(script, MISUSE.replace('ROUNDS', process.env.FAUXNIC_RUNS ?? '300'));
  const { status, signal, stderr } = spawnSync(process.execPath, [script], {
    cwd: folder,
    encoding: 'utf8',
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  t.same({ status, signal }, { status: 0, signal: null }, stderr);
  const counts = JSON.parse(/\{.*\}$/.exec(stderr)?.[0] ?? '{}') as Record<string, number>;
  t.ok(counts.types! > 1000 && counts.ranges! > 0, JSON.stringify(counts));
  t.end();
});

/** Workers that are ended while the addon throws. */
const ENDED = `
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
const url = new URL('data:text/javascript,' + encodeURIComponent(\`
  import { parentPort } from 'node:worker_threads';
  import { connectUnix } from '${native}';
  parentPort.postMessage('at it');
  for (;;) {
    try {
      connectUnix('/nobody/here');
    } catch {}
  }\`));
for (let i = 0; i < 50; i++) {
  const worker = new Worker(url);
  await once(worker, 'message');
  await worker.terminate();
}
`;

await t.test('a worker that is ended while a call of its fails takes nobody with it', (t) => {
  const script = join(folder, 'ended.mjs');
  writeFileSync(script, ENDED);
  const { status, signal, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8' });
  t.same({ status, signal }, { status: 0, signal: null }, stderr);
  t.end();
});

/** Tries to listen each time it is told to, and says whether it may. */
const RIVAL = `
import { parentPort, workerData } from 'node:worker_threads';
import { listenUnix } from '${native}';
let listener = null;
parentPort.on('message', ({ round, path }) => {
  if (round === 0) {
    listener?.close();
    listener = null;
    parentPort.postMessage('closed');
    return;
  }
  Atomics.add(workerData, 0, 1);
  while (Atomics.load(workerData, 0) < 4 * round);
  try {
    listener = listenUnix(path);
    parentPort.postMessage('listens');
  } catch (error) {
    parentPort.postMessage(error.code);
  }
});`;

await t.test('servers that start at once where one was killed: one of them has the path', async (t) => {
  const arena = join(folder, 'rivals');
  mkdirSync(arena);
  const path = join(arena, 'socket');
  const ready = new Int32Array(new SharedArrayBuffer(4));
  const url = new URL(`data:text/javascript,${encodeURIComponent(RIVAL)}`);
  const rivals = Array.from({ length: 4 }, () => new Worker(url, { workerData: ready }));
  t.teardown(() => Promise.all(rivals.map((rival) => rival.terminate())));
  const tell = (message: object) =>
    Promise.all(
      rivals.map((rival) => {
        const answered = new Promise<string>((resolve) => rival.once('message', resolve));
        rival.postMessage(message);
        return answered;
      }),
    );
  for (let round = 1; round <= 40; round++) {
    const killed = new (addon().Socket)();
    killed.listen(path, 1);
    killed.close(); // as the kernel does: its path stays
    const answers = (await tell({ round, path })).toSorted();
    t.same(answers, ['EADDRINUSE', 'EADDRINUSE', 'EADDRINUSE', 'listens'], `round ${round}`);
    connectUnix(path).close();
    await tell({ round: 0 });
    t.same(readdirSync(arena), [], 'and nothing is left');
  }
});

await t.test('a path whose folder has a long name, and a name that is short', (t) => {
  const path = join(folder, 'x'.repeat(105 - folder.length - 1), 's');
  t.equal(path.length, 107);
  t.throws(() => listenUnix(path), { code: 'ENOENT' });
  mkdirSync(dirname(path));
  const listener = listenUnix(path);
  connectUnix(path).close();
  listener.close();
  t.same(readdirSync(dirname(path)), []);
  t.end();
});
