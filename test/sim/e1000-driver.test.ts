/** The e1000 driver on the 82540EM's model: the netdev spec, and what is the driver's own. */
import test from 'ava';
import { runClock, runFor } from '../../drivers/backends/clock-steps.ts';
import { openSim } from '../../drivers/backends/sim.ts';
import { DeviceError } from '../../drivers/device.ts';
import { createE1000, type E1000Options, supports } from '../../drivers/e1000/e1000.ts';
import { INTERVALS } from '../../drivers/e1000/interrupts.ts';
import { ASYMMETRIC, PAUSE, resolvePause } from '../../drivers/mii.ts';
import { BULK, LOW_LATENCY, Moderation } from '../../drivers/moderation.ts';
import { type PacketBuffer, TX_TSO4 } from '../../drivers/packet.ts';
import { Clock, MILLISECOND, SECOND } from '../../sim/clock.ts';
import { E1000 } from '../../sim/e1000/i82540em.ts';
import { I82540EM } from '../../sim/e1000/registers.ts';
import { get16, put16 } from '../../sim/packet.ts';
import type { Host, PciFunction } from '../../sim/pci/function.ts';
import { HostPort, Link } from '../../sim/wire/index.ts';
import { lacksOf } from '../spec/lacks.ts';
import { type Bench, netdevSpec } from '../spec/netdev.ts';
import { avaRegister } from '../util/ava-register.ts';
import { simBench } from '../util/sim-bench.ts';
import { StandIn82574 } from '../util/stand-in-82574.ts';

const { CTRL, EECD, EERD, ICR, ITR, RCTL, TCTL } = I82540EM.r;
const MAC = Uint8Array.of(0x02, 0x11, 0x22, 0x33, 0x44, 0x55);

async function open(options: E1000Options = {}, make = (host: Host) => new E1000(host, { mac: MAC })) {
  const clock = new Clock();
  let model!: E1000;
  const device = openSim(
    (host): PciFunction => {
      model = make(host);
      return model;
    },
    { name: 'sim:e1000', clock, dmaBytes: 16 << 20 },
  );
  const link = new Link(clock);
  const peer = new HostPort('peer');
  link.plug(model.port);
  link.plug(peer);
  const driver = await runClock(clock, createE1000(device, options));
  const start = async () => {
    await runClock(clock, driver.start());
    await runFor(clock, SECOND);
  };
  return { clock, model, device, link, peer, driver, start };
}

async function bench(options: E1000Options = {}, make?: (host: Host) => E1000): Promise<Bench> {
  return simBench(await open(options, make));
}

for (const interrupts of [['msi'], ['intx']] as const) {
  netdevSpec(
    avaRegister(interrupts[0]),
    (options) => bench({ buffers: 1024, ...options, interrupts }),
    lacksOf('82540EM'),
  );
}

netdevSpec(
  avaRegister('82574L with MSI-X'),
  (options) => bench({ buffers: 1024, ...options, interrupts: ['msix'] }, (host) => new StandIn82574(host, MAC)),
  lacksOf('82574L'),
);

for (const bufferSize of [320, 576, 4160, 16448]) {
  test(`buffers of ${bufferSize} bytes: jumbo frames arrive in as many as it takes`, async (t) => {
    const { driver, peer, clock, start } = await open({ bufferSize, mtu: 9000, buffers: 1024 });
    await start();
    const frame = Uint8Array.from({ length: 9014 }, (_, i) => i);
    frame.set(driver.mac);
    peer.send(frame);
    const into: PacketBuffer[] = [];
    t.is(driver.receive(into, 8), 1);
    t.is(into[0]!.total, 9014);
    t.is(driver.transmit(into, 0, 1), 1);
    await runFor(clock, MILLISECOND);
    t.deepEqual(peer.take()?.bytes, frame);
    await runClock(clock, driver.stop());
    t.is(driver.pool.available, driver.pool.size);
  });
}

const code = (expected: string, message = /./) => ({ instanceOf: DeviceError, code: expected, message });

test('knows its cards', (t) => {
  const id = { vendor: 0x8086, device: 0x100e, revision: 2, subsystemVendor: 0, subsystem: 0 };
  t.true(supports(id));
  t.true(supports({ ...id, device: 0x10d3 }));
  t.false(supports({ ...id, vendor: 0x10ec }));
});

