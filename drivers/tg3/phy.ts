/**
 * The PHY behind MAC_MI_COM: negotiation and what came of it. IEEE 802.3 clauses 22, 28 and 40; registers beyond those
 * and what they are set to as Linux's tg3_phy_reset has them.
 */
import { DeviceError, MILLISECOND } from '../device.ts';
import { DOWN } from '../link-monitor.ts';
import {
  ADVERTISE,
  ADVERTISE_1000_FULL,
  CONTROL_NEGOTIATE,
  CONTROL_RESET,
  CONTROL_RESTART,
  MII_ADVERTISEMENT,
  MII_CONTROL,
  MII_CONTROL_1000,
  MII_PARTNER_ABILITY,
  MII_STATUS,
  resolvePause,
  STATUS_LINK,
} from '../mii.ts';
import type { LinkState } from '../netdev.ts';
import { type Chip, R } from './chip.ts';

const { MAC_MI_COM } = R;
const PHY = 1 << 21; // the internal one is at address 1
const TRANSACTION_LIMIT = 50 * MILLISECOND;
const RESET_LIMIT = 50 * MILLISECOND;
/** Between link and the speed that was agreed on. */
const RESOLVE_LIMIT = 20 * MILLISECOND;

const MMD_CONTROL = 0x0d;
const MMD_DATA = 0x0e;
const MMD_DATA_FUNCTION = 1 << 14;
const MMD_NEGOTIATION = 7;
const EEE_ADVERTISEMENT = 60;

const EXTENDED_CONTROL = 0x10;
const FIFO_HIGH = 1 << 0; // elasticity for long frames
const DSP_DATA = 0x15;
const DSP_ADDRESS = 0x17;
const AUX_CONTROL = 0x18; // eight registers: the low three bits select
const AUX_STATUS = 0x19;

const SHADOW_AUX = 0;
const AUX_DSP_ON = 1 << 11;
const AUX_TX_6DB = 1 << 10; // always written so
const AUX_LONG_FRAMES = 1 << 14;
const SHADOW_MISC = 7;
const MISC_WRITE = 1 << 15;
const MISC_AUTO_MDIX = 1 << 9;
const MISC_WIRESPEED = 1 << 4; // settle for less over a cable with two pairs

/** What AUX_STATUS 10:8 says was agreed on. */
const RESOLVED = [
  null,
  { speed: 10, fullDuplex: false },
  { speed: 10, fullDuplex: true },
  { speed: 100, fullDuplex: false },
  null, // 100BASE-T4
  { speed: 100, fullDuplex: true },
  { speed: 1000, fullDuplex: false },
  { speed: 1000, fullDuplex: true },
] as const;

export class Phy {
  readonly #chip: Chip;
  #turn: Promise<unknown> = Promise.resolve(); // one transaction, and one dialogue, after the other

  constructor(chip: Chip) {
    this.#chip = chip;
  }

