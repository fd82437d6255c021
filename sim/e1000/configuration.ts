/** The 82540EM's configuration space (Intel 317453, chapter 4): no own registers, capabilities where the part has them. */
import { msi, pciX, powerManagement } from '../pci/capabilities/index.ts';
import { configurationMap, type FunctionShape } from '../pci/configuration.ts';

export const REGISTERS_SIZE = 128 * 1024;
export const IO_SIZE = 64;

/** Of the family, but for the identity. */
export const I8254X_SHAPE: FunctionShape = {
  identity: {
    vendor: 0x8086,
    device: 0x100e,
    revision: 0x02,
    subsystemVendor: 0x8086,
    subsystem: 0x001e,
    class: 0x020000,
  },
  bars: { 0: { kind: 'memory', size: REGISTERS_SIZE }, 2: { kind: 'io', size: IO_SIZE } },
  capabilities: [
    powerManagement(0xdc, { capabilities: 0x0022 }), // no PME# from D0 to D3hot claimed: nothing here wakes
    pciX(0xe4, 0x0040_fff8), // not on a PCI-X bus; 2 KB reads, one outstanding
    msi(0xf0),
  ],
  header: { PCI_MIN_GNT: { reset: 0xff } },
};

export const I82540EM_CONFIGURATION = configurationMap('82540EM', I8254X_SHAPE);
