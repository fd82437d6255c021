/** The BCM57xx's NVRAM as the tools around a card see it: how each part is written, and what is wrong with an image. */

import test, { type ExecutionContext } from 'ava';
import { runClock } from '../../../drivers/backends/clock-steps.ts';
import { openSim } from '../../../drivers/backends/sim.ts';
import { tg3Tools } from '../../../drivers/tg3/tools.ts';
import { crc32 } from '../../../sim/kernels/index.ts';
import { get32, put16, put32 } from '../../../sim/packet.ts';
import { Tg3 } from '../../../sim/tg3/bcm57xx.ts';
import type { ChipName } from '../../../sim/tg3/chips.ts';
import { R, Recorder } from '../../util/tg3-harness.ts';

const { GRC_MODE, NVRAM_ACCESS, NVRAM_CFG1, NVRAM_CMD, NVRAM_SWARB } = R;

interface Command {
  readonly bits: number;
  readonly address: number;
  /** The lock is held, and both switches are on. */
  readonly allowed: boolean;
}

function open(chip: ChipName, prepare = (_card: Tg3) => {}) {
  let card!: Tg3;
  const device = openSim((host) => (card = new Tg3(host, { chip })), { name: `sim:${chip}`, dmaBytes: 1 << 20 });
  prepare(card);
  const { nvram } = tg3Tools(device);
  const run = <T>(promise: Promise<T>) => runClock(device.clock, promise);
  return { device, card, nvram, run };
}

/** The commands among what a trace saw. */
function commands(recorder: Recorder): Command[] {
  const found: Command[] = [];
  const now = new Map<string, number>();
  for (const line of recorder.lines) {
    const [kind, name, value] = line.split(' ') as [string, string, string];
    if (kind !== 'write') continue;
    const word = parseInt(value, 16);
    now.set(name, word);
    if (name !== 'NVRAM_CMD') continue;
    const on = (register: string, mask: number) => ((now.get(register) ?? 0) & mask) === mask;
    const allowed =
      on('GRC_MODE', GRC_MODE.NVRAM_WR_ENABLE) &&
      on('NVRAM_ACCESS', NVRAM_ACCESS.ACCESS_ENABLE | NVRAM_ACCESS.ACCESS_WR_ENABLE) &&
      on('NVRAM_SWARB', NVRAM_SWARB.REQ_SET1);
    found.push({ bits: word & ~(NVRAM_CMD.GO | NVRAM_CMD.DONE), address: now.get('NVRAM_ADDR')!, allowed });
  }
  return found;
}

const { WR, ERASE, FIRST, LAST, WREN, WRDI } = NVRAM_CMD;
const BOTH = FIRST | LAST;

/** Bytes 0x1f8 to 0x207 and 0x410 changed: a run over a page's end, and a word. */
const PARTS: [part: string, chip: ChipName, config: number, expected: [bits: number, address: number][]][] = [
  [
    'ST M45PE',
    'tg3',
    0x0240_0000,
    [
      [WR | FIRST, 0x1f8],
      [WR | LAST, 0x1f8], // which counts on by itself
      [WR | FIRST, 0x200],
      [WR | LAST, 0x200],
      [WR | BOTH, 0x410],
    ],
  ],
  [
    'ST M45PE on a 5750',
    'tg3-5721',
    0x0300_0001,
    [
      [WREN, -1],
      [WR | FIRST, 0x1f8],
      [WR | LAST, 0x1fc],
      [WREN, -1],
      [WR | FIRST, 0x200],
      [WR | LAST, 0x204],
      [WREN, -1],
      [WR | BOTH, 0x410],
    ],
  ],
  [
    'EEPROM',
    'tg3-57765',
    0x0300_0002,
    [0x1f8, 0x1fc, 0x200, 0x204, 0x410].map((at) => [WR | BOTH, at] as [number, number]),
  ],
  [
    'EEPROM on a 5750',
    'tg3-5751',
    0x0200_0000,
    [0x1f8, 0x1fc, 0x200, 0x204, 0x410].map((at) => [WR | BOTH, at] as [number, number]),
  ],
  [
    'Saifun, erased by pages of 256',
    'tg3-5721',
    0x0100_0003,
    [0x100, 0x200, 0x400].flatMap((page): [number, number][] => [
      [WREN, -1],
      [WR | ERASE | BOTH, page],
      [WREN, -1],
      ...Array.from({ length: 64 }, (_, i): [number, number] => [
        WR | (i === 0 ? FIRST : 0) | (i === 63 ? LAST : 0),
        page + 4 * i,
      ]),
      [WRDI, -1],
    ]),
  ],
];

