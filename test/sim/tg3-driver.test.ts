/** The tg3 driver on the BCM57xx's model, as every chip that it can be: the netdev spec, and what is the driver's own. */

import test from 'ava';
import { runClock, runFor } from '../../drivers/backends/clock-steps.ts';
import { openSim, type SimDevice } from '../../drivers/backends/sim.ts';
import { DeviceError, type InterruptMode } from '../../drivers/device.ts';
import { Segmenter } from '../../drivers/join/segment.ts';
import { FEATURE_TX_CHECKSUM } from '../../drivers/netdev.ts';
import { type PacketBuffer, TX_L4_CHECKSUM, TX_TSO4, TX_VLAN } from '../../drivers/packet.ts';
import { hashOf } from '../../drivers/tg3/filters.ts';
import { LEVELS } from '../../drivers/tg3/interrupts.ts';
import { createTg3, supports, type Tg3Driver, type Tg3Options } from '../../drivers/tg3/tg3.ts';
import { Clock, MILLISECOND, SECOND } from '../../sim/clock.ts';
import { crc32 } from '../../sim/kernels/index.ts';
import { addToChecksum, foldChecksum, get16, get32, put16, put32 } from '../../sim/packet.ts';
import type { Host, PciFunction, Region } from '../../sim/pci/function.ts';
import { type Tg3Options as ModelOptions, Tg3 } from '../../sim/tg3/bcm57xx.ts';
import { CHIPS, type ChipName } from '../../sim/tg3/chips.ts';
import { SRAM_FW_MAILBOX, SRAM_MAC_HIGH, SRAM_SEND_RCB, TX_COAL_NOW } from '../../sim/tg3/descriptors.ts';
import { factoryImage } from '../../sim/tg3/nvram.ts';
import { BCM57XX } from '../../sim/tg3/registers.ts';
import { FCS_ERROR, HostPort, Link } from '../../sim/wire/index.ts';
import { lacksOf } from '../spec/lacks.ts';
import { type Bench, netdevSpec } from '../spec/netdev.ts';
import { avaRegister } from '../util/ava-register.ts';
import { simBench } from '../util/sim-bench.ts';

const R = BCM57XX.r;
const MAC = Uint8Array.of(0x02, 0x11, 0x22, 0x33, 0x44, 0x55);
const OTHER = Uint8Array.of(0x02, 0, 0, 0, 0xbe, 0xef);

interface Setting extends Tg3Options {
  readonly chip?: ChipName;
  /** What the model is made of, beside chip and address. */
  readonly model?: Partial<ModelOptions>;
  /** Done to the model before the driver sees it. */
  readonly spoil?: (model: Tg3) => void;
}

async function open({ chip = 'tg3', model: parts = {}, spoil, ...options }: Setting = {}) {
  const clock = new Clock();
  let model!: Tg3;
  const device = openSim(
    (host: Host): PciFunction => {
      model = new Tg3(host, { chip, mac: MAC, ...parts });
      return model;
    },
    { name: `sim:${chip}`, clock, dmaBytes: 16 << 20 },
  );
  spoil?.(model);
  const link = new Link(clock);
  const peer = new HostPort('peer');
  link.plug(model.port);
  link.plug(peer);
  const driver = await runClock(clock, createTg3(device, options));
  const start = async () => {
    await runClock(clock, driver.start());
    await runFor(clock, SECOND);
  };
  return { clock, model, device, link, peer, driver, start };
}

async function bench(setting: Setting): Promise<Bench> {
  return simBench(await open(setting));
}

function spec(title: string, part: string, setting: Setting): void {
  netdevSpec(
    avaRegister(title),
    (options) => bench({ buffers: 1024, ...options, ...setting }),
    lacksOf(part, setting.queues),
  );
}

for (const chip of Object.keys(CHIPS) as ChipName[]) {
  const modes: InterruptMode[] = CHIPS[chip].is577xx ? ['msix', 'msi', 'intx'] : ['msi', 'intx'];
  const part = CHIPS[chip].name;
  for (const mode of modes) spec(`${part}, ${mode}`, part, { chip, interrupts: [mode] });
}
for (const mode of ['msix', 'intx'] as const)
  spec(`BCM57765, four queues, ${mode}`, 'BCM57765', { chip: 'tg3-57765', interrupts: [mode], queues: 4 });

const code = (expected: string, message = /./) => ({ instanceOf: DeviceError, code: expected, message });

// ---- Handling -------------------------------------------------------------------------------------------------------

function broadcast(length = 60): Uint8Array {
  return new Uint8Array(length).fill(0xff, 0, 6);
}

function packetOf(driver: Tg3Driver, ...pieces: Uint8Array[]): PacketBuffer {
  let head: PacketBuffer | null = null;
  let tail: PacketBuffer | null = null;
  for (const bytes of pieces) {
    const piece = driver.pool.take()!;
    piece.bytes.set(bytes, piece.start);
    piece.length = bytes.length;
    if (tail === null) head = piece;
    else tail.next = piece;
    tail = piece;
  }
  head!.total = pieces.reduce((sum, { length }) => sum + length, 0);
  return head!;
}

interface Hooks {
  /** What a read of BAR 0 gives, and a word of SRAM through the memory window. */
  read?: (offset: number, value: () => number) => number;
  sram?: (at: number, value: number) => number;
  /** True where a write to BAR 0 gets lost. */
  lost?: (offset: number, value: number) => boolean;
}

