/**
 * A connection's incoming side: bytes to messages, in their order, each with the descriptors that came with it.
 *
 * The message being dealt with is at the buffer's start. Nearly always it came whole and alone, in one read: then nothing
 * is moved. What came behind it (posted writes, or requests while the server awaits a reply) waits behind the longest
 * message's place.
 */
import { closeReceived, END, NativeError, receivedDescriptors, type UnixSocket } from '../../native/index.ts';
import { HEADER_BYTES, MAX_DESCRIPTORS, MAX_MESSAGE_BYTES, Message, TYPE_MASK, TYPE_REPLY } from './codec.ts';

/** What is read at once, where a message begins. */
const READ_AHEAD_BYTES = 4096;
const AHEAD = MAX_MESSAGE_BYTES;
/** Room for requests that come while a reply is awaited, and for that reply. */
const AHEAD_BYTES = MAX_MESSAGE_BYTES + 64 * 1024;

/** A message is at the buffer's start; it has not come whole; the other side has closed; its size is impossible. */
export type Arrival = 'message' | 'nothing' | 'end' | 'bad size';

export class Inbox {
  readonly message = new Message(AHEAD + AHEAD_BYTES);
  /** The descriptors of the message at the buffer's start, their number first. Whoever uses one takes it out. */
  readonly fds = receivedDescriptors(MAX_DESCRIPTORS);
  readonly #socket: UnixSocket;
  readonly #part = receivedDescriptors(MAX_DESCRIPTORS);
  readonly #came = receivedDescriptors(MAX_DESCRIPTORS);
  readonly #view: DataView;
  #cameUpTo = 0; // they belong to the message that has the byte before this place
  #got = 0; // bytes of the message at the start
  #ahead = AHEAD; // [ahead, end): read, and not looked at yet
  #end = AHEAD;

  constructor(socket: UnixSocket) {
    this.#socket = socket;
    this.#view = new DataView(this.message.bytes.buffer);
  }

  /** Whether something is left of what was read. */
  get more(): boolean {
    return this.#ahead < this.#end;
  }

  /** Whether the other side is in the middle of a message. */
  get begun(): boolean {
    return this.#got > 0;
  }

