/**
 * The netdev spec's bench in the machine's time: a device in another process, or in a guest, whose wire ends here over a
 * socket (vm/netdev-stream.ts).
 */
import { setTimeout as wait } from 'node:timers/promises';
import type { PciDevice } from '../../drivers/device.ts';
import type { NetDevice } from '../../drivers/netdev.ts';
import type { NetdevStream } from '../../vm/netdev-stream.ts';
import type { Bench } from '../spec/netdev.ts';

export interface StreamBenchOptions {
  readonly device: PciDevice;
  /** Not started yet. */
  readonly driver: NetDevice & { close(): Promise<void> };
  /** The far end of the wire. */
  readonly stream: NetdevStream;
  /** Plugs the cable in again, once `stream` was closed for it; absent where the card cannot see that it was pulled. */
  readonly reconnect?: () => NetdevStream;
  /** What is to be ended behind the device. */
  readonly close?: () => void | Promise<void>;
}

export function streamBench({ device, driver, stream, reconnect, close }: StreamBenchOptions): Bench {
  let far = stream;
  return {
    driver,
    remote: true,
    send(frame) {
      device.config.read16(0); // what the driver wrote has reached the card: a read comes after posted writes
      if (!far.send(frame)) throw new Error(`the wire takes no frame: ${far.connected ? 'it is full' : 'it is cut'}`);
    },
    take: () => far.take()?.bytes ?? null,
    ...(reconnect && {
      cable(connected: boolean) {
        far.close();
        if (connected) far = reconnect();
      },
    }),
    run: (promise) => promise,
    pass: (ms) => wait(ms),
    async close() {
      try {
        await driver.close();
        const { used } = device.dma;
        if (used !== 0) throw new Error(`${used} bytes of DMA memory are left`);
      } finally {
        device.close();
        far.close();
        await close?.();
      }
    },
  };
}
