/**
 * A family of cards: all that the commands know of its chips, in one object. Commands know families, never a chip.
 *
 * A family brings models, or a driver, or both. Whatever it lacks, the commands that need it say so.
 */
import type { ChipTools } from '../../drivers/chip-tools.ts';
import type { InterruptMode, PciDevice, PciId } from '../../drivers/device.ts';
import type { NetDriverOptions, RingBounds } from '../../drivers/net-driver.ts';
import type { NetDevice } from '../../drivers/netdev.ts';
import { AddressSpace } from '../../sim/memory.ts';
import { type Board, type Card, CardBoard, type HostOf } from '../../sim/nic/board.ts';
import type { Host } from '../../sim/pci/function.ts';
import type { RegisterMap } from '../../sim/registers.ts';
import { UsageError } from '../errors.ts';
import type { Lockstep } from '../lockstep/step.ts';
import type { LinuxDriver } from './linux-driver.ts';

export interface Family {
  /** "e1000": also the driver's name. Its models' names are their own. */
  readonly name: string;
  readonly models: readonly Model[];
  /** The module that it comes from, where that is outside the repository. */
  readonly path?: string;
  readonly driver?: FamilyDriver;
  /** Linux's modules, by the names of QEMU's devices of this family. */
  readonly qemu?: Readonly<Record<string, string>>;
  /** Plays two cards of the family alike, for `fauxnic diff`. */
  readonly lockstep?: Lockstep;
  /** A descriptor as a trace shows it. */
  readonly describe?: Describe;
}

/** A descriptor of `count` words at `words[at]`, decoded: "buffer=0x00318040 length=60 EOP IFCS". */
export type Describe = (ring: string, words: Uint32Array, at: number, count: number) => string;

export interface Model {
  readonly name: string;
  readonly chip: string;
  readonly about: string;
  readonly id: string;
  /** Linux's driver for it. */
  readonly linux?: LinuxDriver;
  /** QEMU's own device of that kind, to compare with. */
  readonly qemu?: string;
  /** What it can interrupt with, best first. */
  readonly interrupts: readonly InterruptMode[];
  readonly registers: RegisterMap;
  /** Its configuration space. */
  readonly configuration: RegisterMap;
  /** Bytes of NVM. */
  readonly nvram: number;
  /** A card of one function; of a board, function 0 alone. */
  make(host: Host, options: ModelOptions): Card;
  /** All of it, where it has several functions. */
  board?(hostOf: HostOf, options: ModelOptions): Board;
}

/** All functions of a model. */
export function boardOf(model: Model, hostOf: HostOf, options: ModelOptions): Board {
  return model.board?.(hostOf, options) ?? new CardBoard([model.make(hostOf(0), options)]);
}

/** A board's function by its number, as a card of its own: the others are plugged into nothing. */
export function functionOf(board: NonNullable<Model['board']>, number: number): Model['make'] {
  return (host, options) => {
    const nowhere: Host = { ...host, memory: new AddressSpace(), intx: () => {}, message: () => {} };
    const { functions, ports } = board((other) => (other === number ? host : nowhere), options);
    const it = functions[number];
    if (it === undefined || !ports[number])
      throw new UsageError(`the board has ${functions.length} functions, from 0 on: there is no ${number}`);
    return Object.assign(it, { port: ports[number] });
  };
}

export interface ModelOptions {
  readonly name: string;
  readonly mac?: Uint8Array;
  /** What its NVM holds, `nvram` bytes; the factory's, with `mac`, if absent. */
  readonly image?: Uint8Array;
}

/** A netdev that can be taken apart again. */
export type Driver = NetDevice & { close(): Promise<void> };

export interface FamilyDriver {
  /** Those it knows: "82540EM (8086:100e)". */
  readonly cards: readonly string[];
  readonly rings: RingBounds;
  /** Whether it drives a function with this identity. */
  supports(id: PciId): boolean;
  open(device: PciDevice, options: NetDriverOptions): Promise<Driver>;
  /** What it knows of the chip, for a card that is not driven. */
  tools(device: PciDevice): ChipTools;
  /** Of its cards' registers, for those who ask for help. */
  readonly examples: { readonly field: string; readonly element: string; readonly block: string };
}

/** A family that has a driver. */
export type DrivenFamily = Family & { readonly driver: FamilyDriver };

/** "82540EM (8086:100e)" */
export function cardText({ name, vendor, device }: { name: string; vendor: number; device: number }): string {
  return `${name} (${idText({ vendor, device })})`;
}

/** "8086:100e" */
export function idText({ vendor, device }: { vendor: number; device: number }): string {
  return [vendor, device].map((part) => part.toString(16).padStart(4, '0')).join(':');
}
