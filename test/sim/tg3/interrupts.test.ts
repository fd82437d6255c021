/** Host coalescing, interrupt mailboxes, INTx, MSI, MSI-X and receive side scaling. */
import test from 'ava';
import { MICROSECOND } from '../../../sim/clock.ts';
import { RX_RSS_VALID } from '../../../sim/tg3/descriptors.ts';
import { ethernet, ip, PARTNER, STATION } from '../../util/packets.ts';
import { BASE, Bench, R } from '../../util/tg3-harness.ts';

const OUT = { to: PARTNER, from: STATION };
const MSI = 0x58;
const MSIX = 0xa0;

function msi(b: Bench): void {
  b.card.config.write(MSI + 4, 4, 0xfee0_0000);
  b.card.config.write(MSI + 12, 2, 0x41);
  b.card.config.write(MSI + 2, 2, 1);
}

function msix(b: Bench, vectors = 5): void {
  for (let vector = 0; vector < vectors; vector++) {
    const at = 16 * vector;
    b.card.writeBar(2, at, 4, 0xfee0_0000);
    b.card.writeBar(2, at + 8, 4, 0x50 + vector);
    b.card.writeBar(2, at + 12, 4, 0);
  }
  b.card.config.write(MSIX + 2, 2, 0x8000);
}

test('frames are told of when enough have come, or when the first has waited long enough', (t) => {
  const b = new Bench();
  b.write(R.HOSTCC_RXMAX_FRAMES, 3);
  b.write(R.HOSTCC_RXCOL_TICKS, 20);
  const { tag } = b;
  b.inject(ethernet());
  b.inject(ethernet());
  t.is(b.tag, tag);
  b.inject(ethernet());
  t.is(b.tag, tag + 1);
  t.is(b.producer(), 3);
  b.inject(ethernet());
  b.clock.advance(19 * MICROSECOND);
  t.is(b.producer(), 3);
  b.clock.advance(MICROSECOND);
  t.is(b.producer(), 4);
});

test('in the ISR blocks are written by other limits, and nothing interrupts; the tag says what was missed', (t) => {
  const b = new Bench();
  b.write(R.HOSTCC_RXCOAL_MAXF_INT, 2);
  b.write(R.MBOX_INTERRUPT, 1);
  const { tag } = b;
  b.inject(ethernet());
  t.is(b.tag, tag);
  b.inject(ethernet());
  t.is(b.tag, tag + 1);
  t.false(b.line);
  b.write(R.MBOX_INTERRUPT, tag << 24); // acknowledged less than there is
  t.true(b.line);
  t.is(b.read(R.PCISTATE) & R.PCISTATE.INT_NOT_ACTIVE, 0);
  b.write(R.MBOX_INTERRUPT, b.tag << 24);
  t.false(b.line);
  t.not(b.read(R.PCISTATE) & R.PCISTATE.INT_NOT_ACTIVE, 0);
});

test('one frame left in the ISR is told of when it ends', (t) => {
  const b = new Bench();
  b.write(R.HOSTCC_RXCOAL_MAXF_INT, 5);
  b.write(R.MBOX_INTERRUPT, 1);
  b.inject(ethernet());
  t.is(b.producer(), 0);
  b.write(R.MBOX_INTERRUPT, b.tag << 24);
  t.is(b.producer(), 1);
  t.true(b.line);
});

test('NOW: a block at once, with an interrupt and without; nothing while a block on the way is off', (t) => {
  const b = new Bench();
  const { tag } = b;
  b.set(R.HOSTCC_MODE, R.HOSTCC_MODE.NOW);
  t.is(b.tag, tag + 1);
  t.is(b.rises.length, 1);
  t.is(b.read(R.HOSTCC_MODE) & R.HOSTCC_MODE.NOW, 0);
  b.write(R.MBOX_INTERRUPT, b.tag << 24);
  b.set(R.HOSTCC_MODE, R.HOSTCC_MODE.NOW | R.HOSTCC_MODE.NOINT_ON_NOW);
  t.is(b.tag, tag + 2);
  t.is(b.rises.length, 1);
  b.clear(R.WDMAC_MODE, R.WDMAC_MODE.ENABLE);
  b.set(R.HOSTCC_MODE, R.HOSTCC_MODE.NOW);
  t.is(b.tag, tag + 2);
});

