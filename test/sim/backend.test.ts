/** The sim backend against a function made for the purpose: two BARs, MSI, MSI-X, and a line under the test's control. */
import test from 'ava';
import { runClock, runFor } from '../../drivers/backends/clock-steps.ts';
import { HostMemory, IOVA_BASE } from '../../drivers/backends/host-memory.ts';
import { MachineClock } from '../../drivers/backends/machine-clock.ts';
import { openSim } from '../../drivers/backends/sim.ts';
import { DeviceError } from '../../drivers/device.ts';
import { Clock, MICROSECOND, MILLISECOND } from '../../sim/clock.ts';
import { msi, msiX } from '../../sim/pci/capabilities/index.ts';
import { BAR0, COMMAND, STATUS } from '../../sim/pci/config.ts';
import { configurationMap } from '../../sim/pci/configuration.ts';
import { type Host, PciFunction } from '../../sim/pci/function.ts';

const PROBE = configurationMap('probe', {
  identity: { vendor: 0x8086, device: 0x1234, revision: 7, subsystemVendor: 1, subsystem: 2, class: 0x020000 },
  bars: {
    0: { kind: 'memory', size: 0x1000 },
    2: { kind: 'io', size: 0x40 },
    3: { kind: 'memory', size: 0x1000 },
  },
  capabilities: [msi(0x50), msiX(0x60, { vectors: 3, bar: 3, table: 0, pending: 0x800 })],
});

class Probe extends PciFunction {
  readonly words = new Uint32Array(0x400);
  resets = 0;

  constructor(host: Host) {
    super(host, PROBE);
    const { words } = this;
    const region = (kind: 'memory' | 'io', size: number) => ({
      kind,
      size,
      read: (offset: number, width: number) =>
        width === 4
          ? words[offset >> 2]!
          : (words[offset >> 2]! >>> ((offset & 3) * 8)) & (width === 1 ? 0xff : 0xffff),
      write: (offset: number, width: number, value: number) => {
        if (width === 4) words[offset >> 2] = value;
      },
    });
    this.addBar(0, region('memory', 0x1000));
    this.addBar(2, region('io', 0x40));
    this.addBar(3, region('memory', 0x1000));
  }

  protected resetChip(): void {
    this.words.fill(0);
    this.resets++;
  }
  protected traceChanged(): void {}

  line(asserted: boolean): void {
    this.interrupt(asserted);
  }
  raise(vector: number): void {
    this.interruptVector(vector);
  }
}

function open({ clock = new Clock(), memory }: { clock?: Clock; memory?: HostMemory } = {}) {
  let probe!: Probe;
  const device = openSim(
    (host) => {
      probe = new Probe(host);
      return probe;
    },
    { name: 'sim:probe', clock, memory },
  );
  return { device, probe, clock };
}

const code = (expected: string) => ({ instanceOf: DeviceError, code: expected });

test('BARs get addresses that are aligned to their size and do not overlap', (t) => {
  const { device } = open();
  const [first, , ports, second] = [0, 1, 2, 3].map((index) => device.config.read32(BAR0 + 4 * index));
  t.is(first! % 0x1000, 0);
  t.is(second! % 0x1000, 0);
  t.not(first, second);
  t.not(first, 0);
  t.is(ports! & 3, 1);
  t.deepEqual(device.id, { vendor: 0x8086, device: 0x1234, revision: 7, subsystemVendor: 1, subsystem: 2 });
  t.throws(() => device.bar(1), code('UNSUPPORTED'));
});

test('a BAR answers only while it decodes, in every width, and not past its end', (t) => {
  const { device, probe } = open();
  const bar = device.bar(0);
  probe.words[1] = 0x87654321;
  t.is(bar.read32(4), 0xffffffff);
  t.is(bar.read8(4), 0xff);
  bar.write32(4, 1);
  t.is(probe.words[1], 0x87654321);
  device.enable({ memory: true });
  t.is(bar.read32(4), 0x87654321);
  t.is(bar.read16(6), 0x8765);
  t.is(bar.read8(5), 0x43);
  bar.write32(8, 0x80000000);
  t.is(bar.read32(8), 0x80000000);
  t.is(bar.read32(0x1000), 0xffffffff);
  t.is(bar.read32(-4), 0xffffffff);
  t.is(device.bar(2).read32(4), 0xffffffff, 'ports decode on a bit of their own');
  device.enable({ io: true });
  t.is(device.bar(2).read32(4), 0x87654321);
  device.config.write16(COMMAND, 0);
  t.is(bar.read32(4), 0xffffffff);
});

test('reset puts the function back but keeps its BARs', (t) => {
  const { device, probe } = open();
  const before = device.config.read32(BAR0);
  device.enable({ memory: true, busMaster: true });
  device.interrupts.enable('msi', 1);
  device.bar(0).write32(0, 5);
  device.reset();
  t.is(probe.resets, 1);
  t.is(device.config.read32(BAR0), before);
  t.is(device.config.read16(COMMAND) & 7, 0);
  t.is(probe.messageVectors, 0);
  device.enable({ memory: true });
  t.is(device.bar(0).read32(0), 0);
});

