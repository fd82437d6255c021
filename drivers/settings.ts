/** What a driver's caller sets: address, filters, MTU, features. Checked here, kept here, and told to the card while it is up. */
import { DeviceError } from './device.ts';
import type { Filters } from './filters.ts';
import { FEATURE_JUMBO } from './netdev.ts';
import { wrongAddress } from './station-address.ts';

export const ETHERNET_MTU = 1500;
const MIN_MTU = 68; // RFC 791
export const FRAME_OVERHEAD = 18; // header and CRC

export interface SettingsSteps {
  filters(): Filters;
  /** Whether the card is up. */
  ready(): boolean;
  /** The filters' modes, and whatever else has a say in what is received. */
  applyReceiveMode(): void;
  applyMulticast(): void;
  applyFeatures(): void;
  /** Tells the card of the MTU, as far as it is ready; false where it must be reset for it. */
  applyMtu(): boolean;
  /** What is wanted, less what lacks something it rests on. */
  resolveFeatures(wanted: number): number;
}

export interface Features {
  readonly available: number;
  readonly enabled: number;
}

export class Settings {
  mtu: number;
  /** One object until they change: it is asked for at every packet. */
  features: Features;
  readonly #model: string;
  readonly #longestFrame: number;
  readonly #steps: SettingsSteps;

  /** @param longestFrame with header and CRC, where FEATURE_JUMBO is on. @throws DeviceError 'INVALID' */
  constructor(
    { model, features, longestFrame }: { model: string; features: number; longestFrame: number },
    { mtu = ETHERNET_MTU, features: wanted = features }: { mtu?: number; features?: number },
    steps: SettingsSteps,
  ) {
    this.#model = model;
    this.#longestFrame = longestFrame;
    this.#steps = steps;
    this.features = { available: features, enabled: steps.resolveFeatures(wanted & features) };
    this.#checkMtu(mtu);
    this.mtu = mtu;
  }

  has(feature: number): boolean {
    return (this.features.enabled & feature) !== 0;
  }

  get mac(): Uint8Array {
    return this.#steps.filters().mac.slice();
  }

  setMac(mac: Uint8Array): void {
    checkStationAddress(mac);
    const filters = this.#steps.filters();
    filters.mac.set(mac);
    if (this.#steps.ready()) filters.applyMac();
  }

  setPromiscuous(on: boolean): void {
    this.#steps.filters().promiscuous = on;
    this.#applyReceiveMode();
  }

  setAllMulticast(on: boolean): void {
    this.#steps.filters().allMulticast = on;
    this.#applyReceiveMode();
  }

  #applyReceiveMode(): void {
    if (this.#steps.ready()) this.#steps.applyReceiveMode();
  }

  setMulticast(addresses: readonly Uint8Array[]): void {
    checkMulticast(addresses);
    this.#steps.filters().multicast = addresses.map((address) => address.slice());
    if (this.#steps.ready()) this.#steps.applyMulticast();
  }

  /** @param listed whether frames with this VLAN id are wanted. */
  setVlan(id: number, listed: boolean): void {
    checkVlan(id);
    const filters = this.#steps.filters();
    if (listed) filters.vlans.add(id);
    else filters.vlans.delete(id);
    if (!this.#steps.ready()) return;
    filters.applyVlan(id);
    this.#steps.applyReceiveMode();
  }

  /** False where the card must be reset for it. @throws DeviceError 'INVALID' */
  setMtu(mtu: number): boolean {
    this.#checkMtu(mtu);
    if (mtu === this.mtu) return true;
    this.mtu = mtu;
    return this.#steps.applyMtu();
  }

  #checkMtu(mtu: number): void {
    const most = this.has(FEATURE_JUMBO) ? this.#longestFrame - FRAME_OVERHEAD : ETHERNET_MTU;
    if (Number.isInteger(mtu) && mtu >= MIN_MTU && mtu <= most) return;
    throw new DeviceError('INVALID', `an MTU of ${mtu}: ${this.#model} takes ${MIN_MTU} to ${most}`);
  }

  setFeatures(wanted: number): void {
    const { available } = this.features;
    const enabled = this.#steps.resolveFeatures(wanted & available);
    if ((enabled & FEATURE_JUMBO) === 0 && this.mtu > ETHERNET_MTU) {
      throw new DeviceError('INVALID', `jumbo frames are in use: set the MTU to ${ETHERNET_MTU} or less first`);
    }
    this.features = { available, enabled };
    this.#steps.applyFeatures();
  }
}

/** @throws DeviceError 'INVALID' */
function checkStationAddress(mac: Uint8Array): void {
  if (mac.length === 6 && wrongAddress(mac) === null) return;
  throw new DeviceError('INVALID', 'a station address is six bytes, not a multicast address and not all zeros');
}

/** @throws DeviceError 'INVALID' */
function checkMulticast(addresses: readonly Uint8Array[]): void {
  if (addresses.every((address) => address.length === 6 && (address[0]! & 1) !== 0)) return;
  throw new DeviceError('INVALID', 'a multicast address is six bytes, the first one odd');
}

/** @throws DeviceError 'INVALID' */
function checkVlan(id: number): void {
  if (Number.isInteger(id) && id >= 0 && id <= 4095) return;
  throw new DeviceError('INVALID', `a VLAN id of ${id}: 0 to 4095`);
}
