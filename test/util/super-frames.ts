/**
 * Frames as a kernel leaves them for offloads, and the frames that are to leave for them: put together field by field, and
 * summed word by word. Nothing here uses the code under test.
 */
import fc from 'fast-check';
import { ACK, be16, be32, bytesOf, CWR, FIN, PSH } from './frames.ts';

/** An IPv6 extension header without its next header, or IPv4 options. */
interface Part {
  readonly type: number;
  readonly body: readonly number[];
  /** Of a source route or a routing header: where the packet goes in the end. */
  readonly final?: readonly number[];
}

export interface Packet {
  readonly tags: readonly (readonly [type: number, tci: number])[];
  readonly version: 4 | 6;
  readonly protocol: 'tcp' | 'udp';
  readonly tos: number;
  readonly ttl: number;
  readonly id: number;
  /** IPv4: the reserved bit and DF; IPv6: the flow label. */
  readonly flow: number;
  readonly destination: number;
  readonly parts: readonly Part[];
  readonly sequence: number;
  /** The byte of flags, and what is beside the data offset. */
  readonly flags: number;
  readonly reserved: number;
  readonly urgent: number;
  readonly options: readonly number[];
  readonly payload: number;
  readonly seed: number;
}

/** A packet, and what the virtio-net header in front of it asks for. */
export interface Request extends Packet {
  /** 0: no segmentation, but the checksum. */
  readonly mss: number;
  /** Where it is cut into buffers, in bytes of payload. */
  readonly pieces: readonly number[];
}

const HOP_BY_HOP = 0;
const ROUTING = 43;
const AUTHENTICATION = 51;
const DESTINATION = 60;
const MOBILITY = 135;

/** One 16-bit word after the other (RFC 1071), on from `sum`. */
function sumOf(bytes: ArrayLike<number>, sum = 0): number {
  for (let i = 0; i < bytes.length; i += 2) sum += bytes[i]! * 256 + (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum % 65536) + Math.floor(sum / 65536);
  return sum;
}

function address(version: 4 | 6, last: number): number[] {
  return version === 4
    ? [10, 0, last >>> 8, last & 255]
    : [0xfd, 0, ...Array<number>(12).fill(7), last >>> 8, last & 255];
}

/** IPv4 options, filled up to words. */
function ipv4Options(parts: readonly Part[]): number[] {
  const options = parts.flatMap(({ type, body }) => (type < 2 ? [type] : [type, body.length + 2, ...body]));
  while (options.length % 4 !== 0) options.push(0);
  return options;
}

/** The chain of extension headers, from the first next header on. */
function chain(parts: readonly Part[], protocol: number): [first: number, bytes: number[]] {
  const types = [...parts.map(({ type }) => type), protocol];
  const bytes = parts.flatMap(({ type, body }, i) => {
    const size = body.length + 2;
    return [types[i + 1]!, type === AUTHENTICATION ? size / 4 - 2 : size / 8 - 1, ...body];
  });
  return [types[0]!, bytes];
}

interface Cut {
  readonly from: number;
  readonly length: number;
  readonly index: number;
  /** The checksum field: right, or the pseudo header's sum only. */
  readonly whole: boolean;
}

