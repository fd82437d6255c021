/** The netdev spec's part about queues, and about what spreads frames over them. */
import assert from 'node:assert/strict';
import { ability } from '../../drivers/abilities.ts';
import { HASH_IPV4, HASH_TCP_IPV4, type PacketBuffer, RX_HASH } from '../../drivers/packet.ts';
import { get16, put16 } from '../../sim/packet.ts';
import { type Bench, type Need, OTHER, packetOf, plainFrame, receiveCount, tcpFrame, until } from './netdev.ts';

const PORT = 34; // of the source, in a TCP frame over IPv4
const FLOWS = 32;

type Add = (name: string, body: (bench: Bench) => Promise<void>, setting?: { readonly needs?: Need }) => void;

/** A connection's frame; its checksum is none of the queues' business. */
function flow(bench: Bench, number: number): Uint8Array {
  const frame = tcpFrame(bench.driver.mac, 10);
  put16(frame, PORT, 1000 + number);
  return frame;
}

const numberOf = ({ bytes, start }: PacketBuffer) => get16(bytes, start + PORT) - 1000;

/** Everything goes to one queue. */
function directTo(bench: Bench, queue: number): Promise<void> {
  const rss = ability(bench.driver, 'rss');
  return bench.run(rss.set({ table: new Uint8Array(rss.tableLength).fill(queue) }));
}

/** From all queues, one at a time: which flow came by which. */
async function receiveByQueue(bench: Bench, count: number): Promise<Map<number, number>> {
  const { queues } = bench.driver;
  const by = new Map<number, number>();
  const batch: PacketBuffer[] = [];
  let frames = 0;
  const enough = () => {
    for (const queue of queues) {
      for (const packet of batch.slice(0, queue.receive(batch, 8))) {
        const number = numberOf(packet);
        assert.equal(by.get(number) ?? queue.index, queue.index, `flow ${number} keeps to its queue`);
        by.set(number, queue.index);
        packet.free();
        frames++;
      }
    }
    return frames === count;
  };
  await until(bench, enough, `${count} frames, from the queues`);
  return by;
}

