/**
 * The far end of a card's wire, from within a guest: a virtio serial port whose other side QEMU joins to a `-netdev
 * stream`. Each frame is preceded by its length, 32 bits, big-endian (QEMU, net/stream.c).
 */
import assert from 'node:assert/strict';
import { closeSync, constants, openSync, readdirSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const PORTS = '/sys/class/virtio-ports';
const TRIES = 1e6;
const LEAST = 60; // without FCS

export class Wire {
  readonly #fd: number;
  readonly #chunk = new Uint8Array(65536);
  #held = new Uint8Array(0);
  readonly #frames: Uint8Array[] = [];

  /** @param name the port's, as QEMU's command line has it. */
  constructor(name: string) {
    const port = readdirSync(PORTS).find((it) => readFileSync(join(PORTS, it, 'name'), 'utf8').trim() === name);
    assert(port !== undefined, `there is a virtio port ${name}`);
    this.#fd = openSync(`/dev/${port}`, constants.O_RDWR | constants.O_NONBLOCK);
  }

  send(frame: Uint8Array): void {
    const message = new Uint8Array(4 + frame.length);
    new DataView(message.buffer).setUint32(0, frame.length);
    message.set(frame, 4);
    for (let at = 0, tries = 0; at < message.length; tries++) {
      assert(tries < TRIES, 'QEMU takes what is sent');
      at += unlessBusy(() => writeSync(this.#fd, message, at, message.length - at));
    }
  }

  take(): Uint8Array | null {
    if (this.#frames.length === 0) this.#read();
    return this.#frames.shift() ?? null;
  }

  /** Forgets what has arrived. */
  drain(): void {
    while (this.take() !== null);
  }

  #read(): void {
    for (;;) {
      const count = unlessBusy(() => readSync(this.#fd, this.#chunk, 0, this.#chunk.length, null));
      if (count === 0) break;
      this.#held = Buffer.concat([this.#held, this.#chunk.subarray(0, count)]);
    }
    let at = 0;
    const { buffer, byteOffset, length } = this.#held;
    const view = new DataView(buffer, byteOffset, length);
    while (at + 4 <= length && at + 4 + view.getUint32(at) <= length) {
      const end = at + 4 + view.getUint32(at);
      this.#frames.push(padded(this.#held.subarray(at + 4, end)));
      at = end;
    }
    this.#held = this.#held.subarray(at);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** As short frames are on a wire: QEMU's cards leave them as they are, although told to pad them. */
function padded(frame: Uint8Array): Uint8Array {
  const whole = new Uint8Array(Math.max(frame.length, LEAST));
  whole.set(frame);
  return whole;
}

function unlessBusy(action: () => number): number {
  try {
    return action();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0;
    throw error;
  }
}
