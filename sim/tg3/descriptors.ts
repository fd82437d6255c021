/**
 * Layouts in host memory, as little-endian words with GRC_MODE's swaps as every driver sets them for a little-endian
 * host (WSWAP_NONFRM_DATA, BSWAP_DATA and WSWAP_DATA). Sources as in registers.ts. Addresses: high word first.
 */

// Send BD: address high, address low, length 31:16 and flags 15:0, MSS 31:16 and VLAN tag 15:0.
export const SEND_BD = 16;
export const TX_TCPUDP_CSUM = 1 << 0; // the field holds the pseudo header's sum (GRC_MODE.NO_TX_PHDR_CSUM)
export const TX_IP_CSUM = 1 << 1;
export const TX_END = 1 << 2;
export const TX_JUMBO = 1 << 3; // 577xx: a frame over 1518 bytes
export const TX_HDRLEN_2 = 1 << 4; // HW_TSO_3: bit 2 of the header length in words
export const TX_VLAN = 1 << 6;
export const TX_COAL_NOW = 1 << 7;
export const TX_CPU_PRE_DMA = 1 << 8; // with CPU_POST_DMA and an MSS: TCP segmentation
export const TX_CPU_POST_DMA = 1 << 9;
export const TX_HDRLEN_7_3 = 0x1f << 10; // HW_TSO_3: bits 7:3 of it
export const TX_NO_CRC = 1 << 15;
// HW_TSO_1 (5750): the MSS word is MSS 10:0, IP and TCP option words 15:11.
export const TX_TSO1_MSS = 0x7ff;
export const TX_TSO1_OPTIONS = 0x1f << 11;
// HW_TSO_3 (577xx): MSS 13:0, bits 1:0 of the header length in 15:14.
export const TX_TSO3_MSS = 0x3fff;
export const TX_TSO3_HDRLEN_1_0 = 3 << 14;

// Receive producer and return BD, 32 bytes; the extended producer BD of the jumbo ring is 64, this one its second half.
export const RX_BD = 32;
export const RX_EXT_BD = 64;
// Words of it:
export const RX_ADDR_HIGH = 0;
export const RX_ADDR_LOW = 1;
export const RX_INDEX_LENGTH = 2; // index 31:16, length 15:0 (returned: of the frame with its FCS)
export const RX_TYPE_FLAGS = 3;
export const RX_CHECKSUMS = 4; // IP 31:16, TCP or UDP 15:0: ffff where it is right
export const RX_ERROR_VLAN = 5; // errors 31:16, VLAN tag 15:0
export const RX_RSS_HASH = 6;
export const RX_OPAQUE = 7; // the driver's own, returned as it was
// Flags, word 3.
export const RX_END = 1 << 2;
export const RX_RSS_VALID = 1 << 3;
export const RX_JUMBO = 1 << 5;
export const RX_VLAN = 1 << 6;
export const RX_RSS_TYPE = 7 << 7;
export const RX_ERROR = 1 << 10;
export const RX_IP_CSUM = 1 << 12;
export const RX_TCPUDP_CSUM = 1 << 13;
export const RX_TCP = 1 << 14;
export const RX_IPV6 = 1 << 15;
// Errors, word 5.
export const RX_BAD_CRC = 1 << 16;
export const RX_COLLISION = 1 << 17;
export const RX_LINK_LOST = 1 << 18;
export const RX_PHY_DECODE = 1 << 19;
export const RX_ODD_NIBBLE = 1 << 20;
export const RX_MAC_ABORT = 1 << 21;
export const RX_TOO_SHORT = 1 << 22;
export const RX_NO_RESOURCES = 1 << 23;
export const RX_GIANT = 1 << 24;

// Status block, as words; within a word the even byte offset's half is 15:0. 32 bytes of it in 32-byte mode.
export const STATUS_BLOCK = 80;
export const ST_STATUS = 0;
export const ST_TAG = 1; // 7:0
export const ST_RET1_STD = 2; // return ring 1's producer 15:0, standard ring's consumer 31:16
export const ST_RET3_RET2 = 3; // return ring 3's producer 15:0, return ring 2's 31:16
export const ST_RET0_SEND = 4; // return ring 0's producer 15:0, send ring's consumer 31:16
export const ST_JUMBO = 5; // jumbo ring's consumer 15:0
// Status, word 0.
export const ST_UPDATED = 1 << 0;
export const ST_LINK_CHANGED = 1 << 1;
export const ST_ERROR = 1 << 2;

// Ring control block, four words, in registers (receive producer rings) or in SRAM (the others): address high and low,
// entries 31:16 and flags 15:0, address on the NIC.
export const RCB = 16;
export const RCB_USE_EXT = 1 << 0;
export const RCB_DISABLED = 1 << 1;

// Places in SRAM: the RCBs, and what boot code and drivers leave each other.
export const SRAM_SEND_RCB = 0x100;
export const SRAM_RET_RCB = 0x200;
export const SRAM_STATS_BLOCK = 0x300;
export const SRAM_STATUS_BLOCK = 0xb00;
export const SRAM_FW_MAILBOX = 0xb50;
export const SRAM_DATA_SIG = 0xb54;
export const SRAM_DATA_CFG = 0xb58;
export const SRAM_DATA_VER = 0xb5c;
export const SRAM_PHY_ID = 0xb74;
export const SRAM_FW_ASF_STATUS = 0xc00;
export const SRAM_MAC_HIGH = 0xc14;
export const SRAM_MAC_LOW = 0xc18;
export const SRAM_WOL_MAILBOX = 0xd30;
export const SRAM_DATA_CFG2 = 0xd38;
export const SRAM_DATA_CFG3 = 0xd3c;
export const SRAM_SEND_BDS = 0x4000;
export const SRAM_STD_BDS = 0x6000;
export const SRAM_JUMBO_BDS = 0x7000;

/** What a driver writes to SRAM_FW_MAILBOX before a reset; boot code answers with its complement when it is through. */
export const FW_MAGIC = 0x4b657654;
export const FW_READY = ~FW_MAGIC >>> 0;
