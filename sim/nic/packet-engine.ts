/**
 * What is between a transmitter's descriptors and the wire, in any card: packets put together from host memory, cut into
 * segments, summed, tagged and padded; and when to stop.
 *
 * A chip decodes descriptors into `offload` and into calls of these, and sends what is (bytes, start, length, flags) then.
 * What a frame does not have is zero, never a byte of what was there before.
 */

import type { Alarm, Clock } from '../clock.ts';
import { copyBytes, crc32, joinSums, littleSum } from '../kernels/index.ts';
import type { BusMaster, Window } from '../memory.ts';
import { FCS, foldChecksum, get16, get32, MACS, MIN_FRAME, put16, put32, VLAN_TAG } from '../packet.ts';
import type { Host, PacketMemory } from '../pci/function.ts';
import { alarm, block, type FieldsOf, list, record, type Stateful, whole } from '../state.ts';
import { FCS_ERROR, SUM_KNOWN } from '../wire/port.ts';
import { Budget } from './budget.ts';
import { Offload } from './offload.ts';

const IPV6_HEADER = 40;
const TCP_FLAGS_LAST = 0x09; // FIN and PSH: only on the last segment

// The card's memory: a packet, the header of its segments, and a segment so short that it is padded. In front of what goes
// out there is room for a tag; the room is a line, so that all of them are aligned.
const LINE = 64;
const MAX_HEADER = 17 * LINE;
const AROUND = LINE + MAX_HEADER + 2 * LINE;
const OFFLOAD_MOST = 0xfffff; // what a context says fits in this many bits (the longest is a payload's length)

/** What a transmitter sends into: the port, or a loopback. */
export interface Outlet {
  send(bytes: Uint8Array, start: number, length: number, flags: number): void;
  /** A burst, see Port.receiveBurst: returns how many frames it took. */
  sendBurst(bytes: Uint8Array, starts: Int32Array, lengths: Int32Array, count: number): number;
  /** Nanoseconds on the clock until which nothing may be sent. */
  readonly heldUntil: number;
}

/** What a chip looks at in a saved engine: whether its segmentation fits what was put together. */
export type EngineState = {
  readonly offload: FieldsOf<Offload>;
  readonly staged: Uint8Array;
  readonly cut: number;
};

export class PacketEngine {
  readonly offload = new Offload();
  readonly budget: Budget;
  readonly bytes: Uint8Array;
  /** Bytes of a packet put together so far. */
  staged = 0;
  /** Payload bytes of a packet that became segments. */
  cut = 0;
  /** The frame that is ready to leave. */
  start = 0;
  length = 0;
  flags = 0;
  readonly #clock: Clock;
  readonly #buffers: Window;
  readonly #outlet: Outlet;
  readonly #work: () => void;
  readonly state: Stateful<EngineState>;
  readonly #resume: Alarm;
  readonly #memory: PacketMemory;
  readonly #size: number;
  readonly #origin: number;
  readonly #header: number;
  readonly #short: number;
  #segments = 0;
  #running = false;
  // The littleSum of the bytes put together from `#summed` on; -1: of none.
  #sum = 0;
  #summed = 0;

  /**
   * @param most bytes of a packet that is put together.
   * @param work goes through the chip's descriptors until there is none left, or `held`.
   * @param budget what others work on as well, where it is shared.
   */
  constructor(
    host: Host,
    dma: BusMaster,
    outlet: Outlet,
    most: number,
    work: () => void,
    budget = new Budget(host.clock, dma),
  ) {
    this.#clock = host.clock;
    this.#outlet = outlet;
    this.#work = work;
    this.#buffers = dma.window();
    this.budget = budget;
    this.#resume = host.clock.alarm(() => this.run());
    const room = (most + LINE - 1) & -LINE;
    this.#size = AROUND + room;
    this.#memory = host.packetMemory(this.#size);
    this.bytes = this.#memory.bytes;
    this.#origin = this.#memory.start + LINE;
    this.#header = this.#origin + room;
    this.#short = this.#header + MAX_HEADER + LINE;
    this.state = this.#stateOf(room);
  }

