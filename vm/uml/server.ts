/** Serves one device to a kernel, over vhost-user, at a socket: the kernel connects once, as it starts. */
import { listenUnix, packetKernels, type UnixListener, type Watch, watch } from '../../native/index.ts';
import { makeArena, useNative } from '../../sim/kernels/index.ts';
import { AddressSpace } from '../../sim/memory.ts';
import type { Host, PciFunction } from '../../sim/pci/function.ts';
import { GuestMemory, ModelMemory } from '../vfio-user/guest-memory.ts';
import { ConsoleLine } from './console.ts';
import type { VirtioDevice } from './device.ts';
import { NetworkCard } from './net.ts';
import { PciOverVirtio } from './pci.ts';
import type { Reactor } from './reactor.ts';
import { Session } from './session.ts';
import type { Time } from './time.ts';

export interface ServeOptions {
  /** Where to listen. */
  readonly socket: string;
  readonly time: Time;
  readonly reactor: Reactor;
  /** Told of kernels that come and go, and why. */
  readonly note?: (text: string) => void;
}

export interface DeviceServer<Device extends VirtioDevice = VirtioDevice> {
  readonly device: Device;
  readonly socket: string;
  readonly counters: { clients: number; requests: number; dropped: number };
  /** Parts with the kernel, if it has not gone by itself. */
  leave(): void;
  close(): void;
}

/** Nothing here is reached by asking: all memory comes with a descriptor. */
const NOWHERE = { read: () => false, write: () => false };

/** @param make makes the device; it is handed how to tell that something waits for the kernel. */
function serveDevice<Device extends VirtioDevice>(
  space: AddressSpace,
  make: (pending: () => void) => Device,
  { socket: path, time, reactor, note = () => {} }: ServeOptions,
): DeviceServer<Device> {
  let session: Session | null = null;
  const device = make(() => session && time.pending(session));
  const cut = () => gone('it cut its memory short');
  const memory = new GuestMemory(new ModelMemory(space, NOWHERE, cut));
  const counters = { clients: 0, requests: 0, dropped: 0 };
  const listener: UnixListener = listenUnix(path);
  let waiting: Watch;
  const gone = (why: string | null): void => {
    const ended = session;
    if (ended === null) return;
    session = null;
    ended.close();
    device.detach();
    memory.clear();
    counters.requests += ended.requests;
    if (why !== null) counters.dropped++;
    note(why === null ? 'kernel gone' : `kernel dropped: ${why}`);
    waiting.start();
  };
  const accept = (): void => {
    const socket = listener.accept();
    if (socket === null) return;
    counters.clients++;
    waiting.stop(); // whoever comes next waits in the socket's queue
    session = new Session(socket, { device, memory, space, time, reactor, gone });
  };
  waiting = watch(listener.fd, { readable: accept });
  waiting.start();
  let closed = false;
  return {
    device,
    socket: path,
    counters,
    leave: () => gone(null),
    close() {
      if (closed) return;
      closed = true;
      gone(null);
      listener.close();
    },
  };
}

/** A served model. */
export interface FunctionServer<Model extends PciFunction> extends DeviceServer<PciOverVirtio> {
  readonly model: Model;
}

export function serveFunction<Model extends PciFunction>(
  functionFactory: (host: Host) => Model,
  options: ServeOptions,
): FunctionServer<Model> {
  useNative(packetKernels());
  const memory = new AddressSpace();
  const server = serveDevice(memory, (pending) => new PciOverVirtio(() => model, pending), options);
  const { device } = server;
  const model = functionFactory({
    clock: options.time.clock,
    memory,
    packetMemory: (size) => ({ bytes: new Uint8Array(makeArena(size)), start: 0 }),
    intx: (asserted) => device.intx(asserted),
    message: (_vector, _low, _high, data) => device.message(data),
  });
  return { ...server, model };
}

export function serveConsole(output: (chunk: Buffer) => void, options: ServeOptions): DeviceServer<ConsoleLine> {
  return serveDevice(new AddressSpace(), (pending) => new ConsoleLine(output, pending), options);
}

export function serveNetwork(name: string, mac: Uint8Array, options: ServeOptions): DeviceServer<NetworkCard> {
  return serveDevice(new AddressSpace(), (pending) => new NetworkCard(name, mac, options.time.clock, pending), options);
}
