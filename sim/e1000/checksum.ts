/** The receive checksum unit (manual section 3.2.9, 13.4.47), and the FCS that is kept where RCTL.SECRC is clear. */

import { wordsOf } from '../copy.ts';
import { crc32 } from '../crc32.ts';
import {
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETHERTYPE_VLAN,
  foldChecksum,
  foldWords,
  get16,
  Headers,
  littleSum,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  parseHeaders,
  pseudoHeaderSum,
  swap16,
} from '../packet.ts';
import type { RegisterFile } from '../registers.ts';
import { FCS_ERROR, SUM_KNOWN } from '../wire/port.ts';
import { RX_IPCS, RX_IPE, RX_IXSM, RX_TCPCS, RX_TCPE } from './descriptors.ts';
import { I82540EM } from './registers.ts';

const { RXCSUM } = I82540EM.r;
const BOTH = RXCSUM.IPOFLD | RXCSUM.TUOFLD;
const MACS = 12; // a tag sits behind both addresses
const PLAIN = BOTH | RXCSUM.PCSS;
const SHORTEST_PLAIN = 44; // Ethernet, IP, UDP, and a whole number of words
const ZERO = 0xffff; // a ones' complement sum over something and its checksum; all zeros cannot occur

export class ChecksumUnit {
  readonly #words: Uint32Array;
  readonly #headers = new Headers();
  #fcs = 0;
  /** The packet checksum of the last frame, as the descriptor has it. */
  packet = 0;

  constructor(registers: RegisterFile) {
    this.#words = registers.words;
  }

  /** Sums and checks a frame; returns the descriptor's status and error bits. */
  receive(bytes: Uint8Array, start: number, length: number, flags: number): number {
    const rxcsum = this.#words[RXCSUM.word]!;
    if ((rxcsum & PLAIN) === BOTH && (start & 3) === 0 && length >= SHORTEST_PLAIN) {
      const words = wordsOf(bytes);
      if (isPlain(words, start >>> 2, length)) return this.#checkPlain(words, bytes, start, length, flags);
    }
    const total = flags & SUM_KNOWN ? swap16(flags >>> 16) : littleSum(bytes, start, length);
    this.packet = ~sumFrom(bytes, start, length, total, rxcsum & RXCSUM.PCSS) & 0xffff;
    if ((rxcsum & BOTH) === 0) return RX_IXSM;
    const type = get16(bytes, start + 12);
    if (type !== ETHERTYPE_IPV4 && type !== ETHERTYPE_IPV6 && type !== ETHERTYPE_VLAN) return RX_IXSM;
    const result = this.#check(bytes, start, length, total, rxcsum);
    return result === 0 ? RX_IXSM : result;
  }

