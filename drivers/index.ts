/** The drivers, what they are written against, and what their frames are joined to. */
export * from './abilities.ts';
export { runClock, runFor } from './backends/clock-steps.ts';
export { HostMemory } from './backends/host-memory.ts';
export { MachineClock } from './backends/machine-clock.ts';
export { openSim, SimDevice, type SimOptions } from './backends/sim.ts';
export * from './device.ts';
export { createE1000, E1000Driver, type E1000Options } from './e1000/e1000.ts';
export { Echo } from './join/echo.ts';
export { InterfaceFollower } from './join/follow-interface.ts';
export { Generator, Sink } from './join/generator.ts';
export { Histogram } from './join/histogram.ts';
export { TapJoin } from './join/tap-join.ts';
export type { NetDriverOptions } from './net-driver.ts';
export * from './netdev.ts';
export * from './packet.ts';
export { createTg3, Tg3Driver, type Tg3Options } from './tg3/tg3.ts';
