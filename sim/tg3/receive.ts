/**
 * The receive side: from the wire through filters, packet memory and checksum unit to the producer rings' buffers, and a BD
 * for each frame in a return ring.
 */
import type { BusMaster, Window } from '../memory.ts';
import { CHECK_IP, CHECK_IPV6, CHECK_L4, IP_BAD, IP_GOOD, L4_BAD, L4_GOOD, ReceiveChecksums } from '../nic/checksum.ts';
import { Fifo } from '../nic/fifo.ts';
import { DescriptorRing } from '../nic/ring.ts';
import {
  ETHERTYPE_IPV6,
  ETHERTYPE_MAC_CONTROL,
  ETHERTYPE_VLAN,
  FCS,
  get16,
  MACS,
  MIN_FRAME,
  VLAN_TAG,
} from '../packet.ts';
import type { Host } from '../pci/function.ts';
import { field, type Register, type RegisterFile } from '../registers.ts';
import { restore } from '../state.ts';
import { FCS_ERROR, knownSum } from '../wire/port.ts';
import type { Chip } from './chips.ts';
import { type HostCoalescing, RETURN_RINGS } from './coalescing.ts';
import {
  RCB_DISABLED,
  RCB_USE_EXT,
  RX_ADDR_HIGH,
  RX_ADDR_LOW,
  RX_BD,
  RX_CHECKSUMS,
  RX_END,
  RX_ERROR,
  RX_ERROR_VLAN,
  RX_EXT_BD,
  RX_INDEX_LENGTH,
  RX_IP_CSUM,
  RX_IPV6,
  RX_JUMBO,
  RX_NO_RESOURCES,
  RX_OPAQUE,
  RX_RSS_HASH,
  RX_RSS_VALID,
  RX_TCPUDP_CSUM,
  RX_TYPE_FLAGS,
  RX_VLAN,
  SRAM_RET_RCB,
} from './descriptors.ts';
import type { Filters } from './filters.ts';
import type { FlowControl } from './flow-control.ts';
import { BCM57XX } from './registers.ts';
import type { Rss } from './rss.ts';
import type { Sram } from './sram.ts';
import type { Statistics } from './statistics.ts';

const R = BCM57XX.r;
const { MAC_RX_MODE, MAC_RX_MTU_SIZE, MBOX_JUMBO_PROD, MBOX_RET_CON, MBOX_STD_PROD, RCVLPC_MODE } = R;
/** Every block on the way must be on; until then frames wait, since a MAC that is on has packet memory behind it. */
const STAGES = [RCVLPC_MODE, R.RCVDBDI_MODE, R.RCVDCC_MODE, R.RCVBDI_MODE, R.RCVCC_MODE, R.RDMAC_MODE, R.WDMAC_MODE];

const STANDARD_BUFFER = 1536; // of a 5750, and where a 57765 is told nothing
const STANDARD_MTU = 1518;
const MAX_RING = 2047; // the mailboxes have 11 bits
const GOOD = 0xffff;

/** A return BD's flags, and its checksums, by what was found: what is wrong is no all-ones sum. */
const FLAGS = Uint16Array.from({ length: 16 }, (_, found) => {
  return (found & (IP_GOOD | IP_BAD) ? RX_IP_CSUM : 0) | (found & (L4_GOOD | L4_BAD) ? RX_TCPUDP_CSUM : 0);
});
const SUMS = Uint32Array.from({ length: 16 }, (_, found) => {
  return ((found & IP_GOOD ? GOOD << 16 : 0) | (found & L4_GOOD ? GOOD : 0)) >>> 0;
});

export class Receive {
  readonly #registers: RegisterFile;
  readonly #words: Uint32Array;
  readonly #dma: BusMaster;
  readonly #chip: Chip;
  readonly #sram: Sram;
  readonly #filters: Filters;
  readonly #flow: FlowControl;
  readonly #rss: Rss;
  readonly #coalescing: HostCoalescing;
  readonly #statistics: Statistics;
  readonly #sendPause: (frame: Uint8Array) => void;
  readonly #checksums = new ReceiveChecksums();
  readonly #fifo: Fifo;
  readonly #capacity: number;
  readonly #buffers: Window;
  readonly #standard: DescriptorRing;
  readonly #jumbo: DescriptorRing;
  readonly #extended: DescriptorRing;
  readonly #returns: readonly DescriptorRing[];
  readonly #zeros = new Uint8Array(FCS);
  #jumboExtended = false;
  #bufferSize = STANDARD_BUFFER;
  #starved = false; // the frame that waits longest waits for a buffer
  #draining = false;
  #bitTime = 1;