test('ring sizes, MTUs and VLAN ids are checked', async (t) => {
  for (const rxDescriptors of [0, 72, 81, 4104, 2.5]) {
    await t.throwsAsync(open({ rxDescriptors }), code('INVALID', /rxDescriptors/));
  }
  await t.throwsAsync(open({ txDescriptors: 84 }), code('INVALID', /txDescriptors/));
  await t.throwsAsync(open({ mtu: 16111 }), code('INVALID', /16110/));
  const { driver } = await open({ mtu: 16110, rxDescriptors: 4096, txDescriptors: 80 });
  await t.throwsAsync(driver.addVlan(4096), code('INVALID'));
  await t.throwsAsync(driver.setFeatures(0), code('INVALID', /jumbo/));
});

test('the address comes from NVM; one that does not add up is refused, or driven all the same when told', async (t) => {
  const { driver } = await open();
  t.deepEqual(driver.mac, MAC);
  const eeprom = new Uint16Array(64).fill(0x1234);
  const make = (host: Host) => new E1000(host, { eeprom });
  await t.throwsAsync(open({}, make), code('BAD_NVM', /not 0xbaba/));
  const { driver: forced } = await open({ ignoreNvmChecksum: true }, make);
  t.deepEqual([...forced.mac], [0x34, 0x12, 0x34, 0x12, 0x34, 0x12]);
});

test('where EERD does not answer the NVM is read bit by bit', async (t) => {
  let clocked = 0;
  const { driver } = await open({}, (host) => {
    const model = new E1000(host, { mac: MAC });
    const { registers } = model;
    registers.onRead(EERD, () => 0);
    const write = registers.write.bind(registers);
    registers.write = (offset, width, value) => {
      if (offset === EECD.at) clocked++;
      write(offset, width, value);
    };
    return model;
  });
  t.deepEqual(driver.mac, MAC);
  t.true(clocked > 64 * 25);
});

test('pause is resolved as table 28B-3 has it', (t) => {
  const both = PAUSE | ASYMMETRIC;
  const none = { receive: false, transmit: false };
  t.deepEqual(resolvePause(0, both), none);
  t.deepEqual(resolvePause(ASYMMETRIC, PAUSE), none);
  t.deepEqual(resolvePause(ASYMMETRIC, both), { receive: false, transmit: true });
  t.deepEqual(resolvePause(PAUSE, ASYMMETRIC), none);
  t.deepEqual(resolvePause(PAUSE, PAUSE), { receive: true, transmit: true });
  t.deepEqual(resolvePause(both, ASYMMETRIC), { receive: true, transmit: false });
  t.deepEqual(resolvePause(both, PAUSE), { receive: true, transmit: true });
  t.deepEqual(resolvePause(ASYMMETRIC, ASYMMETRIC), none);
});

test('the steps of bring-up are said, and what becomes of the link', async (t) => {
  const lines: string[] = [];
  const { driver, start, clock } = await open({ log: (line) => lines.push(line), interrupts: ['msi'] });
  await start();
  await runClock(clock, driver.stop());
  t.deepEqual(lines, [
    'device reset',
    'receive ring of 512: produced 511 buffers, receive MAC enabled',
    'transmit ring of 512: transmit MAC enabled',
    'waiting for interrupts (msi)',
    'link negotiated: full duplex, 1000 Mbit/s, txpause on, rxpause on',
    'no link',
  ]);
});

test('flow control follows what was negotiated', async (t) => {
  const { driver, device, start } = await open();
  await start();
  t.true(driver.link.rxPause && driver.link.txPause);
  const control = device.bar(0).read32(CTRL.at);
  t.truthy(control & CTRL.RFCE);
  t.truthy(control & CTRL.TFCE);
});

test('moderation: few packets an interrupt, short intervals; many, long ones', (t) => {
  const moderation = new Moderation();
  for (let i = 0; i < 20; i++) moderation.learn(1);
  t.is(moderation.level, LOW_LATENCY);
  for (let i = 0; i < 20; i++) moderation.learn(64);
  t.is(moderation.level, BULK);
  t.false(moderation.learn(64));
  for (let i = 0; i < 20; i++) moderation.learn(0);
  t.is(moderation.level, LOW_LATENCY);
});

test('a busy receiver writes ITR', async (t) => {
  const { driver, device, peer, clock, start } = await open();
  const into: PacketBuffer[] = [];
  driver.onWork(() => {
    const count = driver.receive(into, 64);
    for (let i = 0; i < count; i++) into[i]!.free();
    driver.rearm();
  });
  await start();
  t.is(device.bar(0).read32(ITR.at), INTERVALS[LOW_LATENCY]);
  const frame = new Uint8Array(60);
  frame.set(MAC);
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 64; i++) peer.send(frame);
    await runFor(clock, MILLISECOND);
  }
  t.is(device.bar(0).read32(ITR.at), INTERVALS[BULK]);
});

