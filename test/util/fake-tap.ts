/** A TAP in memory: what the kernel would send is queued, what it would get is kept. No privileges. */
import type { JoinableTap, JoinableWatch } from '../../drivers/join/tap-join.ts';

export class FakeTap implements JoinableTap {
  readonly headerBytes: number;
  /** Header and frame, as the kernel would hand them over. */
  readonly queue: Uint8Array[] = [];
  /** Header and frame, as the kernel got them. */
  readonly got: Uint8Array[] = [];
  /** Whether `got` is kept; for measurements it is not. */
  keeps = true;
  reads = 0;
  writes = 0;
  /** Entries a write takes at most. */
  room = Infinity;
  plugged: boolean | null = null;
  mac: Uint8Array | null = null;
  mtu = 0;
  offload = {};
  error: Error | null = null;
  #readable: (() => void) | null = null;
  #watching = false;
  #scheduled = false;

  constructor(headerBytes = 10) {
    this.headerBytes = headerBytes;
  }

  readonly watch = (readable: () => void): JoinableWatch => {
    this.#readable = readable;
    return {
      start: () => {
        this.#watching = true;
        this.#look();
      },
      stop: () => {
        this.#watching = false;
      },
      close: () => {
        this.#watching = false;
        this.#readable = null;
      },
    };
  };

  get watched(): boolean {
    return this.#watching;
  }

  /** The kernel sends a frame. */
  send(frame: Uint8Array, header: ArrayLike<number> = new Uint8Array(this.headerBytes)): void {
    const whole = new Uint8Array(this.headerBytes + frame.length);
    whole.set(header);
    whole.set(frame, this.headerBytes);
    this.queue.push(whole);
    this.#look();
  }

  fail(error: Error): void {
    this.error = error;
    this.#look();
  }

  read(memory: ArrayBuffer, vec: Int32Array, count: number): number {
    if (this.error) throw this.error;
    this.reads++;
    let i = 0;
    for (; i < count && this.queue.length > 0; i++) {
      const offset = vec[3 * i]!;
      const capacity = vec[3 * i + 1]!;
      if (offset < 0 || offset + capacity > memory.byteLength) throw new RangeError('outside of memory');
      const frame = this.queue.shift()!.subarray(0, capacity);
      new Uint8Array(memory, offset, capacity).set(frame);
      vec[3 * i + 2] = frame.length;
    }
    return i;
  }

  write(memory: ArrayBuffer, vec: Int32Array, count: number): number {
    if (this.error) throw this.error;
    this.writes++;
    let whole: number[] = [];
    for (let i = 0; i < count; i++) {
      if (i >= this.room) return i;
      if (!this.keeps) continue;
      whole = [...whole, ...new Uint8Array(memory, vec[3 * i]!, vec[3 * i + 1]!)];
      if (vec[3 * i + 2] !== 0) continue;
      this.got.push(Uint8Array.from(whole));
      whole = [];
    }
    return count;
  }

  carrier(on: boolean): void {
    this.plugged = on;
  }

  setMac(mac: Uint8Array): void {
    this.mac = mac.slice();
  }

  setMtu(mtu: number): void {
    this.mtu = mtu;
  }

  setOffload(offload: object): void {
    this.offload = offload;
  }

  /** Level-triggered, once per turn. */
  #look(): void {
    if (this.#scheduled || !this.#watching || (this.queue.length === 0 && !this.error)) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (this.#watching) this.#readable?.();
      this.#look();
    });
  }
}
