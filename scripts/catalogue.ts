/** What there is: models, drivers, backends, and which of them go together. One table, for the command and its messages. */

import type { PciDevice } from '../drivers/device.ts';
import { createE1000, type E1000Options } from '../drivers/e1000/e1000.ts';
import type { NetDevice } from '../drivers/netdev.ts';
import { E1000 } from '../sim/e1000/i82540em.ts';
import { I82540EM } from '../sim/e1000/registers.ts';
import type { Host, PciFunction } from '../sim/pci/function.ts';
import type { RegisterMap } from '../sim/registers.ts';
import type { Port } from '../sim/wire/port.ts';
import { UsageError } from './errors.ts';

export interface Model {
  readonly name: string;
  readonly chip: string;
  readonly about: string;
  readonly id: string;
  readonly driver: string;
  /** Linux's module for it. */
  readonly linux: string;
  /** QEMU's own device of that kind, to compare with. */
  readonly qemu?: string;
  readonly registers: RegisterMap;
  make(host: Host, options: { name: string; mac?: Uint8Array }): PciFunction & { readonly port: Port };
}

/** A netdev that can be taken apart again. */
export type Driver = NetDevice & { close(): Promise<void> };

export interface DriverEntry {
  readonly name: string;
  readonly cards: readonly string[];
  open(device: PciDevice, options: E1000Options): Promise<Driver>;
}

export interface Backend {
  readonly name: string;
  readonly target: string;
  readonly about: string;
  readonly models: 'all' | 'none yet';
}

export const MODELS: readonly Model[] = [
  {
    name: 'e1000',
    chip: '82540EM',
    about: 'Intel PRO/1000 MT, PCI, one gigabit copper port',
    id: '8086:100e',
    driver: 'e1000',
    linux: 'e1000',
    qemu: 'e1000',
    registers: I82540EM,
    make: (host, options) => new E1000(host, options),
  },
];

export const DRIVERS: readonly DriverEntry[] = [
  {
    name: 'e1000',
    cards: ['82540EM (8086:100e)', '82545EM (8086:100f)', '82574L (8086:10d3)'],
    open: createE1000,
  },
];

export const BACKENDS: readonly Backend[] = [
  { name: 'sim', target: 'sim:MODEL', about: 'the model, in this process; no root, no addon', models: 'all' },
];

export function findModel(name: string): Model {
  const model = MODELS.find((model) => model.name === name);
  if (model !== undefined) return model;
  throw new UsageError(`no model ${JSON.stringify(name)}: there is ${MODELS.map(({ name }) => name).join(', ')}`);
}

/** The model that a target such as "sim:e1000" names. */
export function findTarget(target: string): Model {
  const [backend, ...rest] = target.split(':');
  const targets = MODELS.map(({ name }) => `sim:${name}`).join(', ');
  if (rest.length === 0 || !BACKENDS.some(({ name }) => name === backend))
    throw new UsageError(`no target ${JSON.stringify(target)}: there is ${targets} (see fauxnic devices)`);
  const model = MODELS.find(({ name }) => name === rest.join(':'));
  if (model === undefined) throw new UsageError(`no model ${JSON.stringify(rest.join(':'))}: there is ${targets}`);
  return model;
}

export function driverOf(model: Model): DriverEntry {
  return DRIVERS.find(({ name }) => name === model.driver)!;
}
