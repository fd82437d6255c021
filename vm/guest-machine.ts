/** A machine that a guest runs in, as its serial lines show it: QEMU's (machine.ts), or a process (uml/machine.ts). */
import type { Readable, Writable } from 'node:stream';
import { VmError } from './errors.ts';

/** The machine did not do what it was started for; all it said is in `console`. */
export class GuestError extends VmError {
  readonly console: string;

  constructor(code: 'FAILED' | 'TIMEOUT' | 'UNAVAILABLE', message: string, console: string) {
    super(code, message);
    this.console = console;
  }
}

/** What every machine can be told, whatever it is made of. */
export interface GuestOptions {
  /** MiB. */
  readonly memory?: number;
  /** For the kernel's command line. */
  readonly append?: readonly string[];
  /** Gets what the command prints, as it prints it. */
  readonly output?: (chunk: Buffer) => void;
  /** Gets what the kernel prints, as it prints it. */
  readonly console?: (chunk: Buffer) => void;
  /** Gets what is written to /dev/results in the guest: TAP, as a rule. */
  readonly results?: (chunk: Buffer) => void;
  /** Goes to the command. */
  readonly input?: Readable;
  /** Told of the machine's process, for whoever keeps a list. */
  readonly started?: (pid: number) => void;
  /** Ends the machine. */
  readonly signal?: AbortSignal;
}

const LIMIT = 16 * 1024 * 1024; // bytes kept of any one stream

/** The last of a stream. */
export class Capture {
  readonly #chunks: Buffer[] = [];
  #size = 0;

  add(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    while (this.#size > LIMIT) this.#size -= this.#chunks.shift()!.length;
  }

  get text(): string {
    return Buffer.concat(this.#chunks).toString();
  }
}

export abstract class GuestMachine {
  /** What the guest said of how things go, line by line. */
  onControl: (line: string) => void = () => {};
  /** Milliseconds to the command's start; NaN before it. */
  startedAt = Number.NaN;
  readonly #options: GuestOptions;
  readonly #began = performance.now();
  readonly #console = new Capture();
  readonly #output = new Capture();
  readonly #results = new Capture();
  #control = '';

  constructor(options: GuestOptions) {
    this.#options = options;
  }

  /** Goes to the command. */
  abstract readonly input: Writable;
  abstract readonly kill: () => void;
  /** Presses its reset button. */
  abstract reset(): Promise<void>;
  /** Resolves when the machine has ended and all that it said has been read. */
  abstract ended(): Promise<void>;
  /** What the machine itself said, or how it ended; empty where it said nothing. */
  protected abstract lastWords(): string;

  /** The host has nothing to do for the guest: where time is ours to keep, it stands until `resume`. */
  pause(): void {}

  resume(): void {}

  /** What the command printed, the last 16 MiB of it. */
  get output(): string {
    return this.#output.text;
  }

  /** What the kernel printed. */
  get console(): string {
    return this.#console.text;
  }

  /** What was written to /dev/results. */
  get results(): string {
    return this.#results.text;
  }

  /** Milliseconds since it was started. */
  get age(): number {
    return performance.now() - this.#began;
  }

  /** Why it ended, where nobody wanted it to. */
  failure(): GuestError {
    const { console } = this;
    if (this.#options.signal?.aborted) return new GuestError('FAILED', 'the guest was stopped', console);
    const panic = /Kernel panic[^\r\n]*/.exec(console)?.[0];
    const when = Number.isNaN(this.startedAt) ? 'before it started the command' : 'while the command was running';
    const why = panic ?? (this.lastWords() || 'it reset itself');
    return new GuestError('FAILED', `the guest ended ${when}: ${why}`, console);
  }

  // ---- For who carries the lines --------------------------------------------------------------------------------------

  protected consoleSaid(chunk: Buffer): void {
    this.#console.add(chunk);
    this.#options.console?.(chunk);
  }

  protected commandSaid(chunk: Buffer): void {
    this.#output.add(chunk);
    this.#options.output?.(chunk);
  }

  protected resultsSaid(chunk: Buffer): void {
    this.#results.add(chunk);
    this.#options.results?.(chunk);
  }

  protected controlSaid(chunk: Buffer): void {
    const lines = (this.#control + chunk.toString('latin1')).split('\n');
    this.#control = lines.pop()!.slice(-1000);
    for (const line of lines) {
      if (line === 'started') this.#begun();
      this.onControl(line);
    }
  }

  /** Only now does anybody listen in there. */
  #begun(): void {
    this.startedAt = this.age;
    this.#options.input?.pipe(this.input, { end: false });
  }

  /** Nobody listens any more. */
  protected hangUp(): void {
    this.#options.signal?.removeEventListener('abort', this.kill);
    this.#options.input?.unpipe();
  }
}
