/** A device that QEMU emulates, with the other end of its wire in our hands. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { runFor } from '../../drivers/backends/clock-steps.ts';
import { Clock, MILLISECOND } from '../../sim/clock.ts';
import { NetdevStream } from '../netdev-stream.ts';
import { privateFolder } from '../private-folder.ts';
import { openQemu, type QemuDevice, type QemuOptions } from './device.ts';

export interface WiredQemu {
  readonly device: QemuDevice;
  readonly stream: NetdevStream;
  close(): void;
}

/** In virtual time. */
export interface SteppedQemu extends WiredQemu {
  readonly clock: Clock;
  /** Lets time pass, and the sockets' two ends read what was sent. */
  pass(ms: number): Promise<void>;
}

/** @throws as openQemu does. */
export async function openWired(name: string, options: Omit<QemuOptions, 'netdev'>): Promise<WiredQemu> {
  const folder = privateFolder();
  const path = join(folder, 'wire');
  const stream = NetdevStream.listen(path);
  try {
    const netdev = `stream,server=off,addr.type=unix,addr.path=${path}`;
    const device = await openQemu(name, { ...options, netdev });
    // It has connected before it answered: that is only to be accepted, even where it has ended since.
    while (stream.counters.connections === 0) await turn();
    return {
      device,
      stream,
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

/** @throws as openQemu does. */
export async function openStepped(name: string, options: Omit<QemuOptions, 'netdev' | 'clock'>): Promise<SteppedQemu> {
  const clock = new Clock();
  const wired = await openWired(name, { ...options, clock });
  const { device, stream } = wired;
  return {
    ...wired,
    clock,
    async pass(ms) {
      await exchange(device, stream);
      await runFor(clock, ms * MILLISECOND);
      await exchange(device, stream);
    },
  };
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
