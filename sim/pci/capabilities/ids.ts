/** Ids of capabilities: PCI 3.0, appendix H, and of extended ones (PCIe 3.0, 7.9 and on); compared with Linux's pci_regs.h. */
export const CAP_POWER_MANAGEMENT = 0x01;
export const CAP_VITAL_PRODUCT_DATA = 0x03;
export const CAP_MSI = 0x05;
export const CAP_PCI_X = 0x07;
export const CAP_PCI_EXPRESS = 0x10;
export const CAP_MSI_X = 0x11;
export const CAP_ADVANCED_FEATURES = 0x13;

export const EXTENDED_CAP_ADVANCED_ERRORS = 0x0001;
export const EXTENDED_CAP_SERIAL_NUMBER = 0x0003;
export const EXTENDED_CAP_ALTERNATIVE_ROUTING = 0x000e;
export const EXTENDED_CAP_SR_IOV = 0x0010;
