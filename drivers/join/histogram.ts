/**
 * A histogram of times: linear within each power of two, so that every value is kept to within 1/64 of itself, from one
 * nanosecond to 2^53, in 3,136 counters made once.
 */
const SUB_BITS = 6;
const SUB = 1 << SUB_BITS;
const EXPONENTS = 53 - SUB_BITS + 2;
const HIGH = 0x100000000;

export class Histogram {
  readonly #counts = new Float64Array(EXPONENTS * SUB); // counts beyond 2^32 stay exact
  count = 0;
  min = Infinity;
  max = 0;
  #sum = 0;

  /** @param value at least 0; fractions are cut off, and what is no time at all counts as 0. */
  record(value: number): void {
    if (!(value >= 1)) value = 0;
    this.#counts[bucketOf(value)]!++;
    this.count++;
    this.#sum += value;
    if (value < this.min) this.min = value;
    if (value > this.max) this.max = value;
  }

  get mean(): number {
    return this.count === 0 ? 0 : this.#sum / this.count;
  }

  /**
   * The least value that `percent` of all are not above; rounded up to the end of its bucket, but never beyond the
   * greatest recorded. 0 where nothing was.
   */
  percentile(percent: number): number {
    const rank = Math.max(1, Math.ceil((percent / 100) * this.count));
    let seen = 0;
    for (let i = 0; i < this.#counts.length && this.count > 0; i++) {
      seen += this.#counts[i]!;
      if (seen >= rank) return Math.min(endOf(i), this.max);
    }
    return this.max;
  }

  add(other: Histogram): void {
    for (let i = 0; i < this.#counts.length; i++) this.#counts[i]! += other.#counts[i]!;
    this.count += other.count;
    this.#sum += other.#sum;
    this.min = Math.min(this.min, other.min);
    this.max = Math.max(this.max, other.max);
  }

  reset(): void {
    this.#counts.fill(0);
    this.count = 0;
    this.#sum = 0;
    this.min = Infinity;
    this.max = 0;
  }

  toJSON() {
    const { count, mean, max } = this;
    const at = (percent: number) => this.percentile(percent);
    return { count, min: count ? this.min : 0, mean, p50: at(50), p99: at(99), 'p99.99': at(99.99), max };
  }
}

/** Values below 2·SUB have a bucket each; above, the leading SUB_BITS + 1 bits choose it. */
function bucketOf(value: number): number {
  if (value < 2 * SUB) return value | 0;
  const high = value >= HIGH;
  const bits = high ? 64 - Math.clz32(value / HIGH) : 32 - Math.clz32(value);
  const shift = bits - SUB_BITS - 1;
  const lead = high ? Math.floor(value / 2 ** shift) : value >>> shift;
  return Math.min(shift, EXPONENTS - 2) * SUB + lead;
}

function endOf(bucket: number): number {
  if (bucket < 2 * SUB) return bucket;
  const shift = Math.floor(bucket / SUB) - 1;
  return ((bucket % SUB) + SUB + 1) * 2 ** shift - 1;
}
