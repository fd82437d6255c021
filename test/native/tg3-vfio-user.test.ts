/** The tg3 driver over vfio-user, on our own server in a process of its own: the netdev spec. */
import { join } from 'node:path';
import type { InterruptMode } from '../../drivers/device.ts';
import { createTg3 } from '../../drivers/tg3/tg3.ts';
import { NetdevStream } from '../../vm/netdev-stream.ts';
import { openVfioUser } from '../../vm/vfio-user/client.ts';
import { lacksOf } from '../spec/lacks.ts';
import { netdevSpec } from '../spec/netdev.ts';
import { streamBench } from '../util/stream-bench.ts';
import { Place } from './command.ts';
import { enterNamespace } from './lane.ts';

enterNamespace(import.meta.url);
const { t } = await import('tap');

const place = new Place();
t.teardown(() => place.remove());

const CARDS: readonly [model: string, part: string, modes: readonly InterruptMode[]][] = [
  ['tg3', 'BCM57762', ['msix', 'intx']],
  ['tg3-5751', 'BCM5751', ['msi']],
];

for (const [model, part, modes] of CARDS)
  await t.test(model, async (t) => {
    const socket = join(place.folder, model);
    const wire = join(place.folder, `${model}-wire`);
    const server = place.fauxnic(`serve ${model} --socket ${socket} --peer stream=${wire}`);
    t.teardown(async () => {
      server.kill('SIGINT');
      await server;
      await place.quiet();
    });
    await place.appears(wire);
    const connect = () => NetdevStream.connect(wire);
    for (const interrupts of modes)
      await t.test(interrupts, async (t) => {
        const tests: [name: string, skip: string | undefined, body: () => Promise<void>][] = [];
        netdevSpec(
          (name, body, skip) => tests.push([name, skip, body]),
          async (options) => {
            const stream = connect();
            try {
              const device = await openVfioUser(socket, { name: `vfio-user:${model}` });
              const driver = await createTg3(device, { buffers: 1024, ...options, interrupts: [interrupts] });
              return streamBench({ device, driver, stream, reconnect: connect });
            } catch (error) {
              stream.close();
              throw error;
            }
          },
          lacksOf(part),
        );
        for (const [name, skip, body] of tests) await t.test(name, { skip: skip ?? false }, body);
      });
  });
