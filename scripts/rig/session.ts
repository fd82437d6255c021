/** A run as the person in front of it has it: live lines, what happens, and keys. */
import { networkInterfaces } from 'node:os';
import { macText } from '../../drivers/station-address.ts';
import { lineOf } from '../errors.ts';
import { hangUp } from '../stop-signals.ts';
import { Keys } from '../terminal/keys.ts';
import { LiveLine } from '../terminal/live.ts';
import { labelled } from '../terminal/print.ts';
import { dim } from '../terminal/style.ts';
import { count } from '../terminal/units.ts';
import type { Card } from './card.ts';
import type { DriverLog } from './driver-log.ts';
import { dropText, type FaceState, faceLine, faceLines } from './face.ts';
import { linkText, namedDrops, Rates, rateText } from './report.ts';
import type { Setup } from './rig.ts';
import type { Drop, Role } from './roles.ts';

export interface SessionOptions {
  readonly rig: Setup;
  /** What the near card and the far one are joined to. */
  readonly roles: readonly [near: Role, far: Role];
  readonly log: DriverLog;
  /** Seconds since the run started. */
  readonly elapsed: () => number;
  /** The figures so far. */
  readonly summary: () => string;
  /** Counts from nothing again. */
  readonly reset: () => void;
  readonly quit: () => void;
}

/** How much is told unasked. Each level has what those before it have. */
export const VERBOSITY = ['quiet', 'normal', 'events', 'drops'] as const;
const ABOUT_VERBOSITY = [
  'nothing unasked',
  'the link, and resets',
  "each of the driver's steps, and the rates every 5 s",
  'also what was dropped or refused, as it happens',
] as const;
const NORMAL = VERBOSITY.indexOf('normal');
const EVENTS = VERBOSITY.indexOf('events');
const DROPS = VERBOSITY.indexOf('drops');

export const KEYS: readonly (readonly [key: string, what: string])[] = [
  ['d', 'link detect: look at the link again, and say what it is'],
  ['s', 'statistics so far'],
  ['r', 'reset statistics'],
  ['v', `verbosity: ${VERBOSITY.join(', ')}, and from the first again`],
  ['h', 'help'],
  ['q', 'quit, as does Ctrl-C'],
];

const TICK = 1000; // milliseconds
const RATE_TICKS = 5;
/** Seconds that a rate is taken over at least: a ping a second is one, not three and none. */
const WINDOW = 1;

