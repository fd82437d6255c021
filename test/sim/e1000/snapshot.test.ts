/** All state can be saved at any moment and restored into a fresh card: from there both go on byte for byte alike. */
import test, { type ExecutionContext } from 'ava';
import { FCS_ERROR } from '../../../sim/wire/index.ts';
import { Prng } from '../../../sim/wire/prng.ts';
import { Bench, EOP, IDE, IFCS, IXSM, R, Recorder, RS, TSE, TXSM } from '../../util/e1000-harness.ts';
import { ethernet, ip, pattern, pause } from '../../util/packets.ts';

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

function segmented(b: Bench, length: number, mss: number): void {
  const { bytes, l4, payload } = ip({ segmented: true, checksum: 'pseudo', ipChecksum: 0, data: pattern(length) });
  b.context({
    ipStart: 14,
    ipSum: 24,
    ipEnd: 33,
    l4Start: l4,
    l4Sum: l4 + 16,
    header: payload,
    mss,
    payload: length,
    segment: true,
  });
  b.data(bytes.subarray(0, 700), IFCS | TSE, { options: IXSM | TXSM });
  b.data(bytes.subarray(700), EOP | IFCS | TSE | RS, { options: IXSM | TXSM });
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

/** One thing that a driver, the partner or time might do. The same numbers give the same. */
function step(b: Bench, prng: Prng): void {
  const upTo = (n: number) => prng.next() % n;
  const frame = () => ethernet({ length: 60 + upTo(900), seed: upTo(256), vlan: upTo(4) === 0 ? upTo(9) : undefined });
  const actions = [
    () => b.clock.advance(upTo(3000)),
    () => b.clock.advance(upTo(300_000)),
    () => b.inject(frame(), upTo(8) === 0 ? FCS_ERROR : 0),
    () => b.inject(frame()),
    () => b.inject(pause(upTo(50))),
    () => b.send(frame(), EOP | IFCS | RS | (upTo(2) ? IDE : 0)),
    () => segmented(b, 700 + upTo(3000), 50 + upTo(500)),
    () => b.ring(),
    () => b.write(R.RDT, upTo(b.rxCount)),
    () => b.write(R.EECD, EE_REQ | (upTo(8) ? CS : 0) | (upTo(2) ? DI : 0)),
    () => b.set(R.EECD, SK),
    () => b.read(R.EECD),
    () => b.read(R.ICR),
    () => b.read(R.STATUS),
    () => b.write(R.ICS, 1 << upTo(17)),
    () => b.write(R.ITR, upTo(3) * 200),
    () => b.write(R.RDTR, upTo(3) * 50),
    () => b.write(R.RADV, upTo(3) * 60),
    () => b.write(R.TIDV, upTo(100)),
    () => b.write(R.TXDCTL, R.TXDCTL.GRAN | (upTo(6) << 16)),
    () => b.write(R.RXDCTL, R.RXDCTL.GRAN | (upTo(6) << 16)),
    () => b.mdio(upTo(32)),
    () => b.mdio([0, 4, 9, 18][upTo(4)]!, [0x1200, 0x0de1, 0x0300, 0x0400][upTo(4)]!),
    () => b.write(R.RCTL, R.RCTL.EN | R.RCTL.UPE | R.RCTL.MPE | [0, R.RCTL.SECRC, R.RCTL.SBP][upTo(3)]!),
    () => b.write(R.RXCSUM, upTo(0x800)),
    () => b.read(R.GPRC),
    () => b.card.writeBar(2, 0, 4, upTo(0x10000)),
    () => upTo(10) === 0 && b.wire.disconnect(),
    () => b.wire.connect(),
    () => upTo(20) === 0 && b.write(R.CTRL, R.CTRL.RST),
    () => b.set(R.CTRL, R.CTRL.SLU | R.CTRL.RFCE | R.CTRL.TFCE | (upTo(2) ? R.CTRL.VME : 0)),
  ];
  actions[upTo(actions.length)]!();
}

for (let seed = 1; seed <= 60; seed++) {
  test(`at a random moment in random traffic, seed ${seed}`, (t) => {
    const prng = new Prng(seed);
    const b = new Bench({
      wire: seed % 2 ? { rate: 1e9, latency: 700, loss: 0.05, reorder: 0.1 } : {},
      memory: 2 << 20,
    });
    b.transmitter(32);
    b.receiver(32);
    b.set(R.CTRL, R.CTRL.RFCE | R.CTRL.TFCE);
    b.write(R.FCRTH, 4096);
    b.write(R.FCRTL, (R.FCRTL.XONE | 1024) >>> 0);
    b.write(R.PBA, 16);
    b.write(R.IMS, 0xffffffff);
    for (let i = prng.next() % 200; i > 0; i--) step(b, prng);
    const rest = prng.next();
    compare(t, b, (bench) => {
      const same = new Prng(rest);
      for (let i = 0; i < 150; i++) step(bench, same);
    });
  });
}
