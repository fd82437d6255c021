import test from 'ava';
import fc from 'fast-check';
import {
  FCS_ERROR,
  type FrameDirection,
  INBOUND,
  OUTBOUND,
  PcapngError,
  type PcapngOptions,
  PcapngWriter,
  readPcapng,
} from '../../../sim/wire/index.ts';

/** What the writer wrote, in one piece. */
function written(write: (writer: PcapngWriter) => void, options?: PcapngOptions): Uint8Array {
  const chunks: Uint8Array[] = [];
  const writer = new PcapngWriter((chunk) => chunks.push(chunk.slice()), options);
  write(writer);
  writer.end();
  return Uint8Array.from(chunks.flatMap((chunk) => [...chunk]));
}

test('what is written is read back', (t) => {
  const mac = Uint8Array.of(2, 0, 0, 0, 0, 1);
  const file = written((w) => {
    const eth0 = w.interface({ name: 'eth0', description: 'Anschlußkabel 😀', speed: 10e9, mac });
    w.packet(eth0, 1_000_000_000.7, OUTBOUND, Uint8Array.of(9, 1, 2, 3, 9), 1, 3, 0);
    w.packet(eth0, 2_000_000_001, INBOUND, Uint8Array.of(4, 5), 0, 2, FCS_ERROR, 'damaged on purpose');
    w.dropped(eth0, 7);
  });
  const frames = [...readPcapng(file)];
  t.like(frames[0], {
    timeNs: 1_000_000_000,
    seconds: 1,
    nanoseconds: 0,
    direction: OUTBOUND,
    bytes: Uint8Array.of(1, 2, 3),
    length: 3,
    flags: 0,
    comment: '',
  });
  t.like(frames[1], { timeNs: 2_000_000_001, direction: INBOUND, flags: FCS_ERROR, comment: 'damaged on purpose' });
  t.deepEqual(frames[1]!.interface, {
    linkType: 1,
    name: 'eth0',
    description: 'Anschlußkabel 😀',
    speed: 10e9,
    mac,
    received: 9,
    dropped: 7,
  });
});

test('times since 1970 keep their nanoseconds', (t) => {
  const start = { startSeconds: 1_893_456_000, startNanoseconds: 123_456_789 };
  const times = [0, 1, 2 ** 32 - 1, 2 ** 32, 5e9 + 1, 1e15 + 3];
  const file = written((w) => {
    const eth0 = w.interface({ name: 'eth0' });
    for (const time of times) w.packet(eth0, time, INBOUND, new Uint8Array(1), 0, 1, 0);
  }, start);
  const frames = [...readPcapng(file, start)];
  t.deepEqual(
    frames.map(({ timeNs }) => timeNs),
    times,
  );
  t.like(frames[1], { seconds: 1_893_456_000, nanoseconds: 123_456_790 });
});

test('a frame longer than the snap length is cut, and its length told', (t) => {
  const file = written((w) => w.packet(w.interface({ name: 'a' }), 0, INBOUND, new Uint8Array(100), 0, 100, 0), {
    snapLength: 10,
  });
  const [frame] = readPcapng(file);
  t.is(frame!.bytes.length, 10);
  t.is(frame!.length, 100);
});

test('texts longer than an option are cut between characters', (t) => {
  const file = written((w) => {
    w.packet(w.interface({ name: 'ß'.repeat(70_000) }), 0, INBOUND, new Uint8Array(1), 0, 1, 0, '€'.repeat(70_000));
  });
  const [frame] = readPcapng(file);
  t.regex(frame!.interface.name, /^ß{30000,}$/);
  t.regex(frame!.comment, /^€{20000,}$/);
});

test('property: any frames, any chunk size', (t) => {
  const frames = fc.array(
    fc.record({
      timeNs: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
      direction: fc.constantFrom<FrameDirection>(0, 1, 2),
      bytes: fc.uint8Array({ maxLength: 300 }),
      flags: fc.constantFrom(0, FCS_ERROR),
      comment: fc.string({ unit: 'binary', maxLength: 20 }),
    }),
    { maxLength: 40 },
  );
  fc.assert(
    fc.property(frames, fc.constantFrom(1, 300_000, 1_000_000), (given, chunkBytes) => {
      const file = written(
        (w) => {
          const eth0 = w.interface({ name: 'eth0' });
          for (const f of given) w.packet(eth0, f.timeNs, f.direction, f.bytes, 0, f.bytes.length, f.flags, f.comment);
        },
        { chunkBytes, snapLength: 300 },
      );
      const read = [...readPcapng(file)].map(({ timeNs, direction, bytes, flags, comment }) => {
        return { timeNs, direction, bytes: Uint8Array.from(bytes), flags, comment };
      });
      t.deepEqual(read, given);
    }),
    { numRuns: 50 },
  );
});

