import { wide } from '../wide.ts';
import { FrameQueue } from './frame-queue.ts';
import type { FrameHandler } from './line.ts';
import type { Medium, Port, Station } from './port.ts';
import { ANY_STATION, commonSpeed } from './station.ts';

export interface HostPortOptions {
  /** What it shows the other end: by default it negotiates everything up to 10 Gbit/s. */
  readonly station?: Station | null;
  /** Called with every frame instead of keeping it; may send. */
  readonly onFrame?: FrameHandler;
  /** Called when the other end's station changed. */
  readonly onPartner?: (partner: Station | null) => void;
  /** Bytes of frames kept until they are taken (4 MiB). */
  readonly capacity?: number;
}

export interface ReceivedFrame {
  bytes: Uint8Array;
  flags: number;
}

const DEFAULT_CAPACITY = 4 * 1024 * 1024;

/** A port without a card: sends what it is told to, and keeps what arrives or hands it to a callback. */
export class HostPort implements Port {
  readonly name: string;
  medium: Medium | null = null;
  /** Frames and bytes that arrived, and frames of those that were dropped because nobody took the ones before. */
  readonly counters = { received: 0, bytes: 0, dropped: 0 };
  readonly #queue: FrameQueue;
  readonly #onFrame: FrameHandler | null;
  readonly #onPartner: (partner: Station | null) => void;
  #station: Station | null;
  #partner: Station | null = null;

  constructor(name: string, options: HostPortOptions = {}) {
    wide(this.counters, 'bytes');
    this.name = name;
    this.#station = options.station === undefined ? ANY_STATION : options.station;
    this.#onFrame = options.onFrame ?? null;
    this.#onPartner = options.onPartner ?? (() => {});
    this.#queue = new FrameQueue(options.capacity ?? DEFAULT_CAPACITY);
  }

  get station(): Station | null {
    return this.#station;
  }

  /** Null silences the transmitter. */
  set station(station: Station | null) {
    this.#station = station;
    this.medium?.stationChanged(this);
  }

  get partner(): Station | null {
    return this.#partner;
  }

  /** Whether the ends have a speed in common. */
  get carrier(): boolean {
    return commonSpeed(this.#station, this.#partner) > 0;
  }

  /** Frames waiting to be taken. */
  get waiting(): number {
    return this.#queue.count;
  }

  /** Sends a frame of `length` bytes without FCS; false where nothing is plugged in. */
  send(bytes: Uint8Array, start = 0, length = bytes.length - start, flags = 0): boolean {
    if (this.medium === null) return false;
    this.medium.transmit(this, bytes, start, length, flags);
    return true;
  }

  /** The oldest frame kept, copied out; null where there is none. */
  take(): ReceivedFrame | null {
    const queue = this.#queue;
    if (queue.count === 0) return null;
    const bytes = queue.bytes.slice(queue.headStart, queue.headStart + queue.headLength);
    const flags = queue.headFlags;
    queue.pop();
    return { bytes, flags };
  }

  partnerChanged(partner: Station | null): void {
    this.#partner = partner;
    this.#onPartner(partner);
  }

  receive(bytes: Uint8Array, start: number, length: number, flags: number): void {
    this.counters.received++;
    this.counters.bytes += length;
    if (this.#onFrame !== null) this.#onFrame(bytes, start, length, flags);
    else if (this.#queue.fits(length)) this.#queue.push(bytes, start, length, flags, 0);
    else this.counters.dropped++;
  }
}
