/**
 * Configuration space of the BCM57xx family. The device-specific registers show at the start of BAR 0 as well.
 *
 * Sources: those of registers.ts; for the shadows, BCM5718 guide pages 177 ("UNDI Mailbox Access") and 308, and for their places
 * in older chips Linux's tg3.h (TG3PCI_STD_RING_PROD_IDX and its neighbours) and FreeBSD's if_bgereg.h.
 */
import {
  type Capability,
  msi,
  msiX,
  pciExpress,
  powerManagement,
  vitalProductData,
} from '../pci/capabilities/index.ts';
import { type ConfigurationMap, configurationMap, type FunctionShape } from '../pci/configuration.ts';
import { partly, type Row, type Rows, ro, rsvd } from '../registers.ts';
import { CHIPS, type Chip, type ChipName } from './chips.ts';

export const BAR_SIZE = 0x1_0000;
/** Message vectors of the chips with MSI-X. */
export const VECTORS = 5;

export const DEVICE_SPECIFIC = {
  MISC_HOST_CTRL: {
    at: 0x0068,
    access: 'RW',
    section: 'PCI configuration',
    title: 'byte orders, masked INTA#, indirect access',
    live: true,
    fields: {
      CLEAR_INT: 0,
      MASK_PCI_INT: 1,
      BYTE_SWAP: 2,
      WORD_SWAP: 3,
      PCISTATE_RW: 4,
      CLKREG_RW: 5,
      REGWORD_SWAP: 6,
      INDIR_ACCESS: 7,
      IRQ_MASK_MODE: 8,
      TAGGED_STATUS: 9,
      RSVD_15_10: rsvd([15, 10]),
      CHIPREV: ro([31, 16]),
    },
  },
  DMA_RW_CTRL: {
    at: 0x006c,
    access: 'RW',
    section: 'PCI configuration',
    title: 'bus commands and bursts of DMA',
    fields: partly({
      DIS_CACHE_ALIGNMENT: 0,
      TAGGED_STAT_WA: 7,
      CRDRDR_RDMA_MRRS: [9, 7],
      READ_BNDRY: [10, 8],
      WRITE_BNDRY: [13, 11],
      ONE_DMA: 14,
      READ_WATER: [18, 16],
      WRITE_WATER: [21, 19],
      USE_MEM_READ_MULT: 22,
      ASSERT_ALL_BE: 23,
      PCI_READ_CMD: [27, 24],
      PCI_WRITE_CMD: [31, 28],
      WRITE_BNDRY_DISAB_PCIE: [30, 28],
    }),
  },
  PCISTATE: {
    at: 0x0070,
    access: 'RW',
    reset: 0x6,
    section: 'PCI configuration',
    title: 'the bus as it is, and INTA#',
    live: true,
    fields: {
      FORCE_RESET: ro(0),
      INT_NOT_ACTIVE: ro(1),
      CONV_PCI_MODE: ro(2),
      BUS_SPEED_HIGH: ro(3),
      BUS_32BIT: ro(4),
      ROM_ENABLE: 5,
      ROM_RETRY_ENABLE: 6,
      FLAT_VIEW: 8,
      RSVD_12_9: rsvd([12, 9]),
      RETRY_SAME_DMA: 13,
      RSVD_15_14: rsvd([15, 14]),
      ALLOW_APE_CTLSPC_WR: 16,
      ALLOW_APE_SHMEM_WR: 17,
      ALLOW_APE_PSPACE_WR: 18,
    },
  },
  CLOCK_CTRL: {
    at: 0x0074,
    access: 'RW',
    section: 'PCI configuration',
    title: 'which clocks run',
    fields: partly({
      CORECLK_DISABLE: 9,
      RXCLK_DISABLE: 10,
      TXCLK_DISABLE: 11,
      ALTCLK: 12,
      PWRDOWN_PLL133: 15,
      _44MHZ_CORE: 18,
      _625_CORE: 20,
      FORCE_CLKRUN: 21,
      CLKRUN_OENABLE: 22,
      DELAY_PCI_GRANT: 31,
    }),
  },
  REG_BASE_ADDR: {
    at: 0x0078,
    access: 'RW',
    section: 'PCI configuration',
    title: 'register that REG_DATA shows',
    live: true,
  },
  MEM_WIN_BASE_ADDR: {
    at: 0x007c,
    access: 'RW',
    section: 'PCI configuration',
    title: 'SRAM that the window shows',
    live: true,
  },
  REG_DATA: { at: 0x0080, access: 'RW', section: 'PCI configuration', title: 'register at REG_BASE_ADDR', live: true },
  MEM_WIN_DATA: {
    at: 0x0084,
    access: 'RW',
    section: 'PCI configuration',
    title: 'word of SRAM at MEM_WIN_BASE_ADDR',
    live: true,
  },
  GEN15_PRODID_ASICREV: {
    at: 0x00fc,
    access: 'RO',
    section: 'PCI configuration',
    title: 'chip and revision, from the BCM57765 on',
    live: true,
  },
} as const satisfies Rows;

