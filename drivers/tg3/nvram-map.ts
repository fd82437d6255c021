/**
 * What the NVRAM's bytes are for: boot code's header, a directory of images, the manufacturing block, vital product data.
 * The layout is Broadcom 5722-PG101-R's legacy format, chapter "NVRAM"; names of fields and types of images also
 * Thundergate's (include/nvram.h) and Linux's. Numbers have their high byte first.
 */
import { hex } from '../../sim/registers.ts';
import type { Nvram, NvramEntry } from '../chip-tools.ts';
import { DeviceError } from '../device.ts';
import { macText, wrongAddress } from '../station-address.ts';
import type { Chip } from './chip.ts';
import { damage, hasMagic, macOf, readNvram, sizeIn, viewOf, withMac, writeNvram, wrongCrc } from './nvram.ts';

/** Before boot code: header, directory, manufacturing block and vital product data. */
const HEADERS = 0x200;
const DIRECTORY = 0x14;
const DIRECTORY_ENTRIES = 8;
const DIRECTORY_ENTRY = 12;
const DIRECTORY_SUM = 0x76;
const BOOT_CODE = { words: 0x08, at: 0x0c } as const;
const VPD = 0x100;
/** From its length's own place to the end of its CRC. */
const MANUFACTURING_LENGTH = { at: 0x74, bytes: 0x8c } as const;

const EXTENDED_VPD = 0x14;
const IMAGES: Readonly<Record<number, string>> = {
  0: 'PXE',
  1: 'ASF initialization',
  [EXTENDED_VPD]: 'extended vital product data',
};

type Show = (bytes: Uint8Array, image: Uint8Array) => string;

