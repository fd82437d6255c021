/** Devices outside of this process, by what they are called on the command line. */
import { openPci } from '../../drivers/backends/pci.ts';
import type { PciDevice } from '../../drivers/device.ts';
import { openVfioUser } from '../../vm/vfio-user/client.ts';
import { driverFor } from '../catalogue.ts';
import { type Card, type CardOptions, openDriver } from './card.ts';
import type { Setup } from './rig.ts';

/** Reserved; only what is used costs. */
const DMA_BYTES = 128 * 1024 * 1024;
/** Milliseconds for a link; without one the run goes on, as somebody may plug the cable in later. */
const LINK_TIMEOUT = 5000;

/** How a backend opens what stands behind its colon. Its row in the catalogue's BACKENDS says what that is. */
const OPENERS: Readonly<Record<string, (address: string) => Promise<PciDevice>>> = {
  'vfio-user': (path) => openVfioUser(path, { dmaBytes: DMA_BYTES }),
  pci: (address) => openPci(address),
};

export function openTarget(backend: string, address: string): Promise<PciDevice> {
  return OPENERS[backend]!(address);
}

/** A card in the machine's time, whose wire leads wherever it leads. */
export class OutsideRig implements Setup {
  readonly near: Card;
  readonly far = null;
  readonly cards: readonly Card[];
  readonly link = null;
  readonly capture = null;
  readonly trace = null;
  /** Nanoseconds from the driver's start to a link, or to giving up. */
  readonly negotiation: number;
  readonly pump = (): void => {};

  private constructor(card: Card, negotiation: number) {
    this.near = card;
    this.cards = [card];
    this.negotiation = negotiation;
  }

  /** Opens the device, finds its driver, starts it and waits for a link. */
  static async open(backend: string, address: string, options: CardOptions): Promise<OutsideRig> {
    const device = await openTarget(backend, address);
    let driver: Card['driver'] | undefined;
    try {
      const family = driverFor(device);
      driver = await openDriver(family, device, options);
      if (options.mac !== undefined) await driver.setMac(options.mac);
      const started = now();
      await driver.start();
      await linkUp(driver);
      return new OutsideRig({ name: `${family.name}-0`, device, driver }, now() - started);
    } catch (error) {
      await driver?.close().catch(() => {}); // what went wrong first is what is told
      device.close();
      throw error;
    }
  }

  readonly now = now;

  get linkNote(): string {
    return '';
  }

  start(): void {}

  async close(): Promise<void> {
    try {
      await this.near.driver.close();
    } finally {
      this.near.device.close();
    }
  }
}

/** Nanoseconds, in the machine's time. */
function now(): number {
  return Math.round(performance.now() * 1e6);
}

async function linkUp(driver: Card['driver']): Promise<void> {
  const deadline = performance.now() + LINK_TIMEOUT;
  while (!driver.link.up && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
}
