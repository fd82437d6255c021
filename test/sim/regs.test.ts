/** fauxnic regs: registers by name, and what is refused. */
import test from 'ava';
import fc from 'fast-check';
import { openSim } from '../../drivers/backends/sim.ts';
import { drivenFamilyOf, MODELS } from '../../scripts/catalogue.ts';
import { UsageError } from '../../scripts/errors.ts';
import { word32 } from '../../scripts/options.ts';
import { alike, choose, chooseAll } from '../../scripts/toolkit/choose.ts';
import { atLength, listing, read, unreadOf, write } from '../../scripts/toolkit/registers.ts';
import { I82540EM_CONFIGURATION } from '../../sim/e1000/configuration.ts';
import { E1000 } from '../../sim/e1000/i82540em.ts';
import { I82540EM } from '../../sim/e1000/registers.ts';
import { RegisterMap } from '../../sim/registers.ts';
import { BCM57XX } from '../../sim/tg3/registers.ts';
import { assertRefused, fauxnicHere } from '../util/command.ts';

const map = I82540EM as RegisterMap;
const names = (text: string) => choose([map], text).map(({ row }) => row.name);

function open() {
  const device = openSim((host) => new E1000(host), { name: 'sim:e1000', dmaBytes: 1 << 20 });
  device.enable({ memory: true });
  return device;
}

test('a register by name, element, range, offset, alias, block and pattern', (t) => {
  t.deepEqual(names('ctrl'), ['CTRL']);
  t.like(choose([map], 'mta[5]')[0], { first: 5, count: 1 });
  t.like(choose([map], 'MTA[5..7]')[0], { first: 5, count: 3 });
  t.like(choose([map], '0x05408')[0], { first: 1, count: 1 });
  t.is(choose([map], '0x5408')[0]!.row.name, 'RAL');
  t.deepEqual(names('0x128'), ['RDT']);
  t.deepEqual(names('10264'), ['RDT'], 'decimal');
  t.deepEqual(names('Interrupts'), ['ICR', 'ITR', 'ICS', 'IMS', 'IMC']);
  t.deepEqual(names('rdba*'), ['RDBAL', 'RDBAH']);
});

const REFUSED: [text: string, says: RegExp][] = [
  ['CTRK', /no register or block "CTRK": did you mean CTRL/],
  ['interupts', /did you mean interrupts/],
  ['nonsense', /its blocks are general, flow-control/],
  ['', /no register or block ""/],
  ['constructor', /no register or block/],
  ['MTA[128]', /has 128 registers: give MTA\[0\] to MTA\[127\]/],
  ['MTA[7..5]', /give MTA\[0\]/],
  ['MTA[99999999999999999999]', /give MTA\[0\]/],
  ['MTA[-1]', /no register or block/],
  ['CTRL[0]', /CTRL is one register: leave \[0\] out/],
  ['0x04', /no register at 0x00004: near it are (CTRL|STATUS) at/],
  ['0x2', /no register at/],
  ['0x20000', /is outside: 82540EM ends at 0x20000/],
  ['0xffffffffffffffffffffff', /is outside/],
  ['zz*', /no register or block/],
];
for (const [text, says] of REFUSED) {
  test(`refused: ${text}`, (t) => {
    const error = t.throws(() => choose([map], text), { instanceOf: UsageError });
    t.regex(error!.message, says);
    t.false(error!.message.includes('\n'));
  });
}

for (const model of MODELS) {
  const device = openSim((host) => model.make(host, { name: model.name }), {
    name: `sim:${model.name}`,
    dmaBytes: 1 << 20,
  });
  const { registers, chip } = drivenFamilyOf(model).driver.tools(device);

  test(`${model.name}: a list reads nothing that reading changes, and everything else`, (t) => {
    const bar = device.bar(0);
    const touched = new Set<number>();
    const read32 = (at: number) => {
      touched.add(at);
      return bar.read32(at);
    };
    const all = read({ config: device.config, bar: () => ({ ...bar, read32 }) }, chooseAll([registers]), false);
    t.is(registers.chip, chip);
    for (const row of registers.rows) {
      const [first] = all.filter((reading) => reading.row === row);
      t.is(touched.has(row.at), unreadOf(row) === undefined, row.name);
      t.is(first!.unread, unreadOf(row), row.name);
    }
  });
}

