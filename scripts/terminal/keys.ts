/** Single keys at a terminal. */
import { inForeground } from './foreground.ts';

const CTRL_C = '\x03';
const CTRL_Z = '\x1a';
/** Of what comes at once: a paste is no command. */
const MOST = 16;
/** Milliseconds until it is seen that the shell has brought a background job to the front, which nothing tells it. */
const LOOK = 1000;

export interface KeysOptions {
  /** A key was pressed, in lower case; null is one that is none, such as an arrow. */
  readonly pressed: (key: string | null) => void;
  /** The process is about to be stopped from its terminal (Ctrl-Z), and has been continued. */
  readonly suspended: () => void;
  /** The terminal has gone. */
  readonly lost: () => void;
}

/**
 * Reads standard input key by key. Ctrl-C is SIGINT and Ctrl-Z stops the job, as without us; in between the terminal is
 * as it was. In the background it is left alone. Node restores its mode whichever way the process exits, save by SIGKILL.
 */
export class Keys {
  readonly #options: KeysOptions;
  readonly #look: NodeJS.Timeout;
  #on = false;
  #closed = false;

  /** Whether there is somebody to press keys, and to see what they do. */
  static get possible(): boolean {
    return Boolean(process.stdin.isTTY && process.stdout.isTTY) && process.env.TERM !== 'dumb';
  }

  constructor(options: KeysOptions) {
    this.#options = options;
    process.stdin.on('error', this.#gone); // a late one, too
    process.stdin.on('end', this.#gone);
    process.on('SIGTSTP', this.#stopped);
    process.on('SIGCONT', this.#continued);
    this.#follow();
    this.#look = setInterval(this.#follow, LOOK).unref();
  }

  /** The terminal is as it was. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#look);
    process.stdin.off('end', this.#gone);
    process.off('SIGTSTP', this.#stopped);
    process.off('SIGCONT', this.#continued);
    this.#set(false);
  }

  /** A shell that puts the job into the background, or in front again, takes the keys along. */
  readonly #follow = (): void => {
    if (!this.#closed) this.#set(inForeground());
  };

  /** Whoever stopped us, be it by SIGSTOP: the shell has set the terminal's mode since. */
  readonly #continued = (): void => {
    if (this.#closed) return;
    if (inForeground()) this.#set(false);
    this.#follow();
  };

  #set(on: boolean): void {
    if (on === this.#on) return;
    this.#on = on;
    // In the background the terminal's mode is the shell's. Off before on, as one that is thought to be on is not set.
    if (inForeground()) process.stdin.setRawMode(false);
    if (on) process.stdin.setRawMode(true).on('data', this.#take).resume();
    else process.stdin.off('data', this.#take).pause();
  }

  readonly #gone = (): void => {
    if (!this.#closed) this.#options.lost();
  };

  readonly #stopped = (): void => this.#suspend(process.pid);

  /** Stops this process, or its group (0), until SIGCONT. */
  #suspend(whom: number): void {
    this.#options.suspended();
    this.#set(false);
    process.off('SIGTSTP', this.#stopped);
    process.kill(whom, 'SIGTSTP');
    // Not before it has been delivered.
    setImmediate(() => {
      if (!this.#closed) process.on('SIGTSTP', this.#stopped);
    });
  }

  readonly #take = (chunk: Buffer): void => {
    const text = chunk.toString('latin1');
    const keys = text.startsWith('\x1b') || chunk.some((byte) => byte > 0x7e) ? [null] : [...text].slice(0, MOST);
    for (const key of keys) {
      if (this.#closed) return;
      if (key === CTRL_C) process.kill(process.pid, 'SIGINT');
      else if (key === CTRL_Z) this.#suspend(0);
      else this.#options.pressed(key === null || isControl(key) ? null : key.toLowerCase());
    }
  };
}

/** One that is not there to be read, but for white space. */
function isControl(key: string): boolean {
  return key < ' ' && !/\s/.test(key);
}
