/**
 * The transmit side (manual section 3.3): from the descriptor ring through checksum insertion, segmentation and VLAN
 * tagging to the wire.
 *
 * A frame in one buffer that needs nothing done to it goes out straight from host memory. Anything else is put together in
 * the staging area first. A TCP segmentation stops between two segments where flow control or a busy wire says so, and
 * goes on from there.
 */
import type { Alarm, Clock } from '../clock.ts';
import { copyBytes } from '../copy.ts';
import { crc32 } from '../crc32.ts';
import type { BusMaster, Window } from '../memory.ts';
import {
  addToChecksum,
  foldChecksum,
  get16,
  get32,
  isBroadcast,
  MIN_FRAME,
  put16,
  put32,
  VLAN_TAG,
} from '../packet.ts';
import type { Host, PacketMemory } from '../pci/function.ts';
import type { RegisterFile } from '../registers.ts';
import { FCS_ERROR } from '../wire/port.ts';
import { TransmitContext } from './context.ts';
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

const FCS = 4;
const MACS = 12;
/** The longest frame, without FCS and tag (3.3.3). */
const MAX_FRAME = 16288;
/** Frames that one doorbell may segment out; then comes a rest of as long as a gigabit line would have taken for them. */
const MAX_SEGMENTS = 65536;
const REST = MAX_SEGMENTS * 672; // ns: 84 bytes each
const TIMER_UNIT = 1024; // ns, of TIDV and TADV
const BURST = 64;
/** The command bits that tell a frame to be sent as it is: EOP and IFCS alone of these. */
const LEGACY = TX_DEXT | TX_EOP | TX_IFCS | TX_VLE | TX_IC;
const ORIGIN = 64; // where a frame starts in the staging area: room for a tag in front, and aligned

const NO_CONTEXT = new Uint32Array(4);
const TCP_FLAGS_LAST = 0x09; // FIN and PSH: only on the last segment (3.5.3)

/** What the transmitter sends into: the port, or a loopback. */
export interface Outlet {
  send(bytes: Uint8Array, start: number, length: number, flags: number): void;
  /** A burst, see Port.receiveBurst: returns how many frames it took. */
  sendBurst(bytes: Uint8Array, starts: Int32Array, lengths: Int32Array, count: number): number;
  /** Nanoseconds on the clock until which nothing may be sent. */
  readonly heldUntil: number;
}

export class Transmit {
  readonly ring: Ring;
  readonly #registers: RegisterFile;
  readonly #words: Uint32Array;
  readonly #clock: Clock;
  readonly #dma: BusMaster;
  readonly #buffers: Window;
  readonly #interrupts: InterruptBlock;
  readonly #statistics: Statistics;
  readonly #outlet: Outlet;
  readonly #staging: PacketMemory;
  readonly #origin: number;
  readonly #resume: Alarm;
  readonly #delay: Alarm;
  readonly #absoluteDelay: Alarm;

  readonly #context = new TransmitContext();

  // The packet being put together. Its first data descriptor says what is done to it.
  #assembling = false;
  #dropped = false;
  #segmenting = false;
  #command = 0; // that descriptor's word 2 …
  #options = 0; // … and word 3
  #length = 0; // bytes staged; while segmenting, of the header and the segment being filled
  #consumed = 0; // bytes of the descriptor at the head, where it was left half done
  // Segmentation in progress.
  #sent = 0; // payload bytes that went out
  #segment = 0;
  #ipSeed = 0; // both checksum fields as software left them
  #l4Seed = 0;
  #ipId = 0;
  #sequence = 0;
  #tcpFlags = 0;
  // A burst of frames: where they start in their mapping's bytes, and how long they are.
  readonly #starts = new Int32Array(BURST);
  readonly #lengths = new Int32Array(BURST);
  // Descriptors done but not written back, for WTHRESH.
  #writeBackFrom = 0;
  #unwritten = 0;
  #causes = 0;
  #running = false;
  #segmentsLeft = 0;
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
    this.#clock = host.clock;
    this.#dma = dma;
    this.#buffers = dma.window();
    this.#interrupts = blocks.interrupts;
    this.#statistics = blocks.statistics;
    this.#outlet = blocks.outlet;
    this.#staging = host.packetMemory(ORIGIN + 2 * MAX_FRAME);
    this.#origin = this.#staging.start + ORIGIN;
    this.ring = new Ring(registers, dma, { low: TDBAL, high: TDBAH, length: TDLEN, head: TDH, tail: TDT });
    this.#resume = host.clock.alarm(() => this.#run());
    this.#delay = host.clock.alarm(() => this.#delayExpired());
    this.#absoluteDelay = host.clock.alarm(() => this.#delayExpired());
    registers.onWrite(TDT, () => this.#run());
    registers.onWrite(TCTL, (value) => {
      if (value & TCTL.SWXOFF) blocks.softwareXoff();
      this.#run();
    });
    registers.onWrite(TIDV, (value) => {
      if (value & TIDV.FPD) this.#delayExpired();
    });
  }

