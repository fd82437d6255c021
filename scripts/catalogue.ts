/** What there is: models, drivers, backends, and which of them go together. One table, for the command and its messages. */

import type { ChipTools } from '../drivers/chip-tools.ts';
import type { InterruptMode, PciDevice, PciId } from '../drivers/device.ts';
import { createE1000, RINGS as E1000_RINGS, supports } from '../drivers/e1000/e1000.ts';
import { e1000Tools } from '../drivers/e1000/tools.ts';
import type { NetDriverOptions, RingBounds } from '../drivers/net-driver.ts';
import type { NetDevice } from '../drivers/netdev.ts';
import { createTg3, supports as isTg3, RINGS as TG3_RINGS } from '../drivers/tg3/tg3.ts';
import { tg3Tools } from '../drivers/tg3/tools.ts';
import { I82540EM_CONFIGURATION } from '../sim/e1000/configuration.ts';
import { EEPROM_WORDS, imageWords } from '../sim/e1000/eeprom.ts';
import { E1000 } from '../sim/e1000/i82540em.ts';
import { I82540EM } from '../sim/e1000/registers.ts';
import type { Host, PciFunction } from '../sim/pci/function.ts';
import type { RegisterMap } from '../sim/registers.ts';
import { Tg3 } from '../sim/tg3/bcm57xx.ts';
import { CHIPS, type ChipName } from '../sim/tg3/chips.ts';
import { BCM57XX_CONFIGURATION } from '../sim/tg3/configuration.ts';
import { NVRAM_SIZE } from '../sim/tg3/nvram.ts';
import { BCM57XX } from '../sim/tg3/registers.ts';
import type { Port } from '../sim/wire/port.ts';
import { describeE1000 } from './descriptors/e1000.ts';
import type { Describe } from './descriptors/text.ts';
import { describeTg3 } from './descriptors/tg3.ts';
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
  /** What it can interrupt with, best first. */
  readonly interrupts: readonly InterruptMode[];
  readonly registers: RegisterMap;
  /** Its configuration space. */
  readonly configuration: RegisterMap;
  /** Bytes of NVM. */
  readonly nvram: number;
  make(host: Host, options: ModelOptions): PciFunction & { readonly port: Port };
}

export interface ModelOptions {
  readonly name: string;
  readonly mac?: Uint8Array;
  /** What its NVM holds, `nvram` bytes; the factory's, with `mac`, if absent. */
  readonly image?: Uint8Array;
}

/** A netdev that can be taken apart again. */
export type Driver = NetDevice & { close(): Promise<void> };

export interface DriverEntry {
  readonly name: string;
  readonly cards: readonly string[];
  readonly rings: RingBounds;
  /** Whether it drives a function with this identity. */
  supports(id: PciId): boolean;
  open(device: PciDevice, options: NetDriverOptions): Promise<Driver>;
  /** What it knows of the chip, for a card that is not driven. */
  tools(device: PciDevice): ChipTools;
  /** A descriptor as a trace shows it. */
  readonly describe: Describe;
  /** Of its cards' registers, for those who ask for help. */
  readonly examples: { readonly field: string; readonly element: string; readonly block: string };
}

export interface Backend {
  readonly name: string;
  readonly target: string;
  readonly about: string;
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
    interrupts: ['intx'],
    registers: I82540EM,
    configuration: I82540EM_CONFIGURATION,
    nvram: 2 * EEPROM_WORDS,
    make: (host, { image, ...options }) => new E1000(host, { ...options, eeprom: image && imageWords(image) }),
  },
  tg3('tg3', 'PCI Express, one gigabit copper port, MSI-X, jumbo frames'),
  tg3('tg3-57765', 'PCI Express, one gigabit copper port, MSI-X, jumbo frames'),
  tg3('tg3-5721', 'PCI Express, one gigabit copper port'),
  tg3('tg3-5751', 'PCI Express, one gigabit copper port'),
];

function tg3(name: ChipName, about: string): Model {
  const chip = CHIPS[name];
  return {
    name,
    chip: chip.name,
    about: `Broadcom NetXtreme, ${about}`,
    id: `14e4:${chip.device.toString(16)}`,
    driver: 'tg3',
    linux: 'tg3',
    interrupts: chip.is57765 ? ['msix', 'msi', 'intx'] : ['msi', 'intx'],
    registers: BCM57XX,
    configuration: BCM57XX_CONFIGURATION[name],
    nvram: NVRAM_SIZE,
    make: (host, { image, ...options }) => new Tg3(host, { ...options, chip: name, nvram: image }),
  };
}

