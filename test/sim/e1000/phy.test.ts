/** The PHY: MDIC (13.4.7), negotiation and forced modes by IEEE 802.3 clauses 22, 28 and 40, loopback, interrupts. */
import test from 'ava';
import type { Station } from '../../../sim/wire/index.ts';
import { Bench, LINK_UP, R } from '../../util/e1000-harness.ts';

const CONTROL = 0;
const STATUS = 1;
const ADVERTISEMENT = 4;
const PARTNER = 5;
const EXPANSION = 6;
const GIGABIT = 9;
const GIGABIT_STATUS = 10;
const SPECIFIC = 17;
const ENABLE = 18;
const CAUSES = 19;

const LINK = 0x0004;
const NEGOTIATED = 0x0020;
const RESTART = 0x1200; // with negotiation on

/** The six modes of copper, best first (802.3 Annex 28B.3), as bits of Station.abilities. */
const MODES = [
  { bit: 0x20, speed: 1000, full: true },
  { bit: 0x10, speed: 1000, full: false },
  { bit: 0x08, speed: 100, full: true },
  { bit: 0x04, speed: 100, full: false },
  { bit: 0x02, speed: 10, full: true },
  { bit: 0x01, speed: 10, full: false },
];

/** Speed and duplex as the PHY shows them; null without link. */
function mode(b: Bench): string | null {
  const status = b.mdio(SPECIFIC);
  if (!(status & 0x0400)) return null;
  return `${[10, 100, 1000][status >>> 14]} ${status & 0x2000 ? 'full' : 'half'}`;
}

function advertise(b: Bench, abilities: number, pause = 0): void {
  b.mdio(ADVERTISEMENT, ((abilities & 15) << 5) | pause | 1);
  b.mdio(GIGABIT, ((abilities >>> 4) & 3) << 8);
  b.mdio(CONTROL, RESTART);
  b.clock.advance(LINK_UP);
}

const station = (abilities: number, negotiates = true): Station => ({ abilities, negotiates });

test('MDIC reads and writes a register, and is ready (13.4.7)', (t) => {
  const b = new Bench();
  b.write(R.MDIC, (2 << 26) | (1 << 21) | (2 << 16));
  t.is(b.read(R.MDIC), (R.MDIC.R | (2 << 26) | (1 << 21) | (2 << 16) | 0x0141) >>> 0);
  b.mdio(ADVERTISEMENT, 0x0101);
  t.is(b.mdio(ADVERTISEMENT), 0x0101);
});

test('the identifier is the 88E1011’s, and read-only registers stay', (t) => {
  const b = new Bench();
  b.mdio(2, 0);
  b.mdio(3, 0);
  b.mdio(15, 0);
  t.deepEqual([b.mdio(2), b.mdio(3) & 0xfff0, b.mdio(15)], [0x0141, 0x0c20, 0x3000]);
});

for (const [what, value] of [
  ['another PHY address', (2 << 26) | (2 << 21)],
  ['an operation that is neither read nor write', (3 << 26) | (1 << 21)],
] as const) {
  test(`MDIC.E answers ${what}`, (t) => {
    const b = new Bench();
    b.write(R.MDIC, value);
    t.is(b.read(R.MDIC) & (R.MDIC.R | R.MDIC.E), R.MDIC.R | R.MDIC.E);
  });
}

test('MDIC.I raises MDAC when the access is done', (t) => {
  const b = new Bench();
  b.mdio(STATUS);
  t.deepEqual(b.causes(), []);
  b.write(R.MDIC, R.MDIC.I | (2 << 26) | (1 << 21));
  t.deepEqual(b.causes(), ['MDAC']);
});

test('two ends that negotiate take the best mode both have, in all 4096 combinations', (t) => {
  const b = new Bench();
  for (let ours = 0; ours < 64; ours++) {
    advertise(b, ours);
    for (let theirs = 0; theirs < 64; theirs++) {
      b.partner.station = station(theirs);
      b.clock.advance(LINK_UP);
      const best = MODES.find(({ bit }) => bit & ours & theirs);
      const expected = best === undefined ? null : `${best.speed} ${best.full ? 'full' : 'half'}`;
      if (mode(b) !== expected) t.is(mode(b), expected, `${ours} ${theirs}`);
    }
  }
  t.pass();
});

test('the partner’s abilities are in its registers (28.2.4.1.4, 40.5.1.1)', (t) => {
  const b = new Bench({ partner: station(0x20 | 0x0a | 0x1000) });
  t.is(b.mdio(PARTNER), 0x4000 | 0x0400 | 0x0140 | 1);
  t.is(b.mdio(EXPANSION) & 1, 1);
  t.is(b.mdio(GIGABIT_STATUS) & 0x3c00, 0x3800);
});

test('parallel detection: a forced partner’s speed is found, its duplex is not: half (28.2.3.1)', (t) => {
  for (const { bit, speed } of MODES) {
    const b = new Bench({ partner: station(bit, false) });
    t.is(mode(b), speed === 1000 ? null : `${speed} half`);
    t.is(b.mdio(EXPANSION) & 1, 0, 'the partner does not negotiate');
    t.is(b.mdio(PARTNER), speed === 1000 ? 0 : speed === 100 ? 0x0080 : 0x0020);
  }
});

