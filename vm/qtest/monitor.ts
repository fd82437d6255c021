/**
 * QEMU's machine protocol for whoever cannot wait in the event loop: a command keeps the thread until it is answered
 * (docs/interop/qmp-spec.rst). Qmp in ../qmp.ts is for everybody else.
 */
import { END, NativeError, receivedDescriptors, type UnixSocket } from '../../native/index.ts';
import { VmError } from '../errors.ts';

/** Milliseconds that QEMU may take for an answer. It takes one or two. */
const PATIENCE = 10_000;
/** At a time: a signal ends one early. */
const WAIT = 100;
const INPUT_BYTES = 64 * 1024;

interface Answer {
  readonly return?: unknown;
  readonly error?: { readonly desc: string };
}

export class Monitor {
  readonly #socket: UnixSocket;
  readonly #input = new Uint8Array(INPUT_BYTES);
  readonly #noDescriptors = receivedDescriptors(0); // those that come are closed
  #text = '';
  #begun = false;
  #gone = false;

  constructor(socket: UnixSocket) {
    this.#socket = socket;
  }

  /** @throws VmError 'FAILED' in QEMU's words where it refuses; or where it has ended. */
  execute(command: string, args: Readonly<Record<string, unknown>>): void {
    if (!this.#begun) {
      this.#begun = true;
      this.execute('qmp_capabilities', {}); // it answers nothing else before
    }
    const answer = this.#ask(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    if (answer.error !== undefined) throw new VmError('FAILED', `QEMU: ${answer.error.desc}`);
  }

  /** Whether QEMU did it: where it has ended somebody else says so. */
  attempt(command: string, args: Readonly<Record<string, unknown>>): boolean {
    try {
      this.execute(command, args);
      return true;
    } catch (error) {
      if (!(error instanceof VmError)) throw error;
      return false;
    }
  }

  #ask(line: string): Answer {
    if (this.#gone) throw ended();
    try {
      this.#socket.send(new TextEncoder().encode(line));
      for (let waits = 0; waits < PATIENCE / WAIT; ) {
        const answer = this.#answer();
        if (answer !== null) return answer;
        if (this.#socket.wait(WAIT)) this.#receive();
        else waits++;
      }
    } catch (error) {
      if (!(error instanceof NativeError)) throw error;
    }
    this.#gone = true;
    throw ended();
  }

  /** Its greeting and its events are none. */
  #answer(): Answer | null {
    for (let end = this.#text.indexOf('\n'); end >= 0; end = this.#text.indexOf('\n')) {
      const said = JSON.parse(this.#text.slice(0, end)) as Answer;
      this.#text = this.#text.slice(end + 1);
      if (said.return !== undefined || said.error !== undefined) return said;
    }
    return null;
  }

  #receive(): void {
    const got = this.#socket.receive(this.#input, 0, INPUT_BYTES, this.#noDescriptors);
    if (got === END) throw ended();
    this.#text += new TextDecoder().decode(this.#input.subarray(0, got));
  }

  /** Idempotent. */
  close(): void {
    this.#gone = true;
    this.#socket.close();
  }
}

const ended = () => new VmError('FAILED', 'QEMU has ended');
