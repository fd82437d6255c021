/**
 * A PCI function, from the inside: what a model is built on. It knows nothing of who drives it.
 *
 * The host hands it a clock, memory and somewhere to signal; it offers configuration space, BARs, reset, and a snapshot.
 * Sections: PCI Local Bus Specification 3.0.
 */
import type { Clock } from '../clock.ts';
import { type AddressSpace, BusMaster } from '../memory.ts';
import type { RegisterReset } from '../registers.ts';
import { array, block, kind, restore, type Stateful, value, whole } from '../state.ts';
import type { Trace } from '../trace.ts';
import { AdvancedErrors } from './capabilities/advanced-errors.ts';
import type { CapabilityPart } from './capabilities/capability.ts';
import { Msi } from './capabilities/msi.ts';
import { MsiX } from './capabilities/msi-x.ts';
import { PciExpress } from './capabilities/pci-express.ts';
import { PowerManagement } from './capabilities/power-management.ts';
import { SrIov } from './capabilities/sr-iov.ts';
import {
  BAR0,
  COMMAND,
  COMMAND_INTX_DISABLE,
  COMMAND_IO,
  COMMAND_MASTER,
  COMMAND_MEMORY,
  ConfigSpace,
  EXPANSION_ROM,
  INTERRUPT_PIN,
  ROM_ENABLE,
  STATUS,
  STATUS_INTERRUPT,
} from './config.ts';
import type { ConfigurationMap } from './configuration.ts';

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
  /** The level of the function's interrupt line, whichever of INTA# to INTD# that is. */
  intx(asserted: boolean): void;
  /** A message-signalled interrupt: MSI or MSI-X, vector 0 up; address and data as software programmed them. */
  message(vector: number, addressLow: number, addressHigh: number, data: number): void;
  /** Software has reset the function by a register in configuration space. */
  wasReset?(): void;
}

/** A region behind a base address register. Offsets are bytes from its start; hostile ones included. */
export interface Region {
  readonly kind: 'memory' | 'io';
  readonly size: number;
  read(offset: number, width: 1 | 2 | 4): number;
  write(offset: number, width: 1 | 2 | 4, value: number): void;
}

/**
 * power-on: as if mains came back. bus: RST#. function: this one alone (PCIe 3.0, 6.6.2).
 * Registers of the chip that reset themselves are the chip's own affair.
 */
export type ResetKind = Exclude<RegisterReset, 'software'>;

/** Where `bars` would have the expansion ROM. */
export const ROM_INDEX = 6;

export abstract class PciFunction {
  readonly config: ConfigSpace;
  readonly host: Host;
  readonly dma: BusMaster;
  /** By BAR index; null where there is none. */
  readonly bars: (Region | null)[] = [null, null, null, null, null, null];
  /** The expansion ROM, where there is one. */
  rom: Region | null = null;
  /** By BAR index, the ROM behind them: 1 where accesses reach the chip. Drivers' backends look here, and call the region. */
  readonly decoding = new Uint8Array(ROM_INDEX + 1);
  /** On its board: 0 to 7, and to 255 with ARI; the board's affair, and of a virtual function, the physical one's. */
  number = 0;
  #trace: Trace | null = null;
  #memorySpace = false; // of a virtual function
  #present = true;
  #intx = false;
  readonly #parts: ReadonlyMap<string, CapabilityPart>;
  readonly #power: PowerManagement | null;
  readonly #msi: Msi | null;
  readonly #msix: MsiX | null;
  readonly #express: PciExpress | null;
  readonly #errors: AdvancedErrors | null;
  readonly #virtual: boolean;

