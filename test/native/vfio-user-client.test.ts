/** The e1000 driver over vfio-user, on our own server in a process of its own: the netdev spec, and the backend's own. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { InterruptMode } from '../../drivers/device.ts';
import { createE1000 } from '../../drivers/e1000/e1000.ts';
import { NetdevStream } from '../../vm/netdev-stream.ts';
import { openVfioUser } from '../../vm/vfio-user/client.ts';
import { netdevSpec } from '../spec/netdev.ts';
import { streamBench } from '../util/stream-bench.ts';
import { Place } from './command.ts';
import { enterNamespace } from './lane.ts';

enterNamespace(import.meta.url);
const { t } = await import('tap');

const place = new Place();
const socket = join(place.folder, 'nic');
const wire = join(place.folder, 'wire');

const server = place.fauxnic(`serve e1000 --socket ${socket} --peer stream=${wire}`, { timeout: 600_000 });
await until(() => existsSync(wire), 'fauxnic serve');
t.teardown(async () => {
  server.kill('SIGINT');
  await server;
  await place.quiet();
  place.remove();
});

async function until(happened: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!happened()) {
    if (performance.now() > deadline) throw new Error(`10 s without ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

for (const interrupts of ['msi', 'intx'] as const satisfies InterruptMode[])
  await t.test(`${interrupts}: the netdev spec`, { timeout: 120_000 }, async (t) => {
    const tests: [name: string, body: () => Promise<void>][] = [];
    netdevSpec(
      (name, body) => tests.push([name, body]),
      async (options) => {
        const connect = () => NetdevStream.connect(wire);
        const stream = connect();
        try {
          const device = await openVfioUser(socket, { name: 'vfio-user:nic' });
          const driver = await createE1000(device, { buffers: 1024, ...options, interrupts: [interrupts] });
          return streamBench({ device, driver, stream, reconnect: connect });
        } catch (error) {
          stream.close();
          throw error;
        }
      },
    );
    for (const [name, body] of tests) await t.test(name, body);
  });
