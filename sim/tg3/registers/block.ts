/** How the chip's tables are written: by the blocks of the programmer's guides. */
import type { Row } from '../../registers.ts';

type BlockRow = Omit<Row, 'section'>;

/** The rows of one block: its name is their section, and `same` is what they have in common. */
export function block<const T extends Readonly<Record<string, BlockRow>>>(
  section: string,
  rows: T,
  same: Partial<BlockRow> = {},
): { readonly [K in keyof T]: T[K] & { readonly section: string } } {
  const entries = Object.entries(rows).map(([name, row]) => [name, { ...same, ...row, section }]);
  return Object.fromEntries(entries) as { readonly [K in keyof T]: T[K] & { readonly section: string } };
}

/** What the chip counts by itself; reading clears it. */
export const counter = (at: number, title: string) => ({ at, access: 'RC', title, live: true }) as const;
