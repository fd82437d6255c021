import { endianness } from 'node:os';
import test from 'ava';
import fc from 'fast-check';
import { type InterfaceSettings, linkAnswer, linkRequest } from '../../native/link-message.ts';

const LITTLE = endianness() === 'LE';
const MAC = Uint8Array.of(2, 0, 0, 0, 0, 7);
const { ADDRESS, IFNAME, MTU, MASTER, PROMISCUITY } = { ADDRESS: 1, IFNAME: 3, MTU: 4, MASTER: 10, PROMISCUITY: 30 };

function words(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  for (const [i, value] of values.entries()) new DataView(bytes.buffer).setUint32(4 * i, value, LITTLE);
  return bytes;
}

function halves(low: number, high: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint16(0, low, LITTLE);
  new DataView(bytes.buffer).setUint16(2, high, LITTLE);
  return bytes;
}

const padded = (bytes: Uint8Array) => [...bytes, ...new Uint8Array(-bytes.length & 3)];
const attribute = (type: number, value: Uint8Array) => [...halves(4 + value.length, type), ...padded(value)];
const zeroEnded = (text: string) => new TextEncoder().encode(`${text}\0`);

function message(type: number, sequence: number, body: readonly number[]): number[] {
  return [...words(16 + body.length), ...halves(type, 0), ...words(sequence, 0), ...body];
}

const NEWLINK = 16;
const ERROR = 2;
const link = (flags: number) => [...words(0, 5, flags, 0)];
const about = (settings: InterfaceSettings) => [
  ...link(settings.up ? 0x1003 : 0x1002),
  ...attribute(IFNAME, zeroEnded(settings.name)),
  ...attribute(13, Uint8Array.of(1)), // the queue's length: three bytes of padding behind it
  ...attribute(MTU, words(settings.mtu)),
  ...attribute(PROMISCUITY, words(settings.promiscuity)),
  ...attribute(MASTER, words(settings.master)),
  ...attribute(0x8000 | 18, words(0)), // nested
  ...attribute(ADDRESS, settings.mac),
];

const SETTINGS: InterfaceSettings = { name: 'nic0', up: true, mtu: 9000, mac: MAC, promiscuity: 2, master: 17 };
const answer = (bytes: number[] | Uint8Array, sequence = 7) => {
  const all = Uint8Array.from(bytes);
  return linkAnswer(all, all.length, sequence);
};

test('an interface is asked for by index', (t) => {
  t.deepEqual([...linkRequest(5, 7)], [...words(32), ...halves(18, 1), ...words(7, 0), ...words(0, 5, 0, 0)]);
});

test('what the kernel says of it', (t) => {
  t.deepEqual(answer(message(NEWLINK, 7, about(SETTINGS))), SETTINGS);
  const plain = { ...SETTINGS, up: false, promiscuity: 0, master: 0, name: 'ünïc' };
  t.deepEqual(answer(message(NEWLINK, 7, about(plain))), plain);
  t.is(answer(message(ERROR, 7, [...words(-19 >>> 0)])), -19, 'no such device');
});

test('only the answer to the question counts', (t) => {
  const other = message(NEWLINK, 6, about({ ...SETTINGS, mtu: 1400 }));
  t.deepEqual(answer([...other, ...message(NEWLINK, 7, about(SETTINGS))]), SETTINGS);
  t.is(answer(other), null);
  t.is(answer([]), null);
});

test('a message that is cut, or whose lengths cannot be, says nothing', (t) => {
  const whole = message(NEWLINK, 7, about(SETTINGS));
  for (let length = 0; length < whole.length; length++) t.is(answer(whole.slice(0, length)), null, `${length} bytes`);
  for (const length of [0, 15, 0xffff_fffd, 0xffff_ffff]) t.is(answer([...words(length), ...whole.slice(4)]), null);
  for (const length of [0, 3, 5000]) {
    const bad = [...link(1), ...halves(length, IFNAME), ...zeroEnded('abc')];
    t.is(answer(message(NEWLINK, 7, bad)), null, `an attribute of ${length} bytes`);
  }
  t.is(answer(message(NEWLINK, 7, about({ ...SETTINGS, mac: MAC.subarray(1) }))), null, 'an address of five bytes');
  t.is(answer(message(ERROR, 7, [])), null);
});

test('whatever the bytes are, it ends, and never with an exception', (t) => {
  const runs = Number(process.env.FAUXNIC_RUNS ?? 2000);
  const whole = Uint8Array.from(message(NEWLINK, 7, about(SETTINGS)));
  const damage = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.integer({ min: 0, max: 255 })), { maxLength: 8 });
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), damage, fc.nat(300), (bytes, changes, length) => {
      const damaged = whole.slice();
      for (const [at, value] of changes) damaged[at] = value;
      for (const input of [bytes, damaged]) {
        const result = linkAnswer(input, length, 7);
        if (result !== null && typeof result === 'object') t.is(result.mac.length, 6);
      }
    }),
    { numRuns: runs },
  );
  t.pass();
});
