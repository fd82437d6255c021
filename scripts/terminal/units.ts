/** Numbers as people read them. */

const STEPS = [
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
] as const;

/** Three digits and a prefix: 1.23 M, 45.6 k, 789. */
export function si(value: number, unit = ''): string {
  const [divisor, prefix] = STEPS.find(([step]) => value >= step * 0.9995) ?? [1, ''];
  const scaled = value / divisor;
  const digits = scaled >= 99.95 || (divisor === 1 && Number.isInteger(scaled)) ? 0 : scaled >= 9.995 ? 1 : 2;
  return `${scaled.toFixed(digits)} ${prefix}${unit}`.trimEnd();
}

export const bits = (bitsPerSecond: number) => si(bitsPerSecond, 'bit/s');
export const packets = (perSecond: number) => si(perSecond, 'pps');

export function bytes(count: number): string {
  if (count < 1024) return `${count} B`;
  if (count < 1024 * 1024) return `${(count / 1024).toFixed(1)} KiB`;
  return `${(count / 1024 / 1024).toFixed(1)} MiB`;
}

/** Nanoseconds, to three digits. */
export function time(ns: number): string {
  if (ns < 1e3) return `${Math.round(ns)} ns`;
  if (ns < 1e6) return `${(ns / 1e3).toPrecision(3)} µs`;
  if (ns < 1e9) return `${(ns / 1e6).toPrecision(3)} ms`;
  return `${(ns / 1e9).toFixed(1)} s`;
}

/** 12,345,678 */
export const count = (value: number) => Math.round(value).toLocaleString('en-US');
