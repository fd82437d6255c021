/**
 * The NVRAM: big-endian words behind an arbiter, and the station address in them; or where boot code has put that.
 * The layout is Broadcom 5722-PG101-R's legacy format; what NVRAM_CFG1 stands for, and how each part wants to be written,
 * as Linux has it (tg3_nvram_init, tg3_nvram_write_block).
 */
import { crc32 } from '../../sim/kernels/index.ts';
import { field, hex } from '../../sim/registers.ts';
import { SRAM_MAC_HIGH, SRAM_MAC_LOW } from '../../sim/tg3/descriptors.ts';
import { ALL_ONES } from '../card.ts';
import { DeviceError, MILLISECOND } from '../device.ts';
import { wrongAddress } from '../station-address.ts';
import { type Chip, R } from './chip.ts';

const { GRC_MODE, NVRAM_ACCESS, NVRAM_ADDR, NVRAM_CFG1, NVRAM_CMD, NVRAM_RDDATA, NVRAM_SWARB, NVRAM_WRDATA } = R;

const LOCK_LIMIT = 160 * MILLISECOND;
const READ_LIMIT = 100 * MILLISECOND;
/** A part may erase a page meanwhile. */
const WRITE_LIMIT = 500 * MILLISECOND;
/** SPI opcodes by which a part is opened for writing and closed: write enable 06h, write disable 04h. */
const WRITE_OPCODES = 0x0406;
/** Header and manufacturing block. */
const HEADERS = 0x100;
const MAGIC = 0x669955aa;
const HEADER_CRC = 0x10;
const MANUFACTURING = 0x74;
const MANUFACTURING_CRC = 0xfc;
const MAC = 0x7e;
/** 16 bits, the low byte first. */
const SIZE_IN_KIB = 0xf2;
/** "HK" in front of an address that boot code has put into SRAM. */
const SRAM_MAC_SIGNATURE = 0x484b;

/** SRAM's, where boot code left one, else the NVRAM's. */
export async function readStationAddress(chip: Chip, ignoreChecksum: boolean): Promise<Uint8Array> {
  const fromSram = sramAddress(chip);
  if (fromSram !== null) return fromSram;
  const image = await owningNvram(chip, () => readRange(chip, (at) => at, HEADERS));
  const [damaged] = damage(image);
  if (damaged !== undefined && !ignoreChecksum) throw badNvram(chip, damaged);
  const mac = macOf(image);
  const wrong = wrongAddress(mac);
  if (wrong === null) return mac;
  throw badNvram(chip, wrong);
}

function sramAddress(chip: Chip): Uint8Array | null {
  const high = chip.readSram(SRAM_MAC_HIGH);
  if (high >>> 16 !== SRAM_MAC_SIGNATURE) return null;
  const low = chip.readSram(SRAM_MAC_LOW);
  const mac = Uint8Array.of(high >>> 8, high, low >>> 24, low >>> 16, low >>> 8, low);
  return wrongAddress(mac) === null ? mac : null;
}

function badNvram({ device }: Chip, what: string): DeviceError {
  return new DeviceError(
    'BAD_NVM',
    `${device.name}: the NVRAM is damaged: ${what}: rewrite it, or start with ignoreNvmChecksum and an address of your own`,
  );
}

// ---- The image --------------------------------------------------------------------------------------------------------

/** What is wrong with the header and the manufacturing block of an image; without the magic nothing more can be said. */
export function damage(image: Uint8Array): string[] {
  if (!hasMagic(image)) return [`the image begins with ${hex(viewOf(image).getUint32(0), 8)}, not ${hex(MAGIC, 8)}`];
  return [
    ...wrongCrc(image, 'the header', 0, HEADER_CRC),
    ...wrongCrc(image, 'the manufacturing block', MANUFACTURING, MANUFACTURING_CRC),
  ];
}

export function hasMagic(image: Uint8Array): boolean {
  return viewOf(image).getUint32(0) === MAGIC;
}

/** The CRC-32 of the bytes before `to` is there, its low byte first. */
export function wrongCrc(image: Uint8Array, what: string, from: number, to: number): string[] {
  const sum = crc32(image, from, to - from);
  const stored = viewOf(image).getUint32(to, true);
  return sum === stored ? [] : [`${what} has CRC ${hex(sum, 8)}, and ${hex(stored, 8)} is written there`];
}

export function macOf(image: Uint8Array): Uint8Array {
  return image.slice(MAC, MAC + 6);
}

/** A copy with another address, and the manufacturing block's CRC to match. */
export function withMac(image: Uint8Array, mac: Uint8Array): Uint8Array {
  const copy = image.slice();
  copy.set(mac, MAC);
  viewOf(copy).setUint32(MANUFACTURING_CRC, crc32(copy, MANUFACTURING, MANUFACTURING_CRC - MANUFACTURING), true);
  return copy;
}

/** Bytes of the part that the image was made for; 0 where it does not say. */
export function sizeIn(image: Uint8Array): number {
  return viewOf(image).getUint16(SIZE_IN_KIB, true) * KIB;
}