  constructor(
    host: Host,
    registers: RegisterFile,
    dma: BusMaster,
    blocks: {
      chip: Chip;
      sram: Sram;
      filters: Filters;
      flow: FlowControl;
      rss: Rss;
      coalescing: HostCoalescing;
      statistics: Statistics;
      sendPause: (frame: Uint8Array) => void;
    },
  ) {
    this.#registers = registers;
    this.#words = registers.words;
    this.#dma = dma;
    this.#chip = blocks.chip;
    this.#sram = blocks.sram;
    this.#filters = blocks.filters;
    this.#flow = blocks.flow;
    this.#rss = blocks.rss;
    this.#coalescing = blocks.coalescing;
    this.#statistics = blocks.statistics;
    this.#sendPause = blocks.sendPause;
    this.#capacity = (blocks.chip.is57765 ? 40 : 56) * 1024;
    this.#fifo = new Fifo(host);
    this.#buffers = dma.window();
    this.#standard = new DescriptorRing(dma, RX_BD);
    this.#jumbo = new DescriptorRing(dma, RX_BD);
    this.#extended = new DescriptorRing(dma, RX_EXT_BD);
    this.#returns = Array.from({ length: RETURN_RINGS }, () => new DescriptorRing(dma, RX_BD));
    for (const register of [
      R.RCVDBDI_STD_ADDR_HIGH,
      R.RCVDBDI_STD_ADDR_LOW,
      R.RCVDBDI_STD_LEN_FLAGS,
      R.RCVDBDI_JUMBO_ADDR_HIGH,
      R.RCVDBDI_JUMBO_ADDR_LOW,
      R.RCVDBDI_JUMBO_LEN_FLAGS,
    ])
      registers.onWrite(register, () => this.settle());
    for (const mailbox of [MBOX_STD_PROD, MBOX_JUMBO_PROD, MBOX_RET_CON])
      registers.onWrite(mailbox, () => this.#drain());
    for (const stage of STAGES) registers.onWrite(stage, () => this.#drain());
    registers.onWrite(MAC_RX_MODE, (value) => {
      if (!(value & MAC_RX_MODE.ENABLE)) this.#fifo.clear();
    });
    registers.onRead(R.RCVBDI_STD_PROD_IDX, () => this.#words[MBOX_STD_PROD.word]!);
    registers.onRead(R.RCVBDI_JUMBO_PROD_IDX, () => this.#words[MBOX_JUMBO_PROD.word]!);
  }

  /** After a ring control block changed. */
  settle(): void {
    const words = this.#words;
    const std = R.RCVDBDI_STD_ADDR_HIGH.word;
    const flags = words[std + 2]!;
    const buffer = this.#chip.is57765 ? field(flags, R.RCVDBDI_STD_LEN_FLAGS.BUFFER) : 0;
    this.#bufferSize = buffer === 0 ? STANDARD_BUFFER : buffer;
    lay(this.#standard, words, std);
    const jumbo = R.RCVDBDI_JUMBO_ADDR_HIGH.word;
    this.#jumboExtended = (words[jumbo + 2]! & RCB_USE_EXT) !== 0;
    lay(this.#jumboExtended ? this.#extended : this.#jumbo, words, jumbo);
    if (!this.#chip.is57765) {
      this.#jumbo.count = 0;
      this.#extended.count = 0;
    }
    for (const [i, ring] of this.#returns.entries()) {
      lay(ring, this.#sram.words, SRAM_RET_RCB / 4 + 4 * i);
      if (i > 0 && !this.#chip.is57765) ring.count = 0;
      if (this.#coalescing.returnProducers[i]! >= ring.count) this.#coalescing.returnProducers[i] = 0;
    }
    if (this.#coalescing.stdConsumer >= this.#standard.count) this.#coalescing.stdConsumer = 0;
    if (this.#coalescing.jumboConsumer >= this.#jumboRing.count) this.#coalescing.jumboConsumer = 0;
  }

  get #jumboRing(): DescriptorRing {
    return this.#jumboExtended ? this.#extended : this.#jumbo;
  }

  get #enabled(): boolean {
    for (const stage of STAGES) if (!(this.#words[stage.word]! & R.RCVLPC_MODE.ENABLE)) return false;
    return this.#dma.enabled;
  }

  // Frames in.

  /** A frame from the wire, or from a loopback. @param bitTime nanoseconds a bit at the present speed. */
  frame(bytes: Uint8Array, start: number, length: number, flags: number, bitTime: number): void {
    const mode = this.#words[MAC_RX_MODE.word]!;
    if (!(mode & MAC_RX_MODE.ENABLE) || length < MACS + 2) return;
    const bad = (flags & FCS_ERROR) !== 0;
    if (length >= MIN_FRAME && !bad && this.#flow.received(bytes, start, bitTime) !== 0) return;
    if (!this.#filters.accepts(bytes, start) || !this.#isWanted(bytes, start, length, bad, mode)) return;
    this.#statistics.receivedOne(bytes, start);
    this.#statistics.receivedOctets(length + FCS);
    if (this.#fifo.empty && this.#deliver(bytes, start, length, flags)) return;
    if (this.#starved) this.#statistics.count(R.RCVLPC_NO_RCV_BD_CNT);
    if (!this.#fifo.push(this.#capacity, bytes, start, length, flags)) this.#statistics.count(R.RCVLPC_IN_DISCARDS_CNT);
    this.#bitTime = bitTime;
    this.#level();
  }

  /** Counts what is wrong with a frame; whether it is taken all the same. */
  #isWanted(bytes: Uint8Array, start: number, length: number, bad: boolean, mode: number): boolean {
    if (length < MIN_FRAME) {
      if (mode & MAC_RX_MODE.ACCEPT_RUNTS && !bad) return true;
      return this.#refuse(bad ? R.MAC_RX_STATS_FRAGMENTS : R.MAC_RX_STATS_UNDERSIZE);
    }
    if (length + FCS > this.#longest(bytes, start) && !(mode & MAC_RX_MODE.ACCEPT_OVERSIZED))
      return this.#refuse(bad ? R.MAC_RX_STATS_JABBERS : R.MAC_RX_STATS_FRAME_TOO_LONG);
    return !bad || (mode & MAC_RX_MODE.NO_CRC_CHECK) !== 0 || this.#refuse(R.MAC_RX_STATS_FCS_ERRORS);
  }

  #refuse(counter: Register): boolean {
    this.#statistics.count(counter);
    this.#statistics.count(R.RCVLPC_IN_ERRORS_CNT);
    return false;
  }

  /** A limit below that of standard frames does not cut those off; a tag comes on top. */
  #longest(bytes: Uint8Array, start: number): number {
    const limit = Math.max(this.#words[MAC_RX_MTU_SIZE.word]!, STANDARD_MTU);
    return get16(bytes, start + MACS) === ETHERTYPE_VLAN ? limit + VLAN_TAG : limit;
  }

  #level(): void {
    const pause = this.#flow.level(this.#capacity - this.#fifo.used, this.#bitTime);
    if (pause !== null) this.#sendPause(pause);
  }

  /** Buffers or places in a return ring became available: what waited goes to the host first. */
  #drain(): void {
    const fifo = this.#fifo;
    if (fifo.empty || this.#draining) return; // draining: a doorbell from within, by an interrupt; the loop sees it
    this.#draining = true;
    try {
      while (!fifo.empty && this.#deliver(fifo.bytes, fifo.start, fifo.length, fifo.flags)) fifo.pop();
    } finally {
      this.#draining = false;
    }
    this.#level();
  }

  /**
   * Frames that arrive at one moment, from the front as long as each is an ordinary one for the standard ring: what `frame`
   * does, with all that is the same for each of them looked at once. Returns how many.
   */
  burst(bytes: Uint8Array, starts: Int32Array, lengths: Int32Array, count: number): number {
    const words = this.#words;
    const mode = words[MAC_RX_MODE.word]!;
    const std = this.#standard;
    const ret = this.#returns[0]!;
    if (!(mode & MAC_RX_MODE.ENABLE) || mode & MAC_RX_MODE.RSS_ENABLE || !this.#fifo.empty || !this.#enabled) return 0;
    if (std.count === 0 || ret.count === 0 || this.#registers.trace !== null) return 0;
    const stdFirst = std.locate(0);
    const retFirst = ret.locate(0);
    if (!std.contiguous || !ret.contiguous || !ret.writable) return 0;
    const coalescing = this.#coalescing;
    const supplied = words[MBOX_STD_PROD.word]! % std.count;
    const consumed = words[MBOX_RET_CON.word(0)]! % ret.count;
    const longest = Math.min(this.#bufferSize, STANDARD_MTU) - FCS;
    const what = checksWanted(mode);
    let from = coalescing.stdConsumer;
    let to = coalescing.returnProducers[0]!;
    let delivered = 0;
    let octets = 0;
    let done = 0;
    for (; done < count; done++) {
      const start = starts[done]!;
      const length = lengths[done]!;
      const type = get16(bytes, start + MACS);
      if (length > longest || length < MIN_FRAME || type === ETHERTYPE_VLAN || type === ETHERTYPE_MAC_CONTROL) break;
      if (!this.#filters.accepts(bytes, start)) continue;
      const next = ret.next(to);
      if (from === supplied || next === consumed) break;
      if (!this.#fill(stdFirst + 8 * from, retFirst + 8 * to, bytes, start, length, what)) break;
      this.#statistics.receivedOne(bytes, start);
      octets += length + FCS;
      delivered++;
      from = std.next(from);
      to = next;
    }
    if (delivered === 0) return done;
    this.#statistics.receivedOctets(octets);
    coalescing.stdConsumer = from;
    coalescing.returnProducers[0] = to;
    coalescing.received(0, delivered);
    return done;
  }

  /** One frame of a burst; false, and nothing done, where its buffer is not in one writable mapping or too short. */
  #fill(bd: number, at: number, bytes: Uint8Array, start: number, length: number, what: number): boolean {
    const from = this.#standard.words;
    const to = this.#returns[0]!.words;
    const high = from[bd]!;
    const low = from[bd + RX_ADDR_LOW]!;
    const address = high === 0 ? low : high * 0x1_0000_0000 + low;
    const size = from[bd + RX_INDEX_LENGTH]!;
    if ((size & 0xffff) < length + FCS) return false;
    const sum = this.#buffers.putAndSum(address, bytes, start, length, FCS);
    if (sum < 0) return false;
    const found = this.#checksums.check(bytes, start, length, knownSum(sum), what);
    to[at] = high;
    to[at + RX_ADDR_LOW] = low;
    to[at + RX_INDEX_LENGTH] = (size & 0xffff0000) | (length + FCS);
    to[at + RX_TYPE_FLAGS] = RX_END | FLAGS[found]! | (get16(bytes, start + MACS) === ETHERTYPE_IPV6 ? RX_IPV6 : 0);
    to[at + RX_CHECKSUMS] = SUMS[found]!;
    to[at + RX_ERROR_VLAN] = 0;
    to[at + RX_RSS_HASH] = 0;
    to[at + RX_OPAQUE] = from[bd + RX_OPAQUE]!;
    return true;
  }

  /** One frame to the host. False where there is no buffer or no place in the return ring: it must wait. */
  #deliver(bytes: Uint8Array, start: number, length: number, flags: number): boolean {
    if (!this.#enabled) return false;
    const words = this.#words;
    const coalescing = this.#coalescing;
    const which = this.#rss.on ? this.#rss.ring(bytes, start, length) : 0;
    const ret = this.#returns[which]!;
    const jumbo = length + FCS > this.#bufferSize && this.#jumboRing.count > 0;
    const ring = jumbo ? this.#jumboRing : this.#standard;
    const supplied = words[jumbo ? MBOX_JUMBO_PROD.word : MBOX_STD_PROD.word]!;
    const from = jumbo ? coalescing.jumboConsumer : coalescing.stdConsumer;
    this.#starved = ring.count === 0 || from === supplied % ring.count;
    if (this.#starved) return false;
    const to = coalescing.returnProducers[which]!;
    const next = ret.next(to);
    if (ret.count === 0 || next === words[MBOX_RET_CON.word(which)]! % ret.count) return false;
    const bd = ring.locate(from);
    const at = ret.locate(to);
    if (bd < 0 || at < 0 || !ret.writable) {
      this.#dma.faults++; // there is nowhere to say so: the frame is lost, the rings stay as they are
      return true;
    }
    this.#return(ring, jumbo && this.#jumboExtended ? bd + 8 : bd, ret, at, bytes, start, length, flags, jumbo);
    this.#registers.trace?.descriptor(this.#chip.name, `return${which}`, to, ret.words, at, 8);
    if (jumbo) coalescing.jumboConsumer = ring.next(from);
    else coalescing.stdConsumer = ring.next(from);
    coalescing.returnProducers[which] = next;
    coalescing.received(which, 1);
    return true;
  }

  #return(
    ring: DescriptorRing,
    bd: number,
    ret: DescriptorRing,
    at: number,
    bytes: Uint8Array,
    start: number,
    length: number,
    flags: number,
    jumbo: boolean,
  ): void {
    const mode = this.#words[MAC_RX_MODE.word]!;
    const from = ring.words;
    const to = ret.words;
    const high = from[bd + RX_ADDR_HIGH]!;
    const low = from[bd + RX_ADDR_LOW]!;
    const size = from[bd + RX_INDEX_LENGTH]!;
    const opaque = from[bd + RX_OPAQUE]!;
    const found = this.#checksums.check(bytes, start, length, flags, checksWanted(mode));
    let bits = RX_END | FLAGS[found]! | (jumbo ? RX_JUMBO : 0) | (this.#rss.on && this.#rss.hash ? RX_RSS_VALID : 0);
    if (get16(bytes, start + MACS) === ETHERTYPE_IPV6) bits |= RX_IPV6;
    let tag = 0;
    let stripped = 0;
    if (get16(bytes, start + MACS) === ETHERTYPE_VLAN && !(mode & MAC_RX_MODE.KEEP_VLAN_TAG) && length >= MACS + 6) {
      tag = get16(bytes, start + MACS + 2);
      stripped = VLAN_TAG;
      bits |= RX_VLAN;
    }
    const whole = length - stripped;
    const stored = Math.min(whole, size & 0xffff);
    const intact = this.#store(high * 0x1_0000_0000 + low, bytes, start, stripped, stored, (size & 0xffff) - stored);
    const error = intact && stored === whole ? 0 : RX_NO_RESOURCES;
    if (error !== 0) bits |= RX_ERROR;
    to[at + RX_ADDR_HIGH] = high;
    to[at + RX_ADDR_LOW] = low;
    to[at + RX_INDEX_LENGTH] = (size & 0xffff0000) | (stored + FCS);
    to[at + RX_TYPE_FLAGS] = bits;
    to[at + RX_CHECKSUMS] = SUMS[found]!;
    to[at + RX_ERROR_VLAN] = error | tag;
    to[at + RX_RSS_HASH] = this.#rss.on ? this.#rss.hash : 0;
    to[at + RX_OPAQUE] = opaque;
    ret.written(0);
  }

  /**
   * `length` bytes of the frame without a stripped tag, and zeros for its FCS as far as there is `room` behind them. False
   * where the buffer is not mapped.
   */
  #store(address: number, bytes: Uint8Array, start: number, stripped: number, length: number, room: number): boolean {
    const window = this.#buffers;
    const front = stripped > 0 ? Math.min(MACS, length) : 0;
    return (
      window.store(address, bytes, start, front) &&
      window.store(address + front, bytes, start + front + stripped, length - front) &&
      window.store(address + length, this.#zeros, 0, Math.min(room, FCS))
    );
  }

  reset(): void {
    this.#fifo.reset();
    this.#starved = false;
    this.settle();
  }

  save(): unknown {
    return { fifo: this.#fifo.state.save(), starved: this.#starved };
  }

  restore(saved: unknown): void {
    const state = saved as { fifo: unknown; starved: boolean };
    this.settle();
    restore(this.#fifo.state, state.fifo, 'fifo');
    this.#starved = state.starved;
  }
}

/** IPv4 always; TCP and UDP over IPv6 where the mode register says so. */
function checksWanted(mode: number): number {
  return CHECK_IP | CHECK_L4 | (mode & MAC_RX_MODE.IPV6_CSUM_ENABLE ? CHECK_IPV6 : 0);
}

/** A ring as its control block says: address high and low, entries and flags. */
function lay(ring: DescriptorRing, words: Uint32Array, at: number): void {
  const flags = words[at + 2]!;
  const count = flags & RCB_DISABLED ? 0 : Math.min(field(flags, R.RCVDBDI_STD_LEN_FLAGS.SIZE), MAX_RING);
  ring.place(words[at]! * 0x1_0000_0000 + ((words[at + 1]! & ~3) >>> 0), count);
}
