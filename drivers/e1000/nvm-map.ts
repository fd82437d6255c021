/** What the NVM's words are for: Intel 317453 table 5-2 and §5.6, and what in it can be wrong. */

import { imageWords } from '../../sim/e1000/nvm.ts';
import type { Nvram, NvramEntry } from '../chip-tools.ts';
import { DeviceError } from '../device.ts';
import { macText, wrongAddress } from '../station-address.ts';
import type { Chip } from './chip.ts';
import { CHECKSUM, macOf, readNvm, settleChecksum, sumOf, WORDS, writeNvm } from './nvm.ts';
import type { Variant } from './variants.ts';

const SIGNATURE_WORD = 0x0a;
const SIGNATURE = 0b01; // in bits 15:14: without it the chip loads nothing (5.6.7)
const PBA = 0x08;
/** In the first of PBA's words: the second leads to a length, in words and with itself, and so many letters (Linux: NVM_PBA_PTR_GUARD). */
const POINTER = 0xfafa;

type MapRow = readonly [word: number, name: string, about: string, words?: number];

const COMMON: readonly MapRow[] = [
  [0x00, 'mac', 'station address', 3],
  [0x03, 'compatibility', 'what kind of board it is on'],
  [0x05, 'image-version', 'version of this image'],
  [0x06, 'oem', "the board maker's", 2],
  [0x08, 'pba', 'printed board assembly number', 2],
  [0x0a, 'initialization-control-1', 'signature, and what is loaded from here'],
  [0x0b, 'subsystem-id', 'PCI subsystem'],
  [0x0c, 'subsystem-vendor-id', 'PCI subsystem vendor'],
  [0x0d, 'device-id', 'PCI device'],
  [0x0f, 'initialization-control-2', 'link, PAUSE and flash defaults'],
  [0x30, 'boot-agent', "the boot ROM's settings", 4],
  [0x3f, 'checksum', 'words 0x00 to 0x3f add up to 0xbaba'],
];

const I8254X: readonly MapRow[] = [
  [0x04, 'serdes', 'SerDes configuration'],
  [0x0e, 'vendor-id', 'PCI vendor'],
  [0x20, 'sdp-control', 'software-defined pins'],
  [0x21, 'circuit-control', 'analogue circuits'],
  [0x22, 'power', 'what D0 and D3 consume'],
  [0x23, 'management-control', 'management, and initialization control 3', 2],
  [0x25, 'ipv4', 'IPv4 address for wake-up', 2],
  [0x27, 'ipv6', 'IPv6 address for wake-up', 8],
  [0x2f, 'led', 'LED defaults'],
];

function mapOf({ is82574 }: Variant): readonly MapRow[] {
  return is82574 ? COMMON : [...COMMON, ...I8254X].sort(([a], [b]) => a - b);
}

/** Bytes as the part holds them: words, the low byte first. */
export class E1000Nvram implements Nvram {
  readonly cell = 2;
  readonly #chip: Chip;

  constructor(chip: Chip) {
    this.#chip = chip;
  }

  async read(): Promise<Uint8Array> {
    return bytesOf(await readNvm(this.#chip));
  }

  write(before: Uint8Array, image: Uint8Array): Promise<void> {
    return writeNvm(this.#chip, wordsOf(before), wordsOf(image));
  }

  check(image: Uint8Array): string[] {
    const words = wordsOf(image);
    if (words.every((word) => word === words[0])) return [`every word is ${hex(words[0]!)}: it is empty, or not there`];
    const wrong: string[] = [];
    const sum = sumOf(words);
    if (sum !== CHECKSUM) {
      const right = (words[WORDS - 1]! + CHECKSUM - sum) & 0xffff;
      wrong.push(`the words add up to ${hex(sum)}, not 0xbaba: the checksum would be ${hex(right)}`);
    }
    const signature = words[SIGNATURE_WORD]! >>> 14;
    if (this.#chip.variant.microwire && signature !== SIGNATURE)
      wrong.push(`word 0x0a has the signature ${signature}, not 1: the chip loads nothing from it`);
    wrong.push(...wrongPba(words));
    const address = wrongAddress(macOf(words));
    return address === null ? wrong : [...wrong, address];
  }

  entries(image: Uint8Array): NvramEntry[] {
    const words = wordsOf(image);
    return mapOf(this.#chip.variant).map(([word, name, about, count = 1]) => ({
      name,
      at: 2 * word,
      length: 2 * count,
      about,
      ...textOf(name, words, word),
    }));
  }

  macOf(image: Uint8Array): Uint8Array {
    return macOf(wordsOf(image));
  }

  withMac(image: Uint8Array, mac: Uint8Array): Uint8Array {
    const words = wordsOf(image);
    for (let i = 0; i < 3; i++) words[i] = mac[2 * i]! | (mac[2 * i + 1]! << 8);
    settleChecksum(words);
    return bytesOf(words);
  }
}

function textOf(name: string, words: Uint16Array, at: number): { text?: string } {
  if (name === 'mac') return { text: macText(macOf(words)) };
  if (name === 'pba' && words[at] === POINTER) return { text: wrongPba(words).length > 0 ? 'nowhere' : pbaText(words) };
  // Four bytes and a suffix of two digits: 123456-078 is 1234h, 5678h.
  if (name === 'pba') {
    const digits = words[at]!.toString(16).padStart(4, '0') + words[at + 1]!.toString(16).padStart(4, '0');
    return { text: `${digits.slice(0, 6)}-0${digits.slice(6)}` };
  }
  return {};
}

/** The length that PBA leads to is inside, and is one. */
function wrongPba(words: Uint16Array): string[] {
  if (words[PBA] !== POINTER) return [];
  const at = words[PBA + 1]!;
  if (at >= WORDS)
    return [`word 0x09 leads to word ${hex(at)} for the board's number: 0x${WORDS.toString(16)} are here`];
  const length = words[at]!;
  if (length > 1 && at + length <= WORDS) return [];
  return [`the board's number at word ${hex(at)} is said to have ${length} words, where ${WORDS - at} are left`];
}

/** Two letters a word, the first in its high byte. */
function pbaText(words: Uint16Array): string {
  const at = words[PBA + 1]!;
  const letters = Array.from(words.subarray(at + 1, at + words[at]!), (word) => [word >>> 8, word & 0xff]).flat();
  return letters.map((letter) => (letter >= 0x20 && letter < 0x7f ? String.fromCharCode(letter) : '.')).join('');
}

function wordsOf(image: Uint8Array): Uint16Array {
  if (image.length !== 2 * WORDS)
    throw new DeviceError('INVALID', `an NVM image of ${image.length} bytes: it has ${2 * WORDS}`);
  return imageWords(image);
}

function bytesOf(words: Uint16Array): Uint8Array {
  return Uint8Array.from({ length: 2 * words.length }, (_, i) => words[i >> 1]! >> (8 * (i & 1)));
}

const hex = (word: number) => `0x${word.toString(16).padStart(4, '0')}`;
