/**
 * The flash behind the NVRAM registers, and a factory image for it.
 *
 * A command is done at once: DONE is there when the write that carried GO returns. Words are big-endian: the byte at the
 * lowest address is the most significant. Layout of an image: Broadcom's guides, chapter "NVRAM"; Linux's tg3.
 */
import { crc32 } from '../kernels/index.ts';
import { get32, put16, put32 } from '../packet.ts';
import { array, block, type Stateful } from '../state.ts';
import type { Chip } from './chips.ts';
import type { Context } from './context.ts';
import type { Tg3Registers } from './registers.ts';

export const NVRAM_SIZE = 128 * 1024;
const MAGIC = 0x669955aa;
const BOOT_CODE = 0x200;
const VPD = 0x100;
const VERSION = 0x0105; // 1.05
const REQUESTERS = 4;

/**
 * A legacy image that holds together: headers with their checksums, station address, vital product data; boot code of one
 * word, since nothing here runs it.
 * @param mac six bytes.
 */
export function factoryImage(chip: Chip, mac: Uint8Array): Uint8Array {
  const image = new Uint8Array(NVRAM_SIZE).fill(0xff);
  image.fill(0, 0, BOOT_CODE + 0x40);
  put32(image, 0x00, MAGIC);
  put32(image, 0x04, 0x0800_0000); // where boot code goes
  put32(image, 0x08, 0x10); // its words
  put32(image, 0x0c, BOOT_CODE);
  putCrc(image, 0x10, crc32(image, 0, 0x10));
  put16(image, 0x74, 0x8c);
  image.set(mac, 0x7e);
  putText(image, 0x84, chip.partNumber);
  put16(image, 0x96, VERSION);
  for (const at of [0xa0, 0xa4]) put16(image, at, chip.device);
  for (const at of [0xa2, 0xa6]) put16(image, at, 0x14e4);
  image[0xf2] = (NVRAM_SIZE >>> 10) & 0xff;
  image[0xf3] = NVRAM_SIZE >>> 18;
  putCrc(image, 0xfc, crc32(image, 0x74, 0x88));
  putVpd(image, chip.partNumber);
  return image;
}

function putCrc(image: Uint8Array, at: number, crc: number): void {
  for (let i = 0; i < 4; i++) image[at + i] = crc >>> (8 * i);
}

function putText(image: Uint8Array, at: number, text: string): number {
  for (const letter of text) image[at++] = letter.charCodeAt(0);
  return at;
}

/** PCI 2.2, appendix I: identifier string, part number, and a checksum that makes all bytes up to it add up to 0. */
function putVpd(image: Uint8Array, partNumber: string): void {
  const title = 'Broadcom NetXtreme Gigabit Ethernet';
  image.set([0x82, title.length, 0], VPD);
  let at = putText(image, VPD + 3, title);
  image.set([0x90, 3 + partNumber.length + 4, 0], at);
  at = putText(image, at + 3, 'PN');
  image[at++] = partNumber.length;
  at = putText(image, at, partNumber);
  at = putText(image, at, 'RV');
  image[at++] = 1;
  let sum = 0;
  for (let i = VPD; i < at; i++) sum += image[i]!;
  image[at++] = -sum;
  image[at] = 0x78;
}

export class Nvram {
  readonly image: Uint8Array;
  readonly state: Stateful;
  readonly #words: Uint32Array;
  readonly #r: Tg3Registers;
  readonly #config: number;

  /** @param image NVRAM_SIZE bytes. */
  constructor({ registers, r, chip }: Context, image: Uint8Array) {
    this.image = image;
    this.state = block(1, { image: array(image) });
    this.#words = registers.words;
    this.#r = r;
    this.#config = chip.nvramConfig;
    registers.onWrite(r.NVRAM_CMD, (value) => this.#command(value));
    registers.onWrite(r.NVRAM_SWARB, (value) => this.#arbitrate(value));
  }

  /** A chip reset also takes the arbitration away from whoever had it. */
  reset(): void {
    this.#words[this.#r.NVRAM_CFG1.word] = this.#config;
  }

  /** Whether boot code would be found and loaded: the magic number, and a header that holds together. */
  get boots(): boolean {
    return get32(this.image, 0) === MAGIC && this.#holds(0, 0x10);
  }

  /** The station address, at 0x7e; null where the manufacturing block does not hold together. */
  get mac(): Uint8Array | null {
    return this.#holds(0x74, 0xfc) ? this.image.subarray(0x7e, 0x84) : null;
  }

  /** Four bytes of vital product data, the first one the lowest; 0 beyond them. */
  productData(at: number): number {
    if (at >= BOOT_CODE - VPD) return 0;
    const { buffer, byteOffset } = this.image;
    return new DataView(buffer, byteOffset).getUint32(VPD + at, true);
  }

  /** Whether the bytes up to `end` have the CRC that is written there, its lowest byte first. */
  #holds(start: number, end: number): boolean {
    const crc = crc32(this.image, start, end - start);
    return [0, 1, 2, 3].every((i) => this.image[end + i] === ((crc >>> (8 * i)) & 0xff));
  }

  #command(value: number): void {
    const { NVRAM_CMD } = this.#r;
    const words = this.#words;
    const before = words[NVRAM_CMD.word]!;
    let done = value & NVRAM_CMD.DONE ? 0 : before & NVRAM_CMD.DONE;
    if (value & NVRAM_CMD.GO) {
      if (!(value & (NVRAM_CMD.WREN | NVRAM_CMD.WRDI))) this.#transfer(value);
      done = NVRAM_CMD.DONE;
    }
    words[NVRAM_CMD.word] = (value & ~(NVRAM_CMD.DONE | NVRAM_CMD.GO | NVRAM_CMD.RESET)) | done;
  }

  /** One word; the address then is the next word's, for the writes of a page that give it only once. */
  #transfer(command: number): void {
    const { NVRAM_ADDR, NVRAM_CMD, NVRAM_RDDATA, NVRAM_WRDATA } = this.#r;
    const words = this.#words;
    const { image } = this;
    const at = (words[NVRAM_ADDR.word]! & (image.length - 1) & ~3) >>> 0;
    if (command & NVRAM_CMD.ERASE) image.fill(0xff, at & ~0xff, (at & ~0xff) + 0x100);
    else if (command & NVRAM_CMD.WR) {
      put32(image, at, words[NVRAM_WRDATA.word]!);
      words[NVRAM_ADDR.word] = at + 4;
    } else words[NVRAM_RDDATA.word] = get32(image, at);
  }

  /** Who asks first has it until he lets go; then the lowest of those who wait. */
  #arbitrate(value: number): void {
    const { NVRAM_SWARB } = this.#r;
    const before = this.#words[NVRAM_SWARB.word]!;
    const requests = ((before >>> 12) | (value & 15)) & ~((value >>> 4) & 15);
    let grants = (before >>> 8) & 15 & requests;
    for (let i = 0; i < REQUESTERS && grants === 0; i++) grants = requests & (1 << i);
    this.#words[NVRAM_SWARB.word] = (requests << 12) | (grants << 8);
  }
}
