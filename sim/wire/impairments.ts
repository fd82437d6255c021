/** Gilbert-Elliott burst loss: a line that is now good, now bad, decided anew before each frame. */
export interface BurstLoss {
  /** Probability per frame of turning bad while good, and of turning good while bad. */
  readonly enter: number;
  readonly leave: number;
  /** Probability of losing a frame while good (0 unless told) and while bad (1 unless told). */
  readonly good?: number;
  readonly bad?: number;
}

/** What one direction of a wire does to its frames. Nothing, unless told. */
export interface Impairments {
  /** Nanoseconds from the last bit leaving to the last bit arriving. */
  readonly latency?: number;
  /** Bits per second; 0: no time passes for a frame. */
  readonly rate?: number;
  /** Nanoseconds: up to so many are added to the latency, evenly distributed. Frames do not overtake each other by it. */
  readonly jitter?: number;
  /** Probability of losing a frame. */
  readonly loss?: number;
  readonly burst?: BurstLoss;
  /** Probability of delivering a frame twice. */
  readonly duplicate?: number;
  /** Probability of holding a frame back until the next has overtaken it, but `reorderHold` ns at most (1 ms). */
  readonly reorder?: number;
  readonly reorderHold?: number;
  /** Probability of flipping bits of a frame, from 1 to `corruptBits` of them (1). */
  readonly corrupt?: number;
  readonly corruptBits?: number;
  /** Leave the frame check sequence right, as a broken switch does: only the upper layers' checksums can tell. */
  readonly corruptSilently?: boolean;
  /** Bytes the direction holds, in flight and waiting (4 MiB); a frame counts for 64 at least. */
  readonly capacity?: number;
  /** An integer of 32 bits that all chance follows from (1). */
  readonly seed?: number;
}

export type Faults = Required<Omit<Impairments, 'burst' | 'seed' | 'capacity'>> & { readonly burst: BurstLoss | null };

const PROBABILITY = [0, 1, 'a probability'] as const;
const NANOSECONDS = [0, 1e12, 'in nanoseconds'] as const;

/** Lowest, highest, and what it is. */
const RANGES: Record<string, readonly [number, number, string]> = {
  latency: NANOSECONDS,
  rate: [0, 1e12, 'in bits per second'],
  jitter: NANOSECONDS,
  loss: PROBABILITY,
  duplicate: PROBABILITY,
  reorder: PROBABILITY,
  reorderHold: NANOSECONDS,
  corrupt: PROBABILITY,
  corruptBits: [1, 64, 'a whole number'],
  capacity: [64, 2 ** 30, 'a whole number of bytes'],
  seed: [0, 0xffffffff, 'a whole number'],
};

/** Checks and completes. Throws a RangeError that names the option, its range and what was given. */
export function completeFaults(given: Impairments): Faults {
  for (const [name, value] of Object.entries(given)) checkOption(name, value);
  return {
    latency: given.latency ?? 0,
    rate: given.rate ?? 0,
    jitter: given.jitter ?? 0,
    loss: given.loss ?? 0,
    burst: given.burst ?? null,
    duplicate: given.duplicate ?? 0,
    reorder: given.reorder ?? 0,
    reorderHold: given.reorderHold ?? 1_000_000,
    corrupt: given.corrupt ?? 0,
    corruptBits: given.corruptBits ?? 1,
    corruptSilently: given.corruptSilently ?? false,
  };
}

/** Whether nothing is done to a frame and it arrives at the moment it is sent. */
export function isIdeal(f: Faults): boolean {
  return f.rate === 0 && f.latency + f.jitter + f.loss + f.duplicate + f.reorder + f.corrupt === 0 && f.burst === null;
}

function checkOption(name: string, value: unknown): void {
  if (value === undefined) return;
  if (name === 'corruptSilently') checkBoolean(name, value);
  else if (name === 'burst') checkBurst(value);
  else {
    const range = Object.hasOwn(RANGES, name) ? RANGES[name] : undefined;
    if (range === undefined) throw new RangeError(`${name} is no impairment of a wire`);
    checkRange(name, value, range);
  }
}

function checkRange(name: string, value: unknown, [low, high, what]: readonly [number, number, string]): void {
  const inside = typeof value === 'number' && value >= low && value <= high;
  if (!inside || (what.startsWith('a whole number') && !Number.isInteger(value))) {
    throw new RangeError(`${name} must be ${what} from ${low} to ${high}, not ${String(value)}`);
  }
}

function checkBoolean(name: string, value: unknown): void {
  if (typeof value !== 'boolean') throw new RangeError(`${name} must be true or false, not ${String(value)}`);
}

function checkBurst(value: unknown): void {
  if (typeof value !== 'object' || value === null) {
    throw new RangeError(`burst must be { enter, leave, good?, bad? }, not ${String(value)}`);
  }
  const burst = value as BurstLoss;
  checkRange('burst.enter', burst.enter, PROBABILITY);
  checkRange('burst.leave', burst.leave, PROBABILITY);
  if (burst.good !== undefined) checkRange('burst.good', burst.good, PROBABILITY);
  if (burst.bad !== undefined) checkRange('burst.bad', burst.bad, PROBABILITY);
}