  /** @param configuration what is in its configuration space. */
  constructor(host: Host, configuration: ConfigurationMap) {
    this.host = host;
    this.config = new ConfigSpace(configuration);
    this.dma = new BusMaster(host.memory);
    this.#parts = new Map(
      configuration.capabilities.flatMap(({ name, attach }) => (attach ? [[name, attach(this)]] : [])),
    );
    this.#power = this.part(PowerManagement);
    this.#msi = this.part(Msi);
    this.#msix = this.part(MsiX);
    this.#express = this.part(PciExpress);
    this.#virtual = configuration.virtual;
    this.#errors = this.part(AdvancedErrors);
    this.config.onChange(COMMAND, 2, () => this.settle());
    this.config.onChange(EXPANSION_ROM, 4, () => this.settle());
  }

  /** The capability of that kind, at work; null where the function has none. */
  part<Part extends CapabilityPart>(kind: abstract new (...parts: never[]) => Part): Part | null {
    for (const part of this.#parts.values()) if (part instanceof kind) return part;
    return null;
  }

  /** Those that SR-IOV has enabled, by index. */
  get virtualFunctions(): readonly PciFunction[] {
    return this.part(SrIov)?.functions ?? [];
  }

  /** The chip's own state: none, unless it has some. */
  protected readonly chipState: Stateful = block(1, {});

  /** The chip's own state back to its reset values. */
  protected abstract resetChip(kind: ResetKind): void;
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
    if (!this.#virtual) this.#checkSize(BAR0 + 4 * index, region);
    this.bars[index] = region;
  }

  /** What is behind the expansion ROM's; its writes go nowhere. */
  protected addRom(region: Region): void {
    this.#checkSize(EXPANSION_ROM, region);
    this.rom = region;
  }

  #checkSize(at: number, { size }: Region): void {
    const { name, masks } = this.config.map.find(at)!;
    const address = masks.stores & (at === EXPANSION_ROM ? ~ROM_ENABLE : ~0);
    if ((address & -address) >>> 0 !== size)
      throw new RangeError(`${this.config.map.chip}: ${name} is not of ${size} bytes`);
  }

  // Interrupts.

  /** The BAR that the MSI-X table overlays; -1 without MSI-X. */
  get msixBar(): number {
    return this.#msix?.bar ?? -1;
  }

  /** Vectors in the MSI-X table, enabled or not; 0 without MSI-X. */
  get msixVectors(): number {
    return this.#msix?.vectors ?? 0;
  }

  /** Messages that the MSI capability asks for, enabled or not; 0 without MSI. */
  get msiVectors(): number {
    return this.#msi?.vectors ?? 0;
  }

  /** Which kind of message `host.message` is called for just now. */
  get messageKind(): 'msi' | 'msix' | null {
    if (this.#msix?.enabled) return 'msix';
    return this.#msi?.enabled ? 'msi' : null;
  }

  /** Vectors of that kind that software allows. */
  get messageVectors(): number {
    if (this.#msix?.enabled) return this.#msix.vectors;
    return this.#msi?.enabled ? this.#msi.allotted : 0;
  }

  /** Masks a vector in the MSI-X table itself: for a host that keeps the guest's table from the function, as hypervisors do. */
  maskVector(vector: number, masked: boolean): void {
    this.#msix?.mask(vector, masked);
  }

  /** The level of the chip's interrupt line: what INTx shows, and message 0 at each rising edge while MSI is on. */
  protected interrupt(asserted: boolean): void {
    if (asserted === this.#intx) return;
    this.#intx = asserted;
    this.#settlePin();
    if (asserted && this.messageKind === 'msi') this.#msi!.raise(0);
  }

  /** Raises a vector of MSI-X, or of MSI where that is on instead. */
  protected interruptVector(vector: number): void {
    if (this.#msix?.enabled) this.#msix.raise(vector);
    else this.#msi?.raise(vector);
  }

  /** INTx is silent while MSI or MSI-X is on (6.8.1.3) or it is disabled; the status bit shows the cause all the same. */
  #settlePin(): void {
    const { config } = this;
    const asserted = this.#intx && config.peek(INTERRUPT_PIN, 1) !== 0;
    const status = config.peek(STATUS, 2) & ~STATUS_INTERRUPT;
    config.poke(STATUS, 2, asserted ? status | STATUS_INTERRUPT : status);
    const disabled = (config.peek(COMMAND, 2) & COMMAND_INTX_DISABLE) !== 0;
    this.host.intx(asserted && !disabled && this.messageKind === null && this.powerState === 0);
  }

  // Accesses.

  /** 0 to 3: D0 to D3hot. */
  get powerState(): number {
    return this.#power?.powerState ?? 0;
  }

  /** Host software reads behind a BAR. All ones where decoding is off or nothing answers. */
  readBar(index: number, offset: number, width: 1 | 2 | 4): number {
    const region = this.#decoded(index, offset, width);
    if (region === null) return 0xffffffff >>> (32 - 8 * width);
    const word = this.#msix?.read(index, offset) ?? null;
    if (word === null) return region.read(offset, width) >>> 0;
    return ((word >>> ((offset & 3) * 8)) & (0xffffffff >>> (32 - 8 * width))) >>> 0;
  }

  writeBar(index: number, offset: number, width: 1 | 2 | 4, value: number): void {
    const region = this.#decoded(index, offset, width);
    if (region === null || this.#msix?.write(index, offset, width, value)) return;
    if (index !== ROM_INDEX) region.write(offset, width, value >>> 0);
  }

  #decoded(index: number, offset: number, width: number): Region | null {
    const region = this.#region(index);
    if (region !== null && this.decoding[index] === 1 && offset >= 0 && offset + width <= region.size) return region;
    this.#express?.unsupported();
    this.#errors?.unsupported();
    return null;
  }

  #region(index: number): Region | null {
    return (index === ROM_INDEX ? this.rom : this.bars[index]) ?? null;
  }

  /** @internal What hangs on the command register, the power state and which interrupts are on, for capabilities that change it. */
  settle(): void {
    const command = this.#present && this.powerState === 0 ? this.config.peek(COMMAND, 2) : 0;
    for (let index = 0; index <= ROM_INDEX; index++) this.decoding[index] = this.#decodes(index, command) ? 1 : 0;
    const mastered = this.dma.enabled;
    this.dma.enabled = (command & COMMAND_MASTER) !== 0;
    this.#settlePin();
    if (!mastered && this.dma.enabled) this.#release();
  }

  /** @internal A virtual function's memory is decoded as its physical one says (SR-IOV 1.1, 3.3.3.4). */
  decodeMemory(on: boolean): void {
    this.#memorySpace = on;
    this.settle();
  }

  /** @internal A virtual function goes: whoever still has it reaches nothing by it, nor it anything. */
  remove(): void {
    this.#present = false;
    this.decodeMemory(false);
    this.reset('power-on');
  }

  #decodes(index: number, command: number): boolean {
    const region = this.#region(index);
    if (region === null) return false;
    if (this.#virtual) return this.#memorySpace && this.powerState === 0;
    if (index === ROM_INDEX && (this.config.peek(EXPANSION_ROM, 4) & ROM_ENABLE) === 0) return false; // 6.2.5.2
    return (command & (region.kind === 'io' ? COMMAND_IO : COMMAND_MEMORY)) !== 0;
  }

  #release(): void {
    if (this.#msix?.enabled) this.#msix.release();
    else this.#msi?.release();
  }

  // Reset and snapshot.

  reset(kind: ResetKind): void {
    for (const part of this.#parts.values()) part.reset(kind);
    this.config.reset(kind);
    this.resetChip(kind);
  }

  /** @internal Software asks for a reset of this function, by a capability. */
  softwareReset(): void {
    this.reset('function');
    this.host.wasReset?.();
  }

  /** Everything that a fresh function of the same kind needs to go on from here. What the chip has comes last. */
  get state(): Stateful {
    const { config, dma } = this;
    const parts = Array.from(this.#parts, ([name, part]) => [name, part.state] as const);
    return block(1, {
      of: kind(config.map.chip),
      config: array(config.bytes),
      refused: whole(
        () => config.refused,
        (refused) => {
          config.refused = refused;
        },
      ),
      faults: whole(
        () => dma.faults,
        (faults) => {
          dma.faults = faults;
        },
      ),
      intx: value(
        () => this.#intx,
        (asserted) => {
          this.#intx = asserted;
        },
      ),
      capabilities: block(1, Object.fromEntries(parts), () => this.settle()),
      chip: this.chipState,
    });
  }

  save(): unknown {
    return this.state.save();
  }

  /** @throws StateError for a state of another version or chip, one cut short or made up; nothing is changed then. */
  restore(saved: unknown): void {
    restore(this.state, saved, this.config.map.chip);
  }
}