test('a chip has its own registers, and none of another variant', (t) => {
  const mapOf = (name: string) => {
    const model = MODELS.find((model) => model.name === name)!;
    return drivenFamilyOf(model).driver.tools(openSim((host) => model.make(host, { name }), { name })).registers;
  };
  for (const name of [
    'CPMU_CTRL',
    'MAC_RSS_HASH_KEY',
    'HOSTCC_VEC_RXCOL_TICKS',
    'RCVDBDI_JUMBO_ADDR_LOW',
    'RX_PTP_CTL',
  ]) {
    t.is(choose([mapOf('tg3')], name)[0]!.row.name, name);
    t.is(choose([mapOf('tg3-57765')], name)[0]!.row.name, name);
    for (const older of ['tg3-5721', 'tg3-5751'])
      t.throws(() => choose([mapOf(older)], name), {
        instanceOf: UsageError,
        message: /^BCM57[25]1 has no register or block/,
      });
  }
  const blocks = (name: string) => new Set(mapOf(name).rows.map(({ block }) => block));
  t.true(blocks('tg3').has('CPMU') && blocks('tg3').has('Receive side scaling'));
  t.false(blocks('tg3-5721').has('CPMU') || blocks('tg3-5721').has('Receive side scaling'));
  t.is(mapOf('tg3').rows.length, BCM57XX.rows.length);
});

test('what a read takes away is read where it is named', (t) => {
  const model = MODELS.find(({ name }) => name === 'tg3')!;
  const device = openSim((host) => model.make(host, { name: 'tg3' }), { name: 'sim:tg3', dmaBytes: 1 << 20 });
  const { registers } = drivenFamilyOf(model).driver.tools(device);
  const bar = device.bar(0);
  bar.write32(BCM57XX.r.FTQ_FIFO_ENQDEQ.at(1), 7);
  t.regex(
    listing(read(device, choose([registers], 'flow-through-queues'), false)),
    /taken by reading: FTQ_FIFO_ENQDEQ$/m,
  );
  t.is(read(device, choose([registers], 'FTQ_FIFO_ENQDEQ[1]'), false)[0]!.value, 7);
  t.is(write(device, choose([registers], 'MSGINT_FIFO'), 1).before, null);
});

test('whatever is typed ends in registers or in one line, soon', (t) => {
  const text = fc.oneof(fc.string({ maxLength: 100 }), fc.stringMatching(/^[A-Z*[\]0-9.x]{0,60}$/));
  fc.assert(
    fc.property(text, (text) => {
      try {
        t.not(choose([map], text).length, 0);
      } catch (error) {
        t.true(error instanceof UsageError, String(error));
      }
    }),
  );
  t.throws(() => choose([map], `${'*a'.repeat(5000)}!`), { instanceOf: UsageError });
  t.deepEqual(alike('x'.repeat(1e6), ['CTRL']), []);
});

test('a list reads nothing that reading changes; named, or with --all, it is read', (t) => {
  const card = open();
  const bar = card.bar(0);
  const { ICR, ICS, GPRC } = I82540EM.r;
  bar.write32(ICS.at, ICR.LSC);
  const all = read(card, chooseAll([map]), false);
  t.true(all.every(({ row, value }) => (value === null) === (unreadOf(row) !== undefined)));
  t.is(all.find(({ name }) => name === 'ICR')!.unread, 'cleared by reading');
  t.regex(listing(all), /cleared by reading: ICR$/m);
  t.is(read(card, choose([map], 'interrupts'), true)[0]!.value, ICR.LSC);
  bar.write32(ICS.at, ICR.LSC);
  t.is(read(card, choose([map], 'ICR'), false)[0]!.value, ICR.LSC);
  t.is(read(card, choose([map], 'ICR'), false)[0]!.value, 0);
  t.is(read(card, choose([map], 'ICS'), true)[0]!.unread, 'write-only');
  t.is(read(card, choose([map], 'GPRC'), false)[0]!.at, GPRC.at);
});

