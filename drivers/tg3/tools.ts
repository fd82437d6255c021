/** The chip's side of the tools around a card. */
import type { Register } from '../../sim/registers.ts';
import {
  RCB,
  RCB_DISABLED,
  RCB_USE_EXT,
  RX_BD,
  RX_EXT_BD,
  SEND_BD,
  SRAM_RET_RCB,
  SRAM_SEND_RCB,
} from '../../sim/tg3/descriptors.ts';
import { type ChipTools, openForTools, type RingPlace } from '../chip-tools.ts';
import type { PciDevice } from '../device.ts';
import { DOWN } from '../link-monitor.ts';
import { Chip, R } from './chip.ts';
import { Tg3Nvram } from './nvram-map.ts';
import { Phy } from './phy.ts';
import { configurationOf, registersOf, variantOf } from './variants.ts';

/** The card stays as it is, but for the order of its registers' halves, without which they are not to be read. */
export function tg3Tools(device: PciDevice): ChipTools {
  const chip = openForTools(device, 'tg3', variantOf(device.id), (variant) => new Chip(device, variant));
  const { variant } = chip;
  const { config } = device;
  const { at, WORD_SWAP } = R.MISC_HOST_CTRL;
  config.write32(at, config.read32(at) | WORD_SWAP);
  const phy = new Phy(chip);
  return {
    chip: variant.name,
    registers: registersOf(variant),
    configuration: configurationOf(variant),
    nvram: new Tg3Nvram(chip),
    rings: () => rings(chip),
    link: () => phy.readLink(DOWN),
    readPhy: (register) => phy.readRegister(register),
    writePhy: (register, value) => phy.writeRegister(register, value),
  };
}

/** Producer rings have their control blocks in registers, the others in SRAM. Of each the card is at one end. */
function rings(chip: Chip): RingPlace[] {
  const producer = (name: string, block: Register, card: Register, driver: Register) =>
    ring(
      name,
      RX_BD,
      controlBlock(block.at, (at) => chip.bar.read32(at)),
      chip.read(card),
      chip.read(driver),
    );
  const inSram = (at: number) => controlBlock(at, (at) => chip.readSram(at));
  const { is577xx, maxQueues } = chip.variant;
  const standard = producer('standard', R.RCVDBDI_STD_ADDR_HIGH, R.RCVDBDI_STD_CON_IDX, R.MBOX_STD_PROD);
  const jumbo = () => producer('jumbo', R.RCVDBDI_JUMBO_ADDR_HIGH, R.RCVDBDI_JUMBO_CON_IDX, R.MBOX_JUMBO_PROD);
  const returns = Array.from({ length: maxQueues }, (_, i) => {
    const [card, driver] = [chip.read(R.RCVDBDI_BD_PROD_IDX, i), chip.read(R.MBOX_RET_CON, i)];
    return ring(`return${i}`, RX_BD, inSram(SRAM_RET_RCB + i * RCB), card, driver);
  });
  const [sent, tail] = [chip.read(R.SNDBDS_SEL_CON_IDX), chip.read(R.MBOX_SEND_PROD)];
  const send = ring('send', SEND_BD, inSram(SRAM_SEND_RCB), sent, tail);
  return [standard, ...(is577xx ? [jumbo()] : []), ...returns, send];
}

interface ControlBlock {
  readonly iova: number;
  readonly entries: number;
  readonly flags: number;
}

function controlBlock(at: number, read: (at: number) => number): ControlBlock {
  const sizeAndFlags = read(at + 8);
  return { iova: read(at) * 2 ** 32 + read(at + 4), entries: sizeAndFlags >>> 16, flags: sizeAndFlags & 0xffff };
}

function ring(
  name: string,
  bytes: number,
  { iova, entries, flags }: ControlBlock,
  head: number,
  tail: number,
): RingPlace {
  const descriptors = (flags & RCB_DISABLED) !== 0 ? 0 : entries;
  const extended = name === 'jumbo' && (flags & RCB_USE_EXT) !== 0;
  return { name, iova, descriptors, bytes: extended ? RX_EXT_BD : bytes, head, tail };
}
