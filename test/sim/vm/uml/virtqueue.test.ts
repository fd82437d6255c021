import test from 'ava';
import fc from 'fast-check';
import { BASE, Memory } from './driver.ts';

const runs = Number(process.env.FAUXNIC_RUNS ?? 300);
const BUFFERS = BASE + 0x8000;

test('chains come in their order and go back once each, round and round the ring', (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom(1, 2, 8, 32),
      fc.array(fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 8 }), { minLength: 1, maxLength: 40 }),
      (size, rounds) => {
        const driver = new Memory().queue(size, BASE);
        for (const chains of rounds) {
          const offered: { head: number; length: number }[] = [];
          let room = size;
          for (const length of chains) {
            if (length > room) break;
            room -= length;
            const buffers = Array.from({ length }, (_, i) => ({ at: BUFFERS + 64 * i, length: 8 + i, write: i === 1 }));
            offered.push({ head: driver.offer(...buffers), length });
          }
          if (driver.queue.waiting !== offered.length) return false;
          for (const { head, length } of offered) {
            if (driver.queue.take() !== head || driver.queue.count !== length) return false;
            if (length > 1 && (driver.queue.lengths[1] !== 9 || driver.queue.writable[1] !== 1)) return false;
            driver.queue.give(head, length);
          }
          if (driver.queue.take() !== -1) return false;
          const back = driver.returned();
          if (JSON.stringify(back.map(({ head, written }) => ({ head, length: written }))) !== JSON.stringify(offered))
            return false;
        }
        return true;
      },
    ),
    { numRuns: runs },
  );
  t.pass();
});

test('what was put back is taken again', (t) => {
  const driver = new Memory().queue(8, BASE);
  const head = driver.offer({ at: BUFFERS, length: 4 });
  t.is(driver.queue.take(), head);
  driver.queue.putBack();
  t.is(driver.queue.waiting, 1);
  t.is(driver.queue.take(), head);
});

test('a queue is refused where it cannot be, and then has nothing', (t) => {
  const memory = new Memory();
  const { queue, place } = memory.queue(8, BASE);
  for (const odd of [{ size: 0 }, { size: 3 }, { size: 65536 }, { descriptors: BASE + 8 }, { used: BASE + 2 }]) {
    t.false(queue.place({ ...place, ...odd }), JSON.stringify(odd));
    t.false(queue.ready);
  }
  t.false(queue.place({ ...place, available: 1 }), 'not in memory');
  t.false(queue.place({ ...place, used: BASE + memory.bytes.length - 8 }), 'across its end');
  t.is(queue.take(), -1);
});

test('a chain without an end closes the queue, as does a descriptor that there is not', (t) => {
  for (const next of [0, 1, 200]) {
    const driver = new Memory().queue(8, BASE);
    driver.descriptor(0, { at: BUFFERS, length: 4 }, next);
    driver.descriptor(1, { at: BUFFERS, length: 4 }, 0);
    driver.offerHead(0);
    t.is(driver.queue.take(), -1, `${next}`);
    t.false(driver.queue.ready);
  }
});

test('an index that runs ahead of the ring is no news', (t) => {
  const memory = new Memory();
  const { queue, place } = memory.queue(8, BASE);
  memory.view.setUint16(place.available - BASE + 2, 9, true);
  t.is(queue.waiting, 0);
  t.is(queue.take(), -1);
});
