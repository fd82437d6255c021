import type { Medium, Port, Station } from '../wire/port.ts';
import type { CopperPhy } from './phy.ts';

/** What a card's port needs of the card. */
export interface PortOwner {
  readonly phy: CopperPhy;
  arrive(bytes: Uint8Array, start: number, length: number, flags: number): void;
  /** See Port.receiveBurst. */
  arriveBurst(bytes: Uint8Array, starts: Int32Array, lengths: Int32Array, count: number): number;
}

/** The plug. */
export class CardPort implements Port {
  readonly name: string;
  medium: Medium | null = null;
  readonly #card: PortOwner;

  constructor(name: string, card: PortOwner) {
    this.name = name;
    this.#card = card;
  }

  get station(): Station | null {
    return this.#card.phy.station;
  }

  partnerChanged(partner: Station | null): void {
    this.#card.phy.partnerChanged(partner);
  }

  receive(bytes: Uint8Array, start: number, length: number, flags: number): void {
    this.#card.arrive(bytes, start, length, flags);
  }

  receiveBurst(bytes: Uint8Array, starts: Int32Array, lengths: Int32Array, count: number): number {
    return this.#card.arriveBurst(bytes, starts, lengths, count);
  }
}
