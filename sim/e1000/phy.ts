/**
 * The copper PHY inside the 82540EM (a Marvell 88E1011 core): reached through MDIC (manual section 13.4.7; the PHY's
 * registers are in 13.4.7.1 and chapter 8).
 */
import { MILLISECOND } from '../clock.ts';
import {
  CopperPhy,
  PHY_ADVERTISEMENT,
  PHY_CONTROL,
  PHY_EXTENDED_STATUS,
  PHY_FULL_DUPLEX,
  PHY_GIGABIT_CONTROL,
  PHY_ID_1,
  PHY_ID_2,
  PHY_MASTER,
  PHY_NEGOTIATE,
  PHY_SPEED_HIGH,
  type PhyEvents,
  type PhyKind,
} from '../nic/phy.ts';
import { field } from '../registers.ts';
import type { BlockContext } from './context.ts';
import type { FamilyRegisters } from './registers.ts';

const OP_WRITE = 1;
const OP_READ = 2;
const ADDRESS = 1; // the internal PHY's, on the MDIO bus

const SPECIFIC_CONTROL = 16;
const SPECIFIC_STATUS = 17;
const INTERRUPT_ENABLE = 18;
const INTERRUPT_STATUS = 19;
const EXTENDED_CONTROL = 20;
const RECEIVE_ERRORS = 21;
const READ_ONLY = new Set([SPECIFIC_STATUS, INTERRUPT_STATUS, RECEIVE_ERRORS]);

// PHY specific status (17) and interrupts (18, 19).
const RESOLVED = 0x0800;
const REAL_TIME_LINK = 0x0400;
const INTERRUPT_SPEED = 0x4000;
const INTERRUPT_NEGOTIATED = 0x0800;
const INTERRUPT_LINK = 0x0400;

const KIND: PhyKind = {
  defaults: [
    [PHY_CONTROL, PHY_NEGOTIATE | PHY_FULL_DUPLEX | PHY_SPEED_HIGH],
    [PHY_ID_1, 0x0141], // 88E1011: 01410C20h in Linux's and FreeBSD's tables; revision 4
    [PHY_ID_2, 0x0c24],
    [PHY_ADVERTISEMENT, 0x0de1], // 10 and 100, both duplexes, both pauses
    [PHY_GIGABIT_CONTROL, 0x0300 | PHY_MASTER],
    [PHY_EXTENDED_STATUS, 0x3000], // 1000BASE-T, full and half
    [SPECIFIC_CONTROL, 0x0068],
    [EXTENDED_CONTROL, 0x0d60],
  ],
  negotiation: 5 * MILLISECOND,
  resetRetains: true,
};

export interface E1000PhyEvents extends PhyEvents {
  /** An enabled PHY interrupt. */
  interrupt(): void;
  /** An MDI access that asked for an interrupt (MDIC.I) is done. */
  accessDone(): void;
}

export class Phy extends CopperPhy {
  readonly state = this.standard;
  readonly #words: Uint32Array;
  readonly #mdic: FamilyRegisters['MDIC'];
  readonly #events: E1000PhyEvents;

  constructor({ registers, r, host }: BlockContext, events: E1000PhyEvents) {
    super(host.clock, KIND, events);
    this.#words = registers.words;
    this.#mdic = r.MDIC;
    this.#events = events;
    registers.onWrite(r.MDIC, (value) => this.#access(value));
  }

  protected override linkSet(up: boolean): void {
    this.#interrupt(up ? INTERRUPT_LINK | INTERRUPT_SPEED | INTERRUPT_NEGOTIATED : INTERRUPT_LINK);
  }

  #interrupt(causes: number): void {
    this.registers[INTERRUPT_STATUS]! |= causes;
    if (causes & this.registers[INTERRUPT_ENABLE]!) this.#events.interrupt();
  }

  #access(value: number): void {
    const MDIC = this.#mdic;
    const register = field(value, MDIC.REGADD);
    const operation = field(value, MDIC.OP);
    const answers = field(value, MDIC.PHYADD) === ADDRESS && (operation === OP_READ || operation === OP_WRITE);
    let data = value & MDIC.DATA;
    if (answers && operation === OP_WRITE) this.write(register, data);
    else if (answers) data = this.read(register);
    // A frame on MDIO takes 64 bit times of MDC, some 26 µs; no driver sees the difference from none.
    const held = value & ~(MDIC.DATA | MDIC.E | MDIC.R);
    this.#words[MDIC.word] = held | MDIC.R | (answers ? data : MDIC.E);
    if (value & MDIC.I) this.#events.accessDone();
  }

  protected override readVendor(register: number): number {
    if (register === SPECIFIC_STATUS) return this.#specificStatus();
    const value = this.registers[register]!;
    if (register === INTERRUPT_STATUS) this.registers[register] = 0;
    return value;
  }

  protected override writeVendor(register: number, value: number): void {
    if (!READ_ONLY.has(register)) this.registers[register] = value;
  }

  /** Speed and duplex hold what was resolved; with the link down they are not valid (bit 11 clear). */
  #specificStatus(): number {
    const cable = 0x0080; // 50 to 80 m
    if (!this.link) return cable;
    const speed = { 1000: 0x8000, 100: 0x4000, 10: 0 }[this.speed];
    return speed | (this.fullDuplex ? 0x2000 : 0) | RESOLVED | REAL_TIME_LINK | cable;
  }
}
