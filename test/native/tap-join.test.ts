/** The kernel's own TCP over TapJoin, on a fake card: it alone knows whether headers and checksums are as it wants them. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { superFramePool, TapJoin } from '../../drivers/join/tap-join.ts';
import { FEATURE_TX_CHECKSUM } from '../../drivers/netdev.ts';
import { RX_L4_CHECKSUM_GOOD } from '../../drivers/packet.ts';
import { openTap, watch } from '../../native/index.ts';
import { type FakeNetDevice, type FakeOptions, pair } from '../util/fake-netdev.ts';
import { bytesOf, udpFrame } from '../util/frames.ts';
import { until } from '../util/until.ts';
import { enterNamespace } from './lane.ts';

enterNamespace(import.meta.url);
const { t } = await import('tap');

const ip = (...args: string[]) => execFileSync('ip', args);

/** A host of its own at the other end, which sends back what it is sent. */
async function startFar(): Promise<ChildProcess> {
  const program = `require('net').createServer((s) => s.pipe(s)).listen(7, () => console.log('ready'));`;
  const child = spawn('unshare', ['--net', process.execPath, '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout!, 'data');
  return child;
}

function end(device: FakeNetDevice, name: string, gso: boolean) {
  const tap = openTap({ name });
  const pool = gso ? superFramePool(device.dma, { chunk: 16 }) : device.pool;
  const join = new TapJoin({ device, tap, watch: (readable) => watch(tap.fd, { readable }), pool });
  join.start();
  return { tap, join };
}

interface Setup extends FakeOptions {
  readonly gso?: boolean;
}

const far = await startFar();
const setups: Record<string, Setup> = {
  'TSO and checksums by the card, GRO': {},
  'TSO in software, checksums by the card, GRO': { features: FEATURE_TX_CHECKSUM },
  'everything in software, GRO': { features: 0 },
  'no TSO, GRO': { gso: false },
  'no receive checksums, so no GRO': { rxFlags: 0 },
  jumbo: { ring: 256 },
};

for (const [name, { gso = true, ...options }] of Object.entries(setups)) {
  await t.test(name, async (t) => {
    const [a, b] = pair({ ring: 2048, ...options });
    if (name === 'jumbo') for (const device of [a, b]) await device.setMtu(1900);
    const [near, remote] = [end(a, 'near0', gso), end(b, 'far0', gso)];
    t.teardown(() => {
      for (const { tap, join } of [near, remote]) {
        join.close();
        tap.close();
      }
    });
    near.tap.address('10.9.0.1', 24);
    near.tap.up();
    ip('link', 'set', 'far0', 'netns', String(far.pid));
    execFileSync('nsenter', [
      '-t',
      String(far.pid),
      '--net',
      'sh',
      '-c',
      'ip addr add 10.9.0.2/24 dev far0; ip link set far0 up',
    ]);
    const sent = randomBytes(8 << 20);
    const socket = connect(7, '10.9.0.2');
    const hash = createHash('sha256');
    socket.on('data', (part) => hash.update(part));
    const begun = performance.now();
    socket.end(sent);
    await once(socket, 'end');
    const seconds = (performance.now() - begun) / 1000;
    t.equal(hash.digest('hex'), createHash('sha256').update(sent).digest('hex'));
    t.equal(near.tap.refused + remote.tap.refused, 0, 'the kernel refused nothing');
    const { droppedMalformed, droppedShape, droppedNoBuffers } = near.join.statistics;
    t.same([droppedMalformed, droppedShape, droppedNoBuffers], [0, 0, 0]);
    const good = options.rxFlags === undefined;
    t.equal((near.join.gro?.merged ?? 0) > 500, good, 'coalesced');
    t.comment(`${((2 * 8 * sent.length) / seconds / 1e9).toFixed(2)} Gbit/s; super-frames ${near.join.gro?.frames}`);
  });
}

await t.test('idle it does nothing', async (t) => {
  const [a] = pair();
  const { tap, join } = end(a, 'idle0', true);
  let reads = 0;
  const read = tap.read.bind(tap);
  tap.read = (...args) => {
    reads++;
    return read(...args);
  };
  t.teardown(() => {
    join.close();
    tap.close();
  });
  tap.up();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  // The kernel itself says a few words on a fresh interface (router solicitations, MLD), each of which is two reads.
  t.ok(reads < 50, `${reads} reads in a second`);
});

await t.test('frames as they came: good ones arrive, marked DATA_VALID or not; damaged ones do not', async (t) => {
  const [a] = pair();
  const { tap, join } = end(a, 'valid0', true);
  const socket = createSocket('udp4');
  t.teardown(() => {
    socket.close();
    join.close();
    tap.close();
  });
  tap.address('10.0.0.2', 24);
  tap.up();
  socket.bind(4321);
  await once(socket, 'listening');
  const payload = bytesOf(100);
  let [good, damaged] = [0, 0];
  socket.on('message', (message) => (message.equals(payload) ? good++ : damaged++));
  const frame = udpFrame({ payload });
  const bad = frame.with(60, frame[60]! ^ 1);
  for (const [bytes, flags] of [
    [frame, 0],
    [bad, 0],
    [frame, RX_L4_CHECKSUM_GOOD],
    [bad, RX_L4_CHECKSUM_GOOD],
  ] as const) {
    const mine = bytes.slice();
    mine.set(a.mac);
    a.arriveBytes(mine, flags);
  }
  await until(() => good === 2, 'both good frames');
  t.equal(good, 2);
  // Linux 6.18 sums DATA_VALID frames again; one that believes the mark takes the damaged frame that lies about itself.
  t.ok(damaged <= 1, `${damaged} damaged`);
});
