/**
 * The send side: from the ring through checksum insertion, segmentation and VLAN tagging to the wire.
 *
 * A frame in one buffer that needs nothing done to it goes out straight from host memory. Anything else is put together in
 * the staging area first: a packet to be segmented as a whole, and each segment's header then goes in front of its payload,
 * over the end of the one before. Segmentation stops between two segments where flow control or a busy wire says so.
 */
import type { Alarm, Clock } from '../clock.ts';
import { copyBytes } from '../copy.ts';
import { crc32 } from '../crc32.ts';
import type { BusMaster, Window } from '../memory.ts';
import { DescriptorRing } from '../nic/ring.ts';
import {
  addToChecksum,
  ETHERTYPE_VLAN,
  foldChecksum,
  get16,
  get32,
  Headers,
  MIN_FRAME,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  parseHeaders,
  pseudoHeaderSum,
  put16,
  put32,
  VLAN_TAG,
} from '../packet.ts';
import type { Host, PacketMemory } from '../pci/function.ts';
import type { RegisterFile } from '../registers.ts';
import { FCS_ERROR, SUM_KNOWN } from '../wire/port.ts';
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

const FCS = 4;
const MACS = 12;
const LONGEST = 1522; // without jumbo frames
const LONGEST_JUMBO = 9600;
const MAX_STAGED = 0x1_0800; // 64 KiB of IP and what is in front of it
const MAX_HEADER = 1100; // 255 words of IP and TCP, Ethernet, two tags
const ORIGIN = 64; // where a frame starts in the staging area: room for a tag in front, and aligned
const BURST = 64;
const MAX_RING = 2047; // the mailbox has 11 bits
const SEGMENTED = TX_CPU_PRE_DMA | TX_CPU_POST_DMA;
/** Flags under which a frame is not sent just as it is. */
const TREATED = TX_TCPUDP_CSUM | TX_IP_CSUM | TX_VLAN | SEGMENTED | TX_NO_CRC;
/** Frames that one doorbell may segment out; then comes a rest of as long as a gigabit line would have taken for them. */
const MAX_SEGMENTS = 65536;
const REST = MAX_SEGMENTS * 672; // ns: 84 bytes each
const TCP_FLAGS_LAST = 0x09; // FIN and PSH: only on the last segment

/** What the transmitter sends into: the port, or a loopback. */
export interface Outlet {
  send(bytes: Uint8Array, start: number, length: number, flags: number): void;
  /** A burst, see Port.receiveBurst: returns how many frames it took. */
  sendBurst(bytes: Uint8Array, starts: Int32Array, lengths: Int32Array, count: number): number;
  /** Nanoseconds on the clock until which nothing may be sent. */
  readonly heldUntil: number;
}

