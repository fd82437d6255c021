/**
 * The vfio-user backend: a device that another process (or another thread) serves over a UNIX socket, as a PciDevice.
 *
 * An access is a request that blocks until it is answered; a write to a BAR is posted, as it is on a real bus: reads come
 * after it on the same socket. DMA memory is a memfd that the server maps, interrupts are eventfds.
 */
import { closeSync } from 'node:fs';
import { ones, SpaceBase, type Width } from '../../drivers/backends/base.ts';
import { type Decoding, identityOf, restoreBars, saveBars, setCommand } from '../../drivers/backends/configuration.ts';
import { Arena, DeviceMemory, IOVA_BASE } from '../../drivers/backends/host-memory.ts';
import { MachineTime } from '../../drivers/backends/machine-time.ts';
import { DeviceError, type PciDevice, type PciId, type RegisterSpace } from '../../drivers/device.ts';
import { createMemfd, type MappedMemory, mapMemory } from '../../native/index.ts';
import { ClientInterrupts } from './client-interrupts.ts';
import {
  COMMAND_DEVICE_GET_INFO,
  COMMAND_DEVICE_GET_REGION_INFO,
  COMMAND_DEVICE_RESET,
  COMMAND_DMA_MAP,
  COMMAND_DMA_UNMAP,
  COMMAND_REGION_READ,
  COMMAND_REGION_WRITE,
  COMMAND_VERSION,
  DEVICE_FLAG_PCI,
  DEVICE_INFO_BYTES,
  DMA_MAP_BYTES,
  DMA_UNMAP_BYTES,
  MAP_READ,
  MAP_WRITE,
  MAX_DATA_BYTES,
  MAX_DESCRIPTORS,
  PAGE_BYTES,
  REGION_ACCESS_BYTES,
  REGION_CONFIG,
  REGION_INFO_BYTES,
  REGION_ROM,
  VERSION_BYTES,
} from './codec.ts';
import { Connection } from './connection.ts';

export interface VfioUserOptions {
  /** As on the command line; "vfio-user:PATH", if absent. */
  readonly name?: string;
  /** Size of the DMA arena: a multiple of 4096. Default 64 MiB. */
  readonly dmaBytes?: number;
  /** Milliseconds in which the server must answer a request. Default 5000. */
  readonly timeout?: number;
}

/** What the header of configuration space takes (PCI 3.0, 6.1). */
const CONFIG_LEAST = 256;
const CAPABILITIES = JSON.stringify({
  capabilities: { max_msg_fds: MAX_DESCRIPTORS, max_data_xfer_size: MAX_DATA_BYTES, pgsizes: PAGE_BYTES },
});

/**
 * Opens the device served at `path`, by another thread or process: this thread blocks while it waits for an answer.
 * @throws NativeError where nobody listens there; DeviceError 'TIMEOUT' or 'FAILED' where the server is none.
 */
export async function openVfioUser(path: string, options: VfioUserOptions = {}): Promise<VfioUserDevice> {
  return new VfioUserDevice(path, options);
}

export class VfioUserDevice implements PciDevice {
  readonly name: string;
  readonly id: PciId;
  readonly config: RegisterSpace;
  readonly dma: DeviceMemory;
  readonly interrupts: ClientInterrupts;
  readonly time = new MachineTime();
  readonly #connection: Connection;
  readonly #bars: readonly (RegisterSpace | null)[];
  readonly #memory: MappedMemory;
  #closed = false;

  /** @internal Use openVfioUser. */
  constructor(path: string, options: VfioUserOptions) {
    const { name = `vfio-user:${path}`, dmaBytes = 64 * 1024 * 1024, timeout = 5000 } = options;
    if (dmaBytes % PAGE_BYTES !== 0) throw new DeviceError('INVALID', `${dmaBytes} bytes of DMA memory: whole pages`);
    this.name = name;
    const connection = new Connection(path, { name, timeout, lost: () => this.interrupts.lost() });
    this.#connection = connection;
    let memory: MappedMemory | null = null;
    try {
      const descriptors = negotiate(connection);
      checkDevice(connection);
      const config = openRegion(connection, REGION_CONFIG);
      if (config === null || config.size < CONFIG_LEAST) {
        throw connection.end(`its configuration space has ${config?.size ?? 0} bytes: it is no PCI function`);
      }
      this.config = config;
      this.#bars = Array.from({ length: REGION_ROM }, (_, index) => openRegion(connection, index));
      this.id = identityOf(config);
      this.interrupts = new ClientInterrupts(connection, config, (index) => this.bar(index), descriptors);
      memory = share(connection, dmaBytes);
      this.#memory = memory;
      this.dma = new DeviceMemory(new Arena(memory.buffer));
    } catch (error) {
      connection.close();
      memory?.close();
      throw error;
    }
  }

  /** Why the device cannot be reached any more; null while it can. Every access then throws this. */
  get failure(): DeviceError | null {
    return this.#connection.failure;
  }

  bar(index: number): RegisterSpace {
    this.#check();
    const bar = this.#bars[index] ?? null;
    if (bar === null) throw new DeviceError('UNSUPPORTED', `${this.name} has no BAR ${index}`);
    return bar;
  }

  enable(on: Decoding): void {
    setCommand(this.config, on);
  }

  reset(): void {
    const bars = saveBars(this.config);
    this.interrupts.disable();
    this.#connection.request.payload = 0;
    this.#connection.ask(COMMAND_DEVICE_RESET, 0);
    restoreBars(this.config, bars);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      if (this.failure === null) this.enable({ busMaster: false });
      this.interrupts.close();
      if (this.failure === null) unshare(this.#connection, this.#memory.buffer.byteLength);
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error; // a server that has gone reaches no memory either
    } finally {
      this.#connection.close();
      this.time.close();
      this.dma.close();
      this.#memory.close();
    }
  }