  /**
   * What most traffic is, see isPlain. Both checksums come from the nine words that hold addresses and IP header, and the
   * sum of what is behind them: 20 ns for a short frame, where the general way takes 60.
   */
  #checkPlain(words: Uint32Array, bytes: Uint8Array, start: number, length: number, flags: number): number {
    const at = start >>> 2;
    const w3 = words[at + 3]!; // EtherType, version and TOS
    const w5 = words[at + 5]!; // fragment, TTL, protocol
    const w6 = words[at + 6]!; // checksum, source
    const w8 = words[at + 8]!; // destination, and the transport header begins
    const addresses = (w6 >>> 16) + words[at + 7]! + (w8 & 0xffff);
    const header = (w3 >>> 16) + words[at + 4]! + w5 + (w6 & 0xffff) + addresses;
    const front = words[at]! + words[at + 1]! + words[at + 2]! + (w3 & 0xffff) + header;
    const rest =
      flags & SUM_KNOWN
        ? swap16(flags >>> 16) + ZERO - foldWords(front)
        : (w8 >>> 16) + littleSum(bytes, start + 36, length - 36);
    this.packet = ~foldWords(front + rest) & 0xffff;
    const ip = foldWords(header) === ZERO ? RX_IPCS : RX_IPCS | RX_IPE;
    const protocol = w5 >>> 24;
    if (protocol === PROTOCOL_UDP && (words[at + 10]! & 0xffff) === 0) return ip; // the sender did not sum
    const sum = foldWords(rest + addresses + (protocol << 8) + swap16(length - 34));
    return ip | (sum === ZERO ? RX_TCPCS : RX_TCPCS | RX_TCPE);
  }

  #check(bytes: Uint8Array, start: number, length: number, total: number, rxcsum: number): number {
    const headers = this.#headers;
    parseHeaders(bytes, start, length, headers);
    if (headers.version === 0 || (headers.version === 6 && !(rxcsum & RXCSUM.IPV6OFL))) return 0;
    let result = 0;
    if (headers.version === 4 && rxcsum & RXCSUM.IPOFLD) {
      const headerLength = (bytes[start + headers.l3]! & 15) * 4;
      const sum = littleSum(bytes, start + headers.l3, headerLength);
      result |= sum === ZERO ? RX_IPCS : RX_IPCS | RX_IPE;
    }
    if (headers.l4 !== 0 && rxcsum & RXCSUM.TUOFLD) result |= this.#checkTransport(bytes, start, length, total);
    return result;
  }

  #checkTransport(bytes: Uint8Array, start: number, length: number, total: number): number {
    const headers = this.#headers;
    if (headers.protocol === PROTOCOL_UDP && get16(bytes, start + headers.l4 + 6) === 0) return 0; // sender did not sum
    const end = headers.l3 + headers.ipLength;
    // Everything, less what is in front, less the padding behind it. Offsets are even; a padding that starts odd is
    // summed from the byte before it, which is not padding: then the transport part is summed by itself.
    const pseudo = swap16(foldChecksum(pseudoHeaderSum(bytes, start, headers, end - headers.l4)));
    if (end & 1 && end < length) {
      const sum = littleSum(bytes, start + headers.l4, end - headers.l4) + pseudo;
      return foldChecksum(sum) === ZERO ? RX_TCPCS : RX_TCPCS | RX_TCPE;
    }
    const around = littleSum(bytes, start, headers.l4) + littleSum(bytes, start + end, length - end);
    return foldChecksum(total + 2 * ZERO - around + pseudo) === ZERO ? RX_TCPCS : RX_TCPCS | RX_TCPE;
  }

  /** Computes the FCS of a frame that is to be stored with it. */
  fcs(bytes: Uint8Array, start: number, length: number, flags: number): void {
    const fcs = crc32(bytes, start, length);
    this.#fcs = flags & FCS_ERROR ? ~fcs : fcs;
  }

  /**
   * The packet checksum of the frame that `receive` summed, where a tag is stripped of it, or its FCS was computed and stays:
   * it is of what is stored, from PCSS on (13.4.47).
   */
  stored(bytes: Uint8Array, start: number, length: number, stripped: number, withFcs: boolean): number {
    const pcss = this.#words[RXCSUM.word]! & RXCSUM.PCSS;
    let sum = ~this.packet & 0xffff;
    if (stripped !== 0) {
      const front = Math.max(0, MACS - pcss);
      const from = front > 0 ? MACS + stripped : pcss + stripped;
      const rest = littleSum(bytes, start + from, Math.max(0, length - from));
      sum = littleSum(bytes, start + pcss, front) + (front & 1 ? swap16(rest) : rest);
    }
    if (withFcs && pcss <= length - stripped) {
      const fcs = foldChecksum((this.#fcs & 0xffff) + (this.#fcs >>> 16));
      sum += (length - stripped - pcss) & 1 ? swap16(fcs) : fcs;
    }
    return ~foldChecksum(sum) & 0xffff;
  }

  fcsByte(index: number): number {
    return (this.#fcs >>> (8 * index)) & 0xff;
  }
}

/** The little-endian sum from `pcss` on, of a frame whose whole sum is known. */
function sumFrom(bytes: Uint8Array, start: number, length: number, total: number, pcss: number): number {
  if (pcss === 0) return total;
  if (pcss >= length) return 0;
  if (pcss & 1) return littleSum(bytes, start + pcss, length - pcss);
  return foldChecksum(total + ZERO - littleSum(bytes, start, pcss));
}

/**
 * An untagged IPv4 packet without options, whole, TCP or UDP, and no padding behind it; by words, in which the first byte
 * is the least significant.
 */
function isPlain(words: Uint32Array, at: number, length: number): boolean {
  if ((words[at + 3]! & 0xffffff) !== 0x450008) return false; // EtherType 0800, version 4, five words of header
  const w5 = words[at + 5]!;
  if (swap16(words[at + 4]! & 0xffff) + 14 !== length || (w5 & 0xff3f) !== 0) return false; // total length; fragment
  const protocol = w5 >>> 24;
  return (protocol === PROTOCOL_TCP && length >= 54) || protocol === PROTOCOL_UDP;
}