test('forced, in every mode against every forced partner: link where the speeds agree, each with its own duplex', (t) => {
  for (const ours of MODES) {
    const b = new Bench();
    b.mdio(CONTROL, { 1000: 0x0040, 100: 0x2000, 10: 0 }[ours.speed]! | (ours.full ? 0x0100 : 0));
    for (const theirs of MODES) {
      b.partner.station = station(theirs.bit, false);
      b.clock.advance(LINK_UP);
      t.is(mode(b), ours.speed === theirs.speed ? `${ours.speed} ${ours.full ? 'full' : 'half'}` : null);
    }
  }
});

test('forced against a partner that negotiates: its parallel detection finds us', (t) => {
  const b = new Bench({ partner: station(0x3f) });
  b.mdio(CONTROL, 0x2100);
  b.clock.advance(LINK_UP);
  t.is(mode(b), '100 full');
  t.deepEqual(b.partner.partner, station(0x08, false));
});

test('the other end sees what is advertised, once negotiation starts again', (t) => {
  const b = new Bench();
  advertise(b, 0x28, 0x0c00);
  t.deepEqual(b.partner.partner, station(0x3028));
});

test('negotiation takes its time, and link is down until it is over', (t) => {
  const b = new Bench();
  b.mdio(CONTROL, RESTART);
  t.is(mode(b), null);
  t.falsy(b.read(R.STATUS) & R.STATUS.LU);
  b.clock.advance(LINK_UP - 1);
  t.is(mode(b), null);
  b.clock.advance(1);
  t.is(mode(b), '1000 full');
  t.is(b.mdio(CONTROL) & 0x0200, 0, 'restart clears itself');
});

test('status bit 2 latches a link that failed until it is read (22.2.4.2.13)', (t) => {
  const b = new Bench();
  b.mdio(STATUS);
  t.is(b.mdio(STATUS) & (LINK | NEGOTIATED), LINK | NEGOTIATED);
  b.wire.disconnect();
  b.wire.connect();
  b.clock.advance(LINK_UP);
  t.is(b.mdio(STATUS) & LINK, 0);
  t.is(b.mdio(STATUS) & LINK, LINK);
});

for (const [what, bit] of [
  ['power down', 0x0800],
  ['isolate', 0x0400],
  ['loopback', 0x4000],
] as const) {
  test(`${what}: the cable sees nobody, and all is well again after`, (t) => {
    const b = new Bench();
    b.mdio(CONTROL, 0x1140 | bit);
    t.is(b.partner.partner, null);
    t.is(mode(b), null);
    b.mdio(CONTROL, 0x1140);
    b.clock.advance(LINK_UP);
    t.is(mode(b), '1000 full');
  });
}

test('in PHY loopback frames come straight back, and none leave', (t) => {
  const b = new Bench();
  b.mdio(CONTROL, 0x4140);
  b.transmitter();
  b.receiver(8, { control: R.RCTL.UPE | R.RCTL.SECRC });
  b.send(new Uint8Array(100).fill(2));
  t.deepEqual(
    b.received().map(({ bytes }) => bytes.length),
    [100],
  );
  t.deepEqual(b.sent(), []);
});

test('LSC is raised when the link comes and when it goes', (t) => {
  const b = new Bench();
  b.wire.disconnect();
  t.deepEqual(b.causes(), ['LSC']);
  b.wire.connect();
  t.deepEqual(b.causes(), []);
  b.clock.advance(LINK_UP);
  t.deepEqual(b.causes(), ['LSC']);
});

test('without CTRL.SLU the MAC has no link, whatever the PHY says', (t) => {
  const b = new Bench();
  b.clear(R.CTRL, R.CTRL.SLU);
  t.falsy(b.read(R.STATUS) & R.STATUS.LU);
  t.is(mode(b), '1000 full');
  b.transmitter();
  b.send(new Uint8Array(60));
  t.deepEqual(b.sent(), []);
});

test('PHY interrupts: what register 18 enables raises PHYINT, and register 19 is cleared by reading', (t) => {
  const b = new Bench();
  b.mdio(CAUSES);
  b.mdio(ENABLE, 0x0400);
  b.wire.disconnect();
  t.true(b.causes().includes('PHYINT'));
  t.is(b.mdio(CAUSES) & 0x0400, 0x0400);
  t.is(b.mdio(CAUSES), 0);
  b.mdio(ENABLE, 0);
  b.wire.connect();
  b.clock.advance(LINK_UP);
  t.false(b.causes().includes('PHYINT'));
});

test('two cards on one cable negotiate with each other', (t) => {
  const a = new Bench();
  const b = new Bench({ clock: a.clock });
  a.wire.unplug(a.partner);
  b.wire.unplug(b.card.port);
  a.wire.plug(b.card.port);
  a.clock.advance(LINK_UP);
  t.is(mode(a), '1000 full');
  t.is(mode(b), '1000 full');
  advertise(b, 0x0f);
  t.is(mode(a), '100 full');
});
