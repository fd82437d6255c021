/** Frames for tests, put together byte by byte, and checksums by the book: nothing here uses the code under test. */

export const STATION = [0x02, 0x00, 0x00, 0x82, 0x54, 0x01]; // the model's default address
export const PARTNER = [0x02, 0x00, 0x00, 0x00, 0x00, 0x99];
export const BROADCAST = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
export const PAUSE_GROUP = [0x01, 0x80, 0xc2, 0x00, 0x00, 0x01];

export function be16(value: number): number[] {
  return [(value >>> 8) & 0xff, value & 0xff];
}

export function be32(value: number): number[] {
  return [...be16(value >>> 16), ...be16(value)];
}

/** `length` bytes that differ from place to place and from seed to seed. */
export function pattern(length: number, seed = 1): number[] {
  return Array.from({ length }, (_, i) => (seed * 31 + i * 7 + (i >>> 8)) & 0xff);
}

/** RFC 1071: the ones' complement of the sum of 16-bit words, an odd last byte padded with zero. */
export function internetChecksum(bytes: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += bytes[i]! * 256 + (bytes[i + 1] ?? 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return 0xffff - sum;
}

/** CRC-32 of IEEE 802.3 3.2.9, bit by bit; the FCS as it follows the frame. */
export function fcs(bytes: ArrayLike<number>): number[] {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) {
    crc ^= bytes[i]!;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return [0, 8, 16, 24].map((shift) => (~crc >>> shift) & 0xff);
}

export interface EthernetOptions {
  to?: readonly number[];
  from?: readonly number[];
  type?: number;
  vlan?: number; // the tag control information
  payload?: readonly number[];
  /** Without FCS; the payload is filled up, or made, to give it. */
  length?: number;
  seed?: number;
}

export function ethernet(options: EthernetOptions = {}): Uint8Array {
  const { to = STATION, from = PARTNER, type = 0x88b5, vlan, seed = 1 } = options;
  const header = [...to, ...from, ...(vlan === undefined ? [] : [0x81, 0x00, ...be16(vlan)]), ...be16(type)];
  const payload = options.payload ?? pattern((options.length ?? 60) - header.length, seed);
  const padding = Math.max(0, (options.length ?? 0) - header.length - payload.length);
  return Uint8Array.from([...header, ...payload, ...new Array<number>(padding).fill(0)]);
}

export interface IpOptions extends EthernetOptions {
  version?: 4 | 6;
  protocol?: 'tcp' | 'udp';
  data?: readonly number[];
  id?: number;
  sequence?: number;
  flags?: number; // of TCP
  tcpOptions?: readonly number[];
  ipOptions?: readonly number[];
  extension?: readonly number[]; // an IPv6 destination options header, its first byte the next header
  fragment?: number; // the IPv4 flags and offset word
  /** What stands in the transport checksum: right, the pseudo header's sum only (for offloads), or this very value. */
  checksum?: 'right' | 'pseudo' | number;
  /** The same for the IPv4 header; 'right' unless told. */
  ipChecksum?: 'right' | number;
  /** TCP segmentation wants a pseudo header without length, and IP lengths of 0. */
  segmented?: boolean;
}

export interface IpFrame {
  bytes: Uint8Array;
  l3: number;
  l4: number;
  payload: number;
}

const SOURCE_4 = [10, 0, 0, 1];
const TARGET_4 = [10, 0, 0, 2];
const SOURCE_6 = [0xfd, ...new Array<number>(14).fill(0), 1];
const TARGET_6 = [0xfd, ...new Array<number>(14).fill(0), 2];

/** A TCP or UDP packet, and where its headers are. */
export function ip(options: IpOptions = {}): IpFrame {
  const { version = 4, protocol = 'tcp', data = pattern(100), segmented = false, checksum = 'right' } = options;
  const number = protocol === 'tcp' ? 6 : 17;
  const transport = protocol === 'tcp' ? tcpHeader(options) : udpHeader(segmented ? 0 : data.length + 8);
  const total = transport.length + data.length;
  const addresses = version === 4 ? [...SOURCE_4, ...TARGET_4] : [...SOURCE_6, ...TARGET_6];
  const pseudo = [...addresses, ...be32(segmented ? 0 : total), 0, 0, 0, number];
  const at = protocol === 'tcp' ? 16 : 6;
  const seed = 0xffff - internetChecksum(pseudo);
  transport.splice(at, 2, ...be16(typeof checksum === 'number' ? checksum : seed));
  if (checksum === 'right') {
    transport.splice(at, 2, 0, 0);
    transport.splice(at, 2, ...be16(internetChecksum([...pseudo, ...transport, ...data]) || 0xffff));
  }
  const network = version === 4 ? ipv4Header(options, number, total) : ipv6Header(options, number, total);
  const tag = options.vlan === undefined ? 0 : 4;
  const bytes = ethernet({
    ...options,
    type: version === 4 ? 0x0800 : 0x86dd,
    payload: [...network, ...transport, ...data],
  });
  const l3 = 14 + tag;
  const l4 = l3 + network.length;
  return { bytes, l3, l4, payload: l4 + transport.length };
}

function tcpHeader({ sequence = 0x01020304, flags = 0x10, tcpOptions = [] }: IpOptions): number[] {
  const offset = (20 + tcpOptions.length) * 4;
  return [
    ...be16(0x1234),
    ...be16(80),
    ...be32(sequence),
    ...be32(7),
    offset,
    flags,
    ...be16(4096),
    0,
    0,
    0,
    0,
    ...tcpOptions,
  ];
}

function udpHeader(length: number): number[] {
  return [...be16(0x1234), ...be16(9), ...be16(length), 0, 0];
}

function ipv4Header(options: IpOptions, protocol: number, length: number): number[] {
  const { id = 0x4321, fragment = 0x4000, ipOptions = [], segmented = false, ipChecksum = 'right' } = options;
  const size = 20 + ipOptions.length;
  const total = segmented ? 0 : size + length;
  const first = [0x40 | (size / 4), 0, ...be16(total), ...be16(id), ...be16(fragment), 64, protocol];
  const rest = [...SOURCE_4, ...TARGET_4, ...ipOptions];
  const sum = ipChecksum === 'right' ? internetChecksum([...first, 0, 0, ...rest]) : ipChecksum;
  return [...first, ...be16(sum), ...rest];
}

function ipv6Header({ extension = [], segmented = false }: IpOptions, protocol: number, length: number): number[] {
  const chain = extension.length === 0 ? [] : [protocol, ...extension.slice(1)];
  const next = extension.length === 0 ? protocol : 60;
  const payload = segmented ? 0 : chain.length + length;
  return [0x60, 0, 0, 0, ...be16(payload), next, 64, ...SOURCE_6, ...TARGET_6, ...chain];
}

/** A PAUSE frame (802.3 Annex 31B), or another MAC control frame. */
export function pause(
  quanta: number,
  { to = PAUSE_GROUP, opcode = 1 }: { to?: readonly number[]; opcode?: number } = {},
): Uint8Array {
  return ethernet({ to, type: 0x8808, payload: [...be16(opcode), ...be16(quanta)], length: 60 });
}
