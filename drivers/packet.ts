/**
 * Packet buffers and the pool they live in: the mbuf of this house.
 *
 * A buffer object is made once with its memory and used again and again, so that the packet path allocates nothing.
 * Whoever holds a buffer owns it: `receive` hands ownership up, `transmit` takes it down, `free` gives it back.
 */
import { wide } from '../sim/wide.ts';
import { DeviceError, type DmaAllocator, type DmaMemory } from './device.ts';

/** Bytes in front of a received or fresh frame: room for a virtio-net header, a VLAN tag or an encapsulation. */
export const HEADROOM = 64;

/** Buffer sizes: one frame, or a whole segmentation-offload super-frame. */
export const FRAME_BUFFER = 2048 + HEADROOM;

// Flags of a packet. RX_ are set by a driver's receive, TX_ are asked of its transmit.
export const RX_IP_CHECKSUM_GOOD = 1 << 0;
export const RX_L4_CHECKSUM_GOOD = 1 << 1;
export const RX_IP_CHECKSUM_BAD = 1 << 2;
export const RX_L4_CHECKSUM_BAD = 1 << 3;
export const RX_VLAN = 1 << 4; // a tag was stripped; it is in `vlan`
export const RX_ERROR = 1 << 5; // damaged (CRC, symbol, length): seen only where the device stores bad packets
export const RX_MULTICAST_MISS = 1 << 6; // passed an inexact filter: the host must check the address
export const RX_HASH = 1 << 7; // the card hashed it for RSS: see `hash` and `hashType`
// Fill in the checksum: see checksumStart and checksumOffset. The field holds the pseudo header's sum, not complemented
// (what Linux calls CHECKSUM_PARTIAL, and virtio-net NEEDS_CSUM).
export const TX_L4_CHECKSUM = 1 << 8;
export const TX_IP_CHECKSUM = 1 << 9; // fill in the IPv4 header's checksum
// Segment as TCP over IPv4, `mss` payload bytes a frame. The checksum field holds the pseudo header's sum with the length
// of the whole.
export const TX_TSO4 = 1 << 10;
export const TX_TSO6 = 1 << 11;
export const TX_VLAN = 1 << 12; // insert the tag in `vlan`
export const TX_UDP = 1 << 13; // with TX_L4_CHECKSUM: the protocol is UDP, else TCP

// What a receive hash is over: addresses alone, or ports as well. A packet's `hashType`, and what RSS is told to hash.
export const HASH_IPV4 = 1 << 0;
export const HASH_TCP_IPV4 = 1 << 1;
export const HASH_IPV6 = 1 << 2;
export const HASH_TCP_IPV6 = 1 << 3;

/** One piece of a packet. A packet is a chain: the first piece carries flags and `total`, `next` leads to the rest. */
export class PacketBuffer {
  readonly pool: PacketPool;
  /** Where the device sees the buffer's first byte (headroom included). */
  readonly iova: number;
  /** The whole buffer, headroom included. */
  readonly bytes: Uint8Array;
  /** The same memory by 32-bit words. */
  readonly words: Uint32Array;
  /** `bytes.buffer`, which is what native batches address; kept, because asking a typed array for it takes 13 ns. */
  readonly memory: ArrayBuffer;
  /** Where `bytes` begins in `memory`. */
  readonly base: number;
  /** Where the data starts in `bytes`. */
  start = HEADROOM;
  /** Bytes of data in this piece. */
  length = 0;
  /** Bytes of data in the whole chain; kept on its first piece. */
  total = 0;
  next: PacketBuffer | null = null;
  flags = 0;
  /** 802.1Q TCI: priority, DEI and VLAN id. */
  vlan = 0;
  /** The card's receive hash, 32 bits; with RX_HASH. */
  hash = 0;
  /** The HASH_ bits of what it is over: several where the card does not tell which of them. */
  hashType = 0;
  /** TSO: payload bytes a segment. */
  mss = 0;
  /** Bytes of all headers before the payload; with TX_TSO. */
  headerLength = 0;
  /** Where the summing starts (the transport header), and where in it the sum goes; with TX_L4_CHECKSUM and TX_TSO. */
  checksumStart = 0;
  checksumOffset = 0;

  constructor(pool: PacketPool, memory: DmaMemory, at: number, size: number) {
    this.pool = pool;
    this.iova = memory.iova + at;
    this.bytes = memory.bytes.subarray(at, at + size);
    this.words = memory.words.subarray(at / 4, (at + size) / 4);
    this.memory = this.bytes.buffer as ArrayBuffer;
    this.base = this.bytes.byteOffset;
    wide(this, 'hash');
  }