/** Puts something between the driver and BAR 0. */
function meddle(model: Tg3, hooks: Hooks): void {
  const region = model.bars[0] as { -readonly [K in keyof Region]: Region[K] };
  const { read, write } = region;
  let window = 0;
  region.read = (offset, width) => {
    const value = () => {
      const found = read(offset, width);
      return offset === R.MEM_WIN_DATA.at && hooks.sram !== undefined ? hooks.sram(window, found) : found;
    };
    return hooks.read === undefined ? value() : hooks.read(offset, value);
  };
  region.write = (offset, width, value) => {
    if (offset === R.MEM_WIN_BASE_ADDR.at) window = value;
    if (hooks.lost?.(offset, value) !== true) write(offset, width, value);
  };
}

/** The status block's words, written as the card would. */
async function scribbler({ device }: Awaited<ReturnType<typeof open>>) {
  const at = device.bar(0).read32(R.HOSTCC_STATUS_BLK_HOST_LOW.at);
  return (word: number, value: number) => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    device.function.dma.write(at + 4 * word, bytes, 0, 4);
  };
}

// ---- Cards and options ----------------------------------------------------------------------------------------------

test('knows its cards', (t) => {
  const id = { vendor: 0x14e4, device: 0x1682, revision: 0, subsystemVendor: 0, subsystem: 0 };
  for (const { device } of Object.values(CHIPS)) t.true(supports({ ...id, device }));
  t.false(supports({ ...id, device: 0x1684 }));
  t.false(supports({ ...id, vendor: 0x8086 }));
});

test('ring sizes, queues, buffers, MTUs and VLAN ids are checked', async (t) => {
  for (const rxDescriptors of [0, 24, 33, 520, 40.5]) {
    await t.throwsAsync(open({ rxDescriptors }), code('INVALID', /rxDescriptors/));
  }
  await t.throwsAsync(open({ txDescriptors: 44 }), code('INVALID', /txDescriptors/));
  await t.throwsAsync(open({ queues: 5 }), code('INVALID', /queues 5: BCM57762 has 4/));
  await t.throwsAsync(open({ queues: 2, chip: 'tg3-5751' }), code('INVALID', /BCM5751 has 1/));
  await t.throwsAsync(open({ bufferSize: 1024 }), code('INVALID', /bufferSize/));
  await t.throwsAsync(open({ mtu: 9001 }), code('INVALID', /9000/));
  await t.throwsAsync(open({ mtu: 1501, chip: 'tg3-5721' }), code('INVALID', /1500/));
  const { driver } = await open({ mtu: 9000 });
  await t.throwsAsync(driver.addVlan(4096), code('INVALID'));
  await t.throwsAsync(driver.removeVlan(-1), code('INVALID'));
});

test('the steps of bring-up are said, and what becomes of the link', async (t) => {
  const lines: string[] = [];
  const { driver, start, clock } = await open({ log: (line) => lines.push(line) });
  await start();
  await runClock(clock, driver.stop());
  t.deepEqual(lines, [
    'device reset, boot code complete',
    'receive rings: 512 buffers, return rings: 1; send ring: 512 descriptors',
    'produced 511 receive buffers',
    'transmit MAC enabled',
    'receive MAC enabled',
    'waiting for interrupts (msix, vectors: 1)',
    'link negotiated: full duplex, 1000 Mbit/s, txpause on, rxpause on',
    'no link',
  ]);
});

// ---- NVRAM, firmware, PHY -------------------------------------------------------------------------------------------

/** SRAM does not say the address: the NVRAM is asked. */
function withoutSram(spoil?: (model: Tg3) => void): (model: Tg3) => void {
  return (model) => {
    spoil?.(model);
    meddle(model, { sram: (at, value) => (at === SRAM_MAC_HIGH ? 0 : value) });
  };
}

test('the address comes from SRAM, or from the NVRAM, which must then hold together', async (t) => {
  const { driver } = await open();
  t.deepEqual(driver.mac, MAC);
  const { driver: second } = await open({ spoil: withoutSram() });
  t.deepEqual(second.mac, MAC);
  const bad = (change: (image: Uint8Array) => void) => {
    const nvram = factoryImage(CHIPS.tg3, MAC);
    change(nvram);
    return { model: { nvram }, spoil: withoutSram() };
  };
  await t.throwsAsync(
    open(bad((image) => put32(image, 0, 0x12345678))),
    code('BAD_NVM', /begins with 0x12345678, not 0x669955aa/),
  );
  await t.throwsAsync(open(bad((image) => image.fill(0xff))), code('BAD_NVM', /begins with 0xffffffff/));
  await t.throwsAsync(
    open(bad((image) => image.fill(0xff, 0x80))),
    code('BAD_NVM', /manufacturing block/),
    'cut off in the middle',
  );
  await t.throwsAsync(open(bad((image) => void image[9]!++)), code('BAD_NVM', /header has CRC/));
  const other = bad((image) => void image[0x83]!++);
  await t.throwsAsync(open(other), code('BAD_NVM', /manufacturing block.*ignoreNvmChecksum/));
  const { driver: forced } = await open({ ...other, ignoreNvmChecksum: true });
  t.deepEqual([...forced.mac], [0x02, 0x11, 0x22, 0x33, 0x44, 0x56]);
  const nowhere = bad((image) => {
    image.fill(0, 0x7e, 0x84);
    const crc = crc32(image, 0x74, 0x88);
    for (let i = 0; i < 4; i++) image[0xfc + i] = crc >>> (8 * i);
  });
  await t.throwsAsync(open(nowhere), code('BAD_NVM', /00:00:00:00:00:00/));
});

