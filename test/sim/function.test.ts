/** Every model as a PCI function, and one with all that a function can have. */
import test from 'ava';
import { MODELS } from '../../scripts/catalogue.ts';
import { advancedFeatures, msi } from '../../sim/pci/capabilities/index.ts';
import type { FunctionShape } from '../../sim/pci/configuration.ts';
import type { Host, PciFunction } from '../../sim/pci/function.ts';
import { functionSpec } from '../spec/function.ts';
import { WHOLE, WholeFunction } from '../util/whole-function.ts';

/** Of conventional PCI: no pin, addresses of 32 bits, AF's reset. */
const CONVENTIONAL: FunctionShape = {
  identity: WHOLE.identity,
  bars: WHOLE.bars!,
  pin: null,
  capabilities: [msi(0x40, { vectors: 32, wide: false, masks: true }), advancedFeatures(0x60)],
};

const FUNCTIONS: [string, (host: Host) => PciFunction][] = [
  ...MODELS.map((model): [string, (host: Host) => PciFunction] => [
    model.name,
    (host) => model.make(host, { name: model.name }),
  ]),
  ['whole', (host) => new WholeFunction(host)],
  ['conventional', (host) => new WholeFunction(host, CONVENTIONAL)],
];

for (const [name, make] of FUNCTIONS) {
  const register = (title: string, run: () => void) =>
    test(`${name}: ${title}`, (t) => {
      t.notThrows(run);
    });
  const skip = (title: string, why: string) => test.skip(`${name}: ${title}: ${why}`, (t) => t.pass());
  functionSpec(Object.assign(register, { skip }), make);
}
