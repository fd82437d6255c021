import { available } from '../../native/index.ts';
import { VmError } from '../errors.ts';
import { buildInitramfs, PROGRAMS } from '../initramfs.ts';
import type { Progress } from '../progress.ts';
import { type UmlKernel, umlKernel } from './kernel.ts';

/** What Linux as a process is made of. */
export interface UmlParts {
  readonly kernel: UmlKernel;
  readonly initramfs: string;
}

export interface UmlPartsOptions {
  /** Path of the kernel; the one that was built last, if absent. */
  readonly kernel?: string;
  readonly programs?: readonly string[];
  readonly progress?: Progress;
}

/** Why there can be none here; null where there can. */
export function umlObstacle(): string | null {
  const addon = available();
  if (!addon.ok) return addon.why;
  try {
    umlKernel();
    return null;
  } catch (error) {
    if (error instanceof VmError) return error.message;
    throw error;
  }
}

/** Finds or makes them; throws a VmError where that cannot be. */
export async function umlParts({ kernel: path, programs = PROGRAMS, progress }: UmlPartsOptions): Promise<UmlParts> {
  const kernel = umlKernel(path);
  const addon = available();
  if (!addon.ok) throw new VmError('UNAVAILABLE', `Linux as a process needs the addon: ${addon.why}`);
  // All that it has is built in.
  const initramfs = await buildInitramfs({
    kernel: { ...kernel, modules: '' },
    tty: 'hvc',
    modules: [],
    programs,
    progress,
  });
  return { kernel, initramfs };
}
