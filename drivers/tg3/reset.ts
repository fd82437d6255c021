/** Stops the chip's blocks and resets it, until its boot code is through. As Linux's tg3_abort_hw and tg3_chip_reset do. */
import { COMMAND } from '../../sim/pci/config.ts';
import type { AnyRegister } from '../../sim/registers.ts';
import { FW_MAGIC, FW_READY, SRAM_FW_MAILBOX } from '../../sim/tg3/descriptors.ts';
import { ALL_ONES } from '../card.ts';
import { DeviceError, MILLISECOND } from '../device.ts';
import { goneError } from '../lifecycle.ts';
import { type Chip, R } from './chip.ts';
import { lockNvram } from './nvram.ts';

const { MISC_HOST_CTRL, GRC_MODE, GRC_MISC_CFG } = R;
const MICROSECOND = 1_000;
const BLOCK_LIMIT = 100 * MILLISECOND;
const FIRMWARE_LIMIT = 1000 * MILLISECOND;

/** Little-endian words for descriptors and the status block, bytes in their order for frames. */
export const SWAPS = { WSWAP_NONFRM_DATA: 1, BSWAP_DATA: 1, WSWAP_DATA: 1 } as const;
/** Registers as little-endian words, status blocks with a tag, indirect access; INTA# is masked on top until work is wanted. */
export const HOST_CONTROL =
  MISC_HOST_CTRL.WORD_SWAP | MISC_HOST_CTRL.PCISTATE_RW | MISC_HOST_CTRL.INDIR_ACCESS | MISC_HOST_CTRL.TAGGED_STATUS;

const ENABLE = 1 << 1; // of every block's mode register
const RECEIVE_BLOCKS = [R.RCVBDI_MODE, R.RCVLPC_MODE, R.RCVDBDI_MODE, R.RCVDCC_MODE, R.RCVCC_MODE];
const SEND_BLOCKS = [R.SNDBDS_MODE, R.SNDBDI_MODE, R.SNDDATAI_MODE, R.RDMAC_MODE, R.SNDDATAC_MODE, R.SNDBDC_MODE];

/** What comes in first, then what goes out, then reports; a block that does not stop is the reset's to deal with. */
export async function stopBlocks(chip: Chip): Promise<void> {
  await stopBlock(chip, R.MAC_RX_MODE);
  for (const block of [...RECEIVE_BLOCKS, ...SEND_BLOCKS]) await stopBlock(chip, block);
  chip.modify(R.MAC_MODE, { TDE_ENABLE: 0 });
  await stopBlock(chip, R.MAC_TX_MODE);
  await stopBlock(chip, R.HOSTCC_MODE);
  await stopBlock(chip, R.WDMAC_MODE);
  chip.write(R.FTQ_RESET, ALL_ONES);
  chip.write(R.FTQ_RESET, 0);
}

async function stopBlock(chip: Chip, mode: AnyRegister): Promise<void> {
  if ((chip.read(mode) & ENABLE) === 0) return;
  chip.clear(mode, ENABLE);
  await tolerant(chip.poll(mode, ENABLE, 0, BLOCK_LIMIT, 'stopping a block'));
}

/** True where it did not time out. */
async function tolerant(waiting: Promise<unknown>): Promise<boolean> {
  try {
    await waiting;
    return true;
  } catch (error) {
    if (error instanceof DeviceError && error.code === 'TIMEOUT') return false;
    throw error;
  }
}

/** Every block stopped. */
export async function haltChip(chip: Chip): Promise<void> {
  setHostControl(chip);
  chip.write(R.MEMARB_MODE, { ENABLE: 1 });
  await stopBlocks(chip);
}

/** The halted chip's core reset. False where no firmware answered: a card may do without. */
export async function resetChip(chip: Chip): Promise<boolean> {
  const { device, variant } = chip;
  const { config, time } = device;
  await tolerant(lockNvram(chip)); // so that nobody is in the middle of a write; the reset lets go of it
  chip.writeSram(SRAM_FW_MAILBOX, FW_MAGIC);
  const command = config.read16(COMMAND);
  if (variant.is577xx) chip.write(R.GRC_FASTBOOT_PC, 0);
  else if (chip.read(R.PCIE_PHY_TSTCTL) === (R.PCIE_PHY_TSTCTL.PCIE10 | R.PCIE_PHY_TSTCTL.PSCRAM)) {
    chip.write(R.PCIE_PHY_TSTCTL, { PSCRAM: 1 });
  }
  // The PCIe block and the 5750's PHY keep going.
  chip.write(GRC_MISC_CFG, { GPHY_RESET_DISABLE: 1 });
  chip.write(GRC_MISC_CFG, { GPHY_RESET_DISABLE: 1, CORECLK_RESET: 1, KEEP_GPHY_POWER: !variant.is577xx });
  await time.delay(120 * MICROSECOND);
  config.read32(COMMAND); // the first access may be lost, and configuration space comes back first
  await time.delay(120 * MICROSECOND);
  setHostControl(chip);
  config.write32(R.PCISTATE.at, R.PCISTATE.ROM_ENABLE | R.PCISTATE.ROM_RETRY_ENABLE);
  config.write16(COMMAND, command);
  if (chip.gone) throw goneError(device);
  chip.write(R.MEMARB_MODE, { ENABLE: 1 });
  const answered = await firmwareAnswers(chip);
  chip.write(GRC_MODE, SWAPS);
  chip.write(R.MAC_MODE, 0);
  chip.write(R.MAC_MI_MODE, variant.is577xx ? { _500KHZ_CONST: 1 } : { BASE: 3 });
  if (!variant.is577xx) chip.set(R.PCIE_TL, 1 << 25); // 5750: an erratum of its PCIe block
  await time.delay(80 * MICROSECOND);
  return answered;
}

/** By way of configuration space: until it is set, registers may read with their halves swapped. */
function setHostControl({ device: { config } }: Chip): void {
  config.write32(MISC_HOST_CTRL.at, HOST_CONTROL | MISC_HOST_CTRL.MASK_PCI_INT);
}

async function firmwareAnswers(chip: Chip): Promise<boolean> {
  const { time } = chip.device;
  const deadline = time.now() + FIRMWARE_LIMIT;
  while (chip.readSram(SRAM_FW_MAILBOX) !== FW_READY) {
    if (time.now() >= deadline) return false;
    await time.delay(MILLISECOND);
  }
  return true;
}
