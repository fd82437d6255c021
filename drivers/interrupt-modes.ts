/** What drivers do alike about interrupts: pick a mode, and run handlers that nobody called who could catch. */
import { DeviceError, type InterruptMode, type PciDevice } from './device.ts';

/** What a driver makes of an interrupt. */
export interface InterruptSink {
  /** Something to receive or reclaim on `queue`, or without one on any queue; interrupts for it are now off. */
  work(queue?: number): void;
  /** The link changed, or may have. */
  link(): void;
  /** The card does not answer: a DeviceError says how that was noticed. */
  failed(error: DeviceError): void;
}

/**
 * Turns on the first of `modes` that the function offers with as many vectors as `vectors` wants of it (0: not this one).
 * @throws DeviceError 'UNSUPPORTED' where there is none.
 */
export function enableFirst(
  device: PciDevice,
  modes: readonly InterruptMode[],
  vectors: (mode: InterruptMode) => number,
): InterruptMode {
  const mode = modes.find((wanted) => tryEnable(device, wanted, vectors(wanted)));
  if (mode === undefined) throw new DeviceError('UNSUPPORTED', `${device.name} offers none of ${modes.join(', ')}`);
  return mode;
}

function tryEnable({ interrupts }: PciDevice, mode: InterruptMode, count: number): boolean {
  if (count === 0 || interrupts.available[mode] < count) return false;
  try {
    interrupts.enable(mode, count);
    return true;
  } catch (error) {
    if (error instanceof DeviceError && error.code === 'UNSUPPORTED') return false; // as IRQ vectors may run out
    throw error;
  }
}

/** A handler whose accesses may throw: `failed` is told. */
export function guarded(handler: () => void, failed: (error: DeviceError) => void): () => void {
  return () => {
    try {
      handler();
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      failed(error);
    }
  };
}