export function queuesSpec(add: Add): void {
  add('its first queue sends and receives, and is counted by itself', async (bench) => {
    const { driver } = bench;
    const [queue] = driver.queues;
    driver.resetStatistics();
    assert.deepEqual([queue!.index, queue!.transmits, queue!.rings.tx.size], [0, true, driver.rings.tx.size]);
    assert.equal(queue!.transmit([packetOf(driver, plainFrame(OTHER, 1))], 0, 1), 1);
    const done = () => queue!.reclaim() === driver.rings.tx.size - 1;
    await until(bench, done, 'the descriptor given back');
    bench.send(plainFrame(driver.mac, 2, 100));
    const batch: PacketBuffer[] = [];
    await until(bench, () => queue!.receive(batch, 1) === 1, 'the frame, on the first queue');
    batch[0]!.free();
    const expected = { rxPackets: 1, rxBytes: 100, rxErrors: 0, rxNoBuffer: 0, txPackets: 1, txErrors: 0 };
    assert.deepEqual(queue!.statistics(), expected);
    assert.deepEqual([driver.statistics().rxPackets, driver.statistics().rxBytes], [1, 100]);
    driver.resetStatistics();
    assert.equal(queue!.statistics().txPackets, 0);
  });

  add(
    'spreads connections over its queues; the sums are the device’s',
    async (bench) => {
      const { driver } = bench;
      driver.resetStatistics();
      for (let round = 0; round < 3; round++) for (let i = 0; i < FLOWS; i++) bench.send(flow(bench, i));
      const by = await receiveByQueue(bench, 3 * FLOWS);
      assert.equal(new Set(by.values()).size, driver.queues.length, 'every queue has some');
      const counts = driver.queues.map((queue) => queue.statistics().rxPackets);
      for (const queue of driver.queues) {
        const flows = [...by.values()].filter((index) => index === queue.index).length;
        assert.equal(counts[queue.index], 3 * flows);
      }
      assert.equal(driver.statistics().rxPackets, 3 * FLOWS);
      for (let i = 0; i < FLOWS; i++) bench.send(flow(bench, i));
      for (const packet of await receiveCount(bench, FLOWS)) packet.free(); // the device's: from all of them
    },
    { needs: 'several queues' },
  );

  add(
    'queues that only receive say so',
    async (bench) => {
      const { driver } = bench;
      for (const queue of driver.queues.filter(({ transmits }) => !transmits)) {
        const packet = packetOf(driver, plainFrame(OTHER, 1));
        assert.throws(() => queue.transmit([packet], 0, 1), { code: 'UNSUPPORTED' });
        packet.free(); // it is still the caller's
        assert.deepEqual([queue.reclaim(), queue.rings.tx.size], [0, 0]);
      }
    },
    { needs: 'several queues' },
  );

  add(
    'a queue with a caller of its own calls it alone, once, until it is rearmed',
    async (bench) => {
      const { driver } = bench;
      const own = driver.queues[1]!;
      let calls = 0;
      let others = 0;
      own.onWork(() => calls++);
      driver.onWork(() => others++);
      await bench.pass(5);
      calls = 0;
      others = 0;
      await directTo(bench, 1);
      own.rearm();
      bench.send(flow(bench, 1));
      await until(bench, () => calls === 1, 'its call');
      bench.send(flow(bench, 2));
      await bench.pass(5);
      driver.rearm();
      await bench.pass(5);
      assert.equal(calls, 1, 'silent while it polls');
      if (own.ownInterrupt) assert.equal(others, 0, 'none of the other caller’s business');
      own.rearm();
      await until(bench, () => calls === 2, 'what came meanwhile');
      assert.deepEqual([...(await receiveByQueue(bench, 2)).values()], [1, 1]);
      await directTo(bench, 0);
      driver.rearm();
      own.rearm();
      await bench.pass(5);
      calls = 0;
      others = 0;
      bench.send(flow(bench, 3));
      await until(bench, () => others === 1, 'the other caller');
      await bench.pass(5);
      if (own.ownInterrupt) assert.deepEqual([calls, others], [0, 1]);
      assert.equal((await receiveByQueue(bench, 1)).get(3), 0);
      own.onWork(null);
      driver.onWork(null);
    },
    { needs: 'several queues' },
  );

  add(
    'hashes as RSS is specified, and tells the hash; key, table and types are the caller’s',
    async (bench) => {
      const { driver } = bench;
      const rss = ability(driver, 'rss');
      // Microsoft, "Verifying the RSS Hash Calculation": the example key, 66.9.149.187:2794 to 161.142.100.80:1766.
      const frame = tcpFrame(driver.mac, 10);
      frame.set([66, 9, 149, 187, 161, 142, 100, 80], 26);
      put16(frame, PORT, 2794);
      put16(frame, PORT + 2, 1766);
      const heard = async () => {
        bench.send(frame);
        const [packet] = await receiveCount(bench, 1);
        const { flags, hash, hashType } = packet!;
        packet!.free();
        return { told: (flags & RX_HASH) !== 0, hash, hashType };
      };
      const { told, hash, hashType } = await heard();
      assert.deepEqual([told, hash, hashType & HASH_TCP_IPV4], [true, 0x51ccc178, HASH_TCP_IPV4]);
      await bench.run(rss.set({ hashTypes: HASH_IPV4 }));
      assert.deepEqual(await heard(), { told: true, hash: 0x323e8fc2, hashType: HASH_IPV4 });
      const key = new Uint8Array(rss.keyLength);
      key[3] = 1; // the hash is that of one bit of the source address
      await bench.run(rss.set({ key, hashTypes: rss.knownHashTypes }));
      assert.notEqual((await heard()).hash, 0x51ccc178);
      assert.deepEqual(rss.settings.key, key);
      await assert.rejects(rss.set({ key: new Uint8Array(3) }), { code: 'INVALID' });
      await assert.rejects(rss.set({ table: new Uint8Array(rss.tableLength).fill(driver.queues.length) }), {
        code: 'INVALID',
      });
    },
    { needs: 'RSS' },
  );

  add(
    'waits between interrupts as long as its caller says',
    async (bench) => {
      const { driver } = bench;
      const coalescing = ability(driver, 'coalescing');
      assert.equal(coalescing.interval, null, 'the driver’s choice at first');
      for (const interval of [-1, 0.5, coalescing.longestInterval + 1]) {
        await assert.rejects(coalescing.set(interval), { code: 'INVALID' });
      }
      for (const interval of [0, 100, coalescing.longestInterval, null]) {
        await bench.run(coalescing.set(interval));
        assert.equal(coalescing.interval, interval);
        let called = false;
        driver.onWork(() => {
          called = true;
        });
        driver.rearm();
        bench.send(plainFrame(driver.mac, 1));
        await until(bench, () => called, `an interrupt, with an interval of ${interval}`);
        for (const packet of await receiveCount(bench, 1)) packet.free();
        driver.onWork(null);
      }
    },
    { needs: 'coalescing' },
  );
}