test('waitForWork: polls, waits so long, waits for ever', async (t) => {
  const { driver, peer, clock, start } = await open();
  await start();
  t.false(await driver.waitForWork(0));
  const before = clock.now;
  t.false(await runClock(clock, driver.waitForWork(3)));
  t.is(clock.now - before, 3 * MILLISECOND);
  const frame = new Uint8Array(60);
  frame.set(MAC);
  const waiting = driver.waitForWork(-1);
  await runFor(clock, 100 * MILLISECOND);
  peer.send(frame);
  t.true(await runClock(clock, waiting));
  t.true(await driver.waitForWork(0));
  t.is(driver.receive([], 8), 1);
  const stopped = driver.waitForWork(-1);
  await runClock(clock, driver.stop());
  t.false(await stopped);
});

/** A model that can be made to misbehave. */
class Troubled extends E1000 {
  /** Drops doorbells: the transmitter does not see TDT move. */
  deaf = false;
  gone = false;
  /** Throws, as a device does that another process serves, and that has ended: at so many more reads. */
  readsLeft = Infinity;
  reads = 0;

  constructor(host: Host) {
    super(host, { mac: MAC });
    const { registers } = this;
    const { read, write } = { read: registers.read.bind(registers), write: registers.write.bind(registers) };
    registers.read = (offset, width) => {
      this.reads++;
      if (--this.readsLeft < 0) throw new DeviceError('FAILED', 'the server closed the connection');
      return this.gone ? 0xffffffff >>> (32 - 8 * width) : read(offset, width);
    };
    registers.write = (offset, width, value) => {
      if (this.gone || (this.deaf && offset === I82540EM.r.TDT.at && value !== 0)) return;
      write(offset, width, value);
    };
  }
}

function openTroubled(options: E1000Options = {}) {
  return open(options, (host) => new Troubled(host)) as unknown as Promise<
    Omit<Awaited<ReturnType<typeof open>>, 'model'> & { model: Troubled }
  >;
}

test('a link that is looked at is known before any interrupt or watchdog tells of it', async (t) => {
  const { driver, clock, link, model, start } = await openTroubled();
  await start();
  const events: boolean[] = [];
  driver.on('link', () => events.push(driver.link.up));
  t.is(await runClock(clock, driver.checkLink()), driver.link);
  t.deepEqual(events, [], 'nothing new');
  link.disconnect();
  t.true(driver.link.up);
  const looks = [driver.checkLink(), driver.checkLink()];
  t.deepEqual(await runClock(clock, Promise.all(looks)), [driver.link, driver.link]);
  t.deepEqual(events, [false]);
  link.connect();
  await runFor(clock, SECOND);
  t.deepEqual(events, [false, true]);
  model.gone = true;
  await t.throwsAsync(runClock(clock, driver.checkLink()), code('FAILED', /no longer answers/));
});

test('a transmitter that hangs is reset, and carries frames again', async (t) => {
  const { driver, peer, clock, model, start } = await openTroubled();
  await start();
  const events: string[] = [];
  driver.on('reset', () => events.push('reset'));
  driver.on('link', () => events.push(driver.link.up ? 'up' : 'down'));
  model.deaf = true;
  const packet = () => {
    const buffer = driver.pool.take()!;
    buffer.bytes.set(MAC, buffer.start);
    buffer.length = 60;
    return buffer;
  };
  t.is(driver.transmit([packet(), packet(), packet()], 0, 3), 3);
  await runFor(clock, 3 * SECOND);
  t.deepEqual(events, [], 'not at the first look');
  model.deaf = false;
  await runFor(clock, 7 * SECOND);
  t.deepEqual(events, ['down', 'reset', 'up']);
  const { txHangs, resets, txErrors } = driver.statistics();
  t.deepEqual([txHangs, resets, txErrors], [1, 1, 3]);
  t.is(driver.rings.tx.used, 0);
  t.is(driver.transmit([packet()], 0, 1), 1);
  await runFor(clock, MILLISECOND);
  t.is(peer.waiting, 1);
  await runFor(clock, 20 * SECOND);
  t.is(driver.statistics().txHangs, 1);
});

