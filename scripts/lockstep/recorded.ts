/** A script from a trace (`fauxnic drive … --trace FILE`): its register accesses, and the time between them. */
import { readFileSync } from 'node:fs';
import type { RegisterMap } from '../../sim/registers.ts';
import { UsageError } from '../errors.ts';
import type { Step } from './script.ts';

const ACCESS = /^([\d.]+) (\S+) (read|write) +([A-Z]\w*)(?:\[(\d+)\])? (0x[\da-f]+)/;
const PAUSE_LEAST = 0.01; // milliseconds

/** Of the first card in the trace. */
export function recordedScript(path: string, map: RegisterMap): Step[] {
  const steps: Step[] = [];
  let card: string | undefined;
  let before = 0;
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    const [, seconds, name, kind, register, index = '0', value] = ACCESS.exec(line) ?? [];
    const row = map.rows.find((it) => it.name === register);
    if (row === undefined) continue;
    card ??= name;
    if (name !== card) continue;
    const ms = (Number(seconds) - before) * 1000;
    if (ms >= PAUSE_LEAST) steps.push({ does: 'pass', ms });
    before = Number(seconds);
    const at = row.at + Number(index) * (row.stride ?? 4);
    steps.push(kind === 'read' ? { does: 'read', at } : { does: 'write', at, value: Number(value) });
  }
  if (steps.length === 0) throw new UsageError(`${path}: no register access in it: record one with drive --trace`);
  return steps;
}
