import test from 'ava';
import { DeviceMemory, HostMemory } from '../../drivers/backends/host-memory.ts';
import { DeviceError } from '../../drivers/device.ts';
import { HEADROOM, type PacketBuffer, PacketPool } from '../../drivers/packet.ts';
import { poison } from '../util/poison.ts';

const SIZE = 256;

function pool({ memory = 1 << 20, chunk = 8, limit = 64 } = {}) {
  const dma = new DeviceMemory(new HostMemory(memory));
  return { dma, pool: new PacketPool(dma, { bufferSize: SIZE, chunk, limit }) };
}

function take(from: PacketPool, count: number): PacketBuffer[] {
  return Array.from({ length: count }, () => from.take()!);
}

test('it grows by chunks, up to its limit, and counts where that was not enough', (t) => {
  const { pool: it } = pool({ chunk: 8, limit: 20 });
  t.is(it.size, 0);
  take(it, 1);
  t.deepEqual([it.size, it.available], [8, 7]);
  take(it, 19);
  t.deepEqual([it.size, it.available], [20, 0]);
  t.is(it.take(), null);
  t.is(it.exhausted, 1);
});

test('out of DMA memory is the same as at its limit', (t) => {
  const { pool: it } = pool({ memory: 10 * SIZE * 8, limit: 1000 });
  let taken = 0;
  while (it.take() !== null) taken++;
  t.true(taken >= 8 && taken <= 80, `${taken}`);
  t.is(it.exhausted, 1);
});

test('only what is used up counts as no memory: a device that is closed is said', (t) => {
  const { dma, pool: it } = pool({ chunk: 8, limit: 20 });
  take(it, 8);
  dma.close();
  t.throws(() => it.take(), { instanceOf: DeviceError, code: 'CLOSED' });
  t.throws(() => it.reserve(1), { instanceOf: DeviceError, code: 'CLOSED' });
  t.is(it.exhausted, 0);
});

test('poisoned, a packet that is freed twice is found out, and one that is written to afterwards', (t) => {
  const { pool: it } = pool();
  const poisoned = poison(it);
  const [first, second] = take(it, 2);
  first!.free();
  t.throws(() => first!.free(), { message: /freed twice/ });
  t.true(first!.bytes.every((byte) => byte === first!.bytes[0] && byte !== 0));
  poisoned.check();
  first!.bytes[SIZE - 1] = 0;
  t.throws(() => poisoned.check(), { message: /written to after it was freed/ });
  t.throws(() => it.take(), { message: /written to after it was freed/ });
  second!.free();
  t.is(it.take(), second!);
  t.is(second!.start, HEADROOM, 'and a fresh one is as ever');
});

test('reserve makes buffers now, or says that it cannot', (t) => {
  const { pool: it } = pool({ chunk: 8, limit: 20 });
  t.true(it.reserve(10));
  t.is(it.available, 16);
  t.false(it.reserve(21));
});

test('shrink gives idle chunks back, and only those', (t) => {
  const { dma, pool: it } = pool({ chunk: 8, limit: 64 });
  const held = take(it, 20); // of three chunks
  t.is(it.shrink(), 0);
  for (const buffer of held.slice(1)) buffer.free();
  const before = dma.used;
  t.is(it.shrink(), 16, 'the chunk of the first buffer stays');
  t.deepEqual([it.size, it.available], [8, 7]);
  t.true(dma.used < before);
  held[0]!.free();
  t.is(it.shrink(8), 0, 'as many are to be kept');
  t.is(it.shrink(), 8);
  t.deepEqual([it.size, it.available, dma.used], [0, 0, 0]);
  t.truthy(it.take(), 'and it grows again');
});

test('buffers do not overlap, and a fresh one is as new', (t) => {
  const { pool: it } = pool();
  const buffers = take(it, 64);
  const places = new Set(buffers.map(({ iova }) => iova));
  t.is(places.size, 64);
  t.true([...places].every((iova) => iova % 64 === 0));
  const [first] = buffers as [PacketBuffer];
  Object.assign(first, { start: 1, length: 2, total: 3, flags: 4 });
  first.free();
  const again = it.take()!;
  t.is(again, first);
  t.like(again, { start: HEADROOM, length: 0, total: 0, flags: 0, next: null });
});

test('a chain is freed whole', (t) => {
  const { pool: it } = pool();
  const [head, middle, tail] = take(it, 3) as [PacketBuffer, PacketBuffer, PacketBuffer];
  head.next = middle;
  middle.next = tail;
  head.free();
  t.is(it.available, it.size);
  t.deepEqual([head.next, middle.next], [null, null]);
});

for (const bufferSize of [HEADROOM, 100, 0]) {
  test(`buffers of ${bufferSize} bytes are refused`, (t) => {
    t.throws(() => new PacketPool(pool().dma, { bufferSize }), { instanceOf: RangeError });
  });
}
