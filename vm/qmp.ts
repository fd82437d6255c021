/** QEMU's machine protocol, as far as it is needed here: one command after another, and its answer (docs/interop/qmp-spec.rst). */
import type { Readable, Writable } from 'node:stream';
import { VmError } from './errors.ts';

interface Answer {
  readonly return?: unknown;
  readonly error?: { readonly desc: string };
}

const LINE_MOST = 1 << 20;

export class Qmp {
  readonly #output: Writable;
  readonly #waiting: { resolve(value: unknown): void; reject(error: Error): void }[] = [];
  #text = '';
  #gone = false;

  constructor(input: Readable, output: Writable) {
    this.#output = output;
    input.on('data', (chunk: Buffer) => this.#listen(chunk.toString()));
    input.on('close', () => this.#end());
    // It answers nothing else before.
    this.execute('qmp_capabilities').catch(() => {});
  }

  /** Rejects with QEMU's own words where it refuses, or has ended. */
  execute(command: string, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    if (this.#gone) return Promise.reject(ended());
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#output.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    });
  }

  #listen(text: string): void {
    const lines = (this.#text + text).split('\n');
    this.#text = lines.pop()!.slice(-LINE_MOST);
    for (const line of lines) if (line.trim() !== '') this.#answer(JSON.parse(line) as Answer);
  }

  /** Its greeting and its events are neither. */
  #answer(answer: Answer): void {
    if (answer.error !== undefined) this.#waiting.shift()?.reject(new VmError('FAILED', `QEMU: ${answer.error.desc}`));
    else if (answer.return !== undefined) this.#waiting.shift()?.resolve(answer.return);
  }

  #end(): void {
    this.#gone = true;
    for (const { reject } of this.#waiting.splice(0)) reject(ended());
  }
}

const ended = () => new VmError('FAILED', 'QEMU has ended');
