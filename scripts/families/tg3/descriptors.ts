/** The BCM57xx's buffer descriptors, in the words of Linux's tg3.h. */
import { field, hex } from '../../../sim/registers.ts';
import {
  RX_ADDR_HIGH,
  RX_ADDR_LOW,
  RX_BAD_CRC,
  RX_BD,
  RX_CHECKSUMS,
  RX_COLLISION,
  RX_END,
  RX_ERROR,
  RX_ERROR_VLAN,
  RX_EXT_BD,
  RX_GIANT,
  RX_INDEX_LENGTH,
  RX_IP_CSUM,
  RX_IPV6,
  RX_JUMBO,
  RX_LINK_LOST,
  RX_MAC_ABORT,
  RX_NO_RESOURCES,
  RX_ODD_NIBBLE,
  RX_OPAQUE,
  RX_PHY_DECODE,
  RX_RSS_HASH,
  RX_RSS_TYPE,
  RX_RSS_VALID,
  RX_TCP,
  RX_TCPUDP_CSUM,
  RX_TOO_SHORT,
  RX_TYPE_FLAGS,
  RX_VLAN,
  SEND_BD,
  TX_COAL_NOW,
  TX_CPU_POST_DMA,
  TX_CPU_PRE_DMA,
  TX_END,
  TX_HDRLEN_2,
  TX_HDRLEN_7_3,
  TX_IP_CSUM,
  TX_JUMBO,
  TX_NO_CRC,
  TX_TCPUDP_CSUM,
  TX_VLAN,
} from '../../../sim/tg3/descriptors.ts';
import { address, type Bits, join, named, raw } from '../descriptor-text.ts';

/** A descriptor of `count` words at `words[at]`, decoded: "buffer=0x00318040 length=60 END". */
export function describeTg3(ring: string, words: Uint32Array, at: number, count: number): string {
  if (ring === 'send' && count * 4 === SEND_BD) return send(words, at);
  if (count * 4 === RX_EXT_BD) return join(receive(words, at + RX_BD / 4), furtherBuffers(words, at));
  return count * 4 === RX_BD ? receive(words, at) : raw(words, at, count);
}

const SEND_FLAGS: Bits = [
  [TX_TCPUDP_CSUM, 'TCPUDP_CSUM'],
  [TX_IP_CSUM, 'IP_CSUM'],
  [TX_END, 'END'],
  [TX_JUMBO, 'JMB_PKT'],
  [TX_VLAN, 'VLAN'],
  [TX_COAL_NOW, 'COAL_NOW'],
  [TX_NO_CRC, 'NO_CRC'],
];
const SEGMENT = TX_CPU_PRE_DMA | TX_CPU_POST_DMA;

const RECEIVE_FLAGS: Bits = [
  [RX_END, 'END'],
  [RX_RSS_VALID, 'RSS_HASH'],
  [RX_JUMBO, 'JUMBO'],
  [RX_VLAN, 'VLAN'],
  [RX_ERROR, 'ERROR'],
  [RX_IP_CSUM, 'IP_CSUM'],
  [RX_TCPUDP_CSUM, 'TCPUDP_CSUM'],
  [RX_TCP, 'TCP'],
  [RX_IPV6, 'IPV6'],
];

const ERRORS: Bits = [
  [RX_BAD_CRC, 'BAD_CRC'],
  [RX_COLLISION, 'COLL'],
  [RX_LINK_LOST, 'LINK_LOST'],
  [RX_PHY_DECODE, 'PHY_DECODE'],
  [RX_ODD_NIBBLE, 'ODD_NIBBLE'],
  [RX_MAC_ABORT, 'MAC_ABRT'],
  [RX_TOO_SHORT, 'LEN_LT_64'],
  [RX_NO_RESOURCES, 'TRUNC_NO_RES'],
  [RX_GIANT, 'GIANT_PKT'],
];

/** The MSS has header bits above it, which are others on each generation: it is shown as it is. */
function send(words: Uint32Array, at: number): string {
  const [high, low, flags, special] = Array.from(words.subarray(at, at + 4)) as [number, number, number, number];
  const header = flags & (TX_HDRLEN_2 | TX_HDRLEN_7_3);
  const segments =
    (flags & SEGMENT) === SEGMENT
      ? `TSO mss=${hex(special >>> 16, 4)}${header === 0 ? '' : ` header=${hex(header, 4)}`}`
      : '';
  const tag = flags & TX_VLAN ? `vlan=${hex(special & 0xffff, 4)}` : '';
  return join(`buffer=${address(high, low)}`, `length=${flags >>> 16}`, named(flags, SEND_FLAGS), segments, tag);
}

/** On its way to the card, or back. */
function receive(words: Uint32Array, at: number): string {
  const word = (index: number) => words[at + index]!;
  const flags = word(RX_TYPE_FLAGS);
  const sums = flags & (RX_IP_CSUM | RX_TCPUDP_CSUM) ? `sums=${hex(word(RX_CHECKSUMS), 8)}` : '';
  const hash = flags & RX_RSS_VALID ? `hash=${hex(word(RX_RSS_HASH), 8)} type=${field(flags, RX_RSS_TYPE)}` : '';
  return join(
    `buffer=${address(word(RX_ADDR_HIGH), word(RX_ADDR_LOW))}`,
    `index=${word(RX_INDEX_LENGTH) >>> 16}`,
    `length=${word(RX_INDEX_LENGTH) & 0xffff}`,
    named(flags, RECEIVE_FLAGS),
    sums,
    flags & RX_VLAN ? `vlan=${hex(word(RX_ERROR_VLAN) & 0xffff, 4)}` : '',
    hash,
    flags & RX_ERROR ? named(word(RX_ERROR_VLAN), ERRORS) : '',
    `opaque=${hex(word(RX_OPAQUE), 8)}`,
  );
}

/** The first half of an extended descriptor: three addresses, and lengths of 16 bits. */
function furtherBuffers(words: Uint32Array, at: number): string {
  const lengths = [words[at + 6]! >>> 16, words[at + 6]! & 0xffff, words[at + 7]! >>> 16];
  const places = lengths.map((length, i) =>
    length === 0 ? '' : `and buffer=${address(words[at + 2 * i]!, words[at + 2 * i + 1]!)} length=${length}`,
  );
  return join(...places);
}