for (const [part, chip, config, expected] of PARTS) {
  test(`${part}: is written as it wants, and locked again`, async (t) => {
    const { card, nvram, run, device } = open(chip);
    const bar = device.bar(0);
    bar.write32(NVRAM_CFG1.at, config);
    const before = await run(nvram.read());
    const wanted = before.slice();
    for (let at = 0x1f8; at < 0x208; at++) wanted[at]! ^= 0x55;
    wanted[0x410]! ^= 0x55;
    const recorder = new Recorder();
    card.trace = recorder;
    await run(nvram.write(before, wanted));
    card.trace = null;
    const sent = commands(recorder);
    t.deepEqual(
      sent.map(({ bits, address }, i) => [bits, expected[i]?.[1] === -1 ? -1 : address]),
      expected,
    );
    t.true(sent.every(({ allowed }) => allowed));
    assertLocked(t, bar);
    t.true(Buffer.from(await run(nvram.read())).equals(wanted));
    device.close();
  });
}

function assertLocked(t: ExecutionContext, bar: { read32(at: number): number }): void {
  t.is(bar.read32(NVRAM_SWARB.at), 0);
  t.is(bar.read32(NVRAM_ACCESS.at), 0);
  t.is(bar.read32(GRC_MODE.at) & GRC_MODE.NVRAM_WR_ENABLE, 0);
}

test('an Atmel part: a page of 264 bytes begins at each multiple of 512', async (t) => {
  const { card, nvram, run, device } = open('tg3-5721');
  device.bar(0).write32(NVRAM_CFG1.at, 0x0200_0003);
  const recorder = new Recorder();
  card.trace = recorder;
  const image = await run(nvram.read());
  const read = commands(recorder).slice(-image.length / 4);
  t.is(image.length, 128 * 1024);
  for (const at of [0, 260, 264, 524, 528, 131_064])
    t.is(read[at / 4]!.address, Math.floor(at / 264) * 512 + (at % 264), String(at));
  device.close();
});

const SIZES: [chip: ChipName, config: number, kib: number, prepare?: (image: Uint8Array) => void][] = [
  ['tg3', 0x0240_0002, 256],
  ['tg3', 0x5340_0001, 512], // 264-byte pages
  ['tg3', 0x0300_0002, 128],
  ['tg3-5721', 0x0300_0001, 128],
  ['tg3-5721', 0x0300_0001, 128, (image) => put32(image, 0, 0x12345678)], // seen where it begins again
  ['tg3-5721', 0x0300_0001, 512, (image) => image.fill(0xff)], // nothing tells
];
for (const [chip, config, kib, prepare] of SIZES) {
  test(`${chip}, NVRAM_CFG1 ${config.toString(16)}${prepare === undefined ? '' : ', damaged'}: ${kib} KiB`, async (t) => {
    const { card, nvram, run, device } = open(chip);
    prepare?.(card.nvram.image);
    device.bar(0).write32(NVRAM_CFG1.at, config);
    t.is((await run(nvram.read())).length, kib * 1024);
    device.close();
  });
}

test('a part that nobody knows, one that is never ready, one that nobody lets go of: a line each, and locked again', async (t) => {
  const { nvram, run, device, card } = open('tg3');
  const bar = device.bar(0);
  const before = await run(nvram.read());
  const other = before.with(0x400, 0);
  bar.write32(NVRAM_CFG1.at, 0x03c0_0003);
  const says = async (action: Promise<unknown>, message: RegExp) => {
    const error = await t.throwsAsync(run(action), { message });
    t.false(error.message.includes('\n'));
    assertLocked(t, bar);
  };
  await says(nvram.read(), /^sim:tg3: no driver here knows the NVRAM part of NVRAM_CFG1 0x03c00003$/);
  await says(nvram.write(before, other), /no driver here knows/);
  bar.write32(NVRAM_CFG1.at, 0x0240_0000);
  await says(nvram.write(before, other.slice(4)), /an NVRAM image of 131068 bytes: the part has 131072/);
  const { registers } = card;
  let left = 3;
  registers.onRead(NVRAM_CMD, () => (left-- > 0 ? registers.words[NVRAM_CMD.word]! : 0));
  const wanted = before.slice();
  wanted.fill(0, 0x400, 0x420);
  await says(nvram.write(before, wanted), /writing NVRAM word 0x40c: NVRAM_CMD still reads 0x0/);
  t.is(get32(card.nvram.image, 0x408), 0, 'what was written up to then stays');
  registers.onRead(NVRAM_SWARB, () => 0);
  await says(nvram.read(), /asking for the NVRAM/);
  device.close();
});

