/** The netdev spec on a device of QEMU's, in the qemu lane: each known difference is reported as skipped, with its reason. */
import t from 'tap';
import type { InterruptMode } from '../../drivers/device.ts';
import { findQemu, type Qemu } from '../../vm/qemu.ts';
import { lacksOf, NO_CABLE } from '../spec/lacks.ts';
import { netdevSpec } from '../spec/netdev.ts';
import { openQemuBench, peculiarities, QEMU_PARTS } from './qemu-bench.ts';

/** QEMU, or this file's tests are skipped with the reason; FAUXNIC_LANES=all makes that a failure. */
export async function qemuOrSkip(): Promise<Qemu> {
  try {
    return await findQemu();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    if (process.env.FAUXNIC_LANES === 'all') throw error;
    t.plan(0, why);
    process.exit(0);
  }
}

export function specOnQemu(qemu: Qemu, device: string, modes: readonly InterruptMode[]): void {
  for (const mode of modes) {
    netdevSpec(
      (name, body, skip) => void t.test(`qemu:${device} with ${mode}: ${name}`, { skip: skip ?? false }, body),
      (options) => openQemuBench(device, qemu, { buffers: 1024, ...options, interrupts: [mode] }),
      { ...lacksOf(QEMU_PARTS[device]!), ...NO_CABLE },
    );
  }
  for (const [what, why] of Object.entries(peculiarities(device).differs ?? {}))
    void t.test(`qemu:${device}: ${what}`, { skip: why }, () => {});
}
