/**
 * Test traffic: UDP frames with a sequence number and the time of sending, and the sink that judges what arrives.
 *
 * Every buffer is filled once, when the generator is made; per frame only lengths, sequence number and time change.
 * Payload: "FXNC", sequence number, time in nanoseconds (high and low word), then a pattern.
 */
import { foldChecksum, get16, get32, put16, put32 } from '../../sim/packet.ts';
import { wide } from '../../sim/wide.ts';
import type { DmaAllocator } from '../device.ts';
import type { NetDevice } from '../netdev.ts';
import { FRAME_BUFFER, HEADROOM, type PacketBuffer, PacketPool, RX_ERROR } from '../packet.ts';
import { Histogram } from './histogram.ts';
import { WorkLoop } from './work-loop.ts';

const MAGIC = 0x46584e43;
const L3 = 14;
const L4 = 34;
const PAYLOAD = 42;
/** The shortest frame, without FCS, that has room for what is measured. */
export const LEAST_FRAME = 60;
/** What a frame takes on the wire beside itself: FCS, preamble, and the gap (IEEE 802.3 §4.2.3, §4.4.2). */
const WIRE_OVERHEAD = 24;
/** Simple IMIX: 7 × 64, 4 × 594, 1 × 1518 bytes with FCS. */
export const IMIX: readonly number[] = [60, 60, 60, 60, 60, 60, 60, 590, 590, 590, 590, 1514];
/** How far behind its rate the generator catches up after a pause: more would be a flood. */
const CATCH_UP = 10_000_000;

export interface GeneratorOptions {
  readonly device: NetDevice;
  /** Where the buffers come from: the device's own memory. */
  readonly dma: DmaAllocator;
  /** Nanoseconds, monotonic. The sink's must be the same clock. */
  readonly now: () => number;
  readonly destinationMac?: Uint8Array;
  readonly source?: readonly number[];
  readonly destination?: readonly number[];
  /** Frame sizes without FCS, drawn from evenly. */
  readonly sizes?: readonly number[];
  readonly seed?: number;
  /** As fast as possible, if absent. Bits are counted as the wire has them. Kept on average: frames leave in bursts. */
  readonly rate?: { readonly packetsPerSecond: number } | { readonly bitsPerSecond: number };
  /** Frames to send; without end, if absent. */
  readonly count?: number;
  readonly batch?: number;
  /** Judges what the same device receives. */
  readonly sink?: Sink;
  /** All have been handed to the device. */
  readonly finished?: () => void;
  readonly failed?: (error: unknown) => void;
}

const BROADCAST = Uint8Array.of(255, 255, 255, 255, 255, 255);

