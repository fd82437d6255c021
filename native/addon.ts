import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NativeError } from './errors.ts';
import type { PacketKernels } from './kernels.ts';

/** @internal The compiled side. Results are 0 or a count, or a negative errno; an argument of another type is a TypeError. */
export interface Addon {
  readonly Tap: new () => TapHandle;
  readonly Poll: new (ready: (events: number) => void) => PollHandle;
  readonly Memory: new () => MemoryHandle;
  readonly Registers: new () => RegistersHandle;
  readonly Socket: new () => SocketHandle;
  readonly Wait: new (ready: (place: number) => void) => WaitHandle;
  readonly vfio: VfioCalls;
  readonly rtnetlink: RtnetlinkCalls;
  readonly kernels: PacketKernels;
  memfd(name: string, bytes: number, huge: boolean): number;
  eventfd(): number;
  isEventfd(fd: number): number;
  signalEventfd(fd: number): number;
  drainEventfd(fd: number): number;
  edges(fd: number): number;
  takeEdge(edges: number): number;
  memoryFile(fd: number, into: Float64Array): number;
  closeReceived(fd: number): number;
  lockFolder(path: string): number;
  awaitReadable(fds: Int32Array, count: number, milliseconds: number): number;
}

/** @internal */
export interface MemoryHandle {
  map(fd: number, offset: number, length: number, shared: boolean, bell: number): ArrayBuffer | number;
  unmap(buffer: ArrayBuffer): number;
}

/** @internal */
export interface RegistersHandle {
  map(fd: number, offset: number, length: number): number;
  unmap(): void;
  read8(offset: number): number;
  read16(offset: number): number;
  read32(offset: number): number;
  write8(offset: number, value: number): void;
  write16(offset: number, value: number): void;
  write32(offset: number, value: number): void;
}

/** @internal Ioctls. Answers go into the array that is passed. */
export interface VfioCalls {
  hasType1(container: number): number;
  groupStatus(group: number): number;
  setContainer(group: number, container: number): number;
  setIommu(container: number): number;
  groupDevice(group: number, name: string): number;
  containerRanges(container: number, into: Float64Array): number;
  containerMap(container: number, buffer: ArrayBuffer, length: number, iova: number): number;
  allocIoas(iommufd: number): number;
  ioasRanges(iommufd: number, ioas: number, into: Float64Array): number;
  ioasMap(iommufd: number, ioas: number, buffer: ArrayBuffer, length: number, iova: number): number;
  bind(device: number, iommufd: number): number;
  attach(device: number, ioas: number): number;
  deviceInfo(device: number, into: Float64Array): number;
  regionInfo(device: number, index: number, into: Float64Array): number;
  irqInfo(device: number, index: number, into: Float64Array): number;
  setIrqs(device: number, flags: number, index: number, count: number, fds: Int32Array): number;
  reset(device: number): number;
}

/** @internal */
export interface RtnetlinkCalls {
  drain(fd: number): number;
  ask(fd: number, request: Uint8Array, reply: Uint8Array): number;
}

/** @internal */
export interface SocketHandle {
  listen(path: string, backlog: number): number;
  connect(path: string): number;
  accept(listener: number): number;
  adopt(fd: number): number;
  receive(bytes: Uint8Array, start: number, length: number, fds: Int32Array): number;
  send(bytes: Uint8Array, start: number, length: number, fds: Int32Array, milliseconds: number): number;
  write(bytes: Uint8Array, start: number, length: number): number;
  exchange(request: Uint8Array, length: number, reply: Uint8Array, milliseconds: number): number;
  wait(milliseconds: number): number;
  close(): void;
}

/** @internal */
export interface TapHandle {
  open(): number;
  attach(name: string, vnetHeader: boolean): number;
  header(bytes: number): number;
  offload(bits: number): number;
  carrier(on: boolean): number;
  mac(address: Uint8Array): number;
  up(up: boolean): number;
  mtu(bytes: number): number;
  address(address: number, prefixLength: number): number;
  read(memory: ArrayBuffer, vec: Int32Array, count: number): number;
  write(memory: ArrayBuffer, vec: Int32Array, count: number): number;
  name(): string;
  index(): number;
  namespace(): number;
  rtnetlink(told: boolean): number;
  refused(): number;
  close(): void;
}

/** @internal */
export interface PollHandle {
  open(fd: number): number;
  start(events: number): number;
  stop(): void;
  hold(alive: boolean): void;
  close(): void;
}

/** @internal */
export interface WaitHandle {
  open(): number;
  add(fd: number): number;
  until(place: number, events: number): void;
  remove(place: number): void;
}

const here = dirname(fileURLToPath(import.meta.url));
// From the sources, or from dist/native/; the addon is built beside the sources either way.
const candidates = ['build/Release/fauxnic.node', '../../native/build/Release/fauxnic.node'].map((it) =>
  join(here, it),
);

let loaded: Addon | undefined;

function load(): Addon {
  // FAUXNIC_ADDON names another build of it (native/asan.mjs).
  const path = process.env.FAUXNIC_ADDON ?? candidates.find((candidate) => existsSync(candidate));
  if (!path) throw new Error('it is not built; run `npm run build:native` (in a project: `npm rebuild fauxnic`)');
  return createRequire(import.meta.url)(path) as Addon;
}

/** @internal The addon, loaded at the first call. */
export function addon(): Addon {
  try {
    loaded ??= load();
    return loaded;
  } catch (error) {
    throw new NativeError('UNAVAILABLE', 'addon', `native addon: ${(error as Error).message}`);
  }
}

/** Whether the addon loads here; what it can do also depends on /dev/net/tun and privileges, which its errors tell. */
export function available(): { ok: true } | { ok: false; why: string } {
  try {
    addon();
    return { ok: true };
  } catch (error) {
    return { ok: false, why: (error as Error).message };
  }
}
