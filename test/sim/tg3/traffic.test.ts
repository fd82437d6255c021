/** Frames out and in: rings, offloads, filters, flow control, loopbacks. */
import test from 'ava';
import {
  RX_IP_CSUM,
  RX_JUMBO,
  RX_NO_RESOURCES,
  RX_TCPUDP_CSUM,
  RX_VLAN,
  SRAM_RET_RCB,
  SRAM_SEND_RCB,
  TX_CPU_POST_DMA,
  TX_CPU_PRE_DMA,
  TX_END,
  TX_IP_CSUM,
  TX_NO_CRC,
  TX_TCPUDP_CSUM,
  TX_VLAN,
} from '../../../sim/tg3/descriptors.ts';
import { FCS_ERROR } from '../../../sim/wire/index.ts';
import { sumsRight } from '../../util/frames.ts';
import { BROADCAST, ethernet, fcs, ip, PARTNER, pattern, pause, STATION } from '../../util/packets.ts';
import { BASE, Bench, R, SEND_RING } from '../../util/tg3-harness.ts';

const TSO = TX_CPU_PRE_DMA | TX_CPU_POST_DMA;
const OUT = { to: PARTNER, from: STATION };

/** The MSS word and flags by which a 57765 is told of a header of IP and TCP. */
function tso3(header: number, mss: number): { flags: number; special: number } {
  const n = header / 4;
  return { flags: TSO | (n & 4 ? 0x10 : 0) | ((n >> 3) << 10), special: ((mss | ((n & 3) << 14)) << 16) >>> 0 };
}

test('a frame goes out as it is, and the consumer index follows', (t) => {
  const b = new Bench();
  const frame = ethernet({ ...OUT, length: 200 });
  b.send(frame);
  t.deepEqual(b.sent(), [frame]);
  t.is(b.sendConsumer, 1);
  t.is(b.rises.length, 1);
});

test('a short frame is filled up with zeros; fragments make one frame, reported at its end', (t) => {
  const b = new Bench();
  b.send(ethernet({ ...OUT, length: 30 }));
  const [short] = b.sent();
  t.is(short!.length, 60);
  t.true(short!.subarray(30).every((byte) => byte === 0));
  const frame = ethernet({ ...OUT, length: 500 });
  b.data(frame.subarray(0, 20), 0);
  b.data(frame.subarray(20, 21), 0);
  b.ring();
  t.is(b.sendConsumer, 1);
  t.deepEqual(b.sent(), []);
  b.send(frame.subarray(21));
  t.deepEqual(b.sent(), [frame]);
  t.is(b.sendConsumer, 4);
});

test('around the ring many times, in bursts of every size', (t) => {
  const b = new Bench({ memory: 8 << 20 });
  const frame = ethernet({ ...OUT, length: 64 });
  let sent = 0;
  for (let n = 1; sent < 3 * SEND_RING; n = (n % 70) + 1, sent += n) {
    for (let i = 0; i < n; i++) b.data(frame);
    b.ring();
    t.is(b.sent().length, n);
  }
  t.is(b.card.dma.faults, 0);
});

for (const version of [4, 6] as const) {
  for (const protocol of ['tcp', 'udp'] as const) {
    test(`checksum insertion: ${protocol} over IPv${version}, from the pseudo header's sum and without`, (t) => {
      const b = new Bench();
      const { bytes } = ip({ ...OUT, version, protocol, checksum: 'pseudo', ipChecksum: 0x1234, data: pattern(333) });
      b.send(bytes, TX_END | TX_IP_CSUM | TX_TCPUDP_CSUM);
      b.clear(R.GRC_MODE, R.GRC_MODE.NO_TX_PHDR_CSUM);
      b.send(bytes, TX_END | TX_IP_CSUM | TX_TCPUDP_CSUM);
      const right = ip({ ...OUT, version, protocol, data: pattern(333) }).bytes;
      t.deepEqual(b.sent(), [right, right]);
    });
  }
}

