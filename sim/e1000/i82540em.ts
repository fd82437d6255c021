/**
 * The Intel 82540EM: a PCI gigabit Ethernet controller with an integrated copper PHY.
 *
 * This file is the chip as a whole: PCI identity and BARs, control and status, resets, and how the blocks hang together.
 * Source: Intel 317453, "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual"; sections are its.
 */
import { NotModelledTrace } from '../nic/not-modelled.ts';
import type { Outlet } from '../nic/packet-engine.ts';
import { CardPort, type PortOwner } from '../nic/port.ts';
import { get16, MIN_FRAME } from '../packet.ts';
import { type Host, PciFunction, type ResetKind } from '../pci/function.ts';
import { place, RegisterFile } from '../registers.ts';
import { array, block, record, type Stateful, whole } from '../state.ts';
import type { Trace } from '../trace.ts';
import { FCS_ERROR, type Port } from '../wire/port.ts';
import { ChecksumUnit } from './checksum.ts';
import { I82540EM_CONFIGURATION, REGISTERS_SIZE } from './configuration.ts';

import { queueContexts } from './context.ts';
import { Eeprom } from './eeprom.ts';

import { Filters } from './filters.ts';
import { FlowControl, ORDINARY } from './flow-control.ts';
import { InterruptBlock } from './interrupts.ts';
import { IoPort } from './io.ts';
import { factoryImage } from './nvm.ts';
import { Phy } from './phy.ts';
import { Receive } from './receive.ts';
import { type FamilyRegisters, I82540EM } from './registers.ts';
import { Statistics } from './statistics.ts';
import { Transmit } from './transmit.ts';

const LOOPBACK_MAC = 1; // RCTL.LBM
const PACKET_BUFFER_KB = 64;

export interface E1000Options {
  /** For traces and captures. */
  readonly name?: string;
  /** Six bytes, for the factory's EEPROM image. */
  readonly mac?: Uint8Array;
  /** 64 words, which the card goes on with; overrides `mac`. */
  readonly eeprom?: Uint16Array;
}

const DEFAULT_MAC = new Uint8Array([0x02, 0x00, 0x00, 0x82, 0x54, 0x01]); // locally administered

export class E1000 extends PciFunction implements Outlet, PortOwner {
  readonly registers: RegisterFile;
  readonly eeprom: Eeprom;
  readonly phy: Phy;
  readonly port: Port;
  readonly #interrupts: InterruptBlock;
  readonly #statistics: Statistics;
  readonly #filters: Filters;
  readonly #checksums: ChecksumUnit;
  readonly #flow: FlowControl;
  readonly #receive: Receive;
  readonly #transmit: Transmit;
  readonly #io: IoPort;
  readonly #words: Uint32Array;
  readonly #r: FamilyRegisters;
  readonly #RCTL: FamilyRegisters['RCTL']; // as looked at for each frame
  readonly #link = { up: false };
  protected override readonly chipState: Stateful;

