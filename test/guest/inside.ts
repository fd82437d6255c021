/**
 * Runs within a guest: the netdev spec on cards that are hardware there. `node inside.js TARGET…`, and a target is
 * ADDRESS,MODE,PORT: the card, how it interrupts, and the virtio port that is the far end of its wire. Behind it ",brief"
 * leaves out what has nothing to do with interrupts. Each card is taken from its kernel driver and given back. The
 * targets run side by side, and what comes out is TAP.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { openPci } from '../../drivers/backends/pci.ts';
import { inspectSlot } from '../../drivers/backends/pci-slot.ts';
import { DeviceError, type InterruptMode, type PciDevice } from '../../drivers/device.ts';
import { driverFor } from '../../scripts/catalogue.ts';
import type { Driver } from '../../scripts/families/family.ts';
import { bind, machineHost, unbind } from '../../scripts/rig/binding.ts';
import { openWorkbench } from '../../scripts/rig/workbench.ts';
import { choose } from '../../scripts/toolkit/choose.ts';
import { read } from '../../scripts/toolkit/registers.ts';
import { lacksOf, NO_CABLE } from '../spec/lacks.ts';
import { type Bench, netdevSpec, type OpenBench } from '../spec/netdev.ts';
import { Wire } from './wire.ts';

interface Target {
  readonly address: string;
  readonly mode: InterruptMode;
  readonly port: string;
  readonly brief: boolean;
}

/** The spec's tests in which interrupts tell. */
const BRIEF = /station address|every length|calls for work|calls again|stops quietly/;

/** A register of each driver's cards, and what their PHYs have in register 2. */
const KNOWN: Readonly<Record<string, [register: string, phys: readonly number[]]>> = {
  e1000: ['STATUS', [0x0141]],
  tg3: ['GRC_MODE', [0x0020, 0x0362]],
};

const DMA_BYTES = 32 * 1024 * 1024;
const host = machineHost();
let count = 0;

async function check(name: string, body: () => void | Promise<void>, skip?: string): Promise<void> {
  if (skip !== undefined) {
    console.log(`ok ${++count} - ${name} # SKIP ${skip}`);
    return;
  }
  let failure: unknown = null;
  const started = performance.now();
  try {
    await body();
  } catch (error) {
    failure = error ?? new Error('nothing was thrown');
  }
  const time = `time=${(performance.now() - started).toFixed(0)}ms`;
  const lines = [`${failure === null ? 'ok' : 'not ok'} ${++count} - ${name} # ${time}`];
  if (failure !== null) {
    const text = failure instanceof Error ? (failure.stack ?? failure.message) : String(failure);
    lines.push('  ---', '  message: |', ...text.split('\n').map((line) => `    ${line}`), '  ...');
  }
  console.log(lines.join('\n'));
}

async function judge({ address, mode, port, brief }: Target): Promise<void> {
  const { driver, group } = inspectSlot(address);
  const name = `${address} ${mode}`;
  const open: OpenBench = async (options = {}) => {
    const device = await openPci(address, { dmaBytes: DMA_BYTES });
    const wire = new Wire(port);
    try {
      return benchOf(device, await driverFor(device).driver.open(device, { ...options, interrupts: [mode] }), wire);
    } catch (error) {
      wire.close();
      device.close();
      throw error;
    }
  };
  await check(`${name}: is refused while ${driver} has it`, async () => {
    assert(driver !== null);
    await assert.rejects(openPci(address), { code: 'INVALID', message: new RegExp(`the kernel driver ${driver}`) });
  });
  await check(`${name}: bind takes it`, async () => {
    await bind(host, address);
    assert.equal(inspectSlot(address).driver, group === null ? null : 'vfio-pci');
  });
  await check(`${name}: opens twice only one after the other, and says so`, () => refusesSecond(address, group));
  await check(`${name}: its registers, NVM and PHY, without a driver`, () => looksInside(address));
  const tests: [title: string, body: () => Promise<void>, skip: string | undefined][] = [];
  netdevSpec(
    (title, body, skip) => {
      if (!brief || BRIEF.test(title)) tests.push([title, body, skip]);
    },
    open,
    { ...lacksOf(await partOf(open)), ...NO_CABLE },
  );
  for (const [title, body, skip] of tests) await check(`${name}: ${title}`, body, skip);
  if (group === null) await check(`${name}: fauxnic drive pci:${address} sends`, () => drives(address, port));
  await check(`${name}: unbind gives it back to ${driver}`, () => {
    unbind(host, address);
    assert.equal(inspectSlot(address).driver, driver);
  });
}

