/** Registers that every PHY has, and what its two ends agree to. IEEE 802.3 clauses 22, 28 and 40. */

export const MII_CONTROL = 0;
export const MII_STATUS = 1;
export const MII_ADVERTISEMENT = 4;
export const MII_PARTNER_ABILITY = 5;
export const MII_CONTROL_1000 = 9;

export const CONTROL_RESET = 1 << 15;
export const CONTROL_NEGOTIATE = 1 << 12;
export const CONTROL_RESTART = 1 << 9;
export const STATUS_LINK = 1 << 2; // sticks at 0 until read
const SELECTOR_802_3 = 1;
const ADVERTISE_10_100 = 0x01e0;
export const PAUSE = 1 << 10;
export const ASYMMETRIC = 1 << 11;
/** Everything at 10 and 100 Mbit/s, PAUSE both ways included. */
export const ADVERTISE = SELECTOR_802_3 | ADVERTISE_10_100 | PAUSE | ASYMMETRIC;
export const ADVERTISE_1000_FULL = 1 << 9;

export interface Pause {
  readonly receive: boolean;
  readonly transmit: boolean;
}

/** IEEE 802.3 Annex 28B, table 28B-3, from the PAUSE and ASM_DIR bits of either end. */
export function resolvePause(local: number, partner: number): Pause {
  if ((local & partner & PAUSE) !== 0) return { receive: true, transmit: true };
  if ((local & partner & ASYMMETRIC) === 0) return { receive: false, transmit: false };
  // Both can do it one way only: from the end that does not take PAUSE to the one that does.
  return { receive: (local & PAUSE) !== 0, transmit: (partner & PAUSE) !== 0 };
}
