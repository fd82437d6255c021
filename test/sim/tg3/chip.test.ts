/** The chip as a whole: identity, the ways to registers and memory, resets, NVRAM, PHY; for each chip of the family. */

import test from 'ava';
import { crc32 } from '../../../sim/kernels/index.ts';
import { CHIPS, type ChipName } from '../../../sim/tg3/chips.ts';
import {
  FW_MAGIC,
  FW_READY,
  SRAM_DATA_SIG,
  SRAM_FW_MAILBOX,
  SRAM_MAC_HIGH,
  SRAM_MAC_LOW,
} from '../../../sim/tg3/descriptors.ts';
import { factoryImage, NVRAM_SIZE } from '../../../sim/tg3/nvram.ts';
import { BCM57XX } from '../../../sim/tg3/registers.ts';
import { Bench, LINK_UP, R, Recorder } from '../../util/tg3-harness.ts';

const NAMES = Object.keys(CHIPS) as ChipName[];

function bench(chip: ChipName = 'tg3'): Bench {
  const b = new Bench({ up: false, chip });
  b.decode();
  return b;
}

for (const name of NAMES) {
  const chip = CHIPS[name];

  test(`${name}: identity, and a revision where drivers look for it`, (t) => {
    const { config } = bench(name).card;
    t.is(config.read(0, 4), ((chip.device << 16) | 0x14e4) >>> 0);
    const revision = config.read(R.MISC_HOST_CTRL.at, 4) >>> 16;
    t.is(revision >>> 12 === 0xf ? config.read(R.GEN15_PRODID_ASICREV.at, 4) : revision, chip.revisionId);
  });

  test(`${name}: Linux's register self-test`, (t) => {
    // What tg3_test_registers writes and expects: read-only bits, read/write bits.
    const rows: [number, number, number][] = [
      [0x0400, 0, 0x01ef6b8c],
      [0x0404, 0x03800100, 0],
      [0x0410, 0, 0x0000ffff],
      [0x0414, 0, 0xffffffff],
      [0x043c, 0, 0x0000ffff],
      [0x045c, 0, 0x00000070],
      [0x0464, 0, 0x00003fff],
      [0x0468, 0, 0x000007dc],
      [0x0470, 0, 0xffffffff],
      [0x047c, 0, 0xffffffff],
      [0x2450, 0, 0xffffffff],
      [0x2454, 0, 0xffffffff],
      [0x2458, 0, 0xffff0002],
      [0x245c, 0, 0xffffffff],
      [0x2c18, 0, 0x000003ff],
      [0x3c00, 0, 0x000000f6],
      [0x3c08, 0, 0x000003ff],
      [0x3c10, 0, 0x000000ff],
      [0x3c24, 0, 0x000000ff],
      [0x3c38, 0, 0xffffffff],
      [0x3c3c, 0, 0xffffffff],
      [0x3c40, 0xffffffff, 0],
      [0x3c44, 0xffffffff, 0],
      [0x4410, 0, 0x0000003f],
      [0x4414, 0, 0x000001ff],
      [0x4418, 0, 0x000001ff],
      [0x586c, 0, 0x000001ff],
      [0x5884, 0, 0x000007ff],
      [0x5904, 0, 0x000001ff],
    ];
    const b = bench(name);
    b.chipReset();
    for (const [at, fixed, free] of rows) {
      const saved = b.card.readBar(0, at, 4);
      for (const value of [0, (fixed | free) >>> 0]) {
        b.card.writeBar(0, at, 4, value);
        const now = b.card.readBar(0, at, 4);
        t.is(now & fixed, saved & fixed, BCM57XX.nameAt(at));
        t.is((now & free) >>> 0, (value & free) >>> 0, BCM57XX.nameAt(at));
      }
      b.card.writeBar(0, at, 4, saved);
    }
    t.is(b.card.dma.faults, 0);
  });

  test(`${name}: NVRAM: headers and vital product data hold together`, (t) => {
    const b = bench(name);
    const image = new Uint8Array(0x200);
    const view = new DataView(image.buffer);
    for (let at = 0; at < image.length; at += 4) view.setUint32(at, b.nvramRead(at));
    t.is(view.getUint32(0), 0x669955aa);
    t.is(view.getUint32(0x10, true), crc32(image, 0, 0x10));
    t.is(view.getUint32(0xfc, true), crc32(image, 0x74, 0x88));
    t.is(view.getUint16(0xf2, true) * 1024, NVRAM_SIZE);
    const part = image.indexOf(0x78, 0x100 + 40);
    let sum = 0;
    for (let at = 0x100; at < part; at++) sum = (sum + image[at]!) & 0xff;
    t.is(sum, 0);
  });
}

