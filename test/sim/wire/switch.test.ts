import test from 'ava';
import { Clock, SECOND } from '../../../sim/clock.ts';
import { FCS_ERROR, HostPort, Link, Switch, type SwitchOptions } from '../../../sim/wire/index.ts';

const BROADCAST = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

function station(n: number): number[] {
  return [2, 0, 0, 0, n >> 8, n & 0xff];
}

function frame(to: number[], from: number[], mark = 0): Uint8Array {
  const bytes = new Uint8Array(60);
  bytes.set([...to, ...from, 0x88, 0xb5, mark]);
  return bytes;
}

function lan(options?: SwitchOptions) {
  const clock = new Clock();
  const bridge = new Switch(clock, options);
  const hosts = bridge.ports.map((_, i) => new HostPort(`host${i}`));
  for (const host of hosts) bridge.plug(host);
  return { clock, bridge, hosts };
}

/** Sends, lets it arrive, and says who got how many. */
function sends(net: ReturnType<typeof lan>, from: number, bytes: Uint8Array, flags = 0): number[] {
  net.hosts[from]!.send(bytes, 0, bytes.length, flags);
  net.clock.advance(1000);
  return net.hosts.map((host) => {
    const { waiting } = host;
    while (host.take() !== null);
    return waiting;
  });
}

test('floods what it does not know, and learns who is where', (t) => {
  const net = lan();
  t.deepEqual(sends(net, 0, frame(station(2), station(1))), [0, 1, 1, 1]);
  t.deepEqual(sends(net, 1, frame(station(1), station(2))), [1, 0, 0, 0]);
  t.deepEqual(sends(net, 0, frame(station(2), station(1))), [0, 1, 0, 0]);
  t.deepEqual(sends(net, 3, frame(BROADCAST, station(3))), [1, 1, 1, 0]);
  t.deepEqual(sends(net, 0, frame(station(1), station(9))), [0, 0, 0, 0], 'to its own side');
  t.like(net.bridge.counters, { forwarded: 2, flooded: 2, filtered: 1 });
});

test('a station that moves is followed', (t) => {
  const net = lan();
  sends(net, 0, frame(BROADCAST, station(1)));
  sends(net, 2, frame(BROADCAST, station(1)));
  t.deepEqual(sends(net, 3, frame(station(1), station(3))), [0, 0, 1, 0]);
});

test('forwards nothing to the addresses a link keeps to itself, nor damaged frames, nor runts', (t) => {
  const net = lan();
  for (let last = 0; last < 16; last++) {
    t.deepEqual(sends(net, 0, frame([1, 0x80, 0xc2, 0, 0, last], station(1))), [0, 0, 0, 0]);
  }
  t.deepEqual(sends(net, 0, frame([1, 0x80, 0xc2, 0, 0, 16], station(1))), [0, 1, 1, 1]);
  t.deepEqual(sends(net, 0, frame(BROADCAST, station(1)), FCS_ERROR), [0, 0, 0, 0]);
  t.deepEqual(sends(net, 0, new Uint8Array(13)), [0, 0, 0, 0]);
  t.like(net.bridge.counters, { reserved: 16, fcsErrors: 1, runts: 1, flooded: 1 });
});

test('never learns a group address', (t) => {
  const net = lan();
  sends(net, 0, frame(BROADCAST, BROADCAST));
  t.is(net.bridge.stations, 0);
});

test('forgets a station after 300 seconds of silence', (t) => {
  const net = lan();
  sends(net, 0, frame(BROADCAST, station(1)));
  const heard = net.clock.now - 1000;
  net.clock.advanceTo(heard + 300 * SECOND);
  t.deepEqual(sends(net, 1, frame(station(1), station(2))), [1, 0, 0, 0]);
  t.deepEqual(sends(net, 1, frame(station(1), station(2))), [1, 0, 1, 1]);
});

test('knows 1024 stations, and forgets the oldest for a new one', (t) => {
  const net = lan();
  for (let n = 0; n < 1024; n++) {
    sends(net, 0, frame(station(0), station(n)));
  }
  t.is(net.bridge.stations, 1024);
  sends(net, 0, frame(station(1), station(0))); // heard again: now station 1 is the oldest
  sends(net, 0, frame(station(2), station(5000)));
  t.is(net.bridge.stations, 1024);
  t.deepEqual(sends(net, 1, frame(station(0), station(0x100))), [1, 0, 0, 0]);
  t.deepEqual(sends(net, 1, frame(station(1), station(0x100))), [1, 0, 1, 1]);
});

