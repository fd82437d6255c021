/** The way of a frame out. */
import { run, sc } from '../../registers.ts';
import { block, counter } from './block.ts';

export const SEND = {
  ...block('Send data initiator', {
    SNDDATAI_MODE: {
      at: 0x0c00,
      access: 'RW',
      title: 'block on, segmentation by hardware',
      live: true,
      fields: { RESET: sc(0), ENABLE: 1, STAT_OFLOW_ENAB: 2, HW_LSO_PRE_DMA: 3 },
    },
    SNDDATAI_STATUS: {
      at: 0x0c04,
      access: 'RO',
      title: 'counters that overflowed',
      fields: { STAT_OFLOW: 2 },
    },
    SNDDATAI_STATSCTRL: {
      at: 0x0c08,
      access: 'RW',
      title: 'counters on, cleared or flushed to memory',
      fields: { ENABLE: 0, FASTUPD: 1, CLEAR: sc(2), FLUSH: 3, FORCE_ZERO: 4 },
    },
    SNDDATAI_STATSENAB: {
      at: 0x0c0c,
      access: 'RW',
      title: 'which counters count, one bit each',
    },
    SNDDATAI_STATSINCMASK: {
      at: 0x0c10,
      access: 'RW',
      title: 'which counters count a frame and which its bytes',
    },
    ISO_PKT_TX: { at: 0x0c20, access: 'RW', title: 'isochronous frames' },
    SNDDATAI_COS_CNT: {
      at: [run(0x0c80, 16)],
      access: 'RC',
      title: 'frames by class',
      live: true,
    },
    SNDDATAI_DMA_RDQ_FULL_CNT: counter(0x0cc0, 'times that the read DMA queue was full'),
    SNDDATAI_DMA_PRIO_RDQ_FULL_CNT: counter(0x0cc4, 'times that its queue of high priority was full'),
    SNDDATAI_SDCQ_FULL_CNT: counter(0x0cc8, 'times that the send data completion queue was full'),
    SNDDATAI_NICRNG_SSND_PIDX_CNT: counter(0x0ccc, 'producer indices set on the card'),
    SNDDATAI_STATS_UPDATED_CNT: counter(0x0cd0, 'times that statistics were written to memory'),
    SNDDATAI_INTERRUPTS_CNT: counter(0x0cd4, 'interrupts sent'),
    SNDDATAI_AVOID_INTERRUPTS_CNT: counter(0x0cd8, 'interrupts that coalescing spared'),
    SNDDATAI_SND_THRESH_HIT_CNT: counter(0x0cdc, 'times that the send threshold was reached'),
  }),
  ...block('Send data completion', {
    SNDDATAC_MODE: {
      at: 0x1000,
      access: 'RW',
      title: 'block on, and its attention',
      live: true,
      fields: { RESET: sc(0), ENABLE: 1, ATTN_ENABLE: 2, CDELAY: 4 },
    },
  }),
  ...block('Send BD selector', {
    SNDBDS_MODE: {
      at: 0x1400,
      access: 'RW',
      title: 'block on, and its attention',
      live: true,
      fields: { RESET: sc(0), ENABLE: 1, ATTN_ENABLE: 2 },
    },
    SNDBDS_STATUS: {
      at: 0x1404,
      access: 'RO',
      title: 'whether it saw an error',
      fields: { ERROR_ATTN: 2 },
    },
    SNDBDS_SEL_CON_IDX: {
      at: [run(0x1440, 16)],
      access: 'RO',
      title: 'how far each send ring is fetched',
      live: true,
    },
  }),
  ...block('Send BD initiator', {
    SNDBDI_MODE: {
      at: 0x1800,
      access: 'RW',
      title: 'block on, its attention, several send rings',
      live: true,
      fields: { RESET: sc(0), ENABLE: 1, ATTN_ENABLE: 2, MULTI_TXQ_EN: 5 },
    },
    SNDBDI_STATUS: {
      at: 0x1804,
      access: 'RO',
      title: 'whether it saw an error',
      fields: { ERROR_ATTN: 2 },
    },
    SNDBDI_IN_PROD_IDX: {
      at: [run(0x1808, 16)],
      access: 'RO',
      title: 'up to where each send ring is filled',
      live: true,
    },
  }),
  ...block('Send BD completion', {
    SNDBDC_MODE: {
      at: 0x1c00,
      access: 'RW',
      title: 'block on, and its attention',
      live: true,
      fields: { RESET: sc(0), ENABLE: 1, ATTN_ENABLE: 2 },
    },
  }),
};