test('boot code answers every reset, whatever the mailbox held, and leaves the station address', (t) => {
  const b = bench();
  for (const magic of [0x4b657654, 0, 0xdeadbeef]) {
    b.sramWrite(SRAM_FW_MAILBOX, magic);
    b.write(R.GRC_MISC_CFG, R.GRC_MISC_CFG.CORECLK_RESET);
    t.is(b.sramRead(SRAM_FW_MAILBOX), FW_READY);
    t.is(b.sramRead(SRAM_DATA_SIG), 0x4b657654);
    t.is(b.sramRead(SRAM_MAC_HIGH), 0x484b0200);
    t.is(b.sramRead(SRAM_MAC_LOW), 0x00825401);
    t.is(b.read(R.MAC_ADDR_HIGH), 0x0200);
    t.is(b.read(R.MAC_ADDR_LOW), 0x00825401);
  }
});

/** What is wrong with an NVRAM, by what is done to a good one. */
const SPOILED: Record<string, (image: Uint8Array) => unknown> = {
  'no magic number': (image) => {
    image.fill(0, 0, 4);
    const crc = crc32(image, 0, 0x10);
    for (let i = 0; i < 4; i++) image[0x10 + i] = crc >>> (8 * i);
  },
  'a header that does not hold together': (image) => image[9]!++,
  'nothing in it': (image) => image.fill(0xff),
};

for (const [what, spoil] of Object.entries(SPOILED)) {
  test(`an NVRAM with ${what}: no boot code, which nobody hears of, and no station address`, (t) => {
    const nvram = factoryImage(CHIPS.tg3, Uint8Array.of(2, 0, 0, 0, 0, 1));
    spoil(nvram);
    const b = new Bench({ up: false, nvram });
    b.decode();
    b.chipReset();
    t.is(b.sramRead(SRAM_FW_MAILBOX), FW_MAGIC, 'as it was written');
    for (const at of [SRAM_DATA_SIG, SRAM_MAC_HIGH, SRAM_MAC_LOW]) t.is(b.sramRead(at), 0);
    t.is(b.read(R.MAC_ADDR_LOW), 0);
  });
}

test('a manufacturing block that does not hold together: boot code runs, and leaves no station address', (t) => {
  for (const at of [0x74, 0x83, 0xfb, 0xff]) {
    const nvram = factoryImage(CHIPS.tg3, Uint8Array.of(2, 0, 0, 0, 0, 1));
    nvram[at]!++;
    const b = new Bench({ up: false, nvram });
    b.decode();
    b.chipReset();
    t.is(b.sramRead(SRAM_FW_MAILBOX), FW_READY);
    t.is(b.sramRead(SRAM_MAC_HIGH), 0);
    t.is(b.read(R.MAC_ADDR_LOW), 0);
  }
});

test('a reset takes arbitration, mailboxes and windows, and leaves configuration, CPMU and SRAM', (t) => {
  const b = bench();
  b.write(R.NVRAM_SWARB, R.NVRAM_SWARB.REQ_SET1);
  b.write(R.MBOX_SEND_PROD, 5);
  b.write(R.CPMU_EEE_MODE, 0x100348);
  b.sramWrite(0x8000, 77);
  const command = b.card.config.read(4, 2);
  b.write(R.GRC_MISC_CFG, R.GRC_MISC_CFG.CORECLK_RESET);
  t.is(b.read(R.NVRAM_SWARB), 0);
  t.is(b.read(R.MBOX_SEND_PROD), 0);
  t.is(b.read(R.MEM_WIN_BASE_ADDR), 0);
  t.is(b.read(R.CPMU_EEE_MODE), 0x100348);
  t.is(b.sramRead(0x8000), 77);
  t.is(b.card.config.read(4, 2), command);
  t.is(b.read(R.MSGINT_MODE), R.MSGINT_MODE.ENABLE); // plain MSI counts on it
});

