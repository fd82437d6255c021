/**
 * A board: what is in one slot, functions and ports together. A card of one function is a board of one.
 *
 * Each function has a host of its own, as each has its own address on the bus, and may be in another guest. What the board
 * shares (an NVM, a PHY) is its own class's affair.
 */
import type { Host, PciFunction } from '../pci/function.ts';
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
  save(): BoardState;
  /** @throws RangeError where it is another board's state. */
  restore(state: BoardState): void;
}

/** All that a fresh board of the same kind needs to go on from here. */
export interface BoardState {
  readonly functions: readonly unknown[];
  readonly shared: unknown;
}

/** Functions with a port each. A board that shares something extends it. */
export class CardBoard implements Board {
  readonly functions: readonly PciFunction[];
  readonly ports: readonly Port[];

  constructor(cards: readonly Card[]) {
    this.functions = cards;
    for (const [number, card] of cards.entries()) card.number = number;
    this.ports = cards.map(({ port }) => port);
  }

  get virtualFunctions(): readonly PciFunction[] {
    return this.functions.flatMap((it) => it.virtualFunctions);
  }

  save(): BoardState {
    return { functions: this.functions.map((it) => it.save()), shared: this.saveShared() };
  }

  restore({ functions, shared }: BoardState): void {
    if (functions.length !== this.functions.length)
      throw new RangeError(`the state of ${functions.length} functions for a board of ${this.functions.length}`);
    this.restoreShared(shared);
    for (const [number, it] of this.functions.entries()) it.restore(functions[number]);
  }

  /** What no function alone has. */
  protected saveShared(): unknown {
    return null;
  }

  protected restoreShared(_shared: unknown): void {}
}