test('an NVRAM that does not hold together, and boot code that therefore leaves nothing: said, and none driven', async (t) => {
  const bad: [change: (image: Uint8Array) => void, message: RegExp][] = [
    [(image) => image.fill(0, 0, 4), /begins with 0x0+, not 0x669955aa/],
    [(image) => void image[9]!++, /the header has CRC/],
    [(image) => image.fill(0xff, 0x80), /the manufacturing block has CRC/],
    [(image) => void image[0x83]!++, /the manufacturing block has CRC/],
  ];
  for (const [change, message] of bad) {
    const nvram = factoryImage(CHIPS.tg3, MAC);
    change(nvram);
    await t.throwsAsync(open({ model: { nvram } }), code('BAD_NVM', message));
  }
});

test('an NVRAM that nobody lets go of, and one that never answers', async (t) => {
  const busy = withoutSram(({ registers }) => registers.onRead(R.NVRAM_SWARB, () => 0));
  await t.throwsAsync(open({ spoil: busy }), code('TIMEOUT', /asking for the NVRAM/));
  const silent = withoutSram(({ registers }) => registers.onRead(R.NVRAM_CMD, () => 0));
  await t.throwsAsync(open({ spoil: silent }), code('TIMEOUT', /reading NVRAM word 0x0/));
});

test('firmware that never answers its mailbox: said, and gone on without', async (t) => {
  const lines: string[] = [];
  const spoil = (model: Tg3) => {
    meddle(model, { sram: (at, value) => (at === SRAM_FW_MAILBOX ? 0 : value) });
  };
  const { driver, start, clock } = await open({ spoil, log: (line) => lines.push(line) });
  const before = clock.now;
  await start();
  t.true(clock.now - before < 4 * SECOND);
  t.is(lines[0], 'device reset, no boot code answers: going on without it');
  t.true(driver.link.up);
});

test('a PHY that never links, one that does not answer, one that stays in reset', async (t) => {
  const { driver, link, clock, start } = await open();
  link.disconnect();
  await start();
  await runFor(clock, 10 * SECOND);
  t.false(driver.link.up);
  t.is(driver.failure, null);
  link.connect();
  await runFor(clock, 3 * SECOND);
  t.true(driver.link.up);

  const failing = async (spoil: (model: Tg3) => void, expected: ReturnType<typeof code>) => {
    const { driver, clock, model, device } = await open({ spoil });
    await t.throwsAsync(runClock(clock, driver.start()), expected);
    t.true(driver.pool.size > 0);
    t.is(driver.pool.available, driver.pool.size);
    t.false(model.dma.enabled);
    await runClock(clock, driver.close());
    t.is(device.dma.used, 0);
  };
  const { START, READ_FAILED } = R.MAC_MI_COM;
  await failing(({ registers }) => registers.onRead(R.MAC_MI_COM, () => READ_FAILED), code('FAILED', /PHY/));
  await failing(({ registers }) => registers.onRead(R.MAC_MI_COM, () => START), code('TIMEOUT', /talking to the PHY/));
  await failing(({ registers }) => registers.onRead(R.MAC_MI_COM, () => 0x8000), code('TIMEOUT', /out of reset/));
});

// ---- A card that tells nonsense -------------------------------------------------------------------------------------

test('a status block that goes nowhere: the link is known all the same, hangs are counted, and it ends well', async (t) => {
  let nowhere = true;
  const spoil = (model: Tg3) => meddle(model, { lost: (at) => nowhere && at === R.HOSTCC_STATUS_BLK_HOST_LOW.at });
  const { driver, device, model, peer, clock, start } = await open({ spoil });
  await start();
  await runFor(clock, 3 * SECOND);
  t.true(driver.link.up);
  t.is(driver.transmit([packetOf(driver, broadcast())], 0, 1), 1);
  peer.send(broadcast());
  await runFor(clock, 8 * SECOND);
  t.true(model.dma.faults > 0);
  t.is(driver.receive([], 8), 0);
  const { txHangs, txErrors } = driver.statistics();
  t.deepEqual([txHangs, txErrors], [1, 1]);
  nowhere = false;
  t.is(driver.transmit([packetOf(driver, broadcast())], 0, 1), 1);
  await runFor(clock, 10 * SECOND); // another hang, and a reset by which it is well again
  t.is(driver.statistics().txHangs, 2);
  t.is(driver.transmit([packetOf(driver, broadcast())], 0, 1), 1);
  await runFor(clock, 10 * SECOND);
  t.is(driver.statistics().txHangs, 2);
  t.is(driver.rings.tx.used, 0);
  await runClock(clock, driver.close());
  t.is(device.dma.used, 0);
});

test('frames that are damaged, or that the card could not store, count once', async (t) => {
  const opened = await open();
  const { driver, device, peer, start, clock } = opened;
  await start();
  for (const [length, flags] of [
    [60, FCS_ERROR],
    [40, 0],
    [40, FCS_ERROR],
    [1600, 0],
    [1600, FCS_ERROR],
  ] as const)
    peer.send(broadcast(length), 0, length, flags);
  await runFor(clock, MILLISECOND);
  const into: PacketBuffer[] = [];
  t.is(driver.receive(into, 8), 0);
  t.is(driver.statistics().rxErrors, 5);
  const address = new Uint8Array(4).fill(0xff); // of the first buffer
  device.function.dma.write(device.bar(0).read32(R.RCVDBDI_STD_ADDR_LOW.at) + 4, address, 0, 4);
  peer.send(broadcast());
  peer.send(broadcast());
  await runFor(clock, MILLISECOND);
  t.is(driver.receive(into, 8), 1);
  into[0]!.free();
  t.is(driver.statistics().rxErrors, 6);
  await runClock(clock, driver.close());
  t.is(device.dma.used, 0);
});