export const DRIVERS: readonly DriverEntry[] = [
  {
    name: 'e1000',
    cards: ['82540EM (8086:100e)', '82545EM (8086:100f)', '82574L (8086:10d3)'],
    rings: E1000_RINGS,
    supports,
    open: createE1000,
    tools: e1000Tools,
    describe: describeE1000,
    examples: { field: 'CTRL.SLU', element: 'RAL[3]', block: 'receive' },
  },
  {
    name: 'tg3',
    cards: ['BCM57762 (14e4:1682)', 'BCM57765 (14e4:16b4)', 'BCM5721 (14e4:1659)', 'BCM5751 (14e4:1677)'],
    rings: TG3_RINGS,
    supports: isTg3,
    open: createTg3,
    tools: tg3Tools,
    describe: describeTg3,
    examples: { field: 'MAC_MODE.TDE_ENABLE', element: 'MAC_RCV_RULE[3]', block: 'ethernet-mac' },
  },
];

export const BACKENDS: readonly Backend[] = [
  { name: 'sim', target: 'sim:MODEL', about: 'the model, in this process; no root, no addon' },
  {
    name: 'vfio-user',
    target: 'vfio-user:PATH',
    about: 'the device that another process serves there: fauxnic serve, or any vfio-user server',
  },
  {
    name: 'qemu',
    target: 'qemu:DEVICE',
    about: 'a network card that QEMU emulates, such as qemu:e1000e; no root (docs/qemu.md)',
  },
  {
    name: 'pci',
    target: 'pci:ADDRESS',
    about: 'the card in the slot: through VFIO, or sysfs where there is no IOMMU (docs/hardware.md)',
  },
];

export function findModel(name: string): Model {
  const model = MODELS.find((model) => model.name === name);
  if (model !== undefined) return model;
  throw new UsageError(`no model ${JSON.stringify(name)}: there is ${MODELS.map(({ name }) => name).join(', ')}`);
}

/** What a target on the command line stands for: a model in this process, or a device outside of it. */
export type Target = WiredTarget | OutsideTarget;

/** A wire of ours, with the model at both ends; or with this device of QEMU's at the near one. */
export interface WiredTarget {
  readonly model: Model;
  readonly qemu?: string;
}

/** A device whose wire leads elsewhere. */
export interface OutsideTarget {
  readonly model: null;
  readonly backend: string;
  readonly address: string;
}

/** "sim:e1000", "vfio-user:/tmp/nic0". */
export function findTarget(target: string): Target {
  const [name, ...rest] = target.split(':');
  const address = rest.join(':');
  const backend = BACKENDS.find((backend) => backend.name === name);
  const targets = MODELS.map(({ name }) => `sim:${name}`).join(', ');
  if (backend === undefined || rest.length === 0) {
    const others = BACKENDS.filter(({ name }) => name !== 'sim').map(({ target }) => target);
    throw new UsageError(
      `no target ${JSON.stringify(target)}: there is ${[targets, ...others].join(', ')} (see fauxnic devices)`,
    );
  }
  if (backend.name !== 'sim') {
    if (address === '') throw new UsageError(`target ${target} lacks something: give ${backend.target}`);
    if (backend.name === 'qemu') return { model: modelLike(address), qemu: address };
    return { model: null, backend: backend.name, address };
  }
  const model = MODELS.find(({ name }) => name === address);
  if (model === undefined) throw new UsageError(`no model ${JSON.stringify(address)}: there is ${targets}`);
  return { model };
}

/** The model that is most like a device of QEMU's. */
function modelLike(device: string): Model {
  return MODELS.find(({ qemu }) => qemu === device) ?? MODELS[0]!;
}

export function driverOf(model: Model): DriverEntry {
  return DRIVERS.find(({ name }) => name === model.driver)!;
}

/** @throws UsageError where none drives a card like this. */
export function driverFor({ name, id }: PciDevice): DriverEntry {
  const driver = DRIVERS.find((driver) => driver.supports(id));
  if (driver !== undefined) return driver;
  const what = [id.vendor, id.device].map((part) => part.toString(16).padStart(4, '0')).join(':');
  const known = DRIVERS.flatMap(({ cards }) => cards).join(', ');
  throw new UsageError(`${name} is ${what}, and no driver here knows it: there are drivers for ${known}`);
}
