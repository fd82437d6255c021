import { constants } from 'node:os';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** The first of SIGINT, SIGTERM and SIGHUP asks for a clean stop; the second ends the process at once. */
export class StopSignals {
  /** Aborted at the first signal. */
  readonly signal: AbortSignal;
  /** Which one came. */
  received: (typeof SIGNALS)[number] | null = null;
  readonly #controller = new AbortController();

  constructor() {
    this.signal = this.#controller.signal;
    for (const name of SIGNALS) process.on(name, this.#take);
  }

  /** 128 and the signal's number, as a shell reports it; 0 where none came. */
  get exitCode(): number {
    return this.received === null ? 0 : 128 + constants.signals[this.received];
  }

  close(): void {
    for (const name of SIGNALS) process.off(name, this.#take);
  }

  readonly #take = (name: NodeJS.Signals): void => {
    if (this.received !== null) process.exit(this.exitCode);
    this.received = name as (typeof SIGNALS)[number];
    this.#controller.abort();
  };
}
