/** The chip's side of the tools around a card. */
import { DESCRIPTOR } from '../../sim/e1000/descriptors.ts';
import type { AnyRegister } from '../../sim/registers.ts';
import { type ChipTools, openForTools, type RingPlace } from '../chip-tools.ts';
import type { PciDevice } from '../device.ts';
import type { LinkState } from '../netdev.ts';
import { Chip, R } from './chip.ts';
import { E1000Nvram } from './nvm-map.ts';
import { owningMdio, readPhy, writePhy } from './phy.ts';
import { configurationOf, registersOf, SPEEDS, variantOf } from './variants.ts';

/** Nothing is reset or set up: the card stays as it is. */
export function e1000Tools(device: PciDevice): ChipTools {
  const chip = openForTools(device, 'e1000', variantOf(device.id), (variant) => new Chip(device, variant));
  const { variant } = chip;
  return {
    chip: variant.name,
    registers: registersOf(variant),
    configuration: configurationOf(variant),
    nvram: new E1000Nvram(chip),
    rings: () => [ring(chip, 'rx', R.RDBAL, R.RDLEN, R.RDH, R.RDT), ring(chip, 'tx', R.TDBAL, R.TDLEN, R.TDH, R.TDT)],
    link: async () => linkOf(chip),
    readPhy: (register) => owningMdio(chip, () => readPhy(chip, register)),
    writePhy: (register, value) => owningMdio(chip, () => writePhy(chip, register, value)),
  };
}

function ring(
  chip: Chip,
  name: string,
  base: AnyRegister,
  length: AnyRegister,
  head: AnyRegister,
  tail: AnyRegister,
): RingPlace {
  return {
    name,
    iova: chip.read(base),
    descriptors: Math.floor(chip.read(length) / DESCRIPTOR),
    bytes: DESCRIPTOR,
    head: chip.read(head),
    tail: chip.read(tail),
  };
}

/** What STATUS says, and which PAUSE frames CTRL lets through (13.4.1, 13.4.2). */
function linkOf(chip: Chip): LinkState {
  const { CTRL, STATUS } = R;
  const status = chip.read(STATUS);
  const control = chip.read(CTRL);
  const up = (status & STATUS.LU) !== 0;
  return {
    up,
    speed: up ? SPEEDS[(status >>> 6) & 3]! : 0,
    fullDuplex: up && (status & STATUS.FD) !== 0,
    rxPause: up && (control & CTRL.RFCE) !== 0,
    txPause: up && (control & CTRL.TFCE) !== 0,
  };
}
