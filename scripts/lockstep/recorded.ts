/** A script from a trace (`fauxnic drive … --trace FILE`): its register accesses, and the time between them. */
import { readFileSync } from 'node:fs';
import { I82540EM } from '../../sim/e1000/registers.ts';
import type { RegisterMap } from '../../sim/registers.ts';
import { UsageError } from '../errors.ts';
import type { Step } from './script.ts';

const { EERD, MDIC, RDT, TDT } = I82540EM.r;
const MDIC_OPERATION = 3 << 26; // 13.4.7
const MDIC_READ = 2 << 26;
const LINE = /^(\d{1,9}\.\d+) (\S+) (.+)$/;
const ACCESS = /^(read|write) +(\w+)(?:\[(\d+)\])? (0x[\da-f]{1,8})(?: |$)/i;
const PAUSE_LEAST = 0.01; // milliseconds
/** Nothing that a card does by itself takes longer. */
const PAUSE_MOST = 10_000;
const QUOTED = 60; // characters of a line that is none

/**
 * Of the first card in the trace. Doorbells are left out: a trace has no memory, and a ring whose descriptors nobody
 * wrote would lead each of two cards somewhere else. What a driver asks the NVM or the PHY, and polls for, is one step:
 * how often it has to look is the card's. Nor is configuration space played: each of the two has its own.
 */
export function recordedScript(path: string, map: RegisterMap): Step[] {
  const steps: Step[] = [];
  let card: string | undefined;
  let before = 0;
  for (const [i, line] of textOf(path).split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const where = `--script ${path}, line ${i + 1}`;
    const [, seconds, name, what = ''] = LINE.exec(line) ?? [];
    if (seconds === undefined) throw new UsageError(`${where} is no line of a trace: ${quoted(line)}`);
    card ??= name;
    if (name !== card || !/^(read|write)\b(?! +config )/.test(what)) continue;
    const step = access(what, map, where);
    const ms = (Number(seconds) - before) * 1000;
    if (ms < 0) throw new UsageError(`${where} is earlier than the line before: ${quoted(line)}`);
    before = Number(seconds);
    if (isLeftOut(step)) continue;
    if (ms >= PAUSE_LEAST) steps.push({ does: 'pass', ms: Math.min(ms, PAUSE_MOST) });
    steps.push(asked(step));
  }
  if (steps.length === 0)
    throw new UsageError(`--script ${path} has no register access: record one with fauxnic drive … --trace FILE`);
  return steps;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'there is no such file' : code === 'EISDIR' ? 'it is a folder' : code;
    throw new UsageError(`--script ${path}: ${why}`);
  }
}

type Access = Extract<Step, { does: 'read' | 'write' }>;

/** A register is called by its name, or where it has none by its offset. */
function access(text: string, map: RegisterMap, where: string): Access {
  const [, kind, register, index = '0', value] = ACCESS.exec(text) ?? [];
  if (register === undefined) throw new UsageError(`${where} is no register access: ${quoted(text)}`);
  const row = map.rows.find(({ name }) => name === register);
  const at = row
    ? row.at + Number(index) * (row.stride ?? 4)
    : /^0x[\da-f]{1,5}$/i.test(register)
      ? Number(register)
      : -1;
  if (at < 0 || at % 4 !== 0 || (row && Number(index) >= (row.count ?? 1)))
    throw new UsageError(`${where}: there is no register ${quoted(text.slice(kind!.length).trim().split(' ')[0]!)}`);
  return kind!.toLowerCase() === 'read' ? { does: 'read', at } : { does: 'write', at, value: Number(value) };
}

function isLeftOut({ does, at }: Access): boolean {
  return does === 'write' ? at === RDT.at || at === TDT.at : at === EERD.at || at === MDIC.at;
}

function asked(step: Access): Step {
  if (step.does === 'read') return step;
  const { at, value } = step;
  if (at === EERD.at && (value & EERD.START) !== 0) return { does: 'nvm', word: (value >>> 8) & 0xff };
  if (at === MDIC.at && (value & MDIC_OPERATION) === MDIC_READ) return { does: 'phy', register: (value >>> 16) & 0x1f };
  return step;
}

const quoted = (text: string) => JSON.stringify(text.length > QUOTED ? `${text.slice(0, QUOTED)}…` : text);
