/** A turn of the event loop: how much of it a server's clients may have, whatever they ask for. */

/** Milliseconds of work after which the loop's other business has its turn; what is left of a message waits. */
const WORK = 4;
/** Answers that may come as late as any may, in one turn. */
const LATE_ANSWERS = 5;

export class Turn {
  /** Milliseconds in which an answer must come for which a client has the thread wait. */
  readonly #patience: number;
  #end = 0;
  #waited = 0;
  #anew: NodeJS.Immediate | null = null;

  constructor(patience: number) {
    this.#patience = patience;
  }

  begin(): void {
    this.#end = 0;
  }

  /** Whether its work has to stop. The time counts from the first question on: most messages are alone, and ask none. */
  get over(): boolean {
    const now = performance.now();
    if (this.#end === 0) this.#end = now + WORK;
    return now > this.#end;
  }

  /** Milliseconds left to wait for the next answer. */
  get patience(): number {
    return Math.max(0, Math.min(this.#patience, LATE_ANSWERS * this.#patience - this.#waited));
  }

  /** The thread has waited. */
  waited(milliseconds: number): void {
    this.#waited += milliseconds;
    this.#anew ??= setImmediate(() => {
      this.#anew = null;
      this.#waited = 0;
    });
  }

  close(): void {
    if (this.#anew !== null) clearImmediate(this.#anew);
  }
}
