/** A NetDevice in memory: rings with a size, a cable to another one (or to itself), interrupts from the event loop. */
import { setImmediate as turn } from 'node:timers/promises';
import type { DmaAllocator, DmaMemory } from '../../drivers/device.ts';
import { type Offers, Segmenter } from '../../drivers/join/segment.ts';
import {
  FEATURE_RX_CHECKSUM,
  FEATURE_TSO4,
  FEATURE_TSO6,
  FEATURE_TX_CHECKSUM,
  FEATURE_VLAN_INSERT,
  type LinkState,
  type NetDevice,
  type NetEvent,
  type NetQueue,
  type NetStatistics,
  type TransmitLimits,
} from '../../drivers/netdev.ts';
import { type PacketBuffer, PacketPool, RX_IP_CHECKSUM_GOOD, RX_L4_CHECKSUM_GOOD } from '../../drivers/packet.ts';
import { poison } from './poison.ts';

/** DMA memory on the heap. Every allocation has an ArrayBuffer of its own, as the strictest backend may have it. */
export class FakeDma implements DmaAllocator {
  used = 0;
  #next = 0x10000;

  alloc(size: number): DmaMemory {
    const memory = new ArrayBuffer(size);
    const iova = this.#next;
    this.#next += (size + 4095) & ~4095;
    this.used += size;
    const free = () => {
      this.used -= size;
    };
    return { iova, bytes: new Uint8Array(memory), words: new Uint32Array(memory), free };
  }
}

export interface FakeOptions {
  readonly features?: number;
  readonly ring?: number;
  readonly mac?: readonly number[];
  /** What arrives is marked as this: by default checksums found good. */
  readonly rxFlags?: number;
  readonly limits?: Partial<TransmitLimits>;
}

/** Of a card that does whatever it is told. */
export const NO_LIMITS: TransmitLimits = {
  frame: 65535,
  descriptors: Infinity,
  descriptorBytes: 65535,
  descriptorSegments: Infinity,
  checksumAt: 65535,
  findsTransport: false,
  ipv6: true,
  headerBytes: 65535,
  leastMss: 1,
  mostMss: 65535,
  ipOptions: true,
};

/** What a card offers that does nothing: all is done in software. */
export const NOTHING: Offers = { features: { available: 0, enabled: 0 }, limits: NO_LIMITS, mtu: 65535 };

const ALL = FEATURE_RX_CHECKSUM | FEATURE_TX_CHECKSUM | FEATURE_TSO4 | FEATURE_TSO6 | FEATURE_VLAN_INSERT;

export class FakeNetDevice implements NetDevice {
  readonly model = 'fake';
  readonly dma = new FakeDma();
  readonly pool = new PacketPool(this.dma, { chunk: 256, limit: 4096 });
  readonly mac: Uint8Array;
  mtu = 1500;
  link: LinkState = { up: true, speed: 1000, fullDuplex: true, rxPause: false, txPause: false };
  features: { available: number; enabled: number };
  readonly limits: TransmitLimits;
  readonly abilities = {};
  readonly receiveFlags = RX_IP_CHECKSUM_GOOD | RX_L4_CHECKSUM_GOOD;
  readonly queues: readonly NetQueue[] = [queueOf(this)];
  readonly ring: number;
  readonly rxFlags: number;
  /** The other end of the cable; itself: a loop. Null: frames are gone once they are sent. */
  peer: FakeNetDevice | null = null;
  /** While true the card sends nothing, and the ring fills. */
  stuck = false;
  interrupts = 0;
  rearms = 0;
  readonly #stats = { rxPackets: 0, rxBytes: 0, txPackets: 0, txBytes: 0, rxMissed: 0 };
  readonly #sent: PacketBuffer[] = []; // on the transmit ring, not yet reclaimed
  #done = 0; // of those, how many the card is done with
  readonly #arrived: PacketBuffer[] = [];
  readonly #segmenter: Segmenter;
  readonly #cut: PacketBuffer[] = [];
  readonly #listeners: (() => void)[] = [];
  #work: (() => void) | null = null;
  #armed = true;
  #pending = false;

