/**
 * The copper PHY inside the 82540EM (a Marvell 88E1011 core): IEEE 802.3 clause 22 and 40 registers, negotiation, loopback;
 * reached through MDIC (manual section 13.4.7; the PHY's registers are in 13.4.7.1 and chapter 8).
 *
 * The PHY owns the plug: it shows the other end a Station, and works out from the partner's what both can do.
 */
import { type Alarm, type Clock, MILLISECOND } from '../clock.ts';
import { field, type RegisterFile } from '../registers.ts';
import {
  ABILITY_10_FULL,
  ABILITY_10_HALF,
  ABILITY_100_FULL,
  ABILITY_100_HALF,
  ABILITY_1000_FULL,
  ABILITY_1000_HALF,
  ABILITY_ASYM_PAUSE,
  ABILITY_PAUSE,
  type Station,
} from '../wire/port.ts';
import { I82540EM } from './registers.ts';

const { MDIC } = I82540EM.r;
const OP_WRITE = 1;
const OP_READ = 2;
const ADDRESS = 1; // the internal PHY's, on the MDIO bus

// Register numbers.
const CONTROL = 0;
const STATUS = 1;
const ID_1 = 2;
const ID_2 = 3;
const ADVERTISEMENT = 4;
const PARTNER = 5;
const EXPANSION = 6;
const GIGABIT_CONTROL = 9;
const GIGABIT_STATUS = 10;
const EXTENDED_STATUS = 15;
const SPECIFIC_CONTROL = 16;
const SPECIFIC_STATUS = 17;
const INTERRUPT_ENABLE = 18;
const INTERRUPT_STATUS = 19;
const READ_ONLY = new Set([
  STATUS,
  ID_1,
  ID_2,
  PARTNER,
  EXPANSION,
  8,
  GIGABIT_STATUS,
  EXTENDED_STATUS,
  SPECIFIC_STATUS,
  19,
  21,
]);

// Control (0).
const RESET = 0x8000;
const LOOPBACK = 0x4000;
const SPEED_LOW = 0x2000;
const NEGOTIATE = 0x1000;
const POWER_DOWN = 0x0800;
const ISOLATE = 0x0400;
const RESTART = 0x0200;
const FULL_DUPLEX = 0x0100;
const SPEED_HIGH = 0x0040;
// Status (1): what the part can do, and the bits that change.
const CAPABILITIES = 0x7949;
const NEGOTIATED = 0x0020;
const LINK = 0x0004;
// Advertisement (4) and partner (5), beside the four 10/100 bits at 8:5.
const PAUSE = 0x0400;
const ASYM_PAUSE = 0x0800;
const HALF_100 = 0x0080; // what parallel detection finds, of a partner that is forced (28.2.3.1)
const HALF_10 = 0x0020;
const ACKNOWLEDGE = 0x4000;
const SELECTOR_802_3 = 0x0001;
// Expansion (6).
const PARTNER_NEGOTIATES = 0x0001;
const PAGE_RECEIVED = 0x0002;
// 1000BASE-T control (9) and status (10).
const GIGABIT_FULL = 0x0200;
const GIGABIT_HALF = 0x0100;
const RECEIVERS_OK = 0x3000;
const MASTER = 0x4000;
const PARTNER_GIGABIT_FULL = 0x0800;
const PARTNER_GIGABIT_HALF = 0x0400;
// PHY specific status (17) and interrupts (18, 19).
const RESOLVED = 0x0800;
const REAL_TIME_LINK = 0x0400;
const INTERRUPT_SPEED = 0x4000;
const INTERRUPT_NEGOTIATED = 0x0800;
const INTERRUPT_LINK = 0x0400;

const RESET_VALUES: readonly [register: number, value: number][] = [
  [CONTROL, NEGOTIATE | FULL_DUPLEX | SPEED_HIGH],
  [ID_1, 0x0141], // 88E1011: 01410C20h in Linux's and FreeBSD's tables; revision 4
  [ID_2, 0x0c24],
  [ADVERTISEMENT, 0x0de1], // 10 and 100, both duplexes, both pauses
  [GIGABIT_CONTROL, 0x0300 | MASTER],
  [EXTENDED_STATUS, 0x3000], // 1000BASE-T, full and half
  [SPECIFIC_CONTROL, 0x0068],
  [20, 0x0d60], // extended PHY specific control
];

const SPEED_ABILITIES = {
  1000: [ABILITY_1000_FULL, ABILITY_1000_HALF],
  100: [ABILITY_100_FULL, ABILITY_100_HALF],
  10: [ABILITY_10_FULL, ABILITY_10_HALF],
} as const;
export type Speed = keyof typeof SPEED_ABILITIES;
const SPEEDS: readonly Speed[] = [1000, 100, 10];

/** How long a negotiation takes: real parts need up to seconds; what counts is that it does not happen at once. */
const NEGOTIATION = 5 * MILLISECOND;