test('DMA memory is zeroed, aligned, reachable by the model, and comes back whole', (t) => {
  const memory = new HostMemory(1 << 20);
  const { device, probe } = open({ memory });
  const a = device.dma.alloc(100, 4);
  const b = device.dma.alloc(5000, 4096);
  const c = device.dma.alloc(64, 64);
  t.is(b.iova % 4096, 0);
  t.true(a.iova >= IOVA_BASE && c.iova < 2 ** 31);
  t.is(b.bytes.length, 5000);
  t.is(b.words.length, 1250);
  t.is(device.dma.used, 100 + 5000 + 64);
  const into = new Uint8Array(4);
  b.words[0] = 0x04030201;
  t.false(probe.dma.read(b.iova, into, 0, 4), 'no bus mastering, no DMA');
  device.enable({ busMaster: true });
  t.true(probe.dma.read(b.iova, into, 0, 4));
  t.deepEqual([...into], [1, 2, 3, 4]);
  b.free();
  b.free();
  t.is(device.dma.alloc(5000, 4096).words[0], 0);
  device.close();
  t.is(memory.available, 1 << 20);
  t.throws(() => device.dma.alloc(64, 4), code('CLOSED'));
});

test('holes coalesce, and what does not fit is refused', (t) => {
  const memory = new HostMemory(4096);
  const parts = Array.from({ length: 4 }, () => memory.alloc(1024, 4));
  t.throws(() => memory.alloc(1, 4), code('NO_MEMORY'));
  parts[2]!.free();
  parts[0]!.free();
  t.throws(() => memory.alloc(2048, 4), code('NO_MEMORY'));
  parts[1]!.free();
  t.is(memory.alloc(3072, 4).iova, IOVA_BASE);
  t.throws(() => memory.alloc(0, 4), code('INVALID'));
  t.throws(() => memory.alloc(4, 3), code('INVALID'));
});

test('two devices may share a host', (t) => {
  const memory = new HostMemory(1 << 20);
  const one = open({ memory });
  const two = open({ memory });
  const shared = one.device.dma.alloc(64, 64);
  two.device.enable({ busMaster: true });
  t.true(two.probe.dma.write(shared.iova, Uint8Array.of(9), 0, 1));
  t.is(shared.bytes[0], 9);
  t.not(two.device.dma.alloc(64, 64).iova, shared.iova);
});

test('INTx: handlers run from the clock, again and again while the line is up', (t) => {
  const { device, probe, clock } = open();
  let calls = 0;
  device.interrupts.on(0, () => calls++);
  device.interrupts.enable('intx', 1);
  probe.line(true);
  t.is(calls, 0, 'not from within the access');
  clock.settle();
  t.is(calls, 1);
  clock.advance(10 * MICROSECOND);
  t.is(calls, 11);
  device.interrupts.mask(0);
  clock.advance(10 * MICROSECOND);
  t.is(calls, 11);
  device.interrupts.unmask(0);
  clock.settle();
  t.is(calls, 12);
  probe.line(false);
  clock.advance(MILLISECOND);
  t.is(calls, 12);
  t.is(device.config.read16(STATUS) & 8, 0);
});

test('MSI: one message an edge; masked, one is kept', (t) => {
  const { device, probe, clock } = open();
  let calls = 0;
  device.interrupts.on(0, () => calls++);
  device.enable({ busMaster: true });
  device.interrupts.enable('msi', 1);
  const pulse = () => {
    probe.line(true);
    probe.line(false);
  };
  pulse();
  clock.advance(MILLISECOND);
  t.is(calls, 1);
  device.interrupts.mask(0);
  pulse();
  pulse();
  clock.advance(MILLISECOND);
  t.is(calls, 1);
  device.interrupts.unmask(0);
  clock.settle();
  t.is(calls, 2);
  t.is(device.interrupts.stray, 0);
});

test('MSI-X: the table is programmed for real', (t) => {
  const { device, probe, clock } = open();
  const calls = [0, 0, 0];
  for (const vector of [0, 1, 2]) device.interrupts.on(vector, () => calls[vector]!++);
  t.deepEqual({ ...device.interrupts.available }, { msix: 3, msi: 1, intx: 1 });
  device.enable({ busMaster: true });
  device.interrupts.enable('msix', 2);
  t.is(device.config.read16(COMMAND) & 2, 0, 'decoding is as it was');
  device.enable({ memory: true });
  t.is(device.bar(3).read32(0), 0xfee00000);
  t.is(device.bar(3).read32(16 + 8), 1);
  probe.raise(1);
  probe.raise(2); // its entry is masked: stays pending in the function
  clock.settle();
  t.deepEqual(calls, [0, 1, 0]);
  t.is(device.bar(3).read32(0x800), 4);
  device.bar(3).write32(16 + 8, 77); // a driver that scribbles over the table
  probe.raise(1);
  clock.settle();
  t.deepEqual(calls, [0, 1, 0]);
  t.is(device.interrupts.stray, 1);
  t.throws(() => device.interrupts.enable('msix', 4), code('UNSUPPORTED'));
});

