/**
 * What receivers check of a packet's sums: the 82540EM by its manual's section 3.2.9 (Intel 317453, table 3-5 row by row, in
 * the words of the 82598EB's and I210's where they say more), the BCM57xx as its guides have it.
 */
import test from 'ava';
import fc from 'fast-check';
import { CHECK_IP, CHECK_IPV6, CHECK_L4, L4_BAD, L4_GOOD, ReceiveChecksums } from '../../sim/nic/checksum.ts';
import { R as E1000, Bench as E1000Bench } from '../util/e1000-harness.ts';
import { be16, be32, ethernet, internetChecksum, pattern } from '../util/packets.ts';
import { Bench as Tg3Bench } from '../util/tg3-harness.ts';

// What a card says of a sum: it was right, wrong, or nothing.
const GOOD = 'good';
const BAD = 'bad';
const NONE = 'not checked';
type Said = typeof GOOD | typeof BAD | typeof NONE;
interface Verdict {
  ip: Said;
  l4: Said;
}

const A4 = [10, 0, 0, 1];
const B4 = [10, 0, 0, 2];
const C4 = [10, 0, 0, 3];
const v6 = (last: number) => [0xfd, ...pattern(14, 3), last];
const [A6, B6, C6] = [v6(1), v6(2), v6(3)];
const TCP = 6;
const UDP = 17;

/** TCP or UDP, summed with these addresses. */
function segment(protocol: number, from: number[], to: number[], more: { options?: number[]; wrong?: boolean } = {}) {
  const data = pattern(41, 5);
  const { options = [], wrong = false } = more;
  const offset = ((20 + options.length) / 4) << 4;
  const tcp = [...be16(80), ...be16(1234), ...be32(1), ...be32(2), offset, 0x10, ...be16(99), 0, 0, 0, 0, ...options];
  const header = protocol === TCP ? tcp : [...be16(80), ...be16(1234), ...be16(data.length + 8), 0, 0];
  const length = header.length + data.length;
  const sum = internetChecksum([...from, ...to, ...be32(length), 0, 0, 0, protocol, ...header, ...data]) || 0xffff;
  header.splice(protocol === TCP ? 16 : 6, 2, ...be16(wrong ? sum ^ 0x0101 : sum));
  return [...header, ...data];
}

function ipv4(
  protocol: number,
  payload: number[],
  more: { to?: number[]; options?: number[]; fragment?: number; wrong?: boolean } = {},
) {
  const { to = B4, options = [], fragment = 0x4000, wrong = false } = more;
  const size = 20 + options.length;
  const first = [0x40 | (size / 4), 0, ...be16(size + payload.length), ...be16(7), ...be16(fragment), 64, protocol];
  const sum = internetChecksum([...first, 0, 0, ...A4, ...to, ...options]);
  return [...first, ...be16(wrong ? sum ^ 1 : sum), ...A4, ...to, ...options, ...payload];
}

function ipv6(next: number, payload: number[], from = A6, to = B6) {
  return [0x60, 0, 0, 0, ...be16(payload.length), next, 64, ...from, ...to, ...payload];
}

/** Extension headers (RFC 8200 §4), each a type and its bytes but for the first two. */
function chain(headers: [type: number, bytes: number[]][], last: number, payload: number[]): [number, number[]] {
  let next = last;
  let bytes = payload;
  for (const [type, own] of [...headers].reverse()) {
    const header = [next, (own.length + 2) / 8 - 1, ...own];
    bytes = [...header, ...bytes];
    next = type;
  }
  return [next, bytes];
}
const PADDING = (length: number) => [1, length - 4, ...new Array<number>(length - 4).fill(0)]; // PadN
const HOP_BY_HOP: [number, number[]] = [0, PADDING(8)];
const DESTINATION: [number, number[]] = [60, PADDING(16)];
const HOME: [number, number[]] = [60, [1, 2, 0, 0, 0xc9, 16, ...C6]];
const routing = (left: number, addresses: number[][], type = 4): [number, number[]] => [
  43,
  [type, left, ...be32(0), ...addresses.flat()],
];
const FRAGMENT: [number, number[]] = [44, [0, 1, ...be32(9)]];
const long = (bytes: number): [number, number[]] => [60, PADDING(bytes)];

function over6(headers: [number, number[]][], transport = segment(TCP, A6, B6)): number[] {
  return ipv6(...chain(headers, TCP, transport));
}

const IPV4 = 0x0800;
const IPV6 = 0x86dd;
const frame4 = (payload: number[]) => ethernet({ type: IPV4, payload });
const frame6 = (payload: number[]) => ethernet({ type: IPV6, payload });
const snap = (type: number, payload: number[], vlan?: number) =>
  ethernet({ vlan, type: 8 + payload.length, payload: [0xaa, 0xaa, 3, 0, 0, 0, ...be16(type), ...payload] });

