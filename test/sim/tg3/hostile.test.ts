/**
 * What a driver, or a guest, may do wrong on purpose. The rule: the model never throws, does a bounded amount of work, and
 * says what it refused in a counter.
 */
import test from 'ava';
import { FIRST_WORK, FRAME_WORK } from '../../../sim/nic/budget.ts';
import { CHIPS, type ChipName } from '../../../sim/tg3/chips.ts';
import {
  RX_ERROR,
  RX_NO_RESOURCES,
  SRAM_RET_RCB,
  SRAM_SEND_RCB,
  TX_CPU_POST_DMA,
  TX_CPU_PRE_DMA,
  TX_END,
  TX_IP_CSUM,
  TX_TCPUDP_CSUM,
  TX_VLAN,
} from '../../../sim/tg3/descriptors.ts';
import { BCM57XX } from '../../../sim/tg3/registers.ts';
import { Prng } from '../../../sim/wire/prng.ts';
import { sumsRight } from '../../util/frames.ts';
import { ethernet, ip, PARTNER, pattern, STATION } from '../../util/packets.ts';
import { BASE, Bench, R, SEND_RING } from '../../util/tg3-harness.ts';

const NOWHERE = 0x4000_0000;
const OUT = { to: PARTNER, from: STATION };
const TSO = TX_CPU_PRE_DMA | TX_CPU_POST_DMA | (1 << 10); // 40 bytes of header: n = 10
const special = (mss: number) => ((mss | (2 << 14)) << 16) >>> 0;

test('rings that are not mapped: faults are counted, and nothing moves', (t) => {
  const b = new Bench();
  b.rcb(SRAM_SEND_RCB, NOWHERE, SEND_RING);
  b.write(R.MBOX_SEND_PROD, 5);
  t.is(b.card.dma.faults, 1);
  t.is(b.sendConsumer, 0);
  b.rcb(SRAM_RET_RCB, NOWHERE, 512);
  b.inject(ethernet());
  t.is(b.card.dma.faults, 2);
  b.rcb(SRAM_RET_RCB, b.returnRings[0]!, 512);
  b.write(R.RCVDBDI_STD_ADDR_LOW, NOWHERE);
  b.inject(ethernet());
  t.is(b.card.dma.faults, 3);
});

test('a status block that is not mapped: the fault is counted, and nothing interrupts', (t) => {
  const b = new Bench();
  b.write(R.HOSTCC_STATUS_BLK_HOST_LOW, NOWHERE);
  b.inject(ethernet());
  t.is(b.card.dma.faults, 1);
  t.is(b.rises.length, 0);
});

test('buffers that are not mapped: the frame is dropped, or returned with an error', (t) => {
  const b = new Bench();
  b.post(0, NOWHERE, (100 << 16) | TX_END, 0);
  b.send(ethernet(OUT));
  t.is(b.sent().length, 1);
  t.is(b.card.refused.packets, 1);
  b.words[(b.standardRing - BASE) / 4 + 1] = NOWHERE;
  b.inject(ethernet());
  const at = (b.returnRings[0]! - BASE) / 4;
  t.not(b.words[at + 3]! & (1 << 10), 0);
  t.not(b.words[at + 5]! >>> 16, 0);
});

test('memory unmapped under the card: no view of it is left', (t) => {
  const b = new Bench();
  b.send(ethernet(OUT));
  b.inject(ethernet());
  b.space.unmap(BASE);
  const before = b.ram.slice();
  b.ring();
  b.inject(ethernet());
  b.set(R.HOSTCC_MODE, R.HOSTCC_MODE.NOW);
  t.true(b.card.dma.faults > 0);
  t.deepEqual(b.ram, before);
});

test('indices beyond their rings are taken modulo the ring', (t) => {
  const b = new Bench();
  b.data(ethernet(OUT));
  b.write(R.MBOX_SEND_PROD, 0xffff_fe01); // 0x601: 1 of 512
  t.is(b.sendConsumer, 1);
  b.write(R.MBOX_RET_CON, 0x600);
  b.write(R.MBOX_STD_PROD, 0xffff_f010);
  for (let i = 0; i < 20; i++) b.inject(ethernet());
  t.is(b.producer(), 16);
});

test('rings of no entries, of one, and of more than there can be', (t) => {
  for (const entries of [0, 1, 0xffff]) {
    const b = new Bench();
    b.rcb(SRAM_SEND_RCB, b.sendRing, entries);
    b.rcb(SRAM_RET_RCB, b.returnRings[0]!, entries);
    b.write(R.RCVDBDI_STD_LEN_FLAGS, entries << 16);
    b.data(ethernet(OUT));
    b.write(R.MBOX_SEND_PROD, 700); // what follows are BDs of zeros: a packet without an end
    for (let i = 0; i < 100; i++) b.inject(ethernet());
    b.write(R.MBOX_RET_CON, 3);
    const some = entries > 1;
    t.is(b.producer(), some ? 16 : 0, `${entries} entries`);
    t.is(b.sent().length, some ? 1 : 0);
    t.is(b.sendConsumer, some ? 1 : 0);
    t.is(b.card.dma.faults, 0);
    t.is(b.read(R.RCVLPC_NO_RCV_BD_CNT), some ? 84 : 100);
  }
});