  /** Reads what is there. */
  receive(): Arrival {
    const { bytes } = this.message;
    const whole = this.#got < HEADER_BYTES ? READ_AHEAD_BYTES : this.message.size;
    const got = this.#socket.receive(bytes, this.#got, whole - this.#got, this.#part);
    if (got === END) {
      this.#keepDescriptors(0);
      return 'end';
    }
    this.#got += got;
    this.#ahead = this.#end = this.#cameUpTo = AHEAD;
    const { size } = this.message;
    const surplus = this.#got - size;
    if (this.#got >= HEADER_BYTES && size >= HEADER_BYTES && surplus > 0) {
      // The reply may be longer than the request: out of its way.
      bytes.copyWithin(AHEAD, size, size + surplus);
      this.#end += surplus;
      this.#got = size;
    }
    if (this.#part[0] !== 0) this.#keepDescriptors(this.#end);
    return this.#arrived();
  }

  /** The next message of what was read already. */
  take(): Arrival {
    if (this.#got < HEADER_BYTES) this.#takeUpTo(HEADER_BYTES);
    if (this.#got >= HEADER_BYTES && this.#sensible(this.message.size)) this.#takeUpTo(this.message.size);
    return this.#arrived();
  }

  #takeUpTo(length: number): void {
    const part = Math.min(length - this.#got, this.#end - this.#ahead);
    this.message.bytes.copyWithin(this.#got, this.#ahead, this.#ahead + part);
    this.#ahead += part;
    this.#got += part;
  }

  #arrived(): Arrival {
    if (this.#got < HEADER_BYTES) return 'nothing';
    const { message } = this;
    const { size } = message;
    if (!this.#sensible(size)) return 'bad size';
    if (this.#got < size) return 'nothing';
    message.length = size;
    this.#got = 0;
    if (this.#came[0] !== 0 && this.#ahead >= this.#cameUpTo) {
      this.fds.set(this.#came);
      this.#came[0] = 0;
    }
    return 'message';
  }

  #sensible(size: number): boolean {
    return size >= HEADER_BYTES && size <= MAX_MESSAGE_BYTES;
  }

  /**
   * Waits for the reply to `id`, at most `milliseconds`; requests that come first stay for `take`. Returns where the reply's
   * header is in the buffer, until the next call of anything here, or what the other side did instead.
   */
  awaitReply(id: number, command: number, milliseconds: number): number | string {
    this.#putBack();
    const deadline = performance.now() + milliseconds;
    for (let at = this.#ahead; ; ) {
      const size = this.#end - at < HEADER_BYTES ? Infinity : this.#view.getUint32(at + 4, true);
      if (size !== Infinity && !this.#sensible(size)) return `a message of ${size} bytes`;
      if (at + size <= this.#end) {
        const isReply = (this.#view.getUint32(at + 8, true) & TYPE_MASK) === TYPE_REPLY;
        if (isReply && this.#view.getUint16(at, true) === id && this.#view.getUint16(at + 2, true) === command)
          return this.#pull(at, size);
        if (isReply) return 'a reply to nothing';
        at += size;
        continue;
      }
      const moved = this.#makeRoom();
      at -= moved;
      if (this.#end === AHEAD + AHEAD_BYTES) return 'it owed a reply, and sent requests without end';
      const left = deadline - performance.now();
      if (left <= 0 || !this.#socket.wait(Math.ceil(left))) return 'it did not answer';
      const { bytes } = this.message;
      const got = this.#socket.receive(bytes, this.#end, AHEAD + AHEAD_BYTES - this.#end, this.#part);
      if (got === END) return 'it went, and owed a reply';
      this.#end += got;
      if (this.#part[0] === 0) continue;
      const several = this.#came[0] !== 0;
      this.#keepDescriptors(this.#end);
      if (several) return 'it owed a reply, and sent descriptors again and again';
    }
  }

  /** Half a message at the buffer's start joins what is still to be looked at, of which there is nothing then. */
  #putBack(): void {
    if (this.#got === 0) return;
    this.message.bytes.copyWithin(AHEAD, 0, this.#got);
    this.#cameUpTo = AHEAD + this.#got;
    this.#ahead = AHEAD;
    this.#end = AHEAD + this.#got;
    this.#got = 0;
  }

  #makeRoom(): number {
    const moved = this.#ahead - AHEAD;
    if (moved === 0) return 0;
    this.message.bytes.copyWithin(AHEAD, this.#ahead, this.#end);
    this.#ahead -= moved;
    this.#end -= moved;
    this.#cameUpTo -= moved;
    return moved;
  }

  /** Takes a reply out of the middle: it goes to the end of the buffer, and what came behind it moves up. */
  #pull(at: number, size: number): number {
    const { bytes } = this.message;
    if (this.#came[0] !== 0 && this.#cameUpTo > at && this.#cameUpTo <= at + size) closeAll(this.#came);
    else if (this.#cameUpTo > at) this.#cameUpTo -= size;
    if (at + size === this.#end) {
      this.#end = at; // nothing behind it: it stays where it is
      return at;
    }
    const behind = bytes.slice(at + size, this.#end);
    const place = this.#end - size;
    bytes.copyWithin(place, at, at + size);
    bytes.set(behind, at);
    this.#end = place;
    return place;
  }

  /** Descriptors may come with any of a message's bytes. Those beyond the most allowed are closed, and counted. */
  #keepDescriptors(upTo: number): void {
    const came = this.#part[0]!;
    if (came < 0) {
      this.#part[0] = 0;
      throw new NativeError('EMFILE', 'recvmsg', 'its descriptors did not fit among the files that may be open here');
    }
    const kept = this.#came;
    for (let i = 0; i < Math.min(came, MAX_DESCRIPTORS); i++) {
      const fd = this.#part[1 + i]!;
      const at = 1 + kept[0]!;
      if (at < kept.length) kept[at] = fd;
      else closeReceived(fd);
      kept[0] = Math.min(kept[0]! + 1, MAX_DESCRIPTORS + 1);
    }
    if (came > MAX_DESCRIPTORS) kept[0] = MAX_DESCRIPTORS + 1;
    this.#part[0] = 0;
    this.#cameUpTo = upTo;
  }

  /** Closes the descriptors that nobody took. */
  close(): void {
    closeAll(this.fds);
    closeAll(this.#came);
  }
}

function closeAll(fds: Int32Array): void {
  const count = Math.min(fds[0]!, MAX_DESCRIPTORS);
  fds[0] = 0;
  for (let i = 0; i < count; i++) closeReceived(fds[1 + i]!);
}
