/**
 * A frame on its way into host memory: as it is on the wire, less a tag that is stripped, and its FCS behind it. A receiver
 * has one, and its fields are those of whichever frame it is at.
 */
import { crc32 } from '../kernels/index.ts';
import type { Window } from '../memory.ts';
import { FCS, get16, MACS, VLAN_TAG } from '../packet.ts';
import { FCS_ERROR } from '../wire/port.ts';

const NONE = new Uint8Array(0);
const SHORTEST_TAGGED = MACS + VLAN_TAG + 2;

export class ReceivedFrame {
  bytes: Uint8Array = NONE;
  start = 0;
  length = 0;
  flags = 0;
  /** Bytes of the tag that the host does not get to see: 4 or none. What it said. */
  stripped = 0;
  tag = 0;
  /** What follows in host memory, where a chip puts that there: zeros, but after `sum`. */
  readonly fcs = new Uint8Array(FCS);

  set(bytes: Uint8Array, start: number, length: number, flags: number): void {
    this.bytes = bytes;
    this.start = start;
    this.length = length;
    this.flags = flags;
    this.stripped = 0;
    this.tag = 0;
  }

  /** Takes a tag of that EtherType out. Whether there was one. */
  strip(type: number): boolean {
    const { bytes, start } = this;
    if (this.length < SHORTEST_TAGGED || get16(bytes, start + MACS) !== type) return false;
    this.stripped = VLAN_TAG;
    this.tag = get16(bytes, start + MACS + 2);
    return true;
  }

  /** Bytes that the host gets to see, without the FCS. */
  get kept(): number {
    return this.length - this.stripped;
  }

  /** Computes the FCS, wrong where the frame was damaged on the wire. */
  sum(): void {
    const sum = crc32(this.bytes, this.start, this.length);
    const fcs = this.flags & FCS_ERROR ? ~sum : sum;
    for (let i = 0; i < FCS; i++) this.fcs[i] = fcs >>> (8 * i);
  }

  /** Bytes from `from` on into host memory, the FCS's behind those kept. False where it is not writable. */
  store(window: Window, address: number, from: number, count: number): boolean {
    const { bytes, start, stripped, kept } = this;
    const end = from + count;
    const front = stripped > 0 ? Math.max(0, Math.min(end, MACS) - from) : 0; // before the tag
    const behind = Math.max(0, Math.min(end, kept) - from - front);
    const at = from + front + behind;
    return (
      window.store(address, bytes, start + from, front) &&
      window.store(address + front, bytes, start + stripped + from + front, behind) &&
      window.store(address + at - from, this.fcs, at - kept, end - at)
    );
  }
}