test('packets without bytes, and longer than the card takes, are refused and counted', async (t) => {
  const { driver, start, clock } = await open();
  await start();
  const packets = [packetOf(driver, new Uint8Array()), packetOf(driver, broadcast(1600))];
  const { used } = driver.rings.tx;
  t.is(driver.transmit(packets, 0, 2), 2);
  t.is(driver.statistics().txErrors, 2);
  t.is(driver.rings.tx.used, used);
  await runClock(clock, driver.stop());
  t.is(driver.pool.available, driver.pool.size);
});

test('indices beyond a ring, or beyond what was sent, are refused, and counted once', async (t) => {
  const opened = await open();
  const { driver, start, clock } = opened;
  await start();
  const scribble = await scribbler(opened);
  const into: PacketBuffer[] = [];
  for (const producer of [1024, 0xffff]) {
    const { rxErrors } = driver.statistics();
    scribble(4, producer);
    t.is(driver.receive(into, 64), 0);
    t.is(driver.receive(into, 64), 0);
    t.is(driver.statistics().rxErrors, rxErrors + 1);
    t.false(await driver.waitForWork(0));
  }
  for (const consumer of [1, 511, 512, 0xffff]) {
    const { txErrors } = driver.statistics();
    scribble(4, consumer << 16);
    t.is(driver.reclaim(), 511);
    t.is(driver.reclaim(), 511);
    t.is(driver.statistics().txErrors, txErrors + 1);
  }
  scribble(4, 600); // within the ring, but nothing is there
  t.is(driver.receive(into, 64), 0);
  t.is(driver.receive(into, 64), 0);
  t.true(driver.statistics().rxErrors >= 600);
  await runClock(clock, driver.stop());
  t.is(driver.pool.available, driver.pool.size);
});

test('return descriptors that name no buffer, or frames longer than theirs, cost frames, not memory', async (t) => {
  const opened = await open({ rxDescriptors: 64 });
  const { driver, device, start, clock } = opened;
  await start();
  const scribble = await scribbler(opened);
  const bar = device.bar(0);
  bar.write32(R.MEM_WIN_BASE_ADDR.at, 0x204);
  const ring = bar.read32(R.MEM_WIN_DATA.at);
  const put = (index: number, word: number, value: number) => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    device.function.dma.write(ring + 32 * index + 4 * word, bytes, 0, 4);
  };
  const OPAQUE = 0x5b000000;
  put(0, 2, 64);
  put(0, 7, OPAQUE + 63); // no buffer there: 63 of 64 are out
  put(1, 2, 64);
  put(1, 7, 0xffffffff);
  put(2, 2, 64);
  put(2, 7, OPAQUE + 5000);
  put(3, 2, 1537);
  put(3, 7, OPAQUE + 1); // longer than a buffer
  put(4, 2, 3);
  put(4, 7, OPAQUE + 2); // shorter than its own FCS
  put(5, 2, 64);
  put(5, 7, OPAQUE + 3);
  put(6, 2, 64);
  put(6, 7, OPAQUE + 3); // the same buffer twice
  scribble(4, 7);
  const into: PacketBuffer[] = [];
  t.is(driver.receive(into, 64), 1);
  t.is(into[0]!.length, 60);
  into[0]!.free();
  t.is(driver.statistics().rxErrors, 6);
  await runClock(clock, driver.stop());
  t.is(driver.pool.available, driver.pool.size);
});

test('an index that goes back gives nothing up a second time', async (t) => {
  const opened = await open();
  const { driver, peer, start, clock } = opened;
  await start();
  const scribble = await scribbler(opened);
  for (let i = 0; i < 100; i++) peer.send(broadcast());
  await runFor(clock, MILLISECOND);
  const into: PacketBuffer[] = [];
  t.is(driver.receive(into, 200), 100); // and their descriptors have fresh buffers by now
  for (const packet of into) packet.free();
  scribble(4, 90);
  t.is(driver.receive(into, 2000), 0);
  await runClock(clock, driver.stop());
  t.is(driver.pool.available, driver.pool.size);
});

test('buffers that the card never names are found missing, and had back by a reset', async (t) => {
  const opened = await open({ rxDescriptors: 64 });
  const { driver, device, start, clock, peer } = opened;
  await start();
  const scribble = await scribbler(opened);
  const bar = device.bar(0);
  bar.write32(R.MEM_WIN_BASE_ADDR.at, 0x204);
  const ring = bar.read32(R.MEM_WIN_DATA.at);
  bar.write32(R.MEM_WIN_BASE_ADDR.at, 0);
  device.function.dma.write(ring, new Uint8Array(32 * 63).fill(0xee), 0, 32 * 63);
  scribble(4, 63);
  const into: PacketBuffer[] = [];
  t.is(driver.receive(into, 64), 0);
  t.is(driver.statistics().rxErrors, 63);
  await runFor(clock, 2 * SECOND);
  t.is(driver.statistics().rxHangs, 0, 'not at the first look');
  await runFor(clock, 6 * SECOND);
  t.is(driver.statistics().rxHangs, 1);
  peer.send(broadcast());
  await runFor(clock, MILLISECOND);
  t.is(driver.receive(into, 8), 1);
  into[0]!.free();
  await runFor(clock, 20 * SECOND);
  t.is(driver.statistics().rxHangs, 1);
  await runClock(clock, driver.stop());
  t.is(driver.pool.available, driver.pool.size);
});

