/** A client's eventfds, and what the model's interrupts do to them (linux/vfio.h, VFIO_DEVICE_SET_IRQS). */
import { closeSync } from 'node:fs';
import { edges, signalEventfd, takeEdge, type Watch, watch } from '../../native/index.ts';
import { IRQ_INTX } from './codec.ts';

const NONE = -1;

/** One index: INTx, MSI, MSI-X. */
class Vectors {
  readonly count: number;
  readonly #eventfds: Int32Array;
  readonly #masked: Uint8Array;
  readonly #pending: Uint8Array;

  constructor(count: number) {
    this.count = count;
    this.#eventfds = new Int32Array(count).fill(NONE);
    this.#masked = new Uint8Array(count);
    this.#pending = new Uint8Array(count);
  }

  /** Takes the descriptor over; NONE takes the present one away. */
  assign(vector: number, eventfd: number): void {
    const before = this.#eventfds[vector]!;
    if (before !== NONE) closeSync(before);
    this.#eventfds[vector] = eventfd;
    if (eventfd === NONE) this.#pending[vector] = 0;
  }

  fire(vector: number): void {
    const eventfd = this.#eventfds[vector] ?? NONE;
    if (eventfd === NONE) return;
    if (this.#masked[vector]) this.#pending[vector] = 1;
    else signalEventfd(eventfd);
  }

  assigned(vector: number): boolean {
    return (this.#eventfds[vector] ?? NONE) !== NONE;
  }

  masked(vector: number): boolean {
    return this.#masked[vector] !== 0;
  }

  mask(vector: number): void {
    this.#masked[vector] = 1;
  }

  unmask(vector: number): void {
    this.#masked[vector] = 0;
    if (this.#pending[vector] === 0) return;
    this.#pending[vector] = 0;
    this.fire(vector);
  }

  clear(): void {
    for (let vector = 0; vector < this.count; vector++) this.assign(vector, NONE);
    this.#masked.fill(0);
  }
}

export class ClientInterrupts {
  readonly #indexes: readonly Vectors[];
  /** The client's eventfds that mask and unmask INTx; KVM signals the latter when the guest has acknowledged one. */
  readonly #virqfds: Record<'mask' | 'unmask', { fd: number; edges: number; watch: Watch } | null> = {
    mask: null,
    unmask: null,
  };
  #level = false;

  /** @param counts vectors by index. */
  constructor(counts: readonly number[]) {
    this.#indexes = counts.map((count) => new Vectors(count));
  }

  count(index: number): number {
    return this.#indexes[index]?.count ?? 0;
  }

  /** INTA#'s level: signalled once, then masked until the client has dealt with it. */
  line(asserted: boolean): void {
    this.#level = asserted;
    this.#settleLine();
  }

  #settleLine(): void {
    const line = this.#indexes[IRQ_INTX]!;
    if (!this.#level || !line.assigned(0) || line.masked(0)) return;
    line.fire(0);
    line.mask(0);
  }

  fire(index: number, vector: number): void {
    this.#indexes[index]!.fire(vector);
  }

  assigned(index: number, vector: number): boolean {
    return this.#indexes[index]!.assigned(vector);
  }

  assign(index: number, vector: number, eventfd: number): void {
    const vectors = this.#indexes[index]!;
    vectors.assign(vector, eventfd);
    if (index !== IRQ_INTX) return;
    vectors.unmask(0); // what was signalled before was signalled to somebody else
    if (eventfd !== NONE) this.#settleLine();
  }

  mask(index: number, vector: number): void {
    this.#indexes[index]!.mask(vector);
  }

  unmask(index: number, vector: number): void {
    this.#indexes[index]!.unmask(vector);
    if (index === IRQ_INTX) this.#settleLine();
  }

  /** From here on a signal on the eventfd, which is taken over, masks or unmasks INTx; NONE takes the present one away. */
  follow(action: 'mask' | 'unmask', fd: number): void {
    const before = this.#virqfds[action];
    if (before !== null) {
      before.watch.close();
      closeSync(before.edges);
      closeSync(before.fd);
    }
    this.#virqfds[action] = null;
    if (fd === NONE) return;
    // It is never read: it is the client's as well, and a semaphore's counter would be read for ever.
    const signals = edges(fd);
    const signalled = () => {
      if (takeEdge(signals)) this[action](IRQ_INTX, 0);
    };
    const watching = watch(signals, { readable: signalled });
    watching.start();
    this.#virqfds[action] = { fd, edges: signals, watch: watching };
  }

  /** Takes every eventfd of an index away. */
  disable(index: number): void {
    this.#indexes[index]!.clear();
    if (index !== IRQ_INTX) return;
    this.follow('mask', NONE);
    this.follow('unmask', NONE);
  }

  clear(): void {
    for (const index of this.#indexes.keys()) this.disable(index);
  }
}
