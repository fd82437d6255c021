/** 802.3x as the chip has it: PAUSE frames heard and sent, and what else is MAC control. */
import test from 'ava';
import { ethernet, PARTNER, PAUSE_GROUP, pause, STATION } from '../../util/packets.ts';
import { Bench, R } from '../../util/tg3-harness.ts';

const OUT = { to: PARTNER, from: STATION };
const QUANTUM = 512; // ns, at 1000 Mbit/s

/** A bench that obeys PAUSE frames. */
function obedient(): Bench {
  const b = new Bench();
  b.set(R.MAC_RX_MODE, R.MAC_RX_MODE.FLOW_CTRL_ENABLE);
  return b;
}

test('quanta are counted from the last PAUSE; none of them ends it; each entry counts once', (t) => {
  const b = obedient();
  b.inject(pause(0));
  t.is(b.read(R.MAC_RX_STATS_XOFF_ENTERED), 0);
  b.inject(pause(1));
  t.not(b.read(R.MAC_RX_STATUS) & R.MAC_RX_STATUS.REMOTE_TX_XOFFED, 0);
  b.send(ethernet(OUT));
  b.clock.advance(QUANTUM - 1);
  t.is(b.sent().length, 0);
  b.inject(pause(10));
  b.clock.advance(10 * QUANTUM - 1);
  t.is(b.sent().length, 0);
  b.clock.advance(1);
  t.is(b.sent().length, 1);
  t.is(b.read(R.MAC_RX_STATUS) & R.MAC_RX_STATUS.REMOTE_TX_XOFFED, 0);
  b.inject(pause(0xffff));
  b.send(ethernet(OUT));
  b.inject(pause(0));
  b.clock.advance(0);
  t.is(b.sent().length, 1);
  t.is(b.read(R.MAC_RX_STATS_XOFF_ENTERED), 2);
  t.is(b.read(R.MAC_RX_STATS_XON_PAUSE_RECVD), 2);
  t.is(b.read(R.MAC_RX_STATS_XOFF_PAUSE_RECVD), 3);
});

test('a PAUSE is over with the link, and holds nobody who is not told to obey', (t) => {
  const b = obedient();
  b.inject(pause(0xffff));
  b.wire.disconnect();
  b.wire.connect();
  b.clock.advance(60_000_000);
  b.send(ethernet(OUT));
  t.is(b.sent().length, 1);
  const other = new Bench();
  other.inject(pause(0xffff));
  other.send(ethernet(OUT));
  t.is(other.sent().length, 1);
});

test('MAC control is kept from the host, PAUSE and other; KEEP bits hand it up', (t) => {
  const b = obedient();
  const other = pause(7, { opcode: 2 });
  const elsewhere = pause(7, { to: STATION });
  const groups = [pause(1), other, elsewhere];
  b.set(R.MAC_RX_MODE, R.MAC_RX_MODE.PROMISC);
  for (const frame of groups) b.inject(frame);
  t.deepEqual(b.received(), []);
  t.is(b.read(R.MAC_RX_STATS_MAC_CTRL_RECVD), 3);
  t.is(b.read(R.MAC_RX_STATS_XOFF_PAUSE_RECVD), 1);
  const kept = () => {
    for (const frame of groups) b.inject(frame);
    return b.received().map(({ bytes }) => bytes);
  };
  b.set(R.MAC_RX_MODE, R.MAC_RX_MODE.KEEP_PAUSE);
  t.deepEqual(kept(), [pause(1)]);
  b.clear(R.MAC_RX_MODE, R.MAC_RX_MODE.KEEP_PAUSE);
  b.set(R.MAC_RX_MODE, R.MAC_RX_MODE.KEEP_MAC_CTRL);
  t.deepEqual(kept(), [other, elsewhere]);
});

test('PAUSE frames that are sent: from the station, to the group; XOFF and XON in turn', (t) => {
  const b = new Bench({ buffers: 1 });
  b.set(R.MAC_TX_MODE, R.MAC_TX_MODE.FLOW_CTRL_ENABLE | R.MAC_TX_MODE.LONG_PAUSE_ENABLE);
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 42; i++) b.inject(ethernet({ length: 1000 }));
    b.give(60);
    b.received();
    const [xoff, xon, ...more] = b.sent();
    t.deepEqual(more, []);
    for (const [frame, quanta] of [
      [xoff, 0xffff],
      [xon, 0],
    ] as const) {
      const expected = new Uint8Array(60);
      expected.set([...PAUSE_GROUP, ...STATION, 0x88, 0x08, 0, 1, quanta >> 8, quanta & 0xff]);
      t.deepEqual(frame, expected);
    }
    for (let i = 0; i < 17 + round; i++) b.inject(ethernet()); // what is left of the buffers
    b.received();
  }
  t.is(b.read(R.MAC_TX_STATS_XOFF_SENT), 2);
  t.is(b.read(R.MAC_TX_STATS_XON_SENT), 2);
  t.is(b.read(R.MAC_TX_STATS_OCTETS), 0, 'octets are those of packets that are counted');
});

test('a snapshot remembers until when the partner said to wait, and that it was told to', (t) => {
  const b = obedient();
  b.inject(pause(100));
  b.send(ethernet(OUT));
  const copy = b.fork(5_000_000);
  copy.clock.advance(100 * QUANTUM - 1);
  t.is(copy.sent().length, 0);
  copy.clock.advance(1);
  t.is(copy.sent().length, 1);
  const full = new Bench({ buffers: 1 });
  full.set(R.MAC_TX_MODE, R.MAC_TX_MODE.FLOW_CTRL_ENABLE);
  for (let i = 0; i < 42; i++) full.inject(ethernet({ length: 1000 }));
  t.is(full.sent().length, 1);
  const other = full.fork(5_000_000);
  other.inject(ethernet());
  t.is(other.sent().length, 0, 'not once more');
  other.give(100);
  t.is(other.sent().length, 1);
});
