/** What the blocks of the chip are handed. */
import type { BusMaster } from '../memory.ts';
import type { Host } from '../pci/function.ts';
import type { RegisterFile } from '../registers.ts';
import type { Chip } from './chips.ts';
import type { Tg3Registers } from './registers.ts';

export interface Context {
  readonly chip: Chip;
  readonly host: Host;
  readonly registers: RegisterFile;
  /** The registers by name. */
  readonly r: Tg3Registers;
  /** Of the function that owns the block. */
  readonly dma: BusMaster;
}

/** One of several rings of a kind. */
export interface RingContext extends Context {
  readonly index: number;
  /** For traces. */
  readonly name: string;
}