test('a block shows every ring where drivers look for it, and writes no more than its 32 bytes', (t) => {
  const b = new Bench({ jumbo: true });
  const last = BASE + b.ram.length - 32; // nothing is mapped behind
  b.write(R.HOSTCC_STATUS_BLK_HOST_LOW, last);
  for (let i = 0; i < 3; i++) b.inject(ethernet());
  b.inject(ethernet({ length: 9000 }));
  b.send(ethernet(OUT));
  t.is(b.card.dma.faults, 0);
  const words = [...b.words.subarray((last - BASE) / 4)];
  t.deepEqual([words[2], words[3], words[4], words[5]], [3 << 16, 0, (1 << 16) | 4, 1]);
  const registers = [R.SNDBDS_SEL_CON_IDX, R.HOSTCC_SND_CON_IDX, R.RCVDBDI_STD_CON_IDX, R.HOSTCC_STD_CON_IDX];
  t.deepEqual(
    registers.map((register) => b.read(register)),
    [1, 1, 3, 3],
  );
  t.is(b.read(R.HOSTCC_JUMBO_CON_IDX), 1);
  t.is(b.read(R.RCVDBDI_JUMBO_CON_IDX), 1);
  t.is(b.read(R.HOSTCC_RET_PROD_IDX), 4);
  t.is(b.read(R.SNDBDS_SEL_CON_IDX, 1), 0);
  t.is(b.read(R.SNDBDI_IN_PROD_IDX), 1);
  t.is(b.read(R.SNDBDI_IN_PROD_IDX, 1), 0);
});

test('sent frames wait by their own limits; those of received ones have no say', (t) => {
  const b = new Bench();
  b.write(R.HOSTCC_TXMAX_FRAMES, 3);
  b.write(R.HOSTCC_RXCOL_TICKS, 5);
  const { tag } = b;
  b.send(ethernet(OUT));
  b.clock.advance(1000 * MICROSECOND);
  t.is(b.tag, tag);
  b.send(ethernet(OUT));
  b.send(ethernet(OUT));
  t.is(b.tag, tag + 1);
  b.write(R.HOSTCC_TXCOL_TICKS, 20);
  b.send(ethernet(OUT));
  b.clock.advance(19 * MICROSECOND);
  t.is(b.tag, tag + 1);
  b.clock.advance(MICROSECOND);
  t.is(b.tag, tag + 2);
});

test('events that came while coalescing was off are told of once it is on; a reset forgets them', (t) => {
  const b = new Bench();
  b.clear(R.HOSTCC_MODE, R.HOSTCC_MODE.ENABLE);
  const { tag } = b;
  b.send(ethernet(OUT));
  b.inject(ethernet());
  t.is(b.tag, tag);
  b.set(R.HOSTCC_MODE, R.HOSTCC_MODE.ENABLE);
  t.is(b.tag, tag + 1);
  t.is(b.sendConsumer, 1);
  b.clear(R.HOSTCC_MODE, R.HOSTCC_MODE.ENABLE);
  b.send(ethernet(OUT));
  b.chipReset();
  t.is(b.read(R.HOSTCC_SND_CON_IDX), 0);
  b.write(R.HOSTCC_STATUS_BLK_HOST_LOW, b.block);
  b.write(R.HOSTCC_RXMAX_FRAMES, 1);
  b.write(R.HOSTCC_TXMAX_FRAMES, 1);
  b.write(R.WDMAC_MODE, R.WDMAC_MODE.ENABLE);
  b.words.fill(0, (b.block - BASE) / 4, (b.block - BASE) / 4 + 8);
  b.write(R.HOSTCC_MODE, R.HOSTCC_MODE.ENABLE);
  t.is(b.tag, 0);
});

test('tags count to 255 and go on with 1', (t) => {
  const b = new Bench();
  const seen = new Set<number>();
  for (let i = 0; i < 600; i++) {
    b.set(R.HOSTCC_MODE, R.HOSTCC_MODE.NOW);
    seen.add(b.tag);
  }
  t.is(seen.size, 255);
  t.false(seen.has(0));
});

test('MSI: a message, and the mailbox says "in the ISR" by itself; one-shot off, it does not', (t) => {
  const b = new Bench();
  msi(b);
  b.inject(ethernet());
  b.inject(ethernet());
  t.deepEqual(b.messages, [[0, 0xfee0_0000, 0, 0x41]]);
  t.is(b.read(R.MBOX_INTERRUPT), 1);
  t.false(b.line);
  b.set(R.MSGINT_MODE, R.MSGINT_MODE.ONE_SHOT_DISABLE);
  b.write(R.MBOX_INTERRUPT, b.tag << 24);
  b.inject(ethernet());
  b.inject(ethernet());
  t.is(b.messages.length, 3);
});

test('MSI on a 5750 is one-shot where PCIE_TRANSACTION_CFG says so', (t) => {
  const b = new Bench({ chip: 'tg3-5751' });
  msi(b);
  b.inject(ethernet());
  t.is(b.read(R.MBOX_INTERRUPT) & 0xffffff, 0);
  b.set(R.PCIE_TRANSACTION_CFG, R.PCIE_TRANSACTION_CFG.TRANS_CFG_1SHOT_MSI);
  b.inject(ethernet());
  t.is(b.read(R.MBOX_INTERRUPT), 1);
  t.is(b.messages.length, 2);
});

