/**
 * A card's frames joined to a TAP, so that the host's own network stack uses the card through the user-space driver.
 *
 *     kernel → TAP read, a batch straight into DMA buffers → offload requests → the transmit ring
 *     receive ring → a batch → GRO → virtio-net headers in the headroom → one gathered TAP write
 *
 * No frame is copied on the way. When the transmit ring is full the TAP is no longer read, and the kernel's queue fills,
 * as it would for any card: nothing is lost here.
 */
import { wide } from '../../sim/wide.ts';
import { DeviceError, type DmaAllocator } from '../device.ts';
import type { NetDevice } from '../netdev.ts';
import { HEADROOM, type PacketBuffer, PacketPool, RX_ERROR, RX_VLAN } from '../packet.ts';
import { SHORTEST } from '../requests.ts';
import { Gro } from './gro.ts';
import { MALFORMED, Segmenter } from './segment.ts';
import { readVirtioNetHeader, VIRTIO_NET_HEADER, writeVirtioNetHeader } from './virtio-net-header.ts';
import { insertVlan } from './vlan.ts';
import { WorkLoop } from './work-loop.ts';

/** What is needed of a TAP: native's `Tap` is one. Entries of `vec` are [offset, capacity or length, length or more]. */
export interface JoinableTap {
  /** Bytes in front of each frame: 10, or 0. */
  readonly headerBytes: number;
  read(memory: ArrayBuffer, vec: Int32Array, count: number): number;
  write(memory: ArrayBuffer, vec: Int32Array, count: number): number;
  carrier(on: boolean): void;
  setMac(mac: Uint8Array): void;
  setMtu(mtu: number): void;
  setOffload(offload: { checksum?: boolean; tso4?: boolean; tso6?: boolean }): void;
}

export interface JoinableWatch {
  start(): void;
  stop(): void;
  close(): void;
}

export interface TapJoinOptions {
  readonly device: NetDevice;
  readonly tap: JoinableTap;
  /** Says when the TAP has something to read: `(readable) => watch(tap.fd, { readable })`. */
  readonly watch: (readable: () => void) => JoinableWatch;
  /**
   * Buffers for what the kernel sends, in the device's DMA memory. Where they hold super-frames (see superFramePool) the
   * kernel is offered TSO, and the device or, failing that, software cuts them. By default the device's own pool.
   */
  readonly pool?: PacketPool;
  /** Frames in one native call at most. */
  readonly batch?: number;
  /** Whether received segments are coalesced; the TAP must have a virtio-net header for it. */
  readonly gro?: boolean;
  /** Hears of what cannot be sent, once of each kind. */
  readonly log?: (line: string) => void;
  /** The TAP or the device failed, and the join has closed. By default the error is thrown. */
  readonly failed?: (error: unknown) => void;
}

export interface TapJoinStatistics {
  /** Frames, or super-frames, read off the TAP, and their bytes. */
  fromKernel: number;
  fromKernelBytes: number;
  /** Frames the device received and the kernel took, before they were coalesced. */
  toKernel: number;
  toKernelBytes: number;
  /** From the kernel: header and frame contradict each other. */
  droppedMalformed: number;
  /** From the kernel: longer than the card sends with its MTU, or than a buffer. */
  droppedTooLong: number;
  /** From the kernel: to be cut, and no buffer is left to do it in, nor any with the card that would come back. */
  droppedNoBuffers: number;
  /** From the device: damaged. */
  droppedDamaged: number;
  /** From the device: no room for a header in front, or pieces in several memories that do not fit one buffer. */
  droppedShape: number;
  /** From the device: the kernel would not take more. */
  droppedKernelBusy: number;
  /** Times the TAP was left alone because the transmit ring was full. */
  stalls: number;
}

/** A super-frame: the Ethernet header with three VLAN tags, and the longest IPv6 packet. */
const SUPER_FRAME = 26 + 40 + 65535;
// A multiple of 64 that is none of 4096, so that the buffers' beginnings do not all fall in the same cache sets.
const SUPER_BUFFER = Math.ceil((HEADROOM + SUPER_FRAME) / 64) * 64;
/** Super-frames read at a time: 256 KiB, so that a card of another process sends some while the next are read. */
const SUPER_FRAMES = 4;
/** What from the kernel cannot be sent, as the log has it. */
const REFUSALS = {
  droppedMalformed: 'a frame from the kernel and its virtio-net header contradict each other',
  droppedTooLong: 'a frame from the kernel is longer than the card sends with its MTU',
  droppedNoBuffers: 'no buffers to cut a super-frame from the kernel in',
} as const;
/** The Ethernet header with a VLAN tag. */
const FRAME_OVERHEAD = 18;
const ENTRIES = 2048;
const MAX_PIECES = 1024; // of one frame: IOV_MAX

