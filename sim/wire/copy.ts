/**
 * Copies `length` bytes. A view made for `set` is an object of its own and costs more than copying a small frame byte
 * by byte; so the small and the whole go without one.
 */
export function copyBytes(from: Uint8Array, start: number, length: number, to: Uint8Array, at: number): void {
  if (length <= SMALL) {
    for (let i = 0; i < length; i++) to[at + i] = from[start + i]!;
  } else if (start === 0 && length === from.length) {
    to.set(from, at);
  } else {
    to.set(from.subarray(start, start + length), at);
  }
}

const SMALL = 64;
