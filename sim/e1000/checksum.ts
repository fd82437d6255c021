/** The receive checksum unit (manual section 3.2.9, 13.4.47), and the FCS that is kept where RCTL.SECRC is clear. */
import { crc32 } from '../crc32.ts';
import {
  addToChecksum,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETHERTYPE_VLAN,
  foldChecksum,
  get16,
  Headers,
  PROTOCOL_UDP,
  parseHeaders,
  pseudoHeaderSum,
} from '../packet.ts';
import type { RegisterFile } from '../registers.ts';
import { FCS_ERROR, SUM_KNOWN } from '../wire/port.ts';
import { RX_IPCS, RX_IPE, RX_IXSM, RX_TCPCS, RX_TCPE } from './descriptors.ts';
import { I82540EM } from './registers.ts';

const { RXCSUM } = I82540EM.r;
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
    const total = flags & SUM_KNOWN ? flags >>> 16 : foldChecksum(addToChecksum(bytes, start, length));
    this.packet = packetChecksum(bytes, start, length, total, rxcsum & RXCSUM.PCSS);
    if (!(rxcsum & (RXCSUM.IPOFLD | RXCSUM.TUOFLD))) return RX_IXSM;
    const type = get16(bytes, start + 12);
    if (type !== ETHERTYPE_IPV4 && type !== ETHERTYPE_IPV6 && type !== ETHERTYPE_VLAN) return RX_IXSM;
    return this.#check(bytes, start, length, total, rxcsum) || RX_IXSM;
  }

  #check(bytes: Uint8Array, start: number, length: number, total: number, rxcsum: number): number {
    const headers = this.#headers;
    parseHeaders(bytes, start, length, headers);
    if (headers.version === 0 || (headers.version === 6 && !(rxcsum & RXCSUM.IPV6OFL))) return 0;
    let result = 0;
    if (headers.version === 4 && rxcsum & RXCSUM.IPOFLD) {
      const headerLength = (bytes[start + headers.l3]! & 15) * 4;
      const sum = foldChecksum(addToChecksum(bytes, start + headers.l3, headerLength));
      result |= sum === ZERO ? RX_IPCS : RX_IPCS | RX_IPE;
    }
    if (headers.l4 !== 0 && rxcsum & RXCSUM.TUOFLD) result |= this.#checkTransport(bytes, start, length, total);
    return result;
  }

  #checkTransport(bytes: Uint8Array, start: number, length: number, total: number): number {
    const headers = this.#headers;
    if (headers.protocol === PROTOCOL_UDP && get16(bytes, start + headers.l4 + 6) === 0) return 0; // sender did not sum
    const end = headers.l3 + headers.ipLength;
    // Everything, less what is in front, less the padding behind it. Offsets are even; a padding that starts odd is zero.
    const front = foldChecksum(addToChecksum(bytes, start, headers.l4));
    const padding = end & 1 ? 0 : foldChecksum(addToChecksum(bytes, start + end, length - end));
    const pseudo = pseudoHeaderSum(bytes, start, headers, end - headers.l4);
    const sum = foldChecksum(total + (0xffff - front) + (0xffff - padding) + pseudo);
    return sum === ZERO ? RX_TCPCS : RX_TCPCS | RX_TCPE;
  }

  /** Computes the FCS of a frame that is to be stored with it. */
  fcs(bytes: Uint8Array, start: number, length: number, flags: number): void {
    const fcs = crc32(bytes, start, length);
    this.#fcs = flags & FCS_ERROR ? ~fcs : fcs;
  }

  fcsByte(index: number): number {
    return (this.#fcs >>> (8 * index)) & 0xff;
  }
}

/** The complement of the sum from PCSS on, in network order, which a little-endian field shows swapped. */
function packetChecksum(bytes: Uint8Array, start: number, length: number, total: number, pcss: number): number {
  let sum = total;
  if (pcss & 1) sum = foldChecksum(addToChecksum(bytes, start + pcss, Math.max(0, length - pcss)));
  else if (pcss > 0) {
    sum = foldChecksum(total + (0xffff - foldChecksum(addToChecksum(bytes, start, Math.min(pcss, length)))));
  }
  const complement = ~sum & 0xffff;
  return ((complement & 0xff) << 8) | (complement >>> 8);
}
