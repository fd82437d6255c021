/** What a run looks like, as a function of what there is; and what fits on a terminal. */
import test from 'ava';
import type { Card } from '../../scripts/rig/card.ts';
import { type FaceState, faceLine, faceLines } from '../../scripts/rig/face.ts';
import { namedDrops, Rates } from '../../scripts/rig/report.ts';
import { noRole } from '../../scripts/rig/roles.ts';
import { clip, widthOf } from '../../scripts/terminal/style.ts';

const STATE: FaceState = {
  elapsed: 12.4,
  name: 'e1000-0',
  about: 'e1000 82540EM, MAC 02:00:00:82:54:01',
  link: { up: true, speed: 1000, fullDuplex: true, rxPause: true, txPause: true },
  rates: { rxPackets: 81_274, txPackets: 0, rxBytes: 122_600_000, txBytes: 0, interrupts: 1230 },
  rings: { rx: { size: 512, used: 511 }, tx: { size: 512, used: 1 } },
  drops: [],
  joined: ['TAP', 'fauxnic0  10.0.0.1/24'],
  verbosity: 'normal',
};

test('the live lines, as they stand on a terminal', (t) => {
  t.deepEqual(faceLines(STATE), [
    '  e1000-0    e1000 82540EM, MAC 02:00:00:82:54:01  12 s',
    '  link       ● up, 1000 Mbit/s, full duplex, pause both ways',
    '  rx         81.3 kpps  981 Mbit/s     ring ███████████████▉ 511/512 ready',
    '  tx         0 pps      0 bit/s        ring ▏··············· 1/512 in use',
    '  drops      none                      interrupts 1.23 k/s',
    '  TAP        fauxnic0  10.0.0.1/24',
    '  keys       d link  s statistics  r reset  v verbosity: normal  h help  q quit',
  ]);
  t.true(
    faceLines({ ...STATE, verbosity: 'normal' }).every((line) => widthOf(line) < 80),
    'a usual terminal holds them',
  );
});

test('without keys nothing is said of them', (t) => {
  t.is(faceLines({ ...STATE, verbosity: null }).length, 6);
});

test('a link that is down, drops by name, rings at their ends', (t) => {
  const link = { up: false, speed: 0, fullDuplex: false, rxPause: false, txPause: false };
  const rings = { rx: { size: 80, used: 0 }, tx: { size: 80, used: 80 } };
  const state: FaceState = {
    ...STATE,
    link,
    rings,
    drops: [
      ['no room on the card', 12_345],
      ['kernel busy', 1],
    ],
  };
  const lines = faceLines(state).join('\n');
  t.regex(lines, /link +● down$/m);
  t.regex(lines, /ring ·{16} 0\/80 ready/);
  t.regex(lines, /ring █{16} 80\/80 in use/);
  t.regex(lines, /drops +12,345 no room on the card, 1 kernel busy/);
  t.is(
    faceLine(state),
    '  12 s  rx 81.3 kpps 981 Mbit/s · tx 0 pps 0 bit/s · rings rx 0/80 tx 80/80 · ' +
      'dropped: 12,345 no room on the card, 1 kernel busy · link down',
  );
  t.regex(faceLine(STATE), /· no drops · link 1000$/);
});

test('a text is cut to the columns there are, its colours are not', (t) => {
  t.is(clip('12345', 5), '12345');
  t.is(clip('\x1b[31m123\x1b[39m456', 4), '\x1b[31m123\x1b[39m4');
  t.is(clip('\x1b[31m12345\x1b[39m6', 2), '\x1b[31m12\x1b[39m', 'what was begun is ended');
  t.is(clip('●█▏·', 2), '●█');
});

function counting() {
  const counts = { rxPackets: 0, txPackets: 0, rxBytes: 0, txBytes: 0, interrupts: 0 };
  const lost = { rxErrors: 0, txErrors: 0, rxMissed: 0 };
  const card = { driver: { statistics: () => ({ ...counts, ...lost }) } } as unknown as Card;
  return { counts, lost, card };
}

test('rates over a window: one frame a second is one, whenever it is looked at', (t) => {
  const { counts, card } = counting();
  const rates = new Rates(card, 1);
  for (let look = 1; look <= 40; look++) {
    if (look % 4 === 0) counts.rxPackets++;
    const { rxPackets } = rates.next(0.25);
    if (look >= 4) t.is(rxPackets, 1, `look ${look}`);
  }
});

test('rates from one look to the next, and across a reset of what is counted', (t) => {
  const { counts, card } = counting();
  const rates = new Rates(card);
  counts.txBytes = 1000;
  t.is(rates.next(0.5).txBytes, 2000);
  t.is(rates.next(0.5).txBytes, 0);
  counts.txBytes = 10;
  t.is(rates.next(0.5).txBytes, 20, 'counted since the reset');
  counts.txBytes = 20;
  t.is(rates.next(0.5).txBytes, 20);
});

test('drops have the names of those there were', (t) => {
  const { lost, card } = counting();
  const role = { ...noRole(), drops: () => [['kernel busy', 3] as const, ['damaged', 0] as const] };
  t.deepEqual(namedDrops(card, role), [['kernel busy', 3]]);
  lost.rxMissed = 2;
  t.deepEqual(namedDrops(card, role), [
    ['no room on the card', 2],
    ['kernel busy', 3],
  ]);
});
