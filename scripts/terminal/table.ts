import { bold, padEnd, padStart, widthOf } from './style.ts';

/** Aligned columns; those that hold numbers only are set to the right. The first row is the head, where one is wanted. */
export function table(rows: readonly (readonly string[])[], { head = true, indent = 2 } = {}): string {
  const columns = Math.max(...rows.map((row) => row.length));
  const body = head ? rows.slice(1) : rows;
  const widths = Array.from({ length: columns }, (_, i) => Math.max(...rows.map((row) => widthOf(row[i] ?? ''))));
  const numeric = widths.map((_, i) => i > 0 && body.every((row) => /^-?[\d,]*(\.\d+)?$/.test(row[i] ?? '')));
  const line = (row: readonly string[], style: (text: string) => string) =>
    ' '.repeat(indent) +
    row
      .map((cell, i) => (numeric[i] ? padStart(style(cell), widths[i]!) : padEnd(style(cell), widths[i]!)))
      .join('  ')
      .trimEnd();
  return rows.map((row, i) => line(row, head && i === 0 ? bold : (text) => text)).join('\n');
}
