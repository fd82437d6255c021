import { constants } from 'node:os';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * The first of SIGINT, SIGTERM and SIGHUP asks for a clean stop; the second ends the process at once, but for SIGHUP: a
 * terminal that goes may say so more than once.
 */
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
    if (this.received !== null) {
      if (name !== 'SIGHUP') process.exit(this.exitCode);
      return;
    }
    this.received = name as (typeof SIGNALS)[number];
    this.#controller.abort();
  };
}

/**
 * Signals do what they do by themselves, until the returned function is called: for waiting away from the event loop, which
 * is where they would be heard.
 */
export function unheard(): () => void {
  const heard = SIGNALS.map((name) => [name, process.listeners(name)] as const);
  for (const name of SIGNALS) process.removeAllListeners(name);
  return () => {
    for (const [name, listeners] of heard) for (const listener of listeners) process.on(name, listener);
  };
}

/** The terminal has gone, which a read or a write found out: as if SIGHUP had come. */
export function hangUp(): void {
  if (!process.emit('SIGHUP', 'SIGHUP')) process.exit(128 + constants.signals.SIGHUP);
}
