/** What the server asks of a PCI function: a model is one, and so is whatever else looks as it does from its bus. */
import type { ConfigSpace } from '../../sim/pci/config.ts';
import type { Host, PciFunction } from '../../sim/pci/function.ts';

export interface Servable
  extends Pick<PciFunction, 'hasMsi' | 'msixVectors' | 'messageKind' | 'maskVector' | 'readBar' | 'writeBar'> {
  readonly config: Pick<ConfigSpace, 'bytes' | 'read' | 'write'>;
  /** By BAR index; null where there is none. */
  readonly bars: readonly ({ readonly size: number } | null)[];
  reset(kind: 'bus'): void;
}

/** Where its interrupts go: a message by its vector. */
export interface Signals extends Pick<Host, 'intx'> {
  message(vector: number): void;
}
