/** The netdev spec's bench over a device that QEMU emulates: time is a virtual clock that QEMU's follows. */
import { runClock } from '../../drivers/backends/clock-steps.ts';
import { createE1000, type E1000Driver, type E1000Options } from '../../drivers/e1000/e1000.ts';
import type { Qemu } from '../../vm/qemu.ts';
import { openStepped } from '../../vm/qtest/wired.ts';
import type { Bench } from '../spec/netdev.ts';

export const MAC = Uint8Array.of(0x02, 0x11, 0x22, 0x33, 0x44, 0x55);

/** Which parts QEMU's devices are. */
export const QEMU_PARTS: Readonly<Record<string, string>> = {
  e1000: '82540EM',
  'e1000-82545em': '82545EM',
  e1000e: '82574L',
};

/** Seen with QEMU 11.1.3; 317453 is the manual of the 8254x. */
export function peculiarities(name: string): Pick<Bench, 'differs'> {
  const padding = 'TCTL.PSP pads short frames (317453 §13.4.33); QEMU sends them as they are';
  const deafness =
    'a card hears nothing without RCTL.EN (317453 §13.4.22); QEMU keeps frames in the cable until it does';
  if (name === 'e1000e') return { differs: { padding, deafness } };
  return {
    differs: {
      padding,
      deafness,
      'receive-checksums': 'RXCSUM has the card check (317453 §13.4.47); QEMU sets IXSM in each descriptor instead',
      'octets-transmitted': 'GOTCL counts good frames (317453 §13.7.32); QEMU leaves it at 0, and counts in TOTL alone',
    },
  };
}

export async function openQemuBench(
  name: string,
  qemu: Qemu,
  options: E1000Options = {},
): Promise<Bench & { readonly driver: E1000Driver }> {
  const { clock, device, stream, pass, close } = await openStepped(name, { qemu, mac: MAC });
  try {
    const driver = await runClock(clock, createE1000(device, options));
    return {
      driver,
      ...peculiarities(name),
      send: (frame) => void stream.send(frame),
      take: () => stream.take()?.bytes ?? null,
      run: (promise) => runClock(clock, promise),
      pass,
      close: async () => {
        try {
          await runClock(clock, driver.close());
          if (device.dma.used !== 0) throw new Error(`${device.dma.used} bytes of DMA memory are left`);
        } finally {
          close();
        }
      },
    };
  } catch (error) {
    close();
    throw error;
  }
}