test('an address that is none is refused', (t) => {
  t.throws(() => written((w) => w.interface({ name: 'a', mac: new Uint8Array(5) })), {
    instanceOf: RangeError,
    message: 'mac must be 6 bytes, not 5',
  });
});

const sample = written((w) => {
  const eth0 = w.interface({ name: 'eth0', speed: 1e9 });
  for (let i = 0; i < 3; i++) w.packet(eth0, i, INBOUND, new Uint8Array(61), 0, 61, 0, 'a comment');
});

test('a truncated capture gives its whole frames and then one error', (t) => {
  const ends = new Set(blockEnds(sample));
  for (let length = 0; length < sample.length; length++) {
    const read = () => [...readPcapng(sample.subarray(0, length))];
    if (ends.has(length)) t.notThrows(read);
    else t.throws(read, { instanceOf: PcapngError, message: /^not a readable pcapng capture: it ends within a/ });
  }
});

function blockEnds(file: Uint8Array): number[] {
  const view = new DataView(file.buffer);
  const ends: number[] = [];
  for (let at = 0; at < file.length; ends.push(at)) at += view.getUint32(at + 4, true);
  return ends;
}

test('a block whose length is none is refused', (t) => {
  for (const length of [0, 8, 13, 0xffff_fffc]) {
    const file = sample.slice();
    new DataView(file.buffer).setUint32(4, length, true);
    t.throws(() => [...readPcapng(file)], { instanceOf: PcapngError });
  }
  t.throws(() => [...readPcapng(new TextEncoder().encode('not a capture at all'))], {
    message: 'not a readable pcapng capture: it does not begin with a section header (at byte 0)',
  });
});

test('an option longer than its block is refused', (t) => {
  const counters = (length: number) => [5, 0, 0, 0, (4 << 16) | length, 0, 9];
  const blocks = (length: number) => [SECTION, [1, 0x00010000, 0], counters(length)];
  t.notThrows(() => [...readPcapng(bigEndian(blocks(8)))]);
  t.throws(() => [...readPcapng(bigEndian(blocks(9)))], {
    message: /: an option is longer than its block \(at byte \d+\)$/,
  });
});

test('property: whatever the bytes, it ends, and throws nothing but its own error', (t) => {
  const damage = fc.array(fc.tuple(fc.nat(sample.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(damage, (changes) => {
      const file = sample.slice();
      for (const [at, value] of changes) file[at] = value;
      try {
        for (const frame of readPcapng(file)) if (frame.bytes.length > file.length) return false;
      } catch (error) {
        return error instanceof PcapngError;
      }
      return true;
    }),
    { numRuns: 2000 },
  );
  t.pass();
});

test('the other byte order, microseconds, a simple packet and unknown blocks', (t) => {
  const file = bigEndian([
    SECTION,
    [0x0bad, 1, 2, 3],
    [1, 0x00010000, 0],
    [6, 0, 0, 1_000_001, 4, 60, 0xdeadbeef],
    [3, 4, 0xcafef00d],
  ]);
  const frames = [...readPcapng(file)];
  t.like(frames[0], { timeNs: 1_000_001_000, length: 60, direction: 0, bytes: Uint8Array.of(0xde, 0xad, 0xbe, 0xef) });
  t.like(frames[1], { length: 4, bytes: Uint8Array.of(0xca, 0xfe, 0xf0, 0x0d) });
});

const SECTION = [0x0a0d0d0a, 0x1a2b3c4d, 0x00010000, 0xffffffff, 0xffffffff];

function bigEndian(blocks: number[][]): Uint8Array {
  const words = blocks.flatMap(([type, ...body]) => {
    const length = body.length * 4 + 12;
    return [type!, length, ...body, length];
  });
  const view = new DataView(new ArrayBuffer(words.length * 4));
  for (const [i, word] of words.entries()) view.setUint32(i * 4, word);
  return new Uint8Array(view.buffer);
}
