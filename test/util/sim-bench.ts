/** The netdev spec's bench in this process: a driver on a model, in virtual time, with a station at the other end of its cable. */
import { runClock, runFor } from '../../drivers/backends/clock-steps.ts';
import type { SimDevice } from '../../drivers/backends/sim.ts';
import { MILLISECOND } from '../../drivers/device.ts';
import type { NetDriver } from '../../drivers/net-driver.ts';
import type { Clock } from '../../sim/clock.ts';
import type { PciFunction } from '../../sim/pci/function.ts';
import type { HostPort, Link } from '../../sim/wire/index.ts';
import type { Bench } from '../spec/netdev.ts';

export interface SimBenchParts {
  readonly clock: Clock;
  readonly model: PciFunction;
  readonly device: SimDevice;
  readonly driver: NetDriver;
  readonly link: Link;
  readonly peer: HostPort;
}

/** Closing it throws where DMA memory is left, or the model reached for memory that was not its. */
export function simBench({ clock, model, device, driver, link, peer }: SimBenchParts): Bench {
  return {
    driver,
    send: (frame) => void peer.send(frame),
    take: () => peer.take()?.bytes ?? null,
    cable: (connected) => (connected ? link.connect() : link.disconnect()),
    run: (promise) => runClock(clock, promise),
    pass: (ms) => runFor(clock, ms * MILLISECOND),
    close: async () => {
      await runClock(clock, driver.close());
      if (device.dma.used !== 0) throw new Error(`${device.dma.used} bytes of DMA memory are left`);
      if (model.dma.faults !== 0) throw new Error(`${model.dma.faults} DMA faults`);
      device.close();
    },
  };
}
