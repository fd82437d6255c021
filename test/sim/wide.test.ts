import { setFlagsFromString } from 'node:v8';
import test from 'ava';
import { wide } from '../../sim/wide.ts';

setFlagsFromString('--allow-natives-syntax');
const sameMap = new Function('a', 'b', 'return %HaveSameMap(a, b)') as (a: object, b: object) => boolean;

test('a wide counter keeps its shape beyond 2^31, so that compiled code stays', (t) => {
  const counters = () => ({ frames: 0, bytes: 0 });
  const [few, many] = [counters(), counters()];
  wide(few, 'bytes');
  wide(many, 'bytes');
  t.deepEqual(few, { frames: 0, bytes: 0 });
  many.bytes += 2 ** 31 + 1500;
  t.is(many.bytes, 2 ** 31 + 1500);
  t.true(sameMap(few, many));
});

test('one that is not does not', (t) => {
  const counters = () => ({ packets: 0, octets: 0 });
  const [few, many] = [counters(), counters()];
  many.octets += 2 ** 31 + 1500;
  t.false(sameMap(few, many));
});
