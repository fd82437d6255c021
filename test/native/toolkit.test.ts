/** regs, nvram and shell on models that another process serves. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { command, Place } from './command.ts';
import { enterNamespace } from './lane.ts';

enterNamespace(import.meta.url);
const { t } = await import('tap');

const place = new Place();
t.teardown(() => place.remove());

interface Card {
  readonly model: string;
  readonly chip: string;
  readonly register: string;
  /** Another address, written. */
  readonly changed: RegExp;
  readonly phy: string;
  readonly ring: string;
}

/** The first card's that is served. */
const MAC = '02:00:00:82:54:01';

const CARDS: readonly Card[] = [
  {
    model: 'e1000',
    chip: '82540EM',
    register: 'CTRL',
    changed: /^3 words written and read back; the station address is 02:00:00:00:00:07/,
    phy: '0x141 (321)',
    ring: 'rx',
  },
  {
    model: 'tg3',
    chip: 'BCM57762',
    register: 'MAC_MODE',
    changed: /^\d bytes written and read back; the station address is 02:00:00:00:00:07/,
    phy: '0x362 (866)',
    ring: 'return3',
  },
  {
    model: 'tg3-5721',
    chip: 'BCM5721',
    register: 'MAC_MODE',
    changed: /^\d bytes written and read back; the station address is 02:00:00:00:00:07/,
    phy: '0x20 (32)',
    ring: 'return0',
  },
];

for (const { model, chip, register, changed, phy, ring } of CARDS)
  await t.test(model, async (t) => {
    const socket = join(place.folder, model);
    const target = `vfio-user:${socket}`;
    const file = (name: string) => join(place.folder, `${model}-${name}`);
    const server = place.fauxnic(`serve ${model} --socket ${socket}`);
    t.teardown(async () => {
      server.kill('SIGINT');
      await server;
      await place.quiet();
    });
    await place.appears(socket);
    const says = async (line: string) => {
      const { stdout, stderr, exitCode } = await place.fauxnic(line);
      t.equal(exitCode, 0, stderr);
      return stdout;
    };

    t.match(await says(`regs ${target} ${register}`), new RegExp(`^${register} .*\\(${chip}, `));
    t.match(await says(`nvram ${target} check`), `✓ all checksums are right; the station address is ${MAC}`);
    t.match(await says(`nvram ${target} mac 02:00:00:00:00:07 --backup ${file('kept')}`), changed);
    const kept = readFileSync(file('kept'));
    writeFileSync(file('bad'), kept.with(5, kept[5]! ^ 0x10));
    const refused = await place.fauxnic(`nvram ${target} restore ${file('bad')}`);
    t.equal(refused.exitCode, 2);
    t.match(refused.stderr, /nothing was written/);
    t.match(await says(`nvram ${target} restore ${file('kept')}`), `the station address is ${MAC}`);

    const input = `phy(2)\nstart()\n${ring}\nstop()\nlink()\n`;
    const shell = await execa(process.execPath, [command, 'shell', target], { input, reject: false });
    t.equal(shell.exitCode, 0, shell.stderr);
    const [id, started, rings] = shell.stdout.split('\n');
    t.equal(id, phy);
    t.match(started, new RegExp(`${chip} is started`));
    t.match(rings, new RegExp(`^${ring}: (not set up|\\d+ descriptors at 0x)`));
  });
