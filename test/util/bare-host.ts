import { Clock } from '../../sim/clock.ts';
import { AddressSpace } from '../../sim/memory.ts';
import type { Host } from '../../sim/pci/function.ts';

/** A host in which nothing is mapped, and nobody hears of interrupts: for looking at a function alone. */
export function bareHost(parts: Partial<Host> = {}): Host {
  return {
    clock: new Clock(),
    memory: new AddressSpace(),
    packetMemory: (size) => ({ bytes: new Uint8Array(size), start: 0 }),
    intx: () => {},
    message: () => {},
    ...parts,
  };
}