export interface PhyEvents {
  /** Link, speed or duplex changed. */
  linkChanged(): void;
  /** What the port shows the other end changed. */
  stationChanged(): void;
  /** An enabled PHY interrupt. */
  interrupt(): void;
  /** An MDI access that asked for an interrupt (MDIC.I) is done. */
  accessDone(): void;
}

export class Phy {
  readonly #mac: RegisterFile;
  readonly #events: PhyEvents;
  readonly #negotiation: Alarm;
  readonly #registers = new Uint16Array(32);
  #partner: Station | null = null;
  #link = false;
  #speed: Speed = 1000;
  #fullDuplex = true;
  #linkLatch = false; // status bit 2 stays low until read once (22.2.4.2.13)

  constructor(mac: RegisterFile, clock: Clock, events: PhyEvents) {
    this.#mac = mac;
    this.#events = events;
    this.#negotiation = clock.alarm(() => this.#resolve());
    mac.onWrite(MDIC, (value) => this.#access(value));
    this.#setDefaults();
  }

  get link(): boolean {
    return this.#link;
  }

  get speed(): Speed {
    return this.#speed;
  }

  get fullDuplex(): boolean {
    return this.#fullDuplex;
  }

  /** Frames come straight back from the PHY (control bit 14), and the cable sees nothing. */
  get loopback(): boolean {
    return (this.#registers[CONTROL]! & LOOPBACK) !== 0;
  }

  /** What the other end sees of us. */
  get station(): Station | null {
    const control = this.#registers[CONTROL]!;
    if (control & (LOOPBACK | POWER_DOWN | ISOLATE)) return null;
    if (control & NEGOTIATE) return { abilities: this.#advertised(), negotiates: true };
    return { abilities: SPEED_ABILITIES[forcedSpeed(control)][control & FULL_DUPLEX ? 0 : 1], negotiates: false };
  }

  #advertised(): number {
    const advertisement = this.#registers[ADVERTISEMENT]!;
    const gigabit = this.#registers[GIGABIT_CONTROL]!;
    return (
      ((advertisement >>> 5) & 15 & (ABILITY_10_HALF | ABILITY_10_FULL | ABILITY_100_HALF | ABILITY_100_FULL)) |
      (advertisement & PAUSE ? ABILITY_PAUSE : 0) |
      (advertisement & ASYM_PAUSE ? ABILITY_ASYM_PAUSE : 0) |
      (gigabit & GIGABIT_HALF ? ABILITY_1000_HALF : 0) |
      (gigabit & GIGABIT_FULL ? ABILITY_1000_FULL : 0)
    );
  }

  /** The hardware reset: power-on, or CTRL.PHY_RST. */
  reset(): void {
    this.#setDefaults();
    this.#restart();
  }

  #setDefaults(): void {
    this.#registers.fill(0);
    for (const [register, value] of RESET_VALUES) this.#registers[register] = value;
  }

  partnerChanged(partner: Station | null): void {
    this.#partner = partner;
    this.#negotiate();
  }

  /** Something on our side changed: the other end must see it, and both start over. */
  #restart(): void {
    this.#events.stationChanged();
    this.#negotiate();
  }

  /** Link drops until both ends have talked again. */
  #negotiate(): void {
    this.#registers[PARTNER] = 0;
    this.#registers[EXPANSION] = 0;
    this.#registers[GIGABIT_STATUS] = 0;
    this.#setLink(false);
    if (this.#partner !== null && this.station !== null) this.#negotiation.in(NEGOTIATION);
    else this.#negotiation.cancel();
  }

