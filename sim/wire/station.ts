import {
  ABILITY_10_FULL,
  ABILITY_10_HALF,
  ABILITY_100_FULL,
  ABILITY_100_HALF,
  ABILITY_1000_FULL,
  ABILITY_1000_HALF,
  ABILITY_2500_FULL,
  ABILITY_5000_FULL,
  ABILITY_10000_FULL,
  ABILITY_ASYM_PAUSE,
  ABILITY_PAUSE,
  type Station,
} from './port.ts';

/** Fastest first. */
const SPEEDS: readonly (readonly [abilities: number, bitsPerSecond: number])[] = [
  [ABILITY_10000_FULL, 10e9],
  [ABILITY_5000_FULL, 5e9],
  [ABILITY_2500_FULL, 2.5e9],
  [ABILITY_1000_FULL | ABILITY_1000_HALF, 1e9],
  [ABILITY_100_FULL | ABILITY_100_HALF, 100e6],
  [ABILITY_10_FULL | ABILITY_10_HALF, 10e6],
];

/** Negotiates every speed up to 10 Gbit/s, and pause. */
export const ANY_STATION: Station = {
  abilities: SPEEDS.reduce((all, [abilities]) => all | abilities, ABILITY_PAUSE | ABILITY_ASYM_PAUSE),
  negotiates: true,
};

/** The highest speed both ends can do, in bits per second (802.3 Annex 28B.3); 0 where there is none. */
export function commonSpeed(a: Station | null, b: Station | null): number {
  const common = (a?.abilities ?? 0) & (b?.abilities ?? 0);
  return SPEEDS.find(([abilities]) => (abilities & common) !== 0)?.[1] ?? 0;
}