const tcp4 = ipv4(TCP, segment(TCP, A4, B4));
const udp4 = ipv4(UDP, segment(UDP, A4, B4));
const tcp6 = over6([]);
/** A loose source route with one hop to go: the sum is with the last address (RFC 1122 §4.2.3.8). */
const sourceRouted = ipv4(TCP, segment(TCP, A4, C4), { options: [131, 7, 4, ...C4, 1] });
const sourceRouteDone = ipv4(TCP, segment(TCP, A4, B4), { options: [131, 7, 8, ...C4, 1] });

/** [what, frame, [IP, TCP or UDP] of the 82540EM, and of the BCM57xx where that is another] */
const CASES: [string, Uint8Array, [Said, Said], [Said, Said]?][] = [
  ['an IPv4 packet, TCP', frame4(tcp4), [GOOD, GOOD]],
  ['an IPv4 packet, UDP', frame4(udp4), [GOOD, GOOD]],
  ['its header’s sum wrong', frame4(ipv4(TCP, segment(TCP, A4, B4), { wrong: true })), [BAD, GOOD]],
  ['its TCP sum wrong', frame4(ipv4(TCP, segment(TCP, A4, B4, { wrong: true }))), [GOOD, BAD]],
  ['an IPv6 packet', frame6(tcp6), [NONE, GOOD]],
  ['an IPv6 packet, its sum wrong', frame6(over6([], segment(TCP, A6, B6, { wrong: true }))), [NONE, BAD]],
  ['IPv6 with hop-by-hop options', frame6(over6([HOP_BY_HOP])), [NONE, GOOD]],
  ['IPv6 with destination options', frame6(over6([DESTINATION])), [NONE, GOOD]],
  ['IPv6 with routing, no segments left', frame6(over6([routing(0, [C6])])), [NONE, GOOD]],
  ['IPv6 with an empty routing header', frame6(over6([routing(0, [])])), [NONE, GOOD]],
  ['IPv6 with routing, a segment left', frame6(over6([routing(1, [C6])], segment(TCP, A6, C6))), [NONE, NONE]],
  [
    'IPv6 with routing, two segments left',
    frame6(over6([routing(2, [C6, v6(9)])], segment(TCP, A6, C6))),
    [NONE, NONE],
  ],
  ['IPv6 with a fragment header', frame6(over6([FRAGMENT])), [NONE, NONE]],
  ['IPv6 with a home address', frame6(over6([HOME], segment(TCP, C6, B6))), [NONE, NONE]],
  ['IPv6 with every one that is accepted', frame6(over6([HOP_BY_HOP, DESTINATION, routing(0, [C6])])), [NONE, GOOD]],
  ['IPv6, an extension header of 64 bytes', frame6(over6([long(64)])), [NONE, GOOD]],
  ['IPv6, one of 72', frame6(over6([long(72)])), [NONE, NONE], [NONE, GOOD]],
  [
    'IPv6, one of 72 and a wrong sum',
    frame6(over6([long(72)], segment(TCP, A6, B6, { wrong: true }))),
    [NONE, NONE],
    [NONE, BAD],
  ],
  ['IPv6, twelve headers', frame6(over6(new Array<[number, number[]]>(12).fill(HOP_BY_HOP))), [NONE, GOOD]],
  ['IPv4 in IPv4', frame4(ipv4(4, tcp4)), [NONE, NONE], [GOOD, NONE]],
  ['IPv6 in IPv4', frame4(ipv4(41, tcp6)), [GOOD, GOOD], [GOOD, NONE]],
  ['IPv6 in IPv4, with options', frame4(ipv4(41, over6([DESTINATION]))), [GOOD, GOOD], [GOOD, NONE]],
  ['IPv4 in IPv6', frame6(ipv6(4, tcp4)), [NONE, NONE]],
  ['IPv6 in IPv6', frame6(ipv6(41, tcp6)), [NONE, NONE]],
  ['an IPv4 fragment, the first', frame4(ipv4(TCP, segment(TCP, A4, B4), { fragment: 0x2000 })), [GOOD, NONE]],
  ['an IPv4 fragment, another', frame4(ipv4(TCP, segment(TCP, A4, B4), { fragment: 0x0010 })), [GOOD, NONE]],
  ['an 802.3ac tag, IPv4', ethernet({ vlan: 5, type: IPV4, payload: tcp4 }), [GOOD, GOOD]],
  ['an 802.3ac tag, IPv6', ethernet({ vlan: 5, type: IPV6, payload: tcp6 }), [NONE, GOOD]],
  ['802.3 SNAP, IPv4', snap(IPV4, tcp4), [GOOD, GOOD]],
  ['802.3 SNAP, UDP', snap(IPV4, udp4), [GOOD, GOOD]],
  ['802.3 SNAP, IPv6', snap(IPV6, tcp6), [NONE, GOOD]],
  ['802.3 SNAP behind a tag', snap(IPV4, tcp4, 5), [GOOD, GOOD]],
  ['802.3 SNAP, a wrong sum', snap(IPV4, ipv4(TCP, segment(TCP, A4, B4, { wrong: true }))), [GOOD, BAD]],
  ['802.3 LLC that is no SNAP', ethernet({ type: 100, payload: [0x42, 0x42, 3, ...tcp4] }), [NONE, NONE]],
  ['IPv4 with options', frame4(ipv4(TCP, segment(TCP, A4, B4), { options: [7, 7, 4, 0, 0, 0, 0, 0] })), [GOOD, GOOD]],
  ['IPv4 with a source route that goes on', frame4(sourceRouted), [GOOD, NONE]],
  ['IPv4 with a source route that is done', frame4(sourceRouteDone), [GOOD, GOOD]],
  ['TCP options', frame4(ipv4(TCP, segment(TCP, A4, B4, { options: [2, 4, 5, 0xb4] }))), [GOOD, GOOD]],
  ['a protocol other than TCP or UDP', frame4(ipv4(132, pattern(60))), [GOOD, NONE]],
  ['UDP, with bytes behind it', frame4(ipv4(UDP, [...segment(UDP, A4, B4), 9, 8, 7, 6])), [GOOD, GOOD]],
  ['UDP that ends beyond its packet', frame4(ipv4(UDP, segment(UDP, A4, B4).slice(0, -4))), [GOOD, NONE]],
  ['what is not IP', ethernet({ type: 0x88b5, length: 100 }), [NONE, NONE]],
];

