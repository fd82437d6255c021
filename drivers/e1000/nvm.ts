/**
 * The NVM: 16-bit words that hold the station address and the chip's defaults. Intel 317453 chapter 5.
 */
import { field } from '../../sim/registers.ts';
import { DeviceError } from '../device.ts';
import { type Chip, R, R74 } from './chip.ts';
import { owningMdio } from './phy.ts';

/** What the checksum covers; a larger part has more behind, which is not touched. */
export const WORDS = 64;
/** Words 0x00 to 0x3F add up to this (5.6.35). */
export const CHECKSUM = 0xbaba;

/** Reads the 64 words that the checksum covers. */
export async function readNvm(chip: Chip): Promise<Uint16Array> {
  const words = new Uint16Array(WORDS);
  try {
    for (let at = 0; at < WORDS; at++) words[at] = await readByEerd(chip, at);
  } catch (error) {
    const silent = error instanceof DeviceError && error.code === 'TIMEOUT';
    if (!silent || !chip.variant.microwire) throw error;
    await withMicrowire(chip, async (port) => {
      for (let at = 0; at < WORDS; at++) words[at] = await port.read(at);
    });
  }
  return words;
}

/**
 * Writes those words that are not `before`'s. The chip goes on with what it loaded at its last reset.
 * @throws DeviceError 'TIMEOUT' where the part does not get ready. What was written up to then stays.
 */
export async function writeNvm(chip: Chip, before: Uint16Array, words: Uint16Array): Promise<void> {
  const changed = Array.from(words.keys()).filter((at) => words[at] !== before[at]);
  if (changed.length === 0) return;
  if (!chip.variant.microwire) {
    await owningMdio(chip, () => writeByEewr(chip, changed, words));
    return;
  }
  await withMicrowire(chip, async (port) => {
    await port.enableWrites();
    try {
      for (const at of changed) await port.write(at, words[at]!);
    } finally {
      await port.disableWrites();
    }
  });
}

/** @throws DeviceError 'BAD_NVM' where the words do not add up. */
export function checkNvm(chip: Chip, words: Uint16Array): void {
  const sum = sumOf(words);
  if (sum === CHECKSUM) return;
  const found = sum.toString(16).padStart(4, '0');
  throw new DeviceError(
    'BAD_NVM',
    `${chip.device.name}: the NVM adds up to 0x${found}, not 0xbaba: rewrite it, or start with ignoreNvmChecksum`,
  );
}

/** What the words add up to: 0xbaba where nothing is wrong. */
export function sumOf(words: Uint16Array): number {
  return words.reduce((total, word) => (total + word) & 0xffff, 0);
}

/** Makes the last word such that all add up (5.6.35). */
export function settleChecksum(words: Uint16Array): void {
  words[WORDS - 1] = words[WORDS - 1]! + CHECKSUM - sumOf(words);
}

/** 5.6.1: words 0 to 2, the low byte first on the wire. */
export function macOf(words: Uint16Array): Uint8Array {
  return Uint8Array.from({ length: 6 }, (_, i) => words[i >> 1]! >> (8 * (i & 1)));
}

/** 5.3.1: the chip shifts the word in by itself. */
async function readByEerd(chip: Chip, address: number): Promise<number> {
  const { done, shift } = chip.variant.eerd;
  chip.write(R.EERD, R.EERD.START | (address << shift));
  const value = await chip.poll(R.EERD, done, done, 5_000_000, `reading NVM word ${address}`);
  return value >>> 16;
}

const EEWR_LIMIT = 50_000_000;
const FLASH_LIMIT = 1_000_000_000;
const FLASH = 0b11;

/**
 * The 82574L takes words into its shadow of the NVM (82574 datasheet, EEWR). Where a flash is behind that (EECD.NVMTYPE,
 * by what Linux's e1000e makes of it), the shadow is committed to it at the end.
 */
async function writeByEewr(chip: Chip, changed: readonly number[], words: Uint16Array): Promise<void> {
  const { EECD, EEWR } = R74;
  for (const at of changed) {
    chip.write(EEWR, EEWR.START | (at << 2) | (words[at]! << 16));
    await chip.poll(EEWR, EEWR.DONE, EEWR.DONE, EEWR_LIMIT, `writing NVM word ${at}`);
  }
  if (field(chip.read(EECD), EECD.NVMTYPE) !== FLASH) return;
  await chip.poll(EECD, EECD.FLUPD, 0, FLASH_LIMIT, 'waiting for the flash');
  chip.set(EECD, EECD.FLUPD);
  await chip.poll(EECD, EECD.FLUPD, 0, FLASH_LIMIT, 'writing the flash');
}

