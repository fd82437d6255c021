import { buildInitramfs, PROGRAMS } from './initramfs.ts';
import { type Kernel, stockKernel } from './kernel.ts';
import { type AcceleratorChoice, chooseAccelerator } from './kvm.ts';
import type { Progress } from './progress.ts';
import { findQemu, type Qemu } from './qemu.ts';

/** What every guest is made of. */
export interface GuestParts extends Pick<AcceleratorChoice, 'accelerator'> {
  readonly qemu: Qemu;
  readonly kernel: Kernel;
  readonly initramfs: string;
}

export interface PartsOptions {
  readonly modules: readonly string[];
  readonly programs?: readonly string[];
  /** KVM where it works, unless told. */
  readonly accelerator?: AcceleratorChoice;
  readonly progress?: Progress;
}

/** Finds or makes them; throws a VmError where that cannot be. */
export async function guestParts(options: PartsOptions): Promise<GuestParts & AcceleratorChoice> {
  const { modules, programs = PROGRAMS, progress } = options;
  const qemu = await findQemu(progress); // first: what is wrong with it is said before a kernel is downloaded
  const kernel = await stockKernel(progress);
  const initramfs = await buildInitramfs({ kernel, modules, programs, progress });
  const choice = options.accelerator ?? (await chooseAccelerator(qemu, kernel, progress));
  return { qemu, kernel, initramfs, ...choice };
}
