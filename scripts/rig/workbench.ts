/** A card on the bench: opened for its registers, NVM and PHY, and not driven. */
import { MachineClock } from '../../drivers/backends/machine-clock.ts';
import { openSim } from '../../drivers/backends/sim.ts';
import type { ChipTools } from '../../drivers/chip-tools.ts';
import type { PciDevice } from '../../drivers/device.ts';
import { Clock } from '../../sim/clock.ts';
import type { Progress } from '../../vm/progress.ts';
import { openQemu } from '../../vm/qtest/device.ts';
import { driverFor, findTarget, type Target } from '../catalogue.ts';
import { UsageError } from '../errors.ts';
import type { DrivenFamily, Model } from '../families/family.ts';
import { openTarget } from './target.ts';

export interface Workbench {
  readonly target: string;
  readonly device: PciDevice;
  readonly family: DrivenFamily;
  readonly tools: ChipTools;
  /** Whether what is written to it ends with this process. */
  readonly fleeting: boolean;
  /** Idempotent. */
  close(): void;
}

interface Opened {
  readonly device: PciDevice;
  close(): void;
}

export interface WorkbenchOptions {
  /** What a model's NVM holds; the factory's, if absent. */
  readonly image?: Uint8Array;
  readonly progress?: Progress;
}

/**
 * Opens what the target stands for, in the machine's time. A model is a fresh one, with nobody at its other end.
 * @throws UsageError where there is no such target, or no driver knows the card.
 */
export async function openWorkbench(target: string, options: WorkbenchOptions = {}): Promise<Workbench> {
  const what = findTarget(target);
  if (options.image !== undefined && !isModel(what))
    throw new UsageError(`--image is for models (sim:MODEL): ${target} has its own NVM`);
  const { device, close } = await openDevice(what, options);
  try {
    const family = driverFor(device);
    return {
      target,
      device,
      family,
      tools: family.driver.tools(device),
      fleeting: isModel(what) || 'qemu' in what,
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

export const isModel = (target: Target) => target.model !== null && target.qemu === undefined;

async function openDevice(target: Target, { image, progress }: WorkbenchOptions): Promise<Opened> {
  if (target.model !== null && target.qemu === undefined) return openModel(target.model, image);
  const device =
    target.model === null
      ? await openTarget(target.backend, target.address)
      : await openQemu(target.qemu!, { progress });
  return { device, close: () => device.close() };
}

function openModel(model: Model, image: Uint8Array | undefined): Opened {
  if (image !== undefined && image.length !== model.nvram)
    throw new UsageError(`an image of ${image.length} bytes: the NVM of ${model.name} has ${model.nvram}`);
  const clock = new Clock();
  const machine = new MachineClock(clock);
  const name = `sim:${model.name}`;
  const device = openSim((host) => model.make(host, { name: model.name, image }), { name, clock });
  machine.start();
  return {
    device,
    close() {
      device.close();
      machine.stop();
    },
  };
}
