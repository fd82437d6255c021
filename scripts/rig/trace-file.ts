import { closeSync } from 'node:fs';
import { openStdout, openToWrite, PATIENCE, writeWhole } from './output-file.ts';

const CHUNK = 64 * 1024;

/** Lines to a file, or to standard output where the path is "-". */
export class TraceFile {
  lines = 0;
  readonly path: string;
  /** Why it is not complete, where it is not: the disk is full, its reader has gone. The cards go on. */
  error: unknown = null;
  readonly #fd: number;
  #text = '';
  #ended = false;

  /** @throws UsageError where the file cannot be written. */
  static async open(path: string): Promise<TraceFile> {
    return new TraceFile(path, path === '-' ? openStdout() : await openToWrite(path, 'trace'));
  }

  private constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
  }

  get #isStdout(): boolean {
    return this.path === '-';
  }

  readonly line = (text: string): void => {
    if (this.#ended) return;
    this.lines++;
    this.#text += `${text}\n`;
    if (this.#text.length >= CHUNK) this.#flush();
  };

  end(): void {
    if (this.#ended) return;
    this.#flush();
    this.#close();
  }

  #close(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (!this.#isStdout) closeSync(this.#fd);
  }

  /** Synchronous: what was traced before a crash is there. A person who pages through standard output takes his time. */
  #flush(): void {
    const text = Buffer.from(this.#text);
    this.#text = '';
    try {
      writeWhole(this.#fd, text, this.#isStdout ? Infinity : PATIENCE);
    } catch (error) {
      if (this.#isStdout && (error as NodeJS.ErrnoException).code === 'EPIPE') process.exit(0); // as head goes
      this.error = error;
      this.#close();
    }
  }
}
