/** Configuration space of every model, beyond what every table promises (spec/registers.ts). Sections: PCI Local Bus Specification 3.0. */
import test from 'ava';
import fc from 'fast-check';
import { MODELS } from '../../scripts/catalogue.ts';
import type { Model } from '../../scripts/families/family.ts';
import { TextTrace } from '../../scripts/trace-format.ts';
import { COMMAND } from '../../sim/pci/config.ts';
import type { PciFunction } from '../../sim/pci/function.ts';
import type { NamedRow } from '../../sim/registers.ts';
import { bareHost } from '../util/bare-host.ts';

const WIDTHS = [1, 2, 4] as const;

function make(model: Model): PciFunction {
  return model.make(bareHost(), { name: model.name });
}

const full = (row: NamedRow) => {
  const width = row.width ?? 4;
  const ones = 0xffffffff >>> (32 - 8 * width);
  return { reset: 0, ...row, width, writable: (row.masks.stores | row.masks.clears) >>> 0, ones };
};

/** Every byte, as software reads it. */
function image({ config }: PciFunction): number[] {
  return Array.from(config.bytes, (_, at) => config.read(at, 1));
}

for (const model of MODELS) {
  const { name, configuration: map } = model;
  const rows = map.rows.map(full);
  const plain = rows.filter(({ live }) => !live);

  test(`${name}: status bits are cleared by writing 1, and by nothing else (6.2.3)`, (t) => {
    const { config } = make(model);
    for (const { at, width, writable, ones, reset, name } of rows.filter(({ access }) => access === 'W1C')) {
      config.poke(at, width, ones);
      config.write(at, width, 0);
      t.is(config.read(at, width), ones, name);
      config.write(at, 1, 0xff);
      t.is(config.read(at, width), (ones & ~(writable & 0xff)) >>> 0, name);
      config.write(at, width, ones);
      t.is(config.read(at, width) & writable, reset & writable, name);
    }
  });

  test(`${name}: the list leads to each capability (6.7)`, (t) => {
    const { config } = make(model);
    const found: number[] = [];
    for (let at = config.read(0x34, 1); at !== 0; at = config.read(at + 1, 1)) found.push(at);
    t.deepEqual(
      found,
      rows.filter(({ name }) => name.endsWith('_CAP')).map(({ at }) => at),
    );
  });

  test(`${name}: property: an access of any width, aligned or not, is that of its bytes`, (t) => {
    const stored = plain.filter(({ access, at }) => access === 'RW' && at !== COMMAND);
    const place = fc.constantFrom(...stored).chain(({ at, width }) => fc.integer({ min: at - 3, max: at + width - 1 }));
    const access = fc.tuple(place, fc.constantFrom(...WIDTHS), fc.integer({ min: 0, max: 0xffffffff }));
    const live = rows.filter((row) => row.live);
    const touches = (at: number, width: number) => live.some((row) => at < row.at + row.width && at + width > row.at);
    fc.assert(
      fc.property(fc.array(access, { maxLength: 20 }), (accesses) => {
        const [wide, narrow] = [make(model).config, make(model).config];
        for (const [at, width, value] of accesses.filter(
          ([at, width]) => at + width <= map.size && !touches(at, width),
        )) {
          wide.write(at, width, value);
          for (let i = 0; i < width; i++) narrow.write(at + i, 1, (value >>> (8 * i)) & 0xff);
          const bytes = Array.from({ length: width }, (_, i) => narrow.read(at + i, 1));
          t.is(
            wide.read(at, width),
            bytes.reduceRight((sum, byte) => sum * 256 + byte, 0),
          );
        }
        t.deepEqual(wide.bytes, narrow.bytes);
      }),
      { numRuns: 50 },
    );
  });

  test(`${name}: property: whatever is accessed, nothing throws, and a restored card goes on alike`, (t) => {
    const place = fc.oneof(fc.integer({ min: -2, max: 0x104 }), fc.constantFrom(...rows.map(({ at }) => at)));
    const access = fc.tuple(place, fc.constantFrom(...WIDTHS), fc.option(fc.integer({ min: 0, max: 0xffffffff })));
    const run = ({ config }: PciFunction, accesses: [number, 1 | 2 | 4, number | null][]) =>
      accesses.map(([at, width, value]) => {
        if (value === null) return config.read(at, width);
        config.write(at, width, value);
        return config.refused;
      });
    const accesses = fc.array(access, { maxLength: 60 });
    fc.assert(
      fc.property(accesses, accesses, (first, then) => {
        const [card, copy] = [make(model), make(model)];
        run(card, first);
        copy.restore(structuredClone(card.save()));
        t.deepEqual(run(copy, then), run(card, then));
        t.deepEqual(image(copy), image(card));
      }),
      { numRuns: Number(process.env.FAUXNIC_RUNS ?? 30) },
    );
  });

  test(`${name}: a reset puts all of it back, whatever was written`, (t) => {
    const card = make(model);
    const fresh = image(make(model));
    for (const value of [0xffffffff, 0x12345678]) {
      for (let at = 0; at < card.config.bytes.length; at += 4) card.config.write(at, 4, value);
      card.reset('bus');
      t.deepEqual(image(card), fresh);
    }
  });

  test(`${name}: the trace tells every register that is accessed, by name and field`, (t) => {
    const card = make(model);
    const lines: string[] = [];
    card.trace = new TextTrace(
      name,
      () => 0,
      (line) => lines.push(line.slice(12 + name.length + 1)),
      () => '',
    );
    const { config } = card;
    config.write(COMMAND, 4, 0xffff_0006);
    config.write(COMMAND, 1, 4);
    config.read(0, 4);
    config.read(0x0d, 1);
    config.write(0x3d, 1, 1);
    config.write(0x38, 2, 1);
    config.read(0x3b, 2);
    const id = map.rows.find(({ name }) => name === 'PCI_DEVICE_ID')!.reset!.toString(16);
    const vendor = map.rows.find(({ name }) => name === 'PCI_VENDOR_ID')!.reset!.toString(16);
    t.deepEqual(lines, [
      'write config PCI_COMMAND 0x0006 MEMORY=1 MASTER=1',
      'write config PCI_STATUS 0xffff INTERRUPT=1 CAP_LIST=1 _66MHZ=1 FAST_BACK=1 DATA_PARITY=1 DEVSEL=3 SIGNALED_TARGET_ABORT=1' +
        ' RECEIVED_TARGET_ABORT=1 RECEIVED_MASTER_ABORT=1 SIGNALED_SERR=1 DETECTED_PARITY=1',
      'write config PCI_COMMAND 0x0004 MASTER=1',
      `read  config PCI_VENDOR_ID 0x${vendor}`,
      `read  config PCI_DEVICE_ID 0x${id}`,
      'read  config PCI_LATENCY_TIMER 0x00',
      'write config PCI_INTERRUPT_PIN 0x01',
      'note  write of a read-only register: PCI_INTERRUPT_PIN',
      'write config 0x00038 0x00000001',
      'write config 0x00039 0x00000000',
      'note  write of an unknown register: 0x00038',
      'read  config 0x0003b 0x00000000',
      'note  read of an unknown register: 0x0003b',
      'read  config PCI_INTERRUPT_LINE 0x00',
    ]);
  });
}
