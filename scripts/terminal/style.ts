/** Colours, on a terminal and where NO_COLOR (no-color.org) does not forbid them. */
type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

const CODES: Record<Style, readonly [on: number, off: number]> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
};

export const coloured = Boolean(process.stdout.isTTY) && !process.env.NO_COLOR && process.env.TERM !== 'dumb';

export function paint(style: Style, text: string): string {
  const [on, off] = CODES[style];
  return coloured ? `\x1b[${on}m${text}\x1b[${off}m` : text;
}

export const bold = (text: string) => paint('bold', text);
export const dim = (text: string) => paint('dim', text);

// biome-ignore lint/suspicious/noControlCharactersInRegex: it is one that is looked for
const SEQUENCES = /\x1b\[[0-9;]*m/g;

// biome-ignore lint/suspicious/noControlCharactersInRegex: likewise; those between are kept
const PARTS = /(\x1b\[[0-9;]*m)/;

/** Columns that a text takes. */
export function widthOf(text: string): number {
  return [...text.replace(SEQUENCES, '')].length;
}

export function padEnd(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - widthOf(text)));
}

export function padStart(text: string, width: number): string {
  return ' '.repeat(Math.max(0, width - widthOf(text))) + text;
}

/** As much of a text as fits, its colours whole; what was begun is ended. */
export function clip(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let room = width;
  let clipped = '';
  for (const part of text.split(PARTS)) {
    const visible = part.startsWith('\x1b') ? part : [...part].slice(0, room).join('');
    room -= widthOf(visible);
    clipped += visible;
  }
  return clipped;
}
