/**
 * A kernel's connection to one device: vhost-user's requests, the memory and queues that come with them, and kicks, which
 * are messages too, so that a kick is served before the kernel goes on. All of it is hostile input: what is wrong with a
 * request is answered with an error where an answer is possible, and ends the connection where it is not.
 */
import { closeSync } from 'node:fs';
import { adoptUnix, END, NativeError, receivedDescriptors, type UnixSocket } from '../../native/index.ts';
import type { AddressSpace } from '../../sim/memory.ts';
import { type GuestMemory, UNFINISHED } from '../vfio-user/guest-memory.ts';
import { Turn } from '../vfio-user/turn.ts';
import {
  BACKEND_VRING_CALL,
  CONFIG_BYTES,
  CONFIG_MOST,
  GET_CONFIG,
  GET_FEATURES,
  GET_PROTOCOL_FEATURES,
  HEADER_BYTES,
  MEM_REGION_BYTES,
  MEM_REGIONS,
  MEM_TABLE_BYTES,
  MESSAGE_MOST,
  Message,
  NEED_REPLY,
  PROTOCOL,
  PROTOCOL_FEATURES,
  REPLY,
  SET_BACKEND_REQUEST_FD,
  SET_CONFIG,
  SET_FEATURES,
  SET_MEM_TABLE,
  SET_OWNER,
  SET_PROTOCOL_FEATURES,
  SET_VRING_ADDR,
  SET_VRING_BASE,
  SET_VRING_ENABLE,
  SET_VRING_NUM,
  U64_BYTES,
  VERSION,
  VERSION_1,
  VRING_ADDR_BYTES,
  VRING_KICK,
  VRING_STATE_BYTES,
} from './codec.ts';
import { count, type Line, type VirtioDevice } from './device.ts';
import type { Reactor } from './reactor.ts';
import type { Delivery, Time } from './time.ts';
import { Virtqueue } from './virtqueue.ts';

/** What became of a request: it may be acknowledged, or refused; or the answer is made. */
type Outcome = 'done' | 'refused' | 'answered';

const BUFFER = 4096;
/** Of a kernel's, bytes: 32 GiB is more than any has. */
const MOST_MEMORY = 2 ** 35;

export interface SessionContext {
  readonly device: VirtioDevice;
  readonly memory: GuestMemory;
  readonly space: AddressSpace;
  readonly time: Time;
  readonly reactor: Reactor;
  /** The kernel went, or is to go: why, where that is its fault. */
  readonly gone: (why: string | null) => void;
}

export class Session implements Line, Delivery {
  readonly queues: readonly Virtqueue[];
  requests = 0;
  readonly #socket: UnixSocket;
  readonly #context: SessionContext;
  readonly #place: number;
  readonly #message = new Message(BUFFER);
  readonly #answer = new Message();
  readonly #call = new Message(HEADER_BYTES + VRING_STATE_BYTES);
  readonly #replied = new Uint8Array(HEADER_BYTES + U64_BYTES);
  #got = 0;
  readonly #part = receivedDescriptors(MEM_REGIONS);
  readonly #fds: number[] = [];
  /** Lengths of queues that were not placed yet. */
  readonly #sizes: Uint32Array;
  #backend: UnixSocket | null = null;
  #calls = 0;
  #closed = false;

