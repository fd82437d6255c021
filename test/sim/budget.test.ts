import test from 'ava';
import { Clock } from '../../sim/clock.ts';
import { AddressSpace, BusMaster } from '../../sim/memory.ts';
import { Budget, FIRST_WORK, MOMENT_WORK } from '../../sim/nic/budget.ts';
import { restore } from '../../sim/state.ts';

function budgeted() {
  const clock = new Clock();
  const dma = new BusMaster(new AddressSpace());
  const budget = new Budget(clock, dma);
  const rest = () => budget.heldUntil - clock.now;
  return { clock, dma, budget, rest };
}

test('each moment that uses its share up doubles it, up to the most; one that does not leaves it', (t) => {
  const { clock, budget, rest } = budgeted();
  for (let share = FIRST_WORK; share <= MOMENT_WORK; share *= 2) {
    budget.spend(share - 1);
    t.true(rest() <= 0);
    clock.advance(1);
    budget.spend(share - 1);
    t.true(rest() <= 0, 'a new moment');
    budget.spend(1);
    t.is(rest(), 8 * share);
    clock.advance(8 * share);
  }
  budget.spend(MOMENT_WORK);
  t.is(rest(), 8 * MOMENT_WORK, 'no more than that');
});

test('a card restored goes on with the share it had, spent and resting as it was', (t) => {
  const { clock, dma, budget, rest } = budgeted();
  budget.spend(FIRST_WORK);
  t.is(rest(), 8 * FIRST_WORK);
  const copy = new Budget(clock, dma);
  restore(copy.state, budget.state.save(), 'budget');
  t.is(copy.heldUntil, budget.heldUntil);
  clock.advance(8 * FIRST_WORK);
  copy.spend(FIRST_WORK);
  t.true(copy.heldUntil <= clock.now);
});
