/**
 * The transmit context (manual sections 3.3.6 and 3.5): where in the frames that follow the headers are, and what is to be
 * done to them. Offsets are into the frame as software wrote it, without an inserted tag.
 */
import { addToChecksum, foldChecksum, get16, put16 } from '../packet.ts';
import { SUM_KNOWN } from '../wire/port.ts';
import { TX_CONTEXT_IPV4, TX_CONTEXT_TCP, TX_DATA_LENGTH, TX_IXSM, TX_TXSM } from './descriptors.ts';

// What segmentation writes to (3.5.7), counted from each header's start.
const IP_FIELDS = 6; // length and identification
const TCP_FIELDS = 14; // sequence number and flags
const UDP_FIELDS = 6; // length

export class TransmitContext {
  /** The descriptor. */
  readonly words = new Uint32Array(4);
  ipStart = 0;
  ipSum = 0;
  ipEnd = 0;
  l4Start = 0;
  l4Sum = 0;
  l4End = 0;
  headerLength = 0;
  mss = 0;
  payloadLength = 0;
  tcp = false;
  ipv4 = false;

  load(words: Uint32Array, at: number): void {
    for (let i = 0; i < 4; i++) this.words[i] = words[at + i]!;
    const [ip, l4, command, segmentation] = this.words as unknown as [number, number, number, number];
    this.ipStart = ip & 0xff;
    this.ipSum = (ip >>> 8) & 0xff;
    this.ipEnd = ip >>> 16;
    this.l4Start = l4 & 0xff;
    this.l4Sum = (l4 >>> 8) & 0xff;
    this.l4End = l4 >>> 16;
    this.payloadLength = command & TX_DATA_LENGTH;
    this.tcp = (command & TX_CONTEXT_TCP) !== 0;
    this.ipv4 = (command & TX_CONTEXT_IPV4) !== 0;
    this.headerLength = (segmentation >>> 8) & 0xff;
    this.mss = segmentation >>> 16;
  }

  /** The shortest header that has all the fields segmentation writes to. */
  get leastHeader(): number {
    const l4Fields = this.l4Start + (this.tcp ? TCP_FIELDS : UDP_FIELDS);
    return Math.max(this.ipStart + IP_FIELDS, this.ipSum + 2, this.l4Sum + 2, l4Fields);
  }

  /**
   * IXSM and TXSM, as `options` asks for them (3.5.5), in the frame of `length` bytes at `origin`. Each field's former
   * content is part of its sum: software leaves the pseudo header's sum there. `extra` is what the card adds while
   * segmenting: the segment's length. Returns the frame's flags: its sum, where all of it is known on the way.
   */
  insertChecksums(bytes: Uint8Array, origin: number, length: number, options: number, extra: number): number {
    if (options & TX_IXSM && this.ipSum + 2 <= length) {
      const end = this.ipEnd === 0 ? length : Math.min(this.ipEnd + 1, length);
      const sum = addToChecksum(bytes, origin + this.ipStart, Math.max(0, end - this.ipStart));
      put16(bytes, origin + this.ipSum, ~foldChecksum(sum));
    }
    if (!(options & TX_TXSM) || this.l4Sum + 2 > length) return 0;
    const from = this.l4Start;
    const end = this.l4End === 0 ? length : Math.min(this.l4End + 1, length);
    const sum = foldChecksum(addToChecksum(bytes, origin + from, Math.max(0, end - from)));
    const seed = get16(bytes, origin + this.l4Sum);
    let checksum = ~foldChecksum(sum + extra) & 0xffff;
    if (checksum === 0 && !this.tcp) checksum = 0xffff; // UDP: 0 would say "not summed" (RFC 768)
    put16(bytes, origin + this.l4Sum, checksum);
    if ((from | this.l4Sum) & 1 || this.l4Sum < from || end !== length || from > length) return 0;
    const whole = addToChecksum(bytes, origin, from) + sum + (0xffff - seed) + checksum;
    return SUM_KNOWN | (foldChecksum(whole) << 16);
  }
}
