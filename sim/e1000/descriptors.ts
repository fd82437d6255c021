/** Descriptor layouts (manual sections 3.2.3 and 3.3): 16 bytes, here as four little-endian words; bits are of the word. */

export const DESCRIPTOR = 16;

// Receive (3.2.3): words 0 and 1 are the buffer's address.
// Word 2: length 15:0, packet checksum 31:16.
// Word 3: status 7:0, errors 15:8, special (VLAN tag) 31:16.
export const RX_DD = 1 << 0;
export const RX_EOP = 1 << 1;
export const RX_IXSM = 1 << 2;
export const RX_VP = 1 << 3;
export const RX_TCPCS = 1 << 5;
export const RX_IPCS = 1 << 6;
export const RX_PIF = 1 << 7;
export const RX_CE = 1 << 8;
export const RX_SE = 1 << 9;
export const RX_SEQ = 1 << 10;
export const RX_CXE = 1 << 12;
export const RX_TCPE = 1 << 13;
export const RX_IPE = 1 << 14;
export const RX_RXE = 1 << 15;

// Transmit, word 2, command 31:24, in every layout (3.3.3.1, 3.3.6.1, 3.3.7.1).
export const TX_EOP = 1 << 24;
export const TX_IFCS = 1 << 25;
export const TX_IC = 1 << 26; // legacy: insert checksum
export const TX_TSE = 1 << 26; // data and context: TCP segmentation
export const TX_RS = 1 << 27;
export const TX_RPS = 1 << 28;
export const TX_DEXT = 1 << 29;
export const TX_VLE = 1 << 30;
export const TX_IDE = 1 << 31;
// Context: the two lowest command bits.
export const TX_CONTEXT_TCP = 1 << 24;
export const TX_CONTEXT_IPV4 = 1 << 25;
// With DEXT: DTYP 23:20.
export const TX_TYPE = 0xf << 20;
export const TX_TYPE_CONTEXT = 0 << 20;
export const TX_TYPE_DATA = 1 << 20;
// Legacy: length 15:0, CSO 23:16. Data: DTALEN 19:0. Context: PAYLEN 19:0.
export const TX_LEGACY_LENGTH = 0xffff;
export const TX_DATA_LENGTH = 0xfffff;
// Word 3: status 3:0; data: POPTS 15:8; VLAN tag 31:16.
export const TX_DD = 1 << 0;
export const TX_IXSM = 1 << 8;
export const TX_TXSM = 1 << 9;
