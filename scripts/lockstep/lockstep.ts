/** Two cards, one script: the first difference that nobody knew of. */
import { hex, type RegisterMap } from '../../sim/registers.ts';
import type { KnownDifference, Lockstep, Observation, Side, Step } from './step.ts';

export interface Difference {
  /** The step's place in the script. */
  readonly step: number;
  readonly what: string;
  /** What each of the two showed, fields decoded. */
  readonly values: readonly [string, string];
  /** The steps before it, and it: the oldest first. */
  readonly steps: readonly string[];
}

export interface Outcome {
  readonly steps: number;
  /** Values compared. */
  readonly compared: number;
  /** Known differences that were met, and how often. */
  readonly known: readonly { readonly difference: KnownDifference; readonly count: number }[];
  readonly difference: Difference | null;
}

export interface LockstepOptions {
  /** The family's, if absent. */
  readonly known?: readonly KnownDifference[];
  readonly signal?: AbortSignal;
}

const STEPS_TOLD = 12;

/** @throws DeviceError where one of the two comes to its end. */
export async function lockstep(
  family: Lockstep,
  [first, second]: readonly [Side, Side],
  map: RegisterMap,
  script: readonly Step[],
  { known = family.known, signal }: LockstepOptions = {},
): Promise<Outcome> {
  const [one, two] = [family.player(first, map), family.player(second, map)];
  const counts = new Map<KnownDifference, number>();
  let compared = 0;
  for (const [index, step] of script.entries()) {
    if (signal?.aborted) return outcome(index, null);
    const seen = [await one.play(step), await two.play(step)] as const;
    for (const { failure } of [first, second]) if (failure !== null) throw failure;
    const most = Math.max(seen[0].length, seen[1].length);
    for (let i = 0; i < most; i++) {
      compared++;
      const pair = [seen[0][i], seen[1][i]] as const;
      const unknown = judge(pair, known, counts);
      if (unknown === null) continue;
      const steps = script.slice(Math.max(0, index + 1 - STEPS_TOLD), index + 1).map((it) => stepText(it, map));
      return outcome(index, { step: index, what: unknown, values: [text(pair[0], map), text(pair[1], map)], steps });
    }
  }
  return outcome(script.length, null);

  function outcome(steps: number, difference: Difference | null): Outcome {
    const met = [...counts].map(([it, count]) => ({ difference: it, count }));
    return { steps, compared, known: met, difference };
  }
}

/** What differs beyond what is known; null where nothing does. */
function judge(
  [a, b]: readonly [Observation | undefined, Observation | undefined],
  known: readonly KnownDifference[],
  counts: Map<KnownDifference, number>,
): string | null {
  const what = (a ?? b)!.what;
  if (a !== undefined && b !== undefined && a.what === b.what && a.value === b.value) return null;
  const numbers = typeof a?.value === 'number' && typeof b?.value === 'number' && a.what === b.what;
  let bits = numbers ? ((a.value as number) ^ (b.value as number)) >>> 0 : 0xffffffff;
  for (const entry of known) {
    const { mask = 0xffffffff, shows } = entry;
    if ((bits & mask) === 0 || !entry.what.test(what)) continue;
    if (shows !== undefined && a?.value !== shows && b?.value !== shows) continue;
    counts.set(entry, (counts.get(entry) ?? 0) + 1);
    bits = (bits & ~mask) >>> 0;
    if (bits === 0) return null;
  }
  return what;
}

function text(seen: Observation | undefined, map: RegisterMap): string {
  if (seen === undefined) return 'nothing';
  if (typeof seen.value === 'string') return seen.value;
  const fields = seen.at === undefined ? '' : map.decode(seen.at, seen.value);
  return `${hex(seen.value, 8)}${fields && ` ${fields}`}`;
}

export function stepText(step: Step, map: RegisterMap): string {
  switch (step.does) {
    case 'read':
      return `read ${map.nameAt(step.at)}`;
    case 'write': {
      const fields = map.decode(step.at, step.value);
      return `write ${map.nameAt(step.at)} ${hex(step.value, 8)}${fields && ` ${fields}`}`;
    }
    case 'nvm':
      return `read NVM word ${step.word}`;
    case 'phy':
      return `read PHY register ${step.register}`;
    case 'set up':
      return 'set up rings, receiver and transmitter';
    case 'transmit':
      return `transmit ${step.frame.length} bytes${step.offload === 'none' ? '' : ` (${step.offload})`}`;
    case 'receive':
      return `receive ${step.frame.length} bytes`;
    case 'pass':
      return `let ${step.ms} ms pass`;
  }
}
