/** PCI-X: Addendum 1.0a, 7.2. */
import { type Capability, capability } from './capability.ts';
import { CAP_PCI_X } from './ids.ts';

/** @param status designed for what, and where it is plugged in. */
export function pciX(at: number, status: number): Capability {
  return capability('PCIX', CAP_PCI_X, at, 'PCI-X 1.0a, 7.2', {
    PCIX_COMMAND: {
      at: 2,
      width: 2,
      access: 'RW',
      title: 'PCI-X command',
      fields: { PARITY_RECOVERY: 0, RELAXED_ORDERING: 1, READ_BYTES: [3, 2], SPLIT_TRANSACTIONS: [6, 4] },
    },
    PCIX_STATUS: {
      at: 4,
      access: 'RO',
      title: 'PCI-X status',
      reset: status,
      fields: {
        FUNCTION: [2, 0],
        DEVICE: [7, 3],
        BUS: [15, 8],
        _64BIT: 16,
        _133MHZ: 17,
        READ_BYTES: [22, 21],
        SPLIT_TRANSACTIONS: [25, 23],
        CUMULATIVE_READ: [28, 26],
      },
    },
  });
}
