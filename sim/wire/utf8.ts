// TextEncoder and TextDecoder belong to the host, not to the language: the models do without.

const REPLACEMENT = 0xfffd;

/** At most `limit` bytes of UTF-8, cut between characters; a lone surrogate becomes U+FFFD. */
export function encodeUtf8(text: string, limit = Infinity): Uint8Array {
  const bytes: number[] = [];
  for (const character of text) {
    const encoded = encodeCodePoint(character.codePointAt(0)!);
    if (bytes.length + encoded.length > limit) break;
    bytes.push(...encoded);
  }
  return Uint8Array.from(bytes);
}

function encodeCodePoint(given: number): number[] {
  const c = given >= 0xd800 && given <= 0xdfff ? REPLACEMENT : given;
  if (c < 0x80) return [c];
  if (c < 0x800) return [0xc0 | (c >> 6), tail(c)];
  if (c < 0x10000) return [0xe0 | (c >> 12), tail(c >> 6), tail(c)];
  return [0xf0 | (c >> 18), tail(c >> 12), tail(c >> 6), tail(c)];
}

function tail(bits: number): number {
  return 0x80 | (bits & 0x3f);
}

/** Never throws: what is not UTF-8 becomes U+FFFD, byte by byte. */
export function decodeUtf8(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes, at);
    text += length === 0 ? '\ufffd' : String.fromCodePoint(decodeSequence(bytes, at, length));
    at += Math.max(1, length);
  }
  return text;
}

/** How many bytes the character at `at` has; 0 where there is no well-formed one (Unicode table 3-7). */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const lead = bytes[at]!;
  if (lead < 0x80) return 1;
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  for (let i = 1; i < length; i++) if (((bytes[at + i] ?? 0) & 0xc0) !== 0x80) return 0;
  if (lead < 0xc0 || lead > 0xf7) return 0;
  const point = decodeSequence(bytes, at, length);
  const least = [0, 0, 0x80, 0x800, 0x10000][length]!;
  return point < least || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff) ? 0 : length;
}

function decodeSequence(bytes: Uint8Array, at: number, length: number): number {
  const lead = bytes[at]!;
  if (length === 1) return lead;
  let point = lead & (0x7f >> length);
  for (let i = 1; i < length; i++) point = (point << 6) | (bytes[at + i]! & 0x3f);
  return point;
}
