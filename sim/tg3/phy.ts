/**
 * The copper PHY inside the chip: clause 22 and 40 registers, and Broadcom's: shadow registers behind 18h and 1Ch, DSP
 * registers behind 15h and 17h, clause 45 registers (MMD) behind 0Dh and 0Eh. Reached through MAC_MI_COM.
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
  PHY_NEGOTIATE,
  PHY_SPEED_HIGH,
  type PhyEvents,
} from '../nic/phy.ts';
import { field, type RegisterFile } from '../registers.ts';
import { array, block, list, type Stateful, whole } from '../state.ts';
import type { Context } from './context.ts';
import type { Tg3Registers } from './registers.ts';

const ADDRESS = 1; // on the MDIO bus

const MMD_CONTROL = 0x0d; // function 15:14 (0 address, else data), device 4:0
const MMD_DATA = 0x0e;
const DSP_DATA = 0x15;
const DSP_ADDRESS = 0x17;
const AUX_CONTROL = 0x18; // shadow 2:0; of shadow 7, bit 15 writes, else 14:12 select what is read
const AUX_STATUS = 0x19;
const INTERRUPT_STATUS = 0x1a;
const SHADOW = 0x1c; // shadow 14:10, bit 15 writes
const MOST_DSP = 0x1_0000;
const MOST_MMD = 0x20_0000; // 32 devices of as many
const READ_ONLY = new Set([0x11, 0x12, 0x13, 0x14, AUX_STATUS, INTERRUPT_STATUS]);

const INTERRUPT_LINK = 0x0002;
const AUX_NEGOTIATED = 0x8000;
const AUX_LINK = 0x0004;
const AUX_PAUSES = 0x0003;
const PAUSE = 0x0400; // of advertisement and partner
/** Highest common denominator, AUX_STATUS 10:8: half, full. */
const SPEED_CODES = { 10: [1, 2], 100: [3, 5], 1000: [6, 7] } as const;
/** What the partner says of Energy Efficient Ethernet (7.61), and what follows (7.803e): no partner here has it. */
const EEE_ANSWERS = new Set([(7 << 16) | 61, (7 << 16) | 0x803e]);

export class Phy extends CopperPhy {
  readonly state: Stateful;
  readonly #mac: RegisterFile;
  readonly #r: Tg3Registers;
  readonly #aux = new Uint16Array(8);
  readonly #shadow = new Uint16Array(32);
  readonly #dsp = new Map<number, number>();
  readonly #mmd = new Map<number, number>();
  #mmdAddress = 0;

  constructor({ registers, r, chip, host }: Context, events: PhyEvents) {
    const kind = {
      defaults: [
        [PHY_CONTROL, PHY_NEGOTIATE | PHY_FULL_DUPLEX | PHY_SPEED_HIGH],
        [PHY_ID_1, chip.phyId[0]],
        [PHY_ID_2, chip.phyId[1]],
        [PHY_ADVERTISEMENT, 0x01e1],
        [PHY_GIGABIT_CONTROL, 0x0200],
        [PHY_EXTENDED_STATUS, 0x3000],
      ],
      // Linux takes a link that is up at once for one that negotiated no pause: it must see it down in between.
      negotiation: 50 * MILLISECOND,
      resetRetains: false,
    } as const;
    super(host.clock, kind, events);
    this.#mac = registers;
    this.#r = r;
    this.state = this.#stateOf();
    registers.onWrite(r.MAC_MI_COM, (value) => this.#access(value));
  }

  protected override vendorReset(): void {
    this.#aux.fill(0);
    this.#shadow.fill(0);
    this.#dsp.clear();
    this.#mmd.clear();
  }

  protected override linkSet(): void {
    this.registers[INTERRUPT_STATUS]! |= INTERRUPT_LINK;
  }

  /** A transaction is over when the write that started it returns. */
  #access(value: number): void {
    const { MAC_MI_COM, MAC_STATUS } = this.#r;
    if (!(value & MAC_MI_COM.START)) return;
    const register = field(value, MAC_MI_COM.REG_ADDR);
    const answers = field(value, MAC_MI_COM.PHY_ADDR) === ADDRESS;
    let result = value & ~(MAC_MI_COM.START | MAC_MI_COM.READ_FAILED);
    if (value & MAC_MI_COM.CMD_READ) {
      const data = answers ? this.read(register) : MAC_MI_COM.READ_FAILED | MAC_MI_COM.DATA;
      result = (result & ~MAC_MI_COM.DATA) | data;
    } else if (answers) this.write(register, value & MAC_MI_COM.DATA);
    this.#mac.words[MAC_MI_COM.word] = result;
    this.#mac.words[MAC_STATUS.word]! |= MAC_STATUS.MI_COMPLETION;
  }

