/** A burst is a short cut, and must not be told from its frames sent one by one: nor in memory, nor in any register. */

import test from 'ava';
import { crc32 } from '../../../sim/kernels/index.ts';
import { TX_COAL_NOW, TX_END, TX_IP_CSUM } from '../../../sim/tg3/descriptors.ts';
import { HostPort } from '../../../sim/wire/index.ts';
import { Prng } from '../../../sim/wire/prng.ts';
import { BROADCAST, ethernet, ip, PARTNER, pattern, pause, STATION } from '../../util/packets.ts';
import { BASE, Bench, LINK_UP, R } from '../../util/tg3-harness.ts';

const OUT = { to: PARTNER, from: STATION };
const HIGH = 0x1_0000_0000;

/** Takes bursts: of each as many as it was told to. */
class Taker extends HostPort {
  most = 0;
  bursts = 0;

  receiveBurst(bytes: Uint8Array, starts: Int32Array, lengths: Int32Array, count: number): number {
    const taken = Math.min(count, this.most);
    for (let i = 0; i < taken; i++) this.receive(bytes, starts[i]!, lengths[i]!, 0);
    this.bursts += taken;
    return taken;
  }
}

/** A bench on which no status block is written unless told: how often depends on bursts, and may. */
function quiet(buffers: number): { b: Bench; partner: Taker } {
  const b = new Bench({ buffers, memory: 4 << 20 });
  for (const limit of [
    R.HOSTCC_RXMAX_FRAMES,
    R.HOSTCC_TXMAX_FRAMES,
    R.HOSTCC_RXCOAL_MAXF_INT,
    R.HOSTCC_TXCOAL_MAXF_INT,
  ])
    b.write(limit, 0);
  const partner = new Taker('taker');
  b.wire.unplug(b.partner);
  b.wire.plug(partner);
  b.clock.advance(LINK_UP);
  b.space.map(HIGH + BASE, b.ram);
  for (let i = 0; i < buffers; i++) {
    const at = b.at(b.standardRing + 32 * i + 4) - BASE;
    b.ram.fill(0xee, at, at + 1536); // the zeros of an FCS show
  }
  return { b, partner };
}

function block(b: Bench): void {
  b.write(R.HOSTCC_MODE, R.HOSTCC_MODE.ENABLE | R.HOSTCC_MODE.NOW);
}

/** Frames go to all four return rings. */
function scale(b: Bench): void {
  const { RSS_ENABLE, RSS_IPV4_HASH_EN, RSS_TCP_IPV4_HASH_EN, RSS_IPV6_HASH_EN } = R.MAC_RX_MODE;
  for (let i = 0; i < R.MAC_RSS_HASH_KEY.count; i++) b.write(R.MAC_RSS_HASH_KEY, 0x6d5a56da ^ (i * 0x1234567), i);
  for (let i = 0; i < R.MAC_RSS_INDIR_TBL.count; i++) b.write(R.MAC_RSS_INDIR_TBL, 0x01230123, i);
  b.set(R.MAC_RX_MODE, RSS_ENABLE | RSS_IPV4_HASH_EN | RSS_TCP_IPV4_HASH_EN | RSS_IPV6_HASH_EN);
}

function state(b: Bench) {
  return { card: b.card.save(), refused: b.card.refused, ram: crc32(b.ram, 0, b.ram.length) };
}

