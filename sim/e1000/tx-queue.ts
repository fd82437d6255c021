/**
 * A transmit queue (manual section 3.3): from the descriptor ring through checksum insertion, segmentation and VLAN tagging
 * to the wire.
 *
 * A frame in one buffer that needs nothing done to it goes out straight from host memory. Anything else is put together by
 * the packet engine first. A TCP segmentation stops between two segments where flow control, a busy wire or the budget says
 * so, and goes on from there.
 */
import type { Window } from '../memory.ts';
import { type Budget, DESCRIPTOR_WORK, FRAME_WORK } from '../nic/budget.ts';
import { Burst } from '../nic/burst.ts';
import { Offload } from '../nic/offload.ts';
import { type Outlet, PacketEngine } from '../nic/packet-engine.ts';
import { addToChecksum, FCS, foldChecksum, isBroadcast, MIN_FRAME, put16 } from '../packet.ts';
import type { RegisterFile } from '../registers.ts';
import { block, checked, record, type Stateful } from '../state.ts';
import type { BlockContext, QueueContext } from './context.ts';
import type { DelayTimers } from './delay-timers.ts';
import {
  DESCRIPTOR,
  TX_DATA_LENGTH,
  TX_DD,
  TX_DEXT,
  TX_EOP,
  TX_IC,
  TX_IDE,
  TX_IFCS,
  TX_IXSM,
  TX_LEGACY_LENGTH,
  TX_RPS,
  TX_RS,
  TX_TSE,
  TX_TXSM,
  TX_TYPE,
  TX_TYPE_CONTEXT,
  TX_VLE,
} from './descriptors.ts';
import type { InterruptBlock } from './interrupts.ts';
import type { FamilyRegisters } from './registers.ts';
import { Ring } from './ring.ts';
import type { Statistics } from './statistics.ts';
import { loadContext } from './transmit-context.ts';

/** The longest frame, without FCS and tag (3.3.3). */
const MAX_FRAME = 16288;
const MOST_DONE = 0xffff; // of a ring, and so of those that are not written back
/** The command bits that tell a frame to be sent as it is: EOP and IFCS alone of these. */
const LEGACY = TX_DEXT | TX_EOP | TX_IFCS | TX_VLE | TX_IC;

/** What the queues of a transmitter share. */
export interface TxShared {
  readonly interrupts: InterruptBlock;
  readonly statistics: Statistics;
  readonly outlet: Outlet;
  readonly budget: Budget;
  readonly delays: DelayTimers;
}