  /** @param configuration another one for a card of its kin. */
  constructor(host: Host, options: E1000Options = {}, configuration = I82540EM_CONFIGURATION) {
    super(host, configuration);
    const registers = new RegisterFile(I82540EM);
    this.registers = registers;
    this.#words = registers.words;
    const { r } = I82540EM;
    const context = { name: registers.map.chip, host, dma: this.dma, registers, r };
    this.#r = r;
    this.#RCTL = r.RCTL;
    this.#statistics = new Statistics(context);
    this.#interrupts = new InterruptBlock(context, (asserted) => this.interrupt(asserted));
    this.eeprom = new Eeprom(context, options.eeprom ?? factoryImage(options.mac ?? DEFAULT_MAC));
    this.phy = new Phy(context, {
      linkChanged: () => this.#settleLink(),
      stationChanged: () => this.port.medium?.stationChanged(this.port),
      interrupt: () => this.#interrupts.raise(r.ICR.PHYINT),
      accessDone: () => this.#interrupts.raise(r.ICR.MDAC),
    });
    this.#filters = new Filters(context);
    this.#checksums = new ChecksumUnit(context);
    this.#flow = new FlowControl(context, this.#statistics);
    this.#receive = new Receive(context, queueContexts(context, 'rx', [r.ICR.RXT0]), {
      filters: this.#filters,
      checksums: this.#checksums,
      flow: this.#flow,
      interrupts: this.#interrupts,
      statistics: this.#statistics,
      sendPause: (frame) => this.#sendPause(frame),
    });
    this.#transmit = new Transmit(context, queueContexts(context, 'tx', [r.ICR.TXDW]), {
      interrupts: this.#interrupts,
      statistics: this.#statistics,
      outlet: this,
      softwareXoff: () => {
        if (this.#words[r.CTRL.word]! & r.CTRL.TFCE) this.#sendPause(this.#flow.xoff());
      },
    });
    this.#io = new IoPort(registers);
    this.port = new CardPort(options.name ?? 'e1000', this);
    registers.onWrite(r.CTRL, (value) => this.#controlWritten(value));
    registers.onWrite(r.CTRL_EXT, (value) => {
      if (value & r.CTRL_EXT.EE_RST) this.#loadEeprom();
    });
    registers.onRead(r.STATUS, () => this.#status());
    registers.onWrite(r.PBA, () => this.#settlePacketBuffer());
    this.addBar(0, {
      kind: 'memory',
      size: REGISTERS_SIZE,
      read: (offset, width) => registers.read(offset, width),
      write: (offset, width, value) => registers.write(offset, width, value),
    });
    this.addBar(2, this.#io);
    this.chipState = block(
      1,
      {
        registers: array(this.#words),
        refused: whole(
          () => registers.refused,
          (count) => (registers.refused = count),
        ),
        link: record(this.#link),
        interrupts: this.#interrupts.state,
        eeprom: this.eeprom.state,
        phy: this.phy.state,
        flow: this.#flow.state,
        receive: this.#receive.state,
        transmit: this.#transmit.state,
        io: this.#io.state,
      },
      () => {
        this.#filters.settle();
        this.#checksums.settle();
      },
    );
    this.reset('power-on');
  }

  /** What was refused so far: accesses to registers and to host memory, and packets that descriptors do not describe. */
  get refused(): { registers: number; configuration: number; memory: number; packets: number } {
    return {
      registers: this.registers.refused,
      configuration: this.config.refused,
      memory: this.dma.faults,
      packets: this.#transmit.refused,
    };
  }

  /** Units of work done at this moment of the clock, see Budget. */
  get work(): number {
    return this.#transmit.work;
  }

  // Resets.

  protected override resetChip(kind: ResetKind): void {
    this.registers.reset(kind);
    this.#resetBlocks();
    this.phy.reset();
  }

  /** CTRL.RST (13.4.1): the MAC as after power-on, but PCI configuration, PHY and wake-up state stay. */
  #softwareReset(): void {
    this.registers.reset('software');
    this.#resetBlocks();
  }

  #resetBlocks(): void {
    this.#transmit.reset();
    this.#receive.reset();
    this.#flow.reset();
    this.#checksums.settle();
    this.#loadEeprom();
    this.#settleLink();
    this.#words[this.#r.ICR.word] = 0; // of the link that a reset drops no cause is left
    this.#interrupts.reset();
  }

  /** What hardware reads from the EEPROM by itself (5.3): the station address into receive address 0. */
  #loadEeprom(): void {
    this.eeprom.reset();
    const [low, middle, high] = this.eeprom.words as unknown as [number, number, number];
    const { RAL, RAH } = this.#r;
    if (this.eeprom.signed) {
      this.#words[RAL.word(0)] = low | (middle << 16);
      this.#words[RAH.word(0)] = RAH.AV | high;
    }
    this.#filters.settle();
  }

  // Control, status, link.

  #controlWritten(value: number): void {
    const { CTRL } = this.#r;
    if (value & CTRL.PHY_RST) this.phy.reset();
    if (value & CTRL.RST) this.#softwareReset();
    else this.#settleLink();
  }

  /** Link as the MAC sees it: software set it up (SLU), and the PHY says so; ILOS turns the PHY's word around. */
  #settleLink(): void {
    const { CTRL, ICR } = this.#r;
    const ctrl = this.#words[CTRL.word]!;
    const up = (ctrl & CTRL.SLU) !== 0 && this.phy.link !== ((ctrl & CTRL.ILOS) !== 0);
    if (up === this.#link.up) return;
    this.#link.up = up;
    this.#flow.release();
    if (up) this.#transmit.resume();
    this.#interrupts.raise(ICR.LSC);
  }

  #status(): number {
    const { CTRL, STATUS } = this.#r;
    const ctrl = this.#words[CTRL.word]!;
    const { phy } = this;
    const detected = { 10: 0, 100: 1, 1000: 2 }[phy.speed];
    const speed = ctrl & CTRL.FRCSPD ? (ctrl & CTRL.SPEED) >>> 8 : detected;
    const full = ctrl & CTRL.FRCDPLX ? (ctrl & CTRL.FD) !== 0 : phy.fullDuplex;
    return (
      (full ? STATUS.FD : 0) |
      (this.#link.up ? STATUS.LU : 0) |
      (this.#flow.pausedUntil > this.host.clock.now ? STATUS.TXOFF : 0) |
      place(STATUS.SPEED, speed) |
      place(STATUS.ASDV, detected)
    );
  }

  /** TXA is what RXA leaves of the packet buffer, and only reads (13.4.16). */
  #settlePacketBuffer(): void {
    const { PBA } = this.#r;
    const receive = Math.min(this.#words[PBA.word]! & PBA.RXA, PACKET_BUFFER_KB);
    this.#words[PBA.word] = receive | ((PACKET_BUFFER_KB - receive) << 16);
  }

  // Frames out.

  /** @internal Transmit's outlet. */
  get heldUntil(): number {
    const { medium } = this.port;
    const free = medium === null ? 0 : medium.freeAt(this.port);
    const { pausedUntil } = this.#flow;
    return Math.max(free, pausedUntil);
  }

  /** @internal Transmit's outlet: to the wire, or around. Without link a frame goes nowhere. */
  send(bytes: Uint8Array, start: number, length: number, flags: number): void {
    if (this.#loopback) this.#receive.frame(bytes, start, length, flags, ORDINARY);
    else if (this.#link.up) this.port.medium?.transmit(this.port, bytes, start, length, flags);
  }

  /** @internal Transmit's outlet: a burst goes to the wire, or not at all. */
  sendBurst(bytes: Uint8Array, starts: Int32Array, lengths: Int32Array, count: number): number {
    if (this.#loopback || !this.#link.up) return 0;
    return this.port.medium?.transmitBurst?.(this.port, bytes, starts, lengths, count) ?? 0;
  }

  get #loopback(): boolean {
    const RCTL = this.#RCTL;
    return (this.#words[RCTL.word]! & RCTL.LBM) === LOOPBACK_MAC << 6 || this.phy.loopback;
  }

  #sendPause(frame: Uint8Array): void {
    if (this.#loopback || !this.#link.up) return; // it would only stop ourselves
    this.#statistics.sentPause(frame.length);
    this.port.medium?.transmit(this.port, frame, 0, frame.length, 0);
  }

  // Frames in.

  /** @internal From the port. */
  arrive(bytes: Uint8Array, start: number, length: number, flags: number): void {
    if (!this.#link.up || this.#loopback) return;
    let kind = ORDINARY;
    if (length >= MIN_FRAME && this.#flow.listens(get16(bytes, start + 12)) && this.#hears(flags)) {
      const before = this.#flow.pausedUntil;
      kind = this.#flow.received(bytes, start, 1000 / this.phy.speed);
      if (this.#flow.pausedUntil !== before) this.#transmit.resume();
    }
    this.#receive.frame(bytes, start, length, flags, kind);
  }

  /** @internal From the port. */
  arriveBurst(bytes: Uint8Array, starts: Int32Array, lengths: Int32Array, count: number): number {
    if (!this.#link.up || this.#loopback) return 0;
    return this.#receive.burst(bytes, starts, lengths, count);
  }

  #hears(flags: number): boolean {
    const RCTL = this.#RCTL;
    return (flags & FCS_ERROR) === 0 && (this.#words[RCTL.word]! & RCTL.EN) !== 0;
  }

  // Snapshot and trace.

  protected override traceChanged(trace: Trace | null): void {
    this.registers.trace = trace === null ? null : new NotModelledTrace(trace);
  }
}
