import test from 'ava';
import { Clock } from '../../../sim/clock.ts';
import {
  ABILITY_1000_FULL,
  Capture,
  HostPort,
  INBOUND,
  Link,
  type Medium,
  OUTBOUND,
  PcapngWriter,
  readPcapng,
  Switch,
} from '../../../sim/wire/index.ts';

function bench() {
  const clock = new Clock();
  const chunks: Uint8Array[] = [];
  const capture = new Capture(clock, new PcapngWriter((chunk) => chunks.push(chunk.slice())));
  const frames = () => [...readPcapng(Uint8Array.from(chunks.flatMap((chunk) => [...chunk])))];
  const a = new HostPort('a', { station: { abilities: ABILITY_1000_FULL, negotiates: true } });
  return { clock, capture, frames, a, b: new HostPort('b') };
}

test('records both directions as the port sees them, at the time of the clock', (t) => {
  const { clock, capture, frames, a, b } = bench();
  const link = new Link(clock, { latency: 700 });
  link.plug(a);
  link.plug(b);
  capture.tap(a);
  a.send(Uint8Array.of(1));
  b.send(Uint8Array.of(2));
  clock.run(1000);
  capture.end();
  t.like(frames()[0], { timeNs: 0, direction: OUTBOUND, bytes: Uint8Array.of(1) });
  t.like(frames()[1], { timeNs: 700, direction: INBOUND, bytes: Uint8Array.of(2) });
  t.like(frames()[0]!.interface, { name: 'a', speed: 1e9, received: 2, dropped: 0 });
  t.is(b.waiting, 1);
});

test('goes in and out while running, the carrier staying up', (t) => {
  const { clock, capture, frames, a, b } = bench();
  let flaps = -1;
  const c = new HostPort('c', { onPartner: () => flaps++ });
  const link = new Link(clock);
  link.plug(c);
  link.plug(b);
  flaps = 0;
  for (let round = 0; round < 3; round++) {
    c.send(Uint8Array.of(round, 0));
    const tap = capture.tap(c);
    c.send(Uint8Array.of(round, 1));
    tap.remove();
    tap.remove();
    t.is(c.medium, link);
  }
  capture.end();
  t.is(flaps, 0);
  t.is(b.waiting, 6);
  t.deepEqual(
    frames().map(({ bytes }) => [...bytes]),
    [
      [0, 1],
      [1, 1],
      [2, 1],
    ],
  );
  t.is(new Set(frames().map((frame) => frame.interface)).size > 0, true);
  t.is(a.medium, null);
});

test('a tapped port still sees the carrier come and go, and is seen', (t) => {
  const { clock, capture, a, b } = bench();
  const link = new Link(clock);
  link.plug(capture.tap(a));
  link.plug(b);
  t.is(a.partner, b.station);
  a.station = null;
  t.is(b.partner, null);
  link.disconnect();
  t.is(a.partner, null);
});

test('taps stack, and come out in any order', (t) => {
  const { clock, capture, frames, a, b } = bench();
  const link = new Link(clock);
  link.plug(a);
  link.plug(b);
  const first = capture.tap(a);
  const second = capture.tap(a);
  a.send(Uint8Array.of(1));
  first.remove();
  a.send(Uint8Array.of(2));
  second.remove();
  a.send(Uint8Array.of(3));
  b.send(Uint8Array.of(4));
  capture.end();
  t.is(a.medium, link);
  t.is(b.waiting, 3);
  t.is(a.waiting, 1);
  t.deepEqual(
    frames().map(({ bytes }) => bytes[0]),
    [1, 1, 2],
  );
});

test('a card in a switch is tapped too', (t) => {
  const { clock, capture, frames, a, b } = bench();
  const bridge = new Switch(clock);
  bridge.plug(a);
  bridge.plug(b);
  const tap = capture.tap(b);
  a.send(new Uint8Array(60).fill(255));
  clock.settle();
  tap.remove();
  a.send(new Uint8Array(60).fill(255));
  clock.settle();
  capture.end();
  t.is(frames().length, 1);
  t.is(b.waiting, 2);
});

test('a sink that throws ends the capture, not the traffic', (t) => {
  const clock = new Clock();
  let full = false;
  const writer = new PcapngWriter(
    () => {
      if (full) throw new Error('disk full');
    },
    { snapLength: 64, chunkBytes: 1 },
  );
  const capture = new Capture(clock, writer);
  const link = new Link(clock);
  const a = new HostPort('a');
  const b = new HostPort('b');
  link.plug(a);
  link.plug(b);
  capture.tap(a);
  full = true;
  const bytes = new Uint8Array(60);
  for (let i = 0; i < 5000; i++) a.send(bytes);
  t.is(b.waiting, 5000);
  t.like(capture.error, { message: 'disk full' });
});

test('a medium that takes no tap while running says so', (t) => {
  const { capture, a } = bench();
  a.medium = { transmit() {}, stationChanged() {}, partnerOf: () => null, freeAt: () => 0 } satisfies Medium;
  t.throws(() => capture.tap(a), {
    message: 'cannot tap a: its medium takes no tap while running; tap it before plugging it in',
  });
});
