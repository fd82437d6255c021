/** The 8254x as every block of the driver sees it. */
import { I82540EM } from '../../sim/e1000/registers.ts';
import { ALL_ONES, Card } from '../card.ts';
import type { PciDevice } from '../device.ts';
import { I82574L, type Variant } from './variants.ts';

export const R = I82540EM.r;
export const R74 = I82574L.r;

export class Chip extends Card {
  readonly variant: Variant;

  constructor(device: PciDevice, variant: Variant) {
    super(device);
    this.variant = variant;
  }

  /** Posted writes reach the card before a read returns. */
  flush(): void {
    this.read(R.STATUS);
  }

  /** No STATUS has all its bits set. */
  get gone(): boolean {
    return this.read(R.STATUS) === ALL_ONES;
  }
}
