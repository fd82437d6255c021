/** MSI-X, its table and pending bits, which overlay a BAR: PCI Local Bus Specification 3.0, 6.8.2. */
import { ro } from '../../registers.ts';
import { array, block, type Stateful } from '../../state.ts';
import type { PciFunction } from '../function.ts';
import { type Capability, CapabilityPart, capability } from './capability.ts';
import { CAP_MSI_X } from './ids.ts';

const CONTROL = 2;
const ENABLE = 0x8000;
const MASK_ALL = 0x4000;
const ENTRY = 4; // words: address low, address high, data, control
const MASKED = 1;

export interface MsiXShape {
  readonly vectors: number;
  readonly bar: number;
  readonly table: number; // byte offset of the table in the BAR
  readonly pending: number; // and of the pending bit array
}

export function msiX(at: number, shape: MsiXShape): Capability {
  const { vectors, bar, table, pending } = shape;
  const fields = { BAR: [2, 0], OFFSET: [31, 3] } as const;
  return capability(
    'MSIX',
    CAP_MSI_X,
    at,
    '6.8.2',
    {
      MSIX_CONTROL: {
        at: CONTROL,
        width: 2,
        access: 'RW',
        title: 'MSI-X control',
        reset: vectors - 1,
        fields: { LAST_VECTOR: ro([10, 0]), MASK_ALL: 14, ENABLE: 15 },
      },
      MSIX_TABLE: { at: 4, access: 'RO', title: 'where the table is', reset: table | bar, fields },
      MSIX_PENDING: { at: 8, access: 'RO', title: 'where the pending bit array is', reset: pending | bar, fields },
    },
    { attach: (owner) => new MsiX(owner, at, shape) },
  );
}

export class MsiX extends CapabilityPart {
  readonly vectors: number;
  /** Index of the BAR that table and pending bits are in. */
  readonly bar: number;
  readonly #control: number;
  readonly #shape: MsiXShape;
  readonly #table: Uint32Array;
  readonly #pending: Uint32Array;
  override readonly state: Stateful;

  constructor(owner: PciFunction, at: number, shape: MsiXShape) {
    super(owner, at);
    this.#control = at + CONTROL;
    this.#shape = shape;
    this.vectors = shape.vectors;
    this.bar = shape.bar;
    this.#table = new Uint32Array(shape.vectors * ENTRY);
    this.#pending = new Uint32Array((shape.vectors + 31) >> 5);
    this.state = block(1, { table: array(this.#table), pending: array(this.#pending) });
    this.reset();
    owner.config.onChange(this.#control, 2, () => {
      owner.settle();
      this.release();
    });
  }

  get enabled(): boolean {
    return (this.owner.config.peek(this.#control, 2) & ENABLE) !== 0;
  }

  /** Sends a vector, or leaves it pending while it is masked (6.8.2.4 and 6.8.3.4). */
  raise(vector: number): void {
    if (!this.enabled || vector >= this.vectors) return;
    const { config, dma, host } = this.owner;
    const entry = vector * ENTRY;
    const held = (config.peek(this.#control, 2) & MASK_ALL) !== 0 || (this.#table[entry + 3]! & MASKED) !== 0;
    if (held || !dma.enabled) this.#pending[vector >> 5]! |= 1 << (vector & 31);
    else host.message(vector, this.#table[entry]!, this.#table[entry + 1]!, this.#table[entry + 2]!);
  }

  /** Raises what is pending: where it is still masked, it pends again. */
  release(): void {
    if (!this.enabled) return;
    for (let vector = 0; vector < this.vectors; vector++) {
      const bit = 1 << (vector & 31);
      if ((this.#pending[vector >> 5]! & bit) === 0) continue;
      this.#pending[vector >> 5]! &= ~bit;
      this.raise(vector);
    }
  }

  /** For a host that keeps the guest's table from the function, as hypervisors do. */
  mask(vector: number, masked: boolean): void {
    if (vector >= this.vectors) return;
    this.#table[vector * ENTRY + 3] = masked ? MASKED : 0;
    if (!masked) this.release();
  }

  /** The word of table or pending bits there; null where there is neither. */
  read(bar: number, offset: number): number | null {
    const { bar: own, table, pending } = this.#shape;
    if (bar !== own) return null;
    return this.#table[(offset - table) >> 2] ?? this.#pending[(offset - pending) >> 2] ?? null;
  }

  /** Whether it is there. Software must write aligned words (6.8.2); the pending bits only read. */
  write(bar: number, offset: number, width: number, value: number): boolean {
    if (this.read(bar, offset) === null) return false;
    const word = (offset - this.#shape.table) >> 2;
    if (word >= 0 && word < this.#table.length && width === 4 && offset % 4 === 0) {
      this.#table[word] = value;
      if (word % ENTRY === 3) this.release();
    }
    return true;
  }

  /** 6.8.2.9: every vector masked. */
  override reset(): void {
    this.#table.fill(0);
    for (let entry = 3; entry < this.#table.length; entry += ENTRY) this.#table[entry] = MASKED;
    this.#pending.fill(0);
  }
}