test('a masked write changes the masked bits only', (t) => {
  fc.assert(
    fc.property(fc.nat(0xffffffff), fc.nat(0xffffffff), fc.nat(0xffffffff), (start, mask, bits) => {
      const card = open();
      const bar = card.bar(0);
      const { MTA } = I82540EM.r;
      bar.write32(MTA.at(5), start);
      const value = (bits & mask) >>> 0;
      const expected = ((start & ~mask) | value) >>> 0;
      const written = write(card, choose([map], 'MTA[5]'), value, mask);
      t.deepEqual(written, { name: 'MTA[5]', at: MTA.at(5), before: start, written: expected, after: expected });
    }),
    { numRuns: 50 },
  );
});

test('where 1 acts, bits outside of the mask are not acted on', (t) => {
  const card = open();
  const bar = card.bar(0);
  const { ICR, ICS } = I82540EM.r;
  write(card, choose([map], 'IMS'), 0x5);
  t.is(write(card, choose([map], 'IMS'), 0x2, 0x2).written, 0x2);
  t.is(bar.read32(I82540EM.r.IMS.at), 0x7);
  bar.write32(ICS.at, ICR.LSC | ICR.TXDW);
  t.deepEqual(write(card, choose([map], 'ICR'), ICR.LSC), {
    name: 'ICR',
    at: ICR.at,
    before: null,
    written: ICR.LSC,
    after: null,
  });
  t.is(bar.read32(ICR.at), ICR.TXDW);
});

test('what cannot be written is not', (t) => {
  const card = open();
  const refused = (text: string, value: number, mask: number | undefined, message: RegExp) =>
    t.throws(() => write(card, choose([map], text), value, mask), { instanceOf: UsageError, message });
  refused('STATUS', 1, undefined, /STATUS is only read/);
  refused('GPRC', 1, undefined, /only read/);
  refused('MTA', 1, undefined, /for one register/);
  refused('MTA[0..1]', 1, undefined, /for one register/);
  refused('receive', 1, undefined, /for one register/);
  refused('CTRL', 0x100, 0xff, /0x100 has bits outside of the mask 0xff/);
});

test('a value is a whole number of 32 bits', (t) => {
  t.deepEqual(['0x40', '0b11', '64', '0xFFFFFFFF'].map(word32), [64, 3, 64, 0xffffffff]);
  for (const text of ['', '-1', '0x', 'x', '1e3', '0x100000000', '1.5', ' 1', 'NaN'])
    t.throws(() => word32(text), undefined, text);
});

test('configuration space goes by name, in its own widths, and is not searched by offset', (t) => {
  const card = open();
  const maps = [map, I82540EM_CONFIGURATION] as const;
  const [command] = choose(maps, 'pci_command');
  t.deepEqual(write(card, choose(maps, 'PCI_COMMAND'), 4, 4), {
    name: 'PCI_COMMAND',
    at: 4,
    before: 2,
    written: 6,
    after: 6,
  });
  t.regex(atLength(read(card, [command!], false)[0]!), /^PCI_COMMAND {2}0x00004 {2}RW .*\n {2}0x0006$/m);
  t.is(choose(maps, '0x8')[0]!.row.name, 'STATUS');
  t.deepEqual(choose(maps, 'pci-configuration').length, I82540EM_CONFIGURATION.rows.length);
  t.throws(() => write(card, choose(maps, 'PCI_COMMAND'), 0x10000), { message: /PCI_COMMAND has 16 bits/ });
  t.throws(() => write(card, choose(maps, 'PCI_VENDOR_ID'), 1), { message: /only read/ });
});

test('a register that BAR 0 and configuration space show is listed once', (t) => {
  const model = MODELS.find(({ name }) => name === 'tg3')!;
  const device = openSim((host) => model.make(host, { name: 'tg3' }), { name: 'sim:tg3' });
  const { registers, configuration } = drivenFamilyOf(model).driver.tools(device);
  const maps = [registers, configuration] as const;
  const names = chooseAll(maps).map(({ row }) => row.name);
  t.is(new Set(names).size, names.length);
  t.true(names.includes('SND_PROD_IDX') && names.includes('MISC_HOST_CTRL'));
  t.true(read(device, choose(maps, 'pci-configuration'), false).every(({ value }) => value !== null));
});

