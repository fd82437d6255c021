/** What a driver says of its steps: kept until somebody listens. */
export class DriverLog {
  #kept: string[] = [];
  #listener: ((line: string) => void) | null = null;

  readonly add = (line: string): void => {
    if (this.#listener) this.#listener(line);
    else this.#kept.push(line);
  };

  /** What was kept, once. */
  taken(): string[] {
    const kept = this.#kept;
    this.#kept = [];
    return kept;
  }

  /** From now on nothing is kept. */
  listen(listener: (line: string) => void): void {
    this.#listener = listener;
  }
}
