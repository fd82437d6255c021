/** SRAM, its mbufs, and DMA. */
import { partly, run, sc } from '../../registers.ts';
import { block } from './block.ts';

/** Whose access out of range is trapped (FreeBSD's if_bgereg.h). */
const TRAPS = {
  TX_ADDR_TRAP: 2,
  RX_ADDR_TRAP: 3,
  DMAW1_TRAP: 4,
  DMAR1_TRAP: 5,
  RXRISC_TRAP: 6,
  TXRISC_TRAP: 7,
  PCI_TRAP: 8,
  DMAR2_TRAP: 9,
  RXQ_TRAP: 10,
  RXDI1_TRAP: 11,
  RXDI2_TRAP: 12,
  DC_GRPMEM_TRAP: 13,
  HCOAL_TRAP: 14,
  MBUF_TRAP: 15,
  TXDI_TRAP: 16,
  SDC_DMAC_TRAP: 17,
  TXBD_TRAP: 18,
  BUFFMAN_TRAP: 19,
  DMAW2_TRAP: 20,
  XTSSRAM_ROFLO_TRAP: 21,
  XTSSRAM_RUFLO_TRAP: 22,
  XTSSRAM_WOFLO_TRAP: 23,
  XTSSRAM_WUFLO_TRAP: 24,
  XTSSRAM_PERR_TRAP: 25,
} as const;

/** The two channels of the read DMA have these each. */
const READ_FIFO = {
  FIFO_OFLW_FIX: 2,
  FIFO_LWM: [11, 4],
  FIFO_LWM_1_5K: [11, 10],
  FIFO_HWM: [19, 12],
  FIFO_HWM_1_5K: [19, 18],
  TXMRGN: [31, 21],
} as const;
const READ_LENGTHS = { BLEN_BD_4K: [17, 16], BLEN_LSO_4K: [19, 18] } as const;

/** What goes wrong on the bus, of both directions; and which of it is told. */
const DMA_ATTENTIONS = {
  TGTABORT: 2,
  MSTABORT: 3,
  PARITYERR: 4,
  ADDROFLOW: 5,
  FIFOOFLOW: 6,
  FIFOURUN: 7,
  FIFOOREAD: 8,
  LNGREAD: 9,
} as const;
const DMA_ATTENTIONS_ENABLED = {
  TGTABORT_ENAB: 2,
  MSTABORT_ENAB: 3,
  PARITYERR_ENAB: 4,
  ADDROFLOW_ENAB: 5,
  FIFOOFLOW_ENAB: 6,
  FIFOURUN_ENAB: 7,
  FIFOOREAD_ENAB: 8,
  LNGREAD_ENAB: 9,
} as const;

