import { closeSync } from 'node:fs';
import { Clock } from '../../sim/clock.ts';
import { Capture } from '../../sim/wire/capture.ts';
import { PcapngWriter } from '../../sim/wire/pcapng.ts';
import type { Port } from '../../sim/wire/port.ts';
import { openToWrite, writeWhole } from './output-file.ts';

export interface CaptureOptions {
  readonly hardware: string;
  /** Bytes after which the capture ends, the wire going on; without end, if absent. */
  readonly limit?: number;
}

/** A pcapng file that ports' frames go to. */
export class CaptureFile {
  readonly path: string;
  /** Bytes written. */
  size = 0;
  /** Ended because its limit was reached. */
  full = false;
  readonly #fd: number;
  readonly #limit: number;
  readonly #capture: Capture;
  #error: unknown = null;
  #ended = false;

  /** @throws UsageError where the file cannot be written. */
  static async open(path: string, clock: Clock, options: CaptureOptions): Promise<CaptureFile> {
    return new CaptureFile(path, await openToWrite(path, 'capture'), clock, options);
  }

  private constructor(path: string, fd: number, clock: Clock, { hardware, limit = Infinity }: CaptureOptions) {
    this.path = path;
    this.#fd = fd;
    this.#limit = limit;
    const start = Date.now() - clock.now / 1e6; // the clock has run since it was made
    const writer = new PcapngWriter((chunk) => this.#write(chunk), {
      hardware,
      os: `${process.platform} ${process.arch}`,
      startSeconds: Math.floor(start / 1000),
      startNanoseconds: Math.round((start % 1000) * 1e6),
      chunkBytes: 256 * 1024,
    });
    this.#capture = new Capture(new StampClock(clock), writer);
  }

  tap(port: Port, about: { mac: Uint8Array; description: string }): void {
    this.#capture.tap(port, about);
  }

  /** Why it is not complete, where it is not: the disk is full, say. The wire goes on. */
  get error(): unknown {
    return this.#capture.error ?? this.#error;
  }

  /** Takes the taps out and completes the file. Idempotent. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    try {
      this.#capture.end();
    } catch (error) {
      this.#error = error;
    }
    closeSync(this.#fd);
  }

  #write(chunk: Uint8Array): void {
    writeWhole(this.#fd, chunk);
    this.size += chunk.length;
    if (this.size < this.#limit || this.full) return;
    this.full = true;
    setImmediate(() => this.end()); // a frame is passing through the tap just now
  }
}

/** A model's clock stands between alarms; a capture's stamps go on with the machine's time. */
class StampClock extends Clock {
  readonly #clock: Clock;
  readonly #origin: number;
  #last = 0;

  constructor(clock: Clock) {
    super();
    this.#clock = clock;
    this.#origin = performance.now() * 1e6 - clock.now;
  }

  override get now(): number {
    const machine = Math.round(performance.now() * 1e6 - this.#origin);
    this.#last = Math.max(this.#last, this.#clock.now, machine);
    return this.#last;
  }
}
