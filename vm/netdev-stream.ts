/**
 * One end of a cable whose other end is QEMU's `-netdev stream`, or anything else that speaks as it does over a UNIX socket:
 * each frame is preceded by its length, 32 bits, big-endian (QEMU, net/stream.c and net/net.c).
 *
 * It sends and takes frames by itself, or `port` joins it to a wire. The other side is hostile: a length that no frame has
 * ends the connection, and what does not fit in while it is slow to read is dropped, as a cable has no memory.
 */

import {
  connectUnix,
  END,
  listenUnix,
  receivedDescriptors,
  type UnixListener,
  type UnixSocket,
  type Watch,
  watch,
} from '../native/index.ts';
import { copyBytes } from '../sim/kernels/index.ts';
import { FrameQueue, MAX_FRAME } from '../sim/wire/frame-queue.ts';
import { HostPort, type ReceivedFrame } from '../sim/wire/host-port.ts';
import type { FrameHandler } from '../sim/wire/line.ts';
import { FCS_ERROR, type Station } from '../sim/wire/port.ts';
import { ANY_STATION } from '../sim/wire/station.ts';

export interface NetdevStreamOptions {
  /** Called with every frame instead of keeping it. */
  readonly onFrame?: FrameHandler;
  /** Called when somebody has connected, and when they have gone: why, where it was their fault. */
  readonly onCarrier?: (connected: boolean, why: string | null) => void;
  /** Bytes of frames kept until they are taken, and bytes that wait for the other side to read them (1 MiB each). */
  readonly capacity?: number;
}

export interface StreamCounters {
  received: number;
  sent: number;
  /** Frames sent that nobody was there for, or that the other side left no room for. */
  unsent: number;
  /** Frames received that nobody took before there were too many. */
  dropped: number;
  /** Frames that are none: shorter than an Ethernet header. */
  refused: number;
  /** Connections so far, and how many of them ended because of a length that no frame has. */
  connections: number;
  broken: number;
}

const LENGTH_BYTES = 4;
const LEAST_FRAME = 14;
const WIRE_FRAME = 60; // without FCS: what is shorter is padded before it goes to a wire, as QEMU's frames are not
const RECEIVE_BYTES = 256 * 1024; // a few of the longest frames
const DEFAULT_CAPACITY = 1024 * 1024;

export class NetdevStream {
  readonly counters: StreamCounters = {
    received: 0,
    sent: 0,
    unsent: 0,
    dropped: 0,
    refused: 0,
    connections: 0,
    broken: 0,
  };
  readonly #received: FrameQueue;
  readonly #input = new Uint8Array(RECEIVE_BYTES);
  readonly #output: Uint8Array;
  readonly #noDescriptors = receivedDescriptors(0); // those that come are closed
  readonly #padded = new Uint8Array(WIRE_FRAME);
  readonly #listener: UnixListener | null;
  readonly #onCarrier: (connected: boolean, why: string | null) => void;
  #onFrame: FrameHandler | null;
  #port: HostPort | null = null;
  #arrivals: Watch | null = null;
  #socket: UnixSocket | null = null;
  #watch: Watch | null = null;
  #held = 0; // bytes of #input that are a frame not yet whole
  #head = 0; // #output's bytes from here …
  #tail = 0; // … to here are not written yet
  #flushing = false;
  #closed = false;

  private constructor(listener: UnixListener | null, options: NetdevStreamOptions) {
    const { onFrame = null, onCarrier = () => {}, capacity = DEFAULT_CAPACITY } = options;
    this.#listener = listener;
    this.#onFrame = onFrame;
    this.#onCarrier = onCarrier;
    this.#received = new FrameQueue(capacity);
    this.#output = new Uint8Array(capacity + LENGTH_BYTES + MAX_FRAME);
  }

  /**
   * Listens at `path`: `-netdev stream,id=…,server=off,addr.type=unix,addr.path=…`. One connection at a time; the next
   * one waits until the present one has gone.
   */
  static listen(path: string, options: NetdevStreamOptions = {}): NetdevStream {
    const listener = listenUnix(path);
    const stream = new NetdevStream(listener, options);
    stream.#arrivals = watch(listener.fd, { readable: () => stream.#accept(listener) });
    stream.#arrivals.start();
    return stream;
  }

  /** Connects to who listens at `path`: `-netdev stream,id=…,server=on,addr.type=unix,addr.path=…`. */
  static connect(path: string, options: NetdevStreamOptions = {}): NetdevStream {
    const stream = new NetdevStream(null, options);
    stream.#join(connectUnix(path));
    return stream;
  }

  get connected(): boolean {
    return this.#socket !== null;
  }

  /** Frames waiting to be taken. */
  get waiting(): number {
    return this.#received.count;
  }

  /** Sends a frame without FCS; false where it was dropped. It is on its way once the present turn of the loop is over. */
  send(bytes: Uint8Array, start = 0, length = bytes.length - start): boolean {
    if (this.#socket === null || length < LEAST_FRAME || length > MAX_FRAME || !this.#makeRoom(length)) {
      this.counters.unsent++;
      return false;
    }
    const output = this.#output;
    const at = this.#tail;
    output[at] = length >>> 24;
    output[at + 1] = length >>> 16;
    output[at + 2] = length >>> 8;
    output[at + 3] = length;
    copyBytes(bytes, start, output, at + LENGTH_BYTES, length);
    this.#tail = at + LENGTH_BYTES + length;
    this.counters.sent++;
    this.#flushSoon();
    return true;
  }

