/**
 * What a card is to do to a frame before it leaves: a plain record, made once, that each chip decodes its descriptors into.
 * Offsets are bytes from the frame's start as software wrote it, without an inserted tag.
 */

import { joinSums, littleSum } from '../kernels/index.ts';
import { addToChecksum, foldChecksum, get16, put16, swap16 } from '../packet.ts';
import { SUM_KNOWN } from '../wire/port.ts';

// What segmentation writes to, counted from each header's start.
const IP_FIELDS = 6; // length and identification
const TCP_FIELDS = 14; // sequence number and flags
const UDP_FIELDS = 6; // length

export class Offload {
  /** The network header and the transport header. */
  l3 = 0;
  l4 = 0;
  ipv4 = false; // or IPv6
  tcp = false; // or UDP
  /** The network header's checksum: wanted, its field, and where what it covers from `l3` on ends; 0: with the frame. */
  sumsIp = false;
  ipSum = 0;
  ipEnd = 0;
  /** The transport's, from `l4` on. */
  sumsL4 = false;
  l4Sum = 0;
  l4End = 0;
  /** Segmentation: the bytes repeated in front of each segment, the most that follow them, and of payload in all. */
  headerLength = 0;
  mss = 0;
  payload = 0;

  /** The shortest header that has all the fields segmentation writes to. */
  get leastHeader(): number {
    const l4Fields = this.l4 + (this.tcp ? TCP_FIELDS : UDP_FIELDS);
    return Math.max(this.l3 + IP_FIELDS, this.ipSum + 2, this.l4Sum + 2, l4Fields);
  }

  /**
   * Puts the wanted checksums into the frame of `length` bytes at `start`. A field's former content is part of its sum: what
   * somebody who knows the addresses left there, for a routing header's final destination too (RFC 8200 §8.1); here nobody
   * looks for them. `extra` is added to the transport's: a segment's length, in segmentation. `sum` is the littleSum of the
   * frame from offset `summed` on. Returns the frame's flags: its sum, where all of it is known on the way.
   */
  insertChecksums(
    bytes: Uint8Array,
    start: number,
    length: number,
    extra: number,
    summed: number,
    sum: number,
  ): number {
    if (this.sumsIp && this.ipSum + 2 <= length) {
      const end = this.ipEnd === 0 ? length : Math.min(this.ipEnd, length);
      const header = littleSum(bytes, start + this.l3, Math.max(0, end - this.l3));
      put16(bytes, start + this.ipSum, ~swap16(header));
    }
    if (!this.sumsL4 || this.l4Sum + 2 > length) return 0;
    const from = this.l4;
    const end = this.l4End === 0 ? length : Math.min(this.l4End, length);
    const knows = end === length && summed >= from;
    const front = knows ? summed - from : Math.max(0, end - from);
    const little = joinSums(littleSum(bytes, start + from, front), front, knows ? sum : 0);
    const whole = swap16(foldChecksum(little));
    const seed = get16(bytes, start + this.l4Sum);
    let checksum = ~foldChecksum(whole + extra) & 0xffff;
    if (checksum === 0 && !this.tcp) checksum = 0xffff; // UDP: 0 would say "not summed" (RFC 768)
    put16(bytes, start + this.l4Sum, checksum);
    if ((from | this.l4Sum) & 1 || this.l4Sum < from || end !== length || from > length) return 0;
    const total = addToChecksum(bytes, start, from) + whole + (0xffff - seed) + checksum;
    return SUM_KNOWN | (foldChecksum(total) << 16);
  }
}