for (let seed = 1; seed <= 12; seed++) {
  test(`received, seed ${seed}`, (t) => {
    const random = new Prng(seed);
    const number = (below: number) => random.next() % below;
    const shapes = [
      () => ethernet({ length: 60 + number(1454) }),
      () => ip({ data: pattern(number(1000)) }).bytes,
      () => ip({ version: 6, protocol: 'udp', data: pattern(number(1000)) }).bytes,
      () => ip({ data: pattern(50), checksum: 0x1111 }).bytes,
      () => ethernet({ to: BROADCAST }),
      () => ethernet({ to: PARTNER }), // not ours
      () => ethernet({ to: [1, 0, 0x5e, 0, 0, number(128)] }),
      () => ethernet({ vlan: number(4096), length: 64 + number(1400) }),
      () => ethernet({ length: 40 + number(20) }),
      () => ethernet({ length: 1500 + number(40) }),
      () => pause(number(10)),
    ];
    const usual = number(2) === 0 ? 5 : shapes.length;
    const frames = Array.from({ length: 1 + number(64) }, () => shapes[number(usual)]!());
    const starts = new Int32Array(frames.length);
    const lengths = new Int32Array(frames.length);
    const bytes = new Uint8Array(64 * 1600);
    let at = 0;
    for (const [i, frame] of frames.entries()) {
      bytes.set(frame, at);
      starts[i] = at;
      lengths[i] = frame.length;
      at += frame.length + number(3);
    }
    const buffers = number(3) === 0 ? number(40) : 200;
    const off = number(6);
    const odd = number(2);
    const results = [true, false].map((together) => {
      const { b } = quiet(buffers);
      if (off === 0) b.clear(R.RDMAC_MODE, R.RDMAC_MODE.ENABLE);
      if (off === 1) b.clear(R.MAC_RX_MODE, R.MAC_RX_MODE.ENABLE);
      if (off === 2) b.set(R.MAC_RX_MODE, R.MAC_RX_MODE.PROMISC);
      if (off === 3) b.clear(R.MAC_RX_MODE, R.MAC_RX_MODE.IPV6_CSUM_ENABLE);
      if (off === 4) b.write(R.MBOX_RET_CON, 20);
      if (off === 5) scale(b);
      b.write(R.MAC_HASH_REG, 0x55555555);
      // Some of the buffers: above 4 GiB, nowhere, too small.
      const ring = (b.standardRing - BASE) / 4;
      if (odd) for (let i = 7; i < 30; i += 7) b.words[ring + 8 * i] = 1;
      if (odd) b.words[ring + 8 * 13] = 5;
      if (odd) b.words[ring + 8 * 19 + 2] = (19 << 16) | 100;
      const { port } = b.card;
      let done = together ? port.receiveBurst!(bytes, starts, lengths, frames.length) : 0;
      const taken = done;
      for (; done < frames.length; done++) port.receive(bytes, starts[done]!, lengths[done]!, 0);
      block(b);
      return { taken, state: state(b) };
    });
    t.deepEqual(results[0]!.state, results[1]!.state);
  });

  test(`sent, seed ${seed}`, (t) => {
    const random = new Prng(seed);
    const number = (below: number) => random.next() % below;
    const most = number(20);
    const steps = Array.from({ length: 150 }, () => [number(40), 60 + number(1455), number(30)] as const);
    let bursts = 0;
    const results = [true, false].map((together) => {
      const { b, partner } = quiet(4);
      partner.most = together ? most : 0;
      const sent: string[] = [];
      for (const [what, length, ring] of steps) {
        const frame = ethernet({ ...OUT, length });
        if (what === 0) b.data(frame, TX_END | TX_IP_CSUM);
        else if (what === 1) b.data(frame, 0);
        else if (what === 2) b.post(0, 0x4000_0000, (length << 16) | TX_END, 0);
        else if (what === 3) b.data(frame.subarray(0, 40));
        else if (what === 4) b.post(1, b.alloc(length), (length << 16) | TX_END, 0);
        else if (what === 5) b.data(frame, TX_END | TX_COAL_NOW);
        else if (what === 6) b.data(ethernet({ ...OUT, to: BROADCAST, length }));
        else if (what === 7) b.data(new Uint8Array(1530));
        else b.data(frame);
        if (ring === 0) b.ring();
      }
      b.ring();
      b.clock.advance(1000);
      for (let frame = partner.take(); frame !== null; frame = partner.take())
        sent.push(Buffer.from(frame.bytes).toString('hex'));
      bursts += partner.bursts;
      // How many status blocks COAL_NOW made is not compared: a burst has one.
      const { refused, next } = { refused: b.card.refused, next: b.read(R.HOSTCC_SND_CON_IDX) };
      const counters = [R.MAC_TX_STATS_OCTETS, R.MAC_TX_STATS_UCAST, R.MAC_TX_STATS_BCAST].map((at) => b.read(at));
      block(b);
      return { sent, refused, next, counters, consumer: b.sendConsumer };
    });
    t.deepEqual(results[0], results[1]);
    t.is(bursts > 0, most > 0);
  });
}

test('a burst reaches several return rings', (t) => {
  const { b } = quiet(100);
  scale(b);
  const frames = Array.from({ length: 32 }, (_, i) => ip({ data: pattern(10 + i) }).bytes);
  for (const [i, frame] of frames.entries()) frame[29] = i; // of the source address
  const starts = Int32Array.from(frames, (_, i) => 128 * i);
  const bytes = new Uint8Array(128 * 32);
  for (const [i, frame] of frames.entries()) bytes.set(frame, starts[i]!);
  t.is(
    b.card.port.receiveBurst!(
      bytes,
      starts,
      Int32Array.from(frames, ({ length }) => length),
      32,
    ),
    32,
  );
  block(b);
  const counts = [0, 1, 2, 3].map((ring) => b.received(ring));
  t.is(
    counts.reduce((sum, { length }) => sum + length, 0),
    32,
  );
  for (const [ring, received] of counts.entries()) t.true(received.length > 0, `ring ${ring}`);
  t.true(counts.flat().every(({ hash }) => hash !== 0));
});

test('a burst is one event for coalescing, of as many frames as it has', (t) => {
  const { b, partner } = quiet(100);
  partner.most = 64;
  b.write(R.HOSTCC_RXMAX_FRAMES, 10);
  b.write(R.HOSTCC_TXMAX_FRAMES, 10);
  const { tag } = b;
  const frame = ethernet();
  const all = (value: number) => new Int32Array(64).fill(value);
  t.is(b.card.port.receiveBurst!(frame, all(0), all(60), 9), 9);
  t.is(b.tag, tag);
  t.is(b.card.port.receiveBurst!(frame, all(0), all(60), 64), 64);
  t.is(b.tag, tag + 1);
  t.is(b.producer(), 73);
  for (let i = 0; i < 30; i++) b.data(ethernet(OUT), i === 20 ? TX_END | TX_COAL_NOW : TX_END);
  b.ring();
  t.is(partner.bursts, 30);
  t.is(b.tag, tag + 2);
  t.is(b.sendConsumer, 30);
});
