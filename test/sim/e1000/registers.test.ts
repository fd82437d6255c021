/** The 82540EM's registers beyond what every table promises (spec/registers.ts), and the ways to them. Sections: Intel 317453. */
import test from 'ava';
import { I82540EM } from '../../../sim/e1000/registers.ts';
import { COMMAND, COMMAND_IO, COMMAND_MEMORY } from '../../../sim/pci/config.ts';
import { offsetOf } from '../../../sim/registers.ts';
import { Bench, R, Recorder } from '../../util/e1000-harness.ts';

const off = { up: false };

function bench(): Bench {
  const made = new Bench(off);
  made.card.config.write(COMMAND, 2, COMMAND_IO | COMMAND_MEMORY);
  return made;
}

const { rows } = I82540EM;

test('WUS is cleared by writing ones', (t) => {
  const { card } = bench();
  card.registers.words[R.WUS.word] = 0xff;
  card.writeBar(0, R.WUS.at, 4, 0x0f);
  t.is(card.readBar(0, R.WUS.at, 4), 0xf0);
});

test('every register that the model only stores is named in the trace, once, when it is touched', (t) => {
  const { card } = bench();
  const recorder = new Recorder();
  card.trace = recorder;
  const lacking = rows.filter(({ modelled }) => modelled !== undefined);
  t.true(lacking.length > 20);
  for (const row of lacking) {
    card.readBar(0, row.at, 4);
    card.readBar(0, row.at, 1);
    const { when, why } = row.modelled!;
    const how = when === 'never' ? 'never modelled' : 'not modelled yet';
    const notes = recorder.lines.filter((line) => line === `82540EM: ${row.name} is ${how}: ${why}`);
    t.is(notes.length, 1, row.name);
  }
});

test('bytes and halves reach a register in place', (t) => {
  const { card } = bench();
  card.writeBar(0, R.ITR.at, 1, 0x34);
  card.writeBar(0, R.ITR.at + 1, 1, 0x12);
  t.is(card.readBar(0, R.ITR.at, 2), 0x1234);
  t.is(card.readBar(0, R.FCAL.at + 2, 2), 0x00c2);
});

test('the I/O BAR: IOADDR selects, IODATA reads and writes (13.2.2)', (t) => {
  const { card } = bench();
  card.writeBar(2, 0, 4, R.FCTTV.at);
  card.writeBar(2, 4, 4, 0x680);
  t.is(card.readBar(2, 0, 4), R.FCTTV.at);
  t.is(card.readBar(2, 4, 4), 0x680);
  t.is(card.readBar(2, 4, 2), 0x680);
  t.is(card.readBar(2, 5, 1), 0x06);
  t.is(card.readBar(0, R.FCTTV.at, 4), 0x680);
});

test('the I/O BAR: IOADDR is written whole or not at all, and what lies past the registers does not answer', (t) => {
  const { card } = bench();
  card.writeBar(2, 0, 4, 0xfff00000 | R.FCTTV.at);
  t.is(card.readBar(2, 0, 4), R.FCTTV.at, 'bits 31:20 are reserved');
  card.writeBar(2, 0, 2, 0x1234);
  t.is(card.readBar(2, 0, 4), R.FCTTV.at);
  card.writeBar(2, 0, 4, 0x20000);
  t.is(card.readBar(2, 4, 4), 0);
  t.is(card.readBar(2, 8, 4), 0);
});

test('the I/O BAR resets the card, as Linux does it', (t) => {
  const { card } = bench();
  card.writeBar(0, R.TIDV.at, 4, 8);
  card.writeBar(2, 0, 4, R.CTRL.at);
  card.writeBar(2, 4, 4, R.CTRL.RST);
  t.is(card.readBar(0, R.TIDV.at, 4), 0);
  t.is(card.readBar(0, R.CTRL.at, 4), 0x201, 'RST clears itself (13.4.1)');
});