  constructor({ features = ALL, ring = 256, mac = [2, 0, 0, 0, 0, 1], rxFlags, limits }: FakeOptions = {}) {
    poison(this.pool);
    this.limits = { ...NO_LIMITS, ...limits };
    this.#segmenter = new Segmenter(NOTHING, this.pool);
    this.features = { available: ALL, enabled: features };
    this.ring = ring;
    this.mac = Uint8Array.from(mac);
    this.rxFlags = rxFlags ?? RX_IP_CHECKSUM_GOOD | RX_L4_CHECKSUM_GOOD;
  }

  get rings() {
    return { rx: { size: this.ring, used: this.#arrived.length }, tx: { size: this.ring, used: this.#sent.length } };
  }

  async start(): Promise<void> {}

  async stop(): Promise<void> {
    for (const packet of this.#sent.splice(0)) packet.free();
    for (const packet of this.#arrived.splice(0)) packet.free();
    this.#done = 0;
  }

  receive(into: PacketBuffer[], limit: number): number {
    const count = Math.min(limit, this.#arrived.length);
    for (let i = 0; i < count; i++) into[i] = this.#arrived[i]!;
    this.#arrived.splice(0, count);
    return count;
  }

  transmit(from: PacketBuffer[], first: number, count: number): number {
    if (this.#sent.length + count > this.ring) this.reclaim();
    const taken = Math.min(count, this.ring - this.#sent.length);
    for (let i = 0; i < taken; i++) this.#sent.push(from[first + i]!);
    this.#send();
    return taken;
  }

  reclaim(): number {
    for (const packet of this.#sent.splice(0, this.#done)) packet.free();
    this.#done = 0;
    return this.ring - this.#sent.length;
  }

  /** Lets the card go on. */
  release(): void {
    this.stuck = false;
    this.#send();
  }

  /** The card finds a frame on the cable. */
  arrive(packet: PacketBuffer, flags = this.rxFlags): void {
    if (this.#arrived.length === this.ring) {
      this.#stats.rxMissed++;
      packet.free();
      return;
    }
    packet.flags = flags;
    packet.mss = 0x1234; // a driver does not clear what is none of its business
    this.#stats.rxPackets++;
    this.#stats.rxBytes += packet.total;
    this.#arrived.push(packet);
    this.#raise();
  }

  /** The same from bytes. */
  arriveBytes(frame: Uint8Array, flags = this.rxFlags): void {
    this.arrive(toPacket(frame, this.pool), flags);
  }

  onWork(work: (() => void) | null): void {
    this.#work = work;
  }

  rearm(): void {
    this.rearms++;
    this.#armed = true;
    if (this.#pending || this.#arrived.length > 0) this.#raise();
  }

  on(_event: NetEvent, listener: () => void): void {
    this.#listeners.push(listener);
  }

  async checkLink(): Promise<LinkState> {
    return this.link;
  }

  setLink(up: boolean): void {
    this.link = { ...this.link, up };
    for (const listener of this.#listeners) listener();
  }

  async setMac(mac: Uint8Array): Promise<void> {
    this.mac.set(mac);
  }

  async setMtu(mtu: number): Promise<void> {
    this.mtu = mtu;
  }

  async setFeatures(enabled: number): Promise<void> {
    this.features.enabled = enabled & this.features.available;
  }

  promiscuous = false;
  allMulticast = false;

  async setPromiscuous(on: boolean): Promise<void> {
    this.promiscuous = on;
  }

  async setAllMulticast(on: boolean): Promise<void> {
    this.allMulticast = on;
  }

  async setMulticast(): Promise<void> {}
  async addVlan(): Promise<void> {}
  async removeVlan(): Promise<void> {}
  resetStatistics(): void {}

  statistics(): NetStatistics {
    const none = { rxErrors: 0, txErrors: 0, rxNoBuffer: 0, multicast: 0, txHangs: 0, rxHangs: 0, resets: 0 };
    return { ...none, ...this.#stats, interrupts: this.interrupts };
  }

  #send(): void {
    if (this.stuck) return;
    for (; this.#done < this.#sent.length; this.#done++) this.#put(this.#sent[this.#done]!);
    this.#raise();
  }

  /** What goes onto the cable is always cut and summed, whoever does it. */
  #put(packet: PacketBuffer): void {
    this.#stats.txPackets++;
    this.#stats.txBytes += packet.total;
    const { peer } = this;
    if (peer === null) return;
    const whole = toPacket(toBytes(packet), bigPool);
    const { flags, mss, checksumStart, checksumOffset, headerLength, vlan } = packet;
    Object.assign(whole, { flags, mss, checksumStart, checksumOffset, headerLength, vlan });
    const count = this.#segmenter.prepare(whole, this.#cut, 0, Infinity);
    for (let i = 0; i < count; i++) {
      const frame = this.#cut[i]!;
      peer.arriveBytes(toBytes(frame));
      frame.free();
    }
  }

  #raise(): void {
    if (!this.#armed || this.#work === null) {
      this.#pending = true;
      return;
    }
    this.#armed = false;
    this.#pending = false;
    this.interrupts++;
    setImmediate(() => this.#work?.());
  }
}

/** The one queue of a card that has no more. */
function queueOf(device: FakeNetDevice): NetQueue {
  return {
    index: 0,
    transmits: true,
    ownInterrupt: true,
    get rings() {
      return device.rings;
    },
    receive: (into, limit) => device.receive(into, limit),
    transmit: (from, first, count) => device.transmit(from, first, count),
    reclaim: () => device.reclaim(),
    onWork: (work) => device.onWork(work),
    rearm: () => device.rearm(),
    statistics: () => device.statistics(),
  };
}

/** Two of them with a cable in between; the far one's rings are large, whatever the near one's are. */
export function pair(options: FakeOptions = {}): [FakeNetDevice, FakeNetDevice] {
  const a = new FakeNetDevice(options);
  const b = new FakeNetDevice({ ...options, ring: 2048, mac: [2, 0, 0, 0, 0, 2] });
  a.peer = b;
  b.peer = a;
  return [a, b];
}

export const bigPool = new PacketPool(new FakeDma(), { bufferSize: 128 * 1024, chunk: 8 });

/** A frame in one buffer of `pool`, or where it is too long in a chain of them. */
export function toPacket(frame: Uint8Array, pool: PacketPool): PacketBuffer {
  const first = pool.take()!;
  first.total = frame.length;
  let piece = first;
  for (let at = 0; ; ) {
    const length = Math.min(pool.bufferSize - piece.start, frame.length - at);
    piece.bytes.set(frame.subarray(at, at + length), piece.start);
    piece.length = length;
    at += length;
    if (at === frame.length) return first;
    piece.next = pool.take()!;
    piece = piece.next;
  }
}

export function toBytes(packet: PacketBuffer): Uint8Array {
  const into = new Uint8Array(packet.total);
  let at = 0;
  for (let piece: PacketBuffer | null = packet; piece !== null; piece = piece.next) {
    into.set(piece.bytes.subarray(piece.start, piece.start + piece.length), at);
    at += piece.length;
  }
  if (at !== packet.total) throw new Error(`a chain of ${at} bytes says that it has ${packet.total}`);
  return into;
}

/** Turns of the event loop until `condition` holds; false where it does not within `limit`. */
export async function until(condition: () => boolean, limit = 2000): Promise<boolean> {
  for (let i = 0; i < limit; i++) {
    if (condition()) return true;
    await turn();
  }
  return condition();
}
