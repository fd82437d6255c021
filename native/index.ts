/** What JavaScript cannot do itself. Everything here needs Linux and the addon: ask `available` first. */
export { available } from './addon.ts';
export { NativeError, type NativeErrorCode } from './errors.ts';
export { type Watch, watch } from './poll.ts';
export {
  openTap,
  type Tap,
  type TapOffload,
  type TapOptions,
  VNET_HEADER_BYTES,
} from './tap.ts';