// A start bit and the opcode. EWEN and EWDS are told apart by the two top bits of the address.
const MICROWIRE_READ = 0b110;
const MICROWIRE_WRITE = 0b101;
const MICROWIRE_EXTENDED = 0b100;
const EWEN = 0b11;
const EWDS = 0b00;
const HALF_CLOCK = 1_000; // SK runs at up to 1 MHz; this is half of that
const GRANT = 100_000_000;
const WRITE_LIMIT = 50_000_000; // a 93C46 takes 10 ms at most

/** 5.3.2: software moves chip select, clock and data itself, while it has the port to itself. */
async function withMicrowire<T>(chip: Chip, action: (port: Microwire) => Promise<T>): Promise<T> {
  const { EECD } = R;
  chip.set(EECD, EECD.EE_REQ);
  try {
    await chip.poll(EECD, EECD.EE_GNT, EECD.EE_GNT, GRANT, 'asking for the EEPROM');
    return await action(new Microwire(chip));
  } finally {
    chip.clear(EECD, EECD.EE_REQ | EECD.CS | EECD.SK | EECD.DI);
  }
}

/** The serial port of the EEPROM. Between two commands the part is deselected. */
class Microwire {
  readonly #chip: Chip;
  readonly #addressBits: number;
  #lines: number;

  constructor(chip: Chip) {
    const { EECD } = R;
    const control = chip.read(EECD);
    this.#chip = chip;
    this.#addressBits = (control & EECD.EE_SIZE) !== 0 ? 8 : 6;
    this.#lines = control & ~(EECD.CS | EECD.SK | EECD.DI);
  }

  async read(address: number): Promise<number> {
    await this.#command(MICROWIRE_READ, address);
    let word = 0;
    for (let bit = 0; bit < 16; bit++) {
      await this.#clock(0);
      word = (word << 1) | this.#output;
    }
    await this.#select(false);
    return word;
  }

  /** Deselecting the part begins the write; selected again, it shows on DO when it is done. */
  async write(address: number, word: number): Promise<void> {
    await this.#command(MICROWIRE_WRITE, address);
    await this.#shiftOut(word, 16);
    await this.#select(false);
    await this.#select(true);
    const { time, name } = this.#chip.device;
    const deadline = time.now() + WRITE_LIMIT;
    while (this.#output === 0) {
      if (time.now() >= deadline) throw new DeviceError('TIMEOUT', `${name}: NVM word ${address} is not written`);
      await time.delay(100 * HALF_CLOCK);
    }
    await this.#select(false);
  }

  enableWrites(): Promise<void> {
    return this.#extended(EWEN);
  }

  disableWrites(): Promise<void> {
    return this.#extended(EWDS);
  }

  async #extended(which: number): Promise<void> {
    await this.#command(MICROWIRE_EXTENDED, which << (this.#addressBits - 2));
    await this.#select(false);
  }

  async #command(code: number, address: number): Promise<void> {
    await this.#select(true);
    await this.#shiftOut((code << this.#addressBits) | address, 3 + this.#addressBits);
  }

  #select(on: boolean): Promise<void> {
    const { CS } = R.EECD;
    return this.#drive(on ? this.#lines | CS : this.#lines & ~CS);
  }

  get #output(): 0 | 1 {
    return (this.#chip.read(R.EECD) & R.EECD.DO) !== 0 ? 1 : 0;
  }

  async #shiftOut(value: number, bits: number): Promise<void> {
    for (let bit = bits - 1; bit >= 0; bit--) await this.#clock((value >> bit) & 1);
  }

  /** One clock: data is taken at the rising edge, and appears after it. */
  async #clock(bit: number): Promise<void> {
    const { SK, DI } = R.EECD;
    const low = bit === 0 ? this.#lines & ~DI : this.#lines | DI;
    await this.#drive(low & ~SK);
    await this.#drive(low | SK);
    this.#lines = low & ~SK;
  }

  async #drive(lines: number): Promise<void> {
    this.#lines = lines;
    this.#chip.write(R.EECD, lines);
    this.#chip.flush();
    await this.#chip.device.time.delay(HALF_CLOCK);
  }
}
