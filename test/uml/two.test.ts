import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tap from 'tap';
import { MODELS } from '../../scripts/catalogue.ts';
import { TextTrace } from '../../scripts/trace-format.ts';
import { Clock } from '../../sim/clock.ts';
import { Link } from '../../sim/wire/link.ts';
import { runIn } from '../../vm/guest.ts';
import { Calendar } from '../../vm/uml/calendar.ts';
import { UmlMachine, type UmlOptions } from '../../vm/uml/machine.ts';
import { umlParts } from '../../vm/uml/parts.ts';
import { Reactor } from '../../vm/uml/reactor.ts';
import { serveFunction } from '../../vm/uml/server.ts';
import { checkLane } from './lane.ts';

checkLane();
const parts = await umlParts({});
const [e1000, tg3] = [MODELS.find(({ name }) => name === 'e1000')!, MODELS.find(({ name }) => name === 'tg3')!];
const up = (own: number) => `ip link set eth0 up; ip address add 10.0.0.${own}/24 dev eth0`;
/** One waits to be spoken to; the other speaks. */
const COMMANDS = [`${up(1)}; sleep 12`, `${up(2)}; sleep 6; ping -c 3 -i 0.1 10.0.0.1`];

/** Two kernels with a card each, of two makes, wired, on one calendar. */
async function run() {
  const folder = mkdtempSync(join(tmpdir(), 'fauxnic-uml-test-'));
  const clock = new Clock();
  const calendar = new Calendar(clock, new Reactor());
  const link = new Link(clock, { rate: 1e9 });
  const hash = createHash('sha256');
  const kernels = [e1000, tg3].map((model, index) => {
    const own = join(folder, String(index));
    mkdirSync(own);
    const surroundings = { calendar, reactor: calendar.reactor, time: calendar.kernel() };
    const mac = Uint8Array.of(2, 0, 0, 0, 0, index + 1);
    const server = serveFunction((host) => model.make(host, { name: model.name, mac }), {
      ...surroundings,
      socket: join(own, 'card'),
    });
    server.model.trace = new TextTrace(
      model.name,
      () => clock.now,
      (line) => hash.update(line),
    );
    link.plug(server.model.port);
    return { surroundings, server };
  });
  try {
    const results = await Promise.all(
      kernels.map(({ surroundings, server }, index) =>
        runIn((options: UmlOptions, initramfs) => new UmlMachine(options, initramfs), {
          ...{ ...parts, surroundings, seed: index + 1, command: [COMMANDS[index]!], timeout: 120_000 },
          devices: [{ socket: server.socket, id: server.device.id, leave: server.leave }],
        }),
      ),
    );
    return { results, trace: hash.digest('hex'), seconds: clock.now / 1e9 };
  } finally {
    for (const { server } of kernels) server.close();
    rmSync(folder, { recursive: true });
  }
}

void tap.test('two kernels, wired, live in one time, and again in the same', { timeout: 300_000 }, async (t) => {
  const first = await run();
  t.match(first.results[1]!.output, ' 0% packet loss');
  t.same(
    first.results.map(({ exitCode }) => exitCode),
    [0, 0],
  );
  t.ok(first.seconds > 12 && first.seconds < 60, `${first.seconds} s`);
  const second = await run();
  t.equal(second.trace, first.trace);
  t.equal(second.results[1]!.output, first.results[1]!.output);
});
