/** The snapshots of every model. */
import test from 'ava';
import { familyOf, MODELS } from '../../scripts/catalogue.ts';
import type { Model } from '../../scripts/families/family.ts';
import type { ChipName } from '../../sim/tg3/chips.ts';
import { type Subject, snapshotsHold } from '../spec/snapshot.ts';
import { bareHost } from '../util/bare-host.ts';
import type { Bench as E1000Bench } from '../util/e1000-harness.ts';
import * as e1000 from '../util/e1000-traffic.ts';
import type { Bench as Tg3Bench } from '../util/tg3-harness.ts';
import * as tg3 from '../util/tg3-traffic.ts';

function stateOf(model: Model): unknown {
  return model.make(bareHost(), { name: model.name }).save();
}

for (const model of MODELS) {
  const others = MODELS.filter((other) => other !== model).map(stateOf);
  const register = (what: string, body: () => void) => test(`${model.name}: ${what}`, (t) => t.notThrows(body));
  if (familyOf(model).name === 'e1000') {
    const subject: Subject<E1000Bench> = {
      busy: e1000.busy,
      step: e1000.step,
      fork: (bench, now) => bench.fork(now),
      others,
    };
    snapshotsHold(subject, register);
  } else {
    const subject: Subject<Tg3Bench> = {
      busy: (prng) => tg3.busy(model.name as ChipName, prng),
      step: tg3.step,
      fork: (bench, now) => bench.fork(now),
      timer: 'GRC_TIMER',
      others,
    };
    snapshotsHold(subject, register);
  }
}
