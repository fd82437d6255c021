/** A shell's lines: JavaScript in a context of its own, with the card's names in it. */
import { Recoverable } from 'node:repl';
import { inspect } from 'node:util';
import { type Context, createContext, runInContext } from 'node:vm';
import { Failure, lineOf } from '../errors.ts';
import { coloured } from '../terminal/style.ts';

/**
 * What the lines of a script come to, one by one as they are asked for; until the signal, which no line holds up that
 * waits for something.
 * @throws Failure at the first that fails; with its number.
 */
export async function* script(
  lines: AsyncIterable<string>,
  names: PropertyDescriptorMap,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const context = createContext(Object.defineProperties({ console, Buffer, setTimeout, clearTimeout }, names));
  const stopped = new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  let code = '';
  let number = 0;
  for await (const line of lines) {
    number++;
    code += `${line}\n`;
    let result: unknown;
    try {
      result = await Promise.race([evaluate(code, context), stopped]);
    } catch (error) {
      if (error instanceof Recoverable) continue;
      throw new Failure(`line ${number}: ${lineOf(error)}`);
    }
    if (signal.aborted) return;
    code = '';
    if (result !== undefined) yield shown(result, number);
  }
  if (code !== '') throw new Failure(`line ${number}: the input ends in the middle of what it says`);
}

/** A register is read only here. */
function shown(result: unknown, number: number): string {
  try {
    return show(result);
  } catch (error) {
    throw new Failure(`line ${number}: ${lineOf(error)}`);
  }
}

/** Completed by another line. */
const UNFINISHED = /^(Unexpected end of input|Unterminated template literal)/;

/** What a line comes to; a promise is waited for. @throws Recoverable where the line is not complete. */
export async function evaluate(line: string, context: Context): Promise<unknown> {
  const code = line.replace(
    /(\w+)\[(\d+)\.\.(\d+)\]/g,
    (_, name, from, to) => `${name}.slice(${from}, ${Number(to) + 1})`,
  );
  try {
    return (await runInContext(awaiting(code), context, { filename: 'shell', breakOnSigint: true })) as unknown;
  } catch (error) {
    const { name, message } = error as Error; // of the context's own Error
    if (name === 'SyntaxError' && UNFINISHED.test(message)) throw new Recoverable(error as SyntaxError);
    throw error;
  }
}

/** A script knows no await: a line with one is an async function's, and what it declares a global. */
function awaiting(code: string): string {
  if (!/\bawait\b/.test(code)) return code;
  const expression = code.replace(/^\s*(const|let|var)\s+/, '').replace(/;?\s*$/, '');
  return `(async () => (${expression}))()`;
}

/** Numbers as people look for bits in them. */
export function show(value: unknown): string {
  if (typeof value === 'number' && Number.isInteger(value) && value > 9) return `0x${value.toString(16)} (${value})`;
  return inspect(value, { colors: coloured, getters: false });
}
