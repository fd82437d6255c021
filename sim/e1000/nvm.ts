/** What is in the 8254x's NVM (manual chapter 5), and how a file has it. */

export const EEPROM_WORDS = 64;
/** The words 00h to 3Fh add up to this (section 5.6.35). */
const CHECKSUM = 0xbaba;

/**
 * A factory image (table 5-2): station address, identification and initialization words, and a checksum that is right.
 * @param mac six bytes.
 */
export function factoryImage(mac: Uint8Array): Uint16Array {
  const words = new Uint16Array(EEPROM_WORDS).fill(0xffff);
  for (let i = 0; i < 3; i++) words[i] = mac[2 * i]! | (mac[2 * i + 1]! << 8);
  words[0x03] = 0x0000; // compatibility
  words[0x08] = 0x1234; // printed board assembly number, high and low
  words[0x09] = 0x5678;
  words[0x0a] = 0x600b; // initialization control 1: signature 01b, 32-bit BARs, load ids from here
  words[0x0b] = 0x001e; // subsystem id
  words[0x0c] = 0x8086; // subsystem vendor
  words[0x0d] = 0x100e; // device id
  words[0x0e] = 0x8086; // vendor
  words[0x0f] = 0x3040; // initialization control 2
  let sum = 0;
  for (let i = 0; i < EEPROM_WORDS - 1; i++) sum += words[i]!;
  words[EEPROM_WORDS - 1] = CHECKSUM - sum;
  return words;
}

/** The words of an image in bytes, the low byte first: what `ethtool -e` writes to a file. */
export function imageWords(image: Uint8Array): Uint16Array {
  return Uint16Array.from({ length: EEPROM_WORDS }, (_, i) => image[2 * i]! | (image[2 * i + 1]! << 8));
}