test('SRAM: through the window registers, by both ways to them, and through the upper half of BAR 0', (t) => {
  const b = bench();
  b.sramWrite(0x1_2344, 0x12345678);
  const { config } = b.card;
  config.write(R.MEM_WIN_BASE_ADDR.at, 4, 0x1_2344);
  t.is(config.read(R.MEM_WIN_DATA.at, 4), 0x12345678);
  config.write(R.MEM_WIN_DATA.at, 4, 0x9abcdef0);
  t.is(b.read(R.MEM_WIN_DATA), 0x9abcdef0);
  b.write(R.MEM_WIN_BASE_ADDR, 0x1_0000);
  t.is(b.card.readBar(0, 0x8000 + 0x2344, 4), 0x9abcdef0);
  b.card.writeBar(0, 0x8000 + 0x2345, 1, 0x11);
  t.is(b.card.readBar(0, 0x8000 + 0x2344, 4), 0x9abc11f0);
  t.is(b.sramRead(0xffff_fffc), 0);
  b.sramWrite(0xffff_fffc, 1);
  t.is(b.sramRead(0x2_0000), 0);
});

test('SRAM and the RX CPU’s scratchpad end where they end', (t) => {
  const b = bench();
  const places = [0x1_fffc, 0x3_0000, 0x3_0004, 0x3_fffc];
  for (const [i, at] of places.entries()) b.sramWrite(at, 0x1000 + i);
  for (const at of [0x2_0000, 0x2_fffc, 0x4_0000]) b.sramWrite(at, 0xdead);
  t.deepEqual(
    places.map((at) => b.sramRead(at)),
    places.map((_, i) => 0x1000 + i),
  );
  for (const at of [0x2_0000, 0x2_fffc, 0x4_0000, 0x6_0000]) t.is(b.sramRead(at), 0, `0x${at.toString(16)}`);
  b.card.reset('power-on');
  b.decode();
  t.deepEqual(
    places.map((at) => b.sramRead(at)),
    [0, 0, 0, 0],
  );
});

test('GRC_MODE shows the layers of PCI Express at 7c00h, each a page of its own; a core reset leaves them', (t) => {
  const b = bench('tg3-5751');
  const { PCIE_PL_SEL, PCIE_DL_SEL } = R.GRC_MODE;
  const PAGES = [0, PCIE_PL_SEL, PCIE_DL_SEL];
  const PLACES = [0x7c00, 0x7ffc];
  const page = (select: number) => {
    b.write(R.GRC_MODE, select);
    return PLACES.map((at) => b.card.readBar(0, at, 4));
  };
  for (const [i, select] of PAGES.entries()) {
    b.write(R.GRC_MODE, select);
    for (const at of PLACES) b.card.writeBar(0, at, 4, 0x1234_5600 + i);
  }
  for (const [i, select] of PAGES.slice(1).entries()) t.deepEqual(page(select), [0x1234_5601 + i, 0x1234_5601 + i]);
  b.card.writeBar(0, 0x7c01, 1, 0xff);
  b.card.writeBar(0, 0x7ffe, 2, 0xabcd);
  t.deepEqual([b.card.readBar(0, 0x7c01, 1), b.card.readBar(0, 0x7ffe, 2)], [0xff, 0xabcd]);
  b.write(R.GRC_MISC_CFG, R.GRC_MISC_CFG.CORECLK_RESET);
  t.deepEqual(page(PCIE_DL_SEL), [0x1234_ff02, 0xabcd_5602]);
  t.deepEqual(page(PCIE_PL_SEL), [0x1234_5601, 0x1234_5601]);
  b.card.reset('power-on');
  b.decode();
  t.deepEqual(
    [page(PCIE_DL_SEL), page(PCIE_PL_SEL)],
    [
      [0, 0],
      [0, 0],
    ],
  );
});

test('BARs and the PCI Express capability are those of the generation', (t) => {
  for (const name of NAMES) {
    const { config } = bench(name).card;
    const { is577xx } = CHIPS[name];
    t.is(config.read(0x10, 4) & 15, is577xx ? 0xc : 4);
    t.is(config.read(0x18, 4) & 15, is577xx ? 0xc : 0);
    const at = is577xx ? 0xac : 0xd0;
    t.is(config.read(at, 1), 0x10);
    t.is(config.read(at + 2, 2), is577xx ? 2 : 1, 'an endpoint, by the specification’s version');
  }
});

