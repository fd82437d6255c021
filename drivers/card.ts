/** A card as every block of its driver sees it: its registers, its memory and time, and waiting that ends. */
import { type AnyRegister, encode, type FieldValues, fieldsMask, offsetOf } from '../sim/registers.ts';
import { DeviceError, type PciDevice, type RegisterSpace } from './device.ts';
import { goneError } from './lifecycle.ts';

/** What a register reads as when nothing answers any more. */
export const ALL_ONES = 0xffffffff;

const MICROSECOND = 1_000;
const LONGEST_STEP = 1_000_000;

export abstract class Card {
  readonly device: PciDevice;
  readonly bar: RegisterSpace;

  constructor(device: PciDevice) {
    this.device = device;
    this.bar = device.bar(0);
  }

  /** The card does not answer any more: a register that never has all its bits set has them. */
  abstract get gone(): boolean;

  read(register: AnyRegister, index = 0): number {
    return this.bar.read32(offsetOf(register, index));
  }

  /**
   * A whole word, or fields of which those not named are 0: `write(TCTL, { EN: 1, CT: 15 })`.
   * @throws RangeError where a value does not fit its field.
   */
  write<M>(register: AnyRegister & { readonly fields: M }, value: number | FieldValues<M>, index = 0): void {
    const word = typeof value === 'number' ? value : encode(register, value);
    this.bar.write32(offsetOf(register, index), word >>> 0);
  }

  /** Gives fields these values and leaves the others as they are read; returns what was written. */
  modify<M>(register: AnyRegister & { readonly fields: M }, values: FieldValues<M>): number {
    const word = (this.read(register) & ~fieldsMask(register, values)) | encode(register, values);
    this.write(register, word);
    return word;
  }

  set(register: AnyRegister, bits: number): void {
    this.write(register, this.read(register) | bits);
  }

  clear(register: AnyRegister, bits: number): void {
    this.write(register, this.read(register) & ~bits);
  }

  /**
   * Reads until `(value & mask) === want`, with growing pauses.
   * @throws DeviceError 'TIMEOUT' after `ns`; 'FAILED' where the card is gone.
   */
  async poll(register: AnyRegister, mask: number, want: number, ns: number, what: string): Promise<number> {
    const { time, name } = this.device;
    const deadline = time.now() + ns;
    for (let step = MICROSECOND; ; step = Math.min(2 * step, LONGEST_STEP)) {
      const value = this.read(register);
      if (value === ALL_ONES && this.gone) throw goneError(this.device);
      if ((value & mask) >>> 0 === want >>> 0) return value;
      if (time.now() >= deadline) {
        throw new DeviceError('TIMEOUT', `${name}: ${what}: ${register.name} still reads 0x${value.toString(16)}`);
      }
      await time.delay(step);
    }
  }
}
