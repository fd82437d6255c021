import { inForeground } from './foreground.ts';
import { clip, widthOf } from './style.ts';

const REDRAW = 300; // milliseconds, on a terminal
const PLAIN = 5000; // and where lines stay

/** Whether what is drawn can be drawn anew. */
const drawable = () => Boolean(process.stdout.isTTY) && process.env.TERM !== 'dumb';

/**
 * One line or a few that are drawn anew while things go on. Where there is no terminal, and while the terminal is the
 * shell's, plain lines every few seconds.
 */
export class LiveLine {
  readonly #text: (interval: number, anew: boolean) => string;
  readonly #plain: number;
  readonly #terminal = drawable();
  readonly #timer: NodeJS.Timeout;
  #last = performance.now();
  /** What stands on the terminal, the cursor behind it. */
  #shown: readonly string[] = [];

  /** @param text what to show; gets the seconds since it was asked before, and whether it will be drawn anew or stay. */
  constructor(text: (interval: number, anew: boolean) => string, { plain = PLAIN } = {}) {
    this.#text = text;
    this.#plain = plain;
    this.#timer = setInterval(() => this.#draw(), this.#terminal ? REDRAW : plain);
    this.#timer.unref();
  }

  /** Prints lines that stay, above the live ones. */
  print(lines: string): void {
    process.stdout.write(`${this.#erase()}${lines}\n${this.#shown.join('\n')}`);
  }

  /** Takes the lines away, until they are drawn the next time. */
  clear(): void {
    if (this.#shown.length === 0) return;
    process.stdout.write(this.#erase());
    this.#shown = [];
  }

  /** Takes them away for good. */
  stop(): void {
    clearInterval(this.#timer);
    this.clear();
  }

  #draw(): void {
    if (!this.#terminal) this.#line();
    else if (inForeground()) this.#lines();
    else {
      this.#shown = []; // what the shell wrote since is not drawn over
      if (performance.now() - this.#last >= this.#plain) this.#line();
    }
  }

  #line(): void {
    const text = this.#next(false);
    if (text !== '') process.stdout.write(`${text}\n`);
  }

  #lines(): void {
    const text = this.#next(true);
    const { columns, rows } = sizeOfTerminal();
    const lines = text.split('\n').slice(0, Math.max(1, rows - 1)); // what has scrolled away cannot be drawn over
    const erase = this.#erase();
    this.#shown = lines.map((line) => clip(line, columns - 1));
    process.stdout.write(`${erase}${this.#shown.join('\n')}`);
  }

  #next(anew: boolean): string {
    const now = performance.now();
    const interval = (now - this.#last) / 1000;
    this.#last = now;
    return this.#text(interval, anew);
  }

  /** Back to where the lines begin, with nothing behind it. A terminal made narrower since has wrapped them. */
  #erase(): string {
    if (this.#shown.length === 0) return '';
    const { columns } = sizeOfTerminal();
    const height = this.#shown.reduce((sum, line) => sum + Math.max(1, Math.ceil(widthOf(line) / columns)), 0);
    return `\r${height > 1 ? `\x1b[${height - 1}A` : ''}\x1b[J`;
  }
}

function sizeOfTerminal() {
  return { columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 };
}