test('registers through configuration space', (t) => {
  const b = bench();
  const { config } = b.card;
  config.write(R.REG_BASE_ADDR.at, 4, R.MAC_RX_MTU_SIZE.at);
  config.write(R.REG_DATA.at, 4, 1518);
  t.is(b.read(R.MAC_RX_MTU_SIZE), 1518);
  t.is(config.read(R.REG_DATA.at, 4), 1518);
  config.write(R.REG_BASE_ADDR.at, 4, 0xffff_fff0); // nowhere
  config.write(R.REG_DATA.at, 4, 1);
  t.is(b.read(R.MAC_RX_MTU_SIZE), 1518);
});

test('NVRAM: what a factory leaves', (t) => {
  for (const name of NAMES) {
    const chip = CHIPS[name];
    const image = factoryImage(chip, Uint8Array.of(2, 0, 0, 0, 0, 1));
    const view = new DataView(image.buffer);
    const text = (at: number, length: number) => String.fromCharCode(...image.subarray(at, at + length));
    t.is(image.length, 128 * 1024);
    t.deepEqual([view.getUint32(8), view.getUint32(12)], [0x10, 0x200]);
    t.true(
      image.subarray(0x200, 0x240).every((byte) => byte === 0),
      'boot code, for who reads its version',
    );
    t.is(image[0x240], 0xff);
    const part = `BCM9${chip.name.slice(3)}`;
    t.is(text(0x84, 10).replace(/\0+$/, ''), part);
    t.is(view.getUint16(0x96), 0x0105);
    for (const at of [0xa0, 0xa4]) t.deepEqual([view.getUint16(at), view.getUint16(at + 2)], [chip.device, 0x14e4]);
    t.deepEqual([...image.subarray(0xf2, 0xf4)], [128, 0], 'KiB');
    // Vital product data: a title, then fields with a keyword and a length each, as PCI 2.2 appendix I has it.
    t.is(image[0x100], 0x82);
    const fields = 0x103 + view.getUint16(0x101, true);
    t.is(text(0x103, fields - 0x103), 'Broadcom NetXtreme Gigabit Ethernet');
    t.is(image[fields], 0x90);
    const end = fields + 3 + view.getUint16(fields + 1, true);
    t.is(image[end], 0x78);
    const found: Record<string, string> = {};
    for (let at = fields + 3; at < end; at += 3 + image[at + 2]!) found[text(at, 2)] = text(at + 3, image[at + 2]!);
    t.deepEqual(Object.keys(found), ['PN', 'RV']);
    t.is(found.PN, part);
    t.is(image.subarray(0x100, end).reduce((sum, byte) => sum + byte, 0) & 0xff, 0);
  }
});

test('vital product data through configuration space, as PCI 3.0 has it: read, not written', (t) => {
  const [ADDRESS, DATA, DONE] = [0x52, 0x54, 0x8000];
  for (const name of NAMES) {
    const { config } = bench(name).card;
    const offsets = [];
    for (let at = config.read(0x34, 1); at !== 0; at = config.read(at + 1, 1)) offsets.push(at);
    t.deepEqual(offsets.slice(0, 3), [0x48, 0x50, 0x58]);
    t.is(config.read(0x50, 1), 3);
    const image = factoryImage(CHIPS[name], Uint8Array.from([2, 0, 0, 0, 0, 1]));
    for (const at of [0, 4, 0x40, 0xfc, 0x100, 0x7ffc]) {
      config.write(ADDRESS, 2, at);
      t.is(config.read(ADDRESS, 2), at | DONE);
      t.is(config.read(DATA, 4), at < 0x100 ? new DataView(image.buffer).getUint32(0x100 + at, true) : 0, `${at}`);
    }
    config.write(DATA, 4, 0x12345678);
    config.write(ADDRESS, 2, DONE);
    t.is(config.read(ADDRESS, 2), 0);
    config.write(ADDRESS, 2, 0);
    t.is(config.read(DATA, 1), 0x82);
  }
  const { config } = new Bench({ up: false, nvram: new Uint8Array(NVRAM_SIZE) }).card;
  config.write(ADDRESS, 2, 0);
  t.is(config.read(ADDRESS, 2), 0, 'without boot code nobody answers');
});