test('send BDs of no bytes, and of more than a frame has, make refused packets', (t) => {
  for (const chip of Object.keys(CHIPS) as ChipName[]) {
    const b = new Bench({ chip });
    b.post(0, NOWHERE, TX_END, 0);
    b.post(0, BASE, (0xffff << 16) | TX_END, 0);
    const frame = ethernet({ ...OUT, length: 100 });
    b.data(frame.subarray(0, 50), 0);
    b.post(0, NOWHERE, 0, 0);
    b.data(frame.subarray(50));
    b.ring();
    t.deepEqual(b.sent(), [frame], chip);
    t.is(b.card.refused.packets, 2);
    t.is(b.sendConsumer, 5);
  }
});

test('receive BDs of no bytes, of a few, and of more than there can be: what does not fit is cut off and marked', (t) => {
  for (const size of [0, 3, 61, 0xffff]) {
    const b = new Bench();
    const buffer = b.alloc(4096);
    b.ram.fill(0xee, buffer - BASE, buffer - BASE + 4096);
    b.words.set([0, buffer, size, 4], (b.standardRing - BASE) / 4);
    const frame = ethernet({ length: 60 });
    b.inject(frame);
    const at = (b.returnRings[0]! - BASE) / 4;
    const stored = Math.min(size, 60);
    t.is(b.words[at + 2]! & 0xffff, stored + 4);
    t.is(b.words[at + 5]!, size < 60 ? RX_NO_RESOURCES : 0);
    t.is((b.words[at + 3]! & RX_ERROR) !== 0, size < 60);
    t.deepEqual(b.get(buffer, stored), frame.subarray(0, stored));
    t.true(
      b.get(buffer + Math.min(size, 64), 64).every((byte) => byte === 0xee),
      `${size} bytes`,
    );
  }
});

test('a tag taken out into a BD of a few bytes: they are written, and not one behind them', (t) => {
  for (const offset of [0, 1]) {
    for (let size = 0; size <= 20; size++) {
      const b = new Bench();
      const buffer = b.alloc(64) + offset;
      b.ram.fill(0xee, buffer - BASE - offset, buffer - BASE + 64);
      b.words.set([0, buffer, size, 4], (b.standardRing - BASE) / 4);
      const plain = ethernet({ length: 60 });
      b.inject(ethernet({ vlan: 7, length: 64 }));
      t.deepEqual(b.get(buffer, size), plain.subarray(0, size), `${size} bytes`);
      t.true(
        b.get(buffer + size, 32).every((byte) => byte === 0xee),
        `${size} bytes`,
      );
    }
  }
});

test('a BD of a few bytes at the end of a mapping: nothing behind it', (t) => {
  const b = new Bench();
  const memory = new Uint8Array(128).fill(0xee);
  b.space.map(NOWHERE, memory, { length: 64 });
  b.words.set([0, NOWHERE + 61, 3, 4], (b.standardRing - BASE) / 4);
  b.inject(ethernet({ vlan: 7, length: 64 }));
  t.deepEqual(memory.subarray(61, 64), ethernet().subarray(0, 3));
  t.true(memory.subarray(64).every((byte) => byte === 0xee));
});

test('a ring without an end of a packet: one packet of the most there can be, refused', (t) => {
  const b = new Bench();
  for (let i = 0; i < SEND_RING - 1; i++) b.post(0, BASE, 0xffff << 16, 0);
  b.ring();
  t.is(b.card.refused.packets, 1);
  b.post(0, BASE, (60 << 16) | TX_END, 0);
  b.ring();
  t.is(b.sendConsumer, 0); // the refused packet is done with, the ring's whole length
  t.deepEqual(b.sent(), []);
});

test('segments too short to stand alone have their own bytes, and the padding is not the next one’s', (t) => {
  for (const tag of [0, TX_VLAN]) {
    for (let mss = 1; mss <= 9; mss++) {
      const b = new Bench();
      const data = pattern(40);
      const { bytes, payload } = ip({ ...OUT, segmented: true, data, checksum: 0 });
      b.send(bytes, TSO | tag | TX_END, special(mss));
      const sent = b.sent();
      t.is(sent.length, Math.ceil(40 / mss));
      const from = payload + (tag === 0 ? 0 : 4);
      const got = sent.flatMap((frame, i) => [...frame.subarray(from, from + Math.min(mss, 40 - i * mss))]);
      t.deepEqual(got, data, `MSS ${mss}`);
      for (const frame of sent) t.true(frame.length >= 60 && (tag !== 0 || sumsRight(frame)));
    }
  }
});

