/** What a snapshot of a BCM57xx keeps, at moments of note; at any moment: test/spec/snapshot.ts. */
import test, { type ExecutionContext } from 'ava';
import { MICROSECOND } from '../../../sim/clock.ts';
import { StateError } from '../../../sim/state.ts';
import { TX_CPU_POST_DMA, TX_CPU_PRE_DMA, TX_END } from '../../../sim/tg3/descriptors.ts';
import { ethernet, ip, PARTNER, pattern, pause, STATION } from '../../util/packets.ts';
import { Bench, R, Recorder } from '../../util/tg3-harness.ts';

const OUT = { to: PARTNER, from: STATION };
const SEGMENTED = TX_CPU_PRE_DMA | TX_CPU_POST_DMA | (1 << 10); // a header of 40 bytes
const special = (mss: number) => ((mss | (2 << 14)) << 16) >>> 0;

/** Traces and counts everything from now on. */
function watch(b: Bench): () => unknown {
  const recorder = new Recorder();
  b.card.trace = recorder;
  b.rises = [];
  b.sent();
  return () => ({
    trace: recorder.lines.filter((line) => !line.includes('GRC_TIMER')),
    sent: b.sent().map((frame) => Buffer.from(frame).toString('hex')),
    rises: b.rises.length,
    next: b.clock.next - b.clock.now,
    state: b.card.save(),
    refused: b.card.refused,
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

test('in the midst of a packet, and of a segmentation that the partner holds', (t) => {
  const b = new Bench();
  b.data(ethernet({ ...OUT, length: 100 }), 0);
  b.ring();
  compare(t, b, (b) => b.send(ethernet({ ...OUT, length: 100 })));
  b.set(R.MAC_RX_MODE, R.MAC_RX_MODE.FLOW_CTRL_ENABLE);
  b.inject(pause(100));
  b.send(ip({ ...OUT, segmented: true, data: pattern(5000), checksum: 0 }).bytes, SEGMENTED | TX_END, special(1000));
  compare(t, b, (b) => b.clock.advance(1_000_000));
  t.is(b.sendConsumer, 3);
});

test('with events that no status block told of, in the ISR, with frames waiting for buffers', (t) => {
  const b = new Bench({ buffers: 4 });
  b.write(R.HOSTCC_RXMAX_FRAMES, 10);
  b.write(R.HOSTCC_RXCOL_TICKS, 50);
  for (let seed = 1; seed < 9; seed++) b.inject(ethernet({ seed }));
  b.clock.advance(10 * MICROSECOND);
  compare(t, b, (b) => {
    b.clock.advance(100 * MICROSECOND);
    b.give(8);
    b.write(R.MBOX_INTERRUPT, b.tag << 24);
    b.received();
  });
});

test('while the link negotiates', (t) => {
  const b = new Bench();
  b.mdio(0, 0x1200);
  b.clock.advance(20_000 * MICROSECOND);
  compare(t, b, (b) => b.clock.advance(40_000 * MICROSECOND));
});

test('a made-up state of a segmentation without end, or of more than there is, is refused', (t) => {
  const b = new Bench({ wire: { rate: 1e9 } });
  b.send(ip({ ...OUT, segmented: true, data: pattern(5000), checksum: 0 }).bytes, SEGMENTED | TX_END, special(1000));
  for (const made of [{ mss: 0 }, { payload: 5001 }, { headerLength: 40 }, { l4: 200 }]) {
    const state = structuredClone(b.card.save()) as SavedSegmentation;
    const { offload } = state.chip.send.rings[0]!.engine;
    t.is(offload.mss, 1000);
    Object.assign(offload, made);
    const message = 'BCM57762.chip.send.rings[0]: a segmentation of what is not there';
    t.throws(() => b.card.restore(state), { instanceOf: StateError, message });
  }
});

interface SavedSegmentation {
  chip: { send: { rings: { engine: { offload: { mss: number } } }[] } };
}
