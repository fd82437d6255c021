/** The chips that the model can be, and what tells them apart. */

export interface Chip {
  readonly name: string;
  readonly device: number; // of vendor 14e4
  readonly revision: number; // PCI revision id
  /** What MISC_HOST_CTRL or the product id register say: ASIC, revision and metal. */
  readonly revisionId: number;
  /** BCM57765 and 57762: CPMU, MSI-X, RSS, jumbo frames, IPv6 offloads, HW_TSO_3. The 5721 and 5751 are BCM5750s. */
  readonly is577xx: boolean;
  readonly phyId: readonly [number, number];
  /** NVRAM_CFG1 for a plain linear flash of 128 KiB. */
  readonly nvramConfig: number;
  readonly partNumber: string;
}

const BCM5750 = {
  revision: 0x22,
  revisionId: 0x4202,
  is577xx: false,
  phyId: [0x0020, 0x6180],
  nvramConfig: 0x0300_0001, // ST M45PE10
} as const;
const BCM57765 = {
  is577xx: true,
  phyId: [0x0362, 0x5e40],
  nvramConfig: 0x0240_0000, // ST M45PE10
} as const;

export const CHIPS = {
  'tg3-5721': { ...BCM5750, name: 'BCM5721', device: 0x1659, partNumber: 'BCM95721' },
  'tg3-5751': { ...BCM5750, name: 'BCM5751', device: 0x1677, partNumber: 'BCM95751' },
  'tg3-57765': {
    ...BCM57765,
    name: 'BCM57765',
    device: 0x16b4,
    revision: 0x10,
    revisionId: 0x57785100,
    partNumber: 'BCM957765',
  },
  tg3: {
    ...BCM57765,
    name: 'BCM57762',
    device: 0x1682,
    revision: 0x01,
    revisionId: 0x57766001,
    partNumber: 'BCM957762',
  },
} as const satisfies Record<string, Chip>;

export type ChipName = keyof typeof CHIPS;