const number: Show = (bytes) => `0x${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
const bytesAt: Show = (bytes) => `0x${viewOf(bytes).getUint32(0).toString(16)}`;
const lowFirst: Show = (bytes) => number(bytes.toReversed(), bytes);
const words: Show = (bytes) => `${4 * viewOf(bytes).getUint32(0)} bytes`;
const version: Show = ([major, minor]) => `${major}.${String(minor).padStart(2, '0')}`;
const date: Show = (bytes) => (bytes.some((byte) => byte !== 0) ? number(bytes, bytes).slice(2) : 'none');
const kib: Show = (_, image) => (sizeIn(image) === 0 ? 'not said' : `${sizeIn(image) / 1024} KiB`);
const features: Show = (bytes, image) =>
  [number(bytes, image), (bytes[3]! & 0x02) !== 0 ? 'PXE' : '', (bytes[3]! & 0x80) !== 0 ? 'ASF' : '']
    .join(' ')
    .trimEnd();

type MapRow = readonly [at: number, length: number, name: string, about: string, show?: Show];

const HEADER: readonly MapRow[] = [
  [0x00, 4, 'magic', 'what an image begins with'],
  [0x04, 4, 'boot-code-address', 'where the chip loads it to'],
  [0x08, 4, 'boot-code-length', 'how long it is', words],
  [0x0c, 4, 'boot-code-offset', 'where it is in here', bytesAt],
  [0x10, 4, 'header-crc', 'CRC-32 of bytes 0x00 to 0x0f', lowFirst],
];

const MANUFACTURING: readonly MapRow[] = [
  [0x74, 2, 'manufacturing-length', 'of this block'],
  [0x76, 1, 'directory-checksum', 'makes it and the directory add up to 0'],
  [0x77, 1, 'format-revision', 'of this block'],
  [0x7e, 6, 'mac', 'station address', macText],
  [0x84, 16, 'part-number', "the board's", ascii],
  [0x94, 2, 'part-revision', "the board's", ascii],
  [0x96, 2, 'firmware-version', "boot code's", version],
  [0x98, 4, 'manufacturing-date', 'as digits', date],
  [0x9c, 2, 'boot-agent-vlan', "the boot ROM's VLAN"],
  [0x9e, 2, 'boot-agent-vlan-2', "… of a second port's"],
  [0xa0, 2, 'device-id', 'PCI device'],
  [0xa2, 2, 'vendor-id', 'PCI vendor'],
  [0xa4, 2, 'subsystem-id', 'PCI subsystem'],
  [0xa6, 2, 'subsystem-vendor-id', 'PCI subsystem vendor'],
  [0xa8, 2, 'cpu-clock', "the internal CPU's, MHz", (bytes) => String(viewOf(bytes).getUint16(0))],
  [0xaa, 2, 'smbus-address', 'two of them, on the management bus'],
  [0xae, 6, 'mac-backup', 'station address, once more', macText],
  [0xb6, 6, 'mac-backup-2', "… of a second port's", macText],
  [0xbc, 4, 'power-dissipated', 'in D0 to D3'],
  [0xc0, 4, 'power-consumed', 'in D0 to D3'],
  [0xc4, 4, 'feature-config', 'what the firmware does', features],
  [0xc8, 4, 'hardware-config', 'PHY, LEDs, wake-up'],
  [0xce, 6, 'mac-2', "a second port's station address", macText],
  [0xd4, 4, 'feature-config-2', 'what the firmware does for a second port', features],
  [0xd8, 4, 'hardware-config-2', "a second port's"],
  [0xdc, 4, 'shared-config', "both ports'"],
  [0xe0, 8, 'power-budget', 'PCI Express'],
  [0xe8, 8, 'serdes-config', 'SerDes'],
  [0xf0, 2, 'tpm-size', "the security module's part of this"],
  [0xf2, 2, 'nvram-size', 'of the part that this was made for', kib],
  [0xf4, 8, 'power-budget-2', 'PCI Express'],
  [0xfc, 4, 'manufacturing-crc', 'CRC-32 of bytes 0x74 to 0xfb', lowFirst],
];

/** Bytes, as the part holds them. */
export class Tg3Nvram implements Nvram {
  readonly cell = 1;
  readonly #chip: Chip;
  /** Once it is known it stays: of some parts it is in what they hold, which may be changed. */
  #size: number | undefined;

  constructor(chip: Chip) {
    this.#chip = chip;
  }

  async read(): Promise<Uint8Array> {
    const image = await readNvram(this.#chip, this.#size);
    this.#size = image.length;
    return image;
  }

  write(before: Uint8Array, image: Uint8Array): Promise<void> {
    return writeNvram(this.#chip, before, image);
  }

  check(image: Uint8Array): string[] {
    whole(image);
    if (image.every((byte) => byte === image[0]))
      return [`every byte is ${hex(image[0]!, 2)}: it is empty, or not there`];
    if (!hasMagic(image)) return damage(image);
    const wrong = wrongAddress(macOf(image));
    return [
      ...damage(image),
      ...(sizeIn(image) > image.length
        ? [`it was made for ${sizeIn(image) / 1024} KiB, and has ${image.length / 1024}: it is not whole`]
        : []),
      ...wrongManufacturing(image),
      ...wrongDirectory(image),
      ...piecesOf(image).flatMap((piece) => wrongPiece(image, piece)),
      ...wrongVpd(image, 'the vital product data', VPD, HEADERS),
      ...(wrong === null ? [] : [wrong]),
    ];
  }

  entries(image: Uint8Array): NvramEntry[] {
    whole(image);
    if (!hasMagic(image)) return rows(image, HEADER.slice(0, 1));
    return [
      ...rows(image, HEADER),
      ...directoryEntries(image),
      ...rows(image, MANUFACTURING),
      ...vpdEntries(image, 'vpd', VPD, HEADERS),
      ...piecesOf(image)
        .filter(({ at, length }) => length > 0 && fits(image, at, length))
        .flatMap((piece) => contents(image, piece)),
    ];
  }

  macOf(image: Uint8Array): Uint8Array {
    return macOf(image);
  }

  withMac(image: Uint8Array, mac: Uint8Array): Uint8Array {
    return withMac(whole(image), mac);
  }
}

function whole(image: Uint8Array): Uint8Array {
  if (image.length >= HEADERS) return image;
  throw new DeviceError('INVALID', `an NVRAM image of ${image.length} bytes: its headers alone have ${HEADERS}`);
}

function rows(image: Uint8Array, map: readonly MapRow[]): NvramEntry[] {
  return map.map(([at, length, name, about, show = number]) => ({
    name,
    at,
    length,
    about,
    text: show(image.subarray(at, at + length), image),
  }));
}

// ---- Boot code and the directory --------------------------------------------------------------------------------------

/** What the header or the directory points at. */
interface Piece {
  /** "boot-code", "image-0" */
  readonly name: string;
  readonly about: string;
  readonly at: number;
  readonly length: number;
  /** Its type in the directory; boot code has none. */
  readonly type?: number;
}

function piecesOf(image: Uint8Array): Piece[] {
  const view = viewOf(image);
  const bootCode = {
    name: 'boot-code',
    about: 'boot code',
    at: view.getUint32(BOOT_CODE.at),
    length: 4 * view.getUint32(BOOT_CODE.words),
  };
  return [bootCode, ...directoryOf(image)];
}

function directoryOf(image: Uint8Array): (Piece & { index: number; type: number; sram: number; cpus: string })[] {
  const view = viewOf(image);
  const found = [];
  for (let index = 0; index < DIRECTORY_ENTRIES; index++) {
    const entry = DIRECTORY + index * DIRECTORY_ENTRY;
    const [sram, kind, at] = [view.getUint32(entry), view.getUint32(entry + 4), view.getUint32(entry + 8)];
    if ((sram | kind | at) === 0) continue;
    const type = kind >>> 24;
    const cpus = ['A', 'B'].filter((_, i) => (kind & (0x0080_0000 >>> i)) !== 0).join(' and ');
    const about = IMAGES[type] ?? `image of type ${hex(type, 2)}`;
    found.push({ index, name: `image-${index}`, about, at, length: 4 * (kind & 0x3f_ffff), type, sram, cpus });
  }
  return found;
}

const fits = ({ length: size }: Uint8Array, at: number, length: number) => at >= HEADERS && at + length <= size;

function wrongManufacturing(image: Uint8Array): string[] {
  const { at, bytes } = MANUFACTURING_LENGTH;
  const said = viewOf(image).getUint16(at);
  return said === bytes ? [] : [`the manufacturing block is said to have ${said} bytes: it has ${bytes}`];
}

function wrongDirectory(image: Uint8Array): string[] {
  let sum = image[DIRECTORY_SUM]!;
  for (let at = DIRECTORY; at < DIRECTORY + DIRECTORY_ENTRIES * DIRECTORY_ENTRY; at++) sum += image[at]!;
  const over = sum & 0xff;
  return over === 0 ? [] : [`the directory and its checksum add up to ${hex(over, 2)}, not 0`];
}

/** An image ends with its CRC; extended vital product data have a sum of their own. */
function wrongPiece(image: Uint8Array, { name, about, at, length, type }: Piece): string[] {
  const what = type === undefined ? about : `${name} (${about})`;
  if (!fits(image, at, length)) {
    const end = `0x${(at + length).toString(16).padStart(2, '0')}`; // it may take more than 32 bits
    const where = `${hex(at, 2)} to ${end}`;
    return [`${what} is said to be from ${where}: the place for it is ${hex(HEADERS, 8)} to ${hex(image.length, 8)}`];
  }
  if (type === undefined) return [];
  if (type === EXTENDED_VPD) return wrongVpd(image, `${name}'s ${about}`, at, at + length);
  if (length < 8) return [`${what} is empty`];
  return wrongCrc(image, what, at, at + length - 4);
}

