import type { HostMemory } from '../../drivers/backends/host-memory.ts';
import { openSim, type SimDevice } from '../../drivers/backends/sim.ts';
import type { PciDevice } from '../../drivers/device.ts';
import { HEADROOM } from '../../drivers/packet.ts';
import type { Clock } from '../../sim/clock.ts';
import type { Trace } from '../../sim/trace.ts';
import type { Port } from '../../sim/wire/port.ts';
import { drivenFamilyOf } from '../catalogue.ts';
import { UsageError } from '../errors.ts';
import type { DrivenFamily, Driver, Model } from '../families/family.ts';

export interface CardOptions {
  readonly mac?: Uint8Array;
  readonly mtu?: number;
  /** The MTU that it may be given later, and whose frames are to come in one piece all the same. */
  readonly longestMtu?: number;
  readonly rxDescriptors?: number;
  readonly txDescriptors?: number;
  /** All that the card has, if absent. */
  readonly features?: number;
  /** Hears the driver's steps. */
  readonly log?: (line: string) => void;
}

/** A device and the driver that drives it. */
export interface Card {
  readonly name: string;
  readonly device: PciDevice;
  readonly driver: Driver;
}

/** A card whose wire is in this process. */
export interface WiredCard extends Card {
  readonly port: Port;
}

/** A card whose device is a model in this process. */
export interface SimCard extends WiredCard {
  readonly model: Model;
  readonly device: SimDevice;
}

export interface Slot {
  readonly clock: Clock;
  readonly memory: HostMemory;
  readonly name: string;
  readonly mac: Uint8Array;
  readonly trace: Trace | null;
}

const BUFFERS = [2048, 4096, 8192, 16384]; // what a card takes in one piece (RCTL.BSIZE)
const FRAME_OVERHEAD = 18 + 4; // header, VLAN tag and FCS
const POOL_BYTES = 16 * 1024 * 1024;

/** Puts a model in the slot and finds its driver; nothing moves yet. */
export async function openCard(model: Model, slot: Slot, options: CardOptions): Promise<SimCard> {
  let port: Port | undefined;
  const device = openSim(
    (host) => {
      const card = model.make(host, { name: slot.name, mac: options.mac ?? slot.mac });
      port = card.port;
      return card;
    },
    { name: `sim:${model.name}`, clock: slot.clock, memory: slot.memory },
  );
  device.function.trace = slot.trace;
  const driver = await openDriver(drivenFamilyOf(model), device, options);
  return { name: slot.name, model, device, driver, port: port! };
}

/** @throws UsageError where a ring is not within the driver's bounds. */
export function checkRings({ name, driver }: DrivenFamily, options: CardOptions): void {
  const { least, most } = driver.rings;
  for (const [option, size] of [
    ['--rx-ring', options.rxDescriptors],
    ['--tx-ring', options.txDescriptors],
  ] as const) {
    if (size === undefined || (size >= least && size <= most && size % 8 === 0)) continue;
    throw new UsageError(`${option} ${size}: the ${name} driver takes ${least} to ${most}, a multiple of 8`);
  }
}

/** The driver on its device, with as many buffers as fit. */
export async function openDriver(family: DrivenFamily, device: PciDevice, options: CardOptions): Promise<Driver> {
  checkRings(family, options);
  const { mtu = 1500, longestMtu = mtu } = options;
  const frame = Math.max(mtu, longestMtu) + FRAME_OVERHEAD;
  const bufferSize = (BUFFERS.find((size) => size >= frame) ?? 16384) + HEADROOM;
  const buffers = Math.floor(POOL_BYTES / bufferSize);
  const { rxDescriptors, txDescriptors, features, log } = options;
  return await family.driver.open(device, { mtu, rxDescriptors, txDescriptors, features, log, bufferSize, buffers });
}
