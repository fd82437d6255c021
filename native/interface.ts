import { closeSync, statSync } from 'node:fs';
import { addon } from './addon.ts';
import { check, codeOf, NativeError } from './errors.ts';
import { type InterfaceSettings, linkAnswer, linkRequest } from './link-message.ts';
import { type Watch, watch } from './poll.ts';
import type { Tap } from './tap.ts';

const ANSWER = 64 * 1024; // the longest message that the kernel makes
/** How often an interface is looked for that moves on whenever it is found. */
const TRIES = 8;
/**
 * Milliseconds after which it is looked at untold: in another namespace; and here, because of addresses that are stacked on
 * an interface from another one, which make it promiscuous, Linux tells nobody (net/core/dev.c, __dev_set_rx_mode).
 */
const UNTOLD = 1000;

/**
 * A TAP's interface as its users set it: wherever they moved it, and whatever they call it.
 *
 * The kernel tells of changes (rtnetlink), but what is told is not read: it is only a reason to ask how the interface is
 * now. So nothing is missed where the queue of what is told overflows, and nothing depends on the order it came in.
 */
export class Interface {
  readonly #tap: Tap;
  readonly #changed: () => void;
  readonly #answer = new Uint8Array(ANSWER);
  #timer: NodeJS.Timeout | null = null;
  /** Where the sockets are, as the kernel numbers namespaces. */
  #namespace = -1;
  #index = 0;
  #requests = -1;
  #told = -1;
  #watch: Watch | null = null;
  #sequence = 0;
  #closed = false;

  /** @param changed called from the event loop where the settings may have changed. Somebody must have called `read` first. */
  constructor(tap: Tap, changed: () => void) {
    this.#tap = tap;
    this.#changed = changed;
  }

  /**
   * How it is set now. Throws EBADFD where it was deleted, EPERM where it is in a network namespace that this process may
   * not enter.
   */
  read(): InterfaceSettings {
    if (this.#closed) throw new NativeError('CLOSED', 'read', `interface ${this.#tap.name}: not followed any more`);
    try {
      for (let tries = 0; tries < TRIES; tries++) {
        this.#follow();
        const answer = this.#ask();
        if (typeof answer === 'object' && answer !== null) return answer;
        if (answer !== null && codeOf(answer) !== 'ENODEV') check(answer, 'RTM_GETLINK', `interface ${this.#tap.name}`);
        this.#namespace = -1; // it was moved meanwhile
      }
    } finally {
      if (!isOurs(this.#namespace)) this.#leave();
    }
    throw new NativeError('EAGAIN', 'RTM_GETLINK', `interface ${this.#tap.name} cannot be found: it moves on and on`);
  }

  /**
   * Opens the sockets in the namespace where the interface is, unless they are there. In one that is not ours they are
   * there for a look only, and nothing is told: a socket would keep alive what everybody else has left.
   */
  #follow(): void {
    const namespace = this.#tap.namespace();
    if (namespace === this.#namespace) return;
    this.#leave();
    this.#requests = this.#tap.rtnetlink(false);
    this.#index = this.#tap.index();
    this.#namespace = namespace;
    if (isOurs(namespace)) this.#listen();
    this.#timer ??= setInterval(this.#changed, UNTOLD);
  }

  #listen(): void {
    this.#told = this.#tap.rtnetlink(true);
    this.#watch = watch(this.#told, { readable: () => this.#hear() });
    this.#watch.start();
  }

  #ask(): InterfaceSettings | number | null {
    const sequence = ++this.#sequence;
    const length = addon().rtnetlink.ask(this.#requests, linkRequest(this.#index, sequence), this.#answer);
    return length < 0 ? length : linkAnswer(this.#answer, length, sequence);
  }

  #hear(): void {
    check(addon().rtnetlink.drain(this.#told), 'recv', `interface ${this.#tap.name}`);
    this.#changed();
  }

  #leave(): void {
    this.#watch?.close();
    this.#watch = null;
    for (const fd of [this.#told, this.#requests]) if (fd >= 0) closeSync(fd);
    this.#told = -1;
    this.#requests = -1;
    this.#namespace = -1;
  }

  /** Idempotent. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#timer ?? undefined);
    this.#leave();
  }
}

/** Whether a namespace, as Tap.namespace has it, is this process's; 0: the kernel knows of no other. */
function isOurs(namespace: number): boolean {
  return namespace === 0 || namespace === statSync('/proc/self/ns/net').ino;
}
