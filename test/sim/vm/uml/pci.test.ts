import test from 'ava';
import fc from 'fast-check';
import { Clock } from '../../../../sim/clock.ts';
import { E1000 } from '../../../../sim/e1000/i82540em.ts';
import { COMMAND, COMMAND_MEMORY } from '../../../../sim/pci/config.ts';
import { PciOverVirtio } from '../../../../vm/uml/pci.ts';
import { BASE, Memory } from './driver.ts';

const runs = Number(process.env.FAUXNIC_RUNS ?? 200);
// linux/virtio_pcidev.h
const [CFG_READ, CFG_WRITE, MMIO_READ, MMIO_WRITE, MMIO_MEMSET, INT, MSI] = [1, 2, 3, 4, 5, 6, 7] as const;
const REQUEST = BASE + 0x8000;
const ANSWER = BASE + 0xa000;
const IRQ = BASE + 0xc000;
const [STATUS, CTRL, RAL] = [0x8, 0x0, 0x5400];

function bench() {
  const memory = new Memory();
  const calls: number[] = [];
  let pending = 0;
  const commands = memory.queue(8, BASE);
  const interrupts = memory.queue(8, BASE + 0x1000);
  const device = new PciOverVirtio(
    () => model,
    () => pending++,
  );
  const model = new E1000({
    clock: new Clock(),
    memory: memory.space,
    packetMemory: (size) => ({ bytes: new Uint8Array(size), start: 0 }),
    intx: (asserted) => device.intx(asserted),
    message: (_vector, _low, _high, data) => device.message(data),
  });
  device.attach({ queues: [commands.queue, interrupts.queue], call: (queue) => calls.push(queue) });
  const request = (operation: number, bar: number, size: number, at: number, data: readonly number[] = []) => {
    const { view } = memory;
    view.setUint8(REQUEST - BASE, operation);
    view.setUint8(REQUEST - BASE + 1, bar);
    view.setUint32(REQUEST - BASE + 4, size, true);
    view.setUint32(REQUEST - BASE + 8, at, true);
    view.setUint32(REQUEST - BASE + 12, 0, true);
    memory.bytes.set(data, REQUEST - BASE + 16);
    return { at: REQUEST, length: 16 + data.length };
  };
  const answer = (size: number) => ({ at: ANSWER, length: size, write: true });
  const read = (operation: number, bar: number, size: number, at: number) => {
    memory.bytes.fill(0, ANSWER - BASE, ANSWER - BASE + 16);
    commands.offer(request(operation, bar, size, at), answer(8));
    device.kicked(0);
    return { back: commands.returned(), value: memory.view.getUint32(ANSWER - BASE, true) };
  };
  const write = (operation: number, bar: number, size: number, at: number, data: readonly number[]) => {
    commands.offer(request(operation, bar, size, at, data));
    device.kicked(0);
    return commands.returned();
  };
  return { memory, calls, commands, interrupts, device, model, read, write, pending: () => pending };
}

test('configuration space and BARs are read and written, in every width', (t) => {
  const { read, write, model } = bench();
  t.deepEqual(read(CFG_READ, 0, 4, 0), { back: [{ head: 0, written: 4 }], value: 0x100e8086 });
  t.is(read(CFG_READ, 0, 1, 2).value, 0x0e);
  write(CFG_WRITE, 0, 2, COMMAND, [COMMAND_MEMORY, 0]);
  t.is(model.config.read(COMMAND, 2), COMMAND_MEMORY);
  t.is(read(MMIO_READ, 0, 4, STATUS).value, model.readBar(0, STATUS, 4));
  write(MMIO_WRITE, 0, 4, RAL, [1, 2, 3, 4]);
  t.is(model.readBar(0, RAL, 4), 0x04030201);
  write(MMIO_MEMSET, 0, 8, RAL, [0x5a]);
  t.is(model.readBar(0, RAL, 4), 0x5a5a5a5a);
});

test('a write in two buffers is one', (t) => {
  const { memory, commands, device, model, write } = bench();
  write(CFG_WRITE, 0, 2, COMMAND, [COMMAND_MEMORY, 0]);
  const { view } = memory;
  view.setUint8(REQUEST - BASE, MMIO_WRITE);
  view.setUint32(REQUEST - BASE + 8, RAL, true);
  memory.bytes.set([9, 8, 7, 6], ANSWER - BASE);
  view.setUint32(REQUEST - BASE + 4, 4, true);
  commands.offer({ at: REQUEST, length: 16 }, { at: ANSWER, length: 4 });
  device.kicked(0);
  t.is(model.readBar(0, RAL, 4), 0x06070809);
});

test('interrupts wait for a buffer, each once, and come in their order', (t) => {
  const { memory, device, interrupts, calls, pending } = bench();
  device.message(40);
  device.intx(true);
  device.intx(false);
  device.message(40);
  t.is(pending(), 2);
  device.deliver();
  t.deepEqual(calls, []);
  interrupts.offer({ at: IRQ, length: 20, write: true });
  device.kicked(1);
  interrupts.offer({ at: IRQ + 32, length: 20, write: true });
  device.kicked(1);
  t.deepEqual(calls, [1, 1]);
  t.deepEqual(
    interrupts.returned().map(({ written }) => written),
    [20, 16],
  );
  t.deepEqual([memory.bytes[IRQ - BASE], memory.bytes[IRQ - BASE + 16]], [MSI, 40]);
  t.is(memory.bytes[IRQ - BASE + 32], INT);
});

test('what makes no sense is given back unanswered, and counted by name', (t) => {
  const { commands, device, write, memory } = bench();
  const refused = (what: string) => t.is(device.refused[what], 1, what);
  commands.offer({ at: REQUEST, length: 8 });
  device.kicked(0);
  refused('commands too short');
  write(99, 0, 4, 0, [0, 0, 0, 0]);
  refused('unknown operations');
  write(MMIO_WRITE, 0, 8, 0, [1, 2]);
  refused('writes without data');
  write(MMIO_READ, 0, 0xffffffff, 0, []);
  refused('accesses out of range');
  write(MMIO_READ, 0, 4, CTRL, []);
  refused('answers without room');
  commands.offer({ at: 2 ** 52, length: 24 });
  device.kicked(0);
  t.is(device.refused['commands too short'], 2);
  t.is(commands.returned().length, 1);
  memory.view.setUint32(0, 0);
});

test('whatever is in memory, a kick ends, and throws nothing', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 512, maxLength: 512 }), fc.nat(255), (noise, index) => {
      const { memory, device } = bench();
      memory.bytes.set(noise, 0);
      memory.bytes.set(noise, 0x1000);
      memory.bytes.set(noise, REQUEST - BASE);
      memory.view.setUint16(16 * 8 + 2, index, true);
      memory.view.setUint16(0x1000 + 16 * 8 + 2, index, true);
      device.kicked(0);
      device.kicked(1);
      device.intx(true);
      device.deliver();
    }),
    { numRuns: runs },
  );
  t.pass();
});
