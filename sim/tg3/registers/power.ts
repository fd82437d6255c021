/** Central power management. */
import { never, partly } from '../../registers.ts';
import { block } from './block.ts';

/** A core reset leaves it as it is. */
export const POWER = block(
  'CPMU',
  {
    CPMU_CTRL: {
      at: 0x3600,
      access: 'RW',
      title: 'which states of the link save power',
      fields: partly({ LINK_IDLE_MODE: 9, LINK_AWARE_MODE: 10, LINK_SPEED_MODE: 14, GPHY_10MB_RXONLY: 16 }),
    },
    CPMU_LSPD_10MB_CLK: {
      at: 0x3604,
      access: 'RW',
      title: 'clock at 10 Mb/s',
      fields: partly({ MACCLK: [20, 16] }),
    },
    CPMU_LSPD_1000MB_CLK: {
      at: 0x360c,
      access: 'RW',
      title: 'clock at 1000 Mb/s',
      fields: partly({ MACCLK: [20, 16] }),
    },
    CPMU_LNK_AWARE_PWRMD: {
      at: 0x3610,
      access: 'RW',
      title: 'clock of the link aware power mode',
      fields: partly({ MACCLK: [20, 16] }),
    },
    CPMU_HST_ACC: {
      at: 0x361c,
      access: 'RW',
      title: 'clock while the host accesses registers',
      fields: partly({ MACCLK: [20, 16] }),
    },
    CPMU_CLCK_ORIDE: {
      at: 0x3624,
      access: 'RW',
      title: 'clock that overrides the policies',
      fields: partly({ MAC_ORIDE_EN: 31 }),
    },
    CPMU_CLCK_ORIDE_ENABLE: {
      at: 0x3628,
      access: 'RW',
      title: 'which clocks are overridden',
      fields: partly({ MAC_ORIDE_ENABLE: 13 }),
    },
    CPMU_STATUS: {
      at: 0x362c,
      access: 'RO',
      title: 'link, and which function of the card this is',
      live: true,
      fields: { LINK: [20, 19], FMSK_5717: 29, FMSK_5719: [31, 30] },
    },
    CPMU_CLCK_STAT: {
      at: 0x3630,
      access: 'RW',
      title: 'clock as it is now',
      fields: partly({ MAC_CLCK: [20, 16] }),
    },
    CPMU_GPHY_CTRL: {
      at: 0x3638,
      access: 'RW',
      title: 'power states of the gigabit PHY',
    },
    CPMU_RAM_CTRL: {
      at: 0x363c,
      access: 'RW',
      title: 'power states of the memories',
    },
    CPMU_DLL_LOCK_TIMER: {
      at: 0x3654,
      access: 'RW',
      title: 'how long a delay-locked loop takes to lock',
    },
    CPMU_CHIP_ID: {
      at: 0x3658,
      access: 'RO',
      title: 'chip and revision',
      live: true,
    },
    CPMU_MUTEX_REQ: {
      at: 0x365c,
      access: 'RW',
      title: 'who asks for the PHY and power management',
      live: true,
      fields: partly({ DRIVER: 12 }),
    },
    CPMU_MUTEX_GNT: {
      at: 0x3660,
      access: 'RO',
      title: 'who has them',
      live: true,
      fields: { DRIVER: 12 },
    },
    CPMU_PHY_STRAP: {
      at: 0x3664,
      access: 'RW',
      title: 'how the PHY is wired on the board',
      fields: partly({ IS_SERDES: 5 }),
    },
    CPMU_PADRNG_CTL: {
      at: 0x3668,
      access: 'RW',
      title: 'oscillator of the pads',
      fields: partly({ RDIV2: 18 }),
    },
    CPMU_EEE_MODE: {
      at: 0x36b0,
      access: 'RW',
      title: 'low power idle: on, and what wakes',
      modelled: never('no partner here has Energy Efficient Ethernet; the register stores'),
      fields: partly({
        APE_TX_DET_EN: 2,
        ERLY_L1_XIT_DET: 3,
        SND_IDX_DET_EN: 6,
        LPI_ENABLE: 7,
        LPI_IN_TX: 8,
        LPI_IN_RX: 9,
        EEE_ENABLE: 20,
      }),
    },
    CPMU_EEE_DBTMR1: {
      at: 0x36b4,
      access: 'RW',
      title: 'low power idle: how long the link must be idle',
      modelled: never('no partner here has Energy Efficient Ethernet; the register stores'),
      fields: partly({
        DBTMR1_LNKIDLE_2047US: [10, 0],
        DBTMR1_LNKIDLE_MAX: [15, 0],
        DBTMR1_PCIEXIT_2047US: [26, 16],
      }),
    },
    CPMU_EEE_DBTMR2: {
      at: 0x36b8,
      access: 'RW',
      title: 'low power idle: how long the send indices must be equal',
      modelled: never('no partner here has Energy Efficient Ethernet; the register stores'),
      fields: partly({ TXIDXEQ_2047US: [10, 0], APE_TX_2047US: [26, 16] }),
    },
    CPMU_EEE_LNKIDL_CTRL: {
      at: 0x36bc,
      access: 'RW',
      title: 'low power idle: what counts as idle',
      modelled: never('no partner here has Energy Efficient Ethernet; the register stores'),
      fields: partly({ APE_TX_MT: 1, UART_IDL: 2, PCIE_NL0: 24 }),
    },
    CPMU_EEE_CTRL: {
      at: 0x36d0,
      access: 'RW',
      title: 'low power idle: how long the way out takes, in units of 40 ns',
      modelled: never('no partner here has Energy Efficient Ethernet; the register stores'),
      fields: partly({ EXIT: [15, 0] }),
    },
  },
  { survives: ['software'] },
);
