/** Checksums against RFC 1071 by the letter, and header parsing of friendly and hostile frames. */

import test from 'ava';
import fc from 'fast-check';
import { copyBytes, crc32, littleSum } from '../../sim/kernels/index.ts';
import {
  addToChecksum,
  foldChecksum,
  Headers,
  isBroadcast,
  parseHeaders,
  pseudoHeaderSum,
  swap16,
} from '../../sim/packet.ts';
import { fcs, type IpOptions, internetChecksum, ip } from '../util/packets.ts';

const noise = Uint8Array.from({ length: 4096 }, (_, i) => (i * 2654435761) >>> 13);

test('sums at every alignment and of every length up to 200 are those of RFC 1071', (t) => {
  const views = [0, 1, 2, 3].map((offset) => new Uint8Array(noise.buffer, offset, 600));
  for (const view of views)
    for (let start = 0; start < 8; start++)
      for (let length = 0; length <= 200; length++) {
        const expected = 0xffff - internetChecksum(view.subarray(start, start + length));
        const sum = foldChecksum(addToChecksum(view, start, length));
        if (sum !== expected || littleSum(view, start, length) !== swap16(sum)) t.fail(`${start}, ${length}`);
      }
  t.pass();
});

test('property: long sums, with what was summed before, and at the array’s very end', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ size: 'max', maxLength: 3000 }), fc.nat(5), fc.nat(0xffff), (bytes, skip, before) => {
      const start = Math.min(skip, bytes.length);
      const expected = 0xffff - internetChecksum([before >>> 8, before & 0xff, ...bytes.subarray(start)]);
      t.is(foldChecksum(addToChecksum(bytes, start, bytes.length - start, before)), expected);
    }),
  );
});

test('the longest sums stay exact', (t) => {
  const ones = new Uint8Array(65536).fill(0xff);
  t.is(littleSum(ones, 0, 65536), 0xffff);
  ones[65535] = 0xfe;
  t.is(foldChecksum(addToChecksum(ones, 0, 65536)), 0xffff - internetChecksum(ones));
});

test('property: crc32 is the bit-by-bit one', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ size: 'max', maxLength: 100 }), fc.nat(7), (bytes, start) => {
      const from = Math.min(start, bytes.length);
      const value = crc32(bytes, from, bytes.length - from);
      t.deepEqual(
        [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff),
        fcs(bytes.subarray(from)),
      );
    }),
  );
});

test('property: copyBytes copies these bytes and no others, within an array and between two', (t) => {
  fc.assert(
    fc.property(fc.nat(40), fc.nat(40), fc.nat(300), fc.boolean(), fc.nat(3), (at, to, length, same, skew) => {
      const from = new Uint8Array(new ArrayBuffer(1024 + 3), skew, 1024);
      from.set(noise.subarray(0, 1024));
      const target = same ? from : new Uint8Array(1024);
      const expected = Uint8Array.from(target);
      expected.set(from.slice(at, at + length), 512 + to);
      copyBytes(from, at, target, 512 + to, length);
      t.deepEqual(target, expected);
    }),
  );
});

test('broadcast is six ones, and nothing less', (t) => {
  t.true(isBroadcast(new Uint8Array(7).fill(255), 1));
  for (let i = 0; i < 6; i++) t.false(isBroadcast(new Uint8Array(6).fill(255).fill(254, i, i + 1), 0));
});

const headers = (options: IpOptions, cut = Infinity) => {
  const { bytes } = ip(options);
  const into = new Headers();
  parseHeaders(bytes, 0, Math.min(bytes.length, cut), into);
  return into;
};

const packets: [string, IpOptions, Partial<Headers>][] = [
  ['TCP over IPv4', {}, { version: 4, l3: 14, l4: 34, payload: 54, ipLength: 140, protocol: 6 }],
  ['UDP over IPv4 with options', { protocol: 'udp', ipOptions: [1, 1, 1, 0] }, { l4: 38, payload: 46, ipLength: 132 }],
  ['TCP with options', { tcpOptions: [1, 1, 1, 1] }, { l4: 34, payload: 58 }],
  ['TCP behind a tag', { vlan: 5 }, { etherType: 0x0800, l3: 18, l4: 38 }],
  ['TCP over IPv6', { version: 6 }, { version: 6, l3: 14, l4: 54, payload: 74, ipLength: 160 }],
  [
    'UDP behind an extension',
    { version: 6, protocol: 'udp', extension: [0, 0, 1, 4, 0, 0, 0, 0] },
    { l4: 62, protocol: 17 },
  ],
  ['padding is not the packet’s', { protocol: 'udp', data: [1], length: 60 }, { ipLength: 29, payload: 42 }],
  ['a fragment has no transport header', { fragment: 0x2000 }, { fragment: true, l4: 0, l3: 14 }],
  ['don’t fragment is no fragment', { fragment: 0x4000 }, { fragment: false, l4: 34 }],
  ['a segmentation’s packet goes on to the frame’s end', { segmented: true }, { ipLength: 140, l4: 34 }],
];
for (const [what, options, expected] of packets)
  test(`headers: ${what}`, (t) => void t.like(headers(options), expected));

test('cut short anywhere, a header is found whole or not at all', (t) => {
  for (let cut = 0; cut < 74; cut++) {
    const found = headers({ version: 6 }, cut);
    t.is(found.l3, cut >= 54 ? 14 : 0);
    t.is(found.l4, cut >= 74 ? 54 : 0);
  }
});

test('the pseudo header’s sum makes the transport checksum right', (t) => {
  for (const version of [4, 6] as const) {
    const frame = ip({ version, protocol: 'udp', data: [1, 2, 3] });
    const into = new Headers();
    parseHeaders(frame.bytes, 0, frame.bytes.length, into);
    const sum = pseudoHeaderSum(frame.bytes, 0, into, 11);
    t.is(foldChecksum(addToChecksum(frame.bytes, frame.l4, 11, sum)), 0xffff);
  }
});

test('property: hostile frames never throw, and nothing is found outside the frame', (t) => {
  const start = fc.constantFrom(
    [0x08, 0x00, 0x45],
    [0x08, 0x00, 0x4f],
    [0x86, 0xdd, 0x60],
    [0x81, 0x00, 0, 0, 0x08, 0x00, 0x45],
  );
  fc.assert(
    fc.property(start, fc.uint8Array({ size: 'max', maxLength: 120 }), (type, rest) => {
      const bytes = Uint8Array.from([...new Array<number>(12).fill(2), ...type, ...rest]);
      const into = new Headers();
      parseHeaders(bytes, 0, bytes.length, into);
      t.true(into.l3 + into.ipLength <= bytes.length);
      t.true(into.payload <= bytes.length && into.l4 <= bytes.length);
      if (into.version === 4) t.true(into.l3 + (bytes[into.l3]! & 15) * 4 <= bytes.length);
    }),
    { numRuns: 1000 },
  );
});

test('a chain of extension headers without end is given up', (t) => {
  const bytes = new Uint8Array(2000);
  bytes.set([0x86, 0xdd, 0x60, 0, 0, 0, 0x07, 0x80, 60], 12);
  for (let at = 54; at < 2000; at += 8) bytes[at] = 60;
  const into = new Headers();
  parseHeaders(bytes, 0, bytes.length, into);
  t.is(into.l4, 0);
});