test('a card that goes away is noticed, said plainly, and asked nothing more', async (t) => {
  const { driver, clock, model, start } = await openTroubled();
  await start();
  model.gone = true;
  await runFor(clock, 3 * SECOND);
  t.false(driver.link.up);
  t.throws(() => driver.receive([], 1), code('FAILED', /no longer answers/));
  t.throws(() => driver.transmit([], 0, 0), code('FAILED'));
  const { reads } = model;
  await runFor(clock, 20 * SECOND);
  t.is(model.reads, reads);
  t.is(driver.statistics().rxPackets, 0);
  await runClock(clock, driver.stop());
  t.is(driver.pool.available, driver.pool.size);
  await t.throwsAsync(runClock(clock, driver.start()), code('FAILED', /no longer answers/));
  model.gone = false;
  await runClock(clock, driver.start());
  await runFor(clock, SECOND);
  t.true(driver.link.up, 'and works again once it is back');
});

test('a frame that arrives as the card is being halted is in the counts', async (t) => {
  const { driver, clock, model, peer, start } = await open();
  await start();
  const { write32 } = model.registers;
  model.registers.write32 = (offset, value) => {
    if (offset === RCTL.at && value === 0) peer.send(new Uint8Array(60).fill(0xff, 0, 6));
    write32.call(model.registers, offset, value);
  };
  await runClock(clock, driver.stop());
  t.is(driver.chipStatistics().GPRC, 1);
});

test('an interval between interrupts is the caller’s, and stays over a reset', async (t) => {
  const { driver, clock, device, start } = await open();
  const { coalescing } = driver.abilities;
  await coalescing!.set(256);
  await start();
  const itr = () => device.bar(0).read32(ITR.at);
  t.is(itr(), 1000, '256 ns each (13.4.18)');
  await coalescing!.set(0);
  t.is(itr(), 0);
  await coalescing!.set(null);
  t.is(itr(), INTERVALS[LOW_LATENCY]);
  t.is(coalescing!.longestInterval, 16776);
  await runClock(clock, driver.stop());
});

test('a card that is lost while it is asked for its counts: the last ones stand, and it is noticed', async (t) => {
  for (const readsLeft of [0, 1, 10]) {
    const { driver, clock, model, device, peer, start } = await openTroubled();
    await start();
    const frame = new Uint8Array(60).fill(0xff, 0, 6);
    for (let i = 0; i < 3; i++) peer.send(frame);
    await runFor(clock, MILLISECOND);
    const before = driver.chipStatistics();
    t.is(before.GPRC, 3);
    model.readsLeft = readsLeft;
    t.deepEqual(driver.chipStatistics(), before);
    t.is(driver.failure?.message, 'the server closed the connection');
    t.is(driver.statistics().rxErrors, 0);
    await runClock(clock, driver.close());
    t.is(device.dma.used, 0);
  }
  const { driver, clock, model, start } = await openTroubled();
  await start();
  const { read } = model.registers;
  model.registers.read = (offset, width) => {
    model.gone ||= offset === I82540EM.r.GPRC.at; // pulled out half-way: all ones are no counts
    return read(offset, width);
  };
  t.true(Object.values(driver.chipStatistics()).every((count) => count < 100));
  await runClock(clock, driver.close());
});

test('a card that is lost before anybody noticed: closing says so, and leaves nothing', async (t) => {
  const { driver, clock, model, device, start } = await openTroubled();
  await start();
  model.readsLeft = 0;
  await t.throwsAsync(runClock(clock, driver.close()), code('FAILED', /the server closed the connection/));
  t.is(device.dma.used, 0);
  await driver.close();
});

test('a card that never was, and one that never comes out of reset', async (t) => {
  const absent = open({}, (host) => {
    const model = new Troubled(host);
    model.gone = true;
    return model;
  });
  await t.throwsAsync(absent, code('FAILED', /no longer answers/));
  const stuck = open({}, (host) => {
    const model = new E1000(host, { mac: MAC });
    model.registers.onRead(CTRL, () => CTRL.RST);
    return model;
  });
  await t.throwsAsync(stuck, code('TIMEOUT', /resetting: CTRL/));
});

test('a card whose PHY does not answer fails to start, and keeps no buffer', async (t) => {
  const { driver, clock, model } = await open();
  const { MDIC } = I82540EM.r;
  model.registers.onRead(MDIC, () => MDIC.R | MDIC.E);
  await t.throwsAsync(runClock(clock, driver.start()), code('FAILED', /PHY/));
  t.true(driver.pool.size > 0);
  t.is(driver.pool.available, driver.pool.size);
  t.false(model.dma.enabled);
  model.registers.onRead(MDIC, () => MDIC.R);
  await runClock(clock, driver.start());
  t.true(model.dma.enabled);
});

