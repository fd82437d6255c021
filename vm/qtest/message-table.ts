const MSIX_ENTRY = 4; // words: address low, address high, data, control
const MSIX_MASKED = 1;

/** The MSI-X table as the client has it (PCI 3.0, 6.8.2); the device's own leads to the bell. */
export class MessageTable {
  /** Bits of vectors that have something to say. */
  pending = 0;
  readonly #words: Uint32Array;
  readonly #place: { readonly bar: number; readonly start: number };
  readonly #pendingPlace: { readonly bar: number; readonly start: number };

  /** @param place of the table, and of the pending bits: offset and BAR, as the capability has them. */
  constructor(place: number, pendingPlace: number, vectors: number) {
    this.#words = new Uint32Array(vectors * MSIX_ENTRY);
    this.#place = { bar: place & 7, start: (place & ~7) >>> 0 };
    this.#pendingPlace = { bar: pendingPlace & 7, start: (pendingPlace & ~7) >>> 0 };
    this.reset();
  }

  reset(): void {
    this.pending = 0;
    this.#words.fill(0);
    for (let word = 3; word < this.#words.length; word += MSIX_ENTRY) this.#words[word] = MSIX_MASKED;
  }

  masked(vector: number): boolean {
    return (this.#words[vector * MSIX_ENTRY + 3]! & MSIX_MASKED) !== 0;
  }

  mask(vector: number, masked: boolean): void {
    this.#words[vector * MSIX_ENTRY + 3] = masked ? MSIX_MASKED : 0;
  }

  /** Null where it is not of the table. */
  read(bar: number, offset: number, width: number): number | null {
    const word = this.#wordAt(bar, offset);
    const value = word >= 0 ? this.#words[word]! : this.#isPending(bar, offset) ? this.pending : null;
    return value === null ? null : ((value >>> ((offset & 3) * 8)) & (0xffffffff >>> (32 - 8 * width))) >>> 0;
  }

  /** False where it is not of the table. Software must use aligned words; the pending bits only read. */
  write(bar: number, offset: number, width: number, value: number): boolean {
    const word = this.#wordAt(bar, offset);
    if (word < 0) return this.#isPending(bar, offset);
    if (width === 4 && offset % 4 === 0) this.#words[word] = value;
    return true;
  }

  #wordAt(bar: number, offset: number): number {
    const word = (offset - this.#place.start) >> 2;
    return bar === this.#place.bar && word >= 0 && word < this.#words.length ? word : -1;
  }

  #isPending(bar: number, offset: number): boolean {
    const { bar: own, start } = this.#pendingPlace;
    return bar === own && offset >= start && offset < start + 4;
  }
}
