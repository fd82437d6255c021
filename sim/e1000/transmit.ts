/**
 * The transmit side (manual section 3.3): from the descriptor ring through checksum insertion, segmentation and VLAN
 * tagging to the wire.
 *
 * A frame in one buffer that needs nothing done to it goes out straight from host memory. Anything else is put together by
 * the packet engine first. A TCP segmentation stops between two segments where flow control, a busy wire or the budget says
 * so, and goes on from there.
 */
import type { Alarm } from '../clock.ts';
import type { BusMaster, Window } from '../memory.ts';
import { DESCRIPTOR_WORK, FRAME_WORK } from '../nic/budget.ts';
import { type Outlet, PacketEngine } from '../nic/packet-engine.ts';
import { addToChecksum, FCS, foldChecksum, isBroadcast, MIN_FRAME, put16 } from '../packet.ts';
import type { Host } from '../pci/function.ts';
import type { RegisterFile } from '../registers.ts';
import { restore } from '../state.ts';
import { loadContext } from './context.ts';
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
import { I82540EM } from './registers.ts';
import { Ring } from './ring.ts';
import type { Statistics } from './statistics.ts';

const { CTRL, ICR, TADV, TCTL, TDBAH, TDBAL, TDH, TDLEN, TDT, TIDV, TXDCTL, VET, TSCTC, TSCTFC } = I82540EM.r;

/** The longest frame, without FCS and tag (3.3.3). */
const MAX_FRAME = 16288;
const TIMER_UNIT = 1024; // ns, of TIDV and TADV
const BURST = 64;
/** The command bits that tell a frame to be sent as it is: EOP and IFCS alone of these. */
const LEGACY = TX_DEXT | TX_EOP | TX_IFCS | TX_VLE | TX_IC;

export class Transmit {
  readonly ring: Ring;
  readonly #registers: RegisterFile;
  readonly #words: Uint32Array;
  readonly #dma: BusMaster;
  readonly #buffers: Window;
  readonly #interrupts: InterruptBlock;
  readonly #statistics: Statistics;
  readonly #outlet: Outlet;
  readonly #engine: PacketEngine;
  readonly #delay: Alarm;
  readonly #absoluteDelay: Alarm;

  // The packet being put together. Its first data descriptor says what is done to it.
  #assembling = false;
  #dropped = false;
  #segmenting = false;
  #command = 0; // that descriptor's word 2 …
  #options = 0; // … and word 3
  #consumed = 0; // bytes of the descriptor at the head, where it was left half done
  // A burst of frames: where they start in their mapping's bytes, and how long they are.
  readonly #starts = new Int32Array(BURST);
  readonly #lengths = new Int32Array(BURST);
  // Descriptors done but not written back, for WTHRESH.
  #writeBackFrom = 0;
  #unwritten = 0;
  #causes = 0;
  /** Packets that were not sent because their descriptors make no sense, or their bytes are not in mapped memory. */
  refused = 0;