test('an interrupt that was masked comes when the mask goes', (t) => {
  const b = new Bench();
  msi(b);
  b.set(R.MISC_HOST_CTRL, R.MISC_HOST_CTRL.MASK_PCI_INT);
  b.inject(ethernet());
  t.is(b.messages.length, 0);
  b.clear(R.MISC_HOST_CTRL, R.MISC_HOST_CTRL.MASK_PCI_INT);
  t.is(b.messages.length, 1);
});

test('RSS: each return ring has a vector and a block of its own; one connection stays in one ring', (t) => {
  const b = new Bench({ buffers: 200 });
  msix(b);
  b.set(R.MSGINT_MODE, R.MSGINT_MODE.MULTIVEC_EN);
  const blocks = [0, 1, 2, 3].map((i) => {
    const block = b.alloc(80, 64);
    b.write(R.HOSTCC_VEC_STATUS_BLK_LOW, block, i);
    b.write(R.HOSTCC_VEC_RXMAX_FRAMES, 1, i);
    b.write(R.HOSTCC_VEC_RXCOAL_MAXF_INT, 1, i);
    return (block - BASE) / 4;
  });
  for (let i = 0; i < 10; i++) b.write(R.MAC_RSS_HASH_KEY, 0x6d5a56da + 0x01010101 * i, i);
  for (let i = 0; i < 16; i++) b.write(R.MAC_RSS_INDIR_TBL, 0x01230123, i);
  const { RSS_ENABLE, RSS_TCP_IPV4_HASH_EN, RSS_IPV4_HASH_EN } = R.MAC_RX_MODE;
  b.set(R.MAC_RX_MODE, RSS_ENABLE | RSS_TCP_IPV4_HASH_EN | RSS_IPV4_HASH_EN);
  const frames = 64;
  for (let i = 0; i < frames; i++) {
    const { bytes, l4 } = ip();
    bytes[l4 + 1] = i; // another port
    b.inject(bytes);
  }
  const producers = [
    b.words[blocks[0]! + 4]! & 0xffff,
    b.words[blocks[1]! + 2]! & 0xffff,
    b.words[blocks[2]! + 3]! >>> 16,
    b.words[blocks[3]! + 3]! & 0xffff,
  ];
  t.is(
    producers.reduce((sum, n) => sum + n, 0),
    frames,
  );
  for (const n of producers) t.true(n > 0);
  t.deepEqual([...new Set(b.messages.map(([vector]) => vector))].sort(), [1, 2, 3, 4]);
  // Block 0 has the send and producer rings, and no return ring.
  b.send(ethernet(OUT));
  t.is(b.sendConsumer, 1);
  t.is(b.producer(), 0);
  t.is(b.words[blocks[0]! + 4]! >>> 16, 0);
});

test('MSI-X: one vector for all; none in the ISR, none where messages are off; NOW of each vector', (t) => {
  const b = new Bench();
  msix(b);
  const count = () => b.messages.splice(0).map(([vector]) => vector);
  b.inject(ethernet());
  t.deepEqual(count(), [0]);
  b.inject(ethernet()); // in the ISR since
  t.deepEqual(count(), []);
  b.clear(R.MSGINT_MODE, R.MSGINT_MODE.ENABLE);
  b.write(R.MBOX_INTERRUPT, b.tag << 24);
  b.inject(ethernet());
  t.deepEqual(count(), []);
  b.set(R.MSGINT_MODE, R.MSGINT_MODE.ENABLE | R.MSGINT_MODE.MULTIVEC_EN);
  const blocks = [1, 2, 3, 4].map((vector) => {
    const block = b.alloc(32, 64);
    b.write(R.HOSTCC_VEC_STATUS_BLK_LOW, block, vector - 1);
    return (block - BASE) / 4;
  });
  for (let vector = 1; vector <= 4; vector++) {
    b.write(R.HOSTCC_MODE, R.HOSTCC_MODE.ENABLE | (1 << (12 + vector)));
    t.deepEqual(count(), [vector]);
    t.deepEqual(
      blocks.map((at) => b.words[at + 1]),
      [1, 2, 3, 4].map((other) => (other <= vector ? 1 : 0)),
    );
  }
});