/** A register that is another one's shadow: what is read and written is that one, at `of` behind BAR 0. */
export interface Shadow {
  readonly at: number;
  readonly of: number;
}

const [HIGH, LOW] = [0, 4]; // a mailbox has 64 bits, of which the low half counts; it comes second
const STD_PROD = 0x268;
const RET_CON = 0x280;
const SEND_PROD = 0x300;

/** Of a mailbox, as a register of two halves. */
function mailbox(name: string, title: string, at: number, of: number): Record<string, Row & Shadow> {
  const half = (offset: number, title: string) => {
    return { at: at + offset, of: of + offset, access: 'RW', section: 'PCI configuration', title, live: true } as const;
  };
  return { [`${name}_HIGH`]: half(HIGH, `${title}, high half: ignored`), [name]: half(LOW, title) };
}

function control(title: string, at: number, of: number): Row & Shadow {
  return { at, of, access: 'RW', section: 'PCI configuration', title, live: true };
}

const STANDARD = 'shadow of the standard receive ring producer';
const RETURN = 'shadow of the receive return ring 0 consumer';
const SEND = 'shadow of the send ring producer';

const SHADOWS_5750 = {
  MODE_CTRL: control('shadow of GRC_MODE', 0x88, 0x6800),
  MISC_CFG: control('shadow of GRC_MISC_CFG', 0x8c, 0x6804),
  MISC_LOCAL_CTRL: control('shadow of GRC_LOCAL_CTRL', 0x90, 0x6808),
  ...mailbox('STD_RING_PROD_IDX', STANDARD, 0x98, STD_PROD),
  ...mailbox('RCV_RET_RING_CON_IDX', RETURN, 0xa0, RET_CON),
  ...mailbox('SND_PROD_IDX', SEND, 0xa8, SEND_PROD),
};

/** From 0xa0 on these chips have the MSI-X and PCI Express capabilities. */
const SHADOWS_57765 = {
  ...mailbox('RCV_RET_RING_CON_IDX', RETURN, 0x88, RET_CON),
  ...mailbox('SND_PROD_IDX', SEND, 0x90, SEND_PROD),
  ...mailbox('STD_RING_PROD_IDX', STANDARD, 0x98, STD_PROD),
};

/**
 * Drivers that know one place for all chips (Linux's and iPXE's tg3) write the old ones, where these chips have registers that
 * only read: what is written there is taken for the shadow's low half.
 */
const OLD_PLACES: readonly Shadow[] = [
  { at: 0xa4, of: RET_CON + LOW },
  { at: 0xac, of: SEND_PROD + LOW },
];

/** The shadows of a chip that are registers, and the places that are only written. */
export function shadowsOf({ is577xx }: Chip): { registers: readonly Shadow[]; written: readonly Shadow[] } {
  const registers = Object.values(is577xx ? SHADOWS_57765 : SHADOWS_5750);
  return { registers, written: is577xx ? OLD_PLACES : [] };
}

function deviceSpecific({ is577xx, revisionId }: Chip): Rows {
  const { MISC_HOST_CTRL, CLOCK_CTRL, GEN15_PRODID_ASICREV, ...same } = DEVICE_SPECIFIC;
  const control = { ...MISC_HOST_CTRL, reset: ((is577xx ? 0xf000 : revisionId) << 16) >>> 0 };
  if (!is577xx) return { MISC_HOST_CTRL: control, CLOCK_CTRL, ...same, ...SHADOWS_5750 };
  return {
    MISC_HOST_CTRL: control, // the revision is elsewhere
    CLOCK_CTRL: { ...CLOCK_CTRL, access: 'RO' },
    GEN15_PRODID_ASICREV: { ...GEN15_PRODID_ASICREV, reset: revisionId },
    ...same,
    ...SHADOWS_57765,
  };
}

function shape(chip: Chip): FunctionShape {
  const { device, revision, is577xx } = chip;
  const bar = { kind: 'memory', size: BAR_SIZE, wide: true, prefetchable: is577xx } as const;
  const front: Capability[] = [
    powerManagement(0x48, { capabilities: is577xx ? 0x0003 : 0x0002 }), // no PME# claimed: nothing here wakes
    vitalProductData(0x50),
    msi(0x58),
  ];
  const rest = is577xx
    ? [msiX(0xa0, { vectors: VECTORS, bar: 2, table: 0, pending: 0x120 }), pciExpress(0xac, { version: 2 })]
    : [pciExpress(0xd0, { version: 1 })];
  return {
    identity: { vendor: 0x14e4, device, revision, subsystemVendor: 0x14e4, subsystem: device, class: 0x020000 },
    bars: is577xx ? { 0: bar, 2: bar } : { 0: bar },
    capabilities: [...front, ...rest],
    own: deviceSpecific(chip),
    size: 4096,
  };
}

/** Of each chip. */
export const BCM57XX_CONFIGURATION = Object.fromEntries(
  Object.entries<Chip>(CHIPS).map(([name, chip]) => [name, configurationMap(chip.name, shape(chip))]),
) as Record<ChipName, ConfigurationMap>;
