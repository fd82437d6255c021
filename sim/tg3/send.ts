/** The send side: the rings, and the blocks on their way that must all be on. */
import type { Outlet } from '../nic/packet-engine.ts';
import { block, each, type Stateful } from '../state.ts';
import type { HostCoalescing } from './coalescing.ts';
import type { Context } from './context.ts';
import type { Tg3Registers } from './registers.ts';
import { SendRing } from './send-ring.ts';
import type { Sram } from './sram.ts';
import type { Statistics } from './statistics.ts';

const RINGS = 1;

const stagesOf = (r: Tg3Registers) => [
  r.SNDBDS_MODE,
  r.SNDBDI_MODE,
  r.SNDDATAI_MODE,
  r.SNDDATAC_MODE,
  r.SNDBDC_MODE,
  r.RDMAC_MODE,
  r.MAC_TX_MODE,
];

interface Blocks {
  readonly sram: Sram;
  readonly coalescing: HostCoalescing;
  readonly statistics: Statistics;
  readonly outlet: Outlet;
}

export class Send {
  readonly state: Stateful;
  readonly #rings: readonly SendRing[];

  constructor(context: Context, blocks: Blocks) {
    const { registers, r, dma } = context;
    const { words } = registers;
    const stages = stagesOf(r);
    const enabled = () => {
      for (const stage of stages) if (!(words[stage.word]! & stage.ENABLE)) return false;
      return dma.enabled;
    };
    this.#rings = Array.from({ length: RINGS }, (_, index) => {
      return new SendRing({ ...context, index, name: 'send' }, { ...blocks, enabled });
    });
    this.state = block(1, { rings: each(this.#rings.map(({ state }) => state)) });
    registers.onWrite(r.MBOX_SEND_PROD, (_, index) => this.#rings[index]?.engine.run());
    registers.onRead(r.SNDBDI_IN_PROD_IDX, (index) => (index < RINGS ? words[r.MBOX_SEND_PROD.word(index)]! : 0));
    for (const stage of stages)
      registers.onWrite(stage, () => {
        for (const ring of this.#rings) ring.engine.run();
      });
  }

  /** After a ring control block changed. */
  settle(): void {
    for (const ring of this.#rings) ring.settle();
  }

  /** What held the transmitter may hold it no longer: look again, but not from within this call. */
  resume(): void {
    for (const ring of this.#rings) ring.engine.resume();
  }

  /** Units of work done at this moment, see Budget. */
  get work(): number {
    return this.#rings.reduce((sum, { engine }) => sum + engine.budget.spent, 0);
  }

  get refused(): number {
    return this.#rings.reduce((sum, { refused }) => sum + refused, 0);
  }

  reset(): void {
    for (const ring of this.#rings) ring.reset();
  }
}
