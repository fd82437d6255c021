/** Message-signalled interrupts: PCI Local Bus Specification 3.0, 6.8.1. */
import { ro } from '../../registers.ts';
import type { PciFunction } from '../function.ts';
import { type Capability, CapabilityPart, capability } from './capability.ts';
import { CAP_MSI } from './ids.ts';

const CONTROL = 2;
const ENABLE = 1;
const CAPABLE = 1; // log2 of the vectors asked for, in bits 3:1 …
const ENABLED = 4; // … and of those allotted, in bits 6:4

export interface MsiShape {
  /** Messages it asks for: a power of two up to 32. One, if absent. */
  readonly vectors?: number;
  /** Addresses of 64 bits, as most have them; 32, if false. */
  readonly wide?: boolean;
  /** A mask and a pending bit for each vector (6.8.1.7). */
  readonly masks?: boolean;
}

export function msi(at: number, shape: MsiShape = {}): Capability {
  const { vectors = 1, wide = true, masks = false } = shape;
  const capable = Math.log2(vectors);
  if (!Number.isInteger(capable) || capable < 0 || capable > 5) throw new RangeError(`MSI of ${vectors} vectors`);
  const data = wide ? 12 : 8;
  const fields = { VECTORS: [vectors - 1, 0] } as const;
  return capability(
    'MSI',
    CAP_MSI,
    at,
    '6.8.1',
    {
      MSI_CONTROL: {
        at: CONTROL,
        width: 2,
        access: 'RW',
        title: 'MSI control',
        reset: (capable << CAPABLE) | (wide ? 0x80 : 0) | (masks ? 0x100 : 0),
        fields: {
          ENABLE: 0,
          CAPABLE: ro([3, 1]),
          ENABLED: vectors > 1 ? [6, 4] : ro([6, 4]),
          _64BIT: ro(7),
          MASKS: ro(8),
        },
      },
      MSI_ADDRESS: { at: 4, access: 'RW', title: 'MSI address', fields: { ADDRESS: [31, 2] } },
      ...(wide && { MSI_UPPER_ADDRESS: { at: 8, access: 'RW', title: 'MSI address, high half' } as const }),
      MSI_DATA: { at: data, width: 2, access: 'RW', title: 'MSI data' },
      ...(masks && {
        MSI_MASK: { at: data + 4, access: 'RW', title: 'MSI mask, a bit a vector', fields } as const,
        MSI_PENDING: { at: data + 8, access: 'RO', title: 'MSI pending, a bit a vector', fields } as const,
      }),
    },
    { attach: (owner) => new Msi(owner, at, { vectors, wide, masks }) },
  );
}

export class Msi extends CapabilityPart {
  /** Vectors it asks for. */
  readonly vectors: number;
  readonly #wide: boolean;
  readonly #data: number;
  readonly #mask: number; // its place; the pending bits' is behind it; 0 for none

  constructor(owner: PciFunction, at: number, { vectors, wide, masks }: Required<MsiShape>) {
    super(owner, at);
    this.vectors = vectors;
    this.#wide = wide;
    this.#data = at + (wide ? 12 : 8);
    this.#mask = masks ? this.#data + 4 : 0;
    owner.config.onChange(at, masks ? this.#mask + 4 - at : this.#data + 2 - at, () => {
      owner.settle();
      this.release();
    });
  }

  get #control(): number {
    return this.owner.config.peek(this.at + CONTROL, 2);
  }

  get enabled(): boolean {
    return (this.#control & ENABLE) !== 0;
  }

  /** Vectors that software has allotted: it may give fewer than were asked for, and a wrong number counts as all. */
  get allotted(): number {
    return Math.min(1 << ((this.#control >>> ENABLED) & 7), this.vectors);
  }

  /** Sends a vector, or leaves it pending while it is masked. Vectors that were not allotted fold into those that were. */
  raise(vector: number): void {
    if (!this.enabled) return;
    const { config, dma, host } = this.owner;
    const number = vector & (this.allotted - 1);
    if (this.#mask !== 0 && (config.peek(this.#mask, 4) >>> number) & 1) {
      config.poke(this.#mask + 4, 4, config.peek(this.#mask + 4, 4) | (1 << number));
      return;
    }
    if (!dma.enabled) return; // a message is a memory write: no bus mastering, no message (6.8.1.1)
    const high = this.#wide ? config.peek(this.at + 8, 4) : 0;
    const data = (config.peek(this.#data, 2) & ~(this.allotted - 1)) | number; // 6.8.1.6: its low bits are the vector
    host.message(number, config.peek(this.at + 4, 4), high, data);
  }

  /** Pending vectors that nothing masks any more. */
  release(): void {
    if (this.#mask === 0 || !this.enabled || !this.owner.dma.enabled) return;
    const { config } = this.owner;
    const free = config.peek(this.#mask + 4, 4) & ~config.peek(this.#mask, 4);
    if (free === 0) return;
    config.poke(this.#mask + 4, 4, config.peek(this.#mask + 4, 4) & ~free);
    for (let vector = 0; vector < this.vectors; vector++) if ((free >>> vector) & 1) this.raise(vector);
  }

  override reset(): void {
    if (this.#mask !== 0) this.owner.config.poke(this.#mask + 4, 4, 0);
  }
}