/** Of the packet the part with these bytes of payload, as a frame with right headers. */
function build(packet: Packet, payload: Uint8Array, { from, length, index, whole }: Cut) {
  const { version, tags, tos, ttl, flow, parts } = packet;
  const protocol = packet.protocol === 'tcp' ? 6 : 17;
  const source = address(version, 1);
  const destination = address(version, packet.destination);
  const transport = packet.protocol === 'tcp' ? tcp(packet, from, length) : udp(length);
  const size = transport.length + length;
  const final = parts.find((part) => part.final !== undefined)?.final ?? destination;
  const data = payload.subarray(from, from + length);
  const field = packet.protocol === 'tcp' ? 16 : 6;
  const pseudo = sumOf([...source, ...final, ...be32(size), ...be32(protocol)]);
  const right = ~sumOf(data, sumOf(transport, pseudo)) & 0xffff;
  transport.splice(field, 2, ...be16(whole ? pseudo : right === 0 && protocol === 17 ? 0xffff : right));
  const network: number[] = [];
  if (version === 4) {
    const options = ipv4Options(parts);
    const total = 20 + options.length + size;
    const id = (packet.id + index) & 0xffff;
    network.push(0x45 + options.length / 4, tos, ...be16(total), ...be16(id), ...be16(flow & 0xc000), ttl, protocol);
    network.push(0, 0, ...source, ...destination, ...options);
    network.splice(10, 2, ...be16(~sumOf(network)));
  } else {
    const [first, extensions] = chain(parts, protocol);
    network.push(0x60 | (tos >>> 4), ((tos & 15) << 4) | (flow & 15), ...be16(flow), ...be16(extensions.length + size));
    network.push(first, ttl, ...source, ...destination, ...extensions);
  }
  const type = be16(version === 4 ? 0x0800 : 0x86dd);
  const ethernet = [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, ...tags.flat().flatMap(be16), ...type];
  const headers = [...ethernet, ...network, ...transport];
  const bytes = new Uint8Array(headers.length + length);
  bytes.set(headers);
  bytes.set(data, headers.length);
  return { bytes, l4: ethernet.length + network.length, field, payload: headers.length };
}

function tcp({ sequence, flags, reserved, urgent, options, payload }: Packet, from: number, length: number): number[] {
  const last = from + length === payload;
  const mine = flags & ~(last ? 0 : FIN | PSH) & ~(from === 0 ? 0 : CWR);
  const offset = ((5 + options.length / 4) << 4) | reserved;
  const numbers = [...be16(1000), ...be16(80), ...be32((sequence + from) >>> 0), ...be32(0xfedc_ba98)];
  return [...numbers, offset, mine, ...be16(500), 0, 0, ...be16(urgent), ...options];
}

function udp(length: number): number[] {
  return [...be16(1000), ...be16(4321), ...be16(length + 8), 0, 0];
}

export interface Left {
  readonly bytes: Uint8Array;
  readonly l4: number;
  readonly field: number;
  /** Where the payload starts. */
  readonly payload: number;
  /** The virtio-net header in front of it. */
  readonly header: readonly number[];
}

/** What the kernel leaves: whole, with the pseudo header's sum. */
export function left(request: Request): Left {
  const whole = build(request, bytesOf(request.payload, request.seed), {
    from: 0,
    length: request.payload,
    index: 0,
    whole: true,
  });
  const { mss, version, flags } = request;
  const type = mss === 0 ? 0 : (version === 4 ? 1 : 4) | (flags & CWR ? 0x80 : 0);
  const le16 = (value: number) => [value & 255, value >>> 8];
  // hdr_len is a hint, and lies here.
  return {
    ...whole,
    header: [1, type, ...le16(request.seed & 0xffff), ...le16(mss), ...le16(whole.l4), ...le16(whole.field)],
  };
}

/** The frames that are to leave for it, as they are on the wire: none shorter than 60 bytes. */
export function expected(request: Request): Uint8Array[] {
  const { mss, payload } = request;
  const data = bytesOf(payload, request.seed);
  const size = mss === 0 ? payload : mss;
  const frames: Uint8Array[] = [];
  for (let from = 0; from === 0 || from < payload; from += size) {
    const length = Math.min(size, payload - from);
    const { bytes } = build(request, data, { from, length, index: frames.length, whole: false });
    const padded = new Uint8Array(Math.max(60, bytes.length));
    padded.set(bytes);
    frames.push(padded);
    if (size === 0) break;
  }
  return frames;
}

// Generators.

const bytes = (length: number) => fc.array(fc.nat(255), { minLength: length, maxLength: length });

/** Loose and strict source routes (RFC 791 §3.1), others, and none. */
const ipv4Parts: fc.Arbitrary<Part[]> = fc.oneof(
  { weight: 3, arbitrary: fc.constant<Part[]>([]) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.constantFrom(131, 137), fc.integer({ min: 1, max: 9 }), fc.nat(0xffff))
      .map(([type, hops, last]) => {
        const final = address(4, last);
        return [{ type, body: [4, ...Array<number>(4 * (hops - 1)).fill(9), ...final], final }];
      }),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom(1, 7, 68, 148), fc.integer({ min: 0, max: 9 }))
      .map(([type, words]) => [
        { type, body: type === 1 ? [] : [5, 0, ...Array<number>(4 * words).fill(0)].slice(0, 36) },
      ]),
  },
);

