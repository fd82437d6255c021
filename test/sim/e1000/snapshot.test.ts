/** What a snapshot of an 82540EM keeps, at moments of note; at any moment: test/spec/snapshot.ts. */
import test, { type ExecutionContext } from 'ava';
import { Bench, EOP, IDE, IFCS, R, Recorder, RS } from '../../util/e1000-harness.ts';
import { segmented } from '../../util/e1000-traffic.ts';
import { ethernet, pause } from '../../util/packets.ts';

const { SK, CS, DI, EE_REQ } = R.EECD;

/** Traces and counts everything from now on. */
function watch(b: Bench): () => unknown {
  const recorder = new Recorder();
  const start = b.clock.now;
  b.card.trace = recorder;
  b.rises = [];
  b.sent();
  return () => ({
    trace: recorder.lines,
    sent: b.sent().map((frame) => Buffer.from(frame).toString('hex')),
    rises: b.rises.map((at) => at - start),
    next: b.clock.next - b.clock.now,
    state: b.card.save(),
    refused: b.card.refused,
    wire: [
      b.wire.counters('forward'),
      b.wire.counters('backward'),
      b.wire.queued('forward'),
      b.wire.queued('backward'),
    ],
  });
}

/** Forks the bench and does the same with both. */
function compare(t: ExecutionContext, b: Bench, act: (b: Bench) => void): void {
  const copy = b.fork(987_654_321);
  const results = [b, copy].map((bench) => {
    const result = watch(bench);
    act(bench);
    return result();
  });
  t.deepEqual(results[1], results[0]);
  t.true(Buffer.from(copy.ram).equals(b.ram), 'memory');
}

test('a card that has done nothing', (t) => {
  compare(t, new Bench(), (b) => b.clock.advance(1e9));
});

test('in the midst of a negotiation', (t) => {
  const b = new Bench();
  b.mdio(0, 0x1200);
  b.clock.advance(1_000_000);
  compare(t, b, (bench) => bench.clock.advance(1e7));
});

test('an EEPROM word half shifted in, another half shifted out', (t) => {
  const b = new Bench();
  const clock = (bench: Bench, bits: string) => {
    for (const bit of bits) {
      const data = EE_REQ | CS | (bit === '1' ? DI : 0);
      bench.write(R.EECD, data);
      bench.write(R.EECD, data | SK);
      bench.read(R.EECD);
    }
  };
  b.write(R.EECD, EE_REQ | CS);
  clock(b, '100110000');
  b.write(R.EECD, EE_REQ);
  b.write(R.EECD, EE_REQ | CS);
  clock(b, '10100010111001');
  compare(t, b, (bench) => {
    clock(bench, '10101010101');
    bench.write(R.EECD, EE_REQ);
    bench.write(R.EECD, EE_REQ | CS);
    clock(bench, `110000101${'0'.repeat(40)}`);
  });
});

test('a segmentation that PAUSE has stopped', (t) => {
  const b: Bench = new Bench({ wire: { rate: 1e9 } });
  b.transmitter();
  b.receiver();
  b.set(R.CTRL, R.CTRL.RFCE);
  segmented(b, 5000, 333);
  b.ring();
  b.clock.advance(7000);
  b.inject(pause(20));
  b.clock.advance(5000);
  t.is(b.read(R.TDH), 2, 'in the second data descriptor');
  compare(t, b, (bench) => bench.clock.advance(1e6));
});

test('a packet half posted', (t) => {
  const b = new Bench();
  b.transmitter();
  b.legacy(ethernet({ length: 500 }).subarray(0, 200), IFCS);
  b.ring();
  compare(t, b, (bench) => bench.send(ethernet({ length: 500 }).subarray(200)));
});

test('timers running, write-backs gathered, an interrupt held by ITR', (t) => {
  const b = new Bench();
  b.transmitter();
  b.receiver();
  b.write(R.ITR, 500);
  b.write(R.RDTR, 100);
  b.write(R.RADV, 130);
  b.write(R.TIDV, 90);
  b.write(R.TADV, 200);
  b.write(R.RXDCTL, R.RXDCTL.GRAN | (4 << 16));
  b.write(R.TXDCTL, R.TXDCTL.GRAN | (4 << 16));
  b.write(R.IMS, 0xffffffff);
  b.write(R.ICS, 1);
  b.read(R.ICR);
  b.write(R.ICS, 1);
  b.inject(ethernet());
  b.send(ethernet(), EOP | IFCS | RS | IDE);
  b.clock.advance(30_000);
  compare(t, b, (bench) => {
    bench.inject(ethernet());
    bench.clock.advance(1e6);
  });
});

test('frames waiting in the FIFO, an XOFF sent, frames on the line', (t) => {
  const b = new Bench({ wire: { rate: 1e9, latency: 5000 } });
  b.set(R.CTRL, R.CTRL.TFCE);
  b.write(R.FCRTH, 2048);
  b.write(R.FCRTL, (R.FCRTL.XONE | 512) >>> 0);
  b.receiver(16, { give: 0 });
  b.transmitter();
  for (let i = 0; i < 6; i++) b.inject(ethernet({ length: 500 + i }));
  b.send(ethernet());
  b.clock.advance(20_000);
  compare(t, b, (bench) => {
    bench.write(R.RDT, 9);
    bench.clock.advance(1e6);
  });
});

test('a made-up state of a segmentation without end is refused', (t) => {
  const b: Bench = new Bench({ wire: { rate: 1e9 } });
  b.transmitter();
  segmented(b, 5000, 333);
  b.ring();
  const state = structuredClone(b.card.save()) as SavedSegmentation;
  const { offload } = state.chip.transmit.queues[0]!.engine;
  t.is(offload.mss, 333);
  offload.mss = 0; // segments of nothing, without end
  t.throws(() => b.card.restore(state), { name: 'StateError', message: /transmit\.queues\[0\]: a segmentation/ });
});

test('a state with a field that cannot be is refused, and nothing of it is loaded', (t) => {
  const b = new Bench();
  const state = structuredClone(b.card.save()) as SavedSegmentation;
  state.chip.transmit.queues[0]!.packet.consumed = -1e15;
  const before = b.card.save();
  t.throws(() => b.card.restore(state), { name: 'StateError', message: /transmit\.queues\[0\]\.packet\.consumed/ });
  t.deepEqual(b.card.save(), before);
});

interface SavedSegmentation {
  chip: { transmit: { queues: { engine: { offload: { mss: number } }; packet: { consumed: number } }[] } };
}
