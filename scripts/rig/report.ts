/** What cards and wire have to say for themselves: for start logs, live lines, summaries and JSON. */
import type { LinkState } from '../../drivers/netdev.ts';
import { macText } from '../../drivers/station-address.ts';
import type { Link } from '../../sim/wire/link.ts';
import { Failure, lineOf } from '../errors.ts';
import { featureNames } from '../options.ts';
import { table } from '../terminal/table.ts';
import { bits, count, packets } from '../terminal/units.ts';
import type { Card } from './card.ts';
import type { Setup } from './rig.ts';
import type { Drop, Role } from './roles.ts';

export function linkText({ up, speed, fullDuplex, rxPause, txPause }: LinkState): string {
  if (!up) return 'down';
  const pause = rxPause && txPause ? 'both ways' : rxPause ? 'receive' : txPause ? 'transmit' : 'none';
  return `up, ${speed} Mbit/s, ${fullDuplex ? 'full' : 'half'} duplex, pause ${pause}`;
}

export function cardText({ name, device, driver }: Card): string {
  const id = [device.id.vendor, device.id.device].map((part) => part.toString(16).padStart(4, '0')).join(':');
  const { rx, tx } = driver.rings;
  return `${name}: ${driver.model} (${id}), MAC ${macText(driver.mac)}, rings rx ${rx.size} tx ${tx.size}, MTU ${driver.mtu}`;
}

export function featureText({ driver }: Card): string {
  const { available, enabled } = driver.features;
  const off = featureNames(available & ~enabled);
  return `${featureNames(enabled).join(' ') || 'none'}${off.length > 0 ? ` (off: ${off.join(' ')})` : ''}`;
}

/** Frames the card or its driver lost. */
export function cardDrops({ driver }: Card): number {
  const { rxErrors, txErrors, rxMissed } = driver.statistics();
  return rxErrors + txErrors + rxMissed;
}

/** The same with the names of what was lost, and with what the card is joined to: only those there are. */
export function namedDrops({ driver }: Card, role: Role): Drop[] {
  const { rxErrors, txErrors, rxMissed } = driver.statistics();
  const all: Drop[] = [
    ['no room on the card', rxMissed],
    ['receive errors', rxErrors],
    ['transmit errors', txErrors],
    ...role.drops(),
  ];
  return all.filter(([, frames]) => frames > 0);
}

const RATES = ['rxPackets', 'txPackets', 'rxBytes', 'txBytes', 'interrupts'] as const;
export type Reading = Readonly<Record<(typeof RATES)[number], number>>;

/** Rates between looks at a card. */
export class Rates {
  readonly #card: Card;
  readonly #window: number;
  /** The looks that still count: when, in seconds, and what had been counted then. */
  #looks: { readonly at: number; readonly counts: Reading }[];

  /** @param window seconds that a rate is taken over; by default from one look to the next. */
  constructor(card: Card, window = 0) {
    this.#card = card;
    this.#window = window;
    this.#looks = [{ at: 0, counts: card.driver.statistics() }];
  }

  /** @param interval seconds since the last time. */
  next(interval: number): Reading {
    const last = this.#looks.at(-1)!;
    const look = { at: last.at + interval, counts: this.#card.driver.statistics() };
    // Counts that went down began anew in between.
    if (RATES.some((name) => look.counts[name] < last.counts[name])) this.#looks = [{ at: last.at, counts: NOTHING }];
    this.#looks.push(look);
    while (this.#looks.length > 2 && look.at - this.#looks[1]!.at >= this.#window) this.#looks.shift();
    const { at, counts } = this.#looks[0]!;
    const per = (name: keyof Reading) => Math.max(0, look.counts[name] - counts[name]) / (look.at - at);
    return {
      rxPackets: per('rxPackets'),
      txPackets: per('txPackets'),
      rxBytes: per('rxBytes'),
      txBytes: per('txBytes'),
      interrupts: per('interrupts'),
    };
  }

  text(interval: number): string {
    return rateText(this.next(interval));
  }
}

const NOTHING: Reading = { rxPackets: 0, txPackets: 0, rxBytes: 0, txBytes: 0, interrupts: 0 };

/** "rx 812 kpps 9.8 Gbit/s · tx …" */
export function rateText({ rxPackets, rxBytes, txPackets, txBytes }: Reading): string {
  return `rx ${packets(rxPackets)} ${bits(rxBytes * 8)} · tx ${packets(txPackets)} ${bits(txBytes * 8)}`;
}

export function cardJson(card: Card, role: Role | null) {
  const { name, device, driver } = card;
  return {
    name,
    target: device.name,
    model: driver.model,
    mac: macText(driver.mac),
    mtu: driver.mtu,
    link: driver.link,
    features: featureNames(driver.features.enabled),
    rings: { rx: driver.rings.rx.size, tx: driver.rings.tx.size },
    statistics: driver.statistics(),
    ...(role && { role: role.kind, joined: role.statistics() }),
  };
}

export function wireJson(link: Link) {
  return { forward: { ...link.counters('forward') }, backward: { ...link.counters('backward') } };
}

/** One column a card. */
export function summaryTable(cards: readonly Card[], roles: readonly (Role | null)[]): string {
  const statistics = cards.map(({ driver }) => driver.statistics());
  const row = (label: string, cell: (i: number) => number) => [label, ...cards.map((_, i) => count(cell(i)))];
  return table([
    ['', ...cards.map(({ name }) => name)],
    row('frames sent', (i) => statistics[i]!.txPackets),
    row('frames received', (i) => statistics[i]!.rxPackets),
    row('bytes sent', (i) => statistics[i]!.txBytes),
    row('bytes received', (i) => statistics[i]!.rxBytes),
    row('dropped, no room on the card', (i) => statistics[i]!.rxMissed),
    row('errors', (i) => statistics[i]!.rxErrors + statistics[i]!.txErrors),
    row('dropped between driver and host', (i) => roles[i]?.dropped ?? 0),
    row('interrupts', (i) => statistics[i]!.interrupts),
    row('resets after a hang', (i) => statistics[i]!.resets),
  ]);
}

/** Throws where something is missing in the capture or the trace: said last, once everything else was. */
export function checkFiles({ capture, trace }: Pick<Setup, 'capture' | 'trace'>): void {
  if (capture?.error) throw new Failure(`capture ${capture.path} is not complete: ${lineOf(capture.error)}`);
  if (trace?.error) throw new Failure(`trace ${trace.path} is not complete: ${lineOf(trace.error)}`);
}
