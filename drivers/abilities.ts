/** What some cards can do and others cannot, beyond features that are on or off: an object each, absent where a card has it not. */
import { DeviceError } from './device.ts';
import type { NetDevice } from './netdev.ts';

export interface RssSettings {
  /** The Toeplitz hash's, `keyLength` bytes. */
  readonly key: Uint8Array;
  /** `tableLength` queues: the hash's low bits look one up. */
  readonly table: Uint8Array;
  /** HASH_ bits: what is hashed. Where both addresses and ports of a kind are, ports count for TCP. */
  readonly hashTypes: number;
}

/** Receive side scaling: frames to queues, by a hash over addresses and ports. Packets have it (RX_HASH). */
export interface ReceiveSideScaling {
  readonly keyLength: number;
  readonly tableLength: number;
  /** HASH_ bits that the card knows. */
  readonly knownHashTypes: number;
  readonly settings: RssSettings;
  /** Changes what is given, and keeps the rest. Rejects with DeviceError 'INVALID' what cannot be. */
  set(changes: Partial<RssSettings>): Promise<void>;
}

/** Interrupts: how long the card waits for more to come before it interrupts. */
export interface Coalescing {
  /** Microseconds; null while the driver chooses them by the traffic. */
  readonly interval: number | null;
  readonly longestInterval: number;
  /** 0 interrupts at once. Rejects with DeviceError 'INVALID' what cannot be. */
  set(interval: number | null): Promise<void>;
}

/** Frames to queues, by rules that go before RSS. */
export interface Steering {
  readonly mostRules: number;
  set(rules: readonly SteeringRule[]): Promise<void>;
}

/** What is given must be so of a frame; bytes and numbers as they are in its headers. */
export interface SteeringRule {
  readonly etherType?: number;
  readonly protocol?: number;
  readonly source?: Uint8Array;
  readonly destination?: Uint8Array;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly queue: number;
}

/** A clock of the card's by which frames are stamped. */
export interface Timestamps {
  /** Nanoseconds. */
  now(): number;
  set(receive: boolean): Promise<void>;
}

export interface Abilities {
  readonly rss: ReceiveSideScaling;
  readonly coalescing: Coalescing;
  readonly steering: Steering;
  readonly timestamps: Timestamps;
}

const NAMES: Readonly<Record<keyof Abilities, string>> = {
  rss: 'receive side scaling',
  coalescing: 'interrupt coalescing',
  steering: 'steering rules',
  timestamps: 'time stamps',
};

/** An ability that the caller cannot do without. @throws DeviceError 'UNSUPPORTED' */
export function ability<Name extends keyof Abilities>(device: NetDevice, name: Name): Abilities[Name] {
  const found = device.abilities[name];
  if (found === undefined)
    throw new DeviceError('UNSUPPORTED', `${device.model} has no ${NAMES[name]} as it is driven`);
  return found;
}
