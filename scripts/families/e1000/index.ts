/** Intel's gigabit cards of the 8254x kind, PCI and PCI Express. */
import { createE1000, RINGS, supports } from '../../../drivers/e1000/e1000.ts';
import { e1000Tools } from '../../../drivers/e1000/tools.ts';
import { VARIANTS } from '../../../drivers/e1000/variants.ts';
import { I82540EM_CONFIGURATION } from '../../../sim/e1000/configuration.ts';
import { E1000 } from '../../../sim/e1000/i82540em.ts';
import { EEPROM_WORDS, imageWords } from '../../../sim/e1000/nvm.ts';
import { I82540EM } from '../../../sim/e1000/registers.ts';
import { cardText, type Family } from '../family.ts';
import { describeE1000 } from './descriptors.ts';
import { LINUX_E1000 } from './linux.ts';
import { E1000_LOCKSTEP } from './lockstep/index.ts';

export const E1000_FAMILY: Family = {
  name: 'e1000',
  models: [
    {
      name: 'e1000',
      chip: '82540EM',
      about: 'Intel PRO/1000 MT, PCI, one gigabit copper port',
      id: '8086:100e',
      linux: LINUX_E1000,
      qemu: 'e1000',
      interrupts: ['intx'],
      registers: I82540EM,
      configuration: I82540EM_CONFIGURATION,
      nvram: 2 * EEPROM_WORDS,
      make: (host, { image, ...options }) => new E1000(host, { ...options, eeprom: image && imageWords(image) }),
    },
  ],
  driver: {
    cards: VARIANTS.map(cardText),
    rings: RINGS,
    supports,
    open: createE1000,
    tools: e1000Tools,
    examples: { field: 'CTRL.SLU', element: 'RAL[3]', block: 'receive' },
  },
  qemu: { e1000: 'e1000', 'e1000-82544gc': 'e1000', 'e1000-82545em': 'e1000', e1000e: 'e1000e' },
  lockstep: E1000_LOCKSTEP,
  describe: describeE1000,
};
