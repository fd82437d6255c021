import { buildInitramfs } from '../../vm/initramfs.ts';
import { stockKernel } from '../../vm/kernel.ts';
import { chooseAccelerator } from '../../vm/kvm.ts';
import { findQemu } from '../../vm/qemu.ts';

/** What a guest is made of here, with these modules. A machine that lacks something is told, and the file is skipped. */
export async function guestParts(modules: readonly string[]) {
  try {
    const [qemu, kernel] = await Promise.all([findQemu(), stockKernel()]);
    const initramfs = await buildInitramfs({ kernel, modules });
    const { accelerator } = await chooseAccelerator(qemu, kernel);
    return { qemu, kernel, initramfs, accelerator };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const must = process.env.FAUXNIC_LANES === 'all';
    console.log(must ? `TAP version 14\nnot ok 1 - ${why}\n1..1` : `TAP version 14\n1..0 # SKIP ${why}`);
    process.exit(must ? 1 : 0);
  }
}
