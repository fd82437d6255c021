/** Processes as Linux tells of them in /proc (proc(5)); elsewhere there are none. */
import { readdirSync, readFileSync } from 'node:fs';

export interface Process {
  readonly pid: number;
  readonly parent: number;
  /** Clock ticks since the machine booted. */
  readonly start: string;
  /** Seconds of processor that it has used, and those of its children that it has waited for. */
  readonly used: number;
}

/** Of a second; the same on every machine (USER_HZ). */
const TICKS = 100;

/** Null where there is none, or it has ended and nobody has waited for it. */
export function processOf(pid: number | string): Process | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may hold anything, so fields count from behind it.
    const [state, parent, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === 'Z') return null;
    const used = fields.slice(9, 13).reduce((sum, ticks) => sum + Number(ticks), 0) / TICKS;
    return { pid: Number(pid), parent: Number(parent), start: fields[17]!, used };
  } catch {
    return null;
  }
}

/** A process and its descendants, the older generation first. */
export function familyOf(pid: number): Process[] {
  const children = new Map<number, Process[]>();
  for (const name of processNames()) {
    const process = processOf(name);
    if (process === null) continue;
    const siblings = children.get(process.parent);
    if (siblings) siblings.push(process);
    else children.set(process.parent, [process]);
  }
  const first = processOf(pid);
  const family = first ? [first] : [];
  for (const { pid } of family) family.push(...(children.get(pid) ?? [])); // it grows as we go
  return family;
}

function processNames(): string[] {
  try {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
}
