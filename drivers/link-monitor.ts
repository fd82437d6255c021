/** The link as its driver knows it: looked at when the card says so, by one look at a time, and told to whoever listens. */
import type { LinkState } from './netdev.ts';

export const DOWN: LinkState = { up: false, speed: 0, fullDuplex: false, rxPause: false, txPause: false };

export interface LinkSteps {
  /** Whether the card may be asked. */
  ready(): boolean;
  /** What the card, or its PHY, says; the same object where nothing has changed. */
  read(): Promise<LinkState>;
  /** The link is up, or up otherwise than before: what of it the card must be told. */
  apply(link: LinkState): void;
  changed(link: LinkState): void;
  failed(error: unknown): void;
}

export class LinkMonitor {
  state: LinkState = DOWN;
  readonly #steps: LinkSteps;
  #looking = false;
  #again = false;
  #looked: Promise<void> = Promise.resolve();

  constructor(steps: LinkSteps) {
    this.#steps = steps;
  }

  /** Looks at it, soon. */
  mayHaveChanged(): void {
    this.#again = true;
    if (!this.#looking) this.#looked = this.#look().catch((error: unknown) => this.#steps.failed(error));
  }

  /** Looks at it, and resolves once that is done. */
  async check(): Promise<void> {
    if (this.#steps.ready()) this.mayHaveChanged();
    await this.#looked;
  }

  async #look(): Promise<void> {
    this.#looking = true;
    try {
      while (this.#again && this.#steps.ready()) {
        this.#again = false;
        const link = await this.#steps.read();
        if (this.#steps.ready()) this.set(link);
      }
    } finally {
      this.#looking = false;
    }
  }

  set(link: LinkState): void {
    if (link === this.state) return;
    this.state = link;
    if (link.up && this.#steps.ready()) this.#steps.apply(link);
    this.#steps.changed(link);
  }
}

/** As the log has it. */
export function describeLink({ up, speed, fullDuplex, rxPause, txPause }: LinkState): string {
  if (!up) return 'no link';
  const duplex = fullDuplex ? 'full' : 'half';
  return `link negotiated: ${duplex} duplex, ${speed} Mbit/s, txpause ${txPause ? 'on' : 'off'}, rxpause ${rxPause ? 'on' : 'off'}`;
}