  constructor(
    host: Host,
    registers: RegisterFile,
    dma: BusMaster,
    blocks: { interrupts: InterruptBlock; statistics: Statistics; outlet: Outlet; softwareXoff: () => void },
  ) {
    this.#registers = registers;
    this.#words = registers.words;
    this.#dma = dma;
    this.#buffers = dma.window();
    this.#interrupts = blocks.interrupts;
    this.#statistics = blocks.statistics;
    this.#outlet = blocks.outlet;
    this.#engine = new PacketEngine(host, dma, blocks.outlet, MAX_FRAME, () => this.#work());
    this.ring = new Ring(registers, dma, { low: TDBAL, high: TDBAH, length: TDLEN, head: TDH, tail: TDT });
    this.#delay = host.clock.alarm(() => this.#delayExpired());
    this.#absoluteDelay = host.clock.alarm(() => this.#delayExpired());
    registers.onWrite(TDT, () => this.#engine.run());
    registers.onWrite(TCTL, (value) => {
      if (value & TCTL.SWXOFF) blocks.softwareXoff();
      this.#engine.run();
    });
    registers.onWrite(TIDV, (value) => {
      if (value & TIDV.FPD) this.#delayExpired();
    });
  }

  /** What held the transmitter may hold it no longer: look again, but not from within this call. */
  resume(): void {
    this.#engine.resume();
  }

  /** Units of work done at this moment, see Budget. */
  get work(): number {
    return this.#engine.budget.spent;
  }

  /** Works the ring from head to tail: at most once around, whatever head and tail say. */
  #work(): void {
    const words = this.#words;
    const { ring } = this;
    if (!(words[TCTL.word]! & TCTL.EN) || !this.#dma.enabled || ring.count === 0) return;
    const lowBefore = ring.owned;
    const tail = words[TDT.word]!;
    let head = words[TDH.word]!;
    if (head === tail) return;
    if (head >= ring.count) head = 0;
    for (let budget = ring.count; head !== tail && budget > 0; ) {
      if (this.#engine.held()) break;
      const burst = this.#burst(head, tail, budget);
      if (burst === 0 && !this.#descriptor(head)) break;
      const done = burst === 0 ? 1 : burst;
      head = (head + done) % ring.count;
      budget -= done;
    }
    words[TDH.word] = head;
    if (head === tail) this.#causes |= ICR.TXQE;
    this.#checkLow(lowBefore);
    if (this.#causes !== 0) this.#interrupts.raise(this.#causes);
    this.#causes = 0;
  }

  #checkLow(before: number): void {
    const threshold = (this.#words[TXDCTL.word]! >>> 25) * 8; // 0: where nothing is left (13.4.43)
    if (before > threshold && this.ring.owned <= threshold) this.#causes |= ICR.TXD_LOW;
  }

  /**
   * Frames that go straight from host memory, as many as follow one another, in one call: what is the same for each is then
   * looked at once. Returns how many went; the next is an ordinary descriptor.
   */
  #burst(head: number, tail: number, limit: number): number {
    const { ring } = this;
    if (this.#assembling || this.#unwritten > 0 || this.#writeBackThreshold > 1 || this.#registers.trace !== null)
      return 0;
    const first = ring.locate(head);
    const end = head < tail ? Math.min(tail, ring.count) : ring.count;
    const most = Math.min(end - head, limit, BURST);
    if (most < 2 || first < 0 || !ring.contiguous) return 0;
    const count = this.#collect(ring.words, first, most);
    if (count < 2) return 0;
    const { bytes } = this.#buffers.mapping;
    const taken = this.#outlet.sendBurst(bytes, this.#starts, this.#lengths, count);
    let octets = 0;
    for (let i = 0; i < taken; i++) {
      octets += this.#lengths[i]! + FCS;
      this.#countOne(bytes, this.#starts[i]!, this.#lengths[i]!);
      const command = ring.words[first + 4 * i + 2]!;
      if (command & (TX_RS | TX_RPS)) this.#finish(head + i, command);
    }
    this.#statistics.sent(taken, octets);
    this.#engine.budget.spend(taken * FRAME_WORK + octets);
    return taken;
  }

  /** The run of descriptors from `at` on that are such frames, all in one mapping: where they are, and how many. */
  #collect(ring: Uint32Array, at: number, most: number): number {
    const window = this.#buffers;
    let { mapping } = window;
    for (let i = 0; i < most; i++, at += 4) {
      const command = ring[at + 2]!;
      const length = command & TX_LEGACY_LENGTH;
      const address = ring[at]!;
      if ((command & LEGACY) !== (TX_EOP | TX_IFCS) || ring[at + 1] !== 0 || address === 0) return i;
      if (length < MIN_FRAME || length > MAX_FRAME || !window.covers(address, length)) return i;
      if (i === 0) mapping = window.mapping;
      else if (window.mapping !== mapping) {
        window.mapping = mapping; // the run ends here, and what was collected is in the mapping before
        return i;
      }
      this.#starts[i] = address - mapping.start;
      this.#lengths[i] = length;
    }
    return most;
  }

  /** One descriptor. False where it could not be finished: it stays at the head. */
  #descriptor(index: number): boolean {
    const at = this.ring.locate(index);
    if (at < 0) {
      this.#dma.faults++;
      this.#registers.trace?.note('82540EM', `transmit descriptor ${index} is not in mapped memory`);
      return false;
    }
    this.#engine.budget.spend(DESCRIPTOR_WORK);
    const ring = this.ring.words;
    this.#registers.trace?.descriptor('82540EM', 'tx', index, ring, at, 4);
    const command = ring[at + 2]!;
    const extended = (command & TX_DEXT) !== 0;
    if (extended && (command & TX_TYPE) === TX_TYPE_CONTEXT) {
      if (this.#assembling) this.#drop('a context in the midst of it');
      else loadContext(ring, at, this.#engine.offload);
    } else {
      const length = command & (extended ? TX_DATA_LENGTH : TX_LEGACY_LENGTH);
      const address = ring[at + 1]! * 0x1_0000_0000 + ring[at]!;
      if (!this.#data(address, length, command, ring[at + 3]!)) return false;
    }
    if (command & (TX_RS | TX_RPS) || this.#unwritten > 0) this.#finish(index, command);
    return true;
  }

  get #writeBackThreshold(): number {
    return (this.#words[TXDCTL.word]! >>> 16) & 0x3f;
  }

  /** Writes DD back where RS asks for it: now, or WTHRESH descriptors at a time, the first of them with RS (13.4.43). */
  #finish(index: number, command: number): void {
    if (this.#unwritten === 0) this.#writeBackFrom = index;
    this.#unwritten++;
    if (this.#unwritten >= this.#writeBackThreshold) this.#writeBack();
    if (!(command & (TX_RS | TX_RPS))) return;
    const delay = this.#words[TIDV.word]!;
    if (!(command & TX_IDE) || delay === 0) {
      this.#causes |= ICR.TXDW;
      this.#delay.cancel(); // this interrupt stands for the delayed one (3.3.3.1)
      this.#absoluteDelay.cancel();
      return;
    }
    this.#delay.in(delay * TIMER_UNIT);
    const absolute = this.#words[TADV.word]!;
    if (absolute !== 0 && !this.#absoluteDelay.scheduled) this.#absoluteDelay.in(absolute * TIMER_UNIT);
  }

  #writeBack(): void {
    let index = this.#writeBackFrom;
    for (; this.#unwritten > 0; this.#unwritten--) {
      const at = this.ring.locate(index);
      if (at < 0) this.#dma.faults++;
      else {
        const ring = this.ring.words;
        if (!this.ring.writable) this.#dma.faults++;
        else if (ring[at + 2]! & (TX_RS | TX_RPS)) {
          ring[at + 3]! |= TX_DD;
          this.ring.written(DESCRIPTOR / 2);
        }
      }
      index = this.ring.next(index);
    }
  }

  #delayExpired(): void {
    this.#delay.cancel();
    this.#absoluteDelay.cancel();
    this.#writeBack();
    this.#interrupts.raise(ICR.TXDW);
  }

  /** A legacy or data descriptor. False where segmentation was held on the way. */
  #data(address: number, length: number, command: number, options: number): boolean {
    if (address === 0) length = 0; // null descriptors transfer no data (3.3.3)
    if (!this.#assembling) {
      if (this.#sendsDirectly(address, length, command, options)) {
        const { mapping } = this.#buffers;
        this.#engine.budget.spend(length);
        this.#send(mapping.bytes, address - mapping.start, length, 0);
        return true;
      }
      this.#begin(command, options);
    }
    if (this.#segmenting) {
      if (!this.#segmentPart(address, length, (command & TX_EOP) !== 0)) return false;
    } else if (!this.#dropped) this.#stage(address, length);
    this.#consumed = 0;
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
    this.#assembling = true;
    this.#dropped = false;
    this.#command = command;
    this.#options = options;
    this.#engine.begin();
    this.#segmenting = (command & (TX_DEXT | TX_TSE)) === (TX_DEXT | TX_TSE);
    if (this.#segmenting) this.#beginSegmentation();
  }

  #drop(why: string): void {
    if (!this.#dropped) this.refused++;
    this.#dropped = true;
    this.#registers.trace?.note('82540EM', `transmit: ${why}: packet dropped`);
  }

  /** Appends a buffer to the packet. */
  #stage(address: number, length: number): void {
    if (this.#engine.staged + length > MAX_FRAME) this.#drop(`longer than ${MAX_FRAME} bytes`);
    else if (!this.#engine.append(address, length)) this.#drop('buffer not in mapped memory');
  }

  /** The end of a packet. Of its last descriptor IFCS, VLE and the tag count (3.3.3.1, 3.3.7.1: valid with EOP). */
  #end(command: number, options: number): void {
    const engine = this.#engine;
    this.#assembling = false;
    if (this.#segmenting || this.#dropped || engine.staged === 0) return;
    engine.frame();
    if (!(this.#command & TX_DEXT)) this.#insertLegacyChecksum(command);
    else {
      this.#chooseChecksums();
      engine.insertChecksums();
    }
    if (this.#tags(command)) engine.insertTag(this.#words[VET.word]!, options >>> 16);
    else if (!(command & TX_IFCS)) engine.takeFcs();
    this.#sendFrame();
  }

  /** IXSM and TXSM (3.3.7.3). */
  #chooseChecksums(): void {
    const { offload } = this.#engine;
    offload.sumsIp = (this.#options & TX_IXSM) !== 0;
    offload.sumsL4 = (this.#options & TX_TXSM) !== 0;
  }

  #tags(command: number): boolean {
    return (command & TX_VLE) !== 0 && (this.#words[CTRL.word]! & CTRL.VME) !== 0;
  }

  /** What the engine has ready, filled up where PSP says so. */
  #sendFrame(): void {
    const engine = this.#engine;
    if (this.#words[TCTL.word]! & TCTL.PSP) engine.pad();
    this.#send(engine.bytes, engine.start, engine.length, engine.flags);
  }

  /** Legacy IC: the sum from CSS to the end goes to CSO (3.3.3.1). */
  #insertLegacyChecksum(command: number): void {
    if (!(command & TX_IC)) return;
    const { bytes, start, length } = this.#engine;
    const from = (this.#options >>> 8) & 0xff;
    const to = (this.#command >>> 16) & 0xff;
    if (from >= length || to + 2 > length) return;
    put16(bytes, start + to, ~foldChecksum(addToChecksum(bytes, start + from, length - from)));
  }

  #beginSegmentation(): void {
    const { offload } = this.#engine;
    const { headerLength, mss, leastHeader } = offload;
    if (mss === 0) this.#drop('segmentation with MSS 0');
    else if (headerLength < leastHeader || headerLength + mss > MAX_FRAME)
      this.#drop(`segmentation with a header of ${headerLength} bytes, MSS ${mss}`);
    if (this.#dropped) this.#statistics.count(TSCTFC);
    this.#chooseChecksums();
  }

  /** A buffer of a packet that is segmented. False where a segment was held; `#consumed` says how far it got. */
  #segmentPart(address: number, length: number, last: boolean): boolean {
    const engine = this.#engine;
    const { headerLength, mss, payload } = engine.offload;
    const full = headerLength + mss;
    while (!this.#dropped && (engine.staged === full || this.#consumed < length)) {
      if (engine.staged === full) {
        if (engine.held()) return false;
        this.#sendSegment(engine.cut + mss >= payload);
        continue;
      }
      const limit = engine.staged < headerLength ? headerLength : full;
      const part = Math.min(limit - engine.staged, length - this.#consumed);
      if (!engine.append(address + this.#consumed, part)) this.#drop('buffer not in mapped memory');
      this.#consumed += part;
      if (engine.staged === headerLength) engine.beginSegments();
    }
    if (!last || this.#dropped) return true;
    if (engine.staged > headerLength) {
      if (engine.held()) return false;
      this.#sendSegment(true);
    }
    // An EOP anywhere but at the end of PAYLEN is an abnormal termination (3.3.7.1).
    this.#statistics.count(engine.cut === payload ? TSCTC : TSCTFC);
    return true;
  }

  /** What is behind the header leaves behind it (3.5.7). */
  #sendSegment(last: boolean): void {
    const engine = this.#engine;
    const { headerLength } = engine.offload;
    engine.segment(headerLength, engine.staged - headerLength, last);
    engine.dropPayload();
    if (this.#tags(this.#command)) engine.insertTag(this.#words[VET.word]!, this.#options >>> 16);
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
    this.#delay.cancel();
    this.#absoluteDelay.cancel();
    this.#assembling = false;
    this.#segmenting = false;
    this.#dropped = false;
    this.#consumed = 0;
    this.#unwritten = 0;
    this.#causes = 0;
    this.ring.settle();
  }

  save(): unknown {
    return {
      engine: this.#engine.state.save(),
      delay: this.#delay.save(),
      absoluteDelay: this.#absoluteDelay.save(),
      packet: [this.#assembling, this.#dropped, this.#segmenting],
      progress: [this.#command, this.#options, this.#consumed],
      writeBack: [this.#writeBackFrom, this.#unwritten],
      refused: this.refused,
    };
  }

  restore(saved: unknown): void {
    const state = saved as {
      engine: unknown;
      delay: number;
      absoluteDelay: number;
      packet: [boolean, boolean, boolean];
      progress: [number, number, number];
      writeBack: [number, number];
      refused: number;
    };
    this.ring.settle();
    restore(this.#engine.state, state.engine, 'engine');
    this.#delay.restore(state.delay);
    this.#absoluteDelay.restore(state.absoluteDelay);
    [this.#assembling, this.#dropped, this.#segmenting] = state.packet;
    [this.#command, this.#options, this.#consumed] = state.progress;
    [this.#writeBackFrom, this.#unwritten] = state.writeBack;
    this.refused = state.refused;
  }
}
