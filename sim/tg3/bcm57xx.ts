/**
 * Broadcom's BCM57xx: PCI Express gigabit Ethernet controllers with an integrated copper PHY; which of them, a Chip says.
 *
 * This file is the chip as a whole: PCI identity and BARs, the ways to registers and memory, resets with what boot code
 * leaves behind, link, and how the blocks hang together. Sources: see registers.ts.
 */
import { MICROSECOND } from '../clock.ts';
import { NotModelledTrace } from '../nic/not-modelled.ts';
import type { Outlet } from '../nic/packet-engine.ts';
import { CardPort, type PortOwner } from '../nic/port.ts';
import { get16, get32 } from '../packet.ts';
import { VitalProductData } from '../pci/capabilities/index.ts';
import { type Host, PciFunction, type ResetKind } from '../pci/function.ts';
import { field, RegisterFile } from '../registers.ts';
import { array, block, type Stateful, whole } from '../state.ts';
import type { Trace } from '../trace.ts';
import type { Port } from '../wire/port.ts';
import { CHIPS, type Chip, type ChipName } from './chips.ts';
import { HostCoalescing, type Pins } from './coalescing.ts';
import { BAR_SIZE, BCM57XX_CONFIGURATION, type Shadow, shadowsOf } from './configuration.ts';
import type { Context } from './context.ts';
import {
  FW_READY,
  SRAM_DATA_CFG,
  SRAM_DATA_SIG,
  SRAM_DATA_VER,
  SRAM_FW_ASF_STATUS,
  SRAM_FW_MAILBOX,
  SRAM_MAC_HIGH,
  SRAM_MAC_LOW,
  SRAM_PHY_ID,
} from './descriptors.ts';
import { Filters } from './filters.ts';
import { FlowControl } from './flow-control.ts';
import { factoryImage, Nvram } from './nvram.ts';
import { Phy } from './phy.ts';
import { Receive } from './receive.ts';
import { BCM57XX } from './registers.ts';
import { ReceiveSideScaling } from './rss.ts';
import { Send } from './send.ts';
import { Sram } from './sram.ts';
import { Statistics } from './statistics.ts';

const R = BCM57XX.r;
const { GRC_LOCAL_CTRL, GRC_MISC_CFG, GRC_MODE, MAC_MODE, MAC_STATUS, MISC_HOST_CTRL, PCISTATE } = R;

const MIRROR = 0x100; // configuration space at the start of BAR 0
const REGISTERS = 0x8000; // what is above is a window on SRAM
const PCIE_PAGES = 0x7c00;
const PORT_MODE_MII = 1; // MAC_MODE.PORT_MODE
const PORT_MODE_GMII = 2;
const SIGNATURE = 0x4b657654; // "KevT": what follows it in SRAM is valid
const COPPER = 0x10; // SRAM_DATA_CFG: PHY type
const DATA_VERSION = 0x0006_0000;
const MAC_SIGNATURE = 0x484b_0000; // "HK": a station address follows

export interface Tg3Options {
  /** For traces and captures. */
  readonly name?: string;
  /** Six bytes, for the factory's NVRAM image. */
  readonly mac?: Uint8Array;
  /** BCM57762 unless told. */
  readonly chip?: ChipName;
  /** 128 KiB; overrides `mac`. */
  readonly nvram?: Uint8Array;
}

const DEFAULT_MAC = new Uint8Array([0x02, 0x00, 0x00, 0x57, 0x62, 0x01]); // locally administered

export class Tg3 extends PciFunction implements Outlet, PortOwner {
  readonly chip: Chip;
  readonly registers: RegisterFile;
  readonly nvram: Nvram;
  readonly phy: Phy;
  readonly port: Port;
  readonly #words: Uint32Array;
  readonly #sram = new Sram();
  readonly #statistics: Statistics;
  readonly #coalescing: HostCoalescing;
  readonly #flow: FlowControl;
  readonly #rss: ReceiveSideScaling;
  readonly #receive: Receive;
  readonly #send: Send;
  // What GRC_MODE puts in the place of the transaction layer: physical and data link layer.
  readonly #physicalLayer = new Uint32Array(256);
  readonly #dataLinkLayer = new Uint32Array(256);
  #memoryBase = 0; // MEM_WIN_BASE_ADDR
  #registerBase = 0; // REG_BASE_ADDR
  protected override readonly chipState: Stateful;