export class Generator {
  sent = 0;
  sentBytes = 0;
  readonly #device: NetDevice;
  readonly #options: GeneratorOptions;
  readonly #now: () => number;
  readonly #pool: PacketPool;
  readonly #loop: WorkLoop;
  readonly #sizes: readonly number[];
  readonly #batch: number;
  readonly #count: number;
  readonly #nsPerFrame: number;
  readonly #nsPerByte: number;
  readonly #headerSum: number;
  readonly #packets: PacketBuffer[] = [];
  readonly #received: PacketBuffer[] = [];
  #first = 0;
  #ready = 0;
  #sequence = 0;
  #random: number;
  #due = 0;
  #started = false;
  #finished = false;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: GeneratorOptions) {
    const { device, now, sizes = [LEAST_FRAME], seed = 1, rate, count = Infinity, batch = 64, failed } = options;
    for (const size of sizes)
      if (!(Number.isInteger(size) && size >= LEAST_FRAME && size <= FRAME_BUFFER - HEADROOM))
        throw new RangeError(`a frame of ${size} bytes: it takes ${LEAST_FRAME} to ${FRAME_BUFFER - HEADROOM}`);
    if (sizes.length === 0) throw new RangeError('no frame sizes');
    wide(this, 'sentBytes');
    this.#options = options;
    this.#device = device;
    this.#now = now;
    this.#sizes = sizes;
    this.#random = seed | 0 || 1;
    this.#count = count;
    this.#batch = batch;
    [this.#nsPerFrame, this.#nsPerByte] = pace(rate);
    this.#headerSum = 0;
    const depth = device.rings.tx.size + batch;
    this.#pool = new PacketPool(options.dma, { chunk: depth, limit: depth });
    this.#headerSum = this.#fillAll(depth);
    this.#loop = new WorkLoop({
      devices: [device],
      round: () => this.#round(),
      rest: () => this.#sleep(),
      failed: (error) => {
        this.stop();
        if (failed === undefined) throw error;
        failed(error);
      },
    });
  }

  start(): void {
    this.#started = true;
    this.#due = this.#now();
    this.#loop.wake();
  }

  /** Sends nothing more, but goes on judging what comes back. */
  finish(): void {
    this.#finished = true;
  }

  /** Sends nothing more. The buffers with the device come back to a pool that nobody else uses. Idempotent. */
  stop(): void {
    this.#loop.stop();
    if (this.#timer !== null) clearTimeout(this.#timer);
    while (this.#first < this.#ready) this.#packets[this.#first++]!.free();
  }

  /** Frees the buffers; the device must have been stopped. */
  close(): void {
    this.stop();
    this.#pool.close();
  }

  #fillAll(count: number): number {
    const all: PacketBuffer[] = [];
    for (let i = 0; i < count; i++) {
      const buffer = this.#pool.take();
      if (buffer === null) break;
      this.#fill(buffer);
      all.push(buffer);
    }
    if (all.length === 0) throw new RangeError('no DMA memory for the frames');
    const { bytes, start } = all[0]!;
    let sum = 0;
    for (let at = start + L3; at < start + L4; at += 2) sum += get16(bytes, at);
    for (const buffer of all) buffer.free();
    return sum; // with length and checksum 0
  }

  #fill({ bytes, start }: PacketBuffer): void {
    const { destinationMac = BROADCAST, source = [10, 0, 0, 1], destination = [10, 0, 0, 2] } = this.#options;
    bytes.set(destinationMac, start);
    bytes.set(this.#device.mac, start + 6);
    bytes.set([8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, ...source, ...destination], start + 12);
    bytes.set([0xc0, 0, 0, 9], start + L4); // from the ephemeral ports to discard (RFC 863)
    put32(bytes, start + PAYLOAD, MAGIC);
    for (let at = start + PAYLOAD + 16; at < bytes.length; at++) bytes[at] = at - start;
  }

  #round(): boolean {
    const received = this.#receive();
    if (!this.#started || this.#finished) return received;
    if (this.#first === this.#ready) this.#prepare();
    const waiting = this.#ready - this.#first;
    if (waiting === 0) return received;
    const taken = this.#device.transmit(this.#packets, this.#first, waiting);
    this.#first += taken;
    this.sent += taken;
    if (this.sent >= this.#count) {
      this.#finished = true;
      this.#options.finished?.();
    }
    return taken > 0 || received;
  }

  #receive(): boolean {
    const { sink } = this.#options;
    return sink !== undefined && drain(this.#device, this.#received, this.#batch, sink);
  }

  /** What is due by now, at most a batch. */
  #prepare(): void {
    const now = this.#now();
    const paced = this.#nsPerFrame > 0 || this.#nsPerByte > 0;
    if (this.#due < now - CATCH_UP) this.#due = now - CATCH_UP;
    this.#first = 0;
    this.#ready = 0;
    const most = Math.min(this.#batch, this.#count - this.sent);
    while (this.#ready < most && (!paced || this.#due <= now)) {
      const buffer = this.#pool.take();
      if (buffer === null) return; // all on the ring
      this.#stamp(buffer, this.#size(), now);
      this.#due += this.#nsPerFrame + this.#nsPerByte * (buffer.length + WIRE_OVERHEAD);
      this.#packets[this.#ready++] = buffer;
    }
  }

  /** Marsaglia's xorshift32: seeded, and the same everywhere. */
  #size(): number {
    if (this.#sizes.length === 1) return this.#sizes[0]!;
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x;
    return this.#sizes[(x >>> 0) % this.#sizes.length]!;
  }

  #stamp(packet: PacketBuffer, size: number, now: number): void {
    const { bytes, start } = packet;
    packet.length = size;
    packet.total = size;
    this.sentBytes += size;
    put16(bytes, start + L3 + 2, size - L3);
    put16(bytes, start + L3 + 10, ~foldChecksum(this.#headerSum + size - L3));
    put16(bytes, start + L4 + 4, size - L4);
    put32(bytes, start + PAYLOAD + 4, this.#sequence);
    put32(bytes, start + PAYLOAD + 8, Math.floor(now / 0x100000000));
    put32(bytes, start + PAYLOAD + 12, now);
    this.#sequence = (this.#sequence + 1) | 0;
  }

  /** Until the next frame is due: a timer, whose grain is a millisecond. A full ring wakes us by itself. */
  #sleep(): void {
    if (!this.#started || this.#finished || this.#timer !== null || this.#first < this.#ready) return;
    const wait = Math.max(1, Math.ceil((this.#due - this.#now()) / 1e6));
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#loop.wake();
    }, wait);
  }
}

function pace(rate: GeneratorOptions['rate']): [number, number] {
  if (rate === undefined) return [0, 0];
  const perFrame = 'packetsPerSecond' in rate;
  const value = perFrame ? rate.packetsPerSecond : rate.bitsPerSecond;
  if (!(value > 0 && value < Infinity)) throw new RangeError(`a rate of ${value}`);
  return perFrame ? [1e9 / value, 0] : [0, 8e9 / value];
}

/** How far back a late frame is told from a duplicate. */
const WINDOW = 65536;

/** Judges what arrives: loss, duplicates, order, and the time it took. */
export class Sink {
  readonly latency = new Histogram();
  received = 0;
  bytes = 0;
  /** Not seen (yet), though later ones were. */
  lost = 0;
  duplicates = 0;
  /** Came after a later one. */
  reordered = 0;
  /** Older than can be told. */
  stale = 0;
  /** Not a generator's frames. */
  foreign = 0;
  readonly #now: () => number;
  readonly #seen = new Uint32Array(WINDOW / 32);
  #next = 0;

  constructor(now: () => number) {
    wide(this, 'bytes');
    this.#now = now;
  }

  take(packet: PacketBuffer, now: number = this.#now()): void {
    const { bytes, start } = packet;
    const at = start + PAYLOAD;
    if (packet.length < LEAST_FRAME - 2 || packet.flags & RX_ERROR || get32(bytes, at) !== MAGIC) {
      this.foreign++;
      return;
    }
    this.received++;
    this.bytes += packet.total;
    this.#judge(get32(bytes, at + 4) | 0);
    this.latency.record(now - (get32(bytes, at + 8) * 0x100000000 + get32(bytes, at + 12)));
  }

  get now(): number {
    return this.#now();
  }

  #judge(sequence: number): void {
    const ahead = (sequence - this.#next) | 0; // sequence numbers wrap
    if (ahead < 0) {
      this.#late(sequence, -ahead);
      return;
    }
    if (ahead >= WINDOW) this.#seen.fill(0);
    else for (let i = 0; i < ahead; i++) this.#mark(this.#next + i, false);
    this.lost += ahead;
    this.#mark(sequence, true);
    this.#next = (sequence + 1) | 0;
  }

  #late(sequence: number, behind: number): void {
    if (behind > WINDOW) {
      this.stale++;
    } else if (((this.#seen[(sequence & (WINDOW - 1)) >>> 5]! >>> (sequence & 31)) & 1) !== 0) {
      this.duplicates++;
    } else {
      this.reordered++;
      this.lost--;
      this.#mark(sequence, true);
    }
  }

  #mark(sequence: number, seen: boolean): void {
    const word = (sequence & (WINDOW - 1)) >>> 5;
    const bit = 1 << (sequence & 31);
    if (seen) this.#seen[word]! |= bit;
    else this.#seen[word]! &= ~bit;
  }
}

function drain(device: NetDevice, into: PacketBuffer[], batch: number, sink: Sink): boolean {
  const count = device.receive(into, batch);
  if (count === 0) return false;
  const { now } = sink;
  for (let i = 0; i < count; i++) {
    sink.take(into[i]!, now);
    into[i]!.free();
  }
  return true;
}

/** Everything a device receives goes to a sink. */
export class SinkJoin {
  readonly #loop: WorkLoop;
  readonly #received: PacketBuffer[] = [];

  constructor(
    device: NetDevice,
    sink: Sink,
    { batch = 64, failed }: { batch?: number; failed?: (error: unknown) => void } = {},
  ) {
    this.#loop = new WorkLoop({
      devices: [device],
      round: () => drain(device, this.#received, batch, sink),
      failed: (error) => {
        if (failed === undefined) throw error;
        failed(error);
      },
    });
  }

  start(): void {
    this.#loop.wake();
  }

  close(): void {
    this.#loop.stop();
  }
}
