/** A connection's outgoing side: replies, as fast as the other side takes them. */
import { END, NativeError, type UnixSocket } from '../../native/index.ts';

export class Outbox {
  readonly #socket: UnixSocket;
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  #end = 0;

  constructor(socket: UnixSocket) {
    this.#socket = socket;
  }

  /** Whether something is still to be sent: `bytes` of the last `send` must stay as they are. */
  get busy(): boolean {
    return this.#at < this.#end;
  }

  /**
   * Sends the first `length` of `bytes`, as much as there is room for; the rest is for `push`.
   * @throws NativeError EPIPE where the other side has closed.
   */
  send(bytes: Uint8Array, length: number): void {
    this.#bytes = bytes;
    this.#at = 0;
    this.#end = length;
    this.push();
  }

  /** As much of what is left as there is room for. */
  push(): void {
    const put = this.#socket.write(this.#bytes, this.#at, this.#end - this.#at);
    if (put === END) throw new NativeError('EPIPE', 'send', 'the other side has closed');
    this.#at += put;
  }

  /** All that is left, within `milliseconds`: something else is to follow. */
  flush(milliseconds: number): void {
    if (!this.busy) return;
    this.#socket.send(this.#bytes, this.#at, this.#end - this.#at, undefined, milliseconds);
    this.#at = this.#end;
  }
}
