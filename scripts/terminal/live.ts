import { widthOf } from './style.ts';

const REDRAW = 300; // milliseconds, on a terminal
const PLAIN = 5000; // and where lines stay

/** One line that is drawn anew while things go on; where there is no terminal, a plain line every few seconds. */
export class LiveLine {
  readonly #text: (interval: number) => string;
  readonly #terminal: boolean;
  readonly #timer: NodeJS.Timeout;
  #last = performance.now();
  #shown = false;

  /** @param text what to show; gets the seconds since it was asked before. */
  constructor(text: (interval: number) => string, { plain = PLAIN } = {}) {
    this.#text = text;
    this.#terminal = Boolean(process.stdout.isTTY);
    this.#timer = setInterval(() => this.#draw(), this.#terminal ? REDRAW : plain);
    this.#timer.unref();
  }

  /** Prints a line that stays, above the live one. */
  print(line: string): void {
    this.#clear();
    process.stdout.write(`${line}\n`);
  }

  /** Takes the line away. */
  stop(): void {
    clearInterval(this.#timer);
    this.#clear();
  }

  #draw(): void {
    const now = performance.now();
    const line = this.#text((now - this.#last) / 1000);
    this.#last = now;
    if (!this.#terminal) {
      if (line !== '') process.stdout.write(`${line}\n`);
      return;
    }
    const columns = process.stdout.columns || 80;
    process.stdout.write(
      `\r\x1b[K${widthOf(line) < columns ? line : `${[...line].slice(0, columns - 1).join('')}\x1b[0m`}`,
    );
    this.#shown = true;
  }

  #clear(): void {
    if (this.#shown) process.stdout.write('\r\x1b[K');
    this.#shown = false;
  }
}