for (const version of [4, 6] as const) {
  test(`segmentation as a 57765 is asked for it, IPv${version}: lengths, sequence numbers, flags, checksums`, (t) => {
    const b = new Bench();
    const data = pattern(3333);
    const { bytes, l3, l4, payload } = ip({ ...OUT, version, segmented: true, flags: 0x19, data, checksum: 0 });
    const { flags, special } = tso3(payload - l3, 1000);
    b.data(bytes.subarray(0, 300), flags, special);
    b.data(bytes.subarray(300), flags | TX_END, special);
    b.ring();
    const sent = b.sent();
    t.deepEqual(
      sent.map(({ length }) => length - payload),
      [1000, 1000, 1000, 333],
    );
    t.deepEqual(
      sent.flatMap((frame) => [...frame.subarray(payload)]),
      data,
    );
    for (const [i, frame] of sent.entries()) {
      t.true(sumsRight(frame), `segment ${i}`);
      t.is(frame[l4 + 13], i === 3 ? 0x19 : 0x10);
      t.is(new DataView(frame.buffer, frame.byteOffset).getUint32(l4 + 4), 0x01020304 + 1000 * i);
    }
    t.is(b.sendConsumer, 2);
  });
}

test('segmentation as a 5750 is asked for it: options in the MSS word, IPv4 only; tagged segments', (t) => {
  const b = new Bench({ chip: 'tg3-5751' });
  const data = pattern(2500);
  const { bytes, payload } = ip({ ...OUT, segmented: true, tcpOptions: [1, 1, 1, 1], data, checksum: 0 });
  // packets.ts counts TCP options in fours: a header of 36 bytes that says so.
  bytes[14 + 20 + 12] = 6 << 4;
  b.send(bytes, TSO | TX_VLAN | TX_END, (((1000 | (1 << 11)) << 16) | 5) >>> 0);
  const sent = b.sent();
  t.is(sent.length, 3);
  for (const frame of sent) t.deepEqual([...frame.subarray(12, 16)], [0x81, 0, 0, 5]);
  t.deepEqual(
    sent.flatMap((frame) => [...frame.subarray(payload + 4)]),
    data,
  );
});

test('segmentation that makes no sense is refused, and what follows goes out', (t) => {
  const b = new Bench();
  const frame = ethernet({ ...OUT, length: 100 });
  const { bytes, payload } = ip({ ...OUT, segmented: true });
  const asks: [Uint8Array, number, number][] = [
    [frame, TSO, 1000 << 16], // no TCP
    [bytes, TSO, 1000 << 16], // no header
    [bytes, tso3(payload - 14, 0x3ffc).flags, 0x3ffc << 16],
    [bytes, TSO | (31 << 10), 1000 << 16], // longer than the packet
  ];
  for (const [packet, flags, special] of asks) b.data(packet, flags | TX_END, special);
  b.data(frame);
  b.ring();
  t.deepEqual(b.sent(), [frame]);
  t.is(b.card.refused.packets, asks.length);
  t.is(b.sendConsumer, asks.length + 1);
});

test('a tag is put in, and taken out again; kept where the driver says so', (t) => {
  const b = new Bench();
  const frame = ethernet({ ...OUT, length: 100 });
  b.send(frame, TX_END | TX_VLAN, 0x6005);
  t.deepEqual(b.sent(), [Uint8Array.of(...frame.subarray(0, 12), 0x81, 0x00, 0x60, 0x05, ...frame.subarray(12))]);
  const tagged = ethernet({ vlan: 0x6007, length: 104 });
  b.inject(tagged);
  b.set(R.MAC_RX_MODE, R.MAC_RX_MODE.KEEP_VLAN_TAG);
  b.inject(tagged);
  const [stripped, kept] = b.received();
  t.deepEqual(stripped!.bytes, ethernet({ length: 100 }));
  t.is(stripped!.flags & RX_VLAN, RX_VLAN);
  t.is(stripped!.error, 0x6007);
  t.deepEqual(kept!.bytes, tagged);
  t.is(kept!.flags & RX_VLAN, 0);
});