  override read(register: number): number {
    if (register !== MMD_DATA) return super.read(register);
    if (this.registers[MMD_CONTROL]! >>> 14 === 0) return this.#mmdAddress;
    return this.#mmd.get(this.#mmdKey) ?? 0;
  }

  override write(register: number, value: number): void {
    if (register !== MMD_DATA) super.write(register, value);
    else if (this.registers[MMD_CONTROL]! >>> 14 === 0) this.#mmdAddress = value;
    else if (!EEE_ANSWERS.has(this.#mmdKey)) this.#mmd.set(this.#mmdKey, value);
  }

  get #mmdKey(): number {
    return ((this.registers[MMD_CONTROL]! & 0x1f) << 16) | this.#mmdAddress;
  }

  protected override readVendor(register: number): number {
    const value = this.registers[register]!;
    switch (register) {
      case AUX_CONTROL:
        return this.#aux[(value >>> 12) & 7]!;
      case SHADOW:
        return (value & 0x7c00) | (this.#shadow[(value >>> 10) & 31]! & 0x3ff);
      case DSP_DATA:
        return this.#dsp.get(this.registers[DSP_ADDRESS]!) ?? 0;
      case AUX_STATUS:
        return this.#auxStatus();
      case INTERRUPT_STATUS:
        this.registers[register] = 0;
        return value;
      default:
        return value;
    }
  }

  protected override writeVendor(register: number, value: number): void {
    if (READ_ONLY.has(register)) return;
    if (register === DSP_DATA) this.#dsp.set(this.registers[DSP_ADDRESS]!, value);
    else if (register === AUX_CONTROL && (value & 7) !== 7) this.#aux[value & 7] = value;
    else if (register === AUX_CONTROL && value & 0x8000) this.#aux[7] = value & 0x7fff;
    else if (register === SHADOW && value & 0x8000) this.#shadow[(value >>> 10) & 31] = value;
    else this.registers[register] = value;
  }

  #auxStatus(): number {
    if (!this.link) return 0;
    const negotiated = (this.read(PHY_CONTROL) & PHY_NEGOTIATE) !== 0;
    const pause = this.read(PHY_ADVERTISEMENT) & this.read(PHY_ADVERTISEMENT + 1) & PAUSE;
    return (
      (SPEED_CODES[this.speed][this.fullDuplex ? 1 : 0] << 8) |
      AUX_LINK |
      (negotiated ? AUX_NEGOTIATED : 0) |
      (pause ? AUX_PAUSES : 0)
    );
  }

  #stateOf(): Stateful {
    return block(1, {
      standard: this.standard,
      aux: array(this.#aux),
      shadow: array(this.#shadow),
      dsp: registersIn(this.#dsp, MOST_DSP),
      mmd: registersIn(this.#mmd, MOST_MMD),
      mmdAddress: whole(
        () => this.#mmdAddress,
        (address) => {
          this.#mmdAddress = address;
        },
        0xffff,
      ),
    });
  }
}

/** Registers that are only there once they are written, as pairs of address and value. */
function registersIn(map: Map<number, number>, most: number): Stateful<Uint32Array> {
  const load = (pairs: Uint32Array) => {
    map.clear();
    for (let i = 0; i + 1 < pairs.length; i += 2) map.set(pairs[i]!, pairs[i + 1]! & 0xffff);
  };
  return list(() => Uint32Array.from([...map].flat()), load, 2 * most);
}