function ofE1000(frame: Uint8Array): Verdict {
  const b = new E1000Bench();
  const { BAM, SECRC } = E1000.RCTL;
  b.receiver(16, { control: BAM | SECRC });
  const { IPOFLD, TUOFLD, IPV6OFL } = E1000.RXCSUM;
  b.write(E1000.RXCSUM, IPOFLD | TUOFLD | IPV6OFL);
  b.inject(frame);
  const { status, errors } = b.received()[0]!;
  const said = (done: number, error: number): Said =>
    (status & 4) !== 0 || (status & done) === 0 ? NONE : errors & error ? BAD : GOOD;
  return { ip: said(0x40, 0x40), l4: said(0x20, 0x20) };
}

function ofTg3(frame: Uint8Array): Verdict {
  const b = new Tg3Bench();
  b.inject(frame);
  const { flags, checksums } = b.received()[0]!;
  const said = (flag: number, sum: number): Said => (flags & flag ? (sum === 0xffff ? GOOD : BAD) : NONE);
  return { ip: said(0x1000, checksums >>> 16), l4: said(0x2000, checksums & 0xffff) };
}

for (const [what, frame, [ip, l4], tg3 = [ip, l4]] of CASES) {
  test(`82540EM: ${what}`, (t) => t.deepEqual(ofE1000(frame), { ip, l4 }));
  test(`BCM57762: ${what}`, (t) => t.deepEqual(ofTg3(frame), { ip: tg3[0], l4: tg3[1] }));
}

test('a frame of more than 1552 bytes, with LPE', (t) => {
  const b = new E1000Bench();
  b.receiver(16, { control: E1000.RCTL.BAM | E1000.RCTL.SECRC | E1000.RCTL.LPE });
  b.write(E1000.RXCSUM, E1000.RXCSUM.IPOFLD | E1000.RXCSUM.TUOFLD);
  const payload = [...segment(UDP, A4, B4).slice(0, 8), ...pattern(1600)];
  payload.splice(4, 2, ...be16(payload.length));
  payload.splice(6, 2, 0, 0);
  const sum = internetChecksum([...A4, ...B4, ...be32(payload.length), 0, 0, 0, UDP, ...payload]);
  payload.splice(6, 2, ...be16(sum));
  b.inject(frame4(ipv4(UDP, payload)));
  const { status, errors } = b.received()[0]!;
  t.is(status & 0x64, 0x60);
  t.is(errors, 0);
});

test('property: no chain of extension headers makes a good packet bad, nor a bad one good', (t) => {
  const header = fc.oneof(
    fc.constant(HOP_BY_HOP),
    fc.constant(HOME),
    fc.constant(FRAGMENT),
    fc.integer({ min: 1, max: 12 }).map((words) => long(8 * words)),
    fc
      .record({ left: fc.nat(3), count: fc.nat(3) })
      .map(({ left, count }) => routing(Math.min(left, count), [C6, v6(8), v6(9)].slice(0, count))),
  );
  const receivers = [new ReceiveChecksums(), new ReceiveChecksums({ longestExtension: 64, tunnels: true })];
  fc.assert(
    fc.property(fc.array(header, { maxLength: 6 }), fc.boolean(), (headers, wrong) => {
      const home = headers.some((header) => header === HOME);
      const route = headers.find(([type, bytes]) => type === 43 && bytes[1] !== 0);
      const last = route === undefined ? B6 : route[1].slice(6, 22); // as in RFC 8754 §2, the list is reversed
      const frame = frame6(over6(headers, segment(TCP, home ? C6 : A6, last, { wrong })));
      for (const receiver of receivers) {
        const found = receiver.check(frame, 0, frame.length, 0, CHECK_IP | CHECK_L4 | CHECK_IPV6);
        t.is(found & (wrong ? L4_GOOD : L4_BAD), 0);
      }
    }),
    { numRuns: Number(process.env.FAUXNIC_RUNS ?? 2000) },
  );
});