  #check(): void {
    if (this.failure !== null) throw this.failure;
  }
}

/** Version 0.0, and what each side can do. Returns how many descriptors the server takes in one message. */
function negotiate(connection: Connection): number {
  const { request, reply } = connection;
  request.payload = VERSION_BYTES;
  request.setU16(0, 0);
  request.setU16(2, 0);
  request.payload = VERSION_BYTES + request.setText(VERSION_BYTES, CAPABILITIES);
  connection.ask(COMMAND_VERSION, VERSION_BYTES);
  if (reply.u16(0) !== 0) throw connection.end(`it speaks version ${reply.u16(0)}.${reply.u16(2)}, not 0.x`);
  const text = reply.text(VERSION_BYTES, reply.payload - VERSION_BYTES).replace(/\0+$/, '');
  if (text === '') return 1;
  try {
    const { capabilities } = JSON.parse(text) as { capabilities?: { max_msg_fds?: unknown } };
    const most = capabilities?.max_msg_fds ?? 1; // the protocol's default
    if (Number.isInteger(most) && (most as number) >= 1) return Math.min(most as number, MAX_DESCRIPTORS);
  } catch {
    // said below
  }
  throw connection.end('its capabilities are no JSON, or make no sense');
}

function checkDevice(connection: Connection): void {
  const { request, reply } = connection;
  request.payload = DEVICE_INFO_BYTES;
  request.setU32(0, DEVICE_INFO_BYTES);
  for (const at of [4, 8, 12]) request.setU32(at, 0);
  connection.ask(COMMAND_DEVICE_GET_INFO, DEVICE_INFO_BYTES);
  if ((reply.u32(4) & DEVICE_FLAG_PCI) === 0) throw connection.end('what it serves is no PCI function');
}

/** Null where it has no such region. */
function openRegion(connection: Connection, index: number): RegisterSpace | null {
  const { request, reply } = connection;
  request.payload = REGION_INFO_BYTES;
  request.setU32(0, REGION_INFO_BYTES);
  request.setU32(4, 0);
  request.setU32(8, index);
  for (const at of [12, 16, 20, 24, 28]) request.setU32(at, 0);
  connection.ask(COMMAND_DEVICE_GET_REGION_INFO, REGION_INFO_BYTES);
  const size = reply.u64(16);
  return size === 0 ? null : new ServedRegion(connection, index, size);
}

/** Makes DMA memory and lets the server map it. */
function share(connection: Connection, bytes: number): MappedMemory {
  const fd = createMemfd('fauxnic-dma', bytes);
  try {
    const memory = mapMemory(fd, { length: bytes });
    try {
      const { request } = connection;
      request.payload = DMA_MAP_BYTES;
      request.setU32(0, DMA_MAP_BYTES);
      request.setU32(4, MAP_READ | MAP_WRITE);
      request.setU64(8, 0);
      request.setU64(16, IOVA_BASE);
      request.setU64(24, bytes);
      connection.ask(COMMAND_DMA_MAP, 0, Int32Array.of(fd));
      connection.memory = { iova: IOVA_BASE, bytes: new Uint8Array(memory.buffer) };
      return memory;
    } catch (error) {
      memory.close();
      throw error;
    }
  } finally {
    closeSync(fd);
  }
}

function unshare(connection: Connection, bytes: number): void {
  const { request } = connection;
  request.payload = DMA_UNMAP_BYTES;
  request.setU32(0, DMA_UNMAP_BYTES);
  request.setU32(4, 0);
  request.setU64(8, IOVA_BASE);
  request.setU64(16, bytes);
  connection.ask(COMMAND_DMA_UNMAP, 0);
}

/** A BAR, or configuration space. What is outside of it reads as ones, as nothing on a bus answers there. */
class ServedRegion extends SpaceBase {
  readonly size: number;
  readonly #connection: Connection;
  readonly #index: number;
  /** Configuration space is written as a real one is: the write is done when it returns. */
  readonly #posted: boolean;

  constructor(connection: Connection, index: number, size: number) {
    super();
    this.#connection = connection;
    this.#index = index;
    this.size = size;
    this.#posted = index !== REGION_CONFIG;
  }

  /** True where the access is inside; the request's head is written. */
  #address(offset: number, width: number): boolean {
    const { request, failure } = this.#connection;
    if (failure !== null) throw failure;
    if (!Number.isInteger(offset) || offset < 0 || offset + width > this.size) return false;
    request.payload = REGION_ACCESS_BYTES;
    request.setU64(0, offset);
    request.setU32(8, this.#index);
    request.setU32(12, width);
    return true;
  }

  protected read(offset: number, width: Width): number {
    if (!this.#address(offset, width)) return ones(width);
    const { reply } = this.#connection;
    this.#connection.ask(COMMAND_REGION_READ, REGION_ACCESS_BYTES + width);
    if (width === 4) return reply.u32(REGION_ACCESS_BYTES);
    return width === 2 ? reply.u16(REGION_ACCESS_BYTES) : reply.u8(REGION_ACCESS_BYTES);
  }

  protected write(offset: number, width: Width, value: number): void {
    if (!this.#address(offset, width)) return;
    const { request } = this.#connection;
    request.payload = REGION_ACCESS_BYTES + width;
    if (width === 4) request.setU32(REGION_ACCESS_BYTES, value);
    else if (width === 2) request.setU16(REGION_ACCESS_BYTES, value);
    else request.setU8(REGION_ACCESS_BYTES, value);
    if (this.#posted) this.#connection.post(COMMAND_REGION_WRITE);
    else this.#connection.ask(COMMAND_REGION_WRITE, 0);
  }
}
