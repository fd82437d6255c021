/** Alternative routing ids, with which a device has up to 256 functions: PCI Express Base Specification 3.0, 7.23. */
import { type Capability, capability } from './capability.ts';
import { EXTENDED_CAP_ALTERNATIVE_ROUTING } from './ids.ts';

/** @param next the number of the next physical function; 0 behind the last one. */
export function alternativeRouting(at: number, { next = 0 } = {}): Capability {
  return capability(
    'ARI',
    EXTENDED_CAP_ALTERNATIVE_ROUTING,
    at,
    'PCIe 3.0, 7.23',
    {
      ARI_CAPABILITIES: {
        at: 4,
        width: 2,
        access: 'RO',
        title: 'ARI capabilities: no function groups',
        reset: next << 8,
        fields: { MFVC: 0, ACS: 1, NEXT: [15, 8] },
      },
      ARI_CONTROL: { at: 6, width: 2, access: 'RO', title: 'ARI control: nothing to set' },
    },
    { version: 1 },
  );
}