test('a frame with an FCS of its own: the wrong one is no good frame', (t) => {
  const b = new Bench();
  const frame = ethernet({ ...OUT, length: 100 });
  b.send([...frame, ...fcs(frame)], TX_END | TX_NO_CRC);
  b.send([...frame, 1, 2, 3, 4], TX_END | TX_NO_CRC);
  const flags = [];
  for (let sent = b.partner.take(); sent !== null; sent = b.partner.take()) flags.push(sent.flags & FCS_ERROR);
  t.deepEqual(flags, [0, FCS_ERROR]);
});

test('a received frame: length with FCS, index and opaque as they were, checksums found right or wrong', (t) => {
  const b = new Bench();
  const good = ip({ data: pattern(77) }).bytes;
  b.inject(good);
  b.inject(ip({ checksum: 0x1111 }).bytes);
  b.inject(ip({ ipChecksum: 0x1111 }).bytes);
  b.inject(ip({ version: 6, protocol: 'udp' }).bytes);
  b.inject(ethernet());
  const [first, wrong, wrongIp, six, other] = b.received();
  t.deepEqual(first!.bytes, good);
  t.is(first!.opaque, 0x10000);
  t.is(first!.flags & (RX_IP_CSUM | RX_TCPUDP_CSUM), RX_IP_CSUM | RX_TCPUDP_CSUM);
  t.is(first!.checksums, 0xffffffff);
  t.is(wrong!.checksums, 0xffff0000);
  t.is(wrongIp!.checksums, 0x0000ffff);
  t.is(six!.flags & (RX_IP_CSUM | RX_TCPUDP_CSUM), RX_TCPUDP_CSUM);
  t.is(other!.flags & (RX_IP_CSUM | RX_TCPUDP_CSUM), 0);
  t.is(other!.opaque, 0x10004);
});

test('frames wait for buffers, and for places in the return ring; what does not fit is counted', (t) => {
  const b = new Bench({ buffers: 2 });
  for (let seed = 1; seed <= 5; seed++) b.inject(ethernet({ seed }));
  t.is(b.received().length, 2);
  t.is(b.read(R.RCVLPC_NO_RCV_BD_CNT), 3);
  b.give(3);
  t.deepEqual(
    b.received().map(({ bytes }) => bytes),
    [3, 4, 5].map((seed) => ethernet({ seed })),
  );
  for (let i = 0; i < 2000; i++) b.inject(ethernet({ length: 1000 }));
  t.true(b.read(R.RCVLPC_IN_DISCARDS_CNT) > 1900);
});

test('frames wait while a block on their way is off, and come when it is on again', (t) => {
  for (const block of [R.RCVLPC_MODE, R.RCVDBDI_MODE, R.RCVDCC_MODE, R.RCVBDI_MODE, R.RCVCC_MODE, R.RDMAC_MODE]) {
    const b = new Bench();
    b.clear(block, 2);
    b.inject(ethernet({ seed: 1 }));
    b.inject(ethernet({ seed: 2 }));
    t.deepEqual(b.received(), [], block.name);
    b.set(block, 2);
    t.deepEqual(
      b.received().map(({ bytes }) => bytes),
      [ethernet({ seed: 1 }), ethernet({ seed: 2 })],
    );
  }
});

test('frames to be sent wait likewise', (t) => {
  const blocks = [R.SNDBDS_MODE, R.SNDBDI_MODE, R.SNDDATAI_MODE, R.SNDDATAC_MODE, R.SNDBDC_MODE, R.RDMAC_MODE];
  for (const block of [...blocks, R.MAC_TX_MODE]) {
    const b = new Bench();
    b.clear(block, 2);
    b.send(ethernet(OUT));
    t.deepEqual(b.sent(), [], block.name);
    t.is(b.sendConsumer, 0);
    b.set(block, 2);
    t.deepEqual(b.sent(), [ethernet(OUT)]);
    t.is(b.sendConsumer, 1);
  }
});

