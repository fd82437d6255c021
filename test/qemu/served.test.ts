/** QEMU's devices, served over vfio-user: the netdev spec through our own client, and what the server makes of bad luck. */
import { closeSync, existsSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import tap from 'tap';
import { findCapability } from '../../drivers/backends/configuration.ts';
import type { InterruptMode } from '../../drivers/device.ts';
import { createE1000 } from '../../drivers/e1000/e1000.ts';
import { createEventfd, createMemfd, mapMemory } from '../../native/index.ts';
import { I82540EM } from '../../sim/e1000/registers.ts';
import { CAP_PCI_EXPRESS } from '../../sim/pci/config.ts';
import { NetdevStream } from '../../vm/netdev-stream.ts';
import { openVfioUser } from '../../vm/vfio-user/client.ts';
import { EACCES, EINVAL, ENOSPC, ENOTSUP } from '../../vm/vfio-user/codec.ts';
import { Place } from '../native/command.ts';
import { access, Client, COMMAND, closeAll } from '../native/vfio-client.ts';
import { lacksOf } from '../spec/lacks.ts';
import { netdevSpec } from '../spec/netdev.ts';
import { peculiarities, QEMU_PARTS } from '../util/qemu-bench.ts';
import { qemuOrSkip } from '../util/qemu-lane.ts';
import { streamBench } from '../util/stream-bench.ts';
import { until } from '../util/until.ts';

const qemu = await qemuOrSkip();
const quoted = qemu.command.map((word) => `'${word}'`).join(' ');

function launch(device: string, line?: string) {
  const place = new Place();
  const socket = join(place.folder, 'nic');
  const wire = join(place.folder, 'wire');
  // The command's cache is empty: it is told of the QEMU that is here.
  const executable = join(place.folder, 'qemu');
  writeFileSync(executable, `#!/bin/sh\nexec ${quoted} "$@"\n`, { mode: 0o755 });
  const server = place.fauxnic(line ?? `serve qemu:${device} --socket ${socket} --peer stream=${wire}`, {
    env: { FAUXNIC_QEMU: executable, TMPDIR: place.folder },
  });
  return { place, socket, wire, server };
}

/** fauxnic serve, with whoever connects to `wire` at the other end. */
async function served(device: string) {
  const { place, socket, wire, server } = launch(device);
  await until(() => existsSync(wire), 'fauxnic serve');
  return {
    ...{ place, server, socket, wire },
    /** What it left behind, too. */
    async end() {
      server.kill('SIGINT');
      const result = await server;
      await place.quiet();
      const left = readdirSync(place.folder).filter((name) => name !== 'qemu' && name !== 'fauxnic');
      place.remove();
      return { ...result, left };
    },
  };
}

const DEVICES: [device: string, modes: readonly InterruptMode[]][] = [
  ['e1000e', ['intx', 'msi', 'msix']],
  ['e1000', ['intx']],
];

for (const [device, modes] of DEVICES) {
  const { socket, wire, end } = await served(device);
  for (const interrupts of modes)
    await tap.test(`qemu:${device}, served, with ${interrupts}: the netdev spec`, async (t) => {
      const tests: [name: string, skip: string | undefined, body: () => Promise<void>][] = [];
      netdevSpec(
        (name, body, skip) => tests.push([name, skip, body]),
        async (options) => {
          const connect = () => NetdevStream.connect(wire);
          const stream = connect();
          try {
            const card = await openVfioUser(socket, { name: `vfio-user:${device}` });
            const driver = await createE1000(card, { buffers: 1024, ...options, interrupts: [interrupts] });
            const bench = streamBench({ device: card, driver, stream, reconnect: connect });
            const { padding: _, ...differs } = peculiarities(device).differs!; // the wire here pads
            return { ...bench, differs };
          } catch (error) {
            stream.close();
            throw error;
          }
        },
        lacksOf(QEMU_PARTS[device]!),
      );
      for (const [name, skip, body] of tests) await t.test(name, { skip: skip ?? false }, body);
    });
  await tap.test(`qemu:${device}: SIGINT ends it, and nothing is left`, async (t) => {
    t.match(await end(), { exitCode: 0, left: [] });
  });
}

// ---- A card in a client's hands -------------------------------------------------------------------------------------

const CONFIG = 7;
const COMMAND_REGISTER = 4;
const MEMORY_AND_MASTER = 6;
const { RAL, TCTL, TDBAL, TDBAH, TDLEN, TDH, TDT } = I82540EM.r;
const PAGE = 4096;
const FILE_PAGES = 16;
const DONE = 1;
// IOVAs, and which pages of the file they are: none is where it would be by chance.
const RING = { iova: 0x0009_f000, page: 5 };
const FRAME = { iova: 0x12_3456_7000, page: 2 };

/** A client that has the card send frames out of memory of its own. */
class Sender {
  readonly client: Client;
  readonly fd = createMemfd('client', FILE_PAGES * PAGE);
  readonly memory = Buffer.from(mapMemory(this.fd, { length: FILE_PAGES * PAGE }).buffer);
  #tail = 0;
  #closed = false;

  constructor(client: Client) {
    this.client = client;
  }

  map({ iova, page }: typeof RING, flags = 3): Promise<number> {
    return this.client.map(iova, PAGE, { fd: this.fd, offset: page * PAGE, flags });
  }

  unmap({ iova }: typeof RING): Promise<number> {
    return this.client.unmap(iova, PAGE);
  }

  async start(): Promise<void> {
    const { client } = this;
    await client.write(CONFIG, COMMAND_REGISTER, MEMORY_AND_MASTER, 2);
    await client.write(0, 0, 0x40, 4); // CTRL.SLU
    await client.write(0, TDBAL.at, RING.iova);
    await client.write(0, TDBAH.at, 0);
    await client.write(0, TDLEN.at, PAGE);
    await client.write(0, TDH.at, 0);
    await client.write(0, TDT.at, 0);
    await client.write(0, TCTL.at, 2);
  }

  /** Whether the descriptor was written back; QEMU sends at once. */
  async send(text: string): Promise<boolean> {
    const { memory } = this;
    const at = RING.page * PAGE + 16 * this.#tail;
    memory.fill(0, FRAME.page * PAGE, FRAME.page * PAGE + 64);
    memory.fill(0xff, FRAME.page * PAGE, FRAME.page * PAGE + 6);
    memory.write(text, FRAME.page * PAGE + 14);
    memory.fill(0, at, at + 16);
    memory.writeUInt32LE(FRAME.iova % 2 ** 32, at);
    memory.writeUInt32LE(Math.floor(FRAME.iova / 2 ** 32), at + 4);
    memory.writeUInt32LE(64 | (0x0b << 24), at + 8); // EOP, IFCS, RS
    this.#tail = (this.#tail + 1) % (PAGE / 16);
    await this.client.write(0, TDT.at, this.#tail);
    return (memory[at + 12]! & DONE) !== 0;
  }

  readonly close = (): void => {
    if (this.#closed) return;
    this.#closed = true;
    this.client.close();
    closeSync(this.fd);
  };
}

const card = await served('e1000');
const stream = NetdevStream.connect(card.wire);
tap.teardown(() => stream.close());

/** The text in the next frame. */
async function heard(): Promise<string> {
  await until(() => stream.waiting > 0, 'a frame');
  return Buffer.from(stream.take()!.bytes.subarray(14)).toString().replace(/\0+$/, '');
}

async function sender(t: { teardown(action: () => void): unknown }): Promise<Sender> {
  const it = new Sender(await Client.connected(card.socket));
  t.teardown(() => it.close());
  return it;
}

await tap.test('the card reaches what is mapped, where it is mapped, and nothing else', async (t) => {
  const it = await sender(t);
  t.equal(await it.map(RING), 0);
  t.equal(await it.map(FRAME), 0);
  await it.start();
  t.ok(await it.send('one'));
  t.equal(await heard(), 'one');

  t.equal(await it.unmap(FRAME), 0);
  t.ok(await it.send('secret'), 'the descriptor is fetched all the same');
  t.equal(await it.map(FRAME, 1), 0, 'to be read only');
  t.ok(await it.send('two'));
  const said = [await heard()];
  if (said[0] !== 'two') said.push(await heard());
  t.notOk(
    said.some((text) => text.includes('secret')),
    'what is not mapped is not read',
  );
  t.equal(said.at(-1), 'two');

  t.equal(await it.unmap(RING), 0);
  t.equal(await it.map(RING, 1), 0);
  t.notOk(await it.send('three'), 'what is mapped to be read is not written');
  t.equal(await heard(), 'three');
  t.equal(await it.unmap(RING), 0);
  t.notOk(await it.send('four'));
  t.equal(await it.map(RING), 0);
  t.equal(await it.unmap(FRAME), 0);
  t.equal(await it.map(FRAME), 0);
  await it.start();
});

await tap.test('what cannot be mapped is refused, and the next client is served', async (t) => {
  const it = await sender(t);
  const { client, fd } = it;
  t.equal(await client.map(0, PAGE), ENOTSUP, 'no descriptor');
  t.equal(await client.map(0, (FILE_PAGES + 1) * PAGE, { fd }), EINVAL, 'longer than the file');
  t.equal(await client.map(0xfee0_0000, PAGE, { fd }), EINVAL, "the interrupt controller's");
  t.equal(await client.map(0xfedf_f000, 2 * PAGE, { fd }), EINVAL);
  t.equal(await client.map(2 ** 48 - PAGE, PAGE, { fd }), EINVAL, "the bell's");
  t.equal(await client.map(2 ** 48, PAGE, { fd }), EINVAL, 'beyond the end');
  const reading = openSync(process.execPath, 'r');
  t.equal(await client.map(0, PAGE, { fd: reading, flags: 1 }), EACCES, 'QEMU would open it for writing');
  const folder = openSync(card.place.folder, 'r');
  t.equal(await client.map(0, PAGE, { fd: folder }), EINVAL);
  const eventfd = createEventfd();
  t.equal(await client.map(0, PAGE, { fd: eventfd }), EINVAL);
  const huge = createMemfd('huge', 2 ** 40);
  t.equal(await client.map(0, PAGE, { fd: huge }), ENOSPC);
  closeAll(reading, folder, eventfd, huge);
  const files = Array.from({ length: 257 }, (_, index) => createMemfd(`file${index}`, PAGE));
  const errors = [];
  for (const [index, file] of files.entries()) errors.push(await client.map(index * PAGE, PAGE, { fd: file }));
  closeAll(...files);
  t.same(errors, [...Array(256).fill(0), ENOSPC], 'as many files as QEMU has slots');
});

await tap.test('a client that dies: its memory is let go of, and the card is as new', async (t) => {
  const first = await sender(t);
  await first.map(RING);
  await first.map(FRAME);
  await first.start();
  t.ok(await first.send('first'));
  t.equal(await heard(), 'first');
  const pid = qemuOf(card.server.pid!);
  const mapped = () => readFileSync(`/proc/${pid}/maps`, 'latin1').split('memfd:client').length - 1;
  t.ok(mapped() > 0);
  first.close();
  const second = await sender(t);
  t.equal(await second.client.read(0, TDBAL.at), 0xffffffff, 'it does not decode');
  await until(() => mapped() === 0, 'QEMU letting go');
  await second.map(RING);
  await second.map(FRAME);
  await second.start();
  t.ok(await second.send('second'));
  t.equal(await heard(), 'second');
});

await tap.test('random requests: refused or served, and the next client has a card', async (t) => {
  const seed = Date.now() % 2 ** 32;
  let state = seed;
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  t.comment(`seed ${seed}`);
  for (let clients = 0; clients < 5; clients++) {
    const { client, fd, close } = await sender(t);
    for (let requests = 0; requests < 400; requests++) {
      const [page, pages] = [random(50), 1 + random(FILE_PAGES)];
      const region = [0, 0, 1, CONFIG][random(4)]!;
      const width = [1, 2, 4][random(3)]!;
      const offset = random(region === CONFIG ? 256 : 0x20_000);
      const kind = random(5);
      if (kind === 0)
        await client.map(page * PAGE, pages * PAGE, { fd, offset: random(FILE_PAGES) * PAGE, flags: random(4) });
      else if (kind === 1) await client.unmap(page * PAGE, pages * PAGE);
      else if (kind === 2) await client.ask(COMMAND.read, access(region, offset, width));
      else await client.write(region, offset, random(2 ** (8 * width)), width);
    }
    close();
  }
  const last = await sender(t);
  await last.map(RING);
  await last.map(FRAME);
  await last.start();
  t.ok(await last.send('last'));
  let said = '';
  while (said !== 'last') said = await heard(); // what was random may have sent frames, too
});

await tap.test(
  'a QEMU that dies: clients see the end, the server says so in one line, and nothing is left',
  async (t) => {
    const it = await Client.connected(card.socket);
    process.kill(qemuOf(card.server.pid!), 'SIGKILL');
    t.equal(await it.reply(), null);
    it.close();
    const { exitCode, stderr } = await card.server;
    t.equal(exitCode, 1);
    t.match(stderr, /^fauxnic: qemu:e1000: QEMU: it has ended$/);
    stream.close();
    t.same((await card.end()).left, []);
  },
);

// ---- Other cards ----------------------------------------------------------------------------------------------------

await tap.test('any other card: what it has, and a reset of its own', async (t) => {
  const { socket, end } = await served('igb');
  const device = await openVfioUser(socket);
  const { config } = device;
  t.equal(device.id.device, 0x10c9);
  t.equal(config.size, 4096);
  t.same(device.interrupts.available, { intx: 1, msi: 1, msix: 10 });
  const express = findCapability(config, CAP_PCI_EXPRESS);
  for (const reset of [() => device.reset(), () => config.write16(express + 8, config.read16(express + 8) | 0x8000)]) {
    device.enable({ memory: true });
    const bar = device.bar(0);
    bar.write32(RAL.at(0), 0x1234);
    t.equal(bar.read32(RAL.at(0)), 0x1234);
    reset();
    t.equal(config.read16(COMMAND_REGISTER) & 2, 0);
    t.equal(bar.read32(RAL.at(0)), 0xffffffff);
    device.enable({ memory: true });
    t.equal(bar.read32(RAL.at(0)), 0x82000002, 'as its NVM has it');
  }
  config.write32(0x10, 0xffffffff);
  t.equal(config.read32(0x10), 0xfffe0000);
  t.equal(
    device.bar(0).read32(RAL.at(0)),
    0x82000002,
    'where its BARs are is for its user to say: it is there all the same',
  );
  device.close();
  t.match(await end(), { exitCode: 0, left: [] });
});

await tap.test('what is not offered is said in one line', async (t) => {
  const { place, server } = launch('virtio-net-pci');
  t.match(await server, { exitCode: 1, stderr: /^fauxnic: qemu:virtio-net-pci takes memory past an IOMMU[^\n]*$/ });
  await place.quiet();
  place.remove();
  for (const [line, says] of [
    ['serve qemu: --socket x', /lacks a device/],
    ['serve qemu:e1000e --socket x --trace -', /--trace is for models/],
    ['serve qemu:e1,bus=x --socket x', /a device's name/],
  ] as const) {
    const { place, server } = launch('', line);
    const { exitCode, stderr } = await server;
    t.match(stderr, says);
    t.equal(exitCode, 2);
    place.remove();
  }
});

/** The QEMU of a process. */
function qemuOf(parent: number): number {
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, 'latin1').trim().split(' ').map(Number);
  return children.find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('-qtest'))!;
}
