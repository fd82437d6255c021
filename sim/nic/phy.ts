/**
 * A gigabit copper PHY: the registers of IEEE 802.3 clauses 22 and 40 (0 to 15), negotiation, loopback. A chip's PHY is one
 * with its maker's registers (16 to 31) and its own way to them.
 *
 * The PHY owns the plug: it shows the other end a Station, and works out from the partner's what both can do.
 */
import type { Alarm, Clock } from '../clock.ts';
import { alarm, array, block, record, StateError, type Stateful, value } from '../state.ts';
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

/** Register numbers. */
export const PHY_CONTROL = 0;
export const PHY_STATUS = 1;
export const PHY_ID_1 = 2;
export const PHY_ID_2 = 3;
export const PHY_ADVERTISEMENT = 4;
const PARTNER = 5;
const EXPANSION = 6;
export const PHY_GIGABIT_CONTROL = 9;
const GIGABIT_STATUS = 10;
export const PHY_EXTENDED_STATUS = 15;
const PARTNER_NEXT_PAGE = 8;
const READ_ONLY = new Set([
  PHY_STATUS,
  PHY_ID_1,
  PHY_ID_2,
  PARTNER,
  EXPANSION,
  PARTNER_NEXT_PAGE,
  GIGABIT_STATUS,
  PHY_EXTENDED_STATUS,
]);

// Control (0).
const RESET = 0x8000;
const LOOPBACK = 0x4000;
const SPEED_LOW = 0x2000;
export const PHY_NEGOTIATE = 0x1000;
const POWER_DOWN = 0x0800;
const ISOLATE = 0x0400;
const RESTART = 0x0200;
export const PHY_FULL_DUPLEX = 0x0100;
export const PHY_SPEED_HIGH = 0x0040;
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
export const PHY_MASTER = 0x4000;
const PARTNER_GIGABIT_FULL = 0x0800;
const PARTNER_GIGABIT_HALF = 0x0400;

const SPEED_ABILITIES = {
  1000: [ABILITY_1000_FULL, ABILITY_1000_HALF],
  100: [ABILITY_100_FULL, ABILITY_100_HALF],
  10: [ABILITY_10_FULL, ABILITY_10_HALF],
} as const;
export type Speed = keyof typeof SPEED_ABILITIES;
const SPEEDS: readonly Speed[] = [1000, 100, 10];

export interface PhyEvents {
  /** Link, speed or duplex changed. */
  linkChanged(): void;
  /** What the port shows the other end changed. */
  stationChanged(): void;
}

export interface PhyKind {
  /** What the registers hold after a reset, where it is not 0. */
  readonly defaults: readonly (readonly [register: number, value: number])[];
  /** How long a negotiation takes, ns: real parts need up to seconds; what counts is that it does not happen at once. */
  readonly negotiation: number;
  /** Whether a reset by control bit 15 keeps the other registers, and what the same write sets ("retain"). */
  readonly resetRetains: boolean;
}

