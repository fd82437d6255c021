/** Base address registers as rows: PCI Local Bus Specification 3.0, 6.2.5.1. */
import { type Row, type Rows, ro } from '../registers.ts';

/** `size` is a power of two. A `wide` one takes the next index, too. */
export interface BarShape {
  readonly kind: 'memory' | 'io';
  readonly size: number;
  readonly wide?: boolean;
  readonly prefetchable?: boolean;
}

const BARS = 6;

/** All six from `at` on, by index; those that there are not read as zeros. */
export function barRows(name: string, at: number, section: string, bars: Readonly<Record<number, BarShape>>): Rows {
  const rows: Record<string, Row> = {};
  for (let index = 0; index < BARS; index++) {
    const bar = bars[index];
    const upper = bars[index - 1]?.wide === true;
    rows[`${name}_${index}`] = {
      at: at + 4 * index,
      section,
      title: bar === undefined ? (upper ? 'the high half' : 'none') : `${bar.kind}, ${bar.size} bytes`,
      ...(bar === undefined ? { access: upper ? 'RW' : 'RO' } : barBits(bar)),
    };
  }
  return rows;
}

function barBits({
  kind,
  size,
  wide = false,
  prefetchable = false,
}: BarShape): Pick<Row, 'access' | 'reset' | 'fields'> {
  const ADDRESS = [31, 31 - Math.clz32(size)] as const;
  if (kind === 'io') return { access: 'RW', reset: 1, fields: { IO: ro(0), ADDRESS } };
  const reset = (wide ? 4 : 0) | (prefetchable ? 8 : 0);
  return { access: 'RW', reset, fields: { IO: ro(0), TYPE: ro([2, 1]), PREFETCHABLE: ro(3), ADDRESS } };
}