// What a reset of each kind does to a register.
const resets: [string, (b: Bench) => void, Record<string, boolean>][] = [
  [
    'CTRL.RST',
    (b) => b.write(R.CTRL, R.CTRL.RST),
    { RCTL: true, MTA: false, VFTA: false, PBA: false, WUC: false, GPRC: true },
  ],
  ['bus', (b) => b.card.reset('bus'), { RCTL: true, MTA: true, VFTA: true, PBA: true, WUC: true, GPRC: true }],
  ['PHY', (b) => b.write(R.CTRL, R.CTRL.PHY_RST | 1), { RCTL: false, MTA: false, GPRC: false }],
];
for (const [kind, act, expected] of resets) {
  test(`a ${kind} reset: what it clears and what it leaves (13.4.1)`, (t) => {
    const b = bench();
    const { words } = b.card.registers;
    const wordOf = (name: string) => offsetOf(R[name as 'RCTL']) / 4;
    for (const name of Object.keys(expected)) words[wordOf(name)] = 2;
    b.mdio(4, 0x0101);
    act(b);
    for (const [name, cleared] of Object.entries(expected)) {
      const row = I82540EM.find(4 * wordOf(name))!;
      t.is(words[wordOf(name)], cleared ? (row.reset ?? 0) : 2, name);
    }
    b.card.config.write(COMMAND, 2, COMMAND_MEMORY);
    t.is(b.mdio(4), kind === 'CTRL.RST' ? 0x0101 : 0x0de1, 'the PHY has its own reset');
  });
}

test('after a reset the station address is the EEPROM’s again, and no other is valid (13.5.3)', (t) => {
  const b = bench();
  b.write(R.RAL, 0x11111111);
  b.write(R.RAH, 0x80001111);
  b.write(R.RAH, 0x80002222, 5);
  b.write(R.CTRL, R.CTRL.RST);
  t.is(b.read(R.RAL), 0x82000002);
  t.is(b.read(R.RAH), 0x80000154);
  t.is(b.read(R.RAH, 5), 0);
});

test('a reset leaves no cause behind, though the link goes', (t) => {
  const b = new Bench();
  t.truthy(b.read(R.STATUS) & R.STATUS.LU);
  b.write(R.CTRL, R.CTRL.RST);
  t.deepEqual(b.causes(), []);
  t.falsy(b.read(R.STATUS) & R.STATUS.LU);
});

test('PBA: TXA is what RXA leaves of 64 KB, and only reads (13.4.16)', (t) => {
  const b = bench();
  for (const [rxa, value] of [
    [40, 0x00180028],
    [0, 0x00400000],
    [0xffff, 0x00000040],
  ] as const) {
    b.write(R.PBA, 0xffff0000 | rxa);
    t.is(b.read(R.PBA), value);
  }
});

test('STATUS shows speed and duplex as negotiated, or as CTRL forces them (13.4.2)', (t) => {
  const b = new Bench();
  t.is(b.read(R.STATUS) & (R.STATUS.SPEED | R.STATUS.FD | R.STATUS.LU | R.STATUS.ASDV), 0x283);
  b.write(R.CTRL, R.CTRL.SLU | R.CTRL.FRCSPD | R.CTRL.FRCDPLX | 0x100);
  t.is(b.read(R.STATUS) & (R.STATUS.SPEED | R.STATUS.FD | R.STATUS.LU | R.STATUS.ASDV), 0x242);
});

test('ILOS turns the PHY’s word about the link around', (t) => {
  const b = new Bench();
  b.set(R.CTRL, R.CTRL.ILOS);
  t.falsy(b.read(R.STATUS) & R.STATUS.LU);
  b.wire.disconnect();
  t.truthy(b.read(R.STATUS) & R.STATUS.LU);
});

test('configuration space: BARs, identity and capabilities of the part (4.1)', (t) => {
  const { config } = bench().card;
  t.is(config.read(0, 4), 0x100e8086);
  t.is(config.read(8, 4), 0x02000002);
  config.write(0x10, 4, 0xffffffff);
  config.write(0x18, 4, 0xffffffff);
  t.is(config.read(0x10, 4), 0xfffe0000);
  t.is(config.read(0x18, 4), 0xffffffc1);
  const ids: number[] = [];
  for (let at = config.read(0x34, 1); at !== 0; at = config.read(at + 1, 1)) ids.push(config.read(at, 1));
  t.deepEqual(ids, [1, 7, 5]);
});