test('a table without blocks of its own has those of its sections', (t) => {
  const other = new RegisterMap('other', 0x100, {
    MODE: { at: 0, access: 'RW', title: 'mode', section: 'Receive data/BD initiator' },
    STAT: { at: 4, access: 'RO', title: 'status', section: 'PCI mirror / config' },
  });
  t.is(choose([other], 'receive-data-bd-initiator')[0]!.row.name, 'MODE');
  t.throws(() => choose([other], 'nonsense'), { message: /receive-data-bd-initiator, pci-mirror-config$/ });
});

test.serial('the command: decoded, written, as JSON', async (t) => {
  const { stdout, exitCode } = await fauxnicHere('regs sim:e1000 ctrl');
  t.is(exitCode, 0);
  t.regex(stdout, /^CTRL {2}0x00000 {2}RW {2}Device Control \(82540EM, 13\.4\.1\)\n {2}0x00000201$/m);
  t.regex(stdout, /^ {2}SPEED +9:8 +2$/m);
  const config = await fauxnicHere('regs sim:e1000 PCI_DEVICE_ID');
  t.regex(config.stdout, /^PCI_DEVICE_ID {2}0x00002 {2}RO {2}device \(82540EM, 6\.2\.1\)\n {2}0x100e$/m);
  const written = await fauxnicHere('regs sim:e1000 LEDCTL --write 0x0e --mask 0x0f');
  t.is(
    written.stdout,
    ['before  0x07068302 LED0_MODE=2', 'written 0x0706830e LED0_MODE=0xe', 'after   0x0706830e LED0_MODE=0xe']
      .map((line) => `\n  ${line} LED1_MODE=3 LED1_BLINK=1 LED2_MODE=6 LED3_MODE=7`)
      .reduce((text, line) => text + line, 'LEDCTL'),
  );
  const { registers } = JSON.parse((await fauxnicHere('regs sim:e1000 --json')).stdout) as {
    registers: { name: string; value: number | null; unread?: string; fields?: object }[];
  };
  t.like(
    registers.find(({ name }) => name === 'ICR'),
    { value: null, unread: 'cleared by reading' },
  );
  t.like(
    registers.find(({ name }) => name === 'RAH[0]'),
    { value: 0x80000154, fields: { RAH: 0x154, AS: 0, AV: 1 } },
  );
});

test.serial('the command on a chip whose blocks are those of its sections', async (t) => {
  const { stdout, stderr } = await fauxnicHere('regs sim:tg3 mac_addr_high[0] GRC_MODE');
  t.regex(stdout, /^MAC_ADDR_HIGH\[0\] {2}0x00410 {2}RW .*\(BCM57762, Ethernet MAC\)\n {2}0x00000200$/m, stderr);
  t.regex(stdout, /^ {2}NVRAM_WR_ENABLE +21 +0$/m);
  const written = await fauxnicHere('regs sim:tg3-5751 GRC_MODE --write 0x6 --mask 0x6');
  t.regex(written.stdout, /after {3}0x00000006 BSWAP_NONFRM_DATA=1 WSWAP_NONFRM_DATA=1$/);
});

const MISTAKES: [line: string, says: RegExp][] = [
  ['regs sim:e1000 CTRK', /did you mean CTRL/],
  ['regs sim:tg3-5721 CPMU_CTRL', /BCM5721 has no register or block "CPMU_CTRL"/],
  ['regs sim:e1000 CTRL --write 0x100000000', /32 bits/],
  ['regs sim:e1000 CTRL --mask 1', /--mask is for a write/],
  ['regs sim:e1000 CTRL STATUS --write 1', /for one register/],
  ['regs vfio-user:/nowhere/nic0', /\/nowhere\/nic0/],
];
for (const [line, says] of MISTAKES) test.serial(`refused: fauxnic ${line}`, (t) => assertRefused(t, line, says));