test('NVRAM: a command without GO does nothing; write enable is done at once; ERASE clears its page', (t) => {
  const b = bench();
  const { GO, DONE, WR, WREN, WRDI, ERASE } = R.NVRAM_CMD;
  b.write(R.NVRAM_ADDR, 0x4fc);
  b.write(R.NVRAM_WRDATA, 0x11223344);
  b.write(R.NVRAM_CMD, DONE | WR);
  t.is(b.read(R.NVRAM_CMD) & (DONE | GO), 0);
  t.is(b.nvramRead(0x4fc), 0xffffffff);
  for (const command of [WREN, WRDI]) {
    b.write(R.NVRAM_CMD, GO | DONE | command | WR);
    t.is(b.read(R.NVRAM_CMD) & (DONE | GO), DONE);
  }
  for (const at of [0x3fc, 0x400, 0x4fc, 0x500]) {
    b.write(R.NVRAM_ADDR, at);
    b.write(R.NVRAM_CMD, GO | DONE | WR);
    t.is(b.read(R.NVRAM_ADDR), at + 4);
  }
  b.write(R.NVRAM_ADDR, 0x440);
  b.write(R.NVRAM_CMD, GO | DONE | WR | ERASE);
  t.deepEqual(
    [0x3fc, 0x400, 0x4fc, 0x500].map((at) => b.nvramRead(at)),
    [0x11223344, 0xffffffff, 0xffffffff, 0x11223344],
  );
});

test('NVRAM: whoever asks first has it until he lets go', (t) => {
  const b = bench();
  const { REQ_SET0, REQ_SET1, REQ_CLR0, REQ_CLR1, GNT0, GNT1, REQ0, REQ1 } = R.NVRAM_SWARB;
  b.write(R.NVRAM_SWARB, REQ_SET1);
  t.is(b.read(R.NVRAM_SWARB), REQ1 | GNT1);
  b.write(R.NVRAM_SWARB, REQ_SET0);
  t.is(b.read(R.NVRAM_SWARB), REQ0 | REQ1 | GNT1);
  b.write(R.NVRAM_SWARB, REQ_CLR1);
  t.is(b.read(R.NVRAM_SWARB), REQ0 | GNT0);
  b.write(R.NVRAM_SWARB, REQ_CLR0);
  t.is(b.read(R.NVRAM_SWARB), 0);
});

test('NVRAM: a page is written with its address given once', (t) => {
  const b = bench();
  const { GO, DONE, WR, FIRST, LAST } = R.NVRAM_CMD;
  b.write(R.NVRAM_ADDR, 0x400);
  for (let i = 0; i < 4; i++) {
    b.write(R.NVRAM_WRDATA, 0x01020300 + i);
    b.write(R.NVRAM_CMD, GO | DONE | WR | (i === 0 ? FIRST : 0) | (i === 3 ? LAST : 0));
    t.not(b.read(R.NVRAM_CMD) & DONE, 0);
  }
  t.deepEqual(
    [0, 1, 2, 3].map((i) => b.nvramRead(0x400 + 4 * i)),
    [0x01020300, 0x01020301, 0x01020302, 0x01020303],
  );
  b.write(R.NVRAM_ADDR, 0xffffffff); // beyond the part: it wraps
  b.write(R.NVRAM_CMD, GO | DONE | WR);
  t.is(b.nvramRead(NVRAM_SIZE - 4), 0x01020303);
});

