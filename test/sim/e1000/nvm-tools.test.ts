/** The 82540EM's NVM as the tools around a card see it: written bit by bit, checked. What every card's can: test/sim/nvm-parts. */
import test, { type ExecutionContext } from 'ava';
import { runClock } from '../../../drivers/backends/clock-steps.ts';
import { openSim } from '../../../drivers/backends/sim.ts';
import { e1000Tools } from '../../../drivers/e1000/tools.ts';
import { E1000 } from '../../../sim/e1000/i82540em.ts';
import { I82540EM } from '../../../sim/e1000/registers.ts';

function open(prepare = (_card: E1000) => {}) {
  let card!: E1000;
  const device = openSim(
    (host) => {
      card = new E1000(host);
      prepare(card);
      return card;
    },
    { name: 'sim:e1000' },
  );
  const { nvram } = e1000Tools(device);
  return { device, card, nvram, run: <T>(promise: Promise<T>) => runClock(device.clock, promise) };
}

const { EECD } = I82540EM.r;

test('only words that differ are written, and the port is let go, write-protected', async (t) => {
  let stored = 0;
  const { nvram, card, run, device } = open(({ eeprom }) => {
    const { words } = eeprom;
    Object.defineProperty(eeprom, 'words', {
      value: new Proxy(words, {
        get: (target, key) => {
          const value = Reflect.get(target, key) as unknown;
          return typeof value === 'function' ? value.bind(target) : value;
        },
        set: (target, key, value) => {
          stored++;
          return Reflect.set(target, key, value);
        },
      }),
    });
  });
  const before = await run(nvram.read());
  const wanted = before.slice();
  wanted.set([1, 2, 3], 16); // words 8 and 9
  await run(nvram.write(before, wanted));
  t.is(stored, 2);
  t.deepEqual(await run(nvram.read()), wanted);
  t.is(device.bar(0).read32(EECD.at) & (EECD.EE_REQ | EECD.EE_GNT | EECD.CS), 0);
  t.false(card.eeprom.state.save().port.writeEnabled);
});

test('a part that is never ready ends in one line', async (t) => {
  const { nvram, run } = open((card) => {
    const { registers } = card;
    registers.onRead(EECD, () => registers.words[EECD.word]! & ~EECD.DO);
  });
  const before = await run(nvram.read());
  const error = await t.throwsAsync(run(nvram.write(before, before.with(0, 4))));
  t.is(error.message, 'sim:e1000: NVM word 0 is not written');
});

test('a factory image has nothing wrong; each thing that can be is told', async (t) => {
  const { nvram, run } = open();
  const good = await run(nvram.read());
  t.deepEqual(nvram.check(good), []);
  const wrong = (...changes: [at: number, value: number][]) => {
    const bad = good.slice();
    for (const [at, value] of changes) bad[at] = value;
    return nvram.check(bad);
  };
  says(t, wrong([16, 0x35]), /^the words add up to 0xbabb, not 0xbaba: the checksum would be 0x[0-9a-f]{4}$/);
  says(t, wrong([0x15, 0x20], [0x0d, 0x3f]), /word 0x0a has the signature 0, not 1/);
  says(t, nvram.check(nvram.withMac(good, Uint8Array.of(1, 0, 0, 0, 0, 1))), /multicast/);
  says(t, nvram.check(nvram.withMac(good, new Uint8Array(6))), /all zeros/);
  says(t, nvram.check(new Uint8Array(128).fill(0xff)), /^every word is 0xffff: it is empty/);
  t.throws(() => nvram.check(good.slice(1)), { message: /127 bytes: it has 128/ });
});

function says(t: ExecutionContext, lines: string[], what: RegExp): void {
  t.true(
    lines.some((line) => what.test(line)),
    lines.join('\n'),
  );
}

test('any one bit that is wrong is seen', async (t) => {
  const { nvram, run } = open();
  const good = await run(nvram.read());
  for (let bit = 0; bit < 8 * good.length; bit++) {
    const bad = good.with(bit >> 3, good[bit >> 3]! ^ (1 << (bit & 7)));
    t.not(nvram.check(bad).length, 0, `bit ${bit}`);
  }
});

test('the board is named as it is on its label', async (t) => {
  const { nvram, run } = open();
  const entries = nvram.entries(await run(nvram.read()));
  t.is(entries.find(({ name }) => name === 'pba')!.text, '123456-078');
});

test('a board’s number that is elsewhere is found there, and told where it cannot be', async (t) => {
  const { nvram, run } = open();
  const good = await run(nvram.read());
  const led = (at: number, length: number) => {
    const image = good.slice();
    image.set([0xfa, 0xfa, at, at >> 8], 16);
    if (at < 64) image.set([length, length >> 8, 0x31, 0x47, 0x2d, 0x32], 2 * at); // "G1", "2-": high byte first
    const text = nvram.entries(image).find(({ name }) => name === 'pba')!.text;
    return { text, wrong: nvram.check(nvram.withMac(image, nvram.macOf(image))) };
  };
  t.deepEqual(led(0x10, 3), { text: 'G12-', wrong: [] });
  const nowhere = (wrong: string) => ({ text: 'nowhere', wrong: [wrong] });
  t.deepEqual(led(0x40, 3), nowhere("word 0x09 leads to word 0x0040 for the board's number: 0x40 are here"));
  for (const length of [0, 1, 0x31, 0xffff])
    t.deepEqual(
      led(0x10, length),
      nowhere(`the board's number at word 0x0010 is said to have ${length} words, where 48 are left`),
    );
});
