/** Stations learnt and not yet forgotten: [address, port, age in nanoseconds]. */
export type SavedDatabase = [address: number, port: number, age: number][];

const NOBODY = -1;

/**
 * Which port leads to which station (802.1D-2004 clause 7.9): learnt from source addresses, bounded, aged by the clock.
 * Addresses are passed as the place of their six bytes in a frame.
 */
export class FilteringDatabase {
  readonly #slots = new Map<number, number>();
  readonly #address: Float64Array;
  readonly #port: Int32Array;
  readonly #seen: Float64Array;
  readonly #ageing: number;
  #used = 0;

  /** @param ageing nanoseconds after which a silent station is forgotten. */
  constructor(entries: number, ageing: number) {
    this.#address = new Float64Array(entries);
    this.#port = new Int32Array(entries);
    this.#seen = new Float64Array(entries);
    this.#ageing = ageing;
  }

  /** Stations known, those not yet found to be too old among them. */
  get size(): number {
    return this.#slots.size;
  }

  learn(bytes: Uint8Array, at: number, port: number, now: number): void {
    this.#set(addressAt(bytes, at), port, now);
  }

  /** The port behind which the station was last seen, or -1. */
  lookup(bytes: Uint8Array, at: number, now: number): number {
    const slot = this.#slots.get(addressAt(bytes, at));
    if (slot === undefined || now - this.#seen[slot]! > this.#ageing) return NOBODY;
    return this.#port[slot]!;
  }

  /** Forgets who was behind a port, whose cable may now lead elsewhere. */
  flush(port: number): void {
    const kept = this.save(0).filter(([, where]) => where !== port);
    this.restore(kept, 0);
  }

  save(now: number): SavedDatabase {
    return Array.from({ length: this.#used }, (_, i) => [this.#address[i]!, this.#port[i]!, now - this.#seen[i]!]);
  }

  restore(saved: SavedDatabase, now: number): void {
    this.#slots.clear();
    this.#used = 0;
    for (const [address, port, age] of saved) this.#set(address, port, now - age);
  }

  #set(address: number, port: number, seen: number): void {
    let slot = this.#slots.get(address);
    if (slot === undefined) {
      slot = this.#used < this.#address.length ? this.#used++ : this.#evictOldest();
      this.#slots.set(address, slot);
      this.#address[slot] = address;
    }
    this.#port[slot] = port;
    this.#seen[slot] = seen;
  }

  #evictOldest(): number {
    let oldest = 0;
    for (let slot = 1; slot < this.#used; slot++) if (this.#seen[slot]! < this.#seen[oldest]!) oldest = slot;
    this.#slots.delete(this.#address[oldest]!);
    return oldest;
  }
}

/** 48 bits, exact in a number. */
function addressAt(b: Uint8Array, at: number): number {
  const high = (b[at]! << 8) | b[at + 1]!;
  const low = ((b[at + 2]! << 24) | (b[at + 3]! << 16) | (b[at + 4]! << 8) | b[at + 5]!) >>> 0;
  return high * 0x1_0000_0000 + low;
}
