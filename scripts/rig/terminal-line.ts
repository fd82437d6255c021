/** A person's terminal as the line to a guest: each key goes there, Ctrl-C too; Ctrl-A X leaves. */

import { isUtf8 } from 'node:buffer';
import { PassThrough } from 'node:stream';

const ESCAPE = 0x01; // Ctrl-A, as in QEMU's own console
const LEAVE = ['x', 'X', '\x18'].map((key) => key.charCodeAt(0)); // with Ctrl still held down, too

/** What keys go on, and whether the person wants to leave. */
export class KeyFilter {
  #escaped = false;

  /** Ctrl-A twice is one Ctrl-A; before any other key it is as if it were not special. */
  take(keys: Uint8Array): { readonly pass: Uint8Array; readonly leave: boolean } {
    const pass: number[] = [];
    for (const key of keys) {
      if (this.#escaped && LEAVE.includes(key)) return { pass: Uint8Array.from(pass), leave: true };
      const held = key === ESCAPE && !this.#escaped;
      if (this.#escaped && key !== ESCAPE) pass.push(ESCAPE);
      if (!held) pass.push(key);
      this.#escaped = held;
    }
    return { pass: Uint8Array.from(pass), leave: false };
  }
}

export class TerminalLine {
  /** What was typed, for the guest. */
  readonly input = new PassThrough();
  readonly #left = new AbortController();
  readonly #filter = new KeyFilter();

  constructor() {
    process.stdin.setRawMode(true);
    process.stdin.on('data', this.#take);
  }

  /** Aborted when the person leaves. */
  get left(): AbortSignal {
    return this.#left.signal;
  }

  /** The terminal is as it was. Idempotent. */
  close(): void {
    process.stdin.off('data', this.#take);
    process.stdin.setRawMode(false);
    process.stdin.pause();
  }

  readonly #take = (keys: Buffer): void => {
    const { pass, leave } = this.#filter.take(keys);
    if (pass.length > 0) this.input.write(pass);
    if (leave) this.#left.abort();
  };
}

const MOST = 4 * 1024 * 1024; // bytes of a script

/** All that comes over standard input; null where it is too long or no text. */
export async function readScript(): Promise<string | null> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MOST) return null;
  }
  const all = Buffer.concat(chunks);
  return isUtf8(all) && !all.includes(0) ? all.toString() : null;
}
