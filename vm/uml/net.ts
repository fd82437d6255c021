/**
 * A virtio network card (Virtio 1.2, section 5.1) without a single offload, whose wire is a port of ours: the peer of a card
 * under test, driven by another driver of the kernel's. Received frames may spread over buffers (VIRTIO_NET_F_MRG_RXBUF),
 * so that the kernel may have any MTU.
 */
import { type Alarm, type Clock, MICROSECOND } from '../../sim/clock.ts';
import { FrameQueue } from '../../sim/wire/frame-queue.ts';
import { HostPort } from '../../sim/wire/host-port.ts';
import { count, type Line, type VirtioDevice } from './device.ts';
import type { Virtqueue } from './virtqueue.ts';

const RECEIVE = 0;
const TRANSMIT = 1;
const MAC = 1 << 5;
const MERGED_BUFFERS = 1 << 15;
/** struct virtio_net_hdr: of it only the number of buffers is used. */
const HEADER = 12;
const BUFFERS_AT = 10;
const FRAME_MOST = 65_550;
/** Without FCS. */
const SHORTEST = 60;
/** So long frames are collected before the kernel is told of them. */
const MODERATION = 50 * MICROSECOND;
const CAPACITY = 4 * 1024 * 1024;

export class NetworkCard implements VirtioDevice {
  readonly id = 1;
  readonly queues = 2;
  readonly features = MAC | MERGED_BUFFERS;
  readonly config: Uint8Array;
  readonly refused: Record<string, number> = {};
  readonly port: HostPort;
  readonly #interrupt: Alarm;
  readonly #pending: () => void;
  readonly #frames = new FrameQueue(CAPACITY);
  readonly #frame = new Uint8Array(FRAME_MOST);
  #line: Line | null = null;

  constructor(name: string, mac: Uint8Array, clock: Clock, pending: () => void) {
    this.config = mac;
    this.#pending = pending;
    this.#interrupt = clock.alarm(pending);
    this.port = new HostPort(name, { onFrame: (bytes, start, length) => this.#arrived(bytes, start, length) });
  }

  attach(line: Line): void {
    this.#line = line;
  }

  detach(): void {
    this.#line = null;
    this.#interrupt.cancel();
  }

  #arrived(bytes: Uint8Array, start: number, length: number): void {
    if (this.#line === null || !this.#frames.fits(length)) {
      count(this.refused, 'frames without room');
      return;
    }
    this.#frames.push(bytes, start, length, 0, 0);
    if (!this.#interrupt.scheduled) this.#interrupt.in(MODERATION);
  }

  kicked(index: number): void {
    if (index === TRANSMIT) this.#transmit(this.#line!.queues[TRANSMIT]!);
    else if (this.#frames.count > 0) this.#pending();
  }

  #transmit(queue: Virtqueue): void {
    let given = false;
    for (let left = queue.waiting; left > 0; left--) {
      const head = queue.take();
      if (head < 0) {
        count(this.refused, 'chains that make no sense');
        return;
      }
      const length = this.#gather(queue);
      queue.give(head, 0);
      given = true;
      if (length > HEADER) this.#send(length - HEADER);
      else count(this.refused, 'frames that are not in memory');
    }
    if (given) this.#line!.call(TRANSMIT);
  }

  /** A frame that is too short for the wire is padded, as a card pads it (802.3, 3.2.8). */
  #send(length: number): void {
    if (length < SHORTEST) this.#frame.fill(0, HEADER + length, HEADER + SHORTEST);
    this.port.send(this.#frame, HEADER, Math.max(length, SHORTEST));
  }

  /** Copies a frame with its header out; 0 where it is too long, or not in memory. */
  #gather(queue: Virtqueue): number {
    let came = 0;
    for (let i = 0; i < queue.count; i++) {
      const mapping = queue.mapping(i);
      const length = queue.lengths[i]!;
      if (mapping === null || queue.writable[i] === 1 || came + length > FRAME_MOST) return 0;
      const from = queue.addresses[i]! - mapping.start;
      this.#frame.set(mapping.bytes.subarray(from, from + length), came);
      came += length;
    }
    return came;
  }

  deliver(): void {
    const queue = this.#line?.queues[RECEIVE];
    if (queue === undefined || !queue.ready) return;
    let given = false;
    while (this.#frames.count > 0 && this.#put(queue)) given = true;
    if (given) this.#line!.call(RECEIVE);
  }

  /** The frame at the queue's head, behind a header, over as many buffers as it takes; false where they are too few yet. */
  #put(queue: Virtqueue): boolean {
    const frames = this.#frames;
    const length = frames.headLength;
    const heads: number[] = [];
    const parts: { bytes: Uint8Array; at: number; room: number }[] = [];
    for (let room = 0; room < HEADER + length; ) {
      const head = queue.take();
      if (head < 0) {
        for (const _ of heads) queue.putBack();
        return false;
      }
      const mapping = queue.mapping(0);
      heads.push(head);
      if (mapping === null || queue.writable[0] === 0 || queue.lengths[0]! <= HEADER) {
        count(this.refused, 'buffers that are not in memory');
        for (const taken of heads) queue.give(taken, 0);
        return false;
      }
      parts.push({ bytes: mapping.bytes, at: queue.addresses[0]! - mapping.start, room: queue.lengths[0]! });
      room += queue.lengths[0]!;
    }
    let done = 0;
    for (const [i, { bytes, at, room }] of parts.entries()) {
      const header = i === 0 ? HEADER : 0;
      if (header > 0) {
        bytes.fill(0, at, at + HEADER);
        bytes[at + BUFFERS_AT] = parts.length & 0xff;
        bytes[at + BUFFERS_AT + 1] = parts.length >> 8;
      }
      const part = Math.min(room - header, length - done);
      const from = frames.headStart + done;
      bytes.set(frames.bytes.subarray(from, from + part), at + header);
      queue.give(heads[i]!, header + part);
      done += part;
    }
    frames.pop();
    return true;
  }
}