  /** Resets the PHY, offers everything, PAUSE both ways included, and starts negotiation (clause 28.2.4.1). */
  negotiate(): Promise<void> {
    return this.#exclusive(async () => {
      await this.#reset();
      const { is577xx } = this.#chip.variant;
      if (is577xx) await this.#prepareLongFrames();
      else await this.#mendBitErrors();
      await this.#setShadow(SHADOW_MISC, MISC_AUTO_MDIX | MISC_WIRESPEED);
      if (is577xx) await this.#writeMmd(MMD_NEGOTIATION, EEE_ADVERTISEMENT, 0); // nobody here wakes the link from idle
      await this.#write(MII_ADVERTISEMENT, ADVERTISE);
      await this.#write(MII_CONTROL_1000, ADVERTISE_1000_FULL);
      await this.#write(MII_CONTROL, CONTROL_NEGOTIATE | CONTROL_RESTART);
    });
  }

  /** The link as it is; `known`, where it is still that. */
  readLink(known: LinkState): Promise<LinkState> {
    return this.#exclusive(async () => {
      await this.#read(MII_STATUS);
      if (((await this.#read(MII_STATUS)) & STATUS_LINK) === 0) return DOWN;
      const resolved = await this.#resolved();
      if (resolved === null) return DOWN;
      const { speed, fullDuplex } = resolved;
      if (known.up && known.speed === speed && known.fullDuplex === fullDuplex) return known;
      const local = await this.#read(MII_ADVERTISEMENT);
      const partner = await this.#read(MII_PARTNER_ABILITY);
      // PAUSE is for full duplex only (802.3 clause 31).
      const { receive, transmit } = fullDuplex ? resolvePause(local, partner) : { receive: false, transmit: false };
      return { up: true, speed, fullDuplex, rxPause: receive, txPause: transmit };
    });
  }

  /** One of the 32 registers, shadow registers aside. */
  readRegister(register: number): Promise<number> {
    return this.#exclusive(() => this.#read(register));
  }

  writeRegister(register: number, value: number): Promise<void> {
    return this.#exclusive(() => this.#write(register, value));
  }

  async #resolved(): Promise<(typeof RESOLVED)[number]> {
    const { time } = this.#chip.device;
    const deadline = time.now() + RESOLVE_LIMIT;
    for (;;) {
      const resolved = RESOLVED[((await this.#read(AUX_STATUS)) >> 8) & 7]!;
      if (resolved !== null || time.now() >= deadline) return resolved;
      await time.delay(MILLISECOND);
    }
  }

  async #reset(): Promise<void> {
    const { time, name } = this.#chip.device;
    await this.#write(MII_CONTROL, CONTROL_RESET);
    const deadline = time.now() + RESET_LIMIT;
    while (((await this.#read(MII_CONTROL)) & CONTROL_RESET) !== 0) {
      if (time.now() >= deadline) throw new DeviceError('TIMEOUT', `${name}: the PHY does not come out of reset`);
      await time.delay(MILLISECOND);
    }
  }

  async #prepareLongFrames(): Promise<void> {
    await this.#setShadow(SHADOW_AUX, AUX_LONG_FRAMES);
    await this.#write(EXTENDED_CONTROL, (await this.#read(EXTENDED_CONTROL)) | FIFO_HIGH);
  }

  /** The 5750's PHY has too many bit errors without (Linux: TG3_PHYFLG_BER_BUG). */
  async #mendBitErrors(): Promise<void> {
    const aux = await this.#readShadow(SHADOW_AUX);
    await this.#write(AUX_CONTROL, aux | AUX_DSP_ON | AUX_TX_6DB);
    for (const [address, value] of [
      [0x000a, 0x310b],
      [0x201f, 0x9506],
      [0x401f, 0x14e2],
    ] as const) {
      await this.#write(DSP_ADDRESS, address);
      await this.#write(DSP_DATA, value);
    }
    await this.#write(AUX_CONTROL, (aux & ~AUX_DSP_ON) | AUX_TX_6DB);
  }

  async #readShadow(shadow: number): Promise<number> {
    await this.#write(AUX_CONTROL, (shadow << 12) | SHADOW_MISC);
    return (await this.#read(AUX_CONTROL)) & ~7;
  }

  async #setShadow(shadow: number, bits: number): Promise<void> {
    const value = (await this.#readShadow(shadow)) | bits | shadow;
    await this.#write(AUX_CONTROL, shadow === SHADOW_MISC ? value | MISC_WRITE : value);
  }

  async #writeMmd(device: number, register: number, value: number): Promise<void> {
    await this.#write(MMD_CONTROL, device);
    await this.#write(MMD_DATA, register);
    await this.#write(MMD_CONTROL, MMD_DATA_FUNCTION | device);
    await this.#write(MMD_DATA, value);
  }

  async #read(register: number): Promise<number> {
    const value = await this.#transact(MAC_MI_COM.CMD_READ | (register << 16));
    if ((value & MAC_MI_COM.READ_FAILED) === 0) return value & MAC_MI_COM.DATA;
    throw new DeviceError('FAILED', `${this.#chip.device.name}: the PHY does not answer on MDIO`);
  }

  async #write(register: number, value: number): Promise<void> {
    await this.#transact(MAC_MI_COM.CMD_WRITE | (register << 16) | value);
  }

  async #transact(command: number): Promise<number> {
    this.#chip.write(MAC_MI_COM, command | PHY | MAC_MI_COM.START);
    return this.#chip.poll(MAC_MI_COM, MAC_MI_COM.START, 0, TRANSACTION_LIMIT, 'talking to the PHY');
  }

  #exclusive<T>(action: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(action);
    this.#turn = mine.catch(() => {});
    return mine;
  }
}