export const viewOf = ({ buffer, byteOffset, length }: Uint8Array) => new DataView(buffer, byteOffset, length);

// ---- The part ---------------------------------------------------------------------------------------------------------

interface Part {
  /** Bytes; absent where only the image tells. */
  readonly size?: number;
  /** Bytes that are written in one go. */
  readonly page: number;
  readonly wants?:
    | 'erasing' // a page at a time, which is then written whole
    | 'opening' // before each page
    | 'words'; // an EEPROM: each is a command by itself
  /** A page of 264 bytes begins at each multiple of 512. */
  readonly atmel?: true;
}

const KIB = 1024;
const ATMEL_PAGE = 264;
const ATMEL_STRIDE = 512;

const MASK_575X = 0x0300_0003;
const PARTS_575X = new Map<number, Part>([
  [0x0300_0001, { page: 256, wants: 'opening' }], // ST M45PE
  [0x0200_0003, { page: ATMEL_PAGE, atmel: true }], // Atmel AT45DB, with a buffer
  [0x0000_0003, { page: ATMEL_PAGE, wants: 'erasing' }], // … without
  [0x0200_0000, { page: 64 * KIB, wants: 'words' }], // EEPROM
  [0x0100_0003, { page: 256, wants: 'erasing' }], // Saifun
  [0x0000_0001, { page: 4096, wants: 'erasing' }], // SST
  [0x0200_0001, { page: 4096, wants: 'erasing' }],
]);

const MASK_577XX = 0x03c0_0003;
/** Flash by its size, with pages as NVRAM_CFG1 30:28 has them; 0: an EEPROM, whose size the image tells. */
const SIZES_577XX = new Map([
  [0x0240_0000, 128 * KIB], // ST M45PE10, 20, 40
  [0x0240_0002, 256 * KIB],
  [0x0240_0001, 512 * KIB],
  [0x0200_0003, 128 * KIB], // Atmel AT45DB011, 021, 041
  [0x0040_0000, 128 * KIB],
  [0x0340_0000, 128 * KIB],
  [0x0040_0002, 256 * KIB],
  [0x0340_0002, 256 * KIB],
  [0x0040_0001, 512 * KIB],
  [0x0340_0001, 512 * KIB],
  [0x0300_0002, 0],
  [0x0200_0000, 0],
]);
const PAGES_577XX = [256, 512, 1024, 2048, 4096, ATMEL_PAGE];

/** @throws DeviceError 'UNSUPPORTED' where NVRAM_CFG1 names a part that nothing is known of. */
function partOf(chip: Chip): Part {
  const config = chip.read(NVRAM_CFG1);
  const part = chip.variant.is577xx ? part577xx(config) : PARTS_575X.get((config & MASK_575X) >>> 0);
  if (part !== undefined) return part;
  const { name } = chip.device;
  throw new DeviceError('UNSUPPORTED', `${name}: no driver here knows the NVRAM part of NVRAM_CFG1 ${hex(config, 8)}`);
}

function part577xx(config: number): Part | undefined {
  const size = SIZES_577XX.get((config & MASK_577XX) >>> 0);
  if (size === 0) return { page: 64 * KIB, wants: 'words' };
  const page = PAGES_577XX[field(config, NVRAM_CFG1._5752PAGE_SIZE)];
  if (size === undefined || page === undefined) return undefined;
  return page === ATMEL_PAGE ? { size, page, atmel: true } : { size, page };
}

type Address = (at: number) => number;

function addressing({ atmel }: Part): Address {
  return atmel ? (at) => Math.floor(at / ATMEL_PAGE) * ATMEL_STRIDE + (at % ATMEL_PAGE) : (at) => at;
}

/** The largest that any of these chips has; and what is taken where nothing tells. */
const LARGEST = 512 * KIB;
const SMALLEST = 16 * KIB;

/** What the image says; else where the part, which ignores address lines that it does not have, begins again. */
async function sizeOf(chip: Chip, address: Address): Promise<number> {
  const headers = await readRange(chip, address, HEADERS);
  const said = sizeIn(headers);
  if (damage(headers).length === 0 && sizes().includes(said)) return said;
  for (const size of sizes()) {
    const there = await readRange(chip, address, HEADERS, size);
    if (there.every((byte, i) => byte === headers[i]) && headers.some((byte) => byte !== headers[0])) return size;
  }
  return LARGEST;
}

function sizes(): number[] {
  const all = [];
  for (let size = SMALLEST; size <= LARGEST; size *= 2) all.push(size);
  return all;
}

// ---- Commands ---------------------------------------------------------------------------------------------------------

/** Arbitration: request 1 is the driver's; firmware has the others. */
export async function lockNvram(chip: Chip): Promise<void> {
  chip.write(NVRAM_SWARB, NVRAM_SWARB.REQ_SET1);
  await chip.poll(NVRAM_SWARB, NVRAM_SWARB.GNT1, NVRAM_SWARB.GNT1, LOCK_LIMIT, 'asking for the NVRAM');
}

