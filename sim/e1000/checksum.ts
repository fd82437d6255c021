/** The receive checksum unit (manual section 3.2.9, 13.4.47). */
import { littleSum } from '../kernels/index.ts';
import { CHECK_IP, CHECK_IPV6, CHECK_L4, IP_BAD, IP_GOOD, L4_BAD, L4_GOOD, ReceiveChecksums } from '../nic/checksum.ts';
import type { ReceivedFrame } from '../nic/received-frame.ts';
import { FCS, foldChecksum, MACS, swap16 } from '../packet.ts';
import type { BlockContext } from './context.ts';
import { RX_IPCS, RX_IPE, RX_IXSM, RX_TCPCS, RX_TCPE } from './descriptors.ts';
import type { FamilyRegisters } from './registers.ts';

const ZERO = 0xffff;

/** 3.2.9.4: an extension header of more than 16 dwords is not decoded; of tunnels, table 3-5. */
const PARSER = { longestExtension: 64, tunnels: true };

/** A descriptor's status and error bits, by what was found. */
const STATUS = Uint16Array.from({ length: 16 }, (_, found) => {
  const ip = found & IP_BAD ? RX_IPCS | RX_IPE : found & IP_GOOD ? RX_IPCS : 0;
  const l4 = found & L4_BAD ? RX_TCPCS | RX_TCPE : found & L4_GOOD ? RX_TCPCS : 0;
  return found === 0 ? RX_IXSM : ip | l4;
});

export class ChecksumUnit {
  readonly #words: Uint32Array;
  readonly #rxcsum: FamilyRegisters['RXCSUM'];
  readonly #checks = new ReceiveChecksums(PARSER);
  #what = 0;
  #from = 0; // RXCSUM.PCSS
  /** The packet checksum of the last frame, as the descriptor has it. */
  packet = 0;

  constructor({ registers, r }: BlockContext) {
    this.#words = registers.words;
    this.#rxcsum = r.RXCSUM;
    registers.onWrite(r.RXCSUM, () => this.settle());
  }

  /** After RXCSUM changed. */
  settle(): void {
    const RXCSUM = this.#rxcsum;
    const rxcsum = this.#words[RXCSUM.word]!;
    this.#from = rxcsum & RXCSUM.PCSS;
    this.#what =
      (rxcsum & RXCSUM.IPOFLD ? CHECK_IP : 0) |
      (rxcsum & RXCSUM.TUOFLD ? CHECK_L4 : 0) |
      (rxcsum & RXCSUM.IPV6OFL ? CHECK_IPV6 : 0);
  }

  /** Sums and checks a frame; returns the descriptor's status and error bits. */
  receive(bytes: Uint8Array, start: number, length: number, flags: number): number {
    const found = this.#checks.check(bytes, start, length, flags, this.#what);
    this.packet = ~sumFrom(bytes, start, length, this.#checks.total, this.#from) & 0xffff;
    return STATUS[found]!;
  }

  /**
   * The packet checksum of the frame that `receive` summed, where a tag is stripped of it, or its FCS was computed and stays:
   * it is of what is stored, from PCSS on (13.4.47).
   */
  stored({ bytes, start, length, stripped, kept, fcs }: ReceivedFrame, withFcs: boolean): number {
    const pcss = this.#from;
    let sum = ~this.packet & 0xffff;
    if (stripped !== 0) {
      const front = Math.max(0, MACS - pcss);
      const from = front > 0 ? MACS + stripped : pcss + stripped;
      const rest = littleSum(bytes, start + from, Math.max(0, length - from));
      sum = littleSum(bytes, start + pcss, front) + (front & 1 ? swap16(rest) : rest);
    }
    if (withFcs && pcss <= kept) {
      const rest = littleSum(fcs, 0, FCS);
      sum += (kept - pcss) & 1 ? swap16(rest) : rest;
    }
    return ~foldChecksum(sum) & 0xffff;
  }
}

/** The little-endian sum from `pcss` on, of a frame whose whole sum is known. */
function sumFrom(bytes: Uint8Array, start: number, length: number, total: number, pcss: number): number {
  if (pcss === 0) return total;
  if (pcss >= length) return 0;
  if (pcss & 1) return littleSum(bytes, start + pcss, length - pcss);
  return foldChecksum(total + ZERO - littleSum(bytes, start, pcss));
}
