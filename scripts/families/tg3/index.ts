/** Broadcom's NetXtreme gigabit cards, BCM57xx. */
import { createTg3, RINGS, supports } from '../../../drivers/tg3/tg3.ts';
import { tg3Tools } from '../../../drivers/tg3/tools.ts';
import { VARIANTS } from '../../../drivers/tg3/variants.ts';
import { Tg3 } from '../../../sim/tg3/bcm57xx.ts';
import { CHIPS, type ChipName } from '../../../sim/tg3/chips.ts';
import { BCM57XX_CONFIGURATION } from '../../../sim/tg3/configuration.ts';
import { NVRAM_SIZE } from '../../../sim/tg3/nvram.ts';
import { BCM57XX } from '../../../sim/tg3/registers.ts';
import { cardText, type Family, type Model } from '../family.ts';
import { describeTg3 } from './descriptors.ts';
import { LINUX_TG3 } from './linux.ts';

function model(name: ChipName, about: string): Model {
  const chip = CHIPS[name];
  return {
    name,
    chip: chip.name,
    about: `Broadcom NetXtreme, ${about}`,
    id: `14e4:${chip.device.toString(16)}`,
    linux: LINUX_TG3,
    interrupts: chip.is577xx ? ['msix', 'msi', 'intx'] : ['msi', 'intx'],
    registers: BCM57XX,
    configuration: BCM57XX_CONFIGURATION[name],
    nvram: NVRAM_SIZE,
    make: (host, { image, ...options }) => new Tg3(host, { ...options, chip: name, nvram: image }),
  };
}

export const TG3_FAMILY: Family = {
  name: 'tg3',
  models: [
    model('tg3', 'PCI Express, one gigabit copper port, MSI-X, jumbo frames'),
    model('tg3-57765', 'PCI Express, one gigabit copper port, MSI-X, jumbo frames'),
    model('tg3-5721', 'PCI Express, one gigabit copper port'),
    model('tg3-5751', 'PCI Express, one gigabit copper port'),
  ],
  driver: {
    cards: VARIANTS.map(cardText),
    rings: RINGS,
    supports,
    open: createTg3,
    tools: tg3Tools,
    examples: { field: 'MAC_MODE.TDE_ENABLE', element: 'MAC_RCV_RULE[3]', block: 'ethernet-mac' },
  },
  describe: describeTg3,
};