// What one moment may hold (sim/nic/budget.ts): all that comes after it waits, whoever asks.
const dearest: [string, number, number, number][] = [
  ['segments of one byte', TSO, special(1), 60_000],
  ['frames of which every byte is summed', TX_IP_CSUM | TX_TCPUDP_CSUM, 0, 9000],
  ['super-frames that are refused when they are there', TSO, special(0x3fff), 0xffff],
];
for (const [what, flags, word3, length] of dearest) {
  test(`a ring of ${what}: a moment does its share, a second doorbell or a reset buys no more, time does`, (t) => {
    const b = new Bench({ onFrame: () => {} });
    const { bytes } = ip({ ...OUT, segmented: true, data: pattern(length - 54), checksum: 0 });
    const address = b.alloc(bytes.length);
    b.put(address, bytes);
    for (let i = 0; i < SEND_RING - 1; i++) b.post(0, address, (bytes.length << 16) | flags | TX_END, word3);
    const frames = () => b.partner.counters.received;
    const ring = () => {
      b.ring();
      return [b.card.work, b.sendConsumer, frames()] as const;
    };
    const [work, consumer, sent] = ring();
    t.true(work >= FIRST_WORK && work < FIRST_WORK + 0x1_0000 + FRAME_WORK, `${work} units`);
    t.true(consumer < SEND_RING - 1);
    t.deepEqual(ring(), [work, consumer, sent], 'again at the same moment');
    b.set(R.RDMAC_MODE, R.RDMAC_MODE.ENABLE);
    t.is(b.card.work, work, 'another register that starts the transmitter');
    b.clock.advance(1000);
    t.deepEqual(ring(), [0, consumer, sent], 'before the rest is over');
    const copy = b.fork(987_654_321);
    for (const bench of [b, copy]) bench.clock.advance(8 * work);
    t.true(frames() > sent || b.sendConsumer > consumer, 'the rest comes by itself');
    t.is(copy.partner.counters.received, frames() - sent, 'in a restored card too');
    t.is(copy.sendConsumer, b.sendConsumer);
    const before = b.card.work;
    b.chipReset();
    t.is(b.card.work, before);
  });
}

test('what a frame does not have is zero: a tag behind addresses that are not all there', (t) => {
  for (const length of [1, 5, 11, 12, 13]) {
    const b = new Bench();
    b.data(new Uint8Array(700).fill(0x5e), 0);
    b.send(new Uint8Array(700).fill(0x5e));
    b.sent();
    const short = new Uint8Array(length).fill(1);
    b.send(short, TX_END | TX_VLAN, 5);
    const expected = new Uint8Array(60);
    expected.set(short.subarray(0, 12));
    expected.set([0x81, 0, 0, 5, ...short.subarray(12)], 12);
    t.deepEqual(b.sent(), [expected]);
  }
});

test('the next client finds nothing of the last one in SRAM or scratchpad', (t) => {
  const b = new Bench();
  for (const at of [0x4000, 0x1_0000, 0x3_0000]) b.sramWrite(at, 0x5ec2e7);
  b.card.reset('bus');
  b.decode();
  for (const at of [0x4000, 0x1_0000, 0x3_0000]) t.is(b.sramRead(at), 0);
});

for (const chip of Object.keys(CHIPS) as ChipName[]) {
  test(`property: ${chip}: random registers, memory and frames: nothing throws, and a reset brings all back`, (t) => {
    const seed = 7;
    const random = new Prng(seed);
    const number = (below: number) => random.next() % below;
    const word = () => number(2) * number(0x1_0000_0000) + number(0x600);
    const offsets = BCM57XX.rows.flatMap(({ offsets }) => [offsets[0]!, offsets.at(-1)!]);
    let b = new Bench({ chip, onFrame: () => {} });
    t.notThrows(() => {
      for (let i = 0; i < 4000; i++) {
        const at = offsets[number(offsets.length)]!;
        switch (number(8)) {
          case 0:
            b.card.readBar(0, number(0x1_0000), ([1, 2, 4] as const)[number(3)]!);
            break;
          case 1:
            b.card.config.write(number(0x200) & ~3, 4, word());
            b.decode();
            break;
          case 2:
            b.sramWrite(number(0x400) & ~3, word());
            break;
          case 3:
            b.inject(ethernet({ length: 20 + number(1600) }));
            break;
          case 4:
            b.words[number(b.words.length)] = word();
            break;
          case 5:
            b.clock.advance(number(1_000_000));
            break;
          case 6:
            b.write(R.MBOX_SEND_PROD, number(0x800));
            break;
          default:
            if (at !== R.GRC_MISC_CFG.at || number(10) === 0) b.card.writeBar(0, at, 4, word());
        }
      }
    }, `seed ${seed}`);
    const { clock } = b;
    b.card.reset('power-on');
    b.clock.advance(1e9);
    b = new Bench({ chip, clock });
    b.send(ethernet(OUT));
    t.is(b.sent().length, 1);
  });
}
