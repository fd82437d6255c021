/**
 * A PCI function, from the inside: what a model is built on. It knows nothing of who drives it.
 *
 * The host hands it a clock, memory and somewhere to signal; it offers configuration space, BARs, reset, and a snapshot.
 * Sections: PCI Local Bus Specification 3.0.
 */
import type { Clock } from '../clock.ts';
import { type AddressSpace, BusMaster } from '../memory.ts';
import { field, type RegisterMap } from '../registers.ts';
import type { Trace } from '../trace.ts';
import {
  BAR0,
  COMMAND,
  COMMAND_INTX_DISABLE,
  COMMAND_IO,
  COMMAND_MASTER,
  COMMAND_MEMORY,
  ConfigSpace,
  STATUS,
  STATUS_INTERRUPT,
} from './config.ts';
import type { MsiXPlace } from './rows.ts';

/** `size` bytes of `bytes` from `start`. */
export interface PacketMemory {
  readonly bytes: Uint8Array;
  readonly start: number;
}

/** What a function is plugged into. */
export interface Host {
  readonly clock: Clock;
  readonly memory: AddressSpace;
  /**
   * Memory for the function's own packet buffers, `start` a multiple of 64. A host that can puts it into the very array
   * that DMA memory is in: then frames move with copyWithin, which neither allocates nor loops.
   */
  packetMemory(size: number): PacketMemory;
  /** The level of INTA#. */
  intx(asserted: boolean): void;
  /** A message-signalled interrupt: MSI or MSI-X, vector 0 up; address and data as software programmed them. */
  message(vector: number, addressLow: number, addressHigh: number, data: number): void;
}

/** A region behind a base address register. Offsets are bytes from its start; hostile ones included. */
export interface Region {
  readonly kind: 'memory' | 'io';
  readonly size: number;
  read(offset: number, width: 1 | 2 | 4): number;
  write(offset: number, width: 1 | 2 | 4, value: number): void;
}

/** power-on: as if mains came back. bus: RST# or FLR. Registers of the chip that reset themselves are the chip's own affair. */
export type ResetKind = 'power-on' | 'bus';

// 6.8.1: MSI capability. 6.8.2: MSI-X capability.
const MSI_CONTROL = 2;
const MSI_ENABLE = 1;
const MSIX_CONTROL = 2;
const MSIX_LAST_VECTOR = 0x7ff;
const MSIX_ENABLE = 0x8000;
const MSIX_MASK_ALL = 0x4000;
const MSIX_ENTRY = 4; // words: address low, address high, data, control
const MSIX_VECTOR_MASKED = 1;

export abstract class PciFunction {
  readonly config: ConfigSpace;
  readonly host: Host;
  readonly dma: BusMaster;
  /** By BAR index; null where there is none. */
  readonly bars: (Region | null)[] = [null, null, null, null, null, null];
  #trace: Trace | null = null;
  #intx = false;
  readonly #msi: number; // place of the MSI capability, 0 for none
  readonly #msix: number;
  readonly #msixPlace: MsiXPlace | null;
  readonly #msixTable: Uint32Array;
  readonly #msixPending: Uint32Array;

