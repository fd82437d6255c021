/**
 * The send side: from the ring through checksum insertion, segmentation and VLAN tagging to the wire.
 *
 * A frame in one buffer that needs nothing done to it goes out straight from host memory. Anything else is put together by
 * the packet engine first: a packet to be segmented as a whole. Segmentation stops between two segments where flow control,
 * a busy wire or the budget says so.
 */
import type { BusMaster, Window } from '../memory.ts';
import { DESCRIPTOR_WORK, FRAME_WORK } from '../nic/budget.ts';
import { type Outlet, PacketEngine } from '../nic/packet-engine.ts';
import { DescriptorRing } from '../nic/ring.ts';
import {
  ETHERTYPE_VLAN,
  FCS,
  foldChecksum,
  Headers,
  MIN_FRAME,
  PROTOCOL_TCP,
  parseHeaders,
  pseudoHeaderSum,
  put16,
} from '../packet.ts';
import type { Host } from '../pci/function.ts';
import type { RegisterFile } from '../registers.ts';
import { restore } from '../state.ts';
import type { Chip } from './chips.ts';
import type { HostCoalescing } from './coalescing.ts';
import {
  RCB_DISABLED,
  SEND_BD,
  SRAM_SEND_RCB,
  TX_COAL_NOW,
  TX_CPU_POST_DMA,
  TX_CPU_PRE_DMA,
  TX_END,
  TX_HDRLEN_2,
  TX_HDRLEN_7_3,
  TX_IP_CSUM,
  TX_NO_CRC,
  TX_TCPUDP_CSUM,
  TX_TSO1_MSS,
  TX_TSO3_MSS,
  TX_VLAN,
} from './descriptors.ts';
import { BCM57XX } from './registers.ts';
import type { Sram } from './sram.ts';
import type { Statistics } from './statistics.ts';

const R = BCM57XX.r;
const { GRC_MODE, MBOX_SEND_PROD } = R;
/** Every block on the way must be on. */
const STAGES = [
  R.SNDBDS_MODE,
  R.SNDBDI_MODE,
  R.SNDDATAI_MODE,
  R.SNDDATAC_MODE,
  R.SNDBDC_MODE,
  R.RDMAC_MODE,
  R.MAC_TX_MODE,
];

const LONGEST = 1522; // without jumbo frames
const LONGEST_JUMBO = 9600;
const MAX_STAGED = 0x1_0800; // 64 KiB of IP and what is in front of it
const BURST = 64;
const MAX_RING = 2047; // the mailbox has 11 bits
const SEGMENTED = TX_CPU_PRE_DMA | TX_CPU_POST_DMA;
/** Flags under which a frame is not sent just as it is. */
const TREATED = TX_TCPUDP_CSUM | TX_IP_CSUM | TX_VLAN | SEGMENTED | TX_NO_CRC;
const IP_SUM = 10; // in its header
const TCP_SUM = 16;
const UDP_SUM = 6;

export class Send {
  readonly #registers: RegisterFile;
  readonly #words: Uint32Array;
  readonly #dma: BusMaster;
  readonly #sram: Sram;
  readonly #chip: Chip;
  readonly #coalescing: HostCoalescing;
  readonly #statistics: Statistics;
  readonly #outlet: Outlet;
  readonly #ring: DescriptorRing;
  readonly #buffers: Window;
  readonly #longest: number;
  readonly #engine: PacketEngine;
  readonly #headers = new Headers();
  readonly #starts = new Int32Array(BURST);
  readonly #lengths = new Int32Array(BURST);
  #next = 0; // the BD to be looked at next; the consumer index follows at the end of a packet
  #done = 0; // BDs since the host was told
  #now = false;
  // The packet being put together. Its first BD says what is done to it.
  #assembling = false;
  #dropped = false;
  #flags = 0;
  #special = 0; // MSS and VLAN tag
  #packetBds = 0;
  #segmenting = false;
  /** Packets that were not sent because their BDs make no sense, or their bytes are not in mapped memory. */
  refused = 0;

