/** The PCI Express block, by its layers. */
import { partly, run } from '../../registers.ts';
import { block } from './block.ts';

/** A core reset leaves it as it is. */
export const PCIE = block(
  'PCIe',
  {
    PCIE_TL: {
      at: 0x7c00,
      access: 'RW',
      title: 'transaction layer, or the page that GRC_MODE selects',
      live: true,
    },
    PCIE_TRANSACTION_CFG: {
      at: 0x7c04,
      access: 'RW',
      title: 'one message a time, LAN on motherboard',
      live: true,
      fields: partly({ TRANS_CFG_LOM: 5, TRANS_CFG_1SHOT_MSI: 29 }),
    },
    PCIE_TL_8: {
      at: [run(0x7c08, 72)],
      access: 'RW',
      title: 'transaction layer, 0x08 to 0x124',
      live: true,
    },
    PCIE_PWR_MGMT_THRESH: {
      at: 0x7d28,
      access: 'RW',
      title: 'how long the link is idle before it sleeps',
      live: true,
      fields: partly({ L1_THRESH: [15, 8], L1_THRESH_4MS: [15, 8], EXT_ASPM_TMR_EN: 24 }),
    },
    PCIE_TL_12C: {
      at: [run(0x7d2c, 10)],
      access: 'RW',
      title: 'transaction layer, 0x12c to 0x150',
      live: true,
    },
    PCIE_LNKCTL: {
      at: 0x7d54,
      access: 'RW',
      title: "power of the link's PLL in L1",
      live: true,
      fields: partly({ L1_PLL_PD_EN: 3, L1_PLL_PD_DIS: 7 }),
    },
    PCIE_TL_158: {
      at: [run(0x7d58, 53)],
      access: 'RW',
      title: 'transaction layer, 0x158 to 0x228',
      live: true,
    },
    PCIE_PHY_TSTCTL: {
      at: 0x7e2c,
      access: 'RW',
      title: 'scrambler, and the rate of the first revision',
      live: true,
      fields: partly({ PSCRAM: 5, PCIE10: 6 }),
    },
    PCIE_TL_230: {
      at: [run(0x7e30, 16)],
      access: 'RW',
      title: 'transaction layer, 0x230 to 0x26c',
      live: true,
    },
    PCIE_EIDLE_DELAY: {
      at: 0x7e70,
      access: 'RW',
      title: 'clocks before electrical idle',
      live: true,
      fields: partly({ VALUE: [4, 0], _13_CLKS: [3, 2] }),
    },
    PCIE_TL_274: {
      at: [run(0x7e74, 99)],
      access: 'RW',
      title: 'transaction layer, 0x274 to 0x3fc',
      live: true,
    },
  },
  { survives: ['software'] },
);
