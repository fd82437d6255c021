/** Power management: PCI Power Management 1.2, chapters 3 and 5. */
import { ro } from '../../registers.ts';
import { block } from '../../state.ts';
import type { PciFunction } from '../function.ts';
import { type Capability, CapabilityPart, capability } from './capability.ts';
import { CAP_POWER_MANAGEMENT } from './ids.ts';

const CONTROL = 4;
const STATE = 3; // of the control register: D0 to D3hot
const NO_SOFT_RESET = 1 << 3;
const D3_HOT = 3;

export interface PowerShape {
  /** PMC: version, states, PME#. */
  readonly capabilities: number;
  /** Coming from D3hot the function is as it was (3.2.4); else it is reset. */
  readonly noSoftReset?: boolean;
}

export function powerManagement(at: number, { capabilities, noSoftReset = false }: PowerShape): Capability {
  return capability(
    'PM',
    CAP_POWER_MANAGEMENT,
    at,
    'PM 1.2, 3.2',
    {
      PM_CAPABILITIES: {
        at: 2,
        width: 2,
        access: 'RO',
        title: 'power management capabilities (PMC)',
        reset: capabilities,
        fields: { VERSION: [2, 0], PME_CLOCK: 3, DSI: 5, AUX_CURRENT: [8, 6], D1: 9, D2: 10, PME: [15, 11] },
      },
      PM_CONTROL: {
        at: CONTROL,
        width: 2,
        access: 'RW',
        title: 'power management control and status (PMCSR)',
        reset: noSoftReset ? NO_SOFT_RESET : 0,
        live: true,
        fields: {
          STATE: [1, 0],
          NO_SOFT_RESET: ro(3),
          PME_ENABLE: 8,
          DATA_SELECT: ro([12, 9]),
          DATA_SCALE: ro([14, 13]),
          PME_STATUS: ro(15),
        },
      },
      PM_BRIDGE: { at: 6, width: 1, access: 'RO', title: 'bridge support: it is no bridge' },
      PM_DATA: { at: 7, width: 1, access: 'RO', title: 'data: none' },
    },
    { attach: (owner) => new PowerManagement(owner, at, noSoftReset) },
  );
}

export class PowerManagement extends CapabilityPart {
  /** The register holds it. */
  override readonly state = block(1, {}, () => {
    this.#state = this.owner.config.peek(this.#control, 1) & STATE;
  });
  readonly #control: number;
  readonly #noSoftReset: boolean;
  #state = 0;

  constructor(owner: PciFunction, at: number, noSoftReset: boolean) {
    super(owner, at);
    this.#control = at + CONTROL;
    this.#noSoftReset = noSoftReset;
    owner.config.onWrite(this.#control, 1, () => this.#stateWritten());
  }

  /** 0 to 3: D0 to D3hot. Below D0 a function answers in configuration space alone, and starts nothing (5.4). */
  get powerState(): number {
    return this.#state;
  }

  #stateWritten(): void {
    const { config } = this.owner;
    const control = config.peek(this.#control, 1);
    const wanted = control & STATE;
    const from = this.#state;
    if (!this.#has(wanted)) {
      config.poke(this.#control, 1, (control & ~STATE) | from); // taken, and without effect (3.2.4)
      return;
    }
    this.#state = wanted;
    if (from === D3_HOT && wanted === 0 && !this.#noSoftReset) this.owner.softwareReset();
    else this.owner.settle();
  }

  /** D1 and D2 are optional, bits 9 and 10 of PMC (3.2.3). */
  #has(state: number): boolean {
    const { config } = this.owner;
    return state === 0 || state === D3_HOT || (config.peek(this.#control - 2, 2) & (1 << (8 + state))) !== 0;
  }

  override reset(): void {
    this.#state = 0;
  }
}