test('time: delays and ticks are the clock’s', async (t) => {
  const { device, clock } = open();
  await runClock(clock, device.time.delay(3 * MILLISECOND));
  t.is(device.time.now(), 3 * MILLISECOND);
  let ticks = 0;
  const ticker = device.time.every(MILLISECOND, () => ticks++);
  await runFor(clock, 10 * MILLISECOND);
  t.is(ticks, 10);
  ticker.stop();
  await runFor(clock, 10 * MILLISECOND);
  t.is(ticks, 10);
  t.is(clock.now, 23 * MILLISECOND);
  await t.throwsAsync(runClock(clock, new Promise(() => {})), code('TIMEOUT'));
});

test('after close every method says so; closing twice is fine', async (t) => {
  const { device, probe } = open();
  device.enable({ memory: true, busMaster: true });
  const bar = device.bar(0);
  const waiting = device.time.delay(1);
  device.close();
  device.close();
  t.false(probe.dma.enabled);
  await t.throwsAsync(waiting, code('CLOSED'));
  const attempts = [
    () => device.bar(0),
    () => bar.read32(0),
    () => bar.write8(0, 0),
    () => device.config.read16(0),
    () => device.enable({}),
    () => device.reset(),
    () => device.interrupts.enable('intx', 1),
    () => device.interrupts.on(0, () => {}),
    () => device.interrupts.mask(0),
    () => device.time.now(),
    () => device.time.every(1, () => {}),
    () => device.time.delay(1),
  ];
  for (const attempt of attempts) t.throws(attempt, code('CLOSED'), attempt.toString());
});

test('the machine’s time moves a clock, near deadlines and far ones', async (t) => {
  const clock = new Clock();
  clock.advance(500);
  const machine = new MachineClock(clock);
  const fired: number[] = [];
  const near = clock.alarm(() => fired.push(1));
  const far = clock.alarm(() => fired.push(2));
  machine.start();
  far.in(5 * MILLISECOND);
  near.in(10 * MICROSECOND);
  await new Promise((resolve) => setTimeout(resolve, 40));
  await new Promise((resolve) => setImmediate(resolve)); // where the machine was late, each has had a turn of its own
  t.deepEqual(fired, [1, 2]);
  const before = clock.now;
  machine.pump();
  t.true(clock.now > before);
  machine.stop();
  const stopped = clock.now;
  machine.pump();
  t.is(clock.now, stopped);
  t.is(clock.onEarlier, null);
});

test('alarms that cost more of the machine’s time than of the clock’s leave the event loop its turns', async (t) => {
  const clock = new Clock();
  const machine = new MachineClock(clock);
  let ran = 0;
  const busy = clock.alarm(() => {
    ran++;
    busy.in(MICROSECOND);
    for (const end = performance.now() + 1; performance.now() < end; );
  });
  machine.start();
  busy.in(0);
  for (let turns = 0; turns < 3; turns++) await new Promise((resolve) => setImmediate(resolve));
  machine.stop();
  t.true(ran > 0 && ran <= 3 * 6, `${ran} in three turns`);
});

test('a process that was kept from running: alarms far apart have turns of the event loop between them', async (t) => {
  const clock = new Clock();
  const machine = new MachineClock(clock);
  const ran: string[] = [];
  for (const [name, at] of [
    ['first', 1],
    ['with it', 2],
    ['later', 30],
  ] as const)
    clock.alarm(() => ran.push(name)).in(at * MILLISECOND);
  machine.start();
  for (const until = performance.now() + 50; performance.now() < until; );
  machine.pump();
  t.deepEqual(ran, ['first', 'with it']);
  const turn = new Promise<void>((resolve) => setImmediate(() => resolve(void ran.push('a driver'))));
  await turn;
  machine.pump();
  machine.stop();
  t.deepEqual(ran.toSorted(), ['a driver', 'first', 'later', 'with it']);
  t.true(clock.now >= 50 * MILLISECOND, 'and then it is as late as the machine');
});

test('models keep their packet buffers beside the DMA memory as far as there is room, and elsewhere then', (t) => {
  const half = 4 << 20;
  const [memory, small] = [new HostMemory(1 << 20), new HostMemory(1 << 20, 64)];
  const [first, second, third] = [memory.packetMemory(half), memory.packetMemory(half), memory.packetMemory(1)];
  t.is(first.bytes, second.bytes);
  t.is(second.start - first.start, half);
  t.not(third.bytes, first.bytes);
  t.true(small.packetMemory(64).bytes.length >= (1 << 20) + 64);
  t.is(small.packetMemory(64).bytes.length, 64);
});