  constructor(host: Host, options: Tg3Options = {}) {
    const name = options.chip ?? 'tg3';
    const chip: Chip = CHIPS[name];
    super(host, BCM57XX_CONFIGURATION[name]);
    this.chip = chip;
    const registers = new RegisterFile(BCM57XX);
    const context: Context = { chip, host, registers, r: R, dma: this.dma };
    this.registers = registers;
    this.#words = registers.words;
    this.nvram = new Nvram(context, options.nvram?.slice() ?? factoryImage(chip, options.mac ?? DEFAULT_MAC));
    this.phy = new Phy(context, {
      linkChanged: () => this.#linkChanged(),
      stationChanged: () => this.port.medium?.stationChanged(this.port),
    });
    this.#statistics = new Statistics(context);
    this.#coalescing = new HostCoalescing(context, this.#pins());
    this.#flow = new FlowControl(context, this.#statistics);
    this.#rss = new ReceiveSideScaling(context);
    const blocks = { sram: this.#sram, coalescing: this.#coalescing, statistics: this.#statistics };
    this.#receive = new Receive(context, {
      ...blocks,
      filters: new Filters(context),
      flow: this.#flow,
      rss: this.#rss,
      sendPause: (frame) => this.#sendPause(frame),
    });
    this.#send = new Send(context, { ...blocks, outlet: this });
    this.#sram.onControlBlock = () => {
      this.#send.settle();
      this.#receive.settle();
    };
    this.port = new CardPort(options.name ?? 'tg3', this);
    this.chipState = this.#stateOf();
    this.#describeRegisters();
    this.#describePci();
    this.reset('power-on');
  }

  /** What was refused so far: accesses to registers and to host memory, and packets that BDs do not describe. */
  get refused(): { registers: number; configuration: number; memory: number; packets: number } {
    return {
      registers: this.registers.refused,
      configuration: this.config.refused,
      memory: this.dma.faults,
      packets: this.#send.refused,
    };
  }

  // PCI.

  #describePci(): void {
    const { chip, config, nvram } = this;
    this.addBar(0, {
      kind: 'memory',
      size: BAR_SIZE,
      read: (offset, width) => this.#read(offset, width),
      write: (offset, width, value) => this.#write(offset, width, value),
    });
    if (chip.is577xx) this.addBar(2, { kind: 'memory', size: BAR_SIZE, read: () => 0, write: () => undefined });
    // Boot code answers.
    this.part(VitalProductData)!.source = (address) => (nvram.boots ? nvram.productData(address) : null);
    config.onChange(MISC_HOST_CTRL.at, 4, () => this.#hostControlWritten());
    this.#describeWindows();
    const { registers, written } = shadowsOf(chip);
    for (const shadow of [...registers, ...written]) this.#writeThrough(shadow);
    for (const { at, of } of registers) config.onRead(at, 4, () => config.poke(at, 4, this.registers.read32(of)));
  }

  #writeThrough({ at, of }: Shadow): void {
    this.config.onWrite(at, 4, (offset, width, value) => this.registers.write(of + offset - at, width, value));
  }

  /** The indirect ways to registers and memory, through configuration space. */
  #describeWindows(): void {
    const { config } = this;
    const { MEM_WIN_BASE_ADDR, MEM_WIN_DATA, REG_BASE_ADDR, REG_DATA } = R;
    config.onWrite(MEM_WIN_BASE_ADDR.at, 4, () => {
      this.#memoryBase = config.peek(MEM_WIN_BASE_ADDR.at, 4);
    });
    config.onWrite(REG_BASE_ADDR.at, 4, () => {
      this.#registerBase = config.peek(REG_BASE_ADDR.at, 4);
    });
    config.onWrite(MEM_WIN_DATA.at, 4, (at, width, value) => {
      this.#writeWindow(merge(this.#sram.read(this.#memoryBase), at, width, value));
    });
    config.onRead(MEM_WIN_DATA.at, 4, () => config.poke(MEM_WIN_DATA.at, 4, this.#sram.read(this.#memoryBase)));
    config.onWrite(REG_DATA.at, 4, (at, width, value) => {
      if (this.#indirect) this.#writeRegister((this.#registerBase & ~3) + (at & 3), width, value);
    });
    config.onRead(REG_DATA.at, 4, () => {
      if (this.#indirect) config.poke(REG_DATA.at, 4, this.#readRegister(this.#registerBase, 4));
    });
  }

  get #indirect(): boolean {
    const allowed = this.config.peek(MISC_HOST_CTRL.at, 4) & MISC_HOST_CTRL.INDIR_ACCESS;
    return allowed !== 0 && this.#registerBase >= MIRROR && this.#registerBase < REGISTERS;
  }

  #hostControlWritten(): void {
    const value = this.config.peek(MISC_HOST_CTRL.at, 2);
    this.config.poke(MISC_HOST_CTRL.at, 2, value & ~MISC_HOST_CTRL.CLEAR_INT);
    if (value & MISC_HOST_CTRL.CLEAR_INT) this.#coalescing.clear();
    else this.#coalescing.settle();
  }

  #pins(): Pins {
    const card = this;
    return {
      get kind() {
        return card.messageKind;
      },
      get hostControl() {
        return card.config.peek(MISC_HOST_CTRL.at, 2);
      },
      line: (asserted) => this.#line(asserted),
      message: () => {
        this.interrupt(true);
        this.interrupt(false);
      },
      vector: (vector) => this.interruptVector(vector),
    };
  }

  #line(asserted: boolean): void {
    const state = this.config.peek(PCISTATE.at, 4) & ~PCISTATE.INT_NOT_ACTIVE;
    this.config.poke(PCISTATE.at, 4, asserted ? state : state | PCISTATE.INT_NOT_ACTIVE);
    this.interrupt(asserted);
  }

  // BAR 0.

  #read(offset: number, width: 1 | 2 | 4): number {
    if (offset < REGISTERS && offset >= MIRROR) return this.#readRegister(offset, width);
    const word = offset < MIRROR ? this.#readMirror(offset & ~3) : this.#sram.read(this.#windowAddress(offset));
    return (word >>> ((offset & 3) * 8)) & (0xffffffff >>> (32 - 8 * width));
  }

  #write(offset: number, width: 1 | 2 | 4, value: number): void {
    if (offset < MIRROR) this.#writeMirror(offset, width, value);
    else if (offset < REGISTERS) this.#writeRegister(offset, width, value);
    else this.#sram.write(this.#windowAddress(offset), merge(this.#read(offset & ~3, 4), offset, width, value));
  }

  #windowAddress(offset: number): number {
    return ((this.#memoryBase & ~0x7fff) >>> 0) + ((offset - REGISTERS) & ~3);
  }

  /** The memory window is what drivers use most before they are up: it does not take the way around. */
  #readMirror(offset: number): number {
    if (offset !== R.MEM_WIN_DATA.at) return this.config.read(offset, 4);
    const value = this.#sram.read(this.#memoryBase);
    this.config.trace?.register(this.config.map, 'read', offset, value);
    return value;
  }

  #writeMirror(offset: number, width: 1 | 2 | 4, value: number): void {
    if (width !== 4 || (offset !== R.MEM_WIN_DATA.at && offset !== R.MEM_WIN_BASE_ADDR.at)) {
      this.config.write(offset, width, value);
      return;
    }
    this.config.trace?.register(this.config.map, 'write', offset, value);
    if (offset === R.MEM_WIN_DATA.at) this.#writeWindow(value);
    else {
      this.#memoryBase = value;
      this.config.poke(offset, 4, value);
    }
  }

  #writeWindow(value: number): void {
    this.#sram.write(this.#memoryBase, value);
  }

  #readRegister(offset: number, width: 1 | 2 | 4): number {
    const page = offset >= PCIE_PAGES ? this.#pciePage : null;
    if (page === null) return this.registers.read(offset, width);
    return (page[(offset - PCIE_PAGES) >> 2]! >>> ((offset & 3) * 8)) & (0xffffffff >>> (32 - 8 * width));
  }

  #writeRegister(offset: number, width: 1 | 2 | 4, value: number): void {
    const page = offset >= PCIE_PAGES ? this.#pciePage : null;
    if (page === null) this.registers.write(offset, width, value);
    else page[(offset - PCIE_PAGES) >> 2] = merge(page[(offset - PCIE_PAGES) >> 2]!, offset, width, value);
  }

  /** What GRC_MODE shows at 7c00h; null: the transaction layer. */
  get #pciePage(): Uint32Array | null {
    const mode = this.#words[GRC_MODE.word]!;
    if (mode & GRC_MODE.PCIE_PL_SEL) return this.#physicalLayer;
    return mode & GRC_MODE.PCIE_DL_SEL ? this.#dataLinkLayer : null;
  }

  // Registers of the chip as a whole.

  #describeRegisters(): void {
    const { registers } = this;
    registers.onWrite(GRC_MISC_CFG, (value) => {
      if (value & GRC_MISC_CFG.CORECLK_RESET) this.#coreReset();
    });
    registers.onRead(R.GRC_TIMER, () => Math.floor(this.host.clock.now / MICROSECOND));
    registers.onWrite(GRC_LOCAL_CTRL, (value) => {
      if (value & GRC_LOCAL_CTRL.CLEARINT) this.#coalescing.clear();
      if (value & GRC_LOCAL_CTRL.SETINT) this.#coalescing.force();
    });
    // With no ASF firmware an event for the RX CPU is taken and answered by nothing.
    registers.onWrite(R.GRC_RX_CPU_EVENT, () => {
      this.#words[R.GRC_RX_CPU_EVENT.word]! &= ~R.GRC_RX_CPU_EVENT.DRIVER_EVENT;
    });
    registers.onWrite(MAC_MODE, (value) => this.#macModeWritten(value));
    registers.onRead(R.MAC_TX_STATUS, () => (this.phy.link || this.#loopback ? R.MAC_TX_STATUS.LINK_UP : 0));
    registers.onRead(R.MAC_RX_STATUS, () => {
      return this.#flow.pausedUntil > this.host.clock.now ? R.MAC_RX_STATUS.REMOTE_TX_XOFFED : 0;
    });
    registers.onWrite(R.RX_CPU_MODE, (value) => {
      const halted = value & R.RX_CPU_MODE.HALT ? R.RX_CPU_STATE.HALTED : 0;
      this.#words[R.RX_CPU_STATE.word] = halted;
    });
    registers.onWrite(R.RX_CPU_STATE, () => {
      if (this.#words[R.RX_CPU_MODE.word]! & R.RX_CPU_MODE.HALT)
        this.#words[R.RX_CPU_STATE.word]! |= R.RX_CPU_STATE.HALTED;
    });
    registers.onWrite(R.FTQ_RESET, () => undefined); // nothing here waits between blocks
    registers.onRead(R.CPMU_CHIP_ID, () => (this.chip.is577xx ? this.chip.revisionId : 0));
    registers.onRead(R.CPMU_MUTEX_GNT, () => this.#words[R.CPMU_MUTEX_REQ.word]!);
  }

  #macModeWritten(value: number): void {
    if (value & MAC_MODE.TXSTAT_CLEAR) this.#statistics.clear(R.MAC_TX_STATS_OCTETS, R.MAC_TX_STATS_BCAST);
    if (value & MAC_MODE.RXSTAT_CLEAR) this.#statistics.clear(R.MAC_RX_STATS_OCTETS, R.MAC_RX_STATS_UNDERSIZE);
    this.#send.resume();
  }

  /** Units of work done at this moment of the clock, see Budget. */
  get work(): number {
    return this.#send.work;
  }

  // Resets.

  protected override resetChip(kind: ResetKind): void {
    this.#sram.clear();
    this.registers.reset(kind);
    this.#physicalLayer.fill(0);
    this.#dataLinkLayer.fill(0);
    this.#resetBlocks();
    this.phy.reset();
    this.#words[MAC_STATUS.word] = 0;
  }

  /** GRC_MISC_CFG: configuration space, SRAM, PHY, CPMU and the PCIe layers stay as they are. */
  #coreReset(): void {
    this.registers.reset('software');
    this.#resetBlocks();
  }

  #resetBlocks(): void {
    this.#memoryBase = 0;
    this.#registerBase = 0;
    this.config.poke(R.MEM_WIN_BASE_ADDR.at, 4, 0);
    this.config.poke(R.REG_BASE_ADDR.at, 4, 0);
    this.nvram.reset();
    this.#flow.reset();
    this.#rss.settle();
    this.#coalescing.reset();
    this.#receive.reset();
    this.#send.reset();
    this.#boot();
  }

  /**
   * What boot code leaves in SRAM and registers, and its answer to whoever waits for it. From an NVRAM that does not hold
   * together none is loaded: SRAM then stays as it was.
   */
  #boot(): void {
    if (!this.nvram.boots) return;
    const { words } = this.#sram;
    words[SRAM_DATA_SIG / 4] = SIGNATURE;
    words[SRAM_DATA_CFG / 4] = COPPER;
    words[SRAM_DATA_VER / 4] = DATA_VERSION;
    words[SRAM_PHY_ID / 4] = (this.chip.phyId[0] << 16) | this.chip.phyId[1];
    words[SRAM_FW_ASF_STATUS / 4] = FW_READY;
    words[SRAM_FW_MAILBOX / 4] = FW_READY;
    const { mac } = this.nvram;
    if (mac === null) return;
    const high = get16(mac, 0);
    const low = get32(mac, 2);
    words[SRAM_MAC_HIGH / 4] = MAC_SIGNATURE | high;
    words[SRAM_MAC_LOW / 4] = low;
    this.#words[R.MAC_ADDR_HIGH.word(0)] = high;
    this.#words[R.MAC_ADDR_LOW.word(0)] = low;
  }

  // Link.

  #linkChanged(): void {
    this.#words[MAC_STATUS.word]! |= MAC_STATUS.LNKSTATE_CHANGED;
    this.#flow.release();
    this.#coalescing.attention();
    if (this.phy.link) this.#send.resume();
  }

  get #loopback(): boolean {
    return (this.#words[MAC_MODE.word]! & MAC_MODE.PORT_INT_LPBACK) !== 0 || this.phy.loopback;
  }

  /** The PHY has link, and the MAC talks to it at its speed. */
  get #connected(): boolean {
    const mode = this.phy.speed === 1000 ? PORT_MODE_GMII : PORT_MODE_MII;
    return this.phy.link && field(this.#words[MAC_MODE.word]!, MAC_MODE.PORT_MODE) === mode;
  }

  // Frames out.

  /** @internal Send's outlet. */
  get heldUntil(): number {
    const { medium } = this.port;
    const free = medium === null ? 0 : medium.freeAt(this.port);
    return Math.max(free, this.#flow.pausedUntil);
  }

  /** @internal Send's outlet: to the wire, or around. Without link a frame goes nowhere. */
  send(bytes: Uint8Array, start: number, length: number, flags: number): void {
    if (this.#loopback) this.#receive.frame(bytes, start, length, flags, 1);
    else if (this.#connected) this.port.medium?.transmit(this.port, bytes, start, length, flags);
  }

  /** @internal Send's outlet: a burst goes to the wire, or not at all. */
  sendBurst(bytes: Uint8Array, starts: Int32Array, lengths: Int32Array, count: number): number {
    if (this.#loopback || !this.#connected) return 0;
    return this.port.medium?.transmitBurst?.(this.port, bytes, starts, lengths, count) ?? 0;
  }

  /** Counted as XON or XOFF alone: the guides leave open whether in the octets too, and those received are not either. */
  #sendPause(frame: Uint8Array): void {
    if (this.#loopback || !this.#connected) return; // it would only stop ourselves
    this.port.medium?.transmit(this.port, frame, 0, frame.length, 0);
  }

  // Frames in.

  /** @internal From the port. */
  arrive(bytes: Uint8Array, start: number, length: number, flags: number): void {
    if (!this.#connected || this.#loopback) return;
    const before = this.#flow.pausedUntil;
    this.#receive.frame(bytes, start, length, flags, 1000 / this.phy.speed);
    if (this.#flow.pausedUntil !== before) this.#send.resume();
  }

  /** @internal From the port. */
  arriveBurst(bytes: Uint8Array, starts: Int32Array, lengths: Int32Array, count: number): number {
    if (!this.#connected || this.#loopback) return 0;
    return this.#receive.burst(bytes, starts, lengths, count);
  }

  // Snapshot and trace.

  protected override traceChanged(trace: Trace | null): void {
    this.registers.trace = trace === null ? null : new NotModelledTrace(trace);
  }

  /** What the rings are laid by comes before the blocks that have them. */
  #stateOf(): Stateful {
    return block(1, {
      registers: array(this.#words),
      refused: whole(
        () => this.registers.refused,
        (refused) => {
          this.registers.refused = refused;
        },
      ),
      memoryBase: whole(
        () => this.#memoryBase,
        (address) => {
          this.#memoryBase = address;
        },
        0xffffffff,
      ),
      registerBase: whole(
        () => this.#registerBase,
        (address) => {
          this.#registerBase = address;
        },
        0xffffffff,
      ),
      physicalLayer: array(this.#physicalLayer),
      dataLinkLayer: array(this.#dataLinkLayer),
      sram: this.#sram.state,
      nvram: this.nvram.state,
      phy: this.phy.state,
      flow: this.#flow.state,
      rss: this.#rss.state,
      coalescing: this.#coalescing.state,
      receive: this.#receive.state,
      send: this.#send.state,
    });
  }
}

/** A word of which `width` bytes at `offset` are written. */
function merge(word: number, offset: number, width: 1 | 2 | 4, value: number): number {
  if (width === 4) return value >>> 0;
  const shift = (offset & 3) * 8;
  const mask = (width === 1 ? 0xff : 0xffff) << shift;
  return ((word & ~mask) | ((value << shift) & mask)) >>> 0;
}
