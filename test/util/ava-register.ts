/** The netdev spec's tests as AVA's; what is skipped has its reason in the title, as AVA has no other place for it. */
import test from 'ava';
import type { Register } from '../spec/netdev.ts';

export function avaRegister(title: string): Register {
  return (name, body, skip) => {
    if (skip !== undefined) test.skip(`${title}: ${name} (${skip})`, (t) => t.pass());
    else
      test(`${title}: ${name}`, async (t) => {
        await t.notThrowsAsync(body);
      });
  };
}
