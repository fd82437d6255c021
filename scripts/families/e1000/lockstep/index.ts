/** `fauxnic diff` for the 8254x. */
import { I82540EM } from '../../../../sim/e1000/registers.ts';
import { field } from '../../../../sim/registers.ts';
import type { Access, Lockstep, Step } from '../../../lockstep/step.ts';
import { KNOWN } from './known.ts';
import { E1000Player } from './player.ts';
import { makeScript } from './script.ts';

const { EERD, MDIC, RDT, TDT } = I82540EM.r;
const MDIC_READ = 2; // 13.4.7

export const E1000_LOCKSTEP: Lockstep = {
  datasheet: '317453',
  known: KNOWN,
  script: makeScript,
  recorded: (access) => (isLeftOut(access) ? null : asked(access)),
  player: (side, map) => new E1000Player(side, map),
};

function isLeftOut({ does, at }: Access): boolean {
  return does === 'write' ? at === RDT.at || at === TDT.at : at === EERD.at || at === MDIC.at;
}

function asked(step: Access): Step {
  if (step.does === 'read') return step;
  const { at, value } = step;
  if (at === EERD.at && (value & EERD.START) !== 0) return { does: 'nvm', word: field(value, EERD.ADDR) };
  if (at === MDIC.at && field(value, MDIC.OP) === MDIC_READ)
    return { does: 'phy', register: field(value, MDIC.REGADD) };
  return step;
}
