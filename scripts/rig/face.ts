/** What a run looks like while it lasts: a state in, lines out. */
import type { LinkState, NetDevice } from '../../drivers/netdev.ts';
import { labelled } from '../terminal/print.ts';
import { dim, padEnd, paint } from '../terminal/style.ts';
import { bits, count, packets, si } from '../terminal/units.ts';
import { linkText, type Reading, rateText } from './report.ts';
import type { Drop } from './roles.ts';

export interface FaceState {
  /** Seconds since the run started. */
  readonly elapsed: number;
  /** The card and its driver. */
  readonly name: string;
  readonly about: string;
  readonly link: LinkState;
  readonly rates: Reading;
  readonly rings: NetDevice['rings'];
  /** Those there were. */
  readonly drops: readonly Drop[];
  /** What the card is joined to, and what there is to say of that. */
  readonly joined: readonly [label: string, text: string];
  /** How much is told unasked; null where there are no keys. */
  readonly verbosity: string | null;
}

const BAR = 16; // columns
const PARTS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'] as const;
/** Columns of "999 kpps  1.23 Gbit/s", and of what stands before them in the row below. */
const RATE_COLUMNS = 26;

/** The live lines of a terminal. */
export function faceLines(state: FaceState): string[] {
  const { elapsed, name, about, link, rates, rings, drops, joined, verbosity } = state;
  const light = link.up ? paint('green', '●') : paint('red', '●');
  const lines = [
    labelled(name, `${about}  ${dim(`${elapsed.toFixed(0)} s`)}`),
    labelled('link', `${light} ${linkText(link)}`),
    labelled('rx', rateRow(rates.rxPackets, rates.rxBytes, rxBar(rings.rx), 'ready')),
    labelled('tx', rateRow(rates.txPackets, rates.txBytes, txBar(rings.tx), 'in use')),
    labelled('drops', `${padEnd(dropText(drops), RATE_COLUMNS)}${dim('interrupts')} ${si(rates.interrupts, '/s')}`),
    labelled(...joined),
  ];
  if (verbosity !== null) lines.push(labelled('keys', keyText(verbosity)));
  return lines;
}

/** The same on one line, without a terminal. */
export function faceLine({ elapsed, link, rates, rings, drops }: FaceState): string {
  const seconds = `${elapsed.toFixed(0).padStart(4)} s`;
  const fill = `rings rx ${fillText(rings.rx)} tx ${fillText(rings.tx)}`;
  const lost = drops.length === 0 ? 'no drops' : `dropped: ${dropText(drops)}`;
  return `${seconds}  ${rateText(rates)} · ${fill} · ${lost} · link ${link.up ? link.speed : 'down'}`;
}

/** "3 kernel busy, 12 no room on the card" */
export function dropText(drops: readonly Drop[]): string {
  if (drops.length === 0) return 'none';
  return drops.map(([what, frames]) => paint('yellow', `${count(frames)} ${what}`)).join(', ');
}

function rateRow(perSecond: number, octets: number, [bar, fill]: readonly [string, string], what: string): string {
  const rate = `${padEnd(packets(perSecond), 10)} ${bits(octets * 8)}`;
  return `${padEnd(rate, RATE_COLUMNS)}${dim('ring')} ${bar} ${fill} ${dim(what)}`;
}

interface Fill {
  readonly size: number;
  readonly used: number;
}

/** Buffers for what arrives: nearly all, unless the pool ran dry. */
function rxBar(ring: Fill): readonly [string, string] {
  return [paint(ring.used * 4 < ring.size ? 'red' : 'green', bar(ring)), fillText(ring)];
}

/** What waits to leave: little, unless the wire is the slower one. */
function txBar(ring: Fill): readonly [string, string] {
  return [paint(ring.used * 4 > ring.size * 3 ? 'yellow' : 'cyan', bar(ring)), fillText(ring)];
}

const fillText = ({ used, size }: Fill) => `${used}/${size}`;

/** To an eighth of a column; what is not nothing is seen, and what is not all does not look it. */
function bar({ used, size }: Fill): string {
  const all = BAR * PARTS.length;
  const exact = size === 0 ? 0 : (Math.min(used, size) / size) * all;
  const eighths = exact < 1 ? Math.ceil(exact) : Math.floor(exact);
  const full = '█'.repeat(eighths >> 3);
  return `${full}${PARTS[eighths & 7]}`.padEnd(BAR, '·');
}

const keyText = (verbosity: string) =>
  ['d link', 's statistics', 'r reset', `v verbosity: ${verbosity}`, 'h help', 'q quit']
    .map((key) => `${paint('cyan', key.slice(0, 1))}${dim(key.slice(1))}`)
    .join('  ');
