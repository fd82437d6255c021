/** Arrays of bytes by 32-bit words, as the machine has them: little-endian on all that Node and browsers run on. */

let bytesOfLast: Uint8Array | null = null;
let wordsOfLast: Uint32Array = new Uint32Array(0);
const views = new WeakMap<Uint8Array, Uint32Array>();
const NO_WORDS = new Uint32Array(0);

/**
 * The 32-bit words of an array: the whole ones from its first byte on; none where that is not aligned. Frames live in a
 * few long-lived arrays, so the last one asked for is nearly always the next.
 */
export function wordsOf(bytes: Uint8Array): Uint32Array {
  return bytes === bytesOfLast ? wordsOfLast : lookUp(bytes);
}

function lookUp(bytes: Uint8Array): Uint32Array {
  let words = views.get(bytes);
  if (words === undefined || words.length !== Math.floor(bytes.length / 4)) {
    const aligned = bytes.byteOffset % 4 === 0;
    words = aligned ? new Uint32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / 4)) : NO_WORDS;
    views.set(bytes, words);
  }
  bytesOfLast = bytes;
  wordsOfLast = words;
  return words;
}