function directoryEntries(image: Uint8Array): NvramEntry[] {
  return directoryOf(image).map(({ index, about, at, length, sram, cpus }) => ({
    name: `directory-${index}`,
    at: DIRECTORY + index * DIRECTORY_ENTRY,
    length: DIRECTORY_ENTRY,
    about,
    text: `${length} bytes at ${hex(at, 2)}, to ${hex(sram, 8)}${cpus === '' ? '' : `, runs on CPU ${cpus}`}`,
  }));
}

function contents(image: Uint8Array, { name, about, at, length, type }: Piece): NvramEntry[] {
  if (type === EXTENDED_VPD) return vpdEntries(image, `${name}-vpd`, at, at + length);
  return [{ name, at, length, about, text: `${length} bytes` }];
}

// ---- Vital product data -----------------------------------------------------------------------------------------------

// PCI 2.2, appendix I: resources with a tag and a length, of which the large ones hold keywords.
const TAG_NAME = 0x82;
const TAG_READ = 0x90;
const TAG_WRITE = 0x91;
const KEYWORDS: Readonly<Record<string, string>> = {
  PN: 'part number',
  EC: 'engineering change level',
  SN: 'serial number',
  MN: 'maker',
  RV: 'makes all bytes up to it add up to 0',
  RW: 'room that may be written',
};

