/** Frames for tests, built and summed the slow and obvious way, by nothing that is under test. */

export interface TcpFrame {
  readonly version?: 4 | 6;
  readonly flow?: number;
  readonly sequence?: number;
  readonly acknowledgement?: number;
  readonly flags?: number;
  readonly window?: number;
  readonly payload?: Uint8Array;
  readonly timestamp?: number; // none, if absent
  readonly id?: number;
  readonly df?: boolean;
  readonly tos?: number;
  readonly ttl?: number;
  readonly urgent?: number;
  readonly vlan?: number;
}

export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const PSH = 8;
export const ACK = 16;
export const URG = 32;
export const ECE = 64;
export const CWR = 128;

export function be16(value: number): number[] {
  return [(value >>> 8) & 255, value & 255];
}

export function be32(value: number): number[] {
  return [...be16(value >>> 16), ...be16(value)];
}

/** RFC 1071, one 16-bit word after the other. */
export function naiveSum(bytes: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += bytes[i]! * 256 + (bytes[i + 1] ?? 0);
    sum = (sum % 65536) + Math.floor(sum / 65536);
  }
  return sum;
}

const v4 = (flow: number) => ({ source: [10, 0, flow & 1, 1], destination: [10, 0, 0, 2] });
const v6 = (flow: number) => ({
  source: [0xfd, ...Array<number>(13).fill(0), flow & 1, 1],
  destination: [0xfd, ...Array<number>(14).fill(0), 2],
});

function ethernet(version: 4 | 6, vlan: number | undefined): number[] {
  const tag = vlan === undefined ? [] : [0x81, 0x00, ...be16(vlan)];
  return [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, ...tag, ...(version === 4 ? [8, 0] : [0x86, 0xdd])];
}

function ipHeader(frame: TcpFrame, protocol: number, length: number): number[] {
  const { version = 4, flow = 0, id = 1, df = true, tos = 0, ttl = 64 } = frame;
  if (version === 6) {
    const { source, destination } = v6(flow);
    return [0x60 | (tos >>> 4), (tos & 15) << 4, 0, 0, ...be16(length), protocol, ttl, ...source, ...destination];
  }
  const { source, destination } = v4(flow);
  const start = [0x45, tos, ...be16(length + 20), ...be16(id), df ? 0x40 : 0, 0, ttl, protocol];
  const sum = 0xffff & ~naiveSum([...start, 0, 0, ...source, ...destination]);
  return [...start, ...be16(sum), ...source, ...destination];
}

export function pseudo(frame: TcpFrame, protocol: number, length: number): number[] {
  const { version = 4, flow = 0 } = frame;
  const { source, destination } = version === 4 ? v4(flow) : v6(flow);
  return [...source, ...destination, ...be32(length), ...be32(protocol)];
}

/** A whole TCP segment with right checksums, not padded. */
export function tcpFrame(frame: TcpFrame): Uint8Array {
  const { version = 4, flow = 0, flags = ACK, window = 1000, payload = new Uint8Array(0), timestamp } = frame;
  const options = timestamp === undefined ? [] : [1, 1, 8, 10, ...be32(timestamp), 0, 0, 0, 7];
  const start = [
    ...be16(1000 + (flow >> 1)),
    ...be16(80),
    ...be32(frame.sequence ?? 0),
    ...be32(frame.acknowledgement ?? 0),
  ];
  const control = [(5 + options.length / 4) << 4, flags, ...be16(window)];
  const end = [...be16(frame.urgent ?? 0), ...options, ...payload];
  const length = start.length + control.length + 2 + end.length;
  const sum = 0xffff & ~naiveSum([...pseudo(frame, 6, length), ...start, ...control, 0, 0, ...end]);
  const tcp = [...start, ...control, ...be16(sum), ...end];
  return Uint8Array.from([...ethernet(version, frame.vlan), ...ipHeader(frame, 6, length), ...tcp]);
}

export function udpFrame(frame: TcpFrame): Uint8Array {
  const { version = 4, payload = new Uint8Array(0) } = frame;
  const length = payload.length + 8;
  const start = [...be16(1234), ...be16(4321), ...be16(length)];
  const sum = 0xffff & ~naiveSum([...pseudo(frame, 17, length), ...start, 0, 0, ...payload]) || 0xffff;
  return Uint8Array.from([
    ...ethernet(version, frame.vlan),
    ...ipHeader(frame, 17, length),
    ...start,
    ...be16(sum),
    ...payload,
  ]);
}

/** Whether all checksums of a TCP or UDP frame (no IP options, no extension headers) are right. */
export function sumsRight(bytes: Uint8Array): boolean {
  const vlan = bytes[12] === 0x81 ? 4 : 0;
  const ip = 14 + vlan;
  const four = bytes[ip]! >>> 4 === 4;
  const l4 = ip + (four ? 20 : 40);
  const end = four ? ip + bytes[ip + 2]! * 256 + bytes[ip + 3]! : l4 + bytes[ip + 4]! * 256 + bytes[ip + 5]!;
  const addresses = four ? bytes.subarray(ip + 12, ip + 20) : bytes.subarray(ip + 8, ip + 40);
  const protocol = four ? bytes[ip + 9]! : bytes[ip + 6]!;
  const body = bytes.subarray(l4, end);
  if (four && naiveSum(bytes.subarray(ip, l4)) !== 0xffff) return false;
  return naiveSum([...addresses, ...be32(body.length), ...be32(protocol), ...body]) === 0xffff;
}

export function bytesOf(length: number, seed = 1): Uint8Array {
  const into = new Uint8Array(length);
  for (let i = 0; i < length; i++) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    into[i] = seed >>> 16;
  }
  return into;
}
