/**
 * A board: what is in one slot, functions and ports together. A card of one function is a board of one.
 *
 * Each function has a host of its own, as each has its own address on the bus, and may be in another guest. What the board
 * shares (an NVM, a PHY) is its own class's affair.
 */
import type { Host, PciFunction } from '../pci/function.ts';
import { block, each, restore, type Stateful } from '../state.ts';
import type { Port } from '../wire/port.ts';

/** A card of one function and one port. */
export type Card = PciFunction & { readonly port: Port };

/** What function `number` is plugged into: 0 to 7, and beyond them virtual ones, each as it is made. */
export type HostOf = (number: number) => Host;

export interface Board {
  /** Physical ones by number, from 0 on. */
  readonly functions: readonly PciFunction[];
  /** Those that there are just now. */
  readonly virtualFunctions: readonly PciFunction[];
  readonly ports: readonly Port[];
  /** All that a fresh board of the same kind needs to go on from here. */
  save(): unknown;
  /** @throws StateError where it is another board's state, cut short or made up; nothing is changed then. */
  restore(saved: unknown): void;
}

/** Functions with a port each. A board that shares something extends it. */
export class CardBoard implements Board {
  readonly functions: readonly PciFunction[];
  readonly ports: readonly Port[];
  /** What no function alone has. */
  protected readonly sharedState: Stateful = block(1, {});

  constructor(cards: readonly Card[]) {
    this.functions = cards;
    for (const [number, card] of cards.entries()) card.number = number;
    this.ports = cards.map(({ port }) => port);
  }

  get virtualFunctions(): readonly PciFunction[] {
    return this.functions.flatMap((it) => it.virtualFunctions);
  }

  get #state(): Stateful {
    return block(1, { shared: this.sharedState, functions: each(this.functions.map(({ state }) => state)) });
  }

  save(): unknown {
    return this.#state.save();
  }

  restore(saved: unknown): void {
    restore(this.#state, saved, 'board');
  }
}
