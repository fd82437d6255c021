/**
 * Single root I/O virtualization, of a physical function: SR-IOV 1.1, 3.3. Virtual functions are there from VF Enable on, and
 * go with it; the chip makes them.
 */
import { type Saved, StateError, type Stateful } from '../../state.ts';
import { type BarShape, barRows } from '../bars.ts';
import type { PciFunction } from '../function.ts';
import { type Capability, CapabilityPart, capability } from './capability.ts';
import { EXTENDED_CAP_SR_IOV } from './ids.ts';

const CONTROL = 0x08;
const ENABLE = 1 << 0;
const MEMORY = 1 << 3;
const ARI = 1 << 4;
const NUMBER = 0x10;
const OFFSET = 0x14;
const STRIDE = 0x16;
const BAR0 = 0x24;

const PAGES = 0x553; // 4 KiB to 4 MiB: those that every device must have (3.3.12)
const PAGE_FIELDS = { _4K: 0, _8K: 1, _64K: 4, _256K: 6, _1M: 8, _4M: 10 } as const;

/** Where virtual functions are: the first one's number less their physical function's, and from each to the next. */
export interface VfPlaces {
  readonly offset: number;
  readonly stride: number;
}

export interface SrIovShape extends VfPlaces {
  /** Virtual functions at most. */
  readonly total: number;
  /** Their device id. */
  readonly device: number;
  /** What each has, by index. */
  readonly bars: Readonly<Record<number, BarShape>>;
  /** Their places where the way to them knows no ARI; the same, if absent. */
  readonly withoutAri?: VfPlaces;
}

export function srIov(at: number, shape: SrIovShape): Capability {
  const { total, device, bars, withoutAri = shape } = shape;
  return capability(
    'SRIOV',
    EXTENDED_CAP_SR_IOV,
    at,
    'SR-IOV 1.1, 3.3',
    {
      SRIOV_CAPABILITIES: {
        at: 0x04,
        access: 'RO',
        title: 'SR-IOV capabilities',
        fields: { MIGRATION: 0, ARI_KEPT: 1 },
      },
      SRIOV_CONTROL: {
        at: CONTROL,
        width: 2,
        access: 'RW',
        title: 'SR-IOV control',
        live: true,
        fields: { ENABLE: 0, MEMORY: 3, ARI: 4 },
      },
      SRIOV_STATUS: { at: 0x0a, width: 2, access: 'RO', title: 'SR-IOV status: no migration' },
      SRIOV_INITIAL: { at: 0x0c, width: 2, access: 'RO', title: 'virtual functions to begin with', reset: total },
      SRIOV_TOTAL: { at: 0x0e, width: 2, access: 'RO', title: 'virtual functions at most', reset: total },
      SRIOV_NUMBER: { at: NUMBER, width: 2, access: 'RW', title: 'virtual functions wanted', live: true },
      SRIOV_LINK: { at: 0x12, width: 1, access: 'RO', title: 'depends on no other function' },
      SRIOV_OFFSET: { at: OFFSET, width: 2, access: 'RO', title: 'first one', reset: withoutAri.offset, live: true },
      SRIOV_STRIDE: { at: STRIDE, width: 2, access: 'RO', title: 'to the next', reset: withoutAri.stride, live: true },
      SRIOV_DEVICE_ID: { at: 0x1a, width: 2, access: 'RO', title: 'their device id', reset: device },
      SRIOV_PAGES: { at: 0x1c, access: 'RO', title: 'page sizes that it can have', reset: PAGES },
      SRIOV_PAGE: { at: 0x20, access: 'RW', title: 'page size', reset: 1, fields: PAGE_FIELDS },
      ...barRows('SRIOV_BASE_ADDRESS', BAR0, '', bars),
      SRIOV_MIGRATION: { at: 0x3c, access: 'RO', title: 'migration states: none' },
    },
    { version: 1, attach: (owner) => new SrIov(owner, at, shape) },
  );
}

export class SrIov extends CapabilityPart {
  /** Makes virtual function `index`, whose number on the board is `number`. The chip's. */
  make: ((index: number, number: number) => PciFunction) | null = null;
  /** Their device id, which their own configuration space does not tell. */
  readonly device: number;
  readonly #shape: SrIovShape;
  #functions: readonly PciFunction[] = [];
  #wanted = 0;
  #sample: PciFunction | null = null; // one that states are checked with

  constructor(owner: PciFunction, at: number, shape: SrIovShape) {
    super(owner, at);
    this.#shape = shape;
    this.device = shape.device;
    owner.config.onChange(at + NUMBER, 2, () => this.#numberChanged());
    owner.config.onChange(at + CONTROL, 2, () => this.#controlChanged());
  }

  /** Those that there are, by index. */
  get functions(): readonly PciFunction[] {
    return this.#functions;
  }

  get #control(): number {
    return this.owner.config.peek(this.at + CONTROL, 2);
  }

  /** More than there can be, and any change while they are there, is without effect (3.3.7). */
  #numberChanged(): void {
    const { config } = this.owner;
    const number = config.peek(this.at + NUMBER, 2);
    if (this.#functions.length > 0 || number > this.#shape.total) config.poke(this.at + NUMBER, 2, this.#wanted);
    else this.#wanted = number;
  }

  #controlChanged(): void {
    const control = this.#control;
    const enabled = (control & ENABLE) !== 0;
    if (!enabled) this.#remove();
    if (!enabled || this.#functions.length === 0) this.#place();
    if (enabled && this.#functions.length === 0) this.#create();
    for (const it of this.#functions) it.decodeMemory((control & MEMORY) !== 0);
  }

  /** 3.3.3.5: whether the hierarchy knows ARI may move them, and must not while they are there. */
  #place(): void {
    const { withoutAri = this.#shape } = this.#shape;
    const { offset, stride } = this.#control & ARI ? this.#shape : withoutAri;
    this.owner.config.poke(this.at + OFFSET, 2, offset);
    this.owner.config.poke(this.at + STRIDE, 2, stride);
  }

  #create(): void {
    const { config, number } = this.owner;
    const { make } = this;
    if (make === null) return;
    const first = number + config.peek(this.at + OFFSET, 2);
    const stride = config.peek(this.at + STRIDE, 2);
    this.#functions = Array.from({ length: this.#wanted }, (_, index) => {
      const it = make(index, first + index * stride);
      it.number = first + index * stride;
      return it;
    });
  }

  #remove(): void {
    const gone = this.#functions;
    this.#functions = [];
    for (const it of gone) it.remove();
  }

  override reset(): void {
    this.#remove();
    this.#wanted = 0;
  }

  /** Virtual functions that are loaded are made first, as the registers say. */
  override readonly state: Stateful<readonly Saved[]> = {
    save: () => this.#functions.map((it) => it.state.save()),
    check: (saved, where) => {
      if (!Array.isArray(saved) || saved.length > this.#shape.total)
        throw new StateError(where, `not the states of ${this.#shape.total} virtual functions at most`);
      if (saved.length === 0) return;
      this.#sample ??= this.make?.(0, this.owner.number + this.#shape.offset) ?? null;
      for (const [index, state] of saved.entries()) this.#sample?.state.check(state, `${where}[${index}]`);
    },
    load: (saved) => {
      this.#remove();
      this.#wanted = this.owner.config.peek(this.at + NUMBER, 2);
      this.#controlChanged();
      for (const [index, it] of this.#functions.entries()) if (index < saved.length) it.state.load(saved[index]!);
    },
  };
}
