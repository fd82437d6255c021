/** Frames that leave in one call: where they are in host memory, all of them in one mapping. */
import type { Mapping, Window } from '../memory.ts';

const MOST = 64;

export class Burst {
  readonly starts = new Int32Array(MOST);
  readonly lengths = new Int32Array(MOST);
  count = 0;
  readonly #window: Window;
  #mapping: Mapping;

  /** @param window is at the burst's mapping, after `begin` and each `add`. */
  constructor(window: Window) {
    this.#window = window;
    this.#mapping = window.mapping;
  }

  begin(): void {
    this.count = 0;
  }

  /** False, and nothing added, where the burst has to end before this one. */
  add(address: number, length: number): boolean {
    const window = this.#window;
    if (this.count === MOST || !window.covers(address, length)) return false;
    if (this.count === 0) this.#mapping = window.mapping;
    else if (window.mapping !== this.#mapping) {
      window.mapping = this.#mapping;
      return false;
    }
    this.starts[this.count] = address - this.#mapping.start;
    this.lengths[this.count++] = length;
    return true;
  }

  /** The memory that they are in. */
  get bytes(): Uint8Array {
    return this.#mapping.bytes;
  }
}