export class Session {
  readonly #options: SessionOptions;
  readonly #near: Card;
  readonly #live: LiveLine;
  readonly #keys: Keys | null = null;
  readonly #timer: NodeJS.Timeout;
  readonly #tickRates: Rates;
  #ticks = 0;
  #verbosity = NORMAL;
  /** A key that means nothing has been answered: not every one of a held key is. */
  #hinted = false;
  #dropsTold = new Map<string, number>();
  #closed = false;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#near = options.rig.near;
    this.#tickRates = new Rates(this.#near);
    const rates = new Rates(this.#near, WINDOW);
    this.#live = new LiveLine((interval, anew) => {
      const state = this.#state(rates, interval);
      return anew ? ['', ...faceLines(state)].join('\n') : faceLine(state);
    });
    for (const card of options.rig.cards) this.#watch(card);
    options.log.listen((line) => this.#tell(EVENTS, this.#near.name, line));
    this.#timer = setInterval(() => this.#tick(), TICK).unref();
    if (Keys.possible)
      this.#keys = new Keys({
        pressed: (key) => this.#pressed(key),
        suspended: () => this.#live.clear(),
        lost: hangUp,
      });
  }

  /** The terminal is as it was. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.#keys?.close();
    this.#live.stop();
  }

  /** What a person is to know, at any verbosity but quiet. */
  tell(label: string, text: string): void {
    this.#tell(NORMAL, label, text);
  }

  #state(rates: Rates, interval: number): FaceState {
    const { driver, name } = this.#near;
    const { roles, elapsed } = this.#options;
    return {
      elapsed: elapsed(),
      name,
      about: `${driver.model}, MAC ${macText(driver.mac)}`,
      link: driver.link,
      rates: rates.next(interval),
      rings: driver.rings,
      drops: namedDrops(this.#near, roles[0]),
      joined: joinedText(roles[0], driver.link.up),
      verbosity: this.#keys === null ? null : VERBOSITY[this.#verbosity]!,
    };
  }

  // ---- What happens ---------------------------------------------------------------------------------------------------

  #watch({ name, driver }: Card): void {
    // The near driver's own log tells the same in its words.
    const level = () => (name === this.#near.name && this.#verbosity >= EVENTS ? Number.POSITIVE_INFINITY : NORMAL);
    driver.on('link', () => this.#tell(level(), 'link', `${name} ${linkText(driver.link)}`));
    driver.on('reset', () => this.#tell(NORMAL, 'reset', `${name} was reset, and goes on`));
  }

  #tell(level: number, label: string, text: string): void {
    if (level > this.#verbosity || this.#closed) return;
    this.#live.print(labelled(label, `${text}  ${dim(`${this.#options.elapsed().toFixed(1)} s`)}`));
  }

  #tick(): void {
    if (this.#keys === null) return; // the lines that stay say it all
    this.#ticks++;
    if (this.#ticks % RATE_TICKS === 0)
      this.#tell(EVENTS, 'rates', rateText(this.#tickRates.next((RATE_TICKS * TICK) / 1000)));
    const grown = this.#grownDrops();
    if (grown.length > 0) this.#tell(DROPS, 'dropped', dropText(grown));
  }

  #grownDrops(): Drop[] {
    const now = namedDrops(this.#near, this.#options.roles[0]);
    const before = this.#dropsTold;
    this.#dropsTold = new Map(now);
    return now
      .map(([what, frames]): Drop => [what, frames - Math.min(frames, before.get(what) ?? 0)])
      .filter(([, frames]) => frames > 0);
  }

  // ---- Keys -----------------------------------------------------------------------------------------------------------

  #pressed(key: string | null): void {
    if (this.#closed || (key !== null && /\s/.test(key))) return;
    const known = KEYS.some(([name]) => name === key);
    if (!known && !this.#hinted) this.#answer('', 'this key means nothing here: h for those that do');
    this.#hinted = !known;
    if (key === 'd') void this.#detectLink();
    if (key === 's') this.#live.print(this.#options.summary());
    if (key === 'r') this.#reset();
    if (key === 'v') this.#nextVerbosity();
    if (key === 'h') this.#live.print(helpLines().join('\n'));
    if (key === 'q') this.#options.quit();
  }

  #answer(label: string, text: string): void {
    if (!this.#closed) this.#live.print(labelled(label, text));
  }

  async #detectLink(): Promise<void> {
    const { driver, name } = this.#near;
    try {
      this.#answer('detected', `${name} ${linkText(await driver.checkLink())}`);
    } catch (error) {
      this.#answer('detected', lineOf(error));
    }
  }

  #reset(): void {
    const { roles, reset } = this.#options;
    reset();
    const judged = roles.some(({ sink }) => sink !== undefined);
    this.#answer('reset', `statistics${judged ? "; the generator's own go on, as losses are judged by them" : ''}`);
  }

  #nextVerbosity(): void {
    this.#verbosity = (this.#verbosity + 1) % VERBOSITY.length;
    this.#answer('verbosity', `${VERBOSITY[this.#verbosity]}: ${ABOUT_VERBOSITY[this.#verbosity]}`);
  }
}

function helpLines(): string[] {
  return KEYS.map(([key, what], i) => labelled(i === 0 ? 'keys' : '', `${key}  ${what}`));
}

/** What the near card is joined to, as far as that changes. */
function joinedText({ kind, about, tap, generator, sink, statistics }: Role, up: boolean): [string, string] {
  if (tap) return ['TAP', `${tap.name}  ${up ? addressText(tap.name) : 'no carrier, as there is no link'}`];
  if (generator && sink)
    return ['generator', `sent ${count(generator.sent)} frames, ${count(sink.received)} came back`];
  if (kind !== 'echo') return ['joined', about];
  const { received, answered } = statistics() as { received: number; answered: number };
  return ['echo', `answered ${count(answered)} of ${count(received)} frames`];
}

/** Its addresses, but for the one that it has by itself; or how to give it one. */
function addressText(name: string): string {
  const given = (networkInterfaces()[name] ?? []).filter(({ address }) => !address.startsWith('fe80:'));
  if (given.length > 0) return given.map(({ cidr }) => cidr).join(', ');
  return dim(`no address yet: ip address add 10.0.0.1/24 dev ${name}`);
}
