/** What a capability is: rows of configuration space, and what they do in a function. */
import { type Row, type Rows, run } from '../../registers.ts';
import { block, type Stateful } from '../../state.ts';
import type { PciFunction, ResetKind } from '../function.ts';

export interface Capability {
  /** In front of its rows' names: "MSI". */
  readonly name: string;
  readonly id: number;
  /** Its place: a multiple of 4 from 0x40 on; from 0x100 on where it is an extended one. */
  readonly at: number;
  /** Of an extended capability (PCIe 3.0, 7.9.3). */
  readonly version?: number;
  readonly section: string;
  readonly rows: Rows;
  /** What it does; a capability without only stores. */
  readonly attach?: (owner: PciFunction) => CapabilityPart;
}

/** A capability at work in one function. */
export class CapabilityPart {
  protected readonly owner: PciFunction;
  /** Where its registers begin. */
  protected readonly at: number;

  constructor(owner: PciFunction, at: number) {
    this.owner = owner;
    this.at = at;
  }

  /** Before configuration space has its reset values again. */
  reset(_kind: ResetKind): void {}

  /** What it knows beside the registers, which are loaded before it. */
  readonly state: Stateful = block(1, {});
}

/** A row as the specification has it: `at` counts from the capability's start. */
export type CapabilityRow = Omit<Row, 'at' | 'section'> & { readonly at: number; readonly count?: number };

type More = Pick<Capability, 'version' | 'attach'>;

/** A capability of these rows, at its place. */
export function capability(
  name: string,
  id: number,
  at: number,
  section: string,
  rows: Readonly<Record<string, CapabilityRow>>,
  more: More = {},
): Capability {
  const placed = Object.entries(rows).map(([row, { count = 1, ...shape }]) => {
    const start = at + shape.at;
    return [row, { ...shape, at: count > 1 ? [run(start, count)] : start, section }];
  });
  return { name, id, at, section, rows: Object.fromEntries(placed) as Rows, ...more };
}

/** Whether a write of `width` bytes at `at` covers bit `bit` of the register at `register`, and sets it. */
export function sets(register: number, bit: number, at: number, width: number, value: number): boolean {
  const shift = 8 * (register - at) + bit;
  return shift >= 0 && shift < 8 * width && ((value >>> shift) & 1) !== 0;
}
