const STEP = 1; // millisecond
const nobody = new Int32Array(new SharedArrayBuffer(4));

/** Sleeps for a moment, the event loop too: for waiting in a synchronous write or read. Returns its milliseconds. */
export function pause(): number {
  Atomics.wait(nobody, 0, 0, STEP);
  return STEP;
}
