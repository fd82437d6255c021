/** A QEMU that serves its devices by itself: what it is asked for, and what becomes of it. No such QEMU is at hand; a script is. */
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { connectUnix } from '../../native/index.ts';
import { Place } from '../native/command.ts';
import { until } from '../util/until.ts';

/** Takes one client, as QEMU does, and then ends; "die" from it is the end as well, and no good one. */
const QEMU = `
const { createServer } = require('node:net');
const { appendFileSync } = require('node:fs');
const args = process.argv.slice(2);
if (args[0] === '--version') console.log('QEMU emulator version 11.1.3');
else if (args[1] === 'help') console.log('List of user creatable objects:\\n  x-vfio-user-server');
else if (args.some((arg) => arg.startsWith('nonsense'))) {
  console.error("qemu-system-x86_64: -device nonsense,id=card: 'nonsense' is not a valid device model name");
  process.exit(1);
} else if (!args.includes('vfio-user-pci,help')) {
  appendFileSync(process.env.SAID, JSON.stringify(args) + '\\n');
  const server = createServer((socket) => {
    server.close();
    socket.on('data', () => {
      console.error('qemu-system-x86_64: it went wrong');
      process.exit(1);
    });
    socket.on('end', () => process.exit(0));
  });
  server.listen(JSON.parse(args.at(-1)).socket.path);
}
`;

const place = new Place();
t.teardown(() => place.remove());
const qemu = join(place.folder, 'qemu');
writeFileSync(qemu, `#!${process.execPath}\n${QEMU}`, { mode: 0o755 });
const said = join(place.folder, 'said');
const socket = join(place.folder, 'nic,0');
const env = { FAUXNIC_QEMU: qemu, SAID: said };
const fauxnic = (line: string) => place.fauxnic(line, { env });
const started = () => (existsSync(said) ? readFileSync(said, 'utf8').trim().split('\n') : []);

const serving = (times: number) => until(() => started().length === times && existsSync(socket), `start ${times}`);

void t.test('what it is asked for; and one after another, as each has but one client', async (t) => {
  const server = fauxnic(`serve qemu:e1000e --socket ${socket} --mac 02:00:00:00:00:07 --json`);
  await serving(1);
  t.equal(statSync(socket).mode & 0o077, 0, 'for its owner alone');
  const args = JSON.parse(started()[0]!) as string[];
  const wire = /addr\.path=(.*)$/.exec(args[args.indexOf('-netdev') + 1]!)?.[1];
  t.same(args, [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-machine', 'x-remote,vfio-user=on'],
    ...['-netdev', `stream,id=n0,server=off,addr.type=unix,addr.path=${wire}`],
    ...['-device', 'e1000e,id=card,romfile=,mac=02:00:00:00:00:07,netdev=n0'],
    ...[
      '-object',
      `{"qom-type":"x-vfio-user-server","id":"server","device":"card","socket":{"type":"unix","path":"${socket}"}}`,
    ],
  ]);
  t.ok(existsSync(wire!), 'its wire ends here');
  connectUnix(socket).close();
  await serving(2);
  server.kill('SIGINT');
  const { exitCode, stdout } = await server;
  t.equal(exitCode, 0);
  t.match(JSON.parse(stdout as string), { clients: 1 });
  t.notOk(existsSync(socket));
  t.notOk(existsSync(wire!));
  await place.quiet();
});

void t.test('one that dies, or does not start, is the end of the server', async (t) => {
  rmSync(said, { force: true });
  const server = fauxnic(`serve qemu:e1000e --socket ${socket}`);
  await serving(1);
  const client = connectUnix(socket);
  client.send(Buffer.from('die'));
  t.match(await server, { exitCode: 1, stderr: 'fauxnic: qemu:e1000e: QEMU: it went wrong' });
  client.close();
  t.notOk(existsSync(socket));
  const wrong = await fauxnic(`serve qemu:nonsense --socket ${socket}`);
  t.match(wrong, { exitCode: 1, stderr: "fauxnic: qemu:nonsense: QEMU: 'nonsense' is not a valid device model name" });
  writeFileSync(socket, 'precious');
  t.match(await fauxnic(`serve qemu:e1000e --socket ${socket}`), { exitCode: 2, stderr: /something is there already/ });
  t.equal(readFileSync(socket, 'utf8'), 'precious');
  rmSync(socket);
  await place.quiet();
});

void t.test('fauxnic doctor says which of the two it will be', async (t) => {
  t.match((await fauxnic('doctor')).stdout, /qemu: served +ok .*by QEMU itself: it has x-vfio-user-server/);
});
