import { existsSync, readFileSync } from 'node:fs';
import test from 'ava';
import { MODELS } from '../../scripts/catalogue.ts';
import { I82540EM } from '../../sim/e1000/registers.ts';
import type { RegisterMap } from '../../sim/registers.ts';
import { BCM57XX } from '../../sim/tg3/registers.ts';

/** A page, without the padding that aligns its tables. */
function page(name: string): string {
  return readFileSync(new URL(`../../../docs/${name}`, import.meta.url), 'utf8').replace(/ +\|/g, ' |');
}

/** One line for each reason, in the order of the registers. */
function lacking({ rows }: RegisterMap): string[] {
  const reasons = new Map<string, string[]>();
  for (const { name, modelled } of rows) {
    if (modelled === undefined) continue;
    const reason = `${modelled.when} | ${modelled.why}`;
    reasons.set(reason, [...(reasons.get(reason) ?? []), name]);
  }
  return [...reasons].map(([reason, names]) => `| ${names.join(', ')} | ${reason} |`);
}

for (const [chip, name, map] of [
  ['82540EM', '82540em.md', I82540EM],
  ['BCM57xx', 'bcm57xx.md', BCM57XX],
] as const) {
  test(`what the ${chip} lacks is in its page, row by row`, (t) => {
    const text = page(name);
    for (const line of lacking(map)) t.true(text.includes(`\n${line}\n`), line);
  });

  test(`every line of the ${chip} page's table is still true`, (t) => {
    const table = page(name).split('## What is missing')[1]!.split('\n\n')[2]!;
    t.deepEqual(table.trim().split('\n').slice(2), lacking(map));
  });
}

test("Linux's own driver is tried on every model", (t) => {
  for (const { name } of MODELS)
    t.true(existsSync(new URL(`../guest/conformance-${name}.test.js`, import.meta.url)), `conforms('${name}')`);
});
