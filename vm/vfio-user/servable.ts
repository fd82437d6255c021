/** What the server asks of a PCI function: a model is one, and so is whatever else looks as it does from its bus. */
import type { ConfigSpace } from '../../sim/pci/config.ts';
import type { Host, PciFunction, Region } from '../../sim/pci/function.ts';

export interface Servable
  extends Pick<PciFunction, 'msiVectors' | 'msixVectors' | 'messageKind' | 'maskVector' | 'readBar' | 'writeBar'> {
  readonly config: Pick<ConfigSpace, 'bytes' | 'read' | 'write'>;
  /** By BAR index; null where there is none. */
  readonly bars: readonly ({ readonly size: number } | null)[];
  /** The expansion ROM, where there is one. */
  readonly rom: Pick<Region, 'size' | 'read'> | null;
  reset(kind: 'function'): void;
}

/** Where its interrupts go: a message by its vector. */
export interface Signals extends Required<Pick<Host, 'intx' | 'wasReset'>> {
  message(vector: number): void;
}
