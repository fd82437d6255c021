/**
 * A virtual clock stands still until somebody moves it, and a driver's bring-up awaits delays on that clock. These step
 * it from alarm to alarm, letting the awaiting code run in between.
 */
import { type Clock, SECOND } from '../../sim/clock.ts';
import { DeviceError } from '../device.ts';

/** Turns of the microtask queue that waiting code gets after each alarm: an await takes one to three. */
const TURNS = 256;
/** And where no alarm is left that it could be waiting for. */
const LAST_TURNS = 100_000;

/** Moves the clock until the promise settles, and returns what it settles to. */
export async function runClock<T>(clock: Clock, promise: Promise<T>, { limit = 600 * SECOND } = {}): Promise<T> {
  let settled = false;
  const settle = () => {
    settled = true;
  };
  promise.then(settle, settle);
  const end = clock.now + limit;
  for (;;) {
    for (let turn = 0; turn < TURNS && !settled; turn++) await Promise.resolve();
    for (let turn = 0; turn < LAST_TURNS && !settled && clock.next > end; turn++) await Promise.resolve();
    if (settled) return promise;
    if (clock.next > end) {
      const why = clock.next === Infinity ? 'nothing is scheduled on its clock' : `${limit / SECOND} s have passed`;
      throw new DeviceError('TIMEOUT', `still waiting although ${why}`);
    }
    clock.advanceTo(clock.next);
  }
}

/** Lets `ns` pass, running what comes due and the code that awaits it. */
export async function runFor(clock: Clock, ns: number): Promise<void> {
  const end = clock.now + ns;
  for (;;) {
    for (let turn = 0; turn < TURNS; turn++) await Promise.resolve();
    if (clock.next > end) break;
    clock.advanceTo(clock.next);
  }
  clock.advanceTo(end);
}
