/** A station's own address: what it may be, and how it is written. */

/** "02:00:00:82:54:01" */
export function macText(mac: Uint8Array): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** What is wrong with one of six bytes; null, where nothing is. */
export function wrongAddress(mac: Uint8Array): string | null {
  if ((mac[0]! & 1) !== 0) return `the station address ${macText(mac)} is a multicast address`;
  return mac.every((byte) => byte === 0) ? `the station address ${macText(mac)} is all zeros` : null;
}
