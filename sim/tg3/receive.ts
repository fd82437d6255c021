/**
 * The receive side: from the wire through filters, packet memory and checksum unit to the producer rings' buffers, and a BD
 * for each frame in a return ring.
 */
import type { BusMaster, Window } from '../memory.ts';
import { CHECK_IP, CHECK_IPV6, CHECK_L4, IP_BAD, IP_GOOD, L4_BAD, L4_GOOD, ReceiveChecksums } from '../nic/checksum.ts';
import { Fifo, type Receiver } from '../nic/fifo.ts';
import { ReceivedFrame } from '../nic/received-frame.ts';
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
import { field, type Register, type RegisterFile } from '../registers.ts';
import { block, type Stateful, value } from '../state.ts';
import { FCS_ERROR, knownSum } from '../wire/port.ts';
import type { Chip } from './chips.ts';
import { type HostCoalescing, JUMBO, RETURN_RINGS, STANDARD } from './coalescing.ts';
import type { Context } from './context.ts';
import {
  RX_ADDR_HIGH,
  RX_ADDR_LOW,
  RX_CHECKSUMS,
  RX_END,
  RX_ERROR,
  RX_ERROR_VLAN,
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
} from './descriptors.ts';
import type { Filters } from './filters.ts';
import type { FlowControl } from './flow-control.ts';
import type { Tg3Registers } from './registers.ts';
import { ProducerRing, ReturnRing } from './rings.ts';
import type { ReceiveSideScaling } from './rss.ts';
import type { Sram } from './sram.ts';
import type { Statistics } from './statistics.ts';

const STANDARD_BUFFER = 1536; // of a 5750, and where a 57765 is told nothing
const STANDARD_MTU = 1518;
const GOOD = 0xffff;

/** A return BD's flags, and its checksums, by what was found: what is wrong is no all-ones sum. */
const FLAGS = Uint16Array.from({ length: 16 }, (_, found) => {
  return (found & (IP_GOOD | IP_BAD) ? RX_IP_CSUM : 0) | (found & (L4_GOOD | L4_BAD) ? RX_TCPUDP_CSUM : 0);
});
const SUMS = Uint32Array.from({ length: 16 }, (_, found) => {
  return ((found & IP_GOOD ? GOOD << 16 : 0) | (found & L4_GOOD ? GOOD : 0)) >>> 0;
});

type Hot = Pick<Tg3Registers, 'MAC_RX_MODE' | 'MAC_RX_MTU_SIZE' | 'RCVDBDI_STD_LEN_FLAGS'>;

/** The counters of what goes wrong. */
type Counters = Pick<
  Tg3Registers,
  | 'MAC_RX_STATS_FCS_ERRORS'
  | 'MAC_RX_STATS_FRAGMENTS'
  | 'MAC_RX_STATS_FRAME_TOO_LONG'
  | 'MAC_RX_STATS_JABBERS'
  | 'MAC_RX_STATS_UNDERSIZE'
  | 'RCVLPC_IN_DISCARDS_CNT'
  | 'RCVLPC_IN_ERRORS_CNT'
  | 'RCVLPC_NO_RCV_BD_CNT'
>;

/** Every block on the way must be on; until then frames wait, since a MAC that is on has packet memory behind it. */
const stagesOf = (r: Tg3Registers) => {
  return [r.RCVLPC_MODE, r.RCVDBDI_MODE, r.RCVDCC_MODE, r.RCVBDI_MODE, r.RCVCC_MODE, r.RDMAC_MODE, r.WDMAC_MODE];
};

interface Blocks {
  readonly sram: Sram;
  readonly filters: Filters;
  readonly flow: FlowControl;
  readonly rss: ReceiveSideScaling;
  readonly coalescing: HostCoalescing;
  readonly statistics: Statistics;
  readonly sendPause: (frame: Uint8Array) => void;
}

