/** What a benchmark says. `ratio` is value ÷ yardstick, both measured in the same minute: only it travels between machines. */
export interface Result {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly yardstick: number;
  readonly ratio: number;
}

export function result(name: string, value: number, unit: string, yardstick: number): Result {
  return { name, value, unit, yardstick, ratio: value / yardstick };
}

/** The middle of several runs. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}