test('frames queued while there is no link do not wait for ever', async (t) => {
  const { driver, clock, model, link, start } = await openTroubled();
  await start();
  link.disconnect();
  await runFor(clock, SECOND);
  t.false(driver.link.up);
  model.deaf = true;
  const packet = driver.pool.take()!;
  packet.length = 60;
  t.is(driver.transmit([packet], 0, 1), 1);
  await runFor(clock, 10 * SECOND);
  const { txHangs, resets, txErrors } = driver.statistics();
  t.deepEqual([txHangs, resets, txErrors], [0, 1, 1]);
});

test('before TSO the lengths in the headers become 0, and the length goes out of the sum in the checksum field', async (t) => {
  const { driver, start } = await open();
  await start();
  const packet = driver.pool.take()!;
  const header = [...MAC, ...MAC, 8, 0, 0x45, 0, 7, 8, 0, 0, 0, 0, 64, 6, 9, 9, 10, 0, 0, 1, 10, 0, 0, 2];
  packet.bytes.fill(0, packet.start, packet.start + 1854);
  packet.bytes.set(header, packet.start);
  packet.bytes[packet.start + 46] = 0x50;
  put16(packet.bytes, packet.start + 50, 0x1234 + 1820); // as of a final destination that is not in the header
  packet.length = packet.total = 1854;
  packet.flags = TX_TSO4;
  packet.checksumStart = 34;
  packet.checksumOffset = 16;
  packet.mss = 1000;
  packet.headerLength = 54;
  t.is(driver.transmit([packet], 0, 1), 1);
  t.is(get16(packet.bytes, packet.start + 16), 0);
  t.is(get16(packet.bytes, packet.start + 24), 0);
  t.is(get16(packet.bytes, packet.start + 50), 0x1234);
});

test('counters that would stick at their end do not', async (t) => {
  const { driver, clock, model, start } = await open();
  await start();
  const gptc = I82540EM.r.GPTC.word;
  for (let i = 0; i < 3; i++) {
    model.registers.words[gptc] = 0xffffffff;
    await runFor(clock, 2 * SECOND);
  }
  t.is(driver.statistics().txPackets, 3 * 0xffffffff);
});

test('a stopped card is quiet: no receive, no transmit, no interrupt, no bus mastering', async (t) => {
  const { driver, device, clock, model, peer, start } = await open();
  await start();
  await runClock(clock, driver.stop());
  const bar = device.bar(0);
  t.is(bar.read32(RCTL.at) & RCTL.EN, 0);
  t.is(bar.read32(TCTL.at) & TCTL.EN, 0);
  t.is(bar.read32(I82540EM.r.IMS.at), 0);
  t.false(model.dma.enabled);
  peer.send(new Uint8Array(60).fill(0xff));
  await runFor(clock, 10 * SECOND);
  t.is(model.dma.faults, 0);
  t.is(bar.read32(ICR.at) & ICR.RXT0, 0);
  await runClock(clock, driver.close());
  t.is(device.dma.used, 0);
  await t.throwsAsync(driver.start(), code('CLOSED'));
});

test('a card that describes nonsense costs frames, not memory', async (t) => {
  const { driver, device, clock, start } = await open({ rxDescriptors: 80 });
  await start();
  const bar = device.bar(0);
  const ring = bar.read32(I82540EM.r.RDBAL.at);
  const words = new Uint32Array(4);
  const scribble = (index: number, length: number, status: number) => {
    words.set([0, 0, length, status]);
    device.function.dma.write(ring + 16 * index + 8, new Uint8Array(words.buffer, 8, 8), 0, 8);
  };
  const into: PacketBuffer[] = [];
  scribble(0, 0xffff, 3); // longer than its buffer
  t.is(driver.receive(into, 8), 0);
  t.is(driver.statistics().rxErrors, 1);
  for (let i = 1; i < 40; i++) scribble(i, 2048, 1); // no end in sight
  scribble(40, 10, 3);
  t.is(driver.receive(into, 64), 0);
  t.is(driver.statistics().rxErrors, 2);
  await runClock(clock, driver.stop());
  t.is(driver.pool.available, driver.pool.size);
});