export const MEMORY = {
  ...block('Memory arbiter', {
    MEMARB_MODE: {
      at: 0x4000,
      access: 'RW',
      title: 'SRAM in reach, and traps for accesses out of range',
      reset: 0x2,
      live: true,
      fields: { RESET: sc(0), ENABLE: 1, ...TRAPS },
    },
    MEMARB_STATUS: {
      at: 0x4004,
      access: 'RO',
      title: 'whose access was trapped',
      fields: TRAPS,
    },
    MEMARB_TRAP_ADDR_LOW: { at: 0x4008, access: 'RW', title: 'lowest address of the trap' },
    MEMARB_TRAP_ADDR_HIGH: { at: 0x400c, access: 'RW', title: 'highest address of the trap' },
  }),
  ...block('Buffer manager', {
    BUFMGR_MODE: {
      at: 0x4400,
      access: 'RW',
      title: 'block on, and its attentions',
      live: true,
      fields: partly({ RESET: sc(0), ENABLE: 1, ATTN_ENABLE: 2, BM_TEST: 3, MBLOW_ATTN_ENAB: 4, NO_TX_UNDERRUN: 31 }),
    },
    BUFMGR_STATUS: {
      at: 0x4404,
      access: 'RO',
      title: 'an error, or too few mbufs',
      fields: { ERROR: 2, MBLOW: 4 },
    },
    BUFMGR_MB_POOL_ADDR: { at: 0x4408, access: 'RW', title: 'where the mbufs begin in SRAM' },
    BUFMGR_MB_POOL_SIZE: { at: 0x440c, access: 'RW', title: 'bytes of SRAM for mbufs' },
    BUFMGR_MB_RDMA_LOW_WATER: {
      at: 0x4410,
      access: 'RW',
      title: 'mbufs below which nothing is fetched to send',
      fields: { MBUFS: [8, 0] },
    },
    BUFMGR_MB_MACRX_LOW_WATER: {
      at: 0x4414,
      access: 'RW',
      title: 'mbufs below which frames are dropped, or paused',
      live: true,
      fields: { MBUFS: [8, 0] },
    },
    BUFMGR_MB_HIGH_WATER: {
      at: 0x4418,
      access: 'RW',
      title: 'mbufs from which on a pause ends',
      live: true,
      fields: { MBUFS: [8, 0] },
    },
    BUFMGR_RX_MB_ALLOC_REQ: {
      at: 0x441c,
      access: 'RW',
      title: 'the receive CPU asks for mbufs',
      fields: partly({ MB_ALLOC_BIT: 28 }),
    },
    BUFMGR_RX_MB_ALLOC_RESP: {
      at: 0x4420,
      access: 'RW',
      title: 'the mbufs it got',
    },
    BUFMGR_TX_MB_ALLOC_REQ: {
      at: 0x4424,
      access: 'RW',
      title: 'the transmit CPU asks for mbufs',
    },
    BUFMGR_TX_MB_ALLOC_RESP: {
      at: 0x4428,
      access: 'RW',
      title: 'the mbufs it got',
    },
    BUFMGR_DMA_DESC_POOL_ADDR: {
      at: 0x442c,
      access: 'RO',
      title: 'where DMA descriptors begin in SRAM',
    },
    BUFMGR_DMA_DESC_POOL_SIZE: {
      at: 0x4430,
      access: 'RO',
      title: 'bytes of SRAM for DMA descriptors',
    },
    BUFMGR_DMA_LOW_WATER: {
      at: 0x4434,
      access: 'RW',
      title: 'free DMA descriptors that are few',
    },
    BUFMGR_DMA_HIGH_WATER: {
      at: 0x4438,
      access: 'RW',
      title: 'free DMA descriptors that are enough again',
    },
    BUFMGR_RX_DMA_ALLOC_REQ: {
      at: 0x443c,
      access: 'RW',
      title: 'the receive CPU asks for a DMA descriptor',
    },
    BUFMGR_RX_DMA_ALLOC_RESP: {
      at: 0x4440,
      access: 'RW',
      title: 'the DMA descriptor it got',
    },
    BUFMGR_TX_DMA_ALLOC_REQ: {
      at: 0x4444,
      access: 'RW',
      title: 'the transmit CPU asks for a DMA descriptor',
    },
    BUFMGR_TX_DMA_ALLOC_RESP: {
      at: 0x4448,
      access: 'RW',
      title: 'the DMA descriptor it got',
    },
    BUFMGR_HWDIAG: {
      at: [run(0x444c, 3)],
      access: 'RW',
      title: 'state machines of the block',
    },
  }),
  ...block('Read DMA', {
    RDMAC_MODE: {
      at: 0x4800,
      access: 'RW',
      title: 'block on, attentions, bursts, segmentation',
      live: true,
      fields: partly({
        RESET: sc(0),
        ENABLE: 1,
        ...DMA_ATTENTIONS_ENABLED,
        SPLIT_ENABLE: 11,
        BD_SBD_CRPT_ENAB: 11,
        SPLIT_RESET: 12,
        MBUF_RBD_CRPT_ENAB: 12,
        MBUF_SBD_CRPT_ENAB: 13,
        FIFO_LONG_BURST: [17, 16],
        FIFO_SIZE_128: 17,
        JMB_2K_MMRR: 23,
        MULT_DMA_RD_DIS: 24,
        IPV4_LSO_EN: 27,
        IPV6_LSO_EN: 28,
        H2BNC_VLAN_DET: 29,
      }),
    },
    RDMAC_STATUS: {
      at: 0x4804,
      access: 'RO',
      title: 'what went wrong on the bus',
      fields: DMA_ATTENTIONS,
    },
    RDMA_RSRVCTRL_REG2: {
      at: 0x4890,
      access: 'RW',
      title: 'the same of the second channel',
      fields: partly(READ_FIFO),
    },
    LSO_RD_DMA_CRPTEN_CTRL2: {
      at: 0x48a0,
      access: 'RW',
      title: 'the same of the second channel',
      fields: partly(READ_LENGTHS),
    },
    RDMA_RSRVCTRL_REG: {
      at: 0x4900,
      access: 'RW',
      title: 'thresholds of the read FIFO, and a workaround',
      fields: partly(READ_FIFO),
    },
    LSO_RD_DMA_CRPTEN_CTRL: {
      at: 0x4910,
      access: 'RW',
      title: 'length of read requests',
      fields: partly(READ_LENGTHS),
    },
    RDMA_LENGTH: { at: 0x4be0, access: 'RW', title: 'bytes that the read channel is at' },
  }),
  ...block('Write DMA', {
    WDMAC_MODE: {
      at: 0x4c00,
      access: 'RW',
      title: 'block on, attentions, bursts, a workaround for status tags',
      live: true,
      fields: partly({
        RESET: sc(0),
        ENABLE: 1,
        ...DMA_ATTENTIONS_ENABLED,
        RX_ACCEL: 10,
        STATUS_TAG_FIX: 29,
        BURST_ALL_DATA: [31, 30],
      }),
    },
    WDMAC_STATUS: {
      at: 0x4c04,
      access: 'RO',
      title: 'what went wrong on the bus',
      fields: DMA_ATTENTIONS,
    },
  }),
};
