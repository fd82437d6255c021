/**
 * What a driver knows of its chip beyond driving it: for tools that look at a card, or change what is stored on it.
 * A card is opened for these without being driven.
 */
import type { RegisterMap } from '../sim/registers.ts';
import { DeviceError, type PciDevice } from './device.ts';
import { goneError } from './lifecycle.ts';
import type { LinkState } from './netdev.ts';

export interface ChipTools {
  /** The chip's name: "82540EM". */
  readonly chip: string;
  /** Behind BAR 0. */
  readonly registers: RegisterMap;
  readonly configuration: RegisterMap;
  readonly nvram: Nvram;
  /** As the card has them now. */
  rings(): readonly RingPlace[];
  link(): Promise<LinkState>;
  readPhy(register: number): Promise<number>;
  writePhy(register: number, value: number): Promise<void>;
}

/** Where a ring of descriptors lies. */
export interface RingPlace {
  /** "rx", "tx"; or what the chip's datasheet calls them, "return0" where there are several. */
  readonly name: string;
  readonly iova: number;
  readonly descriptors: number;
  /** Bytes of a descriptor. */
  readonly bytes: number;
  /** Where the card is, and where the driver is. */
  readonly head: number;
  readonly tail: number;
}

/** What a part of the NVM is for. */
export interface NvramEntry {
  /** "subsystem-id" */
  readonly name: string;
  /** Byte offset, and length in bytes. */
  readonly at: number;
  readonly length: number;
  readonly about: string;
  /** Its value as a person reads it, where it is not merely bytes. */
  readonly text?: string;
}

/** The memory that a card keeps its address and defaults in. Images are whole, as the part holds them, and all as long. */
export interface Nvram {
  /** What its datasheet's addresses count: bytes, or words of two. */
  readonly cell: 1 | 2;
  read(): Promise<Uint8Array>;
  /** Writes what is different from `before`. What it does not do by itself: check, keep a copy, read back. */
  write(before: Uint8Array, image: Uint8Array): Promise<void>;
  /** What is wrong with an image; nothing, where all is well. */
  check(image: Uint8Array): string[];
  entries(image: Uint8Array): NvramEntry[];
  macOf(image: Uint8Array): Uint8Array;
  /** A copy with another station address and checksums to match. */
  withMac(image: Uint8Array, mac: Uint8Array): Uint8Array;
}

/**
 * Opens a card's memory and says what variant of a family it is; nothing is reset or set up.
 * @throws DeviceError 'UNSUPPORTED' where it is none, 'FAILED' where nothing answers.
 */
export function openForTools<V, C extends { readonly gone: boolean }>(
  device: PciDevice,
  family: string,
  variant: V | undefined,
  chip: (variant: V) => C,
): C {
  if (variant === undefined) throw new DeviceError('UNSUPPORTED', `${device.name} is no card of the ${family} family`);
  device.enable({ memory: true });
  const opened = chip(variant);
  if (opened.gone) throw goneError(device);
  return opened;
}
