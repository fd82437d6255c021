/**
 * `fauxnic drive` on a BCM57xx that is not as it should be: served here, driven there. One clear line, counters that tell,
 * and neither TAP nor process left.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Region } from '../../sim/pci/function.ts';
import { Tg3, type Tg3Options } from '../../sim/tg3/bcm57xx.ts';
import { CHIPS } from '../../sim/tg3/chips.ts';
import { SRAM_FW_MAILBOX } from '../../sim/tg3/descriptors.ts';
import { factoryImage } from '../../sim/tg3/nvram.ts';
import { BCM57XX } from '../../sim/tg3/registers.ts';
import { HostPort, Link } from '../../sim/wire/index.ts';
import { serve } from '../../vm/vfio-user/server.ts';
import { interfaces, Place } from './command.ts';
import { enterNamespace } from './lane.ts';

enterNamespace(import.meta.url);
const { t } = await import('tap');

const R = BCM57XX.r;
const MAC = Uint8Array.of(0x02, 0, 0, 0x57, 0, 1);
const place = new Place();
t.teardown(() => place.remove());
const before = interfaces();

interface Test {
  teardown(action: () => unknown): unknown;
  same(found: unknown, wanted: unknown): unknown;
}

/** A card and its partner, after `spoil`; and drive on it, with what it said once it has ended. */
async function driven(t: Test, options: string, spoil: (model: Tg3, link: Link) => void, parts: Tg3Options = {}) {
  const socket = join(place.folder, 'spoiled.sock');
  let link!: Link;
  const server = serve(
    (host) => {
      const model = new Tg3(host, { mac: MAC, ...parts });
      link = new Link(host.clock);
      link.plug(model.port);
      link.plug(new HostPort('partner'));
      return model;
    },
    { socket },
  );
  t.teardown(() => server.close());
  spoil(server.model, link);
  const { stdout, stderr, exitCode } = await place.fauxnic(`drive vfio-user:${socket} ${options}`);
  t.same(interfaces(), before);
  t.same(place.processes(), []);
  t.same([server.connected, server.model.dma.enabled], [false, false]); // nobody drives the card
  server.close();
  t.same(existsSync(socket), false);
  return { stdout, stderr, exitCode, model: server.model };
}

/** What the driver reads and writes of BAR 0 goes through here. */
function between(model: Tg3, { read, write }: { read?: Read; write?: (offset: number) => boolean }): void {
  const region = model.bars[0] as { -readonly [K in keyof Region]: Region[K] };
  const own = { ...region };
  region.read = (offset, width) => {
    const value = own.read(offset, width);
    return read === undefined ? value : read(offset, value);
  };
  region.write = (offset, width, value) => {
    if (write === undefined || write(offset)) own.write(offset, width, value);
  };
}
type Read = (offset: number, value: number) => number;

function image(change: (bytes: Uint8Array) => unknown): Tg3Options {
  const nvram = factoryImage(CHIPS.tg3, MAC);
  change(nvram);
  return { nvram };
}

const { START, READ_FAILED } = R.MAC_MI_COM;
const nothing = () => {};
const FATAL: Record<string, [spoil: (model: Tg3) => void, parts: Tg3Options, says: RegExp]> = {
  'an NVRAM with a bad CRC': [nothing, image((bytes) => bytes[0x7f]!++), /the NVRAM is damaged: .*manufacturing block/],
  'an NVRAM without magic': [nothing, image((bytes) => bytes.fill(0, 0, 4)), /begins with 0x0+, not 0x669955aa/],
  'a truncated NVRAM': [
    nothing,
    image((bytes) => bytes.fill(0xff, 0x60)),
    /the NVRAM is damaged: .*manufacturing block/,
  ],
  'a PHY that is not there': [
    ({ registers }) => registers.onRead(R.MAC_MI_COM, () => READ_FAILED),
    {},
    /the PHY does not answer on MDIO/,
  ],
  'a PHY that never ends': [
    ({ registers }) => registers.onRead(R.MAC_MI_COM, () => START),
    {},
    /talking to the PHY: MAC_MI_COM still reads 0x20000000/,
  ],
};

for (const [what, [spoil, parts, says]] of Object.entries(FATAL))
  await t.test(`${what} is said in one line`, async (t) => {
    const { stdout, stderr, exitCode } = await driven(t, '--tap --seconds 5', spoil, parts);
    t.equal(exitCode, 1);
    t.match(stderr, /^fauxnic: [^\n]+$/);
    t.match(stderr, says);
    t.notMatch(stdout, /joined/); // the steps of the bring-up up to there, no more
  });

await t.test('a PHY that never links: down, and driven all the same', async (t) => {
  const { stdout, stderr, exitCode } = await driven(t, '--tap --seconds 0.2', (_model, link) => link.disconnect());
  t.same([stderr, exitCode], ['', 0]);
  t.match(stdout, /^ +link +down/m);
});

await t.test('firmware that never answers its mailbox: gone on without', async (t) => {
  let window = 0;
  const { stdout, stderr, exitCode } = await driven(t, '--tap --seconds 0.2', (model) =>
    between(model, {
      write: () => true,
      read: (offset, value) => {
        window = model.config.read(R.MEM_WIN_BASE_ADDR.at, 4);
        return offset === R.MEM_WIN_DATA.at && window === SRAM_FW_MAILBOX ? 0 : value;
      },
    }),
  );
  t.same([stderr, exitCode], ['', 0]);
  t.match(stdout, /^ +bring-up +device reset, no boot code answers: going on without it$/m);
  t.match(stdout, /^ +link +up, 1000/m);
});

await t.test('a status block that goes nowhere: frames are sent, and none is known of', async (t) => {
  const { stdout, stderr, exitCode, model } = await driven(t, '--generate --count 100 --json', (model) =>
    between(model, { write: (offset) => offset !== R.HOSTCC_STATUS_BLK_HOST_LOW.at }),
  );
  t.same([stderr, exitCode], ['', 0]);
  const [card] = (JSON.parse(stdout) as Report).cards;
  t.equal(card!.joined.sent, 100);
  t.equal(card!.statistics.txPackets, 100, "by the card's own counters");
  t.ok(model.refused.memory > 0);
});

await t.test('indices beyond the rings: counted', async (t) => {
  let told = false;
  const { stdout, stderr, exitCode } = await driven(t, '--generate --count 100 --json', (model) =>
    between(model, {
      read: (offset, value) => {
        // The statistics are read last of all.
        if (offset !== R.MAC_TX_STATS_OCTETS.at || told || !model.dma.enabled) return value;
        told = true;
        const block = model.readBar(0, R.HOSTCC_STATUS_BLK_HOST_LOW.at, 4);
        model.dma.write(block + 16, new Uint8Array(4).fill(0xff), 0, 4);
        return value;
      },
    }),
  );
  t.same([stderr, exitCode], ['', 0]);
  const [card] = (JSON.parse(stdout) as Report).cards;
  t.ok(told);
  t.ok(card!.statistics.rxErrors + card!.statistics.txErrors >= 1, JSON.stringify(card!.statistics));
});

interface Report {
  cards: { joined: Record<string, number>; statistics: Record<string, number> }[];
}
