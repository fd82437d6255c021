/**
 * npm run bench [-- NAME…] [--json]
 *
 * Each benchmark runs in a process of its own, one after another, next to its yardstick.
 */
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import type { Result } from './result.ts';

const BENCHMARKS = ['loop', 'kernels', 'gc', 'latency', 'tap', 'mmio', 'guest', 'tg3'] as const;

const { values, positionals } = parseArgs({ allowPositionals: true, options: { json: { type: 'boolean' } } });
const unknown = positionals.find((name) => !BENCHMARKS.some((known) => known === name));
if (unknown !== undefined) {
  console.error(`bench: no benchmark ${unknown}; there are ${BENCHMARKS.join(', ')}`);
  process.exit(2);
}

const results: Result[] = [];
for (const name of positionals.length > 0 ? positionals : BENCHMARKS) {
  if (!values.json) process.stderr.write(`${name} …\n`);
  results.push(...(await measure(name)));
}
if (values.json) console.log(JSON.stringify(results, null, 2));
else print(results);

async function measure(name: string): Promise<Result[]> {
  const run = fileURLToPath(new URL('run.js', import.meta.url));
  const { stdout } = await execa(process.execPath, [run, name], { stderr: 'inherit' });
  return JSON.parse(stdout) as Result[];
}

function print(rows: readonly Result[]): void {
  const number = (value: number) => value.toLocaleString('en', { maximumSignificantDigits: 4 });
  const table = [
    ['', 'measured', 'yardstick', 'ratio'],
    ...rows.map(({ name, value, unit, yardstick, ratio }) => [
      name,
      `${number(value)} ${unit}`,
      number(yardstick),
      ratio.toFixed(3),
    ]),
  ];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((row) => row[column]!.length)));
  for (const row of table) {
    console.log(row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  '));
  }
}