/** A started card, its receive ring, and a hand in it. */
async function openLying(options: E1000Options) {
  const opened = await open(options);
  const { driver, device, start } = opened;
  await start();
  const ring = device.bar(0).read32(I82540EM.r.RDBAL.at);
  const words = new Uint32Array(2);
  let next = 0;
  const tell = (length: number, status: number) => {
    words.set([length, status]);
    device.function.dma.write(ring + 16 * next + 8, new Uint8Array(words.buffer), 0, 8);
    next = (next + 1) % driver.rings.rx.size;
  };
  return { ...opened, tell };
}
const DONE = 1;
const END = 2;

test('a frame without bytes and without end is cut off by its pieces: the pool stays whole', async (t) => {
  for (const bufferSize of [2112, 320]) {
    const { driver, tell, clock } = await openLying({ rxDescriptors: 80, buffers: 512, bufferSize });
    const into: PacketBuffer[] = [];
    for (let i = 0; i < 2000; i++) {
      tell(0, DONE);
      t.is(driver.receive(into, 8), 0);
    }
    t.is(driver.rings.rx.used > 60, true, 'the card always has buffers');
    t.is(driver.statistics().rxErrors, 1);
    tell(60, DONE | END); // the end of that frame
    tell(60, DONE | END);
    t.is(driver.receive(into, 8), 1);
    into[0]!.free();
    await runClock(clock, driver.stop());
    t.is(driver.pool.available, driver.pool.size);
  }
});

test('a frame that holds every buffer there is goes, is counted, and others are received again', async (t) => {
  const { driver, tell, clock } = await openLying({ rxDescriptors: 80, buffers: 100, bufferSize: 320 });
  const others = Array.from({ length: 21 }, () => driver.pool.take()!); // what a caller holds: 79 are the ring's
  const into: PacketBuffer[] = [];
  for (let i = 0; i < 40; i++) tell(256, DONE | END);
  t.is(driver.receive(into, 40), 40); // and holds, too
  for (let i = 0; i < 39; i++) tell(256, DONE);
  t.is(driver.receive([], 40), 0);
  t.is(driver.statistics().rxNoBuffer, 1);
  t.is(driver.rings.rx.used, 39, 'its buffers are the card’s again');
  tell(10, DONE | END);
  tell(60, DONE | END);
  const more: PacketBuffer[] = [];
  t.is(driver.receive(more, 8), 1);
  for (const packet of [...others, ...into, ...more]) packet.free();
  await runClock(clock, driver.stop());
  t.is(driver.pool.available, driver.pool.size);
});

test('frames too short for an Ethernet header are none', async (t) => {
  const { driver, tell, clock } = await openLying({ rxDescriptors: 80 });
  const into: PacketBuffer[] = [];
  for (const length of [0, 13, 14]) tell(length, DONE | END);
  tell(6, DONE);
  tell(7, DONE | END);
  t.is(driver.receive(into, 8), 1);
  t.is(into[0]!.total, 14);
  t.is(driver.statistics().rxErrors, 3);
  into[0]!.free();
  await runClock(clock, driver.stop());
  t.is(driver.pool.available, driver.pool.size);
});

test('a receive ring that is out of step with the card is found out, and reset', async (t) => {
  const { driver, peer, clock, tell } = await openLying({ rxDescriptors: 80 });
  const into: PacketBuffer[] = [];
  for (let i = 0; i < 79; i++) tell(60, DONE | END); // of none of which the card knows
  t.is(driver.receive(into, 100), 79);
  for (const packet of into.splice(0)) packet.free();
  const frame = new Uint8Array(60).fill(0xff, 0, 6);
  for (let i = 0; i < 200; i++) peer.send(frame);
  await runFor(clock, 2 * SECOND);
  t.is(driver.statistics().rxHangs, 0, 'not at the first look');
  await runFor(clock, 6 * SECOND);
  const { rxHangs, txHangs, resets } = driver.statistics();
  t.deepEqual([rxHangs, txHangs, resets], [1, 0, 1]);
  peer.send(frame);
  await runFor(clock, MILLISECOND);
  t.is(driver.receive(into, 8), 1);
  into[0]!.free();
  await runFor(clock, 20 * SECOND);
  t.is(driver.statistics().rxHangs, 1, 'a ring in step is left alone');
  await runClock(clock, driver.stop());
});

test('what nobody driving an 82540EM should do, this driver does not: no unknown register is touched', async (t) => {
  const { driver, clock, model, start } = await open();
  await start();
  await driver.setPromiscuous(true);
  driver.statistics();
  await runFor(clock, 10 * SECOND);
  await runClock(clock, driver.stop());
  t.is(model.registers.refused, 0);
});