/** A pool whose buffers hold what a TAP with TSO can send. */
export function superFramePool(dma: DmaAllocator, { chunk = 64, limit = 512 } = {}): PacketPool {
  return new PacketPool(dma, { bufferSize: SUPER_BUFFER, chunk, limit });
}

export class TapJoin {
  readonly statistics: TapJoinStatistics = {
    fromKernel: 0,
    fromKernelBytes: 0,
    toKernel: 0,
    toKernelBytes: 0,
    droppedMalformed: 0,
    droppedTooLong: 0,
    droppedNoBuffers: 0,
    droppedDamaged: 0,
    droppedShape: 0,
    droppedKernelBusy: 0,
    stalls: 0,
  };
  /** Counts of what was coalesced. */
  readonly gro: Gro | null;
  readonly #device: NetDevice;
  readonly #tap: JoinableTap;
  readonly #watch: JoinableWatch;
  readonly #loop: WorkLoop;
  readonly #pool: PacketPool;
  readonly #segmenter: Segmenter;
  readonly #batch: number; // frames from the device at a time: GRO looks no further
  readonly #reads: number; // and from the kernel
  readonly #header: number;
  readonly #failed: (error: unknown) => void;
  readonly #log: (line: string) => void;
  /** Empty buffers for the next read. */
  readonly #empty: PacketBuffer[] = [];
  #empties = 0;
  /** Read, not yet prepared: from #next to #read. */
  readonly #incoming: PacketBuffer[] = [];
  #next = 0;
  #read = 0;
  /** Prepared, not yet taken by the device: from #first to #ready. */
  readonly #outgoing: PacketBuffer[] = [];
  #first = 0;
  #ready = 0;
  readonly #received: PacketBuffer[] = [];
  readonly #vec = new Int32Array(3 * ENTRIES);
  #entries = 0;
  #memory: ArrayBuffer | null = null;
  #stalled = false;
  #watching = false;
  #closed = false;

