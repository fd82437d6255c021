import { closeSync, writeSync } from 'node:fs';
import { Failure } from '../errors.ts';
import { openToWrite } from './capture-file.ts';

const CHUNK = 64 * 1024;

/** Lines to a file, or to standard output where the path is "-". */
export class TraceFile {
  lines = 0;
  readonly path: string;
  readonly #fd: number;
  #text = '';
  #ended = false;

  constructor(path: string) {
    this.path = path;
    this.#fd = path === '-' ? 1 : openToWrite(path, 'trace');
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
    this.#ended = true;
    if (this.#fd !== 1) closeSync(this.#fd);
  }

  /** Synchronous: what was traced before a crash is there. */
  #flush(): void {
    let rest = Buffer.from(this.#text);
    this.#text = '';
    while (rest.length > 0) {
      try {
        rest = rest.subarray(writeSync(this.#fd, rest));
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EAGAIN') continue; // a pipe whose reader is slow
        this.#ended = true;
        if (code === 'EPIPE') process.exit(0); // the reader has gone
        throw new Failure(`trace ${this.path}: ${code}`);
      }
    }
  }
}
