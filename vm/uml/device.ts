/** A virtio device, as a session serves it: queues, a configuration, and what to do when the driver kicks. */
import type { Host } from '../../sim/pci/function.ts';
import type { Virtqueue } from './virtqueue.ts';

/** What a device has of its session, from the driver's arrival to its end. */
export interface Line {
  readonly queues: readonly Virtqueue[];
  /** Tells the driver that it was given something in this queue. */
  call(queue: number): void;
}

export interface VirtioDevice {
  /** Virtio 1.2, section 5. */
  readonly id: number;
  readonly queues: number;
  /** Features, the low word, beside those that every device here has. */
  readonly features: number;
  readonly config: Uint8Array;
  /** What was refused, by name. */
  readonly refused: Record<string, number>;
  attach(line: Line): void;
  kicked(queue: number): void;
  /** Puts what waits for the driver into its queues: when time allows it, and at once in the machine's time. */
  deliver(): void;
  /** The driver has gone. */
  detach(): void;
}

/** What every device is made with: its memory is the kernel's. */
export interface Surroundings extends Pick<Host, 'clock' | 'memory'> {
  /** Something waits for the driver: `deliver` is to be called. */
  pending(): void;
}

export function count(refused: Record<string, number>, what: string): void {
  refused[what] = (refused[what] ?? 0) + 1;
}
