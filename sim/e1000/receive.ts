/**
 * The receive side (manual section 3.2): from the wire through filters, FIFO and checksum unit to the descriptor ring.
 */
import type { Alarm } from '../clock.ts';
import type { BusMaster, Window } from '../memory.ts';
import { Fifo } from '../nic/fifo.ts';
import { ETHERNET_HEADER, FCS, get16, isBroadcast, MACS, MIN_FRAME, VLAN_TAG } from '../packet.ts';
import type { Host } from '../pci/function.ts';
import { field, type Register, type RegisterFile } from '../registers.ts';
import { restore } from '../state.ts';
import { FCS_ERROR, knownSum, SUM_KNOWN } from '../wire/port.ts';
import type { ChecksumUnit } from './checksum.ts';
import { DESCRIPTOR, RX_CE, RX_DD, RX_EOP, RX_IXSM, RX_PIF, RX_RXE, RX_VP } from './descriptors.ts';
import { EXACT, type Filters, REJECTED } from './filters.ts';
import { DISCARDED, type FlowControl, ORDINARY, PASSED } from './flow-control.ts';
import type { InterruptBlock } from './interrupts.ts';
import { I82540EM } from './registers.ts';
import { Ring } from './ring.ts';
import type { Statistics } from './statistics.ts';

const { CTRL, FCT, ICR, PBA, RADV, RCTL, RDBAH, RDBAL, RDH, RDLEN, RDT, RDTR, RSRPD, RXDCTL, VET } = I82540EM.r;
const { CRCERRS, MPC, RFC, RJC, RLEC, RNBC, ROC, RUC } = I82540EM.r;

const MAX_STANDARD = 1522; // with FCS and a tag; longer ones only with RCTL.LPE (13.4.22)
const MAX_LONG = 16384;
const TIMER_UNIT = 1024; // ns, of RDTR and RADV
const BUFFER_SIZES = [2048, 1024, 512, 256, 0, 16384, 8192, 4096]; // by BSEX and BSIZE; 0 is reserved
const TAGGED = ETHERNET_HEADER + VLAN_TAG;
const INEXACT_FLAG = 4; // beside the wire's own frame flags
const PENDING = 64; // descriptors the chip can hold before it must write them back (3.2.4)

export class Receive {
  readonly ring: Ring;
  readonly #registers: RegisterFile;
  readonly #words: Uint32Array;
  readonly #dma: BusMaster;
  readonly #buffers: Window;
  readonly #filters: Filters;
  readonly #checksums: ChecksumUnit;
  readonly #flow: FlowControl;
  readonly #interrupts: InterruptBlock;
  readonly #statistics: Statistics;
  readonly #sendPause: (frame: Uint8Array) => void;
  readonly #fifo: Fifo;
  readonly #packetTimer: Alarm;
  readonly #absoluteTimer: Alarm;
  #bufferSize = 2048;
  // Descriptors filled but not yet written back: words 2 and 3 of each, from #pendingAt on.
  readonly #pending = new Uint32Array(2 * PENDING);
  #pendingCount = 0;
  #pendingAt = 0;
  #draining = false;

