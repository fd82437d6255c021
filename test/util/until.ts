/** Waiting for what is due to happen, without guessing how long it takes on this machine. */
import { setTimeout as wait } from 'node:timers/promises';
import { Stall } from '../../scripts/stall.ts';

const LOOK = 5; // milliseconds
const STALLED = 20_000; // milliseconds

/** Returns once it has happened; throws where this process and its children have done nothing for a while. */
export async function until(happened: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const stall = new Stall(process.pid);
  while (!(await happened())) {
    if (stall.length > STALLED) throw new Error(`nothing has moved for ${STALLED / 1000} s, without ${what}`);
    await wait(LOOK);
  }
}