test('a tag in memory that is not the card’s does not interrupt for ever', async (t) => {
  const opened = await open({ interrupts: ['msi'] });
  const { driver, start, clock, model } = opened;
  await start();
  const scribble = await scribbler(opened);
  driver.onWork(() => driver.rearm());
  await runFor(clock, MILLISECOND);
  const { interrupts } = driver.statistics();
  scribble(1, 0xee);
  driver.rearm();
  const end = clock.now + MILLISECOND;
  t.true(clock.advanceTo(end, 1000) < 1000);
  t.true(driver.statistics().interrupts - interrupts < 5);
  t.is(model.dma.faults, 0);
});

test('what MAC_MODE once read as wrong is not written back', async (t) => {
  const { driver, model, link, start, clock } = await open();
  await start();
  let lies = true;
  meddle(model, {
    read: (offset, value) => value() | (lies && offset === R.MAC_MODE.at ? R.MAC_MODE.PORT_INT_LPBACK : 0),
  });
  link.disconnect();
  await runFor(clock, SECOND);
  link.connect();
  await runFor(clock, SECOND);
  lies = false;
  t.true(driver.link.up);
  t.is(model.readBar(0, R.MAC_MODE.at, 4) & R.MAC_MODE.PORT_INT_LPBACK, 0);
});

// ---- Life -----------------------------------------------------------------------------------------------------------

test('a transmitter that hangs is reset, and carries frames again', async (t) => {
  const { driver, peer, clock, model, start } = await open();
  await start();
  const events: string[] = [];
  driver.on('reset', () => events.push('reset'));
  driver.on('link', () => events.push(driver.link.up ? 'up' : 'down'));
  let deaf = true;
  meddle(model, { lost: (offset) => deaf && offset === R.MBOX_SEND_PROD.at(0) });
  const send = (count: number) => {
    const packets = Array.from({ length: count }, () => packetOf(driver, broadcast()));
    return driver.transmit(packets, 0, count);
  };
  t.is(send(3), 3);
  await runFor(clock, 3 * SECOND);
  t.deepEqual(events, [], 'not at the first look');
  deaf = false;
  await runFor(clock, 7 * SECOND);
  t.deepEqual(events, ['down', 'reset', 'up']);
  const { txHangs, resets, txErrors } = driver.statistics();
  t.deepEqual([txHangs, resets, txErrors], [1, 1, 3]);
  t.is(driver.rings.tx.used, 0);
  t.is(send(1), 1);
  await runFor(clock, MILLISECOND);
  t.is(peer.waiting, 1);
  await runFor(clock, 20 * SECOND);
  t.is(driver.statistics().txHangs, 1);
});

test('a card that goes away is noticed, said plainly, and asked nothing more', async (t) => {
  const { driver, clock, model, device, start } = await open();
  await start();
  let reads = 0;
  let gone = true;
  meddle(model, {
    read: (_offset, value) => {
      reads++;
      return gone ? 0xffffffff : value();
    },
    lost: () => gone,
  });
  await runFor(clock, 3 * SECOND);
  t.false(driver.link.up);
  t.throws(() => driver.receive([], 1), code('FAILED', /no longer answers/));
  t.throws(() => driver.transmit([], 0, 0), code('FAILED'));
  const before = reads;
  await runFor(clock, 20 * SECOND);
  t.is(reads, before);
  await runClock(clock, driver.stop());
  t.is(driver.pool.available, driver.pool.size);
  await t.throwsAsync(runClock(clock, driver.start()), code('FAILED', /no longer answers/));
  gone = false;
  await runClock(clock, driver.start());
  await runFor(clock, SECOND);
  t.true(driver.link.up, 'and works again once it is back');
  await runClock(clock, driver.close());
  t.is(device.dma.used, 0);
});

test('a stopped card is quiet: no receive, no transmit, no interrupt, no bus mastering', async (t) => {
  for (const chip of Object.keys(CHIPS) as ChipName[]) {
    const { driver, device, clock, model, peer, start } = await open({ chip });
    await start();
    await runClock(clock, driver.stop());
    const bar = device.bar(0);
    for (const mode of [R.MAC_RX_MODE, R.MAC_TX_MODE, R.RDMAC_MODE, R.WDMAC_MODE, R.HOSTCC_MODE]) {
      t.is(bar.read32(mode.at) & 2, 0, mode.name);
    }
    t.false(model.dma.enabled);
    peer.send(broadcast());
    await runFor(clock, 10 * SECOND);
    t.is(model.dma.faults, 0);
    await runClock(clock, driver.close());
    t.is(device.dma.used, 0);
    await t.throwsAsync(driver.start(), code('CLOSED'));
  }
});