export class TxQueue {
  readonly ring: Ring;
  readonly state: Stateful;
  readonly #queue: QueueContext;
  readonly #r: FamilyRegisters;
  // As looked at for each frame or doorbell.
  readonly #ICR: FamilyRegisters['ICR'];
  readonly #CTRL: FamilyRegisters['CTRL'];
  readonly #TCTL: FamilyRegisters['TCTL'];
  readonly #tagType: number; // VET, by word
  readonly #registers: RegisterFile;
  readonly #words: Uint32Array;
  readonly #buffers: Window;
  readonly #shared: TxShared;
  readonly #statistics: Statistics;
  readonly #outlet: Outlet;
  readonly #engine: PacketEngine;
  readonly #burst: Burst;
  readonly #head: number;
  readonly #tail: number;
  readonly #control: number;
  /** The packet being put together. Its first data descriptor says what is done to it. */
  readonly #packet = {
    assembling: false,
    dropped: false,
    segmenting: false,
    command: 0, // that descriptor's word 2 …
    options: 0, // … and word 3
    consumed: 0, // bytes of the descriptor at the head, where it was left half done
  };
  /** Descriptors done but not written back, for WTHRESH. */
  readonly #done = { from: 0, unwritten: 0 };
  #causes = 0;
  readonly #refusals = { packets: 0 };

  constructor(context: BlockContext, queue: QueueContext, shared: TxShared) {
    const { host, registers, r } = context;
    this.#queue = queue;
    this.#r = r;
    this.#ICR = r.ICR;
    this.#CTRL = r.CTRL;
    this.#TCTL = r.TCTL;
    this.#tagType = r.VET.word;
    this.#registers = registers;
    this.#words = registers.words;
    this.#buffers = queue.dma.window();
    this.#shared = shared;
    this.#statistics = shared.statistics;
    this.#outlet = shared.outlet;
    this.#engine = new PacketEngine(host, queue.dma, shared.outlet, MAX_FRAME, () => this.#work(), shared.budget);
    this.#burst = new Burst(this.#buffers);
    this.#head = queue.head;
    this.#tail = queue.tail;
    this.#control = queue.control;
    this.ring = new Ring(queue);
    this.state = this.#stateOf();
  }

  #stateOf(): Stateful {
    const parts = block(
      1,
      {
        engine: this.#engine.state,
        packet: record(this.#packet),
        done: record(this.#done, MOST_DONE),
        refusals: record(this.#refusals),
      },
      () => this.ring.settle(),
    );
    return checked(parts, ({ engine, packet }) => {
      const offload = Object.assign(new Offload(), engine.offload);
      const fits = isSegmentable(offload) && engine.staged.length <= offload.headerLength + offload.mss;
      return fits || !packet.segmenting || !packet.assembling || packet.dropped
        ? null
        : 'a segmentation that cannot be';
    });
  }

  /** Packets that were not sent because their descriptors make no sense, or their bytes are not in mapped memory. */
  get refused(): number {
    return this.#refusals.packets;
  }

  /** The doorbell. */
  run(): void {
    this.#engine.run();
  }

  /** See Transmit. */
  resume(): void {
    this.#engine.resume();
  }

  /** Works the ring from head to tail: at most once around, whatever head and tail say. */
  #work(): void {
    const words = this.#words;
    const { ring } = this;
    const TCTL = this.#TCTL;
    if (!(words[TCTL.word]! & TCTL.EN) || !this.#queue.dma.enabled || ring.count === 0) return;
    const lowBefore = ring.owned;
    const tail = words[this.#tail]!;
    let head = words[this.#head]!;
    if (head === tail) return;
    if (head >= ring.count) head = 0;
    for (let budget = ring.count; head !== tail && budget > 0; ) {
      if (this.#engine.held()) break;
      const burst = this.#sendBurst(head, tail, budget);
      if (burst === 0 && !this.#descriptor(head)) break;
      const done = burst === 0 ? 1 : burst;
      head = (head + done) % ring.count;
      budget -= done;
    }
    words[this.#head] = head;
    if (head === tail) this.#causes |= this.#ICR.TXQE;
    this.#checkLow(lowBefore);
    if (this.#causes !== 0) this.#shared.interrupts.raise(this.#causes);
    this.#causes = 0;
  }

  #checkLow(before: number): void {
    const threshold = (this.#words[this.#control]! >>> 25) * 8; // 0: where nothing is left (13.4.43)
    if (before > threshold && this.ring.owned <= threshold) this.#causes |= this.#ICR.TXD_LOW;
  }

  /**
   * Frames that go straight from host memory, as many as follow one another, in one call: what is the same for each is then
   * looked at once. Returns how many went; the next is an ordinary descriptor.
   */
  #sendBurst(head: number, tail: number, limit: number): number {
    const { ring } = this;
    if (this.#packet.assembling || this.#done.unwritten > 0 || this.#writeBackThreshold > 1) return 0;
    if (this.#registers.trace !== null) return 0;
    const first = ring.locate(head);
    const end = head < tail ? Math.min(tail, ring.count) : ring.count;
    const most = Math.min(end - head, limit);
    if (most < 2 || first < 0 || !ring.contiguous) return 0;
    const count = this.#collect(ring.words, first, most);
    if (count < 2) return 0;
    const { bytes, starts, lengths } = this.#burst;
    const taken = this.#outlet.sendBurst(bytes, starts, lengths, count);
    let octets = 0;
    for (let i = 0; i < taken; i++) {
      octets += lengths[i]! + FCS;
      this.#countOne(bytes, starts[i]!, lengths[i]!);
      const command = ring.words[first + 4 * i + 2]!;
      if (command & (TX_RS | TX_RPS)) this.#finish(head + i, command);
    }
    this.#statistics.sent(taken, octets);
    this.#engine.budget.spend(taken * FRAME_WORK + octets);
    return taken;
  }

  /** The run of descriptors from `at` on that are such frames: how many. */
  #collect(ring: Uint32Array, at: number, most: number): number {
    const burst = this.#burst;
    burst.begin();
    for (let i = 0; i < most; i++, at += 4) {
      const command = ring[at + 2]!;
      const length = command & TX_LEGACY_LENGTH;
      const address = ring[at]!;
      if ((command & LEGACY) !== (TX_EOP | TX_IFCS) || ring[at + 1] !== 0 || address === 0) break;
      if (length < MIN_FRAME || length > MAX_FRAME || !burst.add(address, length)) break;
    }
    return burst.count;
  }

  /** One descriptor. False where it could not be finished: it stays at the head. */
  #descriptor(index: number): boolean {
    const at = this.ring.locate(index);
    if (at < 0) {
      this.#queue.dma.faults++;
      this.#registers.trace?.note(this.#queue.chip, `transmit descriptor ${index} is not in mapped memory`);
      return false;
    }
    this.#engine.budget.spend(DESCRIPTOR_WORK);
    const ring = this.ring.words;
    this.#registers.trace?.descriptor(this.#queue.chip, this.#queue.name, index, ring, at, 4);
    const command = ring[at + 2]!;
    const extended = (command & TX_DEXT) !== 0;
    if (extended && (command & TX_TYPE) === TX_TYPE_CONTEXT) {
      if (this.#packet.assembling) this.#drop('a context in the midst of it');
      else loadContext(ring, at, this.#engine.offload);
    } else {
      const length = command & (extended ? TX_DATA_LENGTH : TX_LEGACY_LENGTH);
      const address = ring[at + 1]! * 0x1_0000_0000 + ring[at]!;
      if (!this.#data(address, length, command, ring[at + 3]!)) return false;
    }
    if (command & (TX_RS | TX_RPS) || this.#done.unwritten > 0) this.#finish(index, command);
    return true;
  }

  get #writeBackThreshold(): number {
    return (this.#words[this.#control]! >>> 16) & 0x3f;
  }

  /** Writes DD back where RS asks for it: now, or WTHRESH descriptors at a time, the first of them with RS (13.4.43). */
  #finish(index: number, command: number): void {
    if (this.#done.unwritten === 0) this.#done.from = index;
    this.#done.unwritten++;
    if (this.#done.unwritten >= this.#writeBackThreshold) this.writeBack();
    if (!(command & (TX_RS | TX_RPS))) return;
    const { cause } = this.#queue;
    const { delays } = this.#shared;
    if (command & TX_IDE && delays.on) delays.start(cause);
    else this.#causes |= cause | delays.take(); // this interrupt stands for the delayed one (3.3.3.1)
  }

  /** Of all that is done. */
  writeBack(): void {
    let index = this.#done.from;
    for (; this.#done.unwritten > 0; this.#done.unwritten--) {
      const at = this.ring.locate(index);
      if (at < 0) this.#queue.dma.faults++;
      else {
        const ring = this.ring.words;
        if (!this.ring.writable) this.#queue.dma.faults++;
        else if (ring[at + 2]! & (TX_RS | TX_RPS)) {
          ring[at + 3]! |= TX_DD;
          this.ring.written(DESCRIPTOR / 2);
        }
      }
      index = this.ring.next(index);
    }
  }

  /** A legacy or data descriptor. False where segmentation was held on the way. */
  #data(address: number, length: number, command: number, options: number): boolean {
    const packet = this.#packet;
    if (address === 0) length = 0; // null descriptors transfer no data (3.3.3)
    if (!packet.assembling) {
      if (this.#sendsDirectly(address, length, command, options)) {
        const { mapping } = this.#buffers;
        this.#engine.budget.spend(length);
        this.#send(mapping.bytes, address - mapping.start, length, 0);
        return true;
      }
      this.#begin(command, options);
    }
    if (packet.segmenting) {
      if (!this.#segmentPart(address, length, (command & TX_EOP) !== 0)) return false;
    } else if (!packet.dropped) this.#stage(address, length);
    packet.consumed = 0;
    if (command & TX_EOP) this.#end(command, options);
    return true;
  }

  /** One whole frame, in one mapping, to be sent as it is. */
  #sendsDirectly(address: number, length: number, command: number, options: number): boolean {
    if ((command & (TX_EOP | TX_IFCS | TX_VLE | TX_TSE)) !== (TX_EOP | TX_IFCS)) return false; // TX_TSE is also TX_IC
    if (command & TX_DEXT && options & (TX_IXSM | TX_TXSM)) return false;
    return length >= MIN_FRAME && length <= MAX_FRAME && this.#buffers.covers(address, length);
  }

  #begin(command: number, options: number): void {
    this.#packet.assembling = true;
    this.#packet.dropped = false;
    this.#packet.command = command;
    this.#packet.options = options;
    this.#engine.begin();
    this.#packet.segmenting = (command & (TX_DEXT | TX_TSE)) === (TX_DEXT | TX_TSE);
    if (this.#packet.segmenting) this.#beginSegmentation();
  }

  #drop(why: string): void {
    if (!this.#packet.dropped) this.#refusals.packets++;
    this.#packet.dropped = true;
    this.#registers.trace?.note(this.#queue.chip, `transmit: ${why}: packet dropped`);
  }

  /** Appends a buffer to the packet. */
  #stage(address: number, length: number): void {
    if (this.#engine.staged + length > MAX_FRAME) this.#drop(`longer than ${MAX_FRAME} bytes`);
    else if (!this.#engine.append(address, length)) this.#drop('buffer not in mapped memory');
  }

  /** The end of a packet. Of its last descriptor IFCS, VLE and the tag count (3.3.3.1, 3.3.7.1: valid with EOP). */
  #end(command: number, options: number): void {
    const engine = this.#engine;
    this.#packet.assembling = false;
    if (this.#packet.segmenting || this.#packet.dropped || engine.staged === 0) return;
    engine.frame();
    if (!(this.#packet.command & TX_DEXT)) this.#insertLegacyChecksum(command);
    else {
      this.#chooseChecksums();
      engine.insertChecksums();
    }
    if (this.#tags(command)) engine.insertTag(this.#words[this.#tagType]!, options >>> 16);
    else if (!(command & TX_IFCS)) engine.takeFcs();
    this.#sendFrame();
  }

  /** IXSM and TXSM (3.3.7.3). */
  #chooseChecksums(): void {
    const { offload } = this.#engine;
    offload.sumsIp = (this.#packet.options & TX_IXSM) !== 0;
    offload.sumsL4 = (this.#packet.options & TX_TXSM) !== 0;
  }

  #tags(command: number): boolean {
    return (command & TX_VLE) !== 0 && (this.#words[this.#CTRL.word]! & this.#CTRL.VME) !== 0;
  }

  /** What the engine has ready, filled up where PSP says so. */
  #sendFrame(): void {
    const engine = this.#engine;
    if (this.#words[this.#TCTL.word]! & this.#TCTL.PSP) engine.pad();
    this.#send(engine.bytes, engine.start, engine.length, engine.flags);
  }

  /** Legacy IC: the sum from CSS to the end goes to CSO (3.3.3.1). */
  #insertLegacyChecksum(command: number): void {
    if (!(command & TX_IC)) return;
    const { bytes, start, length } = this.#engine;
    const from = (this.#packet.options >>> 8) & 0xff;
    const to = (this.#packet.command >>> 16) & 0xff;
    if (from >= length || to + 2 > length) return;
    put16(bytes, start + to, ~foldChecksum(addToChecksum(bytes, start + from, length - from)));
  }

  #beginSegmentation(): void {
    const { offload } = this.#engine;
    if (!isSegmentable(offload)) {
      const { headerLength, mss } = offload;
      this.#drop(`segmentation with a header of ${headerLength} bytes, MSS ${mss}`);
      this.#statistics.count(this.#r.TSCTFC);
    }
    this.#chooseChecksums();
  }

  /** A buffer of a packet that is segmented. False where a segment was held; `#consumed` says how far it got. */
  #segmentPart(address: number, length: number, last: boolean): boolean {
    const engine = this.#engine;
    const packet = this.#packet;
    const { headerLength, mss, payload } = engine.offload;
    const full = headerLength + mss;
    while (!packet.dropped && (engine.staged === full || packet.consumed < length)) {
      if (engine.staged === full) {
        if (engine.held()) return false;
        this.#sendSegment(engine.cut + mss >= payload);
        continue;
      }
      const limit = engine.staged < headerLength ? headerLength : full;
      const part = Math.min(limit - engine.staged, length - packet.consumed);
      if (!engine.append(address + packet.consumed, part)) this.#drop('buffer not in mapped memory');
      packet.consumed += part;
      if (engine.staged === headerLength) engine.beginSegments();
    }
    if (!last || packet.dropped) return true;
    if (engine.staged > headerLength) {
      if (engine.held()) return false;
      this.#sendSegment(true);
    }
    // An EOP anywhere but at the end of PAYLEN is an abnormal termination (3.3.7.1).
    this.#statistics.count(engine.cut === payload ? this.#r.TSCTC : this.#r.TSCTFC);
    return true;
  }

  /** What is behind the header leaves behind it (3.5.7). */
  #sendSegment(last: boolean): void {
    const engine = this.#engine;
    const { headerLength } = engine.offload;
    engine.segment(headerLength, engine.staged - headerLength, last);
    engine.dropPayload();
    if (this.#tags(this.#packet.command)) engine.insertTag(this.#words[this.#tagType]!, this.#packet.options >>> 16);
    this.#sendFrame();
  }

  #send(bytes: Uint8Array, start: number, length: number, flags: number): void {
    this.#engine.budget.spend(FRAME_WORK);
    this.#statistics.sent(1, length + FCS);
    this.#countOne(bytes, start, length);
    this.#outlet.send(bytes, start, length, flags);
  }

  #countOne(bytes: Uint8Array, start: number, length: number): void {
    this.#statistics.sentOne(length, bytes[start]!, isBroadcast(bytes, start));
  }

  reset(): void {
    this.#engine.reset();
    Object.assign(this.#packet, { assembling: false, dropped: false, segmenting: false, consumed: 0 });
    this.#done.unwritten = 0;
    this.#causes = 0;
    this.ring.settle();
  }
}

function isSegmentable({ headerLength, leastHeader, mss }: Offload): boolean {
  return mss > 0 && headerLength >= leastHeader && headerLength + mss <= MAX_FRAME;
}