test('jumbo frames: their own ring of extended BDs, and none on a 5750', (t) => {
  const b = new Bench({ jumbo: true });
  const long = ethernet({ length: 9000 });
  b.inject(long);
  b.inject(ethernet({ length: 1514 }));
  b.inject(ethernet({ length: 9100 })); // longer than the limit
  const [jumbo, standard] = b.received();
  t.deepEqual(jumbo!.bytes, long);
  t.is(jumbo!.flags & RX_JUMBO, RX_JUMBO);
  t.is(jumbo!.opaque, 0x20000);
  t.is(standard!.opaque, 0x10000);
  t.is(b.read(R.MAC_RX_STATS_FRAME_TOO_LONG), 1);
  const other = new Bench({ chip: 'tg3-5721', jumbo: true });
  other.inject(long);
  t.is(other.received()[0]!.error & RX_NO_RESOURCES, RX_NO_RESOURCES);
});

test('filters: station addresses, broadcast, the multicast hash, everything', (t) => {
  const b = new Bench({ buffers: 64 });
  const other = [2, 0, 0, 9, 9, 9];
  const group = [0x01, 0x00, 0x5e, 1, 2, 3];
  const heard = () => {
    for (const to of [STATION, BROADCAST, other, group]) b.inject(ethernet({ to }));
    return b.received().map(({ bytes }) => [...bytes.subarray(0, 6)]);
  };
  t.deepEqual(heard(), [STATION, BROADCAST]);
  b.write(R.MAC_ADDR_HIGH, 0x0200, 3);
  b.write(R.MAC_ADDR_LOW, 0x00090909, 3);
  t.deepEqual(heard(), [STATION, BROADCAST, other]);
  // The low seven bits of the CRC before its inversion.
  const crc = fcs(group);
  const index = ~crc[0]! & 0x7f;
  b.write(R.MAC_HASH_REG, 1 << (index & 31), index >> 5);
  t.deepEqual(heard(), [STATION, BROADCAST, other, group]);
  b.write(R.MAC_HASH_REG, 0, index >> 5);
  b.set(R.MAC_RX_MODE, R.MAC_RX_MODE.PROMISC);
  t.deepEqual(heard(), [STATION, BROADCAST, other, group]);
});

test('filters: the whole address counts', (t) => {
  const b = new Bench();
  b.write(R.MAC_ADDR_LOW, 0x00825402); // an even one
  for (let bit = 0; bit < 48; bit++) {
    const to = [...STATION.slice(0, 5), 2];
    to[bit >> 3]! ^= 1 << (bit & 7);
    if (to[5] !== 1) b.inject(ethernet({ to })); // that one is still in the other places
  }
  b.inject(ethernet({ to: [0xff, 0xff, 0, 0, 0, 0] }));
  t.deepEqual(b.received(), []);
  b.inject(ethernet({ to: [...STATION.slice(0, 5), 2] }));
  t.is(b.received().length, 1);
});

test('rings, buffers and status block above 4 GiB', (t) => {
  const b = new Bench({ buffers: 4 });
  b.space.unmap(BASE);
  b.space.map(0x1_0000_0000 + BASE, b.ram);
  for (const at of [SRAM_SEND_RCB, SRAM_RET_RCB]) b.sramWrite(at, 1);
  b.write(R.RCVDBDI_STD_ADDR_HIGH, 1);
  b.write(R.HOSTCC_STATUS_BLK_HOST_HIGH, 1);
  for (let i = 0; i < 4; i++) b.words[(b.standardRing - BASE) / 4 + 8 * i] = 1;
  const frame = ethernet(OUT);
  const at = b.alloc(60);
  b.put(at, frame);
  for (const flags of [TX_END, TX_END, TX_END | TX_IP_CSUM]) b.post(1, at, (60 << 16) | flags, 0);
  b.ring();
  t.deepEqual(b.sent(), [frame, frame, frame]);
  t.is(b.sendConsumer, 3);
  b.inject(ethernet());
  b.inject(ethernet({ vlan: 7 }));
  t.is(b.received().length, 2);
  t.is(b.card.dma.faults, 0);
});

