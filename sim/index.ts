/** The models, and what they are made of and plugged into. Runs wherever JavaScript does. */
export * from './clock.ts';
export { E1000, type E1000Options } from './e1000/i82540em.ts';
export { I82540EM } from './e1000/registers.ts';
export * from './memory.ts';
export * from './nic/board.ts';
export { DescriptorRing } from './nic/ring.ts';
export * from './pci/bars.ts';
export * from './pci/capabilities/index.ts';
export * from './pci/configuration.ts';
export * from './pci/function.ts';
export * from './registers.ts';
export * as state from './state.ts';
export { Tg3, type Tg3Options } from './tg3/bcm57xx.ts';
export { BCM57XX } from './tg3/registers.ts';
export type { Trace } from './trace.ts';
export * from './wire/index.ts';