  constructor({ device, tap, watch, pool = device.pool, batch = 512, gro = true, log, failed }: TapJoinOptions) {
    if (!Number.isInteger(batch) || batch < 1 || batch > 1024) throw new RangeError(`a batch of ${batch} frames`);
    if (pool.bufferSize < bufferFor(device.mtu))
      throw new RangeError(`buffers of ${pool.bufferSize} bytes are too small for an MTU of ${device.mtu}`);
    wide(this.statistics, 'fromKernelBytes', 'toKernelBytes');
    this.#device = device;
    this.#tap = tap;
    this.#pool = pool;
    this.#batch = batch;
    this.#reads = pool.bufferSize >= SUPER_BUFFER ? Math.min(batch, SUPER_FRAMES) : batch;
    this.#header = tap.headerBytes;
    this.#segmenter = new Segmenter(device, this.#segmentPool, pool);
    this.gro = gro && this.#header === VIRTIO_NET_HEADER ? new Gro() : null;
    this.#failed = failed ?? rethrow;
    this.#log = log ?? (() => {});
    this.#watch = watch(() => this.#loop.wake());
    this.#loop = new WorkLoop({
      devices: [device],
      round: () => this.#round(),
      rest: () => this.#listen(!this.#stalled),
      poll: () => this.#listen(false),
      failed: (error) => this.#fail(error),
    });
  }

  /** Makes the interface look like the card (address, MTU, carrier, offloads), and lets frames pass. */
  start(): void {
    const { mac, mtu } = this.#device;
    this.#tap.setMac(mac);
    this.#tap.setMtu(mtu);
    const tso = this.#pool.bufferSize >= SUPER_BUFFER;
    if (this.#header > 0) this.#tap.setOffload({ checksum: true, tso4: tso, tso6: tso });
    // The kernel does not tell a TAP which groups it joined; without them IPv6 finds no neighbours.
    this.#loop.expect(this.#device.setAllMulticast(true));
    this.#device.on('link', this.#link);
    this.#link();
    this.#loop.wake();
  }

  /** Gives the device another MTU. @throws DeviceError 'INVALID' where it, or a buffer, is too small for that. */
  async setMtu(mtu: number): Promise<void> {
    const most = this.#pool.bufferSize - bufferFor(0);
    if (mtu > most)
      throw new DeviceError('INVALID', `an MTU of ${mtu}: without TSO the buffers were made for ${most} at most`);
    await this.#device.setMtu(mtu);
    this.#segmenter.pool = this.#segmentPool;
  }

  /** Segments fit the device's own buffers, save jumbo frames. */
  get #segmentPool(): PacketPool {
    const { pool, mtu } = this.#device;
    return pool.bufferSize < bufferFor(mtu) ? this.#pool : pool;
  }

  /** Whether what was read off the TAP waits for room on the transmit ring. */
  get stalled(): boolean {
    return this.#stalled;
  }

  /** No frame passes any more. The device and the TAP stay open: they are their owner's. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#loop.stop();
    this.#watch.close();
    while (this.#empties > 0) this.#empty[--this.#empties]!.free();
    while (this.#next < this.#read) this.#incoming[this.#next++]!.free();
    while (this.#first < this.#ready) this.#outgoing[this.#first++]!.free();
    try {
      this.#tap.carrier(false);
    } catch {
      // the TAP was closed, or its interface deleted, before: there is no carrier left to lose
    }
  }

  readonly #link = (): void => {
    if (this.#closed) return;
    try {
      this.#tap.carrier(this.#device.link.up);
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#loop.wake(); // what the device did not take while it was being reset waits for no interrupt
  };

  #fail(error: unknown): void {
    this.close();
    this.#failed(error);
  }

  /** Starting and stopping a watch are not free either: only where it changes. */
  #listen(on: boolean): void {
    if (this.#watching === on || this.#closed) return;
    this.#watching = on;
    if (on) this.#watch.start();
    else this.#watch.stop();
  }

  #round(): boolean {
    const received = this.#toKernel();
    return this.#fromKernel() || received;
  }

  // From the kernel to the device.

  #fromKernel(): boolean {
    const sent = this.#flush();
    if (this.#next < this.#read || this.#first < this.#ready) return sent;
    const count = this.#fill();
    if (count > 0) this.#flush();
    return sent || count > 0;
  }

  /** Reads one batch off the TAP. */
  #fill(): number {
    let usable = this.#supply();
    if (usable === 0) {
      this.#device.reclaim(); // all with the device
      usable = this.#supply();
    }
    if (usable === 0) {
      this.#stall();
      return 0;
    }
    const memory = this.#empty[0]!.memory;
    const count = this.#tap.read(memory, this.#vec, usable);
    this.#next = 0;
    this.#read = 0;
    for (let i = 0; i < count; i++) this.#accept(this.#empty[i]!, i);
    this.#empties -= count;
    if (count > 0) for (let i = 0; i < this.#empties; i++) this.#empty[i] = this.#empty[i + count]!;
    return count;
  }

  /** Has buffers at hand and describes those of the first one's memory, for a native call addresses one. */
  #supply(): number {
    while (this.#empties < this.#reads) {
      const buffer = this.#pool.take();
      if (buffer === null) break;
      this.#empty[this.#empties++] = buffer;
    }
    const vec = this.#vec;
    let usable = 0;
    for (; usable < this.#empties; usable++) {
      const buffer = this.#empty[usable]!;
      if (buffer.memory !== this.#empty[0]!.memory) break;
      vec[3 * usable] = buffer.base + buffer.start - this.#header;
      vec[3 * usable + 1] = buffer.bytes.length - buffer.start + this.#header;
    }
    return usable;
  }

  #accept(packet: PacketBuffer, index: number): void {
    const capacity = this.#vec[3 * index + 1]!;
    const length = this.#vec[3 * index + 2]!;
    packet.length = length - this.#header;
    packet.total = packet.length;
    packet.mss = 0;
    // A frame that fills its buffer may have been cut.
    const refusal = length >= capacity ? 'droppedTooLong' : this.#understood(packet) ? null : 'droppedMalformed';
    if (refusal !== null) {
      this.#drop(refusal);
      packet.free();
      return;
    }
    this.statistics.fromKernel++;
    this.statistics.fromKernelBytes += packet.length;
    this.#incoming[this.#read++] = packet;
  }

  #understood(packet: PacketBuffer): boolean {
    return packet.length >= SHORTEST && (this.#header === 0 || readVirtioNetHeader(packet));
  }

  #drop(why: keyof typeof REFUSALS): void {
    if (this.statistics[why]++ === 0) this.#log(`${REFUSALS[why]}: dropped and counted as ${why}`);
  }

  /** Hands on what was read, as far as the device takes it, a batch or two at most. True where anything went. */
  #flush(): boolean {
    let sent = 0;
    let full = false;
    while (sent < this.#batch && !full && this.#prepare()) {
      const waiting = this.#ready - this.#first;
      const taken = this.#device.transmit(this.#outgoing, this.#first, waiting);
      this.#first += taken;
      sent += taken;
      full = taken < waiting;
    }
    if (full || (sent < this.#batch && this.#next < this.#read)) this.#stall();
    else this.#stalled = false;
    return sent > 0;
  }

  #stall(): void {
    if (!this.#stalled) this.statistics.stalls++;
    this.#stalled = true;
  }

  /** Does in software what the device does not. False where there is nothing to send, or no buffers to do it in. */
  #prepare(): boolean {
    if (this.#first < this.#ready) return true;
    this.#first = 0;
    this.#ready = 0;
    while (this.#next < this.#read && this.#ready < this.#batch) {
      const frames = this.#frames(this.#incoming[this.#next]!);
      if (frames < 0) this.#drop(frames === MALFORMED ? 'droppedMalformed' : 'droppedTooLong');
      else this.#ready += frames;
      if (this.#segmenter.busy) break;
      this.#next++;
    }
    return this.#ready > 0;
  }

  /** The frames that stand for a packet, or as many as there is room for. */
  #frames(packet: PacketBuffer): number {
    const frames = this.#segmenter.prepare(packet, this.#outgoing, this.#ready, this.#batch - this.#ready);
    if (frames !== 0 || this.#ready > 0) return frames;
    this.#device.reclaim();
    const now = this.#segmenter.prepare(packet, this.#outgoing, 0, this.#batch);
    if (now !== 0 || this.#device.rings.tx.used > 0) return now;
    this.#drop('droppedNoBuffers'); // waiting would not bring any
    this.#segmenter.release();
    return 0;
  }

  // From the device to the kernel.

  #toKernel(): boolean {
    const received = this.#received;
    const count = this.#device.receive(received, this.#batch);
    if (count === 0) return false;
    let usable = 0;
    for (let i = 0; i < count; i++) {
      const packet = received[i]!;
      if (packet.flags & RX_ERROR) {
        this.statistics.droppedDamaged++;
        packet.free();
        continue;
      }
      this.statistics.toKernel++;
      this.statistics.toKernelBytes += packet.total;
      received[usable++] = packet;
    }
    const left = this.gro === null ? usable : this.gro.coalesce(received, usable);
    try {
      for (let i = 0; i < left; i++) received[i] = this.#describe(received[i]!);
      this.#write();
    } finally {
      for (let i = 0; i < left; i++) received[i]!.free();
    }
    return true;
  }

  /** Puts a packet into the next native call. Returns it, or the one that stands for it. */
  #describe(given: PacketBuffer): PacketBuffer {
    let packet = given;
    let count = piecesOf(packet);
    if (count === 0) {
      packet = this.#gathered(packet);
      count = piecesOf(packet);
    }
    const tagged = (packet.flags & RX_VLAN) === 0 || insertVlan(packet);
    if (!tagged || packet.start < this.#header || count === 0) {
      this.statistics.droppedShape++;
      return packet;
    }
    if (this.#memory !== packet.memory || this.#entries + count > ENTRIES) this.#write();
    this.#memory = packet.memory;
    if (this.#header > 0) writeVirtioNetHeader(packet);
    this.#enter(packet);
    return packet;
  }

  #enter(packet: PacketBuffer): void {
    const vec = this.#vec;
    let header = this.#header;
    for (let piece: PacketBuffer | null = packet; piece !== null; piece = piece.next) {
      const at = 3 * this.#entries++;
      vec[at] = piece.base + piece.start - header;
      vec[at + 1] = piece.length + header;
      vec[at + 2] = piece.next === null ? 0 : 1;
      header = 0;
    }
  }

  /** A chain through several memories, copied into one buffer; the packet itself where none holds it. */
  #gathered(packet: PacketBuffer): PacketBuffer {
    if (packet.total > this.#pool.bufferSize - HEADROOM) return packet;
    const whole = this.#pool.take();
    if (whole === null) return packet;
    let at = whole.start;
    for (let piece: PacketBuffer | null = packet; piece !== null; piece = piece.next) {
      whole.bytes.set(piece.bytes.subarray(piece.start, piece.start + piece.length), at);
      at += piece.length;
    }
    whole.length = packet.total;
    whole.total = packet.total;
    whole.flags = packet.flags;
    whole.vlan = packet.vlan;
    whole.mss = packet.mss;
    whole.headerLength = packet.headerLength;
    whole.checksumStart = packet.checksumStart;
    whole.checksumOffset = packet.checksumOffset;
    packet.free();
    return whole;
  }

  #write(): void {
    if (this.#entries === 0) return;
    const done = this.#tap.write(this.#memory!, this.#vec, this.#entries);
    for (let i = done; i < this.#entries; i++) if (this.#vec[3 * i + 2] === 0) this.statistics.droppedKernelBusy++;
    this.#entries = 0;
  }
}

/** Bytes of a buffer for frames of that MTU. */
function bufferFor(mtu: number): number {
  return HEADROOM + FRAME_OVERHEAD + mtu;
}

/** How many entries a packet takes; 0 where its pieces lie in several memories, or are too many for one call. */
function piecesOf(packet: PacketBuffer): number {
  let count = 1;
  for (let piece = packet.next; piece !== null; piece = piece.next, count++)
    if (piece.memory !== packet.memory || count === MAX_PIECES) return 0;
  return count;
}

function rethrow(error: unknown): never {
  throw error;
}