  constructor(
    host: Host,
    registers: RegisterFile,
    dma: BusMaster,
    blocks: {
      filters: Filters;
      checksums: ChecksumUnit;
      flow: FlowControl;
      interrupts: InterruptBlock;
      statistics: Statistics;
      sendPause: (frame: Uint8Array) => void;
    },
  ) {
    this.#registers = registers;
    this.#words = registers.words;
    this.#dma = dma;
    this.#buffers = dma.window();
    this.#filters = blocks.filters;
    this.#checksums = blocks.checksums;
    this.#flow = blocks.flow;
    this.#interrupts = blocks.interrupts;
    this.#statistics = blocks.statistics;
    this.#sendPause = blocks.sendPause;
    this.#fifo = new Fifo(host);
    this.ring = new Ring(registers, dma, { low: RDBAL, high: RDBAH, length: RDLEN, head: RDH, tail: RDT });
    this.#packetTimer = host.clock.alarm(() => this.#timerExpired());
    this.#absoluteTimer = host.clock.alarm(() => this.#timerExpired());
    registers.onWrite(RDT, () => this.#drain());
    registers.onWrite(RCTL, () => this.#controlWritten());
    registers.onWrite(RDTR, (value) => {
      if (value & RDTR.FPD) this.#timerExpired(); // "flush partial descriptor block"
    });
  }

  #controlWritten(): void {
    this.#settleBufferSize();
    if (this.#words[RCTL.word]! & RCTL.EN) this.#drain();
    else this.#fifo.clear();
  }

  #settleBufferSize(): void {
    const rctl = this.#words[RCTL.word]!;
    const size = field(rctl, RCTL.BSIZE) + (rctl & RCTL.BSEX ? 4 : 0);
    this.#bufferSize = BUFFER_SIZES[size] || 2048;
  }

  /**
   * A frame from the wire, or from a loopback, while receives are enabled. What the filters reject is counted nowhere but
   * in the totals (13.7).
   */
  frame(bytes: Uint8Array, start: number, length: number, flags: number, kind: number): void {
    const rctl = this.#words[RCTL.word]!;
    if (!(rctl & RCTL.EN) || length < ETHERNET_HEADER) return;
    this.#statistics.arrived(1, length + FCS);
    if (kind === DISCARDED) return;
    const match = kind === PASSED ? EXACT : this.#filters.match(bytes, start);
    if (match === REJECTED) return;
    const type = get16(bytes, start + 12);
    if (type === this.#words[VET.word] && length >= TAGGED && !this.#filters.vlan(get16(bytes, start + 14))) return;
    let good = kind === ORDINARY;
    if (length < MIN_FRAME || length + FCS > MAX_STANDARD || flags & FCS_ERROR) {
      if (!this.#acceptsBad(rctl, length, flags)) return;
      good &&= length >= MIN_FRAME && (flags & FCS_ERROR) === 0;
    }
    if (!this.#accept(bytes, start, length, match === EXACT ? flags : flags | INEXACT_FLAG)) return;
    if (!good) return;
    this.#statistics.received(1, length + FCS);
    this.#countOne(bytes, start, length, rctl);
  }

  #countOne(bytes: Uint8Array, start: number, length: number, rctl: number): void {
    this.#statistics.receivedOne(length, bytes[start]!, (rctl & RCTL.BAM) !== 0 && isBroadcast(bytes, start));
  }

  /**
   * Frames that arrive at one moment, from the front as long as each is an ordinary one for which the ring has a buffer of
   * its own: what `frame` does, with all that is the same for each of them looked at once. Returns how many.
   */
  burst(bytes: Uint8Array, starts: Int32Array, lengths: Int32Array, count: number): number {
    const words = this.#words;
    const { ring } = this;
    const rctl = words[RCTL.word]!;
    let index = words[RDH.word]!;
    if (!this.#burstable(rctl) || index >= ring.count) return 0;
    const first = ring.locate(0);
    if (!ring.contiguous || !ring.writable) return 0;
    const tail = words[RDT.word]!;
    const longest = Math.min(this.#bufferSize, MAX_STANDARD - FCS);
    const { owned } = ring;
    let octets = 0;
    let rejected = 0;
    let done = 0;
    for (; done < count && index !== tail; done++) {
      const start = starts[done]!;
      const length = lengths[done]!;
      if (length > longest || length <= words[RSRPD.word]! || this.#isSpecial(get16(bytes, start + 12))) break;
      const match = this.#filters.match(bytes, start);
      if (match !== REJECTED) {
        if (!this.#fill(first + 4 * index, bytes, start, length, match)) break;
        this.#countOne(bytes, start, length, rctl);
        octets += length + FCS;
        index = ring.next(index);
      } else rejected += length + FCS;
    }
    words[RDH.word] = index;
    const delivered = owned - ring.owned;
    this.#statistics.arrived(done, octets + rejected);
    this.#statistics.received(delivered, octets);
    if (delivered > 0) this.#delivered(longest, delivered);
    return done;
  }

  /** Nothing waits in front of a burst, nobody watches descriptor by descriptor, and none is held back or has an FCS. */
  #burstable(rctl: number): boolean {
    const wanted = RCTL.EN | RCTL.SECRC;
    return (
      (rctl & wanted) === wanted &&
      this.#dma.enabled &&
      this.#fifo.empty &&
      this.#pendingCount === 0 &&
      this.#writeBackThreshold <= 1 &&
      this.#registers.trace === null
    );
  }

  /** Tagged, or MAC control. */
  #isSpecial(etherType: number): boolean {
    return etherType === this.#words[VET.word] || etherType === this.#words[FCT.word];
  }

  /** One descriptor of a burst; false, and nothing done, where its buffer is not in one writable mapping. */
  #fill(at: number, bytes: Uint8Array, start: number, length: number, match: number): boolean {
    const ring = this.ring.words;
    const address = ring[at]!;
    if (ring[at + 1] !== 0) return false;
    const sum = this.#buffers.putAndSum(address, bytes, start, length);
    if (sum < 0) return false;
    const status = RX_DD | RX_EOP | this.#checksums.receive(bytes, start, length, knownSum(sum));
    ring[at + 2] = length | (this.#checksums.packet << 16);
    ring[at + 3] = match === EXACT ? status : status | RX_PIF;
    return true;
  }

  /** Counts what is wrong with a frame; whether it is taken all the same: long with LPE, bad with SBP. */
  #acceptsBad(rctl: number, length: number, flags: number): boolean {
    const bad = (flags & FCS_ERROR) !== 0;
    const storesBad = (rctl & RCTL.SBP) !== 0;
    if (length < MIN_FRAME) {
      this.#countLength(bad ? RFC : RUC);
      return storesBad;
    }
    if (length + FCS > (rctl & RCTL.LPE ? MAX_LONG : MAX_STANDARD)) {
      this.#countLength(bad ? RJC : ROC);
      return false;
    }
    if (bad) this.#statistics.count(CRCERRS);
    return !bad || storesBad;
  }

  #countLength(register: Register): void {
    this.#statistics.count(register);
    this.#statistics.count(RLEC);
  }

  /** False where the frame is missed. */
  #accept(bytes: Uint8Array, start: number, length: number, flags: number): boolean {
    if (this.#fifo.empty && this.#hasDescriptors(length)) {
      this.#deliver(bytes, start, length, flags);
      return true;
    }
    if (this.ring.owned === 0) this.#statistics.count(RNBC);
    const stored = this.#fifo.push(this.#capacity, bytes, start, length, flags);
    if (!stored) {
      this.#statistics.count(MPC);
      this.#interrupts.raise(ICR.RXO);
    }
    this.#level(true, !stored);
    return stored;
  }

  get #capacity(): number {
    return Math.min(field(this.#words[PBA.word]!, PBA.RXA), 64) * 1024;
  }

  #level(rising: boolean, overflow: boolean): void {
    const pause = this.#flow.level(this.#fifo.used, rising, overflow);
    if (pause !== null) this.#sendPause(pause);
  }

  /** Descriptors became available: what waited goes to the host first. */
  #drain(): void {
    const fifo = this.#fifo;
    if (fifo.empty || this.#draining) return; // draining: a doorbell from within, by an interrupt; the loop sees it
    this.#draining = true;
    try {
      while (!fifo.empty && this.#words[RCTL.word]! & RCTL.EN && this.#hasDescriptors(fifo.length)) {
        this.#deliver(fifo.bytes, fifo.start, fifo.length, fifo.flags);
        fifo.pop();
      }
    } finally {
      this.#draining = false;
    }
    this.#level(false, false);
  }

  #hasDescriptors(length: number): boolean {
    if (!this.#dma.enabled || this.ring.count === 0) return false;
    const { owned } = this.ring;
    return owned > 0 && (length + FCS <= this.#bufferSize || owned * this.#bufferSize >= length + FCS);
  }

  /** Into host memory, over as many descriptors as it takes. */
  #deliver(bytes: Uint8Array, start: number, length: number, flags: number): void {
    const words = this.#words;
    let word3 = RX_DD | (flags & INEXACT_FLAG ? RX_PIF : 0) | (flags & FCS_ERROR ? RX_CE : 0);
    let stripped = 0;
    if (words[CTRL.word]! & CTRL.VME && get16(bytes, start + 12) === words[VET.word] && length >= TAGGED) {
      word3 |= RX_VP | (get16(bytes, start + 14) << 16);
      stripped = VLAN_TAG;
    }
    if (stripped === 0 && words[RCTL.word]! & RCTL.SECRC && length <= this.#bufferSize) {
      this.#deliverWhole(bytes, start, length, flags, word3 | RX_EOP);
      return;
    }
    word3 |= this.#checksums.receive(bytes, start, length, flags);
    const kept = length - stripped;
    const total = words[RCTL.word]! & RCTL.SECRC ? kept : kept + FCS;
    if (total > kept) this.#checksums.fcs(bytes, start, length, flags);
    const packetChecksum = this.#checksums.stored(bytes, start, length, stripped, total > kept) << 16;
    let index = words[RDH.word]!;
    if (index >= this.ring.count) index = 0;
    for (let done = 0; done < total; ) {
      const part = Math.min(this.#bufferSize, total - done);
      const last = done + part === total;
      const at = this.ring.locate(index);
      if (at < 0) {
        this.#dma.faults++; // the ring is not mapped: nothing can be written, not even that
        return;
      }
      const ring = this.ring.words;
      const address = ring[at + 1]! * 0x1_0000_0000 + ring[at]!;
      const stored = this.#store(address, bytes, start, stripped, kept, done, part);
      const status = (last ? word3 | RX_EOP : RX_DD | RX_IXSM) | (stored ? 0 : RX_RXE);
      this.#writeBack(index, part | packetChecksum, status, at);
      done += part;
      index = this.ring.next(index);
    }
    words[RDH.word] = index;
    this.#delivered(total, Math.ceil(total / this.#bufferSize));
  }

  /** A frame that fits one buffer as it is: where its sum is not known, it is summed on the way. */
  #deliverWhole(bytes: Uint8Array, start: number, length: number, flags: number, word3: number): void {
    const words = this.#words;
    const { ring } = this;
    const index = words[RDH.word]! < ring.count ? words[RDH.word]! : 0;
    const at = ring.locate(index);
    if (at < 0) {
      this.#dma.faults++;
      return;
    }
    const high = ring.words[at + 1]!;
    const address = high === 0 ? ring.words[at]! : high * 0x1_0000_0000 + ring.words[at]!;
    const sum = flags & SUM_KNOWN ? -1 : this.#buffers.putAndSum(address, bytes, start, length);
    const stored = sum >= 0 || this.#buffers.store(address, bytes, start, length);
    const sums = this.#checksums.receive(bytes, start, length, sum < 0 ? flags : knownSum(sum));
    const status = word3 | sums | (stored ? 0 : RX_RXE);
    this.#writeBack(index, length | (this.#checksums.packet << 16), status, at);
    words[RDH.word] = ring.next(index);
    this.#delivered(length, 1);
  }

  /** Bytes [done, done + part) of the frame as the host sees it: without a stripped tag, with the FCS if kept. */
  #store(
    address: number,
    bytes: Uint8Array,
    start: number,
    stripped: number,
    kept: number,
    done: number,
    part: number,
  ): boolean {
    const window = this.#buffers;
    const end = done + part;
    const macs = stripped > 0 ? Math.max(0, Math.min(end, MACS) - done) : 0;
    const from = done + macs;
    const rest = Math.max(0, Math.min(end, kept) - from);
    const fcsAt = from + rest;
    return (
      window.store(address, bytes, start + done, macs) &&
      window.store(address + macs, bytes, start + stripped + from, rest) &&
      window.store(address + fcsAt - done, this.#checksums.fcsBytes, fcsAt - kept, end - fcsAt)
    );
  }

  #write(index: number, at: number, word2: number, word3: number): void {
    if (!this.ring.writable) {
      this.#dma.faults++;
      return;
    }
    const { words } = this.ring;
    words[at + 2] = word2;
    words[at + 3] = word3;
    this.ring.written(DESCRIPTOR / 2);
    this.#registers.trace?.descriptor('82540EM', 'rx', index, words, at, 4);
  }

  get #writeBackThreshold(): number {
    return (this.#words[RXDCTL.word]! >>> 16) & 0x3f;
  }

  /** At once where WTHRESH says 0 or 1, else kept until so many are done (13.4.46). */
  #writeBack(index: number, word2: number, word3: number, at: number): void {
    const threshold = this.#writeBackThreshold;
    if (threshold <= 1 && this.#pendingCount === 0) {
      this.#write(index, at, word2, word3);
      return;
    }
    if (this.#pendingCount === 0) this.#pendingAt = index;
    this.#pending[2 * this.#pendingCount] = word2;
    this.#pending[2 * this.#pendingCount + 1] = word3;
    this.#pendingCount++;
    if (this.#pendingCount >= threshold || this.#pendingCount === PENDING) this.#flush();
  }

  #flush(): void {
    let index = this.#pendingAt;
    for (let i = 0; i < this.#pendingCount; i++) {
      const at = this.ring.locate(index);
      if (at < 0) {
        this.#dma.faults++;
        break;
      }
      this.#write(index, at, this.#pending[2 * i]!, this.#pending[2 * i + 1]!);
      index = this.ring.next(index);
    }
    this.#pendingCount = 0;
  }

  /** The interrupts a delivered packet leads to (3.2.7). */
  #delivered(length: number, used: number): void {
    const words = this.#words;
    const threshold = this.ring.count >>> (1 + field(words[RCTL.word]!, RCTL.RDMTS));
    const { owned } = this.ring;
    let causes = owned <= threshold && owned + used > threshold ? ICR.RXDMT0 : 0;
    if (length <= words[RSRPD.word]!) {
      causes |= ICR.SRPD | ICR.RXT0;
      this.#cancelTimers(); // a small packet interrupts at once and stands for the timer (3.2.7.2)
      if (this.#pendingCount > 0) this.#flush();
    } else if (words[RDTR.word] === 0) {
      causes |= ICR.RXT0;
      if (this.#pendingCount > 0) this.#flush();
    } else {
      this.#packetTimer.in(words[RDTR.word]! * TIMER_UNIT);
      if (words[RADV.word] !== 0 && !this.#absoluteTimer.scheduled)
        this.#absoluteTimer.in(words[RADV.word]! * TIMER_UNIT);
    }
    if (causes !== 0) this.#interrupts.raise(causes);
  }

  #timerExpired(): void {
    this.#cancelTimers();
    if (this.#pendingCount > 0) this.#flush();
    this.#interrupts.raise(ICR.RXT0);
  }

  #cancelTimers(): void {
    this.#packetTimer.cancel();
    this.#absoluteTimer.cancel();
  }

  reset(): void {
    this.#cancelTimers();
    this.#fifo.reset();
    this.#pendingCount = 0;
    this.#bufferSize = 2048;
    this.ring.settle();
  }

  save(): unknown {
    return {
      fifo: this.#fifo.state.save(),
      packetTimer: this.#packetTimer.save(),
      absoluteTimer: this.#absoluteTimer.save(),
      pending: this.#pending.slice(0, 2 * this.#pendingCount),
      pendingAt: this.#pendingAt,
    };
  }

  restore(saved: unknown): void {
    const state = saved as {
      fifo: unknown;
      packetTimer: number;
      absoluteTimer: number;
      pending: Uint32Array;
      pendingAt: number;
    };
    this.ring.settle();
    this.#settleBufferSize();
    restore(this.#fifo.state, state.fifo, 'fifo');
    this.#packetTimer.restore(state.packetTimer);
    this.#absoluteTimer.restore(state.absoluteTimer);
    this.#pending.set(state.pending);
    this.#pendingCount = state.pending.length / 2;
    this.#pendingAt = state.pendingAt;
  }
}
