import { wide } from '../../sim/wide.ts';
import type { NetDevice } from '../netdev.ts';
import { FEATURE_VLAN_INSERT } from '../netdev.ts';
import { type PacketBuffer, RX_ERROR, RX_VLAN, TX_VLAN } from '../packet.ts';
import { insertVlan } from './vlan.ts';
import { WorkLoop } from './work-loop.ts';

export interface ForwardOptions {
  readonly batch?: number;
  /**
   * Whether both devices see the same DMA memory (the same host of models, the same VFIO container), so that a buffer
   * that one received can be sent by the other. If not, frames are copied into the other one's buffers.
   */
  readonly shared?: boolean;
  /** What the sending ring has no room for: dropped, as ixy's forwarder does, or held while that side is not received. */
  readonly onFull?: 'drop' | 'hold';
  readonly failed?: (error: unknown) => void;
}

/** Frames of one direction. */
export interface ForwardStatistics {
  forwarded: number;
  bytes: number;
  /** No room on the ring. */
  droppedFull: number;
  /** Damaged, too long for a buffer, or no buffer left. */
  droppedOther: number;
}

/** Everything one card receives is sent by the other, and the reverse. */
export class Forward {
  readonly directions: readonly [Direction, Direction];
  readonly #loop: WorkLoop;

  constructor(
    a: NetDevice,
    b: NetDevice,
    { batch = 64, shared = false, onFull = 'hold', failed }: ForwardOptions = {},
  ) {
    const how = { batch, shared, hold: onFull === 'hold' };
    this.directions = [new Direction(a, b, how), new Direction(b, a, how)];
    const [there, back] = this.directions;
    this.#loop = new WorkLoop({
      devices: [a, b],
      round: () => {
        const moved = there.round();
        return back.round() || moved;
      },
      failed: (error) => {
        this.close();
        if (failed === undefined) throw error;
        failed(error);
      },
    });
  }

  /** Promiscuous, since the frames are not for these cards. */
  start(): void {
    for (const { from } of this.directions) this.#loop.expect(from.setPromiscuous(true));
    this.#loop.wake();
  }

  /** Nothing passes any more; what was held is freed. Idempotent. */
  close(): void {
    this.#loop.stop();
    for (const direction of this.directions) direction.close();
  }
}

class Direction {
  readonly from: NetDevice;
  readonly to: NetDevice;
  readonly statistics: ForwardStatistics = { forwarded: 0, bytes: 0, droppedFull: 0, droppedOther: 0 };
  readonly #how: { batch: number; shared: boolean; hold: boolean };
  readonly #packets: PacketBuffer[] = [];
  #first = 0;
  #count = 0;

  constructor(from: NetDevice, to: NetDevice, how: { batch: number; shared: boolean; hold: boolean }) {
    wide(this.statistics, 'bytes');
    this.from = from;
    this.to = to;
    this.#how = how;
  }

  round(): boolean {
    const held = this.#count;
    if (held > 0) this.#send();
    if (this.#count > 0) return this.#count < held;
    const received = this.from.receive(this.#packets, this.#how.batch);
    this.#first = 0;
    for (let i = 0; i < received; i++) this.#ready(this.#packets[i]!);
    if (this.#count > 0) this.#send();
    return received > 0 || held > 0;
  }

  close(): void {
    for (; this.#count > 0; this.#count--) this.#packets[this.#first++]!.free();
  }

  #ready(received: PacketBuffer): void {
    const tagged = (received.flags & RX_VLAN) !== 0;
    const packet = received.flags & RX_ERROR ? null : this.#how.shared ? received : this.#copy(received);
    if (packet !== received) received.free();
    if (packet === null) {
      this.statistics.droppedOther++;
      return;
    }
    packet.flags = tagged ? TX_VLAN : 0;
    if (tagged && (this.to.features.enabled & FEATURE_VLAN_INSERT) === 0) insertVlan(packet);
    this.#packets[this.#count++] = packet;
  }

  #copy(packet: PacketBuffer): PacketBuffer | null {
    const { pool } = this.to;
    const copy = packet.total > pool.bufferSize - 64 ? null : pool.take();
    if (copy === null) return null;
    let at = copy.start;
    for (let piece: PacketBuffer | null = packet; piece !== null; piece = piece.next) {
      copy.bytes.set(piece.bytes.subarray(piece.start, piece.start + piece.length), at);
      at += piece.length;
    }
    copy.length = packet.total;
    copy.total = packet.total;
    copy.vlan = packet.vlan;
    return copy;
  }

  #send(): void {
    let bytes = 0;
    for (let i = 0; i < this.#count; i++) bytes += this.#packets[this.#first + i]!.total;
    const taken = this.to.transmit(this.#packets, this.#first, this.#count);
    this.#first += taken;
    this.#count -= taken;
    for (let i = 0; i < this.#count; i++) bytes -= this.#packets[this.#first + i]!.total;
    this.statistics.forwarded += taken;
    this.statistics.bytes += bytes;
    if (this.#how.hold) return;
    this.statistics.droppedFull += this.#count;
    this.close();
  }
}