  #stateOf(room: number): Stateful<EngineState> {
    const { bytes } = this;
    return block(1, {
      resume: alarm(this.#resume),
      budget: this.budget.state,
      offload: record(this.offload, OFFLOAD_MOST),
      staged: list(
        () => bytes.subarray(this.#origin, this.#origin + this.staged),
        (saved) => {
          bytes.set(saved, this.#origin);
          this.staged = saved.length;
          this.#summed = -1;
        },
        room,
      ),
      header: list(
        () => bytes.subarray(this.#header, this.#header + Math.min(this.offload.headerLength, MAX_HEADER)),
        (saved) => bytes.set(saved, this.#header),
        MAX_HEADER,
      ),
      cut: whole(
        () => this.cut,
        (octets) => {
          this.cut = octets;
        },
        OFFLOAD_MOST,
      ),
      segments: whole(
        () => this.#segments,
        (count) => {
          this.#segments = count;
        },
        OFFLOAD_MOST,
      ),
    });
  }

  // When to work.

  run(): void {
    if (this.#running) {
      this.resume(); // a doorbell from within: by an interrupt, or through a loopback
      return;
    }
    this.#running = true;
    try {
      this.#work();
    } finally {
      this.#running = false;
    }
  }

  /** What held the transmitter may hold it no longer: look again, but not from within this call. */
  resume(): void {
    this.#resume.at(this.#clock.now);
  }

  /** Whether flow control, the wire or the budget holds us; then the work goes on when they let go. */
  held(): boolean {
    const until = Math.max(this.#outlet.heldUntil, this.budget.heldUntil);
    if (until <= this.#clock.now) return false;
    this.#resume.at(until);
    return true;
  }

  // A packet from host memory.

  begin(): void {
    this.staged = 0;
    this.#sumFromHere();
  }

  /** Puts a buffer behind what there is. False, and nothing put, where it is not all in mapped memory. */
  append(address: number, length: number): boolean {
    this.budget.spend(length);
    const sum = this.#buffers.loadAndSum(address, this.bytes, this.#origin + this.staged, length);
    if (sum < 0) return false;
    this.#sum = joinSums(this.#sum, this.staged - this.#summed, sum);
    this.staged += length;
    return true;
  }

  /** What was put together becomes the frame. */
  frame(): void {
    const { bytes, staged } = this;
    if (staged < MIN_FRAME) bytes.fill(0, this.#origin + staged, this.#origin + MIN_FRAME);
    this.start = this.#origin;
    this.length = staged;
    this.flags = 0;
  }

  /** The header is there, and the offload says how long it is: each segment starts from it as it is now. */
  beginSegments(): void {
    copyBytes(this.bytes, this.#origin, this.bytes, this.#header, this.offload.headerLength);
    this.cut = 0;
    this.#segments = 0;
    this.#sumFromHere();
  }

  #sumFromHere(): void {
    this.#sum = 0;
    this.#summed = this.staged;
  }

  /**
   * The header and `payload` bytes from offset `at` of what was put together become the frame, with the header's fields as
   * they are in this segment, and its checksums. In place: what was in front of the payload is gone.
   */
  segment(at: number, payload: number, last: boolean): void {
    const { bytes, offload } = this;
    const { headerLength, l3 } = offload;
    const length = headerLength + payload;
    this.budget.spend(headerLength);
    const start = length < MIN_FRAME ? this.#alone(at, payload) : this.#origin + at - headerLength;
    copyBytes(bytes, this.#header, bytes, start, headerLength);
    const ip = start + l3;
    const l4 = start + offload.l4;
    const l4Length = length - offload.l4;
    if (offload.ipv4) {
      put16(bytes, ip + 2, length - l3);
      put16(bytes, ip + 4, get16(bytes, ip + 4) + this.#segments);
    } else put16(bytes, ip + 4, length - l3 - IPV6_HEADER);
    if (offload.tcp) {
      put32(bytes, l4 + 4, (get32(bytes, l4 + 4) + this.cut) >>> 0);
      if (!last) bytes[l4 + 13]! &= ~TCP_FLAGS_LAST;
    } else put16(bytes, l4 + 4, l4Length);
    this.start = start;
    this.length = length;
    const known = at === this.#summed && at + payload === this.staged;
    const sum = known ? this.#sum : littleSum(bytes, start + headerLength, payload);
    this.flags = offload.insertChecksums(bytes, start, length, l4Length, headerLength, sum);
    this.cut += payload;
    this.#segments++;
  }

  /** The payload is cut: more of it comes behind the header. */
  dropPayload(): void {
    this.staged = this.offload.headerLength;
    this.#sumFromHere();
  }

  /** A segment that will be padded, out of the way of the payload behind it. Returns where it starts. */
  #alone(at: number, payload: number): number {
    const { bytes } = this;
    const behind = this.#short + this.offload.headerLength;
    copyBytes(bytes, this.#origin + at, bytes, behind, payload);
    bytes.fill(0, behind + payload, this.#short + MIN_FRAME);
    return this.#short;
  }

  /** The offload's checksums, into the frame. */
  insertChecksums(): void {
    const { bytes, start, length } = this;
    this.flags = this.offload.insertChecksums(bytes, start, length, 0, length, 0);
  }

  /** Software brought the FCS along: what goes out is good only if it is right. */
  takeFcs(): void {
    const { bytes, start } = this;
    const length = Math.max(0, this.length - FCS);
    const at = start + length;
    const given = (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
    this.flags = given === crc32(bytes, start, length) ? 0 : FCS_ERROR;
    bytes.fill(0, at, at + FCS);
    this.length = length;
  }

  /** Moves both addresses forward by a tag's length and puts the tag behind them. */
  insertTag(type: number, control: number): void {
    const { bytes, flags } = this;
    const start = this.start - VLAN_TAG;
    bytes.copyWithin(start, this.start, this.start + MACS);
    put16(bytes, start + MACS, type);
    put16(bytes, start + MACS + 2, control);
    this.start = start;
    this.length = Math.max(this.length, MACS) + VLAN_TAG;
    if (flags & SUM_KNOWN)
      this.flags = SUM_KNOWN | (foldChecksum((flags >>> 16) + (type & 0xffff) + (control & 0xffff)) << 16);
  }

  /** Fills the frame up to the shortest there may be; the zeros are there. */
  pad(): void {
    this.length = Math.max(this.length, MIN_FRAME);
  }

  /** Nothing of what went before is left. */
  reset(): void {
    this.#resume.cancel();
    this.bytes.fill(0, this.#memory.start, this.#memory.start + this.#size);
    Object.assign(this.offload, new Offload());
    this.begin();
  }
}
