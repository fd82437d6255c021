/**
 * DMA by message, to memory that a client mapped without a descriptor: a request of the server's own, and a wait for its
 * reply, in the midst of whatever the model was doing. Only the client's patience for us is at stake, and ours for it.
 *
 * A client that holds the lock its DMA needs while it waits for a reply of ours answers too late: QEMU's does so in
 * register reads. It is the client's to share its memory (share=on), which every card then reaches without a word.
 */
import { NativeError, type UnixSocket } from '../../native/index.ts';
import type { DistantMemory } from '../../sim/memory.ts';
import {
  COMMAND_DMA_READ,
  COMMAND_DMA_WRITE,
  DMA_ACCESS_BYTES,
  ERROR,
  HEADER_BYTES,
  MAX_DATA_BYTES,
  Message,
  TYPE_COMMAND,
} from './codec.ts';
import type { Inbox } from './inbox.ts';
import type { Outbox } from './outbox.ts';
import type { Turn } from './turn.ts';

export interface ClientDmaOptions {
  /** How long may be waited for replies. */
  readonly turn: Turn;
  /** The client cannot be gone on with, and why. The model is in the midst of something: not to be touched from here. */
  readonly broken: (why: string) => void;
  /** Something was received that nobody will be told of again. */
  readonly received: () => void;
}

export class ClientDma implements DistantMemory {
  /** Messages exchanged. */
  exchanges = 0;
  /** What one message may carry, as the client said. */
  most = MAX_DATA_BYTES;
  readonly #socket: UnixSocket;
  readonly #inbox: Inbox;
  readonly #outbox: Outbox;
  readonly #options: ClientDmaOptions;
  #message: Message | null = null;
  #id = 0;
  #broken = false;

  constructor(socket: UnixSocket, inbox: Inbox, outbox: Outbox, options: ClientDmaOptions) {
    this.#socket = socket;
    this.#inbox = inbox;
    this.#outbox = outbox;
    this.#options = options;
  }

  read(address: number, into: Uint8Array, at: number, length: number): boolean {
    for (let done = 0; done < length; ) {
      const part = Math.min(length - done, this.most);
      const reply = this.#exchange(COMMAND_DMA_READ, address + done, part, 0, part);
      if (reply < 0) return false;
      into.set(this.#inbox.message.bytes.subarray(reply, reply + part), at + done);
      done += part;
    }
    return true;
  }

  write(address: number, from: Uint8Array, at: number, length: number): boolean {
    for (let done = 0; done < length; ) {
      const part = Math.min(length - done, this.most);
      this.#outgoing.bytes.set(from.subarray(at + done, at + done + part), HEADER_BYTES + DMA_ACCESS_BYTES);
      if (this.#exchange(COMMAND_DMA_WRITE, address + done, part, part, 0) < 0) return false;
      done += part;
    }
    return true;
  }

  get #outgoing(): Message {
    this.#message ??= new Message(HEADER_BYTES + DMA_ACCESS_BYTES + MAX_DATA_BYTES);
    return this.#message;
  }

  /** Where in the inbox the reply's data begins; -1 where there is none. */
  #exchange(command: number, address: number, count: number, sent: number, expected: number): number {
    if (this.#broken) return -1;
    this.exchanges++;
    const message = this.#outgoing;
    const id = this.#id;
    this.#id = (id + 1) & 0xffff;
    message.payload = DMA_ACCESS_BYTES + sent;
    message.header(id, command, TYPE_COMMAND);
    message.setU64(0, address);
    message.setU64(8, count);
    const { turn, received } = this.#options;
    const began = performance.now();
    const { patience } = turn;
    const left = () => Math.ceil(Math.max(0, began + patience - performance.now()));
    let reply: number | string;
    try {
      this.#outbox.flush(left()); // a reply that is on its way goes first
      this.#socket.send(message.bytes, 0, message.length, undefined, left());
      reply = this.#inbox.awaitReply(id, command, left());
    } catch (error) {
      if (!(error instanceof NativeError)) throw error;
      reply = error.message;
    }
    turn.waited(performance.now() - began);
    received();
    if (typeof reply === 'string') return this.#give(`DMA by message: ${reply}`);
    const { bytes } = this.#inbox.message;
    const view = new DataView(bytes.buffer, reply, HEADER_BYTES);
    if ((view.getUint32(8, true) & ERROR) !== 0) return -1;
    const size = view.getUint32(4, true);
    if (size !== HEADER_BYTES + DMA_ACCESS_BYTES + expected)
      return this.#give(`DMA by message: a reply of ${size} bytes`);
    return reply + HEADER_BYTES + DMA_ACCESS_BYTES;
  }

  #give(why: string): -1 {
    this.#broken = true;
    this.#options.broken(why);
    return -1;
  }
}