test('the longest frame: what the limit says, but never less than a standard one', (t) => {
  for (const [limit, longest] of [
    [100, 1514],
    [1518, 1514],
    [1530, 1526],
  ] as const) {
    const b = new Bench();
    b.write(R.MAC_RX_MTU_SIZE, limit);
    b.inject(ethernet({ length: longest }));
    b.inject(ethernet({ length: longest + 1 }));
    b.inject(ethernet({ length: longest + 4, vlan: 3 }));
    t.deepEqual(
      b.received().map(({ length }) => length),
      [longest + 4, longest + 4],
      `${limit}`,
    );
    t.is(b.read(R.MAC_RX_STATS_FRAME_TOO_LONG), 1);
  }
});

test('what is damaged, too short or too long is counted and kept from the host', (t) => {
  const b = new Bench();
  b.inject(ethernet({ length: 200 }), FCS_ERROR);
  b.inject(ethernet({ length: 40 }));
  b.inject(ethernet({ length: 40 }), FCS_ERROR);
  b.inject(ethernet({ length: 1600 }));
  t.deepEqual(b.received(), []);
  const counters = [R.MAC_RX_STATS_FCS_ERRORS, R.MAC_RX_STATS_UNDERSIZE, R.MAC_RX_STATS_FRAGMENTS];
  for (const counter of [...counters, R.MAC_RX_STATS_FRAME_TOO_LONG]) {
    t.is(b.read(counter), 1, counter.name);
    t.is(b.read(counter), 0, counter.name);
  }
});

test('statistics count what passed, with FCS; MAC_MODE turns them off and clears them', (t) => {
  const b = new Bench();
  b.send(ethernet({ ...OUT, length: 100 }));
  b.send(ethernet({ ...OUT, to: BROADCAST, length: 100 }));
  b.inject(ethernet({ length: 200 }));
  t.is(b.read(R.MAC_TX_STATS_OCTETS), 208);
  t.is(b.read(R.MAC_TX_STATS_UCAST), 1);
  t.is(b.read(R.MAC_TX_STATS_BCAST), 1);
  t.is(b.read(R.MAC_RX_STATS_OCTETS), 204);
  b.inject(ethernet());
  b.set(R.MAC_MODE, R.MAC_MODE.RXSTAT_CLEAR);
  t.is(b.read(R.MAC_RX_STATS_UCAST), 0);
  t.is(b.read(R.MAC_MODE) & R.MAC_MODE.RXSTAT_CLEAR, 0);
  b.clear(R.MAC_MODE, R.MAC_MODE.RXSTAT_ENABLE);
  b.inject(ethernet());
  t.is(b.read(R.MAC_RX_STATS_UCAST), 0);
});