  constructor(socket: UnixSocket, context: SessionContext) {
    const { device, space, reactor } = context;
    this.#socket = socket;
    this.#context = context;
    this.queues = Array.from({ length: device.queues }, () => new Virtqueue(space));
    this.#sizes = new Uint32Array(device.queues);
    this.#place = reactor.add(socket.fd, () => this.#guard(() => this.#receive()));
    device.attach(this);
  }

  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof NativeError)) throw error;
      this.#context.gone(error.code === 'EPIPE' || error.code === 'ECONNRESET' ? null : error.message);
    }
  }

  // ---- Messages -------------------------------------------------------------------------------------------------------

  #receive(): void {
    const message = this.#message;
    const got = this.#socket.receive(message.bytes, this.#got, BUFFER - this.#got, this.#part);
    if (this.#part[0] !== 0) this.#keepDescriptors();
    if (got === END) {
      this.#context.gone(this.#got > 0 ? 'it went in the middle of a message' : null);
      return;
    }
    this.#got += got;
    while (!this.#closed && this.#got >= HEADER_BYTES) {
      const { length } = message;
      if (length > MESSAGE_MOST) {
        this.#context.gone(`a message of ${length} bytes`);
        return;
      }
      if (length > this.#got) return;
      this.#serve(message);
      this.#got -= length;
      if (this.#got > 0) message.bytes.copyWithin(0, length, length + this.#got);
    }
  }

  /** They came with the message that is being received. */
  #keepDescriptors(): void {
    const came = Math.min(this.#part[0]!, MEM_REGIONS);
    for (let i = 1; i <= came; i++) this.#fds.push(this.#part[i]!);
    this.#part[0] = 0;
    while (this.#fds.length > MEM_REGIONS) closeSync(this.#fds.shift()!);
  }

  #serve(message: Message): void {
    this.requests++;
    const { request, flags } = message;
    if ((flags & ~NEED_REPLY) !== VERSION) {
      this.#context.gone('a message of another version, or a reply');
      return;
    }
    const outcome = request === VRING_KICK ? this.#kick(message) : this.#dispatch(message);
    if (this.#fds.length > 0) for (const fd of this.#fds.splice(0)) closeSync(fd);
    if (this.#closed) return;
    if (outcome === 'refused') count(this.#context.device.refused, `requests of number ${request}`);
    if (outcome !== 'answered') {
      if ((flags & NEED_REPLY) === 0) return;
      this.#makeAnswer(request, outcome === 'done' ? 0 : 1);
    }
    this.#socket.send(this.#answer.bytes, 0, this.#answer.length);
  }

  #makeAnswer(request: number, low: number, high = 0): 'answered' {
    this.#answer.header(request, VERSION | REPLY, U64_BYTES);
    this.#answer.setWords(0, low, high);
    return 'answered';
  }

  #dispatch(message: Message): Outcome {
    const { request, size } = message;
    const features = this.#context.device.features | PROTOCOL_FEATURES;
    switch (request) {
      case GET_FEATURES:
        return this.#makeAnswer(request, features, VERSION_1);
      case GET_PROTOCOL_FEATURES:
        return this.#makeAnswer(request, PROTOCOL);
      case SET_OWNER:
      case SET_CONFIG: // none of these devices has anything to write
        return 'done';
      case SET_FEATURES:
        return offered(message, features, VERSION_1);
      case SET_PROTOCOL_FEATURES:
        return offered(message, PROTOCOL, 0);
      case SET_MEM_TABLE:
        return this.#mapMemory(message);
      case SET_BACKEND_REQUEST_FD:
        return this.#takeBackend();
      case SET_VRING_NUM:
      case SET_VRING_BASE:
      case SET_VRING_ENABLE:
        return size === VRING_STATE_BYTES ? this.#setQueue(request, message.u32(0), message.u32(4)) : 'refused';
      case SET_VRING_ADDR:
        return size === VRING_ADDR_BYTES ? this.#placeQueue(message) : 'refused';
      case GET_CONFIG:
        return this.#readConfig(message);
      default:
        return 'refused';
    }
  }

  /** What is mapped where: its physical memory, without the program's own, which no device reaches. */
  #mapMemory(message: Message): Outcome {
    if (message.size !== MEM_TABLE_BYTES + MEM_REGIONS * MEM_REGION_BYTES) return 'refused';
    const regions = message.u32(0);
    if (regions < 1 || regions > MEM_REGIONS || this.#fds.length !== regions) return 'refused';
    for (const queue of this.queues) queue.close();
    const { memory } = this.#context;
    memory.clear();
    for (let i = 0; i < regions; i++) {
      const at = MEM_TABLE_BYTES + i * MEM_REGION_BYTES;
      const [start, length, offset] = [message.u64(at), message.u64(at + 8), message.u64(at + 24)];
      if (length > MOST_MEMORY || this.#mapWhole(start, length, this.#fds[i]!, offset) !== 0) return 'refused';
    }
    return 'done';
  }

  /** At once: it is no more than a few parts. */
  #mapWhole(start: number, length: number, fd: number, offset: number): number {
    const turn = new Turn(0);
    let error = UNFINISHED;
    while (error === UNFINISHED) {
      turn.begin();
      error = this.#context.memory.map(turn, start, length, true, fd, offset);
    }
    return error;
  }

  /** Where the kernel is told of what it was given. */
  #takeBackend(): Outcome {
    if (this.#fds.length !== 1) return 'refused';
    this.#backend?.close();
    this.#backend = null;
    try {
      this.#backend = adoptUnix(this.#fds[0]!);
    } catch (error) {
      if (error instanceof NativeError) return 'refused';
      throw error;
    }
    this.#fds.pop(); // it is the socket's now
    return 'done';
  }

  #setQueue(request: number, index: number, value: number): Outcome {
    if (index >= this.queues.length) return 'refused';
    if (request === SET_VRING_NUM) this.#sizes[index] = value;
    if (request === SET_VRING_BASE && value !== 0) return 'refused'; // where a queue was left: none is resumed here
    if (request === SET_VRING_ENABLE && value === 0) this.queues[index]!.close();
    return 'done';
  }

  #placeQueue(message: Message): Outcome {
    const index = message.u32(0);
    const queue = this.queues[index];
    const [descriptors, used, available] = [message.u64(8), message.u64(16), message.u64(24)];
    const placed = queue?.place({ size: this.#sizes[index]!, descriptors, available, used }) ?? false;
    return placed ? 'done' : 'refused';
  }

  #readConfig(message: Message): Outcome {
    const [offset, length] = [message.u32(0), message.u32(4)];
    if (message.size !== CONFIG_BYTES + length || offset !== 0 || length > CONFIG_MOST) return 'refused';
    const answer = this.#answer;
    answer.header(GET_CONFIG, VERSION | REPLY, message.size);
    for (let at = 0; at < CONFIG_BYTES; at += 4) answer.setU32(at, message.u32(at));
    const { config } = this.#context.device;
    const start = HEADER_BYTES + CONFIG_BYTES;
    answer.bytes.fill(0, start, start + length);
    answer.bytes.set(config.subarray(0, length), start);
    return 'answered';
  }

  // ---- Kicks and calls ------------------------------------------------------------------------------------------------

  #kick(message: Message): Outcome {
    const index = message.u32(0);
    const queue = this.queues[index];
    if (message.size !== VRING_STATE_BYTES || queue === undefined || !queue.ready) return 'refused';
    const { device, time } = this.#context;
    time.pump();
    device.kicked(index);
    time.settle();
    return 'done';
  }

  call(index: number): void {
    if (this.queues[index]!.quiet) return;
    this.#calls |= 1 << index;
    this.#context.time.pending(this);
  }

  /** Tells the kernel of all that its queues were given; where its time is a calendar's, it has taken note when this returns. */
  deliver(): void {
    this.#context.device.deliver();
    for (let index = 0; this.#calls !== 0; index++) {
      if ((this.#calls & (1 << index)) === 0) continue;
      this.#calls &= ~(1 << index);
      this.#tell(index);
    }
  }

  #tell(index: number): void {
    const backend = this.#backend;
    if (backend === null || this.#closed) return;
    const { awaitAnswer } = this.#context.time;
    const call = this.#call;
    call.header(BACKEND_VRING_CALL, awaitAnswer === null ? VERSION : VERSION | NEED_REPLY, VRING_STATE_BYTES);
    call.setWords(0, index, 0);
    this.#guard(() => {
      backend.send(call.bytes, 0, call.length);
      for (let got = 0; awaitAnswer !== null && got < this.#replied.length && !this.#closed; ) {
        if (!awaitAnswer(backend.fd)) {
          this.#context.gone('it does not answer');
          return;
        }
        const part = backend.receive(this.#replied, got, this.#replied.length - got, this.#part);
        if (this.#part[0] !== 0) this.#keepDescriptors();
        if (part === END) {
          this.#context.gone(null);
          return;
        }
        got += part;
      }
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#context.reactor.remove(this.#place);
    this.#backend?.close();
    this.#socket.close();
    for (const fd of this.#fds.splice(0)) closeSync(fd);
    for (const queue of this.queues) queue.close();
  }
}

/** Takes features, as far as they were offered. */
function offered(message: Message, low: number, high: number): Outcome {
  const known = message.size === U64_BYTES && (message.u32(0) & ~low) === 0 && (message.u32(4) & ~high) === 0;
  return known ? 'done' : 'refused';
}
