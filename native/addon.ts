import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NativeError } from './errors.ts';

/** @internal The compiled side. Results are 0 or a count, or a negative errno; nothing there checks an argument's type. */
export interface Addon {
  readonly Tap: new () => TapHandle;
  readonly Poll: new (ready: (events: number) => void) => PollHandle;
  readonly Memory: new () => MemoryHandle;
  readonly Socket: new () => SocketHandle;
  memfd(name: string, bytes: number): number;
  eventfd(): number;
  adoptEventfd(fd: number): number;
  signalEventfd(fd: number): number;
}

/** @internal */
export interface MemoryHandle {
  map(fd: number, offset: number, length: number, shared: boolean): ArrayBuffer | number;
  unmap(buffer: ArrayBuffer): number;
}

/** @internal */
export interface SocketHandle {
  listen(path: string, backlog: number): number;
  connect(path: string): number;
  accept(listener: number): number;
  receive(bytes: Uint8Array, start: number, length: number, fds: Int32Array): number;
  send(bytes: Uint8Array, start: number, length: number, fds: Int32Array, milliseconds: number): number;
  write(bytes: Uint8Array, start: number, length: number): number;
  awaitInput(milliseconds: number): number;
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

const here = dirname(fileURLToPath(import.meta.url));
// From the sources, or from dist/native/; the addon is built beside the sources either way.
const candidates = ['build/Release/fauxnic.node', '../../native/build/Release/fauxnic.node'].map((it) =>
  join(here, it),
);

let loaded: Addon | undefined;

function load(): Addon {
  const path = candidates.find((candidate) => existsSync(candidate));
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
