/** The BCM57xx as every block of the driver sees it: registers, SRAM behind its window, and the reset. */
import { BCM57XX } from '../../sim/tg3/registers.ts';
import { ALL_ONES, Card } from '../card.ts';
import type { PciDevice } from '../device.ts';
import type { Variant } from './variants.ts';

export const R = BCM57XX.r;

/** BAR 0 begins with configuration space: vendor and device id, which are never all ones. */
const IDENTITY = 0;

export class Chip extends Card {
  readonly variant: Variant;

  constructor(device: PciDevice, variant: Variant) {
    super(device);
    this.variant = variant;
  }

  get gone(): boolean {
    return this.bar.read32(IDENTITY) === ALL_ONES;
  }

  /** A word of SRAM. The window always goes back to 0: the card's own firmware uses it, too. */
  readSram(at: number): number {
    this.write(R.MEM_WIN_BASE_ADDR, at);
    const value = this.read(R.MEM_WIN_DATA);
    this.write(R.MEM_WIN_BASE_ADDR, 0);
    return value;
  }

  writeSram(at: number, value: number): void {
    this.write(R.MEM_WIN_BASE_ADDR, at);
    this.write(R.MEM_WIN_DATA, value);
    this.write(R.MEM_WIN_BASE_ADDR, 0);
  }
}
