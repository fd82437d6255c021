/** Advanced error reporting, of an endpoint: PCI Express Base Specification 3.0, 7.10. */
import type { ResetKind } from '../function.ts';
import { type Capability, CapabilityPart, capability } from './capability.ts';
import { EXTENDED_CAP_ADVANCED_ERRORS } from './ids.ts';

const UNCORRECTABLE_STATUS = 0x04;
const UNCORRECTABLE_MASK = 0x08;
const CORRECTABLE_STATUS = 0x10;
const CONTROL = 0x18;

/** Table 7-28: a transaction that nothing in the function answers. */
const UNSUPPORTED_REQUEST = 20;
/** Table 7-31: an uncorrectable error that need not bother anybody (6.2.3.2.4). */
const ADVISORY = 1 << 13;

const UNCORRECTABLE = {
  DATA_LINK: 4,
  POISONED: 12,
  FLOW_CONTROL: 13,
  COMPLETION_TIMEOUT: 14,
  COMPLETER_ABORT: 15,
  UNEXPECTED_COMPLETION: 16,
  OVERFLOW: 17,
  MALFORMED: 18,
  ECRC: 19,
  UNSUPPORTED_REQUEST,
} as const;
const CORRECTABLE = {
  RECEIVER: 0,
  BAD_TLP: 6,
  BAD_DLLP: 7,
  REPLAY_ROLLOVER: 8,
  REPLAY_TIMEOUT: 12,
  ADVISORY: 13,
} as const;

/** 7.4: sticky bits keep what they have until power goes. */
const STICKY = ['bus', 'function'] as const;

export function advancedErrors(at: number): Capability {
  return capability(
    'AER',
    EXTENDED_CAP_ADVANCED_ERRORS,
    at,
    'PCIe 3.0, 7.10',
    {
      AER_UNCORRECTABLE_STATUS: {
        at: UNCORRECTABLE_STATUS,
        access: 'W1C',
        title: 'uncorrectable errors',
        survives: STICKY,
        fields: UNCORRECTABLE,
      },
      AER_UNCORRECTABLE_MASK: {
        at: UNCORRECTABLE_MASK,
        access: 'RW',
        title: 'uncorrectable errors that are not reported',
        survives: STICKY,
        fields: UNCORRECTABLE,
      },
      AER_UNCORRECTABLE_SEVERITY: {
        at: 0x0c,
        access: 'RW',
        title: 'uncorrectable errors that are fatal',
        reset: 0x0006_2010, // 7.10.4; surprise down is none of an endpoint's
        survives: STICKY,
        fields: UNCORRECTABLE,
      },
      AER_CORRECTABLE_STATUS: {
        at: CORRECTABLE_STATUS,
        access: 'W1C',
        title: 'correctable errors',
        survives: STICKY,
        fields: CORRECTABLE,
      },
      AER_CORRECTABLE_MASK: {
        at: 0x14,
        access: 'RW',
        title: 'correctable errors that are not reported',
        reset: ADVISORY, // 7.10.6
        survives: STICKY,
        fields: CORRECTABLE,
      },
      AER_CONTROL: {
        at: CONTROL,
        access: 'RO',
        title: 'advanced error capabilities and control: no ECRC',
        live: true,
        fields: { FIRST_ERROR: [4, 0] },
      },
      AER_HEADER_LOG: { at: 0x1c, access: 'RO', title: 'header of the transaction: none here has one', count: 4 },
    },
    {
      version: 1,
      attach: (owner) => new AdvancedErrors(owner, at),
    },
  );
}

export class AdvancedErrors extends CapabilityPart {
  override reset(kind: ResetKind): void {
    if (kind === 'power-on') this.owner.config.poke(this.at + CONTROL, 4, 0);
  }

  /** Notes a request that nothing in the function answered; the first error that is not masked is pointed to (6.2.4.2). */
  unsupported(): void {
    const { config } = this.owner;
    const at = this.at;
    const before = config.peek(at + UNCORRECTABLE_STATUS, 4);
    const unmasked = ~config.peek(at + UNCORRECTABLE_MASK, 4);
    const bit = 1 << UNSUPPORTED_REQUEST;
    if ((before & unmasked) === 0 && (bit & unmasked) !== 0) config.poke(at + CONTROL, 4, UNSUPPORTED_REQUEST);
    config.poke(at + UNCORRECTABLE_STATUS, 4, before | bit);
    config.poke(at + CORRECTABLE_STATUS, 4, config.peek(at + CORRECTABLE_STATUS, 4) | ADVISORY);
  }
}