const IMAGE = 0x1000;

/** A directory with an image of 64 bytes and its CRC in it. */
function withImage(image: Uint8Array, kind = 16, at = IMAGE): void {
  for (let i = 0; i < 60; i++) image[IMAGE + i] = i;
  put32(image, 0x14, 0x10000);
  put32(image, 0x18, kind);
  put32(image, 0x1c, at);
  settle(image, IMAGE + 60, IMAGE, 60);
  image[0x76] = 0;
  image[0x76] = -image.subarray(0x14, 0x74).reduce((sum, byte) => sum + byte, 0);
  settleHeaders(image);
}

function settle(image: Uint8Array, at: number, from: number, length: number): void {
  const crc = crc32(image, from, length);
  for (let i = 0; i < 4; i++) image[at + i] = crc >>> (8 * i);
}

function settleHeaders(image: Uint8Array): void {
  settle(image, 0x10, 0, 0x10);
  settle(image, 0xfc, 0x74, 0x88);
}

const PART_NUMBER = 0x129; // of the vital product data
const VPD_IMAGE = (0x14 << 24) | 16;
const DAMAGES: [what: string, damage: (image: Uint8Array) => void, says: RegExp | null][] = [
  ['nothing', () => {}, null],
  ['an image in the directory', (image) => withImage(image), null],
  ['one that fills the part', (image) => withImage(image, 16, image.length - 64), /^image-0 \(PXE\) has CRC/],
  ['all ones', (image) => image.fill(0xff), /^every byte is 0xff: it is empty, or not there$/],
  ['no magic', (image) => put32(image, 0, 0xa5000000), /^the image begins with 0xa5000000, not 0x669955aa$/],
  ['the header', (image) => void image[5]!++, /^the header has CRC 0x[0-9a-f]{8}, and 0x24c5f967 is written there$/],
  ['its CRC', (image) => void image[0x13]!++, /^the header has CRC 0x24c5f967, and/],
  ['the manufacturing block', (image) => void image[0x84]!++, /^the manufacturing block has CRC/],
  ['its CRC, too', (image) => void image[0xff]!++, /^the manufacturing block has CRC/],
  [
    'a bit in the directory',
    (image) => {
      withImage(image);
      image[0x17]!++;
    },
    /^the directory and its checksum add up to 0x01, not 0$/,
  ],
  [
    'an image',
    (image) => {
      withImage(image);
      image[IMAGE]!++;
    },
    /^image-0 \(PXE\) has CRC 0x/,
  ],
  [
    'an image beyond the part',
    (image) => withImage(image, 16, image.length - 60),
    /^image-0 \(PXE\) is said to be from 0x1ffc4 to 0x20004: the place for it is 0x00000200 to 0x00020000$/,
  ],
  [
    'an image far beyond',
    (image) => withImage(image, 0x013f_ffff, 0xfffffff0),
    /^image-0 \(ASF initialization\) is said to be/,
  ],
  ['an image over the headers', (image) => withImage(image, 16, 0), /^image-0 \(PXE\) is said to be/],
  ['an image without length', (image) => withImage(image, 0), /^image-0 \(PXE\) is empty$/],
  [
    'extended VPD of nonsense',
    (image) => {
      withImage(image, VPD_IMAGE);
      image.fill(0x90, IMAGE, IMAGE + 64);
    },
    /^image-0's extended vital product data: record 0x90 at 0x1000 is said to have 37008 bytes, where 61 are left$/,
  ],
  [
    'boot code beyond the part',
    (image) => {
      put32(image, 8, 0xffffffff);
      settleHeaders(image);
    },
    /^boot code is said to be from 0x200/,
  ],
  [
    'a part that is larger',
    (image) => {
      put16(image, 0xf2, 0x0001);
      settleHeaders(image);
    },
    /^it was made for 256 KiB, and has 128: it is not whole$/,
  ],
  [
    'a letter of the VPD',
    (image) => void image[0x104]!++,
    /^the vital product data and their checksum add up to 0x01, not 0$/,
  ],
  [
    'the length of a keyword',
    (image) => image.fill(0xff, PART_NUMBER + 2, PART_NUMBER + 3),
    /^the vital product data: PN at 0x129 is said to have 255 bytes, where 13 are left$/,
  ],
  [
    'a keyword that leaves something over',
    (image) => image.fill(11, PART_NUMBER + 2, PART_NUMBER + 3),
    /^the vital product data: 2 bytes at 0x137 are left over behind the last keyword$/,
  ],
  [
    'a checksum without room',
    (image) => image.fill(0, PART_NUMBER + 14, PART_NUMBER + 15),
    /^the vital product data: RV at 0x135 has no checksum$/,
  ],
  [
    'the length of a record',
    (image) => image.fill(0xff, PART_NUMBER - 2, PART_NUMBER - 1),
    /^the vital product data: record 0x90 at 0x126 is said to have 255 bytes, where 215 are left$/,
  ],
  [
    'the length of the manufacturing block',
    (image) => {
      put16(image, 0x74, 0x8d);
      settleHeaders(image);
    },
    /^the manufacturing block is said to have 141 bytes: it has 140$/,
  ],
  ['the VPD cut off', (image) => image.fill(0xff, 0x139, 0x200), /^the vital product data do not hold together$/],
  [
    'a multicast address',
    (image) => {
      image[0x7e] = 1;
      settleHeaders(image);
    },
    /^the station address 01:.* is a multicast address$/,
  ],
];
for (const [what, damage, says] of DAMAGES) {
  test(`damaged: ${what}`, async (t) => {
    const { nvram, run, device } = open('tg3');
    const image = await run(nvram.read());
    damage(image);
    const wrong = nvram.check(image);
    if (says === null) t.deepEqual(wrong, []);
    else {
      t.is(wrong.length, 1, wrong.join('\n'));
      t.regex(wrong[0]!, says);
    }
    device.close();
  });
}