async function owningNvram<T>(chip: Chip, action: () => Promise<T>): Promise<T> {
  try {
    await lockNvram(chip);
    chip.set(NVRAM_ACCESS, NVRAM_ACCESS.ACCESS_ENABLE);
    return await action();
  } finally {
    chip.clear(NVRAM_ACCESS, NVRAM_ACCESS.ACCESS_ENABLE | NVRAM_ACCESS.ACCESS_WR_ENABLE);
    chip.write(NVRAM_SWARB, NVRAM_SWARB.REQ_CLR1);
  }
}

/** The whole part; `size` bytes of it, where that is known already. */
export function readNvram(chip: Chip, size?: number): Promise<Uint8Array> {
  return owningNvram(chip, async () => {
    const part = partOf(chip);
    const address = addressing(part);
    return readRange(chip, address, size ?? part.size ?? (await sizeOf(chip, address)));
  });
}

async function readRange(chip: Chip, address: Address, length: number, from = 0): Promise<Uint8Array> {
  const image = new Uint8Array(length);
  const view = viewOf(image);
  for (let at = 0; at < length; at += 4) {
    chip.write(NVRAM_ADDR, address(from + at));
    const waiting = command(chip, NVRAM_CMD.FIRST | NVRAM_CMD.LAST, READ_LIMIT, 'reading', from + at);
    if (waiting !== null) await waiting;
    view.setUint32(at, chip.read(NVRAM_RDDATA));
  }
  return image;
}

/**
 * Writes words that are not `before`'s; of a part that has to be erased, the pages that they are in.
 * @throws DeviceError 'TIMEOUT' where the part does not get ready. What was written up to then stays.
 */
export async function writeNvram(chip: Chip, before: Uint8Array, image: Uint8Array): Promise<void> {
  if (image.length !== before.length)
    throw new DeviceError('INVALID', `an NVRAM image of ${image.length} bytes: the part has ${before.length}`);
  const [old, wanted] = [viewOf(before), viewOf(image)];
  const changed: number[] = [];
  for (let at = 0; at < image.length; at += 4) if (old.getUint32(at) !== wanted.getUint32(at)) changed.push(at);
  if (changed.length === 0) return;
  await owningNvram(chip, async () => {
    const part = partOf(chip);
    chip.set(NVRAM_ACCESS, NVRAM_ACCESS.ACCESS_WR_ENABLE);
    chip.write(R.NVRAM_WRITE1, WRITE_OPCODES);
    chip.set(GRC_MODE, GRC_MODE.NVRAM_WR_ENABLE);
    try {
      for (const [from, to] of runs(changed, part, image.length)) await program(chip, part, wanted, from, to);
    } finally {
      chip.clear(GRC_MODE, GRC_MODE.NVRAM_WR_ENABLE);
    }
  });
}

/** Neighbouring words, to where the page ends; or the pages that they are in. */
function runs(changed: readonly number[], { page, wants }: Part, size: number): [from: number, to: number][] {
  const found: [number, number][] = [];
  for (const at of changed) {
    const last = found.at(-1);
    if (last !== undefined && at < last[1]) continue;
    const start = at - (at % page);
    if (wants === 'erasing') found.push([start, Math.min(start + page, size)]);
    else if (last?.[1] === at && at !== start) last[1] = at + 4;
    else found.push([at, at + 4]);
  }
  return found;
}

async function program(chip: Chip, part: Part, words: DataView, from: number, to: number): Promise<void> {
  const { WR, ERASE, FIRST, LAST, WREN, WRDI } = NVRAM_CMD;
  const { wants } = part;
  const address = addressing(part);
  const write = (bits: number, at: number) => command(chip, bits, WRITE_LIMIT, 'writing', at);
  if (wants === 'erasing') {
    await write(WREN, from);
    chip.write(NVRAM_ADDR, address(from));
    await write(WR | ERASE | FIRST | LAST, from);
  }
  if (wants === 'erasing' || wants === 'opening') await write(WREN, from);
  for (let at = from; at < to; at += 4) {
    const first = at === from || wants === 'words';
    const last = at + 4 === to || wants === 'words';
    chip.write(NVRAM_WRDATA, words.getUint32(at));
    if (first || !chip.variant.is577xx) chip.write(NVRAM_ADDR, address(at)); // later chips count on from the first
    await write(WR | (first ? FIRST : 0) | (last ? LAST : 0), at);
  }
  if (wants === 'erasing') await write(WRDI, from);
}

/** Null where it is done at once: a turn of the event loop for each of a whole part's words adds up. */
function command(chip: Chip, bits: number, limit: number, doing: string, at: number): Promise<unknown> | null {
  const { GO, DONE } = NVRAM_CMD;
  chip.write(NVRAM_CMD, GO | DONE | bits);
  const status = chip.read(NVRAM_CMD);
  if ((status & DONE) !== 0 && status !== ALL_ONES) return null;
  return chip.poll(NVRAM_CMD, DONE, DONE, limit, `${doing} NVRAM word 0x${at.toString(16)}`);
}