  #resolve(): void {
    const us = this.station;
    const partner = this.#partner;
    if (us === null || partner === null) return;
    if (us.negotiates && partner.negotiates) this.#recordPartner(partner);
    for (const speed of SPEEDS) {
      const [full, half] = SPEED_ABILITIES[speed];
      const duplex = commonDuplex(us, partner, full, half);
      if (duplex === null) continue;
      this.#speed = speed;
      this.#fullDuplex = duplex;
      if (us.negotiates && !partner.negotiates) this.#registers[PARTNER] = speed === 100 ? HALF_100 : HALF_10;
      this.#setLink(true);
      return;
    }
  }

  #recordPartner({ abilities }: Station): void {
    this.#registers[PARTNER] =
      ((abilities & 15) << 5) |
      SELECTOR_802_3 |
      ACKNOWLEDGE |
      (abilities & ABILITY_PAUSE ? PAUSE : 0) |
      (abilities & ABILITY_ASYM_PAUSE ? ASYM_PAUSE : 0);
    this.#registers[EXPANSION] = PARTNER_NEGOTIATES | PAGE_RECEIVED;
    this.#registers[GIGABIT_STATUS] =
      (abilities & (ABILITY_1000_FULL | ABILITY_1000_HALF) ? RECEIVERS_OK | MASTER : 0) |
      (abilities & ABILITY_1000_FULL ? PARTNER_GIGABIT_FULL : 0) |
      (abilities & ABILITY_1000_HALF ? PARTNER_GIGABIT_HALF : 0);
  }

  #setLink(up: boolean): void {
    if (up) this.#interrupt(INTERRUPT_LINK | INTERRUPT_SPEED | INTERRUPT_NEGOTIATED);
    else if (this.#link) this.#interrupt(INTERRUPT_LINK);
    if (!up) this.#linkLatch = false;
    if (this.#link === up) return;
    this.#link = up;
    this.#events.linkChanged();
  }

  #interrupt(causes: number): void {
    this.#registers[INTERRUPT_STATUS]! |= causes;
    if (causes & this.#registers[INTERRUPT_ENABLE]!) this.#events.interrupt();
  }

  #access(value: number): void {
    const register = field(value, MDIC.REGADD);
    const operation = field(value, MDIC.OP);
    const answers = field(value, MDIC.PHYADD) === ADDRESS && (operation === OP_READ || operation === OP_WRITE);
    let data = value & MDIC.DATA;
    if (answers && operation === OP_WRITE) this.#write(register, data);
    else if (answers) data = this.#read(register);
    // A frame on MDIO takes 64 bit times of MDC, some 26 µs; no driver sees the difference from none.
    const held = value & ~(MDIC.DATA | MDIC.E | MDIC.R);
    this.#mac.words[MDIC.word] = held | MDIC.R | (answers ? data : MDIC.E);
    if (value & MDIC.I) this.#events.accessDone();
  }

  #read(register: number): number {
    switch (register) {
      case STATUS: {
        const latched = this.#linkLatch;
        this.#linkLatch = this.#link;
        const negotiated = this.#link && this.#registers[CONTROL]! & NEGOTIATE ? NEGOTIATED : 0;
        return CAPABILITIES | negotiated | (latched && this.#link ? LINK : 0);
      }
      case SPECIFIC_STATUS:
        return this.#specificStatus();
      case INTERRUPT_STATUS: {
        const causes = this.#registers[INTERRUPT_STATUS]!;
        this.#registers[INTERRUPT_STATUS] = 0;
        return causes;
      }
      default:
        return this.#registers[register]!;
    }
  }

  /** Speed and duplex hold what was resolved; with the link down they are not valid (bit 11 clear). */
  #specificStatus(): number {
    const cable = 0x0080; // 50 to 80 m
    if (!this.#link) return cable;
    const speed = { 1000: 0x8000, 100: 0x4000, 10: 0 }[this.#speed];
    return speed | (this.#fullDuplex ? 0x2000 : 0) | RESOLVED | REAL_TIME_LINK | cable;
  }

  #write(register: number, value: number): void {
    if (READ_ONLY.has(register)) return;
    if (register !== CONTROL) {
      this.#registers[register] = value;
      return;
    }
    // Reset and restart clear themselves. A soft reset keeps what this very write sets (88E1011: "retain").
    const before = this.#registers[CONTROL]!;
    const now = value & ~(RESET | RESTART) & 0xffc0;
    this.#registers[CONTROL] = now;
    if (value & (RESET | RESTART) || now !== before) this.#restart();
  }

  save(): unknown {
    return {
      registers: this.#registers.slice(),
      partner: this.#partner,
      link: this.#link,
      speed: this.#speed,
      fullDuplex: this.#fullDuplex,
      linkLatch: this.#linkLatch,
      negotiation: this.#negotiation.save(),
    };
  }

  restore(saved: unknown): void {
    const state = saved as {
      registers: Uint16Array;
      partner: Station | null;
      link: boolean;
      speed: Speed;
      fullDuplex: boolean;
      linkLatch: boolean;
      negotiation: number;
    };
    this.#registers.set(state.registers);
    this.#partner = state.partner;
    this.#link = state.link;
    this.#speed = state.speed;
    this.#fullDuplex = state.fullDuplex;
    this.#linkLatch = state.linkLatch;
    this.#negotiation.restore(state.negotiation);
  }
}

function forcedSpeed(control: number): Speed {
  if (control & SPEED_HIGH) return 1000;
  return control & SPEED_LOW ? 100 : 10;
}

/**
 * Whether both ends can do this speed, and in which duplex: true full, false half, null not at all. Of two forced ends each
 * keeps its own duplex: that they differ shows in no link bit. A negotiating end that
 * meets a forced one detects its speed (not 1000) but not its duplex, and takes half: 802.3 clause 28.2.3.1.
 */
function commonDuplex(us: Station, partner: Station, full: number, half: number): boolean | null {
  const both = us.abilities & partner.abilities;
  if (us.negotiates && partner.negotiates) return both & full ? true : both & half ? false : null;
  const speed = full | half;
  if (!us.negotiates && !partner.negotiates) {
    return us.abilities & speed && partner.abilities & speed ? (us.abilities & full) !== 0 : null;
  }
  if (full === ABILITY_1000_FULL) return null;
  const forced = us.negotiates ? partner : us;
  const other = us.negotiates ? us : partner;
  if (!(forced.abilities & speed) || !(other.abilities & speed)) return null;
  return us.negotiates ? false : (us.abilities & full) !== 0;
}
