/**
 * The PHY behind MDIC: negotiation and what came of it. Intel 317453 §8 and §13.4.7; IEEE 802.3 clauses 22, 28 and 40.
 */
import { DeviceError } from '../device.ts';
import {
  ADVERTISE,
  ADVERTISE_1000_FULL,
  CONTROL_NEGOTIATE,
  CONTROL_RESTART,
  MII_ADVERTISEMENT,
  MII_CONTROL,
  MII_CONTROL_1000,
  MII_PARTNER_ABILITY,
  type Pause,
  resolvePause,
} from '../mii.ts';
import { type Chip, R, R74 } from './chip.ts';

const PHY_ADDRESS = 1; // the internal one
const OP_WRITE = 1 << 26;
const OP_READ = 2 << 26;
/** A frame on MDIO takes 64 µs (13.4.7). */
const MDIC_LIMIT = 10_000_000;
const OWNERSHIP_LIMIT = 100_000_000;

export async function readPhy(chip: Chip, register: number): Promise<number> {
  return (await mdic(chip, OP_READ | (register << 16))) & R.MDIC.DATA;
}

export async function writePhy(chip: Chip, register: number, value: number): Promise<void> {
  await mdic(chip, OP_WRITE | (register << 16) | value);
}

async function mdic(chip: Chip, command: number): Promise<number> {
  const { MDIC } = R;
  chip.write(MDIC, command | (PHY_ADDRESS << 21));
  const value = await chip.poll(MDIC, MDIC.R, MDIC.R, MDIC_LIMIT, 'talking to the PHY');
  if ((value & MDIC.E) !== 0) throw new DeviceError('FAILED', `${chip.device.name}: the PHY does not answer on MDIO`);
  return value;
}

/** The 82574L shares MDIO and NVM with its management firmware (82574 datasheet, EXTCNF_CTRL): software asks first. */
export async function owningMdio<T>(chip: Chip, action: () => Promise<T>): Promise<T> {
  if (!chip.variant.is82574) return action();
  const { EXTCNF_CTRL } = R74;
  const { MDIO_SW_OWNERSHIP: mine } = EXTCNF_CTRL;
  const deadline = chip.device.time.now() + OWNERSHIP_LIMIT;
  for (;;) {
    chip.set(EXTCNF_CTRL, mine);
    if ((chip.read(EXTCNF_CTRL) & mine) !== 0) break;
    if (chip.device.time.now() > deadline) {
      throw new DeviceError('TIMEOUT', `${chip.device.name}: firmware does not let go of MDIO`);
    }
    await chip.device.time.delay(1_000_000);
  }
  try {
    return await action();
  } finally {
    chip.clear(EXTCNF_CTRL, mine);
  }
}

/** Offers everything the card can do, PAUSE both ways included, and starts negotiation over (clause 28.2.4.1). */
export async function negotiate(chip: Chip): Promise<void> {
  await owningMdio(chip, async () => {
    await writePhy(chip, MII_ADVERTISEMENT, ADVERTISE);
    await writePhy(chip, MII_CONTROL_1000, ADVERTISE_1000_FULL);
    await writePhy(chip, MII_CONTROL, CONTROL_NEGOTIATE | CONTROL_RESTART);
  });
}

/** What both ends agreed to about PAUSE. */
export function readPause(chip: Chip): Promise<Pause> {
  return owningMdio(chip, async () => {
    const local = await readPhy(chip, MII_ADVERTISEMENT);
    return resolvePause(local, await readPhy(chip, MII_PARTNER_ABILITY));
  });
}