  /** What held the transmitter may hold it no longer: look again, but not from within this call. */
  resume(): void {
    this.#resume.at(this.#clock.now);
  }

  #run(): void {
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
    this.#segmentsLeft = MAX_SEGMENTS;
    for (let budget = ring.count; head !== tail && budget > 0; ) {
      if (this.#held()) break;
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

  /** Whether flow control or the wire holds us; then the work goes on when they let go. */
  #held(): boolean {
    const until = this.#outlet.heldUntil;
    if (until <= this.#clock.now) return false;
    this.#resume.at(until);
    return true;
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
    const ring = this.ring.words;
    this.#registers.trace?.descriptor('82540EM', 'tx', index, ring, at, 4);
    const command = ring[at + 2]!;
    const extended = (command & TX_DEXT) !== 0;
    if (extended && (command & TX_TYPE) === TX_TYPE_CONTEXT) {
      if (this.#assembling) this.#drop('a context in the midst of it');
      else this.#context.load(ring, at);
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
    this.#length = 0;
    this.#segmenting = (command & (TX_DEXT | TX_TSE)) === (TX_DEXT | TX_TSE);
    if (this.#segmenting) this.#beginSegmentation();
  }

  #drop(why: string): void {
    if (!this.#dropped) this.refused++;
    this.#dropped = true;
    this.#registers.trace?.note('82540EM', `transmit: ${why}: packet dropped`);
  }

  /** Appends a buffer to the staged frame. */
  #stage(address: number, length: number): void {
    if (this.#length + length > MAX_FRAME) this.#drop(`longer than ${MAX_FRAME} bytes`);
    else if (!this.#fetch(address, this.#length, length)) this.#drop('buffer not in mapped memory');
    else this.#length += length;
  }

  /** Host memory into the staged frame at `at`. */
  #fetch(address: number, at: number, length: number): boolean {
    const window = this.#buffers;
    if (!window.covers(address, length)) return this.#dma.read(address, this.#staging.bytes, this.#origin + at, length);
    const { mapping } = window;
    copyBytes(mapping.bytes, address - mapping.start, this.#staging.bytes, this.#origin + at, length);
    return true;
  }

  /** The end of a packet. Of its last descriptor IFCS, VLE and the tag count (3.3.3.1, 3.3.7.1: valid with EOP). */
  #end(command: number, options: number): void {
    this.#assembling = false;
    if (this.#segmenting || this.#dropped || this.#length === 0) return;
    let flags = 0;
    const { bytes } = this.#staging;
    if (!(this.#command & TX_DEXT)) this.#insertLegacyChecksum(command);
    else flags = this.#context.insertChecksums(bytes, this.#origin, this.#length, this.#options, 0);
    let start = this.#origin;
    if (command & TX_VLE && this.#words[CTRL.word]! & CTRL.VME) {
      start = this.#insertTag(options);
      this.#length += VLAN_TAG;
      flags = 0;
    } else if (!(command & TX_IFCS)) flags = this.#takeFcs(start);
    this.#send(bytes, start, this.#padded(start, this.#length), flags);
  }

  /** The length of a staged frame, filled up with zeros (which leave a sum as it is) where PSP says so. */
  #padded(start: number, length: number): number {
    if (length >= MIN_FRAME || !(this.#words[TCTL.word]! & TCTL.PSP)) return length;
    this.#staging.bytes.fill(0, start + length, start + MIN_FRAME);
    return MIN_FRAME;
  }

  /** Software brought the FCS along: what goes out is good only if it is right. */
  #takeFcs(start: number): number {
    const length = Math.max(0, this.#length - FCS);
    const { bytes } = this.#staging;
    const at = start + length;
    const given = (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
    this.#length = length;
    return given === crc32(bytes, start, length) ? 0 : FCS_ERROR;
  }

  /** Moves both addresses forward by a tag's length and puts the tag behind them. Returns where the frame now starts. */
  #insertTag(options: number): number {
    const { bytes } = this.#staging;
    const start = this.#origin - VLAN_TAG;
    bytes.copyWithin(start, this.#origin, this.#origin + MACS);
    put16(bytes, start + MACS, this.#words[VET.word]!);
    put16(bytes, start + MACS + 2, options >>> 16);
    return start;
  }

  /** Legacy IC: the sum from CSS to the end goes to CSO (3.3.3.1). */
  #insertLegacyChecksum(command: number): void {
    if (!(command & TX_IC)) return;
    const from = (this.#options >>> 8) & 0xff;
    const to = (this.#command >>> 16) & 0xff;
    if (from >= this.#length || to + 2 > this.#length) return;
    const sum = addToChecksum(this.#staging.bytes, this.#origin + from, this.#length - from);
    put16(this.#staging.bytes, this.#origin + to, ~foldChecksum(sum));
  }

  #beginSegmentation(): void {
    this.#sent = 0;
    this.#segment = 0;
    const { headerLength: header, mss, leastHeader } = this.#context;
    if (mss === 0) this.#drop('segmentation with MSS 0');
    else if (header < leastHeader || header + mss > MAX_FRAME)
      this.#drop(`segmentation with a header of ${header} bytes, MSS ${mss}`);
    if (this.#dropped) this.#statistics.count(TSCTFC);
  }

  /** A buffer of a packet that is segmented. False where a segment was held; `#consumed` says how far it got. */
  #segmentPart(address: number, length: number, last: boolean): boolean {
    const full = this.#context.headerLength + this.#context.mss;
    while (!this.#dropped && (this.#length === full || this.#consumed < length)) {
      if (this.#length === full) {
        if (this.#held() || this.#rests()) return false;
        this.#sendSegment(this.#sent + this.#context.mss >= this.#context.payloadLength);
        continue;
      }
      const limit = this.#length < this.#context.headerLength ? this.#context.headerLength : full;
      const part = Math.min(limit - this.#length, length - this.#consumed);
      if (!this.#fetch(address + this.#consumed, this.#length, part)) this.#drop('buffer not in mapped memory');
      this.#length += part;
      this.#consumed += part;
      if (this.#length === this.#context.headerLength) this.#saveHeader();
    }
    if (!last || this.#dropped) return true;
    if (this.#length > this.#context.headerLength) {
      if (this.#held()) return false;
      this.#sendSegment(true);
    }
    // An EOP anywhere but at the end of PAYLEN is an abnormal termination (3.3.7.1).
    this.#statistics.count(this.#sent === this.#context.payloadLength ? TSCTC : TSCTFC);
    return true;
  }

  /** Whether this doorbell has had its share: MSS 1 makes a million frames of one descriptor. */
  #rests(): boolean {
    if (this.#segmentsLeft-- > 0) return false;
    this.#resume.in(REST);
    return true;
  }

  /** The header is complete: keep what each segment starts from. */
  #saveHeader(): void {
    const { bytes } = this.#staging;
    const origin = this.#origin;
    const context = this.#context;
    this.#ipSeed = get16(bytes, origin + context.ipSum);
    this.#l4Seed = get16(bytes, origin + context.l4Sum);
    this.#ipId = get16(bytes, origin + context.ipStart + 4);
    this.#sequence = get32(bytes, origin + context.l4Start + 4);
    this.#tcpFlags = bytes[origin + context.l4Start + 13]!;
  }

  /** Header fields of one segment (3.5.7), checksums, and out. */
  #sendSegment(last: boolean): void {
    const { bytes } = this.#staging;
    const origin = this.#origin;
    const context = this.#context;
    const ip = origin + context.ipStart;
    const l4 = origin + context.l4Start;
    const fromIp = this.#length - context.ipStart;
    const l4Length = this.#length - context.l4Start;
    put16(bytes, origin + context.ipSum, this.#ipSeed);
    put16(bytes, origin + context.l4Sum, this.#l4Seed);
    if (context.ipv4) {
      put16(bytes, ip + 2, fromIp);
      put16(bytes, ip + 4, this.#ipId + this.#segment);
    } else put16(bytes, ip + 4, fromIp - 40);
    if (context.tcp) {
      put32(bytes, l4 + 4, (this.#sequence + this.#sent) >>> 0);
      bytes[l4 + 13] = last ? this.#tcpFlags : this.#tcpFlags & ~TCP_FLAGS_LAST;
    } else put16(bytes, l4 + 4, l4Length);
    const flags = context.insertChecksums(bytes, origin, this.#length, this.#options, l4Length);
    this.#sendTagged(flags);
    this.#sent += this.#length - context.headerLength;
    this.#segment++;
    this.#length = context.headerLength;
  }

  #sendTagged(flags: number): void {
    const { bytes } = this.#staging;
    if (!(this.#command & TX_VLE) || !(this.#words[CTRL.word]! & CTRL.VME)) {
      this.#send(bytes, this.#origin, this.#padded(this.#origin, this.#length), flags);
      return;
    }
    const start = this.#insertTag(this.#options);
    this.#send(bytes, start, this.#padded(start, this.#length + VLAN_TAG), 0);
    bytes.copyWithin(this.#origin, start, start + MACS); // the next segment needs the addresses where they were
  }

  #send(bytes: Uint8Array, start: number, length: number, flags: number): void {
    this.#statistics.sent(1, length + FCS);
    this.#countOne(bytes, start, length);
    this.#outlet.send(bytes, start, length, flags);
  }

  #countOne(bytes: Uint8Array, start: number, length: number): void {
    this.#statistics.sentOne(length, bytes[start]!, isBroadcast(bytes, start));
  }

  reset(): void {
    this.#resume.cancel();
    this.#delay.cancel();
    this.#absoluteDelay.cancel();
    this.#context.load(NO_CONTEXT, 0);
    this.#assembling = false;
    this.#segmenting = false;
    this.#dropped = false;
    this.#length = 0;
    this.#consumed = 0;
    this.#unwritten = 0;
    this.#causes = 0;
    this.ring.settle();
  }

  save(): unknown {
    return {
      resume: this.#resume.save(),
      delay: this.#delay.save(),
      absoluteDelay: this.#absoluteDelay.save(),
      context: this.#context.words.slice(),
      staged: this.#staging.bytes.slice(this.#origin, this.#origin + this.#length),
      packet: [this.#assembling, this.#dropped, this.#segmenting],
      progress: [this.#command, this.#options, this.#consumed, this.#sent, this.#segment],
      header: [this.#ipSeed, this.#l4Seed, this.#ipId, this.#sequence, this.#tcpFlags],
      writeBack: [this.#writeBackFrom, this.#unwritten],
      refused: this.refused,
    };
  }

  restore(saved: unknown): void {
    const state = saved as {
      resume: number;
      delay: number;
      absoluteDelay: number;
      context: Uint32Array;
      staged: Uint8Array;
      packet: [boolean, boolean, boolean];
      progress: [number, number, number, number, number];
      header: [number, number, number, number, number];
      writeBack: [number, number];
      refused: number;
    };
    this.ring.settle();
    this.#resume.restore(state.resume);
    this.#delay.restore(state.delay);
    this.#absoluteDelay.restore(state.absoluteDelay);
    this.#context.load(state.context, 0);
    this.#staging.bytes.set(state.staged, this.#origin);
    this.#length = state.staged.length;
    [this.#assembling, this.#dropped, this.#segmenting] = state.packet;
    [this.#command, this.#options, this.#consumed, this.#sent, this.#segment] = state.progress;
    [this.#ipSeed, this.#l4Seed, this.#ipId, this.#sequence, this.#tcpFlags] = state.header;
    [this.#writeBackFrom, this.#unwritten] = state.writeBack;
    this.refused = state.refused;
  }
}
