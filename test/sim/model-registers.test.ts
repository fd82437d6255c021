/** The registers of every model, and its configuration space: what their tables promise. */
import test from 'ava';
import { familyOf, MODELS } from '../../scripts/catalogue.ts';
import type { Model } from '../../scripts/families/family.ts';
import { COMMAND, COMMAND_MEMORY } from '../../sim/pci/config.ts';
import type { PciFunction } from '../../sim/pci/function.ts';
import type { NamedRow, RegisterFile } from '../../sim/registers.ts';
import { registersKeepTheirTable, type Subject } from '../spec/registers.ts';
import { bareHost } from '../util/bare-host.ts';
import { R as E1000 } from '../util/e1000-harness.ts';
import { R as TG3 } from '../util/tg3-harness.ts';

type Card = PciFunction & { readonly registers: RegisterFile };

function make(model: Model): Card {
  return model.make(bareHost(), { name: model.name }) as ReturnType<Model['make']> & Card;
}

/** Of each family: how software resets a card by its registers, and which of them show an NVM, a PHY or what chip it is. */
const FAMILIES: Record<string, { reset: { at: number; bit: number }; computed: string[] }> = {
  e1000: { reset: { at: E1000.CTRL.at, bit: E1000.CTRL.RST }, computed: ['STATUS', 'EECD', 'RAL', 'RAH'] },
  tg3: {
    reset: { at: TG3.GRC_MISC_CFG.at, bit: TG3.GRC_MISC_CFG.CORECLK_RESET },
    computed: ['MAC_ADDR_HIGH', 'MAC_ADDR_LOW', 'CPMU_CHIP_ID', 'NVRAM_CFG1'],
  },
};

function behindBar(model: Model): Subject {
  const card = make(model);
  const { registers } = card;
  card.config.write(COMMAND, 2, COMMAND_MEMORY);
  const { at, bit } = FAMILIES[familyOf(model).name]!.reset;
  return {
    read: (at, width) => card.readBar(0, at, width),
    write: (at, width, value) => card.writeBar(0, at, width, value),
    peek: (at) => registers.words[at / 4]!,
    poke: (at, value) => {
      registers.words[at / 4] = value;
    },
    get refused() {
      return registers.refused;
    },
    resets: {
      'power-on': () => card.reset('power-on'),
      bus: () => card.reset('bus'),
      software: () => card.writeBar(0, at, 4, bit),
    },
  };
}

function inConfiguration(model: Model): Subject {
  const { config } = make(model);
  const widthAt = (at: number) => config.map.find(at)!.width ?? 4;
  return {
    read: (at, width) => config.read(at, width),
    write: (at, width, value) => config.write(at, width, value),
    peek: (at) => config.peek(at, widthAt(at)),
    poke: (at, value) => config.poke(at, widthAt(at), value),
    get refused() {
      return config.refused;
    },
    resets: {},
  };
}

/** What a BCM57765 takes for a mailbox's (see its configuration.ts). */
const WRITTEN = [0xa4, 0xac, 0xae];

for (const model of MODELS) {
  const { name, registers, configuration } = model;
  // The first registers of some are configuration space, seen through the BAR.
  const mirrored = configuration.rows.some(
    (row) => registers.rows.includes(row) || sameAs(row, registers.find(row.at)),
  );
  const options = {
    apart: ({ at }: { at: number }) => mirrored && at < 0x200,
    computed: FAMILIES[familyOf(model).name]!.computed,
  };
  registersKeepTheirTable(
    registers,
    () => behindBar(model),
    options,
    (what, body) => {
      test(`${name}: ${what}`, (t) => t.notThrows(body));
    },
  );
  registersKeepTheirTable(
    configuration,
    () => inConfiguration(model),
    { heard: WRITTEN },
    (what, body) => {
      test(`${name}, configuration space: ${what}`, (t) => t.notThrows(body));
    },
  );
}

function sameAs(row: NamedRow, other: NamedRow | undefined): boolean {
  return row.name === other?.name;
}