/** Segment routing (RFC 8754), and type 2 (RFC 6275 §6.4), with segments left. */
const routing: fc.Arbitrary<Part> = fc
  .tuple(fc.constantFrom(2, 4), fc.integer({ min: 1, max: 6 }), fc.nat(5), fc.nat(0xffff))
  .map(([type, hops, behind, last]) => {
    const count = type === 2 ? 1 : hops;
    const final = address(6, last);
    const others = Array<number>(16 * (count - 1)).fill(0xfd);
    const list = type === 4 ? [...final, ...others] : [...others, ...final];
    return { type: ROUTING, body: [type, 1 + (behind % count), count - 1, 0, 0, 0, ...list], final };
  });

/** Any number of units of 8 bytes; of Authentication, of 4. */
const extension: fc.Arbitrary<Part> = fc
  .tuple(
    fc.constantFrom(HOP_BY_HOP, DESTINATION, MOBILITY, AUTHENTICATION),
    fc.oneof(fc.nat(3), fc.nat(31)),
    fc.nat(255),
  )
  .map(([type, units, fill]) => ({ type, body: Array<number>(6 + 8 * units).fill(fill) }));

const ipv6Parts: fc.Arbitrary<Part[]> = fc.oneof(
  { weight: 3, arbitrary: fc.constant<Part[]>([]) },
  { weight: 2, arbitrary: routing.map((it) => [it]) },
  { weight: 1, arbitrary: fc.array(extension, { minLength: 1, maxLength: 3 }) },
  { weight: 1, arbitrary: fc.array(extension, { minLength: 9, maxLength: 12 }).map((all) => all.map(short)) },
  { weight: 1, arbitrary: fc.tuple(extension, routing, extension).map((all) => [...all]) },
);

const short = ({ type, body }: Part): Part => ({ type, body: body.slice(0, 6) });

const mostly = <T>(usual: T, others: fc.Arbitrary<T>) => fc.oneof(fc.constant(usual), others);

const sizes = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 1, max: 128 }) },
  { weight: 6, arbitrary: fc.integer({ min: 129, max: 1460 }) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 9000 }) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 65535 }) },
);

/** Segments: a few, and now and then as many as an IP packet holds. */
const counts = fc.oneof(
  { weight: 300, arbitrary: fc.integer({ min: 0, max: 1200 }).map((hundredths) => hundredths / 100) },
  { weight: 1, arbitrary: fc.constant(65535) },
);

export const requests: fc.Arbitrary<Request> = fc
  .record({
    tags: fc.array(fc.tuple(fc.constantFrom(0x8100, 0x88a8, 0x9100), fc.nat(0xffff)), { maxLength: 3 }),
    version: fc.constantFrom(4 as const, 6 as const),
    protocol: fc.oneof(
      { weight: 4, arbitrary: fc.constant('tcp' as const) },
      { weight: 1, arbitrary: fc.constant('udp' as const) },
    ),
    tos: mostly(0, fc.nat(255)),
    ttl: fc.constantFrom(64, 1, 255),
    id: fc.nat(0xffff),
    flow: fc.nat(0xfffff),
    destination: fc.nat(0xffff),
    v4: ipv4Parts,
    v6: ipv6Parts,
    sequence: fc.nat(0xffffffff),
    flags: mostly(ACK, fc.nat(255)),
    reserved: mostly(0, fc.nat(15)),
    urgent: mostly(0, fc.nat(0xffff)),
    options: mostly(
      [],
      fc.nat(10).chain((words) => bytes(4 * words)),
    ),
    mss: sizes,
    count: counts,
    cut: fc.integer({ min: 0, max: 9 }),
    pieces: mostly<number[]>([], fc.array(fc.nat(2000), { maxLength: 4 })),
    seed: fc.nat(0xffffffff),
  })
  .map(({ v4, v6, count, cut, ...it }) => {
    const parts = it.version === 4 ? v4 : v6;
    const segmented = it.protocol === 'tcp' && cut > 0;
    const payload = Math.min(Math.round(it.mss * (segmented ? count : Math.min(count, 1))), 65535 - 2000);
    return { ...it, parts, payload, mss: segmented ? it.mss : 0 };
  });
