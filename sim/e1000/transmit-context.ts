/** The transmit context (manual sections 3.3.6 and 3.5): where in the frames that follow the headers are. */
import type { Offload } from '../nic/offload.ts';
import { TX_CONTEXT_IPV4, TX_CONTEXT_TCP, TX_DATA_LENGTH } from './descriptors.ts';

/** Decodes the descriptor. Its ends are last bytes, and 0 stands for the packet's end. */
export function loadContext(words: Uint32Array, at: number, into: Offload): void {
  const ip = words[at]!;
  const l4 = words[at + 1]!;
  const command = words[at + 2]!;
  const segmentation = words[at + 3]!;
  into.l3 = ip & 0xff;
  into.ipSum = (ip >>> 8) & 0xff;
  into.ipEnd = endOf(ip >>> 16);
  into.l4 = l4 & 0xff;
  into.l4Sum = (l4 >>> 8) & 0xff;
  into.l4End = endOf(l4 >>> 16);
  into.payload = command & TX_DATA_LENGTH;
  into.tcp = (command & TX_CONTEXT_TCP) !== 0;
  into.ipv4 = (command & TX_CONTEXT_IPV4) !== 0;
  into.headerLength = (segmentation >>> 8) & 0xff;
  into.mss = segmentation >>> 16;
}

function endOf(last: number): number {
  return last === 0 ? 0 : last + 1;
}
