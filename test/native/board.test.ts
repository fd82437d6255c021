/** A board over vfio-user: a socket for each function, and each its own client. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { INTERRUPT_PIN } from '../../sim/pci/config.ts';
import { openVfioUser } from '../../vm/vfio-user/client.ts';
import { until } from '../util/until.ts';
import { Place } from './command.ts';
import { enterNamespace } from './lane.ts';

enterNamespace(import.meta.url);
const { t } = await import('tap');

const MODULE = fileURLToPath(new URL('../util/dual-port.js', import.meta.url));

await t.test('both functions are served, told of, driven at once, and reset each by itself', async (t) => {
  const place = new Place();
  const socket = join(place.folder, 'board');
  const server = place.fauxnic(`serve ${MODULE} --socket ${socket}`);
  await place.appears(`${socket}.1`);

  const devices = [];
  for (const path of [socket, `${socket}.1`]) devices.push(await openVfioUser(path));
  const [first, second] = devices as [(typeof devices)[number], (typeof devices)[number]];
  t.same(
    devices.map(({ config }) => config.read8(INTERRUPT_PIN)),
    [1, 2],
  );
  for (const device of devices) device.enable({ memory: true });
  for (const device of devices) device.bar(0).write32(0x28, 0x5a5a); // FCAL, which stores
  first.reset();
  first.enable({ memory: true });
  t.same(
    devices.map((device) => device.bar(0).read32(0x28)),
    [0x00c2_8001, 0x5a5a],
  );
  first.close();
  second.close();

  // The two are at the ends of one wire.
  const echo = place.fauxnic(`drive vfio-user:${socket} --echo`);
  let heard = '';
  echo.stdout.on('data', (chunk: Buffer) => {
    heard += chunk.toString();
  });
  await until(() => heard.includes('joined'), 'the echo');
  const { stdout, stderr } = await place.fauxnic(
    `drive vfio-user:${socket}.1 --generate --to 02:00:00:82:54:01 --rate 1k --count 100 --json`,
  );
  const { cards } = JSON.parse(stdout) as { cards: { statistics: { txPackets: number; rxPackets: number } }[] };
  const { txPackets, rxPackets } = cards[0]!.statistics;
  t.equal(txPackets, 100, stderr);
  t.ok(rxPackets >= 50, `${rxPackets} came back`); // on a busy machine the last ones do not come in time
  echo.kill('SIGINT');
  await echo;
  server.kill('SIGINT');
  const { stdout: said } = await server;
  t.match(said, `socket     ${socket}\n`);
  t.match(said, `socket     ${socket}.1\n`);
  t.match(said, /"addr":"8.1"/);
  t.match(said, /served +4 clients/);
  t.notOk(existsSync(socket) || existsSync(`${socket}.1`), 'no socket is left');
  await place.quiet();
  place.remove();
});