  constructor(
    host: Host,
    registers: RegisterFile,
    dma: BusMaster,
    blocks: {
      chip: Chip;
      sram: Sram;
      coalescing: HostCoalescing;
      statistics: Statistics;
      outlet: Outlet;
    },
  ) {
    this.#registers = registers;
    this.#words = registers.words;
    this.#dma = dma;
    this.#chip = blocks.chip;
    this.#sram = blocks.sram;
    this.#coalescing = blocks.coalescing;
    this.#statistics = blocks.statistics;
    this.#outlet = blocks.outlet;
    this.#ring = new DescriptorRing(dma, SEND_BD);
    this.#buffers = dma.window();
    this.#longest = blocks.chip.is57765 ? LONGEST_JUMBO : LONGEST;
    this.#engine = new PacketEngine(host, dma, blocks.outlet, MAX_STAGED, () => this.#run());
    registers.onWrite(MBOX_SEND_PROD, () => this.#engine.run());
    registers.onRead(R.SNDBDI_IN_PROD_IDX, (index) => (index === 0 ? this.#words[MBOX_SEND_PROD.word(0)]! : 0));
    for (const stage of STAGES) registers.onWrite(stage, () => this.#engine.run());
  }

  /** After the ring control block changed. */
  settle(): void {
    const { words } = this.#sram;
    const at = SRAM_SEND_RCB / 4;
    const sizeAndFlags = words[at + 2]!;
    const count = sizeAndFlags & RCB_DISABLED ? 0 : Math.min(sizeAndFlags >>> 16, MAX_RING);
    this.#ring.place(words[at]! * 0x1_0000_0000 + ((words[at + 1]! & ~3) >>> 0), count);
    if (this.#next >= count) this.#next = 0;
  }

  /** What held the transmitter may hold it no longer: look again, but not from within this call. */
  resume(): void {
    this.#engine.resume();
  }

  /** Units of work done at this moment, see Budget. */
  get work(): number {
    return this.#engine.budget.spent;
  }

  get #enabled(): boolean {
    for (const stage of STAGES) if (!(this.#words[stage.word]! & stage.ENABLE)) return false;
    return this.#dma.enabled && this.#ring.count > 0;
  }

  #run(): void {
    if (!this.#enabled) return;
    this.#work();
    if (this.#done === 0) return;
    const done = this.#done;
    const now = this.#now;
    this.#done = 0;
    this.#now = false;
    this.#coalescing.sent(done, now);
  }

  /** From where we are to the producer index: at most once around, whatever it says. */
  #work(): void {
    const { count } = this.#ring;
    const producer = this.#words[MBOX_SEND_PROD.word(0)]! % count;
    for (let budget = count; budget > 0; ) {
      if (!this.#segmenting && this.#next === producer) return;
      if (this.#engine.held()) return;
      if (this.#segmenting) {
        if (!this.#sendSegments()) return;
        this.#finish();
        continue;
      }
      const burst = this.#burst(producer, budget);
      if (burst === 0 && !this.#descriptor()) return;
      budget -= burst === 0 ? 1 : burst;
    }
  }

  /** Frames that go straight from host memory, as many as follow one another, in one call. Returns how many went. */
  #burst(producer: number, limit: number): number {
    const ring = this.#ring;
    if (this.#assembling || this.#registers.trace !== null) return 0;
    const first = ring.locate(this.#next);
    const most = Math.min((this.#next < producer ? producer : ring.count) - this.#next, limit, BURST);
    if (most < 2 || first < 0 || !ring.contiguous) return 0;
    const count = this.#collect(ring.words, first, most);
    if (count < 2) return 0;
    const { bytes } = this.#buffers.mapping;
    const taken = this.#outlet.sendBurst(bytes, this.#starts, this.#lengths, count);
    let octets = 0;
    for (let i = 0; i < taken; i++) {
      octets += this.#lengths[i]! + FCS;
      this.#statistics.sentOne(bytes, this.#starts[i]!);
      if (ring.words[first + 4 * i + 2]! & TX_COAL_NOW) this.#now = true;
    }
    this.#statistics.sentOctets(octets);
    this.#engine.budget.spend(taken * FRAME_WORK + octets);
    this.#next = this.#next + taken === ring.count ? 0 : this.#next + taken;
    this.#packetBds = taken;
    this.#finish();
    return taken;
  }

  /** The run of BDs from `at` on that are such frames, all in one mapping: where they are, and how many. */
  #collect(ring: Uint32Array, at: number, most: number): number {
    const window = this.#buffers;
    let { mapping } = window;
    for (let i = 0; i < most; i++, at += 4) {
      const word2 = ring[at + 2]!;
      const length = word2 >>> 16;
      const address = ring[at] === 0 ? ring[at + 1]! : ring[at]! * 0x1_0000_0000 + ring[at + 1]!;
      if ((word2 & (TREATED | TX_END)) !== TX_END || length < MIN_FRAME || length > this.#longest) return i;
      if (!window.covers(address, length)) return i;
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

  /** One BD. False where it is not in mapped memory: it stays where it is. */
  #descriptor(): boolean {
    const at = this.#ring.locate(this.#next);
    if (at < 0) {
      this.#dma.faults++;
      this.#registers.trace?.note(this.#chip.name, `send BD ${this.#next} is not in mapped memory`);
      return false;
    }
    this.#engine.budget.spend(DESCRIPTOR_WORK);
    const ring = this.#ring.words;
    this.#registers.trace?.descriptor(this.#chip.name, 'send', this.#next, ring, at, 4);
    const word2 = ring[at + 2]!;
    const length = word2 >>> 16;
    const address = ring[at]! * 0x1_0000_0000 + ring[at + 1]!;
    this.#next = this.#ring.next(this.#next);
    this.#packetBds++;
    if (word2 & TX_COAL_NOW) this.#now = true;
    if (!this.#assembling) {
      if (this.#sendsDirectly(address, length, word2)) {
        const { mapping } = this.#buffers;
        this.#engine.budget.spend(FRAME_WORK + length);
        this.#send(mapping.bytes, address - mapping.start, length, 0);
        this.#finish();
        return true;
      }
      this.#begin(word2, ring[at + 3]!);
    }
    if (!this.#dropped) this.#stage(address, length);
    if (word2 & TX_END) this.#end();
    return true;
  }

  #sendsDirectly(address: number, length: number, word2: number): boolean {
    if ((word2 & (TREATED | TX_END)) !== TX_END) return false;
    return length >= MIN_FRAME && length <= this.#longest && this.#buffers.covers(address, length);
  }

  #begin(word2: number, special: number): void {
    this.#assembling = true;
    this.#dropped = false;
    this.#flags = word2 & 0xffff;
    this.#special = special;
    this.#engine.begin();
  }

  /** The packet is done with: the host may have its BDs back. */
  #finish(): void {
    this.#assembling = false;
    this.#segmenting = false;
    this.#done += this.#packetBds;
    this.#packetBds = 0;
    this.#coalescing.sendConsumer = this.#next;
  }

  #drop(why: string): void {
    if (!this.#dropped) this.refused++;
    this.#dropped = true;
    this.#registers.trace?.note(this.#chip.name, `send: ${why}: packet dropped`);
  }

  get #segments(): boolean {
    return (this.#flags & SEGMENTED) === SEGMENTED && this.#special >>> 16 !== 0;
  }

  #stage(address: number, length: number): void {
    const total = this.#engine.staged + length;
    if (total > MAX_STAGED || (!this.#segments && total > this.#longest + FCS))
      this.#drop(`longer than ${this.#longest} bytes`);
    else if (!this.#engine.append(address, length)) this.#drop('buffer not in mapped memory');
  }

  /** The end of a packet. */
  #end(): void {
    this.#engine.frame();
    if (!this.#dropped && this.#segments) {
      this.#beginSegmentation();
      if (!this.#dropped) {
        this.#segmenting = true; // #work goes on with it
        return;
      }
    }
    if (!this.#dropped && this.#engine.staged === 0) this.#drop('no bytes');
    if (!this.#dropped) this.#sendWhole();
    this.#finish();
  }

  #sendWhole(): void {
    const engine = this.#engine;
    if (this.#flags & (TX_IP_CSUM | TX_TCPUDP_CSUM)) {
      this.#chooseChecksums();
      engine.insertChecksums();
    }
    if (this.#flags & TX_NO_CRC) engine.takeFcs();
    this.#sendFrame();
  }

  /** What the engine has ready, with its tag, and never too short. */
  #sendFrame(): void {
    const engine = this.#engine;
    if (this.#flags & TX_VLAN) engine.insertTag(ETHERTYPE_VLAN, this.#special);
    engine.pad();
    engine.budget.spend(FRAME_WORK);
    this.#send(engine.bytes, engine.start, engine.length, engine.flags);
  }

  /**
   * IP_CSUM and TCPUDP_CSUM, where the chip finds the headers. Each field then holds what its sum starts from: the pseudo
   * header's, which the host left where NO_TX_PHDR_CSUM says so, and the chip else takes from the addresses it sees.
   */
  #chooseChecksums(): void {
    const { bytes, start, length, offload } = this.#engine;
    const headers = this.#headers;
    parseHeaders(bytes, start, length, headers);
    this.#placeHeaders();
    const end = headers.l3 + headers.ipLength;
    const udp = headers.protocol !== PROTOCOL_TCP;
    const known = headers.l4 !== 0 && (headers.version === 4 || this.#chip.is57765);
    offload.sumsIp = headers.version === 4 && (this.#flags & TX_IP_CSUM) !== 0;
    offload.sumsL4 = known && (this.#flags & TX_TCPUDP_CSUM) !== 0;
    offload.l4Sum = headers.l4 + (udp ? UDP_SUM : TCP_SUM);
    offload.l4End = end === length ? 0 : end;
    if (offload.sumsIp) put16(bytes, start + offload.ipSum, 0);
    if (!offload.sumsL4 || this.#words[GRC_MODE.word]! & GRC_MODE.NO_TX_PHDR_CSUM) return;
    put16(bytes, start + offload.l4Sum, foldChecksum(pseudoHeaderSum(bytes, start, headers, end - headers.l4)));
  }

  /** Where the chip found them. */
  #placeHeaders(): void {
    const { bytes, start, offload } = this.#engine;
    const { l3, l4, version, protocol } = this.#headers;
    offload.l3 = l3;
    offload.l4 = l4;
    offload.ipv4 = version === 4;
    offload.tcp = protocol === PROTOCOL_TCP;
    offload.ipSum = l3 + IP_SUM;
    offload.ipEnd = l3 + (bytes[start + l3]! & 15) * 4;
  }

  // Segmentation.

  /**
   * Header and MSS as the chip's generation packs them. Every segment's sums are the chip's own affair, whatever the flags
   * say (5718-PG108, "Additional LSO Notes"); Linux's driver leaves 0 in the TCP checksum field of all of these chips, so
   * they take the pseudo header from the addresses in the IP header. What has its final destination elsewhere, a routing
   * header's packet, is not for them to segment.
   */
  #beginSegmentation(): void {
    const { bytes, start, offload, staged } = this.#engine;
    const headers = this.#headers;
    const { is57765 } = this.#chip;
    parseHeaders(bytes, start, staged, headers);
    const packed = this.#special >>> 16;
    const mss = packed & (is57765 ? TX_TSO3_MSS : TX_TSO1_MSS);
    const header = headers.l3 + (is57765 ? headerOf3(packed, this.#flags) : 40 + 4 * (packed >>> 11));
    if (headers.l4 === 0 || headers.protocol !== PROTOCOL_TCP || (headers.version === 6 && !is57765))
      this.#drop('segmentation of what is not TCP');
    else if (mss === 0 || header + mss > this.#longest)
      this.#drop(`segmentation with a header of ${header} bytes, MSS ${mss}`);
    else if (header < headers.l4 + 20 || header > staged)
      this.#drop(`segmentation with a header of ${header} bytes in ${staged}`);
    if (this.#dropped) return;
    this.#placeHeaders();
    offload.headerLength = header;
    offload.mss = mss;
    offload.payload = staged - header;
    offload.sumsIp = offload.ipv4;
    offload.sumsL4 = true;
    offload.l4Sum = headers.l4 + TCP_SUM;
    offload.l4End = 0;
    if (offload.ipv4) put16(bytes, start + offload.ipSum, 0);
    put16(bytes, start + offload.l4Sum, foldChecksum(pseudoHeaderSum(bytes, start, headers, 0)));
    this.#engine.beginSegments();
  }

  /** False where a segment was held. */
  #sendSegments(): boolean {
    const engine = this.#engine;
    const { headerLength, mss, payload } = engine.offload;
    do {
      if (engine.held()) return false;
      const left = payload - engine.cut;
      engine.segment(headerLength + engine.cut, Math.min(mss, left), left <= mss);
      this.#sendFrame();
    } while (engine.cut < payload);
    return true;
  }

  #send(bytes: Uint8Array, start: number, length: number, flags: number): void {
    this.#statistics.sentOne(bytes, start);
    this.#statistics.sentOctets(length + FCS);
    this.#outlet.send(bytes, start, length, flags);
  }

  reset(): void {
    this.#engine.reset();
    this.#next = 0;
    this.#done = 0;
    this.#now = false;
    this.#assembling = false;
    this.#segmenting = false;
    this.#packetBds = 0;
    this.settle();
  }

  save(): unknown {
    return {
      engine: this.#engine.state.save(),
      ring: [this.#next, this.#packetBds],
      packet: [this.#assembling, this.#dropped, this.#segmenting],
      asked: [this.#flags, this.#special],
      refused: this.refused,
    };
  }

  restore(saved: unknown): void {
    const state = saved as {
      engine: unknown;
      ring: [number, number];
      packet: [boolean, boolean, boolean];
      asked: [number, number];
      refused: number;
    };
    this.settle();
    restore(this.#engine.state, state.engine, 'engine');
    [this.#next, this.#packetBds] = state.ring;
    [this.#assembling, this.#dropped, this.#segmenting] = state.packet;
    [this.#flags, this.#special] = state.asked;
    this.refused = state.refused;
  }
}

/** HW_TSO_3: bytes of IP and TCP header, from the words scattered over MSS and flags. */
function headerOf3(packed: number, flags: number): number {
  return 4 * ((packed >>> 14) | (flags & TX_HDRLEN_2 ? 4 : 0) | ((flags & TX_HDRLEN_7_3) >>> 7));
}