  /** Gives the whole chain back to its pool. */
  free(): void {
    let piece: PacketBuffer | null = this;
    while (piece !== null) {
      const next: PacketBuffer | null = piece.next;
      piece.next = null;
      piece.pool.put(piece);
      piece = next;
    }
  }
}

/** A pool of equal buffers in DMA memory that grows in chunks up to a limit, and shrinks when told to. */
export class PacketPool {
  readonly bufferSize: number;
  readonly #dma: DmaAllocator;
  readonly #chunk: number;
  readonly #limit: number;
  readonly #free: PacketBuffer[] = [];
  readonly #chunks: { memory: DmaMemory; buffers: Set<PacketBuffer> }[] = [];
  #available = 0;
  #made = 0;
  /** Times `take` found nothing. */
  exhausted = 0;

  /**
   * @param bufferSize bytes, headroom included; a multiple of 64.
   * @param chunk buffers allocated at a time.
   * @param limit buffers at most.
   */
  constructor(dma: DmaAllocator, { bufferSize = FRAME_BUFFER, chunk = 512, limit = 16384 } = {}) {
    if (bufferSize % 64 !== 0 || bufferSize <= HEADROOM) throw new RangeError(`buffers of ${bufferSize} bytes`);
    this.#dma = dma;
    this.bufferSize = bufferSize;
    this.#chunk = chunk;
    this.#limit = limit;
  }

  /** Buffers made, and of those how many are not in use. */
  get size(): number {
    return this.#made;
  }

  get available(): number {
    return this.#available;
  }

  /**
   * A buffer, reset; null (and counted) where the limit, or DMA memory, is reached.
   * @throws DeviceError where memory cannot be had for another reason: the device is closed, or gone.
   */
  take(): PacketBuffer | null {
    if (this.#available === 0 && !this.#grow()) {
      this.exhausted++;
      return null;
    }
    const buffer = this.#free[--this.#available]!;
    buffer.start = HEADROOM;
    buffer.length = 0;
    buffer.total = 0;
    buffer.flags = 0;
    return buffer;
  }

  /** @internal Use PacketBuffer.free, which knows of chains. */
  put(buffer: PacketBuffer): void {
    this.#free[this.#available++] = buffer;
  }

  /** Makes `count` buffers available now rather than one chunk at a time later; false where that is not possible. */
  reserve(count: number): boolean {
    while (this.#available < count) if (!this.#grow()) return false;
    return true;
  }

  /** Gives chunks of which no buffer is in use back to the backend, but keeps `keep` buffers. Returns how many went. */
  shrink(keep = 0): number {
    const idle = new Set(this.#free.slice(0, this.#available));
    let released = 0;
    for (const chunk of [...this.#chunks]) {
      const { size } = chunk.buffers;
      if (this.#made - size < keep || ![...chunk.buffers].every((buffer) => idle.has(buffer))) continue;
      for (const buffer of chunk.buffers) idle.delete(buffer);
      this.#chunks.splice(this.#chunks.indexOf(chunk), 1);
      chunk.memory.free();
      this.#made -= size;
      released += size;
    }
    this.#free.length = 0;
    this.#free.push(...idle);
    this.#available = idle.size;
    return released;
  }

  #grow(): boolean {
    const count = Math.min(this.#chunk, this.#limit - this.#made);
    if (count <= 0) return false;
    let memory: DmaMemory;
    try {
      memory = this.#dma.alloc(count * this.bufferSize, 4096);
    } catch (error) {
      // Out of DMA memory: the same to the caller as the limit.
      if (error instanceof DeviceError && error.code === 'NO_MEMORY') return false;
      throw error;
    }
    const buffers = new Set<PacketBuffer>();
    for (let i = 0; i < count; i++) {
      const buffer = new PacketBuffer(this, memory, i * this.bufferSize, this.bufferSize);
      buffers.add(buffer);
      this.#free[this.#available++] = buffer;
    }
    this.#chunks.push({ memory, buffers });
    this.#made += count;
    return true;
  }

  /** Frees all memory, used or not. The device must be quiet. */
  close(): void {
    for (const { memory } of this.#chunks) memory.free();
    this.#chunks.length = 0;
    this.#free.length = 0;
    this.#available = 0;
    this.#made = 0;
  }
}
