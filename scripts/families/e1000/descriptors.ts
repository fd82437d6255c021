/** The e1000 family's descriptors in the datasheet's names. */
import {
  DESCRIPTOR,
  RX_CE,
  RX_CXE,
  RX_DD,
  RX_EOP,
  RX_IPCS,
  RX_IPE,
  RX_IXSM,
  RX_PIF,
  RX_RXE,
  RX_SE,
  RX_SEQ,
  RX_TCPCS,
  RX_TCPE,
  RX_VP,
  TX_CONTEXT_IPV4,
  TX_CONTEXT_TCP,
  TX_DATA_LENGTH,
  TX_DD,
  TX_DEXT,
  TX_EOP,
  TX_IC,
  TX_IDE,
  TX_IFCS,
  TX_IXSM,
  TX_LEGACY_LENGTH,
  TX_RPS,
  TX_RS,
  TX_TSE,
  TX_TXSM,
  TX_TYPE,
  TX_TYPE_CONTEXT,
  TX_TYPE_DATA,
  TX_VLE,
} from '../../../sim/e1000/descriptors.ts';
import { hex } from '../../../sim/registers.ts';
import { address, type Bits, join, named, raw } from '../descriptor-text.ts';

/** A descriptor of `count` words at `words[at]`, decoded: "legacy buffer=0x00318040 length=60 EOP IFCS". */
export function describeE1000(ring: string, words: Uint32Array, at: number, count: number): string {
  if (count * 4 !== DESCRIPTOR) return raw(words, at, count);
  return ring === 'rx' ? rx(words, at) : tx(words, at);
}

const RX_STATUS: Bits = [
  [RX_DD, 'DD'],
  [RX_EOP, 'EOP'],
  [RX_IXSM, 'IXSM'],
  [RX_VP, 'VP'],
  [RX_TCPCS, 'TCPCS'],
  [RX_IPCS, 'IPCS'],
  [RX_PIF, 'PIF'],
  [RX_CE, 'CE'],
  [RX_SE, 'SE'],
  [RX_SEQ, 'SEQ'],
  [RX_CXE, 'CXE'],
  [RX_TCPE, 'TCPE'],
  [RX_IPE, 'IPE'],
  [RX_RXE, 'RXE'],
];

const TX_COMMAND: Bits = [
  [TX_EOP, 'EOP'],
  [TX_IFCS, 'IFCS'],
  [TX_RS, 'RS'],
  [TX_RPS, 'RPS'],
  [TX_DEXT, 'DEXT'],
  [TX_VLE, 'VLE'],
  [TX_IDE, 'IDE'],
];

function rx(words: Uint32Array, at: number): string {
  const status = words[at + 3]!;
  const tag = status & RX_VP ? `vlan=${hex(status >>> 16, 4)}` : '';
  return join(
    `buffer=${address(words[at + 1]!, words[at]!)}`,
    `length=${words[at + 2]! & 0xffff}`,
    named(status, RX_STATUS),
    tag,
  );
}

function tx(words: Uint32Array, at: number): string {
  const command = words[at + 2]!;
  if (!(command & TX_DEXT)) return legacy(words, at);
  const type = command & TX_TYPE;
  if (type === TX_TYPE_CONTEXT) return context(words, at);
  return type === TX_TYPE_DATA ? data(words, at) : `type ${type >>> 20}: ${raw(words, at, 4)}`;
}

function legacy(words: Uint32Array, at: number): string {
  const [command, status] = [words[at + 2]!, words[at + 3]!];
  const sum = command & TX_IC ? `IC cso=${(command >>> 16) & 0xff} css=${(status >>> 8) & 0xff}` : '';
  const length = command & TX_LEGACY_LENGTH;
  return join(
    'legacy',
    `buffer=${address(words[at + 1]!, words[at]!)}`,
    `length=${length}`,
    sum,
    ending(command, status),
  );
}

function data(words: Uint32Array, at: number): string {
  const [command, status] = [words[at + 2]!, words[at + 3]!];
  const options: Bits = [
    [TX_IXSM, 'IXSM'],
    [TX_TXSM, 'TXSM'],
  ];
  const offload = join(command & TX_TSE ? 'TSE' : '', named(status, options));
  const length = command & TX_DATA_LENGTH;
  return join(
    'data',
    `buffer=${address(words[at + 1]!, words[at]!)}`,
    `length=${length}`,
    offload,
    ending(command, status),
  );
}

function context(words: Uint32Array, at: number): string {
  const [ip, l4, command, last] = Array.from(words.subarray(at, at + 4)) as [number, number, number, number];
  const parts = (word: number) => `${word & 0xff},${(word >>> 8) & 0xff},${word >>> 16}`;
  const kind = `${command & TX_CONTEXT_TCP ? 'TCP' : 'UDP'} ${command & TX_CONTEXT_IPV4 ? 'IPv4' : 'IPv6'}`;
  const segments = command & TX_TSE ? `TSE hdrlen=${(last >>> 8) & 0xff} mss=${last >>> 16}` : '';
  const length = command & TX_DATA_LENGTH;
  return join('context', kind, `ip=${parts(ip)}`, `tu=${parts(l4)}`, `paylen=${length}`, segments);
}

function ending(command: number, status: number): string {
  const tag = command & TX_VLE ? `vlan=${hex(status >>> 16, 4)}` : '';
  return join(named(command, TX_COMMAND), status & TX_DD ? 'DD' : '', tag);
}
