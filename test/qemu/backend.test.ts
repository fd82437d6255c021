/** The qemu backend itself: what it opens, how it ends, and what is left behind. */
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { DeviceError } from '../../drivers/device.ts';
import { createE1000 } from '../../drivers/e1000/e1000.ts';
import { Clock, MILLISECOND } from '../../sim/clock.ts';
import { I82540EM } from '../../sim/e1000/registers.ts';
import { BAR0, COMMAND } from '../../sim/pci/config.ts';
import { openQemu } from '../../vm/qtest/device.ts';
import { qemuOrSkip } from '../util/qemu-lane.ts';
import { until } from '../util/until.ts';

const qemu = await qemuOrSkip();
const { STATUS, ICS, ICR, IMS, RAL } = I82540EM.r;
const MAC = Uint8Array.of(0x02, 1, 2, 3, 4, 5);

const leftovers = () => readdirSync(tmpdir()).filter((name) => name.startsWith(`fauxnic-sockets-${process.pid}-`));

const ended = (pid: number) => until(() => !existsSync(`/proc/${pid}`), 'the end of QEMU');

for (const name of ['e1000', 'e1000-82545em', 'e1000e', 'igb', 'virtio-net-pci', 'vmxnet3', 'rtl8139']) {
  void t.test(`opens ${name}, with BARs that do not overlap, and closes it`, async (t) => {
    const device = await openQemu(name, { qemu, clock: new Clock(), mac: MAC });
    t.equal(device.name, `qemu:${name}`);
    t.not(device.id.vendor, 0xffff);
    t.ok(device.interrupts.available.intx === 1);
    const ranges = [];
    for (let index = 0; index < 6; index++) {
      try {
        const { size } = device.bar(index);
        const start = device.config.read32(BAR0 + 4 * index) & ~15;
        ranges.push({ start, end: start + size });
        t.equal(start % size, 0);
      } catch (error) {
        t.match(error, { code: 'UNSUPPORTED' });
      }
    }
    ranges.sort((a, b) => a.start - b.start);
    for (const [i, { end }] of ranges.entries()) t.ok(end <= (ranges[i + 1]?.start ?? Infinity));
    const { pid } = device;
    device.close();
    device.close();
    t.throws(() => device.config.read32(0), { code: 'CLOSED' });
    t.throws(() => device.dma.alloc(64, 64), { code: 'CLOSED' });
    await ended(pid);
    t.same(leftovers(), []);
  });
}

void t.test('no driver of ours for igb: it says so', async (t) => {
  const device = await openQemu('igb', { qemu, clock: new Clock() });
  await t.rejects(createE1000(device), { code: 'UNSUPPORTED', message: /8086:10c9/ });
  device.close();
});

void t.test("registers in every width, DMA memory that is QEMU's RAM, and a reset", async (t) => {
  const device = await openQemu('e1000e', { qemu, clock: new Clock(), mac: MAC, dmaBytes: 2 << 20 });
  const bar = device.bar(0);
  device.enable({ memory: true, busMaster: true });
  t.equal(bar.read32(RAL.at(0)), 0x03020102);
  t.equal(bar.read32(1 << 20), 0xffffffff, 'nor beyond the end');
  t.equal(device.config.read16(2), 0x10d3);
  t.equal(device.config.read8(2), 0xd3);
  const place = device.config.read32(BAR0);
  bar.write32(RAL.at(0), 0xdeadbeef);
  device.reset();
  t.equal(device.config.read32(BAR0), place);
  t.equal(device.config.read16(COMMAND) & 7, 0);
  device.enable({ memory: true });
  t.equal(bar.read32(RAL.at(0)), 0x03020102);
  const memory = device.dma.alloc(1 << 20, 4096);
  t.ok(memory.iova >= 1 << 20 && memory.iova + memory.bytes.length <= 3 << 20);
  t.throws(() => device.dma.alloc(2 << 20, 64), { code: 'NO_MEMORY' });
  device.close();
});

void t.test("in the machine's time, interrupts of each kind arrive by themselves", async (t) => {
  const device = await openQemu('e1000e', { qemu });
  const bar = device.bar(0);
  device.enable({ memory: true, busMaster: true });
  for (const mode of ['intx', 'msi', 'msix'] as const) {
    device.interrupts.enable(mode, 1);
    const arrived = new Promise<void>((resolve) => {
      device.interrupts.on(0, () => {
        bar.write32(I82540EM.r.IMC.at, 0xffffffff);
        bar.read32(ICR.at);
        resolve();
      });
    });
    // IVAR of the 82574L: every cause but the queues' to vector 0.
    if (mode === 'msix') bar.write32(0x000e4, 8 << 16);
    bar.write32(IMS.at, ICS.LSC | (1 << 24));
    bar.write32(ICS.at, ICS.LSC);
    await arrived;
    t.pass(mode);
  }
  device.close();
});

void t.test('masked, a vector waits; INTx comes again while it is asserted', async (t) => {
  const clock = new Clock();
  const device = await openQemu('e1000e', { qemu, clock });
  const bar = device.bar(0);
  let calls = 0;
  device.enable({ memory: true, busMaster: true });
  device.interrupts.enable('intx', 1);
  device.interrupts.on(0, () => {
    if (++calls === 3) bar.read32(ICR.at);
  });
  device.interrupts.mask(0);
  bar.write32(IMS.at, ICS.LSC);
  bar.write32(ICS.at, ICS.LSC);
  clock.advance(MILLISECOND);
  t.equal(calls, 0);
  device.interrupts.unmask(0);
  clock.advance(MILLISECOND);
  t.equal(calls, 3);
  device.close();
});

void t.test(
  'a QEMU that dies: the card reads as one that was pulled out, its driver says so, and close still works',
  async (t) => {
    const clock = new Clock();
    let said: DeviceError | undefined;
    const device = await openQemu('e1000', { qemu, clock, onEnd: (error) => (said = error) });
    device.enable({ memory: true });
    t.not(device.bar(0).read32(STATUS.at), 0xffffffff);
    process.kill(device.pid, 'SIGKILL');
    await ended(device.pid);
    t.equal(device.bar(0).read32(STATUS.at), 0xffffffff);
    t.match(said, { code: 'FAILED', message: /^qemu:e1000: QEMU: / });
    await t.rejects(createE1000(device), { code: 'FAILED', message: /no longer answers/ });
    clock.advance(100 * MILLISECOND);
    device.close();
  },
);

void t.test('what a process that was killed left behind goes with the next start', async (t) => {
  const left = join(tmpdir(), 'fauxnic-sockets-999999999-abc');
  mkdirSync(left);
  (await openQemu('e1000', { qemu })).close();
  t.notOk(existsSync(left));
});

void t.test('what is wrong is said in one line', async (t) => {
  await t.rejects(openQemu('nonsense', { qemu }), { code: 'FAILED', message: /^qemu:nonsense: .*not a valid device/ });
  await t.rejects(openQemu('VGA', { qemu, netdev: 'user' }), { code: 'FAILED', message: /netdev/ });
  await t.rejects(openQemu('e1000,bus=x', { qemu }), { code: 'INVALID' });
  await t.rejects(openQemu('e1000', { qemu, dmaBytes: 4096 }), { code: 'INVALID', message: /1 MiB/ });
  const missing = { command: ['/nonexistent/qemu'], version: '0', why: '' };
  await t.rejects(openQemu('e1000', { qemu: missing }), {
    code: 'FAILED',
    message: /^qemu:e1000: QEMU did not start: /,
  });
  t.same(leftovers(), []);
});