test('blocks stop before the core is reset, the way frames come; then memory is arbitrated again', async (t) => {
  const { driver, model, clock, start } = await open();
  await start();
  const writes: [name: string, value: number][] = [];
  meddle(model, {
    lost: (offset, value) => {
      writes.push([BCM57XX.find(offset)?.name ?? '', value]);
      return false;
    },
  });
  await runClock(clock, driver.stop());
  const reset = writes.findIndex(([name, value]) => name === 'GRC_MISC_CFG' && (value & 1) !== 0);
  const stops = writes.slice(0, reset).filter(([name, value]) => /_MODE$/.test(name) && (value & 2) === 0);
  t.deepEqual(
    stops.map(([name]) => name).filter((name) => name !== 'MAC_MODE'),
    [
      ...['MAC_RX_MODE', 'RCVBDI_MODE', 'RCVLPC_MODE', 'RCVDBDI_MODE', 'RCVDCC_MODE', 'RCVCC_MODE'],
      ...['SNDBDS_MODE', 'SNDBDI_MODE', 'SNDDATAI_MODE', 'RDMAC_MODE', 'SNDDATAC_MODE', 'SNDBDC_MODE'],
      ...['MAC_TX_MODE', 'HOSTCC_MODE', 'WDMAC_MODE'],
    ],
  );
  t.deepEqual(
    writes.filter(([name]) => name === 'GRC_FASTBOOT_PC'),
    [['GRC_FASTBOOT_PC', 0]],
  );
  const after = writes.slice(reset).map(([name, value]) => `${name} ${value}`);
  t.true(after.includes('MEMARB_MODE 2'));
  t.true(after.includes('MAC_MODE 0'));
});

test('what nobody driving such a chip should do, this driver does not: no unknown register is touched', async (t) => {
  for (const chip of Object.keys(CHIPS) as ChipName[]) {
    const { driver, clock, model, start } = await open({ chip });
    await start();
    await driver.setPromiscuous(true);
    driver.statistics();
    await runFor(clock, 10 * SECOND);
    await runClock(clock, driver.stop());
    t.is(model.registers.refused, 0, chip);
  }
});

test('a busy receiver gathers', async (t) => {
  const { driver, device, peer, clock, start } = await open();
  const into: PacketBuffer[] = [];
  driver.onWork(() => {
    const count = driver.receive(into, 64);
    for (let i = 0; i < count; i++) into[i]!.free();
    driver.rearm();
  });
  await start();
  const frames = () => device.bar(0).read32(R.HOSTCC_RXMAX_FRAMES.at);
  t.is(frames(), LEVELS[0].rxFrames);
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 64; i++) peer.send(broadcast());
    await runFor(clock, MILLISECOND);
  }
  t.true(frames() > LEVELS[0].rxFrames);
  t.is(driver.statistics().rxPackets, 20 * 64);
});

test('a frame that arrives as the card is being halted is in the counts', async (t) => {
  const { driver, clock, model, peer, start } = await open();
  await start();
  let sent = false;
  meddle(model, {
    lost(offset, value) {
      if (offset === R.MAC_RX_MODE.at && (value & R.MAC_RX_MODE.ENABLE) === 0 && !sent) {
        sent = true;
        peer.send(broadcast());
      }
      return false;
    },
  });
  await runClock(clock, driver.stop());
  t.is(driver.chipStatistics().RX_STATS_BCAST, 1);
});

for (const queues of [1, 4]) {
  test(`${queues} queues: an interval between interrupts is the caller’s, and stays over a reset`, async (t) => {
    const { driver, clock, device, start } = await open({ queues });
    const { coalescing } = driver.abilities;
    await coalescing!.set(300);
    await start();
    const { HOSTCC_RXCOL_TICKS, HOSTCC_VEC_RXCOL_TICKS } = R;
    const last = HOSTCC_VEC_RXCOL_TICKS.at(3);
    const ticks = () => device.bar(0).read32(queues === 1 ? HOSTCC_RXCOL_TICKS.at : last);
    t.is(ticks(), 300);
    await coalescing!.set(null);
    t.is(ticks(), LEVELS[0].rxTicks);
    await runClock(clock, driver.stop());
  });
}

test('the multicast hash is the one that Linux computes', (t) => {
  t.is(
    hashOf(Uint8Array.of(0x01, 0x00, 0x5e, 0x00, 0x00, 0x01)),
    ~crc32(Uint8Array.of(1, 0, 0x5e, 0, 0, 1), 0, 6) & 0x7f,
  );
});

// ---- Offloads -------------------------------------------------------------------------------------------------------

/** UDP over IPv6; the checksum left to the card. */
function udp6(payload: number): Uint8Array {
  const frame = new Uint8Array(62 + payload);
  frame.set(OTHER);
  frame.set(MAC, 6);
  put16(frame, 12, 0x86dd);
  frame[14] = 0x60;
  put16(frame, 18, 8 + payload);
  frame[20] = 17;
  frame[37] = 1;
  frame[53] = 2;
  put16(frame, 58, 8 + payload);
  for (let i = 62; i < frame.length; i++) frame[i] = i * 7;
  put16(frame, 60, foldChecksum(addToChecksum(frame, 22, 32) + 17 + 8 + payload));
  return frame;
}

function udp6Sum(frame: Uint8Array): number {
  const length = frame.length - 54;
  return foldChecksum(addToChecksum(frame, 54, length, addToChecksum(frame, 22, 32) + 17 + length));
}