export class Send {
  readonly #registers: RegisterFile;
  readonly #words: Uint32Array;
  readonly #clock: Clock;
  readonly #dma: BusMaster;
  readonly #sram: Sram;
  readonly #chip: Chip;
  readonly #coalescing: HostCoalescing;
  readonly #statistics: Statistics;
  readonly #outlet: Outlet;
  readonly #ring: DescriptorRing;
  readonly #buffers: Window;
  readonly #staging: PacketMemory;
  readonly #origin: number;
  readonly #longest: number;
  readonly #resume: Alarm;
  readonly #headers = new Headers();
  readonly #header = new Uint8Array(MAX_HEADER);
  readonly #starts = new Int32Array(BURST);
  readonly #lengths = new Int32Array(BURST);
  #next = 0; // the BD to be looked at next; the consumer index follows at the end of a packet
  #running = false;
  #done = 0; // BDs since the host was told
  #now = false;
  #segmentsLeft = 0;
  // The packet being put together. Its first BD says what is done to it.
  #assembling = false;
  #dropped = false;
  #flags = 0;
  #special = 0; // MSS and VLAN tag
  #length = 0; // bytes staged
  #packetBds = 0;
  // Segmentation in progress: lengths and offsets of the header as it goes out, tag and all.
  #segmenting = false;
  #headerLength = 0;
  #l3 = 0;
  #l4 = 0;
  #mss = 0;
  #payloadAt = 0; // offset of the next segment's payload in the staged packet
  #segment = 0;
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
    this.#clock = host.clock;
    this.#dma = dma;
    this.#chip = blocks.chip;
    this.#sram = blocks.sram;
    this.#coalescing = blocks.coalescing;
    this.#statistics = blocks.statistics;
    this.#outlet = blocks.outlet;
    this.#ring = new DescriptorRing(dma, SEND_BD);
    this.#buffers = dma.window();
    this.#longest = blocks.chip.is57765 ? LONGEST_JUMBO : LONGEST;
    this.#staging = host.packetMemory(ORIGIN + MAX_STAGED);
    this.#origin = this.#staging.start + ORIGIN;
    this.#resume = host.clock.alarm(() => this.#run());
    registers.onWrite(MBOX_SEND_PROD, () => this.#run());
    registers.onRead(R.SNDBDI_IN_PROD_IDX, (index) => (index === 0 ? this.#words[MBOX_SEND_PROD.word]! : 0));
    for (const stage of STAGES) registers.onWrite(stage, () => this.#run());
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
    this.#resume.at(this.#clock.now);
  }

  get #enabled(): boolean {
    for (const stage of STAGES) if (!(this.#words[stage.word]! & stage.ENABLE)) return false;
    return this.#dma.enabled && this.#ring.count > 0;
  }

  #run(): void {
    if (this.#running) {
      this.resume(); // a doorbell from within: by an interrupt, or through a loopback
      return;
    }
    if (!this.#enabled) return;
    this.#running = true;
    try {
      this.#work();
    } finally {
      this.#running = false;
    }
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
    const producer = this.#words[MBOX_SEND_PROD.word]! % count;
    this.#segmentsLeft = MAX_SEGMENTS;
    for (let budget = count; budget > 0; ) {
      if (!this.#segmenting && this.#next === producer) return;
      if (this.#held()) return;
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

  /** Whether flow control or the wire holds us; then the work goes on when they let go. */
  #held(): boolean {
    const until = this.#outlet.heldUntil;
    if (until <= this.#clock.now) return false;
    this.#resume.at(until);
    return true;
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
    this.#length = 0;
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
    if (this.#length + length > MAX_STAGED || (!this.#segments && this.#length + length > this.#longest + FCS)) {
      this.#drop(`longer than ${this.#longest} bytes`);
      return;
    }
    const { bytes } = this.#staging;
    const window = this.#buffers;
    const to = this.#origin + this.#length;
    if (window.covers(address, length))
      copyBytes(window.mapping.bytes, address - window.mapping.start, bytes, to, length);
    else if (!this.#dma.read(address, bytes, to, length)) this.#drop('buffer not in mapped memory');
    this.#length += length;
  }

  /** The end of a packet. */
  #end(): void {
    if (!this.#dropped && this.#segments) {
      this.#beginSegmentation();
      if (!this.#dropped) {
        this.#segmenting = true; // #work goes on with it
        return;
      }
    }
    if (!this.#dropped && this.#length === 0) this.#drop('no bytes');
    if (!this.#dropped) this.#sendWhole();
    this.#finish();
  }

  #sendWhole(): void {
    const { bytes } = this.#staging;
    let start = this.#origin;
    let flags = this.#insertChecksums();
    if (this.#flags & TX_NO_CRC) flags = this.#takeFcs();
    if (this.#flags & TX_VLAN && this.#length >= MACS) {
      start = this.#origin - VLAN_TAG;
      bytes.copyWithin(start, this.#origin, this.#origin + MACS);
      putTag(bytes, start + MACS, this.#special);
      this.#length += VLAN_TAG;
      flags &= FCS_ERROR;
    }
    if (this.#length < MIN_FRAME) {
      bytes.fill(0, start + this.#length, start + MIN_FRAME);
      this.#length = MIN_FRAME;
    }
    this.#send(bytes, start, this.#length, flags);
  }

  /** The host brought the FCS along: what goes out is good only if it is right. */
  #takeFcs(): number {
    const { bytes } = this.#staging;
    const length = Math.max(0, this.#length - FCS);
    const at = this.#origin + length;
    const given = (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
    this.#length = length;
    return given === crc32(bytes, this.#origin, length) ? 0 : FCS_ERROR;
  }

  /** IP_CSUM and TCPUDP_CSUM. Returns the frame's flags: its sum, where all of it is known on the way. */
  #insertChecksums(): number {
    if (!(this.#flags & (TX_IP_CSUM | TX_TCPUDP_CSUM))) return 0;
    const { bytes } = this.#staging;
    const headers = this.#headers;
    parseHeaders(bytes, this.#origin, this.#length, headers);
    if (headers.version === 4 && this.#flags & TX_IP_CSUM) this.#sumIpHeader(this.#origin + headers.l3);
    if (!(this.#flags & TX_TCPUDP_CSUM) || headers.l4 === 0) return 0;
    if (headers.version === 6 && !this.#chip.is57765) return 0;
    return this.#sumTransport(this.#origin, headers, this.#length);
  }

  #sumIpHeader(at: number): void {
    const { bytes } = this.#staging;
    put16(bytes, at + 10, 0);
    put16(bytes, at + 10, ~foldChecksum(addToChecksum(bytes, at, (bytes[at]! & 15) * 4)));
  }

  /** TCP's or UDP's checksum; what stands in the field is the pseudo header's sum where NO_TX_PHDR_CSUM says so. */
  #sumTransport(start: number, headers: Headers, length: number): number {
    const { bytes } = this.#staging;
    const at = start + headers.l4;
    const end = headers.l3 + headers.ipLength;
    const field = at + (headers.protocol === PROTOCOL_TCP ? 16 : 6);
    const seeded = (this.#words[GRC_MODE.word]! & GRC_MODE.NO_TX_PHDR_CSUM) !== 0;
    const seed = seeded ? get16(bytes, field) : pseudoHeaderSum(bytes, start, headers, end - headers.l4);
    put16(bytes, field, 0);
    const sum = foldChecksum(addToChecksum(bytes, at, end - headers.l4));
    let checksum = ~foldChecksum(sum + seed) & 0xffff;
    if (checksum === 0 && headers.protocol === PROTOCOL_UDP) checksum = 0xffff; // 0 would say "not summed" (RFC 768)
    put16(bytes, field, checksum);
    if (end !== length || headers.l4 & 1) return 0;
    return SUM_KNOWN | (foldChecksum(addToChecksum(bytes, start, headers.l4) + sum + checksum) << 16);
  }

  // Segmentation.

  /** Header and MSS as the chip's generation packs them, and the header as all segments start from it. */
  #beginSegmentation(): void {
    const { bytes } = this.#staging;
    const headers = this.#headers;
    parseHeaders(bytes, this.#origin, this.#length, headers);
    const packed = this.#special >>> 16;
    this.#mss = packed & (this.#chip.is57765 ? TX_TSO3_MSS : TX_TSO1_MSS);
    const length = headers.l3 + (this.#chip.is57765 ? headerOf3(packed, this.#flags) : 40 + 4 * (packed >>> 11));
    if (headers.l4 === 0 || headers.protocol !== PROTOCOL_TCP || (headers.version === 6 && !this.#chip.is57765))
      this.#drop('segmentation of what is not TCP');
    else if (this.#mss === 0 || length + this.#mss > this.#longest)
      this.#drop(`segmentation with a header of ${length} bytes, MSS ${this.#mss}`);
    else if (length < headers.l4 + 20 || length > this.#length)
      this.#drop(`segmentation with a header of ${length} bytes in ${this.#length}`);
    if (this.#dropped) return;
    const tag = this.#flags & TX_VLAN ? VLAN_TAG : 0;
    const header = this.#header;
    copyBytes(bytes, this.#origin, header, 0, MACS);
    if (tag > 0) putTag(header, MACS, this.#special);
    copyBytes(bytes, this.#origin + MACS, header, MACS + tag, length - MACS);
    this.#headerLength = length + tag;
    this.#l3 = headers.l3 + tag;
    this.#l4 = headers.l4 + tag;
    this.#payloadAt = length;
    this.#segment = 0;
  }

  /** False where the wire or flow control held a segment, or this doorbell has had its share. */
  #sendSegments(): boolean {
    do {
      if (this.#held()) return false;
      if (this.#segmentsLeft-- <= 0) {
        this.#resume.in(REST);
        return false;
      }
      this.#sendSegment();
    } while (this.#payloadAt < this.#length);
    return true;
  }

  #sendSegment(): void {
    const { bytes } = this.#staging;
    const header = this.#header;
    const payload = Math.min(this.#mss, this.#length - this.#payloadAt);
    const length = this.#headerLength + payload;
    const start = this.#origin + this.#payloadAt - this.#headerLength;
    const last = this.#payloadAt + payload >= this.#length;
    copyBytes(header, 0, bytes, start, this.#headerLength);
    const ip = start + this.#l3;
    const l4 = start + this.#l4;
    const headers = this.#headers;
    headers.version = bytes[ip]! >>> 4 === 4 ? 4 : 6;
    headers.protocol = PROTOCOL_TCP;
    headers.l3 = this.#l3;
    headers.l4 = this.#l4;
    headers.ipLength = length - this.#l3;
    if (headers.version === 4) {
      put16(bytes, ip + 2, headers.ipLength);
      put16(bytes, ip + 4, get16(header, this.#l3 + 4) + this.#segment);
      this.#sumIpHeader(ip);
    } else put16(bytes, ip + 4, headers.ipLength - 40);
    put32(bytes, l4 + 4, (get32(header, this.#l4 + 4) + this.#segment * this.#mss) >>> 0);
    if (!last) bytes[l4 + 13]! &= ~TCP_FLAGS_LAST;
    put16(bytes, l4 + 16, pseudoHeaderSum16(bytes, start, headers, length - this.#l4));
    const flags = this.#sumSegment(start, headers, length);
    const padded = Math.max(length, MIN_FRAME);
    if (padded > length) bytes.fill(0, start + length, start + padded);
    this.#send(bytes, start, padded, flags);
    this.#payloadAt += payload;
    this.#segment++;
  }

  /** The field holds the pseudo header's sum, whatever GRC_MODE says: of a segment the chip knows it. */
  #sumSegment(start: number, headers: Headers, length: number): number {
    const { bytes } = this.#staging;
    const at = start + headers.l4;
    const seed = get16(bytes, at + 16);
    const sum = foldChecksum(addToChecksum(bytes, at, length - headers.l4));
    const checksum = ~sum & 0xffff;
    put16(bytes, at + 16, checksum);
    if (headers.l4 & 1) return 0;
    const whole = addToChecksum(bytes, start, headers.l4) + sum + (0xffff - seed) + checksum;
    return SUM_KNOWN | (foldChecksum(whole) << 16);
  }

  #send(bytes: Uint8Array, start: number, length: number, flags: number): void {
    this.#statistics.sentOne(bytes, start);
    this.#statistics.sentOctets(length + FCS);
    this.#outlet.send(bytes, start, length, flags);
  }

  reset(): void {
    this.#resume.cancel();
    this.#next = 0;
    this.#done = 0;
    this.#now = false;
    this.#assembling = false;
    this.#segmenting = false;
    this.#packetBds = 0;
    this.#length = 0;
    this.settle();
  }

  save(): unknown {
    return {
      resume: this.#resume.save(),
      ring: [this.#next, this.#packetBds],
      packet: [this.#assembling, this.#dropped, this.#segmenting],
      staged: this.#staging.bytes.slice(this.#origin, this.#origin + this.#length),
      header: this.#header.slice(0, this.#headerLength),
      progress: [this.#flags, this.#special, this.#l3, this.#l4, this.#mss, this.#payloadAt, this.#segment],
      refused: this.refused,
    };
  }

  restore(saved: unknown): void {
    const state = saved as {
      resume: number;
      ring: [number, number];
      packet: [boolean, boolean, boolean];
      staged: Uint8Array;
      header: Uint8Array;
      progress: [number, number, number, number, number, number, number];
      refused: number;
    };
    this.settle();
    this.#resume.restore(state.resume);
    [this.#next, this.#packetBds] = state.ring;
    [this.#assembling, this.#dropped, this.#segmenting] = state.packet;
    this.#staging.bytes.set(state.staged, this.#origin);
    this.#length = state.staged.length;
    this.#header.set(state.header);
    this.#headerLength = state.header.length;
    [this.#flags, this.#special, this.#l3, this.#l4, this.#mss, this.#payloadAt, this.#segment] = state.progress;
    this.refused = state.refused;
  }
}

/** HW_TSO_3: bytes of IP and TCP header, from the words scattered over MSS and flags. */
function headerOf3(packed: number, flags: number): number {
  return 4 * ((packed >>> 14) | (flags & TX_HDRLEN_2 ? 4 : 0) | ((flags & TX_HDRLEN_7_3) >>> 7));
}

function pseudoHeaderSum16(bytes: Uint8Array, start: number, headers: Headers, length: number): number {
  return foldChecksum(pseudoHeaderSum(bytes, start, headers, length));
}

function putTag(bytes: Uint8Array, at: number, tag: number): void {
  put16(bytes, at, ETHERTYPE_VLAN);
  put16(bytes, at + 2, tag & 0xffff);
}
