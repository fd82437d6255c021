/** The NVM of every model as the tools around a card see it: written, listed, given another address. */
import test from 'ava';
import fc from 'fast-check';
import { runClock } from '../../drivers/backends/clock-steps.ts';
import { openSim } from '../../drivers/backends/sim.ts';
import { drivenFamilyOf, MODELS } from '../../scripts/catalogue.ts';
import type { Model } from '../../scripts/families/family.ts';
import { sameBytes } from '../util/bytes.ts';

const MAC = Uint8Array.of(2, 0, 0, 0, 0, 7);

function open(model: Model) {
  const device = openSim((host) => model.make(host, { name: model.name, mac: MAC }), {
    name: `sim:${model.name}`,
    dmaBytes: 1 << 20,
  });
  const { nvram } = drivenFamilyOf(model).driver.tools(device);
  return { device, nvram, run: <T>(promise: Promise<T>) => runClock(device.clock, promise) };
}

const mac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map((bytes) => bytes.with(0, bytes[0]! & 0xfe));

/** An image with other bytes here and there, its end and headers as likely as the rest. */
function changes({ nvram: size }: Model) {
  const at = fc.oneof(
    fc.nat(size - 1),
    fc.nat(Math.min(size, 0x200) - 1),
    fc.integer({ min: size - 8, max: size - 1 }),
  );
  return fc.array(fc.record({ at, bytes: fc.uint8Array({ minLength: 1, maxLength: 700 }) }), {
    minLength: 1,
    maxLength: 4,
  });
}

function changed(image: Uint8Array, parts: readonly { at: number; bytes: Uint8Array }[]): Uint8Array {
  const copy = image.slice();
  for (const { at, bytes } of parts) copy.set(bytes.subarray(0, copy.length - at), at);
  return copy;
}

for (const model of MODELS) {
  const runs = { numRuns: model.nvram > 1024 ? 3 : 25 }; // 128 KiB, word by word

  test(`${model.name}: whatever is written reads back, over what was written before`, async (t) => {
    await fc.assert(
      fc.asyncProperty(changes(model), changes(model), async (first, second) => {
        const { nvram, device, run } = open(model);
        let before = await run(nvram.read());
        t.is(before.length, model.nvram);
        for (const parts of [first, second]) {
          const wanted = changed(before, parts);
          await run(nvram.write(before, wanted));
          const after = await run(nvram.read());
          sameBytes(t, after, wanted);
          before = wanted;
        }
        device.close();
      }),
      runs,
    );
  });

  test(`${model.name}: another address leaves the rest as it was, and nothing is wrong`, async (t) => {
    const { nvram, device, run } = open(model);
    const good = await run(nvram.read());
    t.deepEqual(nvram.check(good), []);
    t.deepEqual(nvram.macOf(good), MAC);
    await fc.assert(
      fc.asyncProperty(mac, async (address) => {
        const other = nvram.withMac(good, address);
        t.deepEqual(nvram.macOf(other), address);
        t.deepEqual(nvram.check(other), address.some((byte) => byte !== 0) ? [] : nvram.check(other));
        sameBytes(t, nvram.withMac(other, MAC), good);
      }),
      { numRuns: 25 },
    );
    device.close();
  });

  test(`${model.name}: what is where, in order, without overlap`, async (t) => {
    const { nvram, device, run } = open(model);
    const entries = nvram.entries(await run(nvram.read()));
    let end = 0;
    for (const { at, length, name } of entries) {
      t.true(at >= end && length > 0 && at + length <= model.nvram, name);
      end = at + length;
    }
    t.is(new Set(entries.map(({ name }) => name)).size, entries.length);
    t.is(entries.find(({ name }) => name === 'mac')!.text, '02:00:00:00:00:07');
    device.close();
  });

  test(`${model.name}: whatever an image holds, it is checked and listed, in lines of letters`, async (t) => {
    const { nvram, device, run } = open(model);
    const good = await run(nvram.read());
    fc.assert(
      fc.property(changes(model), (parts) => {
        const image = changed(good, parts);
        for (const line of nvram.check(image)) t.regex(line, /^[ -~]+$/);
        for (const { at, length, name, text = '' } of nvram.entries(image)) {
          t.true(at >= 0 && length > 0 && at + length <= image.length, name);
          t.regex(`${name} ${text}`, /^[ -~]+$/);
        }
      }),
      { numRuns: 100 },
    );
    device.close();
  });
}
