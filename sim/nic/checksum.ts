/**
 * What a receiver finds out about a frame's checksums. Sums are little-endian (see littleSum): they come from whole words.
 */
import { littleSum, wordsOf } from '../kernels/index.ts';
import {
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETHERTYPE_VLAN,
  foldChecksum,
  get16,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  pseudoHeaderSum,
  swap16,
} from '../packet.ts';
import { SUM_KNOWN } from '../wire/port.ts';
import { type ParserLimits, ReceiveParser, SMALLEST_ETHERTYPE } from './receive-parser.ts';

/** Results, as bits; neither good nor bad: not checked, or there is none. */
export const IP_GOOD = 1;
export const IP_BAD = 2;
export const L4_GOOD = 4;
export const L4_BAD = 8;
/** What to check. */
export const CHECK_IP = 1;
export const CHECK_L4 = 2;
export const CHECK_IPV6 = 4; // TCP and UDP over IPv6, too

/** A parser of which its datasheet says nothing. */
const UNLIMITED: ParserLimits = { longestExtension: Number.POSITIVE_INFINITY, tunnels: false };
const SHORTEST_PLAIN = 44; // Ethernet, IP, UDP, and a whole number of words
const ZERO = 0xffff; // a ones' complement sum over something and its checksum; all zeros cannot occur

export class ReceiveChecksums {
  readonly #parser: ReceiveParser;
  /** The sum of the last frame's bytes. */
  total = 0;

  constructor(limits = UNLIMITED) {
    this.#parser = new ReceiveParser(limits);
  }

  /** Sums and checks a frame: IP_GOOD and its like. */
  check(bytes: Uint8Array, start: number, length: number, flags: number, what: number): number {
    if ((what & (CHECK_IP | CHECK_L4)) === (CHECK_IP | CHECK_L4) && (start & 3) === 0 && length >= SHORTEST_PLAIN) {
      const words = wordsOf(bytes);
      if (isPlain(words, start >>> 2, length)) return this.#checkPlain(words, bytes, start, length, flags);
    }
    this.total = flags & SUM_KNOWN ? swap16(flags >>> 16) : littleSum(bytes, start, length);
    if ((what & (CHECK_IP | CHECK_L4)) === 0) return 0;
    const type = get16(bytes, start + 12);
    if (type !== ETHERTYPE_IPV4 && type !== ETHERTYPE_IPV6 && type !== ETHERTYPE_VLAN && type >= SMALLEST_ETHERTYPE)
      return 0;
    return this.#check(bytes, start, length, what);
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
    const addresses = (w6 >>> 16) + halves(words[at + 7]!) + (w8 & 0xffff);
    const header = (w3 >>> 16) + halves(words[at + 4]!) + halves(w5) + (w6 & 0xffff) + addresses;
    const macs = halves(words[at]!) + halves(words[at + 1]!) + halves(words[at + 2]!) + (w3 & 0xffff);
    const front = foldChecksum(macs + header);
    const rest =
      flags & SUM_KNOWN ? swap16(flags >>> 16) + ZERO - front : (w8 >>> 16) + littleSum(bytes, start + 36, length - 36);
    this.total = foldChecksum(front + rest);
    const ip = foldChecksum(header) === ZERO ? IP_GOOD : IP_BAD;
    const protocol = w5 >>> 24;
    if (protocol === PROTOCOL_UDP && (words[at + 10]! & 0xffff) === 0) return ip; // the sender did not sum
    const sum = foldChecksum(rest + addresses + (protocol << 8) + swap16(length - 34));
    return ip | (sum === ZERO ? L4_GOOD : L4_BAD);
  }

  #check(bytes: Uint8Array, start: number, length: number, what: number): number {
    const parser = this.#parser;
    const { headers } = parser;
    parser.parse(bytes, start, length);
    let result = 0;
    if (parser.ipv4 !== 0 && what & CHECK_IP) {
      const headerLength = (bytes[start + parser.ipv4]! & 15) * 4;
      const sum = littleSum(bytes, start + parser.ipv4, headerLength);
      result |= sum === ZERO ? IP_GOOD : IP_BAD;
    }
    if (headers.version === 6 && !(what & CHECK_IPV6)) return result;
    if (headers.l4 !== 0 && what & CHECK_L4) result |= this.#checkTransport(bytes, start, length);
    return result;
  }

  #checkTransport(bytes: Uint8Array, start: number, length: number): number {
    const { headers } = this.#parser;
    if (headers.protocol === PROTOCOL_UDP && get16(bytes, start + headers.l4 + 6) === 0) return 0; // sender did not sum
    const end = headers.l3 + headers.ipLength;
    // Everything, less what is in front, less the padding behind it. Offsets are even; a padding that starts odd is
    // summed from the byte before it, which is not padding: then the transport part is summed by itself.
    const pseudo = swap16(foldChecksum(pseudoHeaderSum(bytes, start, headers, end - headers.l4)));
    if (end & 1 && end < length) {
      const sum = littleSum(bytes, start + headers.l4, end - headers.l4) + pseudo;
      return foldChecksum(sum) === ZERO ? L4_GOOD : L4_BAD;
    }
    const around = littleSum(bytes, start, headers.l4) + littleSum(bytes, start + end, length - end);
    return foldChecksum(this.total + 2 * ZERO - around + pseudo) === ZERO ? L4_GOOD : L4_BAD;
  }
}

/** The sum of a word's halves: as integers, which is what makes it quick. */
function halves(word: number): number {
  return (word & 0xffff) + (word >>> 16);
}

/**
 * An untagged IPv4 packet without options, whole, TCP or UDP, and nothing behind it; by words, in which the first byte
 * is the least significant.
 */
function isPlain(words: Uint32Array, at: number, length: number): boolean {
  if ((words[at + 3]! & 0xffffff) !== 0x450008) return false; // EtherType 0800, version 4, five words of header
  const w5 = words[at + 5]!;
  if (swap16(words[at + 4]! & 0xffff) + 14 !== length || (w5 & 0xff3f) !== 0) return false; // total length; fragment
  const protocol = w5 >>> 24;
  if (protocol === PROTOCOL_UDP) return swap16(words[at + 9]! >>> 16) + 34 === length; // its own length, too
  return protocol === PROTOCOL_TCP && length >= 54;
}