const TAG_END = 0x0f << 3; // and the length, of a checksum
const LARGE = 0x80;
const BLANK = 0xff; // what an erased part reads as

interface Keyword {
  /** "PN"; of the name, "name". */
  readonly key: string;
  readonly at: number;
  readonly length: number;
}

interface Vpd {
  readonly keywords: readonly Keyword[];
  /** Lengths that reach beyond what they are in, or leave something over. */
  readonly wrong: readonly string[];
  /** They end as they should; nothing at all does, too. */
  readonly whole: boolean;
}

/** What is between `from` and `to`, as far as it holds together. */
function vpdOf(image: Uint8Array, from: number, to: number): Vpd {
  const view = viewOf(image);
  const keywords: Keyword[] = [];
  const wrong: string[] = [];
  let at = from;
  if (image[from] === BLANK || image[from] === 0) return { keywords, wrong, whole: true };
  while (at + 3 <= to && (image[at]! & LARGE) !== 0 && image[at] !== BLANK) {
    const tag = image[at]!;
    const start = at + 3;
    const length = view.getUint16(start - 2, true);
    if (start + length > to)
      return { keywords, wrong: [...wrong, over(`record ${hex(tag, 2)}`, at, length, to - start)], whole: false };
    at = start + length;
    if (tag === TAG_NAME) keywords.push({ key: 'name', at: start, length });
    if (tag === TAG_READ || tag === TAG_WRITE) wrong.push(...readKeywords(image, start, at, keywords));
  }
  const end = at < to && (image[at]! & ~7) === TAG_END;
  if (end && at + 1 + (image[at]! & 7) > to) wrong.push(over('the end', at, image[at]! & 7, to - at - 1));
  return { keywords, wrong, whole: end };
}

/** Adds a record's keywords to `found`, up to one whose length cannot be; returns what is wrong. */
function readKeywords(image: Uint8Array, from: number, to: number, found: Keyword[]): string[] {
  for (let at = from; at < to; ) {
    if (at + 3 > to) return [`${to - at} bytes at ${hex(at, 2)} are left over behind the last keyword`];
    const key = ascii(image.subarray(at, at + 2));
    const length = image[at + 2]!;
    const left = to - at - 3;
    if (length > left) return [over(key, at, length, left)];
    if (key === 'RV' && length === 0) return [`RV at ${hex(at, 2)} has no checksum`];
    found.push({ key, at: at + 3, length });
    at += 3 + length;
  }
  return [];
}

function over(what: string, at: number, length: number, left: number): string {
  return `${what} at ${hex(at, 2)} is said to have ${length} bytes, where ${left} are left`;
}

/** The first byte of RV makes all up to it add up to 0; without one there is nothing to check. */
function wrongVpd(image: Uint8Array, what: string, from: number, to: number): string[] {
  const { keywords, wrong, whole } = vpdOf(image, from, to);
  if (wrong.length > 0) return wrong.map((line) => `${what}: ${line}`);
  if (!whole) return [`${what} do not hold together`];
  const checksum = keywords.find(({ key }) => key === 'RV');
  if (checksum === undefined) return [];
  let sum = 0;
  for (let at = from; at <= checksum.at; at++) sum = (sum + image[at]!) & 0xff;
  return sum === 0 ? [] : [`${what} and their checksum add up to ${hex(sum, 2)}, not 0`];
}

function vpdEntries(image: Uint8Array, prefix: string, from: number, to: number): NvramEntry[] {
  return vpdOf(image, from, to)
    .keywords.filter(({ length }) => length > 0)
    .map(({ key, at, length }) => ({
      name: `${prefix}-${key.toLowerCase()}`,
      at,
      length: key === 'RV' ? 1 : length,
      about: key === 'name' ? "the product's name" : (KEYWORDS[key] ?? "the maker's own"),
      text:
        key === 'RV' ? hex(image[at]!, 2) : key === 'RW' ? `${length} bytes` : ascii(image.subarray(at, at + length)),
    }));
}

/** As far as its first zero, without what would not print. */
function ascii(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  const letters = Array.from(end < 0 ? bytes : bytes.subarray(0, end), (byte) =>
    byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.',
  );
  return letters.join('').trim();
}
