/**
 * A send ring: through checksum insertion, segmentation and VLAN tagging to the wire.
 *
 * A frame in one buffer that needs nothing done to it goes out straight from host memory. Anything else is put together by
 * the packet engine first: a packet to be segmented as a whole. Segmentation stops between two segments where flow control,
 * a busy wire or the budget says so.
 */
import type { BusMaster, Window } from '../memory.ts';
import { DESCRIPTOR_WORK, FRAME_WORK } from '../nic/budget.ts';
import { Burst } from '../nic/burst.ts';
import { Offload } from '../nic/offload.ts';
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
import type { RegisterFile } from '../registers.ts';
import { block, checked, record, type Stateful, whole } from '../state.ts';
import type { Chip } from './chips.ts';
import { type HostCoalescing, SEND } from './coalescing.ts';
import type { RingContext } from './context.ts';
import {
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
import type { Tg3Registers } from './registers.ts';
import { place } from './rings.ts';
import type { Sram } from './sram.ts';
import type { Statistics } from './statistics.ts';

const LONGEST = 1522; // without jumbo frames
const LONGEST_JUMBO = 9600;
const MAX_STAGED = 0x1_0800; // 64 KiB of IP and what is in front of it
const SEGMENTED = TX_CPU_PRE_DMA | TX_CPU_POST_DMA;
/** Flags under which a frame is not sent just as it is. */
const TREATED = TX_TCPUDP_CSUM | TX_IP_CSUM | TX_VLAN | SEGMENTED | TX_NO_CRC;
const IP_SUM = 10; // in its header
const TCP_SUM = 16;
const UDP_SUM = 6;

/** What the ring's packets go through, and who is told. */
export interface SendBlocks {
  readonly sram: Sram;
  readonly coalescing: HostCoalescing;
  readonly statistics: Statistics;
  readonly outlet: Outlet;
  /** Whether every block on the way is on. */
  readonly enabled: () => boolean;
}

export class SendRing {
  readonly engine: PacketEngine;
  readonly state: Stateful;
  readonly #name: string;
  readonly #registers: RegisterFile;
  readonly #words: Uint32Array;
  readonly #mode: Tg3Registers['GRC_MODE'];
  readonly #producer: number; // its mailbox
  readonly #control: number; // its RCB, in SRAM
  readonly #dma: BusMaster;
  readonly #chip: Chip;
  readonly #blocks: SendBlocks;
  readonly #statistics: Statistics;
  readonly #outlet: Outlet;
  readonly #ring: DescriptorRing;
  readonly #buffers: Window;
  readonly #longest: number;
  readonly #headers = new Headers();
  readonly #burst: Burst;
  #next = 0; // the BD to be looked at next; the consumer index follows at the end of a packet
  #done = 0; // BDs since the host was told
  #now = false;
  /** The packet being put together. Its first BD says what is done to it: flags, and MSS and VLAN tag. */
  readonly #packet = { assembling: false, dropped: false, segmenting: false, flags: 0, special: 0, bds: 0 };
  /** Packets that were not sent because their BDs make no sense, or their bytes are not in mapped memory. */
  refused = 0;

  constructor({ chip, host, registers, r, dma, index, name }: RingContext, blocks: SendBlocks) {
    this.#name = name;
    this.#registers = registers;
    this.#words = registers.words;
    this.#mode = r.GRC_MODE;
    this.#producer = r.MBOX_SEND_PROD.word(index);
    this.#control = SRAM_SEND_RCB / 4 + 4 * index;
    this.#dma = dma;
    this.#chip = chip;
    this.#blocks = blocks;
    this.#statistics = blocks.statistics;
    this.#outlet = blocks.outlet;
    this.#ring = new DescriptorRing(dma, SEND_BD);
    this.#buffers = dma.window();
    this.#burst = new Burst(this.#buffers);
    this.#longest = chip.is577xx ? LONGEST_JUMBO : LONGEST;
    this.engine = new PacketEngine(host, dma, blocks.outlet, MAX_STAGED, () => this.#run());
    this.state = this.#stateOf();
  }

  /** After its control block changed. */
  settle(): void {
    place(this.#ring, this.#blocks.sram.words, this.#control);
    if (this.#next >= this.#ring.count) this.#next = 0;
  }

  #run(): void {
    if (this.#ring.count === 0 || !this.#blocks.enabled()) return;
    this.#work();
    if (this.#done === 0) return;
    const done = this.#done;
    const now = this.#now;
    this.#done = 0;
    this.#now = false;
    this.#blocks.coalescing.sent(done, now);
  }

  /** From where we are to the producer index: at most once around, whatever it says. */
  #work(): void {
    const { count } = this.#ring;
    const producer = this.#words[this.#producer]! % count;
    for (let budget = count; budget > 0; ) {
      if (!this.#packet.segmenting && this.#next === producer) return;
      if (this.engine.held()) return;
      if (this.#packet.segmenting) {
        if (!this.#sendSegments()) return;
        this.#finish();
        continue;
      }
      const burst = this.#sendBurst(producer, budget);
      if (burst === 0 && !this.#descriptor()) return;
      budget -= burst === 0 ? 1 : burst;
    }
  }

  /** Frames that go straight from host memory, as many as follow one another, in one call. Returns how many went. */
  #sendBurst(producer: number, limit: number): number {
    const ring = this.#ring;
    if (this.#packet.assembling || this.#registers.trace !== null) return 0;
    const first = ring.locate(this.#next);
    const most = Math.min((this.#next < producer ? producer : ring.count) - this.#next, limit);
    if (most < 2 || first < 0 || !ring.contiguous) return 0;
    const burst = this.#burst;
    this.#collect(ring.words, first, most);
    if (burst.count < 2) return 0;
    const { bytes, starts, lengths } = burst;
    const taken = this.#outlet.sendBurst(bytes, starts, lengths, burst.count);
    let octets = 0;
    let unicast = 0;
    for (let i = 0; i < taken; i++) {
      octets += lengths[i]! + FCS;
      if (bytes[starts[i]!]! & 1) this.#statistics.sent.one(bytes, starts[i]!);
      else unicast++;
      if (ring.words[first + 4 * i + 2]! & TX_COAL_NOW) this.#now = true;
    }
    this.#statistics.sent.unicast(unicast);
    this.#statistics.sent.octets(octets);
    this.engine.budget.spend(taken * FRAME_WORK + octets);
    this.#next = this.#next + taken === ring.count ? 0 : this.#next + taken;
    this.#packet.bds = taken;
    this.#finish();
    return taken;
  }

  /** The run of BDs from `at` on that are such frames. */
  #collect(ring: Uint32Array, at: number, most: number): void {
    const burst = this.#burst;
    burst.begin();
    for (let i = 0; i < most; i++, at += 4) {
      const word2 = ring[at + 2]!;
      const length = word2 >>> 16;
      const address = ring[at] === 0 ? ring[at + 1]! : ring[at]! * 0x1_0000_0000 + ring[at + 1]!;
      if ((word2 & (TREATED | TX_END)) !== TX_END || length < MIN_FRAME || length > this.#longest) return;
      if (!burst.add(address, length)) return;
    }
  }

  /** One BD. False where it is not in mapped memory: it stays where it is. */
  #descriptor(): boolean {
    const at = this.#ring.locate(this.#next);
    if (at < 0) {
      this.#dma.faults++;
      this.#registers.trace?.note(this.#chip.name, `${this.#name} BD ${this.#next} is not in mapped memory`);
      return false;
    }
    this.engine.budget.spend(DESCRIPTOR_WORK);
    const ring = this.#ring.words;
    this.#registers.trace?.descriptor(this.#chip.name, this.#name, this.#next, ring, at, 4);
    const word2 = ring[at + 2]!;
    const length = word2 >>> 16;
    const address = ring[at]! * 0x1_0000_0000 + ring[at + 1]!;
    this.#next = this.#ring.next(this.#next);
    this.#packet.bds++;
    if (word2 & TX_COAL_NOW) this.#now = true;
    if (!this.#packet.assembling) {
      if (this.#sendsDirectly(address, length, word2)) {
        const { mapping } = this.#buffers;
        this.engine.budget.spend(FRAME_WORK + length);
        this.#send(mapping.bytes, address - mapping.start, length, 0);
        this.#finish();
        return true;
      }
      this.#begin(word2, ring[at + 3]!);
    }
    if (!this.#packet.dropped) this.#stage(address, length);
    if (word2 & TX_END) this.#end();
    return true;
  }

  #sendsDirectly(address: number, length: number, word2: number): boolean {
    if ((word2 & (TREATED | TX_END)) !== TX_END) return false;
    return length >= MIN_FRAME && length <= this.#longest && this.#buffers.covers(address, length);
  }

  #begin(word2: number, special: number): void {
    this.#packet.assembling = true;
    this.#packet.dropped = false;
    this.#packet.flags = word2 & 0xffff;
    this.#packet.special = special;
    this.engine.begin();
  }

  /** The packet is done with: the host may have its BDs back. */
  #finish(): void {
    this.#packet.assembling = false;
    this.#packet.segmenting = false;
    this.#done += this.#packet.bds;
    this.#packet.bds = 0;
    this.#blocks.coalescing.indices[SEND] = this.#next;
  }

  #drop(why: string): void {
    if (!this.#packet.dropped) this.refused++;
    this.#packet.dropped = true;
    this.#registers.trace?.note(this.#chip.name, `${this.#name}: ${why}: packet dropped`);
  }

  get #segments(): boolean {
    return (this.#packet.flags & SEGMENTED) === SEGMENTED && this.#packet.special >>> 16 !== 0;
  }

  #stage(address: number, length: number): void {
    const total = this.engine.staged + length;
    if (total > MAX_STAGED || (!this.#segments && total > this.#longest + FCS))
      this.#drop(`longer than ${this.#longest} bytes`);
    else if (!this.engine.append(address, length)) this.#drop('buffer not in mapped memory');
  }

  /** The end of a packet. */
  #end(): void {
    this.engine.frame();
    if (!this.#packet.dropped && this.#segments) {
      this.#beginSegmentation();
      if (!this.#packet.dropped) {
        this.#packet.segmenting = true; // #work goes on with it
        return;
      }
    }
    if (!this.#packet.dropped && this.engine.staged === 0) this.#drop('no bytes');
    if (!this.#packet.dropped) this.#sendWhole();
    this.#finish();
  }

  #sendWhole(): void {
    const engine = this.engine;
    if (this.#packet.flags & (TX_IP_CSUM | TX_TCPUDP_CSUM)) {
      this.#chooseChecksums();
      engine.insertChecksums();
    }
    if (this.#packet.flags & TX_NO_CRC) engine.takeFcs();
    this.#sendFrame();
  }

  /** What the engine has ready, with its tag, and never too short. */
  #sendFrame(): void {
    const engine = this.engine;
    if (this.#packet.flags & TX_VLAN) engine.insertTag(ETHERTYPE_VLAN, this.#packet.special);
    engine.pad();
    engine.budget.spend(FRAME_WORK);
    this.#send(engine.bytes, engine.start, engine.length, engine.flags);
  }

  /**
   * IP_CSUM and TCPUDP_CSUM, where the chip finds the headers. Each field then holds what its sum starts from: the pseudo
   * header's, which the host left where NO_TX_PHDR_CSUM says so, and the chip else takes from the addresses it sees.
   */
  #chooseChecksums(): void {
    const { bytes, start, length, offload } = this.engine;
    const headers = this.#headers;
    parseHeaders(bytes, start, length, headers);
    this.#placeHeaders();
    const end = headers.l3 + headers.ipLength;
    const udp = headers.protocol !== PROTOCOL_TCP;
    const known = headers.l4 !== 0 && (headers.version === 4 || this.#chip.is577xx);
    offload.sumsIp = headers.version === 4 && (this.#packet.flags & TX_IP_CSUM) !== 0;
    offload.sumsL4 = known && (this.#packet.flags & TX_TCPUDP_CSUM) !== 0;
    offload.l4Sum = headers.l4 + (udp ? UDP_SUM : TCP_SUM);
    offload.l4End = end === length ? 0 : end;
    if (offload.sumsIp) put16(bytes, start + offload.ipSum, 0);
    if (!offload.sumsL4 || this.#words[this.#mode.word]! & this.#mode.NO_TX_PHDR_CSUM) return;
    put16(bytes, start + offload.l4Sum, foldChecksum(pseudoHeaderSum(bytes, start, headers, end - headers.l4)));
  }

  /** Where the chip found them. */
  #placeHeaders(): void {
    const { bytes, start, offload } = this.engine;
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
    const { bytes, start, offload, staged } = this.engine;
    const headers = this.#headers;
    const { is577xx } = this.#chip;
    parseHeaders(bytes, start, staged, headers);
    const packed = this.#packet.special >>> 16;
    const mss = packed & (is577xx ? TX_TSO3_MSS : TX_TSO1_MSS);
    const header = headers.l3 + (is577xx ? headerOf3(packed, this.#packet.flags) : 40 + 4 * (packed >>> 11));
    if (headers.l4 === 0 || headers.protocol !== PROTOCOL_TCP || (headers.version === 6 && !is577xx))
      this.#drop('segmentation of what is not TCP');
    else if (mss === 0 || header + mss > this.#longest)
      this.#drop(`segmentation with a header of ${header} bytes, MSS ${mss}`);
    else if (header < headers.l4 + 20 || header > staged)
      this.#drop(`segmentation with a header of ${header} bytes in ${staged}`);
    if (this.#packet.dropped) return;
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
    this.engine.beginSegments();
  }

  /** False where a segment was held. */
  #sendSegments(): boolean {
    const engine = this.engine;
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
    this.#statistics.sent.one(bytes, start);
    this.#statistics.sent.octets(length + FCS);
    this.#outlet.send(bytes, start, length, flags);
  }

  reset(): void {
    this.engine.reset();
    this.#next = 0;
    this.#done = 0;
    this.#now = false;
    this.#packet.assembling = false;
    this.#packet.segmenting = false;
    this.#packet.bds = 0;
    this.settle();
  }

  /** Behind that of SRAM, which the ring is laid by. */
  #stateOf(): Stateful {
    const progress = block(
      1,
      {
        engine: this.engine.state,
        packet: record(this.#packet),
        next: whole(
          () => this.#next,
          (next) => {
            this.#next = next;
          },
        ),
        refused: whole(
          () => this.refused,
          (refused) => {
            this.refused = refused;
          },
        ),
      },
      () => this.settle(),
    );
    return checked(progress, ({ engine, packet }) => {
      const { offload, staged, cut } = engine;
      if (!packet.segmenting) return null;
      const { headerLength, mss, payload, leastHeader } = Object.assign(new Offload(), offload);
      const cuts = mss > 0 && cut < payload && headerLength + mss <= this.#longest;
      const fits = leastHeader <= headerLength && headerLength + payload <= staged.length;
      return cuts && fits ? null : 'a segmentation of what is not there';
    });
  }
}

/** HW_TSO_3: bytes of IP and TCP header, from the words scattered over MSS and flags. */
function headerOf3(packed: number, flags: number): number {
  return 4 * ((packed >>> 14) | (flags & TX_HDRLEN_2 ? 4 : 0) | ((flags & TX_HDRLEN_7_3) >>> 7));
}
