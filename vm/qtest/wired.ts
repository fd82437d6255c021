/** A device that QEMU emulates, in virtual time, with the other end of its wire in our hands. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { runFor } from '../../drivers/backends/clock-steps.ts';
import { Clock, MILLISECOND } from '../../sim/clock.ts';
import { NetdevStream } from '../netdev-stream.ts';
import { privateFolder } from '../private-folder.ts';
import { openQemu, type QemuDevice, type QemuOptions } from './device.ts';

export interface WiredQemu {
  readonly clock: Clock;
  readonly device: QemuDevice;
  readonly stream: NetdevStream;
  /** Lets time pass, and the sockets' two ends read what was sent. */
  pass(ms: number): Promise<void>;
  close(): void;
}

export type WiredOptions = Omit<QemuOptions, 'clock' | 'netdev'>;

/** @throws as openQemu does. */
export async function openWired(name: string, options: WiredOptions): Promise<WiredQemu> {
  const folder = privateFolder();
  const path = join(folder, 'wire');
  const clock = new Clock();
  const stream = NetdevStream.listen(path);
  try {
    const netdev = `stream,server=off,addr.type=unix,addr.path=${path}`;
    const device = await openQemu(name, { ...options, clock, netdev });
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
