/** The frame check sequence: CRC-32 of IEEE 802.3 clause 3.2.9, eight bytes a step (slicing-by-8). */
const TABLES = makeTables();

function makeTables(): Uint32Array {
  const tables = new Uint32Array(8 * 256);
  for (let n = 0; n < 256; n++) {
    let crc = n;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
    tables[n] = crc;
  }
  for (let i = 256; i < tables.length; i++) {
    const before = tables[i - 256]!;
    tables[i] = tables[before & 0xff]! ^ (before >>> 8);
  }
  return tables;
}

/** The FCS of a frame; its least significant byte goes on the wire first. */
export function crc32(bytes: Uint8Array, start: number, length: number): number {
  const t = TABLES;
  let crc = 0xffffffff;
  let at = start;
  for (const end = start + (length & ~7); at < end; at += 8) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    crc =
      t[0x700 + (crc & 0xff)]! ^
      t[0x600 + ((crc >>> 8) & 0xff)]! ^
      t[0x500 + ((crc >>> 16) & 0xff)]! ^
      t[0x400 + (crc >>> 24)]! ^
      t[0x300 + bytes[at + 4]!]! ^
      t[0x200 + bytes[at + 5]!]! ^
      t[0x100 + bytes[at + 6]!]! ^
      t[bytes[at + 7]!]!;
  }
  for (const end = start + length; at < end; at++) crc = t[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}
