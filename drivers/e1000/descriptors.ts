/** What the driver adds to the chip's descriptor layouts, which are the model's, too: sim/e1000/descriptors.ts. */
import { RX_CE, RX_CXE, RX_RXE, RX_SE, RX_SEQ } from '../../sim/e1000/descriptors.ts';

/** Descriptors come in cache lines: RDLEN and TDLEN are multiples of 128 bytes, eight of them (3.2.6, 3.4). */
export const RINGS = { least: 80, most: 4096 } as const;

/** Bytes; RDBAL and TDBAL leave out the lower bits (13.4.25). */
export const RING_ALIGN = 128;

/** The frame is damaged. A wrong checksum inside it (TCPE, IPE) is not the card's to judge. */
export const RX_DAMAGED = RX_CE | RX_SE | RX_SEQ | RX_CXE | RX_RXE;