/** The card's, as its driver has found it. */
async function partOf(open: OpenBench): Promise<string> {
  const bench = await open();
  const part = bench.driver.model.split(' ')[1]!;
  await bench.close();
  return part;
}

function benchOf(device: PciDevice, driver: Driver, wire: Wire): Bench {
  return {
    driver,
    send(frame) {
      device.config.read16(0); // what the driver wrote has reached the card
      wire.send(frame);
    },
    take: () => wire.take(),
    run: (promise) => promise,
    pass: (ms) => wait(ms),
    async close() {
      try {
        await driver.close();
        assert.equal(device.dma.used, 0, 'no DMA memory is left');
      } finally {
        device.close();
        wire.close();
      }
    },
  };
}

async function refusesSecond(address: string, group: string | null): Promise<void> {
  const device = await openPci(address, { dmaBytes: DMA_BYTES });
  try {
    assert.equal(device.config.read16(0), device.id.vendor);
    assert.equal(device.bar(0).read32(8), 0xffffffff, 'it does not decode yet');
    device.enable({ memory: true });
    assert.notEqual(device.bar(0).read32(8), 0xffffffff);
    assert.throws(() => device.bar(5), { code: 'UNSUPPORTED' });
    if (group === null) {
      await assert.rejects(openPci(address, { dmaBytes: 2 ** 30 }), { code: 'NO_MEMORY', message: /nr_hugepages/ });
      device.enable({ memory: true });
    } else {
      await assert.rejects(openPci(address), { message: /another process has it/ });
      assert.throws(() => unbind(host, address), { message: /is in use/ });
    }
    reset(device);
  } finally {
    device.close();
    device.close();
  }
  assert.throws(() => device.bar(0), { code: 'CLOSED' });
  assert.throws(() => device.config.read16(0), { code: 'CLOSED' });
}

/** What the tools around a card see of it; another address is written to its NVM, and what was there again. */
async function looksInside(address: string): Promise<void> {
  const bench = await openWorkbench(`pci:${address}`);
  try {
    const { registers, nvram } = bench.tools;
    const [register, phys] = KNOWN[bench.family.name]!;
    const [content] = read(bench.device, choose([registers], register), false);
    assert.notEqual(content!.value, 0xffffffff);
    assert(phys.includes(await bench.tools.readPhy(2)), "the PHY's identifier");
    const before = await nvram.read();
    assert.deepEqual(nvram.check(before), []);
    const other = nvram.withMac(before, Uint8Array.of(2, 0, 0, 0, 0, 9));
    await nvram.write(before, other);
    assert.deepEqual(await nvram.read(), other);
    await nvram.write(other, before);
    assert.deepEqual(await nvram.read(), before);
  } finally {
    bench.close();
  }
}

/** The command, as a person runs it. */
async function drives(address: string, port: string): Promise<void> {
  const fauxnic = fileURLToPath(new URL('../../scripts/fauxnic.js', import.meta.url));
  const args = ['drive', `pci:${address}`, '--generate', '--count', '20', '--json'];
  const wire = new Wire(port);
  try {
    wire.drain();
    const { stdout } = await promisify(execFile)(process.execPath, [fauxnic, ...args]);
    const [card] = (JSON.parse(stdout) as { cards: [{ statistics: { txPackets: number } }] }).cards;
    assert.equal(card.statistics.txPackets, 20, stdout);
    for (let waited = 0, count = 0; count < 20; waited++) {
      assert(waited < 1000, 'the frames come out of the wire');
      while (wire.take() !== null) count++;
      await wait(10);
    }
  } finally {
    wire.close();
  }
}

/** Not every card has one: that is said, too. */
function reset(device: Awaited<ReturnType<typeof openPci>>): void {
  const before = device.config.read32(0x10);
  try {
    device.reset();
  } catch (error) {
    assert(error instanceof DeviceError && error.code === 'UNSUPPORTED', String(error));
    return;
  }
  assert.equal(device.config.read16(4) & 7, 0);
  assert.equal(device.config.read32(0x10), before);
}

const targets = process.argv.slice(2).map((text): Target => {
  const [address, mode, port, brief] = text.split(',') as [string, InterruptMode, string, string?];
  return { address, mode, port, brief: brief !== undefined };
});
console.log('TAP version 14');
await Promise.all(targets.map(judge));
console.log(`1..${count}`);