  /** @param configuration what is in its configuration space, MSI and MSI-X with it: rows.ts. */
  constructor(host: Host, configuration: RegisterMap) {
    this.host = host;
    this.config = new ConfigSpace(configuration);
    this.dma = new BusMaster(host.memory);
    const placeOf = (name: string) => configuration.rows.find((row) => row.name === name)?.at ?? 0;
    this.#msi = placeOf('MSI_CAP');
    this.#msix = placeOf('MSIX_CAP');
    this.#msixPlace = this.#msix === 0 ? null : this.#findMsiX(this.#msix);
    const vectors = this.#msixPlace?.vectors ?? 0;
    this.#msixTable = new Uint32Array(vectors * MSIX_ENTRY);
    this.#msixPending = new Uint32Array((vectors + 31) >> 5);
    this.#maskAllVectors();
    this.config.onChange(COMMAND, 2, () => this.#commandWritten());
    if (this.#msi !== 0) this.config.onChange(this.#msi, 14, () => this.#settlePin());
    if (this.#msix !== 0) this.config.onChange(this.#msix, 12, () => this.#msixChanged());
  }

  /** The MSI-X table and pending bits overlay a BAR (6.8.2). */
  #findMsiX(at: number): MsiXPlace {
    const { config } = this;
    const [table, pending] = [config.peek(at + 4, 4), config.peek(at + 8, 4)];
    const vectors = field(config.peek(at + MSIX_CONTROL, 2), MSIX_LAST_VECTOR) + 1;
    return { vectors, bar: table & 7, table: (table & ~7) >>> 0, pending: (pending & ~7) >>> 0 };
  }

  /** The chip's own state back to its reset values. */
  protected abstract resetChip(kind: ResetKind): void;
  /** The chip's own state, as plain data. */
  protected abstract saveChip(): unknown;
  protected abstract restoreChip(state: unknown): void;
  /** Called when the trace sink changes, for the blocks that keep it. */
  protected abstract traceChanged(trace: Trace | null): void;

  get trace(): Trace | null {
    return this.#trace;
  }

  set trace(trace: Trace | null) {
    this.#trace = trace;
    this.config.trace = trace;
    this.traceChanged(trace);
  }

  /** What is behind a BAR. @throws RangeError where configuration space has none of that size. */
  protected addBar(index: number, region: Region): void {
    const at = BAR0 + 4 * index;
    const row = this.config.map.find(at)!;
    const address = row.masks.stores;
    if ((address & -address) >>> 0 !== region.size)
      throw new RangeError(`${this.config.map.chip}: ${row.name} is not of ${region.size} bytes`);
    this.bars[index] = region;
  }

  /** The BAR that the MSI-X table overlays; -1 without MSI-X. */
  get msixBar(): number {
    return this.#msixPlace?.bar ?? -1;
  }

  /** Vectors in the MSI-X table, enabled or not; 0 without MSI-X. */
  get msixVectors(): number {
    return this.#msixPlace?.vectors ?? 0;
  }

  /** Whether there is an MSI capability, enabled or not. */
  get hasMsi(): boolean {
    return this.#msi !== 0;
  }

  /** Which kind of message `host.message` is called for just now. */
  get messageKind(): 'msi' | 'msix' | null {
    return this.#msixEnabled ? 'msix' : this.#msiEnabled ? 'msi' : null;
  }

  /** Masks a vector in the MSI-X table itself: for a host that keeps the guest's table from the function, as hypervisors do. */
  maskVector(vector: number, masked: boolean): void {
    if (vector >= this.msixVectors) return;
    this.#msixTable[vector * MSIX_ENTRY + 3] = masked ? MSIX_VECTOR_MASKED : 0;
    if (!masked) this.#releasePending();
  }

  get messageVectors(): number {
    return this.#msixEnabled ? this.#msixPlace!.vectors : this.#msiEnabled ? 1 : 0;
  }

  get #msiEnabled(): boolean {
    return this.#msi !== 0 && (this.config.peek(this.#msi + MSI_CONTROL, 2) & MSI_ENABLE) !== 0;
  }

  get #msixEnabled(): boolean {
    return this.#msix !== 0 && (this.config.peek(this.#msix + MSIX_CONTROL, 2) & MSIX_ENABLE) !== 0;
  }

