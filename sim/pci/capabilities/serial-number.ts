/** Device serial number, an EUI-64: PCI Express Base Specification 3.0, 7.12. */
import { type Capability, CapabilityPart, capability } from './capability.ts';
import { EXTENDED_CAP_SERIAL_NUMBER } from './ids.ts';

export function serialNumber(at: number): Capability {
  return capability(
    'DSN',
    EXTENDED_CAP_SERIAL_NUMBER,
    at,
    'PCIe 3.0, 7.12',
    {
      DSN_LOWER: { at: 4, access: 'RO', title: 'serial number, low half', live: true },
      DSN_UPPER: { at: 8, access: 'RO', title: 'serial number, high half', live: true },
    },
    { version: 1, attach: (owner) => new SerialNumber(owner, at) },
  );
}

export class SerialNumber extends CapabilityPart {
  /** From the station address, as cards make it: ff-ff between its halves. @param mac six bytes. */
  fromMac(mac: Uint8Array): void {
    const { config } = this.owner;
    config.poke(this.at + 4, 4, ((0xff << 24) | (mac[3]! << 16) | (mac[4]! << 8) | mac[5]!) >>> 0);
    config.poke(this.at + 8, 4, ((mac[0]! << 24) | (mac[1]! << 16) | (mac[2]! << 8) | 0xff) >>> 0);
  }
}