test('PHY: shadow registers, DSP and MMD store by their own addresses; nobody at another MDIO address', (t) => {
  const b = bench();
  b.mdio(0x18, 0x0400 | 0); // shadow 0
  b.mdio(0x18, 0x8000 | 0x0210 | 7); // shadow 7
  b.mdio(0x18, (0 << 12) | 7);
  t.is(b.mdio(0x18), 0x0400);
  b.mdio(0x18, (7 << 12) | 7);
  t.is(b.mdio(0x18) & 0x7ff8, 0x0210);
  b.mdio(0x1c, 0x8000 | (5 << 10) | 0x1f);
  b.mdio(0x1c, 10 << 10);
  t.is(b.mdio(0x1c) & 0x3ff, 0);
  b.mdio(0x1c, 5 << 10);
  t.is(b.mdio(0x1c) & 0x3ff, 0x1f);
  b.mdio(0x17, 0x201f);
  b.mdio(0x15, 0x9506);
  b.mdio(0x17, 0x000a);
  t.is(b.mdio(0x15), 0);
  b.mdio(0x17, 0x201f);
  t.is(b.mdio(0x15), 0x9506);
  for (const [device, register, value] of [
    [7, 60, 6],
    [3, 60, 9],
  ] as const) {
    b.mdio(0x0d, device);
    b.mdio(0x0e, register);
    b.mdio(0x0d, 0x4000 | device);
    b.mdio(0x0e, value);
    t.is(b.mdio(0x0e), value);
  }
  b.write(R.MAC_MI_COM, R.MAC_MI_COM.START | R.MAC_MI_COM.CMD_READ | (2 << 21) | (2 << 16));
  t.not(b.read(R.MAC_MI_COM) & R.MAC_MI_COM.READ_FAILED, 0);
});

test('PHY: what was agreed on, at each speed; what it offers by itself; a reset forgets the shadows', (t) => {
  const b = new Bench();
  const agreed = () => [(b.mdio(0x19) >>> 8) & 7, b.mdio(0x19) & 0x8007];
  t.is(b.mdio(4), 0x01e1);
  t.deepEqual(agreed(), [7, 0x8004], 'no PAUSE offered');
  b.mdio(4, 0x05e1);
  b.mdio(0, 0x1200);
  b.clock.advance(LINK_UP);
  t.deepEqual(agreed(), [7, 0x8007]);
  for (const [advertisement, code] of [
    [0x0101, 5],
    [0x0081, 3],
    [0x0041, 2],
    [0x0021, 1],
  ] as const) {
    b.mdio(4, advertisement);
    b.mdio(9, 0);
    b.mdio(0, 0x1200);
    b.clock.advance(LINK_UP);
    t.deepEqual(agreed(), [code, 0x8004]);
  }
  t.is(b.mdio(0x1a), 2);
  t.is(b.mdio(0x1a), 0, 'read, and gone');
  b.mdio(0x18, 0x0400);
  b.mdio(0x17, 0x201f);
  b.mdio(0x15, 0x9506);
  const copy = b.fork(1_000_000_000);
  copy.mdio(0x18, 7);
  t.is(copy.mdio(0x18), 0x0400);
  copy.mdio(0x17, 0x201f);
  t.is(copy.mdio(0x15), 0x9506);
  b.mdio(0, 0x8000);
  b.mdio(0x18, 7);
  t.is(b.mdio(0x18), 0);
  b.mdio(0x17, 0x201f);
  t.is(b.mdio(0x15), 0);
});

test('link: it comes after a while, is told by a status block and an interrupt, and goes with the cable', (t) => {
  const b = new Bench();
  t.is(b.mdio(1) & 4, 0); // it was down since last asked
  t.is(b.mdio(1) & 4, 4);
  t.is((b.mdio(0x19) >>> 8) & 7, 7);
  t.not(b.read(R.MAC_TX_STATUS) & R.MAC_TX_STATUS.LINK_UP, 0);
  b.wire.disconnect();
  t.is(b.status & 3, 3);
  t.is(b.rises.length, 1);
  t.not(b.read(R.MAC_STATUS) & R.MAC_STATUS.LNKSTATE_CHANGED, 0);
  t.is(b.mdio(0x19), 0);
  b.write(R.MAC_STATUS, R.MAC_STATUS.LNKSTATE_CHANGED);
  b.write(R.MBOX_INTERRUPT, b.tag << 24);
  t.false(b.line);
  b.wire.connect();
  t.is(b.rises.length, 1);
  b.clock.advance(LINK_UP);
  t.is(b.rises.length, 2);
});

test('a register that stores only is told of once, by name', (t) => {
  const b = bench();
  const recorder = new Recorder();
  b.card.trace = recorder;
  b.write(R.GRC_EEPROM_ADDR, 1);
  b.write(R.GRC_EEPROM_ADDR, 2);
  t.is(recorder.lines.filter((line) => line.includes('GRC_EEPROM_ADDR is never modelled')).length, 1);
});