for (const chip of ['tg3', 'tg3-5751'] as const) {
  test(`${CHIPS[chip].name}: checksums that the chip does not fill in are beyond its limits, and software does`, async (t) => {
    const { driver, peer, clock, start } = await open({ chip });
    await start();
    const frame = udp6(301);
    const whole = packetOf(driver, frame);
    const parts = packetOf(driver, frame.subarray(0, 62), frame.subarray(62, 163), frame.subarray(163));
    // What is behind the outer headers, as in a tunnel.
    const inner = packetOf(driver, frame);
    const asked = (packet: PacketBuffer, checksumStart: number, checksumOffset: number) =>
      Object.assign(packet, { flags: TX_L4_CHECKSUM, checksumStart, checksumOffset });
    for (const packet of [whole, parts]) asked(packet, 54, 6);
    asked(inner, 100, 0);
    put16(inner.bytes, inner.start + 100, 0);
    const expected = ~foldChecksum(addToChecksum(inner.bytes, inner.start + 100, inner.length - 100)) & 0xffff;
    t.is(driver.transmit([packetOf(driver, frame), asked(packetOf(driver, frame), 100, 0)], 0, 2), 2);
    t.is(driver.statistics().txErrors, 1);
    const segmenter = new Segmenter(driver, driver.pool);
    const frames: PacketBuffer[] = [];
    for (const packet of [whole, parts, inner]) segmenter.prepare(packet, frames, frames.length, 1);
    t.is(driver.transmit(frames, 0, 3), 3);
    await runFor(clock, MILLISECOND);
    t.deepEqual(peer.take()!.bytes, frame);
    t.is(udp6Sum(peer.take()!.bytes), 0xffff);
    t.is(udp6Sum(peer.take()!.bytes), 0xffff);
    t.is(get16(peer.take()!.bytes, 100), expected);
    t.is(driver.features.enabled & FEATURE_TX_CHECKSUM, FEATURE_TX_CHECKSUM);
  });

  test(`${CHIPS[chip].name}: a tag in a frame to be segmented comes out in every segment`, async (t) => {
    const { driver, peer, clock, start } = await open({ chip });
    await start();
    const frame = new Uint8Array(58 + 3000);
    frame.set(OTHER);
    frame.set(MAC, 6);
    frame.set(
      [0x81, 0x00, 0x20, 0x07, 0x08, 0x00, 0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2],
      12,
    );
    put16(frame, 20, 3040);
    frame[50] = 0x50;
    for (let i = 58; i < frame.length; i++) frame[i] = i;
    const packet = packetOf(driver, frame.subarray(0, 1200), frame.subarray(1200));
    packet.flags = TX_TSO4;
    packet.mss = 1400;
    packet.headerLength = 58;
    packet.checksumStart = 38;
    packet.checksumOffset = 16;
    t.is(driver.transmit([packet], 0, 1), 1);
    await runFor(clock, MILLISECOND);
    const sizes: number[] = [];
    for (let at = 0; at < 3000; ) {
      const { bytes } = peer.take()!;
      t.deepEqual([...bytes.subarray(12, 18)], [0x81, 0x00, 0x20, 0x07, 0x08, 0x00]);
      t.is(get32(bytes, 42), at);
      const size = Math.min(1400, 3000 - at);
      t.deepEqual(bytes.subarray(58, 58 + size), frame.subarray(58 + at, 58 + at + size));
      sizes.push(size);
      at += size;
    }
    t.deepEqual(sizes, [1400, 1400, 200]);
  });
}

test('no descriptor points at 8 bytes or less, nor a 57762’s at more than 2048: frames are whole nevertheless', async (t) => {
  const { driver, device, peer, clock, start } = await open();
  await start();
  const frame = Uint8Array.from({ length: 300 }, (_, i) => i);
  frame.set(OTHER);
  const cut = (...at: number[]) => at.map((end, i) => frame.slice(at[i - 1] ?? 0, end));
  const packets = [cut(100, 105, 300), cut(296, 300), cut(60, 68, 300)].map((pieces) => packetOf(driver, ...pieces));
  t.is(driver.transmit(packets, 0, packets.length), packets.length);
  await runFor(clock, MILLISECOND);
  for (let i = 0; i < packets.length; i++) t.deepEqual(peer.take()!.bytes, frame);
  const lengths = sentLengths(device);
  t.is(lengths.length, 8);
  t.true(lengths.every((length) => length > 8));
});

/** What the first descriptors of the send ring point at, as many as were sent. */
function sentLengths(device: SimDevice): number[] {
  const bar = device.bar(0);
  bar.write32(R.MEM_WIN_BASE_ADDR.at, 0x104);
  const ring = bar.read32(R.MEM_WIN_DATA.at);
  const words = new Uint32Array(4);
  return Array.from({ length: bar.read32(R.MBOX_SEND_PROD.at(0)) }, (_, i) => {
    device.function.dma.read(ring + 16 * i, new Uint8Array(words.buffer), 0, 16);
    return words[2]! >>> 16;
  });
}

test('the last of a batch is reported at once', async (t) => {
  const { driver, device, start, clock } = await open();
  await start();
  for (const batch of [1, 5]) {
    const packets = Array.from({ length: batch }, () => packetOf(driver, broadcast()));
    t.is(driver.transmit(packets, 0, batch), batch);
    await runFor(clock, MILLISECOND);
  }
  const bar = device.bar(0);
  bar.write32(R.MEM_WIN_BASE_ADDR.at, SRAM_SEND_RCB + 4);
  const words = new Uint32Array(6 * 4);
  device.function.dma.read(bar.read32(R.MEM_WIN_DATA.at), new Uint8Array(words.buffer), 0, words.byteLength);
  const now = Array.from({ length: 6 }, (_, i) => (words[4 * i + 2]! & TX_COAL_NOW) !== 0);
  t.deepEqual(now, [true, false, false, false, false, true]);
  t.is(driver.reclaim(), 511);
});

