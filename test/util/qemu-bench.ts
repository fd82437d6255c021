/** The netdev spec's bench over a device that QEMU emulates: time is a virtual clock that QEMU's follows. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runClock, runFor } from '../../drivers/backends/clock-steps.ts';
import { createE1000, type E1000Driver, type E1000Options } from '../../drivers/e1000/e1000.ts';
import { Clock, MILLISECOND } from '../../sim/clock.ts';
import { NetdevStream } from '../../vm/netdev-stream.ts';
import type { Qemu } from '../../vm/qemu.ts';
import { openQemu, type QemuDevice } from '../../vm/qtest/device.ts';
import type { Bench } from '../spec/netdev.ts';

export const MAC = Uint8Array.of(0x02, 0x11, 0x22, 0x33, 0x44, 0x55);

export interface QemuRig {
  readonly clock: Clock;
  readonly device: QemuDevice;
  readonly stream: NetdevStream;
  /** Lets time pass, and the sockets' two ends read what was sent. */
  pass(ms: number): Promise<void>;
  close(): void;
}

/** A device of QEMU's with its wire, and no driver. */
export async function openQemuRig(name: string, qemu: Qemu, dmaBytes?: number): Promise<QemuRig> {
  const folder = mkdtempSync(join(tmpdir(), 'fauxnic-wire-'));
  const path = join(folder, 'wire');
  const clock = new Clock();
  const stream = NetdevStream.listen(path);
  try {
    const netdev = `stream,server=off,addr.type=unix,addr.path=${path}`;
    const device = await openQemu(name, { qemu, clock, netdev, mac: MAC, dmaBytes });
    while (!stream.connected) await turn(); // it has, before it answered: it is only to be accepted
    return {
      clock,
      device,
      stream,
      async pass(ms) {
        await exchange(device, stream);
        await runFor(clock, ms * MILLISECOND);
        await exchange(device, stream);
      },
      close() {
        device.close();
        stream.close();
      },
    };
  } catch (error) {
    stream.close();
    throw error;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const turn = () => new Promise((resolve) => setImmediate(resolve));
/** Turns of the event loop in which a socket that has something is read for certain: one may have begun already. */
const TURNS = 2;

/** Until nothing is under way between QEMU and us. */
async function exchange(device: QemuDevice, { counters }: NetdevStream): Promise<void> {
  for (let before = -1; before !== counters.received; ) {
    before = counters.received;
    for (let i = 0; i < TURNS; i++) await turn();
    device.settle();
  }
}

/** QEMU 11.1, hw/net/e1000.c: each write to RCTL holds reception back for a second. */
const E1000_ARRIVAL = 1_001;

/** Seen with QEMU 11.1.3; 317453 is the manual of the 8254x. */
export function peculiarities(name: string): Pick<Bench, 'arrival' | 'differs'> {
  const padding = 'TCTL.PSP pads short frames (317453 §13.4.33); QEMU sends them as they are';
  if (name === 'e1000e') return { differs: { padding } };
  return {
    arrival: E1000_ARRIVAL,
    differs: {
      padding,
      'receive-checksums': 'RXCSUM has the card check (317453 §13.4.32); QEMU sets IXSM in each descriptor instead',
      'octets-transmitted': 'GOTCL counts good frames (317453 §13.7.30); QEMU leaves it at 0, and counts in TOTL alone',
    },
  };
}

export async function openQemuBench(
  name: string,
  qemu: Qemu,
  options: E1000Options = {},
): Promise<Bench & { readonly driver: E1000Driver }> {
  const { clock, device, stream, pass, close } = await openQemuRig(name, qemu);
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
