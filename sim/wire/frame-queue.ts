import { copyBytes } from '../kernels/index.ts';

/** The longest frame a queue takes: 64 KiB of segment-offloaded payload and its headers. */
export const MAX_FRAME = 0x10100;

/** What a frame counts for at least, so that the number of frames is bounded too. */
const LEAST = 64;

const NONE = new Uint8Array(0);

export interface SavedFrame {
  /** Nanoseconds from the moment of saving; negative where overdue. */
  due: number;
  flags: number;
  bytes: Uint8Array;
}

/**
 * Frames in the order in which they are due, in memory allocated once, at the first frame.
 *
 * Only the sum of the queued lengths is bounded by `capacity`; the byte ring itself is longer by three of the longest
 * frames. That covers what lies between the oldest byte still needed and the place written next without counting: the
 * gap where a frame did not fit before the ring's end, a frame popped but still being read, and one that overtook.
 */
export class FrameQueue {
  readonly capacity: number;
  #bytes = NONE;
  #due = new Float64Array(0);
  #start = new Int32Array(0);
  #length = new Int32Array(0);
  #flags = new Int32Array(0);
  #mask = 0;
  #head = 0;
  #count = 0;
  #used = 0;
  #write = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  get count(): number {
    return this.#count;
  }

  /** The ring that `headStart` and `lastStart` are places in. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  get headDue(): number {
    return this.#due[this.#head]!;
  }

  get headStart(): number {
    return this.#start[this.#head]!;
  }

  get headLength(): number {
    return this.#length[this.#head]!;
  }

  get headFlags(): number {
    return this.#flags[this.#head]!;
  }

  get lastStart(): number {
    return this.#start[this.#last]!;
  }

  get lastDue(): number {
    return this.#due[this.#last]!;
  }

  set lastDue(due: number) {
    this.#due[this.#last] = due;
  }

  get #last(): number {
    return (this.#head + this.#count - 1) & this.#mask;
  }

  fits(length: number): boolean {
    return length <= MAX_FRAME && this.#used + Math.max(LEAST, length) <= this.capacity;
  }

  /** Copies a frame in at the end. The caller has asked `fits`. */
  push(bytes: Uint8Array, start: number, length: number, flags: number, due: number): void {
    if (this.#bytes === NONE) this.#allocate();
    if (this.#write + length > this.#bytes.length) this.#write = 0;
    copyBytes(bytes, start, this.#bytes, this.#write, length);
    this.#count++;
    const last = this.#last;
    this.#due[last] = due;
    this.#start[last] = this.#write;
    this.#length[last] = length;
    this.#flags[last] = flags;
    this.#write += length;
    this.#used += Math.max(LEAST, length);
  }

  /** The last frame overtakes the one before it; each keeps the other's place in the order and its own bytes. */
  swapLast(): void {
    const last = this.#last;
    const before = (last - 1) & this.#mask;
    swap(this.#due, last, before);
    swap(this.#start, last, before);
    swap(this.#length, last, before);
    swap(this.#flags, last, before);
  }

  /** Takes the head off. Its bytes stay readable while it is delivered: see above. */
  pop(): void {
    this.#used -= Math.max(LEAST, this.headLength);
    this.#head = (this.#head + 1) & this.#mask;
    this.#count--;
  }

  clear(): void {
    this.#count = 0;
    this.#used = 0;
  }

  save(now: number): SavedFrame[] {
    return Array.from({ length: this.#count }, (_, i) => {
      const at = (this.#head + i) & this.#mask;
      const start = this.#start[at]!;
      const bytes = this.#bytes.slice(start, start + this.#length[at]!);
      return { due: this.#due[at]! - now, flags: this.#flags[at]!, bytes };
    });
  }

  restore(frames: readonly SavedFrame[], now: number): void {
    this.clear();
    for (const { bytes, flags, due } of frames) {
      if (this.fits(bytes.length)) this.push(bytes, 0, bytes.length, flags, due + now);
    }
  }

  #allocate(): void {
    const frames = 2 ** Math.ceil(Math.log2(this.capacity / LEAST));
    this.#mask = frames - 1;
    this.#bytes = new Uint8Array(this.capacity + 3 * MAX_FRAME);
    this.#due = new Float64Array(frames);
    this.#start = new Int32Array(frames);
    this.#length = new Int32Array(frames);
    this.#flags = new Int32Array(frames);
  }
}

function swap(array: Float64Array | Int32Array, a: number, b: number): void {
  const kept = array[a]!;
  array[a] = array[b]!;
  array[b] = kept;
}
