import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import test from 'ava';
import { openLoop } from '../bench/loop-rig.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function heap(): number {
  collect();
  return process.memoryUsage().heapUsed;
}

test('ten million frames through two drivers and two models leave the heap as it was', async (t) => {
  const { round, close } = await openLoop(60);
  const pass = (frames: number) => {
    let received = 0;
    for (let sent = 0; sent < frames; sent += 64) received += round(64);
    return received;
  };
  pass(200_000); // compiled by now
  const before = heap();
  t.is(pass(10_000_000), 10_000_000);
  const grown = heap() - before;
  await close();
  // What compiling once more leaves behind, and nothing for each packet: a byte each would be ten million.
  t.true(grown < 500_000, `grew by ${grown} bytes`);
});
