/** Function-level reset for conventional PCI: PCI-SIG's engineering change "Advanced Capabilities for Conventional PCI". */
import { sc } from '../../registers.ts';
import { type Capability, CapabilityPart, capability, sets } from './capability.ts';
import { CAP_ADVANCED_FEATURES } from './ids.ts';

const LENGTH = 6;
const CONTROL = 4;

export function advancedFeatures(at: number): Capability {
  return capability(
    'AF',
    CAP_ADVANCED_FEATURES,
    at,
    'AF',
    {
      AF_LENGTH: { at: 2, width: 1, access: 'RO', title: 'bytes of this capability', reset: LENGTH },
      AF_CAPABILITIES: {
        at: 3,
        width: 1,
        access: 'RO',
        title: 'advanced features',
        reset: 3,
        fields: { PENDING: 0, FLR: 1 },
      },
      AF_CONTROL: {
        at: CONTROL,
        width: 1,
        access: 'RW',
        title: 'advanced features control; reads as 0',
        live: true,
        fields: { FLR: sc(0) },
      },
      AF_STATUS: {
        at: 5,
        width: 1,
        access: 'RO',
        title: 'advanced features status: nothing is ever pending',
        fields: { PENDING: 0 },
      },
    },
    {
      attach: (owner) => {
        owner.config.onWrite(at + CONTROL, 1, (from, width, value) => {
          if (sets(at + CONTROL, 0, from, width, value)) owner.softwareReset();
        });
        return new CapabilityPart(owner, at);
      },
    },
  );
}
