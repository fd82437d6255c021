/**
 * The transmit side (manual section 3.3): what its queues share. From descriptors to the wire a queue does it all.
 */
import { Budget } from '../nic/budget.ts';
import type { Outlet } from '../nic/packet-engine.ts';
import { block, each } from '../state.ts';
import type { BlockContext, QueueContext } from './context.ts';
import { DelayTimers } from './delay-timers.ts';
import type { InterruptBlock } from './interrupts.ts';
import type { Statistics } from './statistics.ts';
import { TxQueue } from './tx-queue.ts';

export interface TransmitBlocks {
  readonly interrupts: InterruptBlock;
  readonly statistics: Statistics;
  readonly outlet: Outlet;
  readonly softwareXoff: () => void;
}

export class Transmit {
  readonly queues: readonly TxQueue[];
  readonly #delays: DelayTimers;
  readonly #budget: Budget;
  readonly state;

  constructor(context: BlockContext, queues: readonly QueueContext[], blocks: TransmitBlocks) {
    const { registers, host, r } = context;
    const { interrupts, softwareXoff } = blocks;
    this.#budget = new Budget(host.clock, context.dma);
    this.#delays = new DelayTimers(host.clock, registers, r.TIDV, r.TADV, r.ICR.TXDW, (causes) => {
      for (const queue of this.queues) queue.writeBack();
      interrupts.raise(causes);
    });
    const shared = { ...blocks, budget: this.#budget, delays: this.#delays };
    this.queues = queues.map((queue) => new TxQueue(context, queue, shared));
    for (const register of [r.TDBAL, r.TDBAH, r.TDLEN])
      registers.onWrite(register, (_, index) => this.queues[index]!.ring.settle());
    registers.onWrite(r.TDT, (_, index) => this.queues[index]!.run());
    registers.onWrite(r.TCTL, (value) => {
      if (value & r.TCTL.SWXOFF) softwareXoff();
      for (const queue of this.queues) queue.run();
    });
    this.state = block(1, { queues: each(this.queues.map(({ state }) => state)), delays: this.#delays.state });
  }

  /** What held the transmitter may hold it no longer: look again, but not from within this call. */
  resume(): void {
    for (const queue of this.queues) queue.resume();
  }

  /** Units of work done at this moment, see Budget. */
  get work(): number {
    return this.#budget.spent;
  }

  /** Packets that were not sent because their descriptors make no sense, or their bytes are not in mapped memory. */
  get refused(): number {
    return this.queues.reduce((sum, { refused }) => sum + refused, 0);
  }

  reset(): void {
    this.#delays.take();
    for (const queue of this.queues) queue.reset();
  }
}
