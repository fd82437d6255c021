export * from './capture.ts';
export * from './host-port.ts';
export type { BurstLoss, Impairments } from './impairments.ts';
export type { FrameHandler, LineCounters } from './line.ts';
export {
  type Direction,
  Link,
  type LinkOptions,
  type LinkState,
} from './link.ts';
export {
  type FrameDirection,
  INBOUND,
  OUTBOUND,
  type PcapngInterface,
  type PcapngOptions,
  PcapngWriter,
  UNKNOWN_DIRECTION,
} from './pcapng.ts';
export * from './pcapng-reader.ts';
export * from './port.ts';
export { Prng } from './prng.ts';
export * from './station.ts';
export * from './switch.ts';
