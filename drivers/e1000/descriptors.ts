/**
 * Descriptors as 32-bit words, four each. Sections: Intel 317453 chapter 3.
 */

/** Descriptors come in cache lines: RDLEN and TDLEN are multiples of 128 bytes, eight of them (3.2.6, 3.4). */
export const DESCRIPTOR_BYTES = 16;
export const MIN_DESCRIPTORS = 80;
export const MAX_DESCRIPTORS = 4096;

// 3.2.3, table 3-1: receive. Word 0, 1: address. Word 2: length 15:0, packet checksum 31:16.
// Word 3: status 7:0, errors 15:8, special (the VLAN tag) 31:16.
export const RX_DD = 1 << 0;
export const RX_EOP = 1 << 1;
export const RX_IXSM = 1 << 2; // ignore the checksum indications
export const RX_VP = 1 << 3; // an 802.1Q tag
export const RX_TCPCS = 1 << 5;
export const RX_IPCS = 1 << 6;
export const RX_PIF = 1 << 7; // passed an inexact filter
const RX_CE = 1 << 8; // CRC or alignment
const RX_SE = 1 << 9; // symbol
const RX_SEQ = 1 << 10; // sequence
const RX_CXE = 1 << 12; // carrier extension
export const RX_TCPE = 1 << 13;
export const RX_IPE = 1 << 14;
const RX_RXE = 1 << 15; // data
/** The frame is damaged. A wrong checksum inside it (TCPE, IPE) is not the card's to judge. */
export const RX_DAMAGED = RX_CE | RX_SE | RX_SEQ | RX_CXE | RX_RXE;

// 3.3.3, table 3-8: legacy transmit. Word 2: length 15:0, CSO 23:16, command 31:24. Word 3: status, CSS 15:8, special.
// 3.3.6: context. Word 0: IPCSS, IPCSO, IPCSE. Word 1: TUCSS, TUCSO, TUCSE. Word 2: PAYLEN 19:0, DTYP 0, TUCMD.
// Word 3: status, HDRLEN 15:8, MSS 31:16.
// 3.3.7: data. Word 2: DTALEN 19:0, DTYP 1, DCMD 31:24. Word 3: status, POPTS 15:8, special 31:16.
export const TX_EOP = 1 << 24;
export const TX_IFCS = 1 << 25;
export const TX_TSE = 1 << 26;
export const TX_RS = 1 << 27; // report status: set DD when done
export const TX_DEXT = 1 << 29; // not legacy
export const TX_VLE = 1 << 30;
export const TX_TYPE_DATA = 1 << 20;
export const TX_DD = 1 << 0;
export const TX_POPTS_IP = 1 << 8; // IXSM
export const TX_POPTS_L4 = 1 << 9; // TXSM
export const CONTEXT_TCP = 1 << 24;
export const CONTEXT_IPV4 = 1 << 25;