export abstract class CopperPhy {
  protected readonly registers = new Uint16Array(32);
  /** The state of what every such PHY has. */
  protected readonly standard: Stateful;
  readonly #kind: PhyKind;
  readonly #events: PhyEvents;
  readonly #negotiation: Alarm;
  #partner: Station | null = null;
  #speed: Speed = 1000;
  readonly #now = {
    link: false,
    fullDuplex: true,
    linkLatch: false, // status bit 2 stays low until read once (22.2.4.2.13)
  };

  constructor(clock: Clock, kind: PhyKind, events: PhyEvents) {
    this.#kind = kind;
    this.#events = events;
    this.#negotiation = clock.alarm(() => this.#resolve());
    this.standard = this.#stateOf();
    this.#setDefaults();
  }

  #stateOf(): Stateful {
    return block(1, {
      registers: array(this.registers),
      partner: stationState(
        () => this.#partner,
        (station) => {
          this.#partner = station;
        },
      ),
      speed: value<number>(
        () => this.#speed,
        (speed) => {
          this.#speed = speed as Speed;
        },
        (speed) => speed in SPEED_ABILITIES,
      ),
      now: record(this.#now),
      negotiation: alarm(this.#negotiation),
    });
  }

  /** The link came up, or went. */
  protected abstract linkSet(up: boolean): void;
  /** The maker's own registers back to what they are after a reset; those among the 32 are. */
  protected vendorReset(): void {}
  protected abstract readVendor(register: number): number;
  protected abstract writeVendor(register: number, value: number): void;

  get link(): boolean {
    return this.#now.link;
  }

  get speed(): Speed {
    return this.#speed;
  }

  get fullDuplex(): boolean {
    return this.#now.fullDuplex;
  }

  /** Frames come straight back from the PHY (control bit 14), and the cable sees nothing. */
  get loopback(): boolean {
    return (this.registers[PHY_CONTROL]! & LOOPBACK) !== 0;
  }

  /** What the other end sees of us. */
  get station(): Station | null {
    const control = this.registers[PHY_CONTROL]!;
    if (control & (LOOPBACK | POWER_DOWN | ISOLATE)) return null;
    if (control & PHY_NEGOTIATE) return { abilities: this.#advertised(), negotiates: true };
    return { abilities: SPEED_ABILITIES[forcedSpeed(control)][control & PHY_FULL_DUPLEX ? 0 : 1], negotiates: false };
  }

  #advertised(): number {
    const advertisement = this.registers[PHY_ADVERTISEMENT]!;
    const gigabit = this.registers[PHY_GIGABIT_CONTROL]!;
    return (
      ((advertisement >>> 5) & 15 & (ABILITY_10_HALF | ABILITY_10_FULL | ABILITY_100_HALF | ABILITY_100_FULL)) |
      (advertisement & PAUSE ? ABILITY_PAUSE : 0) |
      (advertisement & ASYM_PAUSE ? ABILITY_ASYM_PAUSE : 0) |
      (gigabit & GIGABIT_HALF ? ABILITY_1000_HALF : 0) |
      (gigabit & GIGABIT_FULL ? ABILITY_1000_FULL : 0)
    );
  }

  /** The hardware reset. */
  reset(): void {
    this.#setDefaults();
    this.vendorReset();
    this.#restart();
  }

  #setDefaults(): void {
    this.registers.fill(0);
    for (const [register, value] of this.#kind.defaults) this.registers[register] = value;
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
    this.registers[PARTNER] = 0;
    this.registers[EXPANSION] = 0;
    this.registers[GIGABIT_STATUS] = 0;
    this.#setLink(false);
    if (this.#partner !== null && this.station !== null) this.#negotiation.in(this.#kind.negotiation);
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
      this.#now.fullDuplex = duplex;
      if (us.negotiates && !partner.negotiates) this.registers[PARTNER] = speed === 100 ? HALF_100 : HALF_10;
      this.#setLink(true);
      return;
    }
  }

  #recordPartner({ abilities }: Station): void {
    this.registers[PARTNER] =
      ((abilities & 15) << 5) |
      SELECTOR_802_3 |
      ACKNOWLEDGE |
      (abilities & ABILITY_PAUSE ? PAUSE : 0) |
      (abilities & ABILITY_ASYM_PAUSE ? ASYM_PAUSE : 0);
    this.registers[EXPANSION] = PARTNER_NEGOTIATES | PAGE_RECEIVED;
    this.registers[GIGABIT_STATUS] =
      (abilities & (ABILITY_1000_FULL | ABILITY_1000_HALF) ? RECEIVERS_OK | PHY_MASTER : 0) |
      (abilities & ABILITY_1000_FULL ? PARTNER_GIGABIT_FULL : 0) |
      (abilities & ABILITY_1000_HALF ? PARTNER_GIGABIT_HALF : 0);
  }

  #setLink(up: boolean): void {
    if (up || this.#now.link) this.linkSet(up);
    if (!up) this.#now.linkLatch = false;
    if (this.#now.link === up) return;
    this.#now.link = up;
    this.#events.linkChanged();
  }

  read(register: number): number {
    if (register > PHY_EXTENDED_STATUS) return this.readVendor(register);
    if (register !== PHY_STATUS) return this.registers[register]!;
    const latched = this.#now.linkLatch;
    this.#now.linkLatch = this.#now.link;
    const negotiated = this.#now.link && this.registers[PHY_CONTROL]! & PHY_NEGOTIATE ? NEGOTIATED : 0;
    return CAPABILITIES | negotiated | (latched && this.#now.link ? LINK : 0);
  }

  write(register: number, value: number): void {
    if (register > PHY_EXTENDED_STATUS) this.writeVendor(register, value);
    else if (register === PHY_CONTROL) this.#controlWritten(value);
    else if (!READ_ONLY.has(register)) this.registers[register] = value;
  }

  /** Reset and restart clear themselves. */
  #controlWritten(value: number): void {
    const before = this.registers[PHY_CONTROL]!;
    if (value & RESET && !this.#kind.resetRetains) {
      this.#setDefaults();
      this.vendorReset();
    } else this.registers[PHY_CONTROL] = value & ~(RESET | RESTART) & 0xffc0;
    if (value & (RESET | RESTART) || this.registers[PHY_CONTROL] !== before) this.#restart();
  }
}

type SavedStation = Pick<Station, keyof Station>;

/** What the other end shows. */
function stationState(
  get: () => Station | null,
  set: (station: Station | null) => void,
): Stateful<SavedStation | null> {
  return {
    save: get,
    check(saved, where) {
      if (saved === null) return;
      const { abilities, negotiates } = (saved ?? {}) as Partial<Station>;
      if (!Number.isInteger(abilities) || typeof negotiates !== 'boolean') throw new StateError(where, 'no station');
    },
    load: set,
  };
}

function forcedSpeed(control: number): Speed {
  if (control & PHY_SPEED_HIGH) return 1000;
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