  /** The oldest frame kept; null where there is none. */
  take(): ReceivedFrame | null {
    const queue = this.#received;
    if (queue.count === 0) return null;
    const bytes = queue.bytes.slice(queue.headStart, queue.headStart + queue.headLength);
    queue.pop();
    return { bytes, flags: 0 };
  }

  /**
   * A port for a wire, instead of `take` and `onFrame`: it shows a station while somebody is connected.
   * @param pump moves the wire's time to now, before a frame enters it.
   * @param onPartner told when what the other end of the wire shows has changed.
   */
  port(name: string, pump: () => void = () => {}, onPartner?: (partner: Station | null) => void): HostPort {
    const port = new HostPort(name, {
      station: this.connected ? ANY_STATION : null,
      onPartner,
      onFrame: (bytes, start, length, flags) => {
        if ((flags & FCS_ERROR) === 0) this.send(bytes, start, length);
      },
    });
    this.#port = port;
    this.#onFrame = (bytes, start, length) => {
      pump();
      if (length >= WIRE_FRAME) port.send(bytes, start, length);
      else port.send(this.#pad(bytes, start, length));
    };
    return port;
  }

  #pad(bytes: Uint8Array, start: number, length: number): Uint8Array {
    const padded = this.#padded.fill(0);
    copyBytes(bytes, start, padded, 0, length);
    return padded;
  }

  /** Parts with the other side. Where it listens it can come back, or another. */
  hangUp(): void {
    this.#gone(null);
  }

  /** Idempotent. */
  close(): void {
    this.#closed = true;
    this.#gone(null);
    this.#listener?.close(); // and its watch
  }

  #accept(listener: UnixListener): void {
    const socket = listener.accept();
    if (socket === null) return;
    this.#arrivals?.stop(); // whoever comes next waits in the socket's queue
    this.#join(socket);
  }

  #join(socket: UnixSocket): void {
    this.#socket = socket;
    this.#watch = watch(socket.fd, { readable: () => this.#readable(), writable: () => this.#flush() });
    this.#watch.start();
    this.counters.connections++;
    this.#carrier(true, null);
  }

  #gone(why: string | null): void {
    const socket = this.#socket;
    if (socket === null) return;
    this.#socket = null;
    this.#watch = null;
    this.#held = this.#head = this.#tail = 0;
    this.#flushing = false;
    socket.close(); // and its watch
    if (why !== null) this.counters.broken++;
    if (!this.#closed) this.#arrivals?.start();
    this.#carrier(false, why);
  }

  #carrier(connected: boolean, why: string | null): void {
    if (this.#port !== null) this.#port.station = connected ? ANY_STATION : null;
    this.#onCarrier(connected, why);
  }

  // ---- From the socket ----------------------------------------------------------------------------------------------

  /** One system call a turn: the event loop has others to serve. */
  #readable(): void {
    const socket = this.#socket!;
    const input = this.#input;
    const got = socket.receive(input, this.#held, input.length - this.#held, this.#noDescriptors);
    if (got === END) this.#gone(null);
    else if (got > 0) this.#parse(this.#held + got);
  }

  #parse(end: number): void {
    const input = this.#input;
    let at = 0;
    while (end - at >= LENGTH_BYTES) {
      const length = ((input[at]! << 24) | (input[at + 1]! << 16) | (input[at + 2]! << 8) | input[at + 3]!) >>> 0;
      if (length > MAX_FRAME) {
        this.#gone(`it announced a frame of ${length} bytes`); // where the next one begins cannot be known
        return;
      }
      if (end - at - LENGTH_BYTES < length) break;
      this.#frame(input, at + LENGTH_BYTES, length);
      if (this.#socket === null) return; // whoever got the frame hung up
      at += LENGTH_BYTES + length;
    }
    input.copyWithin(0, at, end);
    this.#held = end - at;
  }

  #frame(bytes: Uint8Array, start: number, length: number): void {
    if (length < LEAST_FRAME) {
      this.counters.refused++;
      return;
    }
    this.counters.received++;
    if (this.#onFrame !== null) this.#onFrame(bytes, start, length, 0);
    else if (this.#received.fits(length)) this.#received.push(bytes, start, length, 0, 0);
    else this.counters.dropped++;
  }

  // ---- To the socket ------------------------------------------------------------------------------------------------

  #makeRoom(length: number): boolean {
    const output = this.#output;
    if (this.#tail + LENGTH_BYTES + length <= output.length) return true;
    if (this.#head < output.length / 2) return false; // moving little again and again would cost too much
    output.copyWithin(0, this.#head, this.#tail);
    this.#tail -= this.#head;
    this.#head = 0;
    return this.#tail + LENGTH_BYTES + length <= output.length;
  }

  /** What one turn of the loop sends goes in one system call. */
  #flushSoon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(this.#flush);
  }

  readonly #flush = (): void => {
    const socket = this.#socket;
    if (socket === null) return;
    this.#flushing = false;
    const put = this.#tail > this.#head ? socket.write(this.#output, this.#head, this.#tail - this.#head) : 0;
    if (put === END) {
      this.#gone(null);
      return;
    }
    this.#head += put;
    const done = this.#head === this.#tail;
    if (done) this.#head = this.#tail = 0;
    else this.#flushing = true; // the watch goes on with it
    this.#watch!.awaitRoom(!done);
  };
}
