/**
 * Registers of the BCM57xx family, as far as BCM5721, BCM5751, BCM57765 and BCM57762 have them.
 *
 * Sources: Broadcom's programmer's guides (BCM5722 family, 5722-PG101-R; BCM5718 family, 5718-PG108-R), whose blocks
 * `section` names and registers/ has the rows of, and Linux's tg3.h, whose names these are, without its TG3PCI_ and TG3_; bits
 * that it does not name are those of FreeBSD's if_bgereg.h. A row without fields is one number: an address, an index, a count.
 * All live in the first 32 KiB behind BAR 0; the first 256 bytes show configuration space. Of a 64-bit register, the high word
 * comes first. A mode register's RESET clears itself; its other bits store.
 */
import { RegisterMap, type Rows } from '../registers.ts';
import { DEVICE_SPECIFIC } from './configuration.ts';
import { COALESCING } from './registers/coalescing.ts';
import { CPU } from './registers/cpu.ts';
import { GRC } from './registers/grc.ts';
import { MAC } from './registers/mac.ts';
import { MAILBOXES } from './registers/mailboxes.ts';
import { MEMORY } from './registers/memory.ts';
import { NVRAM } from './registers/nvram.ts';
import { PCIE } from './registers/pcie.ts';
import { POWER } from './registers/power.ts';
import { RECEIVE } from './registers/receive.ts';
import { SEND } from './registers/send.ts';
import { STATISTICS } from './registers/statistics.ts';

const ROWS = {
  ...DEVICE_SPECIFIC,
  ...MAILBOXES,
  ...MAC,
  ...STATISTICS,
  ...SEND,
  ...RECEIVE,
  ...POWER,
  ...COALESCING,
  ...MEMORY,
  ...CPU,
  ...GRC,
  ...NVRAM,
  ...PCIE,
} satisfies Rows;

export const BCM57XX = new RegisterMap('BCM57xx', 0x8000, ROWS);

/** What came with the BCM57765: power management, jumbo frames, RSS, a status block for each vector, time stamps, fast boot. */
const LATER =
  /^(CPMU|MAC_RSS|HOSTCC_VEC|TX_TSTAMP|RX_TSTAMP|RX_PTP|EAV|LSO_RD_DMA|RDMA_RSRVCTRL)_|JUMBO|_REPLENISH_LWM$|^(GRC_FASTBOOT_PC|GEN15_PRODID_ASICREV|MAC_HASHREGU|RDMA_LENGTH)$/;

/** As far as the BCM5750 has them, which BCM5721 and BCM5751 are. */
export const BCM5750 = BCM57XX.variant('BCM5750', ({ name }) => !LATER.test(name));

export type Tg3Registers = (typeof BCM57XX)['r'];
