/**
 * Two 82540EMs in one slot, as on a dual-port card: INTA# and INTB#, and one NVM for both. Also a module that brings it to the
 * command, as a family with the e1000 driver.
 */
import { E1000_FAMILY } from '../../scripts/families/e1000/index.ts';
import type { Model } from '../../scripts/families/family.ts';
import type { PluginFamily } from '../../scripts/families/plugin.ts';
import { I8254X_SHAPE } from '../../sim/e1000/configuration.ts';
import { E1000 } from '../../sim/e1000/i82540em.ts';
import { EEPROM_WORDS, factoryImage } from '../../sim/e1000/nvm.ts';
import { CardBoard, type HostOf } from '../../sim/nic/board.ts';
import { configurationMap } from '../../sim/pci/configuration.ts';
import { array, block, type Stateful } from '../../sim/state.ts';

const PINS = ['A', 'B'] as const;
const CONFIGURATIONS = PINS.map((pin) => configurationMap('dual-port', { ...I8254X_SHAPE, pin, multifunction: true }));
const MAC = Uint8Array.of(0x02, 0, 0, 0x82, 0x46, 0x01);

export class DualPort extends CardBoard {
  readonly cards: readonly E1000[];
  protected override readonly sharedState: Stateful;

  /** @param options.mac of port 0; port 1 has the next one. */
  constructor(hostOf: HostOf, { name = 'dual', mac = MAC }: { name?: string; mac?: Uint8Array } = {}) {
    const nvm = new Uint16Array(PINS.length * EEPROM_WORDS);
    const cards = CONFIGURATIONS.map((configuration, number) => {
      const eeprom = nvm.subarray(number * EEPROM_WORDS, (number + 1) * EEPROM_WORDS);
      eeprom.set(factoryImage(mac.map((byte, at) => (at === 5 ? byte + number : byte))));
      return new E1000(hostOf(number), { name: `${name}/${number}`, eeprom }, configuration);
    });
    super(cards);
    this.cards = cards;
    this.sharedState = block(1, { nvm: array(nvm) });
  }
}

const [{ id, interrupts, registers, nvram, linux }] = E1000_FAMILY.models as [Model];
export default {
  name: 'dual',
  models: [
    {
      ...{ name: 'dual', chip: 'dual-port 82540EM', about: 'two ports in one slot' },
      ...{ id, interrupts, registers, nvram, linux, configuration: CONFIGURATIONS[0]! },
      board: (hostOf, options) => new DualPort(hostOf, options),
    },
  ],
  driver: E1000_FAMILY.driver!,
  describe: E1000_FAMILY.describe!,
} satisfies PluginFamily;