/** Microsoft, "Verifying the RSS Hash Calculation": key, addresses and ports, the hash of those and of addresses alone. */
const RSS_KEY = [
  0x6d5a56da, 0x255b0ec2, 0x4167253d, 0x43a38fb0, 0xd0ca2bcb, 0xae7b30b4, 0x77cb2da3, 0x8030f20c, 0x6a42b73b,
  0xbeac01fa,
];
const ADDRESSES_6 = [
  ...[0x3f, 0xfe, 0x25, 0x01, 0x02, 0x00, 0x1f, 0xff, 0, 0, 0, 0, 0, 0, 0, 7],
  ...[0x3f, 0xfe, 0x25, 0x01, 0x02, 0x00, 0x00, 0x03, 0, 0, 0, 0, 0, 0, 0, 1],
];
const EXAMPLES: [version: 4 | 6, addresses: number[], ports: [number, number], tcp: number, ip: number][] = [
  [4, [66, 9, 149, 187, 161, 142, 100, 80], [2794, 1766], 0x51ccc178, 0x323e8fc2],
  [4, [199, 92, 111, 2, 65, 69, 140, 83], [14230, 4739], 0xc626b0ea, 0xd718262a],
  [6, ADDRESSES_6, [2794, 1766], 0x40207d3d, 0x2cc18cd5],
];

function example(index: number, protocol: 'tcp' | 'udp' = 'tcp'): Uint8Array {
  const [version, addresses, ports] = EXAMPLES[index]!;
  const { bytes, l3, l4 } = ip({ version, protocol });
  bytes.set(addresses, l3 + (version === 4 ? 12 : 8));
  bytes.set(
    ports.flatMap((port) => [port >> 8, port & 0xff]),
    l4,
  );
  return bytes;
}

/** A bench that spreads frames by the published key. */
function spreading(modes: number): Bench {
  const b = new Bench({ buffers: 200 });
  for (const [i, word] of RSS_KEY.entries()) b.write(R.MAC_RSS_HASH_KEY, word, i);
  b.set(R.MAC_RX_MODE, R.MAC_RX_MODE.RSS_ENABLE | modes);
  return b;
}

test('RSS: the Toeplitz hash of the published examples', (t) => {
  const { RSS_IPV4_HASH_EN, RSS_TCP_IPV4_HASH_EN, RSS_IPV6_HASH_EN, RSS_TCP_IPV6_HASH_EN } = R.MAC_RX_MODE;
  const hashes = (modes: number, protocol: 'tcp' | 'udp' = 'tcp') => {
    const b = spreading(modes);
    for (const index of EXAMPLES.keys()) b.inject(example(index, protocol));
    b.inject(ethernet());
    const got = b.received();
    for (const { flags, hash } of got) if (hash !== 0) t.is(flags & RX_RSS_VALID, RX_RSS_VALID);
    return got.map(({ hash }) => hash);
  };
  const tcp = EXAMPLES.map(([, , , hash]) => hash);
  const addresses = EXAMPLES.map(([, , , , hash]) => hash);
  t.deepEqual(hashes(RSS_TCP_IPV4_HASH_EN | RSS_TCP_IPV6_HASH_EN), [...tcp, 0]);
  t.deepEqual(hashes(RSS_IPV4_HASH_EN | RSS_IPV6_HASH_EN), [...addresses, 0]);
  t.deepEqual(hashes(RSS_TCP_IPV4_HASH_EN | RSS_IPV6_HASH_EN), [tcp[0]!, tcp[1]!, addresses[2]!, 0]);
  t.deepEqual(hashes(RSS_TCP_IPV4_HASH_EN | RSS_TCP_IPV6_HASH_EN, 'udp'), [0, 0, 0, 0], 'no ports but of TCP');
  t.deepEqual(hashes(RSS_TCP_IPV4_HASH_EN | RSS_IPV4_HASH_EN, 'udp'), [addresses[0]!, addresses[1]!, 0, 0]);
});

test('RSS: each place of the table, by the low seven bits; the first ring for what has no hash; a new key counts', (t) => {
  const b = spreading(R.MAC_RX_MODE.RSS_TCP_IPV4_HASH_EN);
  const place = EXAMPLES[0]![3] & 0x7f;
  for (let entry = 0; entry < 128; entry += 1) {
    for (let word = 0; word < 16; word++)
      b.write(R.MAC_RSS_INDIR_TBL, word === entry >> 3 ? 3 << (28 - 4 * (entry & 7)) : 0, word);
    b.inject(example(0));
    b.inject(ethernet());
    const found = [b.received(0).length, b.received(3).length];
    t.deepEqual(found, entry === place ? [1, 1] : [2, 0], `entry ${entry}`);
    b.give(2);
  }
  b.write(R.MAC_RSS_HASH_KEY, 0, 0);
  b.inject(example(0));
  const [frame] = b.received();
  t.not(frame!.hash, EXAMPLES[0]![3]);
  b.write(R.MAC_RSS_HASH_KEY, RSS_KEY[0]!, 0);
  b.inject(example(0));
  t.is(b.received()[0]!.hash, EXAMPLES[0]![3]);
  b.clear(R.MAC_RX_MODE, R.MAC_RX_MODE.RSS_ENABLE);
  b.inject(example(0));
  const [plain] = b.received();
  t.deepEqual([plain!.hash, plain!.flags & RX_RSS_VALID], [0, 0]);
});
