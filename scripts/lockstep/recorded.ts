/** A script from a trace (`fauxnic drive … --trace FILE`): its register accesses, and the time between them. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import type { RegisterMap } from '../../sim/registers.ts';
import { UsageError } from '../errors.ts';
import { PATIENCE } from '../rig/output-file.ts';
import { pause } from '../rig/pause.ts';
import type { Access, Lockstep, Step } from './step.ts';

const LINE = /^(\d{1,9}\.\d+) (\S+) (.+)$/;
const ACCESS = /^(read|write) +(\w+)(?:\[(\d+)\])? (0x[\da-f]{1,8})(?: |$)/i;
const PAUSE_LEAST = 0.01; // milliseconds
/** Nothing that a card does by itself takes longer. */
const PAUSE_MOST = 10_000;
const CHUNK = 64 * 1024;
const LARGEST = 256 * 2 ** 20; // bytes: no trace that is played back has more
const QUOTED = 60; // characters of a line that is none

/**
 * Of the first card in the trace. The family leaves out doorbells: a trace has no memory, and a ring whose descriptors
 * nobody wrote would lead each of two cards somewhere else. What a driver asks the NVM or the PHY, and polls for, is one
 * step: how often it has to look is the card's. Nor is configuration space played: each of the two has its own.
 */
export function recordedScript(path: string, map: RegisterMap, lockstep: Lockstep): Step[] {
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
    const step = lockstep.recorded(access(what, map, where));
    const ms = (Number(seconds) - before) * 1000;
    if (ms < 0) throw new UsageError(`${where} is earlier than the line before: ${quoted(line)}`);
    before = Number(seconds);
    if (step === null) continue;
    if (ms >= PAUSE_LEAST) steps.push({ does: 'pass', ms: Math.min(ms, PAUSE_MOST) });
    steps.push(step);
  }
  if (steps.length === 0)
    throw new UsageError(`--script ${path} has no register access: record one with fauxnic drive … --trace FILE`);
  return steps;
}

/** Of a file, or of a pipe such as a shell's <(…), which is waited for while something comes. */
function textOf(path: string): string {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      return readWhole(fd).toString();
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'there is no such file' : code === 'EISDIR' ? 'it is a folder' : (code ?? message);
    throw new UsageError(`--script ${path}: ${why}`);
  }
}

function readWhole(fd: number): Buffer {
  const pipe = fstatSync(fd).isFIFO();
  const parts: Buffer[] = [];
  let bytes = 0;
  for (let waited = 0; ; ) {
    const part = Buffer.alloc(CHUNK);
    const length = readSome(fd, part);
    // Of a pipe nothing at first means that nobody writes yet, at last that he has gone.
    if (length === 0 && (!pipe || bytes > 0)) return Buffer.concat(parts);
    if (length > 0) waited = 0;
    else if (waited >= PATIENCE) throw new Error(`nothing has come for ${PATIENCE / 1000} s`);
    else waited += pause();
    if (length > 0) parts.push(part.subarray(0, length));
    bytes += Math.max(0, length);
    if (bytes > LARGEST) throw new Error(`it has more than ${LARGEST / 2 ** 20} MiB`);
  }
}

/** -1 where something may come later. */
function readSome(fd: number, into: Buffer): number {
  try {
    return readSync(fd, into);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return -1;
    throw error;
  }
}

/** A register is called by its name, or where it has none by its offset. */
function access(text: string, map: RegisterMap, where: string): Access {
  const [, kind, register, index = '0', value] = ACCESS.exec(text) ?? [];
  if (register === undefined) throw new UsageError(`${where} is no register access: ${quoted(text)}`);
  const row = map.rows.find(({ name }) => name === register);
  const at = row ? (row.offsets[Number(index)] ?? -1) : /^0x[\da-f]{1,5}$/i.test(register) ? Number(register) : -1;
  if (at < 0 || at % 4 !== 0)
    throw new UsageError(`${where}: there is no register ${quoted(text.slice(kind!.length).trim().split(' ')[0]!)}`);
  return kind!.toLowerCase() === 'read' ? { does: 'read', at } : { does: 'write', at, value: Number(value) };
}

const quoted = (text: string) => JSON.stringify(text.length > QUOTED ? `${text.slice(0, QUOTED)}…` : text);
