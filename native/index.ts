/** What JavaScript cannot do itself. Everything here needs Linux and the addon: ask `available` first. */
export { available } from './addon.ts';
export {
  closeReceived,
  createEventfd,
  createMemfd,
  drainEventfd,
  edges,
  isEventfd,
  signalEventfd,
  takeEdge,
} from './descriptor.ts';
export { NativeError, type NativeErrorCode } from './errors.ts';
export { Interface } from './interface.ts';
export { type PacketKernels, packetKernels } from './kernels.ts';
export type { InterfaceSettings } from './link-message.ts';
export { type MapOptions, type MappedMemory, type MemoryFile, mapMemory, memoryFile } from './memory.ts';
export { firstReadable, type Watch, type WatchHandlers, watch } from './poll.ts';
export { type MappedRegisters, mapRegisters } from './registers.ts';
export {
  adoptUnix,
  connectUnix,
  END,
  listensHere,
  listenUnix,
  type ReceivedDescriptors,
  receivedDescriptors,
  type UnixListener,
  type UnixSocket,
} from './socket.ts';
export {
  openTap,
  type Tap,
  type TapOffload,
  type TapOptions,
  VNET_HEADER_BYTES,
} from './tap.ts';
export {
  allocIoas,
  attachIoas,
  bindIommufd,
  containerRanges,
  disableIrqs,
  enableIrqs,
  groupDevice,
  groupViable,
  hasType1,
  type IovaRange,
  type IrqInfo,
  ioasRanges,
  irqInfo,
  joinContainer,
  mapInContainer,
  mapInIoas,
  type RegionInfo,
  regionInfo,
  resetDevice,
  unmaskIrq,
  vfioDeviceInfo,
} from './vfio.ts';
export { type Attendance, attend } from './wait.ts';
