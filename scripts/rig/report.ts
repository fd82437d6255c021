/** What cards and wire have to say for themselves: for start logs, live lines, summaries and JSON. */
import type { LinkState } from '../../drivers/netdev.ts';
import type { Link } from '../../sim/wire/link.ts';
import { Failure, lineOf } from '../errors.ts';
import { featureNames } from '../options.ts';
import { table } from '../terminal/table.ts';
import { bits, count, mac, packets } from '../terminal/units.ts';
import type { Card } from './card.ts';
import type { Setup } from './rig.ts';
import type { Role } from './roles.ts';

export function linkText({ up, speed, fullDuplex, rxPause, txPause }: LinkState): string {
  if (!up) return 'down';
  const pause = rxPause && txPause ? 'both ways' : rxPause ? 'receive' : txPause ? 'transmit' : 'none';
  return `up, ${speed} Mbit/s, ${fullDuplex ? 'full' : 'half'} duplex, pause ${pause}`;
}

export function cardText({ name, device, driver }: Card): string {
  const id = [device.id.vendor, device.id.device].map((part) => part.toString(16).padStart(4, '0')).join(':');
  const { rx, tx } = driver.rings;
  return `${name}: ${driver.model} (${id}), MAC ${mac(driver.mac)}, rings rx ${rx.size} tx ${tx.size}, MTU ${driver.mtu}`;
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

export interface Reading {
  readonly rxPackets: number;
  readonly txPackets: number;
  readonly rxBytes: number;
  readonly txBytes: number;
}

/** Rates between two looks at a card. */
export class Rates {
  readonly #card: Card;
  #last: Reading;

  constructor(card: Card) {
    this.#card = card;
    this.#last = card.driver.statistics();
  }

  /** @param interval seconds since the last time. */
  next(interval: number): Reading {
    const now = this.#card.driver.statistics();
    const last = this.#last;
    this.#last = now;
    const per = (name: keyof Reading) => Math.max(0, now[name] - last[name]) / interval;
    return {
      rxPackets: per('rxPackets'),
      txPackets: per('txPackets'),
      rxBytes: per('rxBytes'),
      txBytes: per('txBytes'),
    };
  }

  /** "rx 812 kpps 9.8 Gbit/s · tx …" */
  text(interval: number): string {
    const { rxPackets, rxBytes, txPackets, txBytes } = this.next(interval);
    return `rx ${packets(rxPackets)} ${bits(rxBytes * 8)} · tx ${packets(txPackets)} ${bits(txBytes * 8)}`;
  }
}

export function cardJson(card: Card, role: Role | null) {
  const { name, device, driver } = card;
  return {
    name,
    target: device.name,
    model: driver.model,
    mac: mac(driver.mac),
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

/** Throws where frames are missing in the capture: said last, once everything else was. */
export function checkCapture({ capture }: Pick<Setup, 'capture'>): void {
  if (capture?.error) throw new Failure(`capture ${capture.path} is not complete: ${lineOf(capture.error)}`);
}