test('statistics: every kind of address both ways; each half off by its own bit; a counter sticks at its end', (t) => {
  const b = new Bench();
  const group = [0x01, 0x00, 0x5e, 0, 0, 1];
  b.set(R.MAC_RX_MODE, R.MAC_RX_MODE.PROMISC);
  const pass = () => {
    for (const to of [STATION, group, group, BROADCAST, BROADCAST, BROADCAST]) {
      b.inject(ethernet({ to }));
      b.send(ethernet({ to }));
    }
  };
  const { MAC_RX_STATS_UCAST, MAC_RX_STATS_MCAST, MAC_RX_STATS_BCAST, MAC_RX_STATS_OCTETS } = R;
  const { MAC_TX_STATS_UCAST, MAC_TX_STATS_MCAST, MAC_TX_STATS_BCAST, MAC_TX_STATS_OCTETS } = R;
  const received = [MAC_RX_STATS_UCAST, MAC_RX_STATS_MCAST, MAC_RX_STATS_BCAST, MAC_RX_STATS_OCTETS];
  const sent = [MAC_TX_STATS_UCAST, MAC_TX_STATS_MCAST, MAC_TX_STATS_BCAST, MAC_TX_STATS_OCTETS];
  const counts = () => [received, sent].map((registers) => registers.map((register) => b.read(register)));
  const all = [1, 2, 3, 6 * 64];
  pass();
  t.deepEqual(counts(), [all, all]);
  b.clear(R.MAC_MODE, R.MAC_MODE.TXSTAT_ENABLE);
  pass();
  t.deepEqual(counts(), [all, [0, 0, 0, 0]]);
  b.clear(R.MAC_MODE, R.MAC_MODE.RXSTAT_ENABLE);
  b.set(R.MAC_MODE, R.MAC_MODE.TXSTAT_ENABLE);
  pass();
  t.deepEqual(counts(), [[0, 0, 0, 0], all]);
  b.card.registers.words[R.MAC_TX_STATS_OCTETS.word] = 0xffffffff - 64;
  b.send(ethernet(OUT));
  t.is(b.card.registers.words[R.MAC_TX_STATS_OCTETS.word], 0xffffffff);
  b.send(ethernet(OUT));
  t.is(b.read(R.MAC_TX_STATS_OCTETS), 0xffffffff);
  b.send(ethernet(OUT));
  b.set(R.MAC_MODE, R.MAC_MODE.TXSTAT_CLEAR);
  t.deepEqual(counts()[1], [0, 0, 0, 0]);
});

test('PAUSE holds the transmitter, and is kept from the host; a filling memory sends it', (t) => {
  const b = new Bench({ buffers: 1 });
  b.set(R.MAC_RX_MODE, R.MAC_RX_MODE.FLOW_CTRL_ENABLE);
  b.inject(pause(100));
  const frame = ethernet({ ...OUT, length: 100 });
  b.send(frame);
  t.deepEqual(b.sent(), []);
  b.clock.advance(100 * 512);
  t.deepEqual(b.sent(), [frame]);
  t.is(b.read(R.MAC_RX_STATS_XOFF_PAUSE_RECVD), 1);
  t.is(b.received().length, 0);
  b.set(R.MAC_TX_MODE, R.MAC_TX_MODE.FLOW_CTRL_ENABLE);
  for (let i = 0; i < 40; i++) b.inject(ethernet({ length: 1000 }));
  b.clock.advance(0x1fff * 512 - 1);
  b.inject(ethernet());
  t.is(b.read(R.MAC_TX_STATS_XOFF_SENT), 1);
  b.clock.advance(1);
  b.inject(ethernet());
  t.is(b.read(R.MAC_TX_STATS_XOFF_SENT), 1, 'once more, since the last look');
  b.give(60);
  t.is(b.read(R.MAC_TX_STATS_XON_SENT), 1);
  t.deepEqual(
    b.sent().map((sent) => (sent[16]! << 8) | sent[17]!),
    [0x1fff, 0x1fff, 0],
  );
});

test('loopbacks, of the MAC and of the PHY: what is sent is received, and the wire sees nothing', (t) => {
  for (const enter of [(b: Bench) => b.set(R.MAC_MODE, R.MAC_MODE.PORT_INT_LPBACK), (b: Bench) => b.mdio(0, 0x4140)]) {
    const b = new Bench();
    enter(b);
    t.not(b.read(R.MAC_TX_STATUS) & R.MAC_TX_STATUS.LINK_UP, 0);
    const frame = ethernet({ length: 1514 });
    b.send(frame);
    t.deepEqual(
      b.received().map(({ bytes }) => bytes),
      [frame],
    );
    t.deepEqual(b.sent(), []);
  }
});

test('a MAC that is set to another speed than the PHY has sends and hears nothing', (t) => {
  const b = new Bench();
  b.write(R.MAC_MODE, (b.read(R.MAC_MODE) & ~R.MAC_MODE.PORT_MODE) | (1 << 2));
  b.send(ethernet(OUT));
  b.inject(ethernet());
  t.deepEqual(b.sent(), []);
  t.deepEqual(b.received(), []);
});