test('a piece of a little more than 2048 bytes leaves no descriptor of a few', async (t) => {
  const { driver, device, peer, clock, start } = await open({ bufferSize: 4096 + 64, buffers: 1024 });
  await start();
  const frame = new Uint8Array(2052);
  frame.set(OTHER);
  frame.set(MAC, 6);
  frame.set([0x08, 0x00, 0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2], 12);
  put16(frame, 16, 2038);
  frame[46] = 0x50;
  const packet = packetOf(driver, frame);
  packet.flags = TX_TSO4;
  packet.mss = 1000;
  packet.headerLength = 54;
  packet.checksumStart = 34;
  packet.checksumOffset = 16;
  t.is(driver.transmit([packet], 0, 1), 1);
  await runFor(clock, MILLISECOND);
  t.is(peer.waiting, 2);
  const lengths = sentLengths(device);
  t.deepEqual(lengths, [2040, 12]);
});

test('tags go in and out without any VLAN filter', async (t) => {
  const { driver, peer, clock, start } = await open({ chip: 'tg3-5751' });
  await start();
  await driver.addVlan(5);
  const packet = packetOf(driver, broadcast());
  packet.flags = TX_VLAN;
  packet.vlan = 6;
  t.is(driver.transmit([packet], 0, 1), 1);
  await runFor(clock, MILLISECOND);
  const { bytes } = peer.take()!;
  t.is(get32(bytes, 12), 0x81000006);
  peer.send(bytes);
  await runFor(clock, MILLISECOND);
  const into: PacketBuffer[] = [];
  t.is(driver.receive(into, 8), 1);
  t.is(into[0]!.vlan, 6);
});

for (const bufferSize of [undefined, 16384 + 64]) {
  test(`buffers of ${bufferSize ?? 'one frame'}: with an MTU of 9000 frames of every length come and go`, async (t) => {
    const { driver, peer, clock, device, start } = await open({ mtu: 9000, bufferSize, buffers: 1024 });
    await start();
    const into: PacketBuffer[] = [];
    for (const length of [60, 1514, 1518, 1532, 1533, 1536, 1540, 3000, 6140, 6144, 9014]) {
      const frames = [3, 5].map((step) => Uint8Array.from({ length }, (_, i) => i * step));
      for (const frame of frames) {
        frame.set(driver.mac);
        put16(frame, 12, 0x88b5);
        peer.send(frame);
      }
      await runFor(clock, MILLISECOND);
      t.is(driver.receive(into, 8), 2, `${length} bytes`);
      t.is(driver.transmit(into, 0, 2), 2);
      await runFor(clock, MILLISECOND);
      for (const frame of frames) t.deepEqual(peer.take()?.bytes, frame, `${length} bytes`);
      driver.reclaim();
    }
    t.is(driver.statistics().rxErrors, 0);
    await runClock(clock, driver.close());
    t.is(device.dma.used, 0);
  });
}

test('a card that is told to wait by PAUSE does not count as hung', async (t) => {
  const { driver, peer, clock, start } = await open();
  await start();
  t.true(driver.link.rxPause);
  const pause = new Uint8Array(60);
  pause.set([0x01, 0x80, 0xc2, 0, 0, 1]);
  pause.set([0x88, 0x08, 0, 1, 0xff, 0xff], 12);
  peer.send(pause);
  t.is(driver.transmit([packetOf(driver, broadcast())], 0, 1), 1);
  for (let i = 0; i < 500; i++) {
    await runFor(clock, 20 * MILLISECOND);
    peer.send(pause);
  }
  t.is(peer.waiting, 0);
  t.is(driver.statistics().txHangs, 0);
  await runFor(clock, SECOND);
  t.is(peer.waiting, 1);
});

// ---- Several queues -------------------------------------------------------------------------------------------------

function udp4(port: number): Uint8Array {
  const frame = new Uint8Array(64);
  frame.set(MAC);
  frame.set(OTHER, 6);
  frame.set([0x08, 0x00, 0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2], 12);
  put16(frame, 24, ~foldChecksum(addToChecksum(frame, 14, 20)));
  put16(frame, 34, port);
  put16(frame, 36, 80);
  frame[46] = 0x50;
  return frame;
}

for (const interrupts of [['msix'], ['intx']] as const) {
  test(`${interrupts[0]}: four queues, each connection in order on one of them`, async (t) => {
    const { driver, device, peer, clock, start } = await open({ queues: 4, interrupts });
    const seen = new Map<number, number[]>();
    const into: PacketBuffer[] = [];
    driver.onWork(() => {
      for (let count = driver.receive(into, 16); count > 0; count = driver.receive(into, 16)) {
        for (let i = 0; i < count; i++) {
          const { bytes, start } = into[i]!;
          const port = get16(bytes, start + 34);
          seen.set(port, [...(seen.get(port) ?? []), get32(bytes, start + 38)]);
          into[i]!.free();
        }
      }
      driver.rearm();
    });
    await start();
    for (let number = 0; number < 50; number++) {
      for (let port = 1000; port < 1020; port++) {
        const frame = udp4(port);
        put32(frame, 38, number);
        peer.send(frame);
      }
      await runFor(clock, MILLISECOND);
    }
    t.is(seen.size, 20);
    for (const numbers of seen.values())
      t.deepEqual(
        numbers,
        Array.from({ length: 50 }, (_, i) => i),
      );
    const consumed = Array.from({ length: 4 }, (_, ring) => device.bar(0).read32(R.MBOX_RET_CON.at(ring)));
    t.true(
      consumed.every((count) => count > 0),
      `${consumed}`,
    );
    await runClock(clock, driver.stop());
    t.is(driver.pool.available, driver.pool.size);
  });
}
