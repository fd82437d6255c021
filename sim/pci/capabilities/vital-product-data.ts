/** Vital product data, four bytes at a time out of the card's NVM: PCI Local Bus Specification 3.0, appendix I. */
import type { PciFunction } from '../function.ts';
import { type Capability, CapabilityPart, capability } from './capability.ts';
import { CAP_VITAL_PRODUCT_DATA } from './ids.ts';

const ADDRESS = 2;
const DATA = 4;
const FLAG = 0x8000; // set: a read is done, or a write is to be; clear: the other way round

export function vitalProductData(at: number): Capability {
  return capability(
    'VPD',
    CAP_VITAL_PRODUCT_DATA,
    at,
    'appendix I',
    {
      VPD_ADDRESS: {
        at: ADDRESS,
        width: 2,
        access: 'RW',
        title: 'vital product data: address',
        live: true,
        fields: { ADDRESS: [14, 0], FLAG: 15 },
      },
      VPD_DATA: { at: DATA, access: 'RW', title: 'vital product data', live: true },
    },
    { attach: (owner) => new VitalProductData(owner, at) },
  );
}

export class VitalProductData extends CapabilityPart {
  /** The word at a byte address, a multiple of 4; null where nobody answers, as the flag shows for ever. The chip's. */
  source: (address: number) => number | null = () => null;

  constructor(owner: PciFunction, at: number) {
    super(owner, at);
    const { config } = owner;
    config.onWrite(at + ADDRESS, 2, () => {
      const address = config.peek(at + ADDRESS, 2);
      const word = this.source(address & 0x7ffc);
      if (word === null) return;
      // A write is answered, and changes nothing: all of the data are read-only ones.
      if (!(address & FLAG)) config.poke(at + DATA, 4, word);
      config.poke(at + ADDRESS, 2, address ^ FLAG);
    });
  }
}