export class Receive implements Receiver {
  readonly state: Stateful;
  readonly #registers: RegisterFile;
  readonly #words: Uint32Array;
  readonly #r: Hot;
  readonly #counters: Counters;
  readonly #stages: Uint16Array; // their words
  readonly #enable: number; // in each of them
  readonly #dma: BusMaster;
  readonly #chip: Chip;
  readonly #filters: Filters;
  readonly #flow: FlowControl;
  readonly #rss: ReceiveSideScaling;
  readonly #coalescing: HostCoalescing;
  readonly #statistics: Statistics;
  readonly #sendPause: (frame: Uint8Array) => void;
  readonly #checksums = new ReceiveChecksums();
  readonly #fifo: Fifo;
  readonly #capacity: number;
  readonly #buffers: Window;
  readonly #standard: ProducerRing;
  readonly #jumbo: ProducerRing;
  readonly #returns: readonly ReturnRing[];
  readonly #frame = new ReceivedFrame(); // its FCS is zeros
  #bufferSize = STANDARD_BUFFER;
  #starved = false; // the frame that waits longest waits for a buffer
  #bitTime = 1;

  constructor(context: Context, blocks: Blocks) {
    const { chip, host, registers, r, dma } = context;
    const { indices } = blocks.coalescing;
    this.#registers = registers;
    this.#words = registers.words;
    this.#r = {
      MAC_RX_MODE: r.MAC_RX_MODE,
      MAC_RX_MTU_SIZE: r.MAC_RX_MTU_SIZE,
      RCVDBDI_STD_LEN_FLAGS: r.RCVDBDI_STD_LEN_FLAGS,
    };
    this.#counters = r;
    const stages = stagesOf(r);
    this.#stages = Uint16Array.from(stages, ({ word }) => word);
    this.#enable = r.RCVLPC_MODE.ENABLE;
    this.#dma = dma;
    this.#chip = chip;
    this.#filters = blocks.filters;
    this.#flow = blocks.flow;
    this.#rss = blocks.rss;
    this.#coalescing = blocks.coalescing;
    this.#statistics = blocks.statistics;
    this.#sendPause = blocks.sendPause;
    this.#capacity = (chip.is577xx ? 40 : 56) * 1024;
    this.#fifo = new Fifo(host);
    this.#buffers = dma.window();
    this.#standard = new ProducerRing(
      { ...context, index: STANDARD, name: 'standard' },
      { control: r.RCVDBDI_STD_ADDR_HIGH, producer: r.MBOX_STD_PROD, extends: false },
      indices,
    );
    this.#jumbo = new ProducerRing(
      { ...context, index: JUMBO, name: 'jumbo' },
      { control: r.RCVDBDI_JUMBO_ADDR_HIGH, producer: r.MBOX_JUMBO_PROD, extends: true },
      indices,
    );
    this.#returns = Array.from({ length: RETURN_RINGS }, (_, index) => {
      return new ReturnRing({ ...context, index, name: `return${index}` }, blocks.sram, indices);
    });
    this.state = this.#stateOf();
    for (const register of [
      r.RCVDBDI_STD_ADDR_HIGH,
      r.RCVDBDI_STD_ADDR_LOW,
      r.RCVDBDI_STD_LEN_FLAGS,
      r.RCVDBDI_JUMBO_ADDR_HIGH,
      r.RCVDBDI_JUMBO_ADDR_LOW,
      r.RCVDBDI_JUMBO_LEN_FLAGS,
    ])
      registers.onWrite(register, () => this.settle());
    for (const mailbox of [r.MBOX_STD_PROD, r.MBOX_JUMBO_PROD, r.MBOX_RET_CON])
      registers.onWrite(mailbox, () => this.#drain());
    for (const stage of stages) registers.onWrite(stage, () => this.#drain());
    registers.onWrite(r.MAC_RX_MODE, (value) => {
      if (!(value & r.MAC_RX_MODE.ENABLE)) this.#fifo.clear();
    });
    registers.onRead(r.RCVBDI_STD_PROD_IDX, () => this.#words[r.MBOX_STD_PROD.word]!);
    registers.onRead(r.RCVBDI_JUMBO_PROD_IDX, () => this.#words[r.MBOX_JUMBO_PROD.word]!);
  }

  /** After a ring control block changed. */
  settle(): void {
    const { is577xx } = this.#chip;
    const { RCVDBDI_STD_LEN_FLAGS } = this.#r;
    const buffer = is577xx ? field(this.#words[RCVDBDI_STD_LEN_FLAGS.word]!, RCVDBDI_STD_LEN_FLAGS.BUFFER) : 0;
    this.#bufferSize = buffer === 0 ? STANDARD_BUFFER : buffer;
    this.#standard.settle(true);
    this.#jumbo.settle(is577xx);
    for (const ring of this.#returns) ring.settle(is577xx || ring.index === 0);
  }

  get #enabled(): boolean {
    const stages = this.#stages;
    for (let i = 0; i < stages.length; i++) if (!(this.#words[stages[i]!]! & this.#enable)) return false;
    return this.#dma.enabled;
  }

  // Frames in.

  /** A frame from the wire, or from a loopback. @param bitTime nanoseconds a bit at the present speed. */
  frame(bytes: Uint8Array, start: number, length: number, flags: number, bitTime: number): void {
    const { MAC_RX_MODE } = this.#r;
    const mode = this.#words[MAC_RX_MODE.word]!;
    if (!(mode & MAC_RX_MODE.ENABLE) || length < MACS + 2) return;
    const bad = (flags & FCS_ERROR) !== 0;
    if (length >= MIN_FRAME && !bad && this.#flow.received(bytes, start, bitTime) !== 0) return;
    if (!this.#filters.accepts(bytes, start) || !this.#isWanted(bytes, start, length, bad, mode)) return;
    this.#statistics.received.one(bytes, start);
    this.#statistics.received.octets(length + FCS);
    if (this.#fifo.empty && this.take(bytes, start, length, flags)) return;
    if (this.#starved) this.#statistics.count(this.#counters.RCVLPC_NO_RCV_BD_CNT);
    if (!this.#fifo.push(this.#capacity, bytes, start, length, flags))
      this.#statistics.count(this.#counters.RCVLPC_IN_DISCARDS_CNT);
    this.#bitTime = bitTime;
    this.#level();
  }

  /** Counts what is wrong with a frame; whether it is taken all the same. */
  #isWanted(bytes: Uint8Array, start: number, length: number, bad: boolean, mode: number): boolean {
    const { MAC_RX_MODE } = this.#r;
    const counters = this.#counters;
    if (length < MIN_FRAME) {
      if (mode & MAC_RX_MODE.ACCEPT_RUNTS && !bad) return true;
      return this.#refuse(bad ? counters.MAC_RX_STATS_FRAGMENTS : counters.MAC_RX_STATS_UNDERSIZE);
    }
    if (length + FCS > this.#longest(bytes, start) && !(mode & MAC_RX_MODE.ACCEPT_OVERSIZED))
      return this.#refuse(bad ? counters.MAC_RX_STATS_JABBERS : counters.MAC_RX_STATS_FRAME_TOO_LONG);
    return !bad || (mode & MAC_RX_MODE.NO_CRC_CHECK) !== 0 || this.#refuse(counters.MAC_RX_STATS_FCS_ERRORS);
  }

  #refuse(counter: Register): boolean {
    this.#statistics.count(counter);
    this.#statistics.count(this.#counters.RCVLPC_IN_ERRORS_CNT);
    return false;
  }

  /** A limit below that of standard frames does not cut those off; a tag comes on top. */
  #longest(bytes: Uint8Array, start: number): number {
    const limit = Math.max(this.#words[this.#r.MAC_RX_MTU_SIZE.word]!, STANDARD_MTU);
    return get16(bytes, start + MACS) === ETHERTYPE_VLAN ? limit + VLAN_TAG : limit;
  }

  #level(): void {
    const pause = this.#flow.level(this.#capacity - this.#fifo.used, this.#bitTime);
    if (pause !== null) this.#sendPause(pause);
  }

  /** Buffers or places in a return ring became available: what waited goes to the host first. */
  #drain(): void {
    if (this.#fifo.drain(this)) this.#level();
  }

  /**
   * Frames that arrive at one moment, from the front as long as each is an ordinary one for the standard ring: what `frame`
   * does, with all that is the same for each of them looked at once, and each return ring told once. Returns how many.
   */
  burst(bytes: Uint8Array, starts: Int32Array, lengths: Int32Array, count: number): number {
    const { MAC_RX_MODE } = this.#r;
    const mode = this.#words[MAC_RX_MODE.word]!;
    const standard = this.#standard;
    if (!(mode & MAC_RX_MODE.ENABLE) || !this.#fifo.empty || !this.#enabled) return 0;
    if (standard.ring.count === 0 || this.#registers.trace !== null || !this.#beginBurst()) return 0;
    const first = standard.ring.locate(0);
    if (!standard.ring.contiguous) return 0;
    const { supplied } = standard;
    const longest = Math.min(this.#bufferSize, STANDARD_MTU) - FCS;
    const what = this.#checksWanted(mode);
    const rss = this.#rss;
    const scaled = rss.on;
    let from = standard.consumer;
    let octets = 0;
    let unicast = 0;
    let done = 0;
    for (; done < count; done++) {
      const start = starts[done]!;
      const length = lengths[done]!;
      const type = get16(bytes, start + MACS);
      if (length > longest || length < MIN_FRAME || type === ETHERTYPE_VLAN || type === ETHERTYPE_MAC_CONTROL) break;
      if (!this.#filters.accepts(bytes, start)) continue;
      const ret = this.#returns[scaled ? rss.queue(bytes, start, length) : 0]!;
      if (from === supplied || ret.ring.next(ret.producer) === ret.consumed) break;
      if (!this.#fill(first + 8 * from, ret, bytes, start, length, what)) break;
      if (bytes[start]! & 1) this.#statistics.received.one(bytes, start);
      else unicast++;
      octets += length + FCS;
      from = standard.ring.next(from);
    }
    standard.consumer = from;
    this.#statistics.received.unicast(unicast);
    this.#statistics.received.octets(octets);
    for (const ret of this.#returns) {
      if (ret.fresh === 0) continue;
      const frames = ret.fresh;
      ret.fresh = 0;
      this.#coalescing.received(ret.index, frames);
    }
    return done;
  }

  /** Whether each ring that frames may go to is there, and in one mapping. */
  #beginBurst(): boolean {
    if (!this.#rss.on) return this.#returns[0]!.begin();
    for (const ret of this.#returns) if (!ret.begin()) return false;
    return true;
  }

  /** One frame of a burst; false, and nothing done, where its buffer is not in one writable mapping or too short. */
  #fill(bd: number, ret: ReturnRing, bytes: Uint8Array, start: number, length: number, what: number): boolean {
    const from = this.#standard.ring.words;
    const high = from[bd]!;
    const low = from[bd + RX_ADDR_LOW]!;
    const address = high === 0 ? low : high * 0x1_0000_0000 + low;
    const size = from[bd + RX_INDEX_LENGTH]!;
    if ((size & 0xffff) < length + FCS) return false;
    const sum = this.#buffers.putAndSum(address, bytes, start, length, FCS);
    if (sum < 0) return false;
    const found = this.#checksums.check(bytes, start, length, knownSum(sum), what);
    const to = ret.ring.words;
    const at = ret.first + 8 * ret.producer;
    const { hash } = this.#rss;
    const ipv6 = get16(bytes, start + MACS) === ETHERTYPE_IPV6 ? RX_IPV6 : 0;
    to[at] = high;
    to[at + RX_ADDR_LOW] = low;
    to[at + RX_INDEX_LENGTH] = (size & 0xffff0000) | (length + FCS);
    to[at + RX_TYPE_FLAGS] = RX_END | FLAGS[found]! | ipv6 | (hash === 0 ? 0 : RX_RSS_VALID);
    to[at + RX_CHECKSUMS] = SUMS[found]!;
    to[at + RX_ERROR_VLAN] = 0;
    to[at + RX_RSS_HASH] = hash;
    to[at + RX_OPAQUE] = from[bd + RX_OPAQUE]!;
    ret.producer = ret.ring.next(ret.producer);
    ret.fresh++;
    return true;
  }

  /** @internal One frame to the host. False where there is no buffer or no place in the return ring: it must wait. */
  take(bytes: Uint8Array, start: number, length: number, flags: number): boolean {
    if (!this.#enabled) return false;
    const ret = this.#returns[this.#rss.on ? this.#rss.queue(bytes, start, length) : 0]!;
    const jumbo = length + FCS > this.#bufferSize && this.#jumbo.ring.count > 0;
    const supply = jumbo ? this.#jumbo : this.#standard;
    this.#starved = supply.empty;
    if (this.#starved || ret.full) return false;
    const bd = supply.ring.locate(supply.consumer);
    const at = ret.ring.locate(ret.producer);
    if (bd < 0 || at < 0 || !ret.ring.writable) {
      this.#dma.faults++; // there is nowhere to say so: the frame is lost, the rings stay as they are
      return true;
    }
    this.#frame.set(bytes, start, length, flags);
    this.#return(supply, bd + supply.skip, ret, at);
    this.#registers.trace?.descriptor(this.#chip.name, ret.name, ret.producer, ret.ring.words, at, 8);
    supply.consumer = supply.ring.next(supply.consumer);
    ret.producer = ret.ring.next(ret.producer);
    this.#coalescing.received(ret.index, 1);
    return true;
  }

  /** The frame goes into the buffer of the BD at `bd`, and a BD that says what was found into the return ring at `at`. */
  #return(supply: ProducerRing, bd: number, ret: ReturnRing, at: number): void {
    const frame = this.#frame;
    const { bytes, start, length, flags } = frame;
    const { MAC_RX_MODE } = this.#r;
    const mode = this.#words[MAC_RX_MODE.word]!;
    const from = supply.ring.words;
    const to = ret.ring.words;
    const high = from[bd + RX_ADDR_HIGH]!;
    const low = from[bd + RX_ADDR_LOW]!;
    const size = from[bd + RX_INDEX_LENGTH]!;
    const opaque = from[bd + RX_OPAQUE]!;
    const { hash } = this.#rss;
    const found = this.#checksums.check(bytes, start, length, flags, this.#checksWanted(mode));
    let bits = RX_END | FLAGS[found]! | (supply === this.#jumbo ? RX_JUMBO : 0) | (hash === 0 ? 0 : RX_RSS_VALID);
    if (get16(bytes, start + MACS) === ETHERTYPE_IPV6) bits |= RX_IPV6;
    if (!(mode & MAC_RX_MODE.KEEP_VLAN_TAG) && frame.strip(ETHERTYPE_VLAN)) bits |= RX_VLAN;
    const whole = frame.kept;
    const room = size & 0xffff;
    const stored = Math.min(whole, room);
    const intact = frame.store(this.#buffers, high * 0x1_0000_0000 + low, 0, Math.min(whole + FCS, room));
    const error = intact && stored === whole ? 0 : RX_NO_RESOURCES;
    if (error !== 0) bits |= RX_ERROR;
    to[at + RX_ADDR_HIGH] = high;
    to[at + RX_ADDR_LOW] = low;
    to[at + RX_INDEX_LENGTH] = (size & 0xffff0000) | (stored + FCS);
    to[at + RX_TYPE_FLAGS] = bits;
    to[at + RX_CHECKSUMS] = SUMS[found]!;
    to[at + RX_ERROR_VLAN] = error | frame.tag;
    to[at + RX_RSS_HASH] = hash;
    to[at + RX_OPAQUE] = opaque;
    ret.ring.written(0);
  }

  /** IPv4 always; TCP and UDP over IPv6 where the mode register says so. */
  #checksWanted(mode: number): number {
    return CHECK_IP | CHECK_L4 | (mode & this.#r.MAC_RX_MODE.IPV6_CSUM_ENABLE ? CHECK_IPV6 : 0);
  }

  reset(): void {
    this.#fifo.reset();
    this.#starved = false;
    this.settle();
  }

  /** Behind that of the registers, SRAM and indices, which the rings are laid by. */
  #stateOf(): Stateful {
    return block(
      1,
      {
        fifo: this.#fifo.state,
        starved: value(
          () => this.#starved,
          (starved) => {
            this.#starved = starved;
          },
        ),
        bitTime: value(
          () => this.#bitTime,
          (bitTime) => {
            this.#bitTime = bitTime;
          },
          (bitTime) => bitTime > 0 && bitTime <= 100,
        ),
      },
      () => this.settle(),
    );
  }
}