test('any one bit of the headers that is wrong is seen', async (t) => {
  const { nvram, run, device } = open('tg3');
  const good = await run(nvram.read());
  const covered = (at: number) => at < 0x78 || (at >= 0x7c && at < 0x126) || at === 0x138;
  for (let bit = 0; bit < 8 * 0x139; bit++) {
    if (!covered(bit >> 3)) continue;
    const bad = good.with(bit >> 3, good[bit >> 3]! ^ (1 << (bit & 7)));
    t.not(nvram.check(bad).length, 0, `bit ${bit}`);
  }
  device.close();
});

test('an image that is cut off before its headers end is none', async (t) => {
  const { nvram, run, device } = open('tg3');
  const short = (await run(nvram.read())).subarray(0, 0x1ff);
  for (const act of [
    () => nvram.check(short),
    () => nvram.entries(short),
    () => nvram.withMac(short, new Uint8Array(6)),
  ])
    t.throws(act, { message: 'an NVRAM image of 511 bytes: its headers alone have 512' });
  device.close();
});

test('what the directory has is listed by its type, and where it is', async (t) => {
  const { nvram, run, device } = open('tg3');
  const image = await run(nvram.read());
  withImage(image, 0x00c0_0010);
  const texts = Object.fromEntries(nvram.entries(image).map(({ name, text }) => [name, text]));
  t.is(texts['directory-0'], '64 bytes at 0x1000, to 0x00010000, runs on CPU A and B');
  t.is(texts['image-0'], '64 bytes');
  t.is(texts['part-number'], 'BCM957762');
  t.is(texts['vpd-pn'], 'BCM957762');
  t.is(texts['firmware-version'], '1.05');
  t.is(texts['nvram-size'], '128 KiB');
  const empty = new Uint8Array(0x200);
  t.deepEqual(
    nvram.entries(empty).map(({ name }) => name),
    ['magic'],
  );
  device.close();
});