test('forgets who was behind a socket when its cable is pulled', (t) => {
  const net = lan();
  sends(net, 0, frame(BROADCAST, station(1)));
  net.bridge.ports[0]!.unplug();
  t.false(net.hosts[0]!.carrier);
  t.is(net.bridge.stations, 0);
  net.bridge.ports[0]!.plug(net.hosts[0]!);
  t.true(net.hosts[0]!.carrier);
});

test('a socket takes one plug', (t) => {
  const { clock, bridge } = lan({ ports: 2, name: 'sw' });
  t.throws(() => bridge.plug(new HostPort('x')), { message: 'cannot plug in x: all 2 sockets are taken' });
  t.throws(() => bridge.ports[0]!.plug(new HostPort('x')), { message: 'cannot plug in x: sw.0 is taken' });
  t.throws(() => new Link(clock).plug(bridge.ports[1]!), { message: 'sw.1 is taken by host1' });
  t.throws(() => new Switch(clock, { ports: 0 }), { instanceOf: RangeError });
});

test('every frame takes the latency and the rate of its sockets', (t) => {
  const net = lan({ ports: 2, ingress: { rate: 1e9 }, egress: { latency: 1000 } });
  net.hosts[0]!.send(frame(BROADCAST, station(1)));
  t.is(net.bridge.ports[0]!.freeAt(net.hosts[0]!), 672);
  net.clock.advanceTo(1575);
  t.is(net.hosts[1]!.waiting, 0);
  net.clock.advanceTo(1576);
  t.is(net.hosts[1]!.waiting, 1);
});

test('switches are cabled by a link', (t) => {
  const clock = new Clock();
  const [left, right] = [new Switch(clock, { name: 'left' }), new Switch(clock, { name: 'right' })];
  const link = new Link(clock, { latency: 10 });
  link.plug(left.ports[3]!);
  link.plug(right.ports[3]!);
  const [a, b] = [new HostPort('a'), new HostPort('b')];
  left.plug(a);
  right.plug(b);
  a.send(frame(BROADCAST, station(1)));
  clock.run(100);
  t.is(b.waiting, 1);
  link.disconnect();
  a.send(frame(BROADCAST, station(1)));
  clock.run(200);
  t.is(b.waiting, 1);
});

test('a loop of switches storms, but only as far as the clock lets it', (t) => {
  const clock = new Clock();
  const [left, right] = [new Switch(clock), new Switch(clock)];
  for (const port of [2, 3]) {
    const link = new Link(clock);
    link.plug(left.ports[port]!);
    link.plug(right.ports[port]!);
  }
  const a = new HostPort('a');
  left.plug(a);
  a.send(frame(BROADCAST, station(1)));
  t.is(clock.advanceTo(1, 10_000), 10_000);
});

test('saved in the midst and restored elsewhere, it goes on alike', (t) => {
  const options = { latency: 500, rate: 1e9, loss: 0.2, reorder: 0.3, jitter: 2000, seed: 11 };
  const [one, two] = [lan(options), lan(options)];
  const talk = ({ clock, hosts }: typeof one) => {
    for (let i = 0; i < 200; i++) {
      hosts[i % 4]!.send(frame(i % 7 === 0 ? BROADCAST : station((i * 3) % 4), station(i % 4), i));
      clock.advance(300);
    }
  };
  talk(one);
  two.bridge.restore(structuredClone(one.bridge.save()));
  for (const host of one.hosts) while (host.take() !== null);
  for (const net of [one, two]) {
    talk(net);
    net.clock.run(net.clock.now + SECOND);
  }
  const received = ({ hosts }: typeof one) => {
    return hosts.map((host) => Array.from({ length: host.waiting }, () => host.take()!.bytes[14]));
  };
  const arrived = received(one);
  t.true(arrived.flat().length > 100);
  t.deepEqual(received(two), arrived);
  t.deepEqual(two.bridge.counters, one.bridge.counters);
});
