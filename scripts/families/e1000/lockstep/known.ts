/** Where our 82540EM and QEMU's are known to differ, and who is right by the manual (Intel 317453). Seen with QEMU 11.1.3. */
import type { KnownDifference } from '../../../lockstep/step.ts';

const ARRAY = '(\\[\\d+\\])?';
const names = (text: string) => new RegExp(`^(${text.trim().split(/\s+/).join('|')})${ARRAY}$`);
const phy = (registers: string) => new RegExp(`^PHY register (${registers})$`);

export const KNOWN: readonly KnownDifference[] = [
  {
    what: names('CTRL'),
    shows: 0x00000201,
    why: 'a reset restores CTRL; QEMU takes RST as any other bit and keeps what was written, and begins with SLU set',
    section: '13.4.1',
    right: 'model',
  },
  {
    what: names('STATUS'),
    mask: 0x80080500,
    why: 'QEMU sets bits that PCI Express parts have, and ASDV not at all',
    section: '13.4.2',
    right: 'model',
  },
  {
    what: names('STATUS'),
    mask: 0x2,
    why: 'QEMU has link as soon as there is a netdev; LU needs SLU and a finished negotiation',
    section: '13.4.2',
    right: 'model',
  },
  {
    what: names('EECD'),
    mask: 0x80,
    why: 'QEMU grants access to the EEPROM to who has not asked for it',
    section: '13.4.3',
    right: 'model',
  },
  {
    what: names('FCAL FCAH FCT FCTTV FCRTL FCRTH'),
    shows: 0,
    why: 'QEMU has no flow control',
    section: '13.4',
    right: 'model',
  },
  {
    what: names('FLA TXCW TIPG AIFS RXDCTL RSRPD TXDMAC TSPMT RXCSUM WUC IPAV IP4AT IP6AT FFLT FFMT FFVT'),
    shows: 0,
    why: 'QEMU does not keep these registers',
    section: '13',
    right: 'model',
  },
  {
    what: names('RDFH RDFT RDFHS RDFTS RDFPC TDFH TDFT TDFHS TDFTS TDFPC PBM'),
    shows: 0,
    why: 'QEMU has no packet buffer to look into',
    section: '13.8',
    right: 'model',
  },
  {
    what: names('LEDCTL TXDCTL WUFC'),
    why: 'QEMU stores reserved bits, too',
    section: '13',
    right: 'model',
  },
  {
    what: names('VET'),
    mask: 0xffff0000,
    why: 'QEMU stores reserved bits, too',
    section: '13.4.11',
    right: 'model',
  },
  {
    what: names('MANC'),
    why: 'QEMU shows what firmware would have left there, and lets nobody change it',
    section: '-',
    right: 'model',
  },
  {
    what: names('PRC\\d+ PTC\\d+ BPRC BPTC MPRC MPTC TSCTC GORCL GORCH GOTCL GOTCH RUC ROC RNBC'),
    shows: 0,
    why: 'QEMU counts packets and octets in all, and nothing finer',
    section: '13.7',
    right: 'model',
  },
  {
    what: /^NVM word ([3-9]|\d\d)$/,
    why: "what the maker wrote: QEMU's image is of another card; words 0 to 2, the address, agree",
    section: '5.6',
    right: 'either',
  },
  {
    what: phy('1'),
    mask: 0x24,
    why: 'QEMU shows link and a finished negotiation only after one was started',
    section: '13.4.7.1',
    right: 'either',
  },
  {
    what: phy('3|16'),
    why: 'another revision of the PHY, with other settings of its own',
    section: '13.4.7.1',
    right: 'either',
  },
  {
    what: phy('5|6|9|10|17'),
    why: 'QEMU negotiates with nobody: its partner offers no PAUSE and acknowledges nothing',
    section: '13.4.7.1',
    right: 'model',
  },
  {
    what: phy('7|8|1[1-5]|18|19|2[2-9]|30|31'),
    why: 'QEMU answers with an error where it has no such register; the PHY has them, or reads 0',
    section: '13.4.7.1',
    right: 'model',
  },
  {
    what: names('ICR'),
    mask: 0x8002,
    why: 'QEMU raises TXQE whenever it has sent, and TXD_LOW never',
    section: '13.4.17',
    right: 'model',
  },
  {
    what: names('ICR'),
    mask: 0x4,
    why: 'QEMU raises LSC only for a negotiation that software started',
    section: '13.4.17',
    right: 'model',
  },
  {
    what: names('ICR'),
    mask: 0x10000,
    why: 'QEMU does not detect small packets (RSRPD)',
    section: '13.4.17',
    right: 'model',
  },
  {
    what: names('TPR'),
    why: 'QEMU counts the packets that its filters let pass, where the manual has all of them',
    section: '13.7.43',
    right: 'model',
  },
  {
    what: /^rx status$/,
    mask: 0x80,
    why: 'QEMU never sets PIF for what only the multicast hash let pass',
    section: '3.2.3.1',
    right: 'model',
  },
  {
    what: /^short frame$/,
    why: 'QEMU does not pad, although TCTL.PSP is set',
    section: '13.4.33',
    right: 'model',
  },
  {
    what: /^rx packet checksum$/,
    shows: 0,
    why: 'QEMU looks at no checksum',
    section: '3.2.3',
    right: 'model',
  },
];