  /** The level of the chip's interrupt line: what INTx shows, and a message at each rising edge while MSI is on. */
  protected interrupt(asserted: boolean): void {
    if (asserted === this.#intx) return;
    this.#intx = asserted;
    this.#settlePin();
    if (asserted && this.#msiEnabled && !this.#msixEnabled) this.#sendMsi();
  }

  #sendMsi(): void {
    if (!this.dma.enabled) return; // a message is a memory write: no bus mastering, no message (6.8.1.1)
    const { config } = this;
    const at = this.#msi;
    this.host.message(0, config.peek(at + 4, 4), config.peek(at + 8, 4), config.peek(at + 12, 2));
  }

  /** Raises an MSI-X vector: sent, or left pending while it is masked (6.8.2.4 and 6.8.3.4). */
  protected interruptVector(vector: number): void {
    if (!this.#msixEnabled || vector >= this.#msixPlace!.vectors) return;
    const entry = vector * MSIX_ENTRY;
    const control = this.config.peek(this.#msix + MSIX_CONTROL, 2);
    if (control & MSIX_MASK_ALL || this.#msixTable[entry + 3]! & MSIX_VECTOR_MASKED || !this.dma.enabled) {
      this.#msixPending[vector >> 5]! |= 1 << (vector & 31);
      return;
    }
    this.host.message(vector, this.#msixTable[entry]!, this.#msixTable[entry + 1]!, this.#msixTable[entry + 2]!);
  }

  #releasePending(): void {
    for (let vector = 0; vector < (this.#msixPlace?.vectors ?? 0); vector++) {
      const bit = 1 << (vector & 31);
      if ((this.#msixPending[vector >> 5]! & bit) === 0) continue;
      this.#msixPending[vector >> 5]! &= ~bit;
      this.interruptVector(vector); // pends again where it is still masked
    }
  }

  #msixChanged(): void {
    this.#settlePin();
    if (this.#msixEnabled) this.#releasePending();
  }

  #maskAllVectors(): void {
    this.#msixTable.fill(0);
    for (let entry = 3; entry < this.#msixTable.length; entry += MSIX_ENTRY)
      this.#msixTable[entry] = MSIX_VECTOR_MASKED;
    this.#msixPending.fill(0);
  }

  /** Host software reads behind a BAR. All ones where decoding is off or nothing answers. */
  readBar(index: number, offset: number, width: 1 | 2 | 4): number {
    const region = this.#decoded(index, offset, width);
    if (region === null) return 0xffffffff >>> (32 - 8 * width);
    const word = this.#msixWord(index, offset);
    if (word === null) return region.read(offset, width) >>> 0;
    return ((word >>> ((offset & 3) * 8)) & (0xffffffff >>> (32 - 8 * width))) >>> 0;
  }

  writeBar(index: number, offset: number, width: 1 | 2 | 4, value: number): void {
    const region = this.#decoded(index, offset, width);
    if (region === null || this.#writeMsix(index, offset, width, value)) return;
    region.write(offset, width, value >>> 0);
  }

  /** Whether accesses behind a BAR reach the chip: drivers' backends ask once and then call the region itself. */
  decodes(index: number): boolean {
    const region = this.bars[index];
    if (region == null) return false;
    return (this.config.peek(COMMAND, 2) & (region.kind === 'io' ? COMMAND_IO : COMMAND_MEMORY)) !== 0;
  }

  #decoded(index: number, offset: number, width: number): Region | null {
    const region = this.bars[index] ?? null;
    return region !== null && this.decodes(index) && offset >= 0 && offset + width <= region.size ? region : null;
  }

  #msixWord(index: number, offset: number): number | null {
    const place = this.#msixPlace;
    if (place === null || place.bar !== index) return null;
    return this.#msixTable[(offset - place.table) >> 2] ?? this.#msixPending[(offset - place.pending) >> 2] ?? null;
  }

  #writeMsix(index: number, offset: number, width: number, value: number): boolean {
    const place = this.#msixPlace;
    if (place === null || place.bar !== index || this.#msixWord(index, offset) === null) return false;
    const word = (offset - place.table) >> 2;
    // Software must use aligned words (6.8.2); the pending bits only read.
    if (word >= 0 && word < this.#msixTable.length && width === 4 && offset % 4 === 0) {
      this.#msixTable[word] = value;
      if (word % MSIX_ENTRY === 3) this.#releasePending();
    }
    return true;
  }

  #commandWritten(): void {
    this.dma.enabled = (this.config.peek(COMMAND, 2) & COMMAND_MASTER) !== 0;
    this.#settlePin();
    if (this.dma.enabled && this.#msixEnabled) this.#releasePending();
  }

  /** INTx is silent while MSI or MSI-X is on (6.8.1.3) or it is disabled; the status bit shows the cause all the same. */
  #settlePin(): void {
    const { config } = this;
    const status = config.peek(STATUS, 2) & ~STATUS_INTERRUPT;
    config.poke(STATUS, 2, this.#intx ? status | STATUS_INTERRUPT : status);
    const disabled = (config.peek(COMMAND, 2) & COMMAND_INTX_DISABLE) !== 0;
    this.host.intx(this.#intx && !disabled && !this.#msiEnabled && !this.#msixEnabled);
  }

  reset(kind: ResetKind): void {
    this.config.reset();
    this.#maskAllVectors();
    this.resetChip(kind);
  }

  /** Everything that a fresh function of the same kind needs to go on from here. */
  save(): unknown {
    return {
      config: this.config.bytes.slice(),
      refused: this.config.refused,
      intx: this.#intx,
      msixTable: this.#msixTable.slice(),
      msixPending: this.#msixPending.slice(),
      faults: this.dma.faults,
      chip: this.saveChip(),
    };
  }

  restore(saved: unknown): void {
    const state = saved as {
      config: Uint8Array;
      refused: number;
      intx: boolean;
      msixTable: Uint32Array;
      msixPending: Uint32Array;
      faults: number;
      chip: unknown;
    };
    this.config.bytes.set(state.config);
    this.config.refused = state.refused;
    this.dma.enabled = (this.config.peek(COMMAND, 2) & COMMAND_MASTER) !== 0;
    this.dma.faults = state.faults;
    this.#msixTable.set(state.msixTable);
    this.#msixPending.set(state.msixPending);
    this.restoreChip(state.chip);
    this.#intx = state.intx;
    this.#settlePin();
  }
}
