/**
 * The NVM: 16-bit words that hold the station address and the chip's defaults. Intel 317453 chapter 5.
 */
import { DeviceError } from '../device.ts';
import { type Chip, R } from './chip.ts';

const WORDS = 64;
/** Words 0x00 to 0x3F add up to this (5.6.35). */
const CHECKSUM = 0xbaba;

/** Reads the 64 words that the checksum covers. */
export async function readNvm(chip: Chip): Promise<Uint16Array> {
  const words = new Uint16Array(WORDS);
  try {
    for (let at = 0; at < WORDS; at++) words[at] = await readByEerd(chip, at);
  } catch (error) {
    const silent = error instanceof DeviceError && error.code === 'TIMEOUT';
    if (!silent || !chip.variant.microwire) throw error;
    await readByMicrowire(chip, words);
  }
  return words;
}

/** @throws DeviceError 'BAD_NVM' where the words do not add up. */
export function checkNvm(chip: Chip, words: Uint16Array): void {
  const sum = words.reduce((total, word) => (total + word) & 0xffff, 0);
  if (sum === CHECKSUM) return;
  const found = sum.toString(16).padStart(4, '0');
  throw new DeviceError(
    'BAD_NVM',
    `${chip.device.name}: the NVM adds up to 0x${found}, not 0xbaba: rewrite it, or start with ignoreNvmChecksum`,
  );
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

const MICROWIRE_READ = 0b110; // start bit and opcode
const HALF_CLOCK = 1_000; // SK runs at up to 1 MHz; this is half of that
const GRANT = 100_000_000;

/** 5.3.2: software moves chip select, clock and data itself. For chips whose EERD does not answer. */
async function readByMicrowire(chip: Chip, words: Uint16Array): Promise<void> {
  const { EECD } = R;
  chip.set(EECD, EECD.EE_REQ);
  await chip.poll(EECD, EECD.EE_GNT, EECD.EE_GNT, GRANT, 'asking for the EEPROM');
  try {
    const addressBits = (chip.read(EECD) & EECD.EE_SIZE) !== 0 ? 8 : 6;
    for (let at = 0; at < words.length; at++) words[at] = await new MicrowireRead(chip).word(at, addressBits);
  } finally {
    chip.clear(EECD, EECD.EE_REQ | EECD.CS | EECD.SK | EECD.DI);
  }
}

class MicrowireRead {
  readonly #chip: Chip;
  #lines: number;

  constructor(chip: Chip) {
    this.#chip = chip;
    this.#lines = chip.read(R.EECD) & ~(R.EECD.CS | R.EECD.SK | R.EECD.DI);
  }

  async word(address: number, addressBits: number): Promise<number> {
    const { CS } = R.EECD;
    await this.#drive(this.#lines | CS);
    await this.#shiftOut((MICROWIRE_READ << addressBits) | address, 3 + addressBits);
    let word = 0;
    for (let bit = 0; bit < 16; bit++) {
      await this.#clock(0);
      word = (word << 1) | ((this.#chip.read(R.EECD) & R.EECD.DO) !== 0 ? 1 : 0);
    }
    await this.#drive(this.#lines & ~CS); // between two commands the part must be deselected
    return word;
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
