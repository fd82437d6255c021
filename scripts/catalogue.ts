/** What a name on the command line stands for: a model, a target, a backend; and which driver goes with which card. */
import type { PciId } from '../drivers/device.ts';
import { UsageError } from './errors.ts';
import { type DrivenFamily, type Family, functionOf, idText, type Model } from './families/family.ts';
import { FAMILIES } from './families/index.ts';
import type { LinuxDriver } from './families/linux-driver.ts';

export const MODELS: readonly Model[] = FAMILIES.flatMap(({ models }) => models);
/** The families that have a driver. */
export const DRIVEN: readonly DrivenFamily[] = FAMILIES.filter(isDriven);
/** At the far end of a wire, where nothing says which: any card will do. */
export const ANY_MODEL: Model = MODELS[0]!;

/** Names for messages and help: a model, QEMU's own device of that kind, and another one that a driver here drives. */
export const EXAMPLE = {
  model: ANY_MODEL.name,
  qemu: ANY_MODEL.qemu!,
  driven: Object.keys(familyOf(ANY_MODEL).qemu!).at(-1)!,
} as const;

export interface Backend {
  readonly name: string;
  readonly target: string;
  readonly about: string;
}

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
    about: `a network card that QEMU emulates, such as ${EXAMPLE.driven}; no root (docs/qemu.md)`,
  },
  {
    name: 'pci',
    target: 'pci:ADDRESS',
    about: 'the card in the slot: through VFIO, or sysfs where there is no IOMMU (docs/hardware.md)',
  },
];

/** By its name, or by the path of the module that brings it. */
export function findModel(name: string): Model {
  const model = modelNamed(name);
  if (model !== undefined) return model;
  throw new UsageError(`no model ${JSON.stringify(name)}: there is ${MODELS.map(({ name }) => name).join(', ')}`);
}

/** "board/1" is a board's function 1, alone. */
export function modelNamed(name: string): Model | undefined {
  return numbered(name, (whole) => MODELS.find((model) => model.name === whole) ?? modelBroughtBy(whole));
}

function numbered(name: string, find: (name: string) => Model | undefined): Model | undefined {
  const [, whole = name, digit] = /^(.+)\/([0-7])$/.exec(name) ?? [];
  const model = find(whole);
  if (model === undefined || digit === undefined) return model;
  const { board, ...rest } = model;
  return board && { ...rest, name: `${model.name}/${digit}`, make: functionOf(board, Number(digit)) };
}

/** The first model of the module at that path. */
function modelBroughtBy(module: string): Model | undefined {
  return FAMILIES.find(({ path }) => path === module)?.models[0];
}

export function familyOf(model: Model): Family {
  const [name] = model.name.split('/');
  return FAMILIES.find(({ models }) => models.some((own) => own.name === name))!;
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

/** "sim:MODEL", "vfio-user:/tmp/nic0", "./my-card.js". */
export function findTarget(target: string): Target {
  const brought = numbered(target, modelBroughtBy);
  if (brought !== undefined) return { model: brought };
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
  const model = modelNamed(address);
  if (model === undefined) throw new UsageError(`no model ${JSON.stringify(address)}: there is ${targets}`);
  return { model };
}

/** The family of a device of QEMU's. */
export function familyOfQemu(device: string): Family | undefined {
  return FAMILIES.find(({ qemu = {} }) => Object.hasOwn(qemu, device));
}

/** For the far end of a wire from a device of QEMU's: the model most like it. */
export function modelLike(device: string): Model {
  const [first] = familyOfQemu(device)?.models ?? [];
  return MODELS.find(({ qemu }) => qemu === device) ?? first ?? ANY_MODEL;
}

/** @throws UsageError where the model's family has no driver. */
export function drivenFamilyOf(model: Model): DrivenFamily {
  const family = familyOf(model);
  if (isDriven(family)) return family;
  throw new UsageError(`${model.name} has no driver here: it can be served, to a guest's own (fauxnic serve)`);
}

/** @throws UsageError where nothing is known of a driver of Linux's. */
export function linuxDriverOf({ name, linux }: Model): LinuxDriver {
  if (linux !== undefined) return linux;
  throw new UsageError(`${name} names no driver of Linux's: a guest has nothing to drive it with`);
}

/** @throws UsageError where none drives a card like this. */
export function driverFor({ name, id }: { readonly name: string; readonly id: PciId }): DrivenFamily {
  const family = DRIVEN.find(({ driver }) => driver.supports(id));
  if (family !== undefined) return family;
  const known = DRIVEN.flatMap(({ driver }) => driver.cards).join(', ');
  throw new UsageError(`${name} is ${idText(id)}, and no driver here knows it: there are drivers for ${known}`);
}

function isDriven(family: Family): family is DrivenFamily {
  return family.driver !== undefined;
}
