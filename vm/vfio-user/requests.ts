/**
 * What a client asks for, and the answers: vfio-user without its transport. A request comes in one Message and is answered
 * in the same, in place; so whoever has a message in memory can call `serve`, from the event loop or a loop of its own.
 *
 * All of it is hostile input. Nothing is read before the payload is known to be long enough, an error is a reply, and
 * a model is only touched inside of its regions.
 */

import { closeReceived, isEventfd } from '../../native/index.ts';
import { INTERRUPT_PIN } from '../../sim/pci/config.ts';
import {
  COMMAND_DEVICE_GET_INFO,
  COMMAND_DEVICE_GET_IRQ_INFO,
  COMMAND_DEVICE_GET_REGION_INFO,
  COMMAND_DEVICE_RESET,
  COMMAND_DEVICE_SET_IRQS,
  COMMAND_DMA_MAP,
  COMMAND_DMA_UNMAP,
  COMMAND_REGION_READ,
  COMMAND_REGION_WRITE,
  COMMAND_REGION_WRITE_MULTI,
  COMMAND_VERSION,
  DEVICE_FLAG_PCI,
  DEVICE_FLAG_RESET,
  DEVICE_INFO_BYTES,
  DMA_MAP_BYTES,
  DMA_UNMAP_BYTES,
  E2BIG,
  EINVAL,
  EIO,
  ENOTSUP,
  ERROR,
  IRQ_ACTION_MASK,
  IRQ_ACTION_TRIGGER,
  IRQ_ACTION_UNMASK,
  IRQ_DATA_BOOL,
  IRQ_DATA_EVENTFD,
  IRQ_DATA_NONE,
  IRQ_FLAG_AUTOMASKED,
  IRQ_FLAG_EVENTFD,
  IRQ_FLAG_MASKABLE,
  IRQ_INFO_BYTES,
  IRQ_INTX,
  IRQ_MSI,
  IRQ_MSIX,
  IRQS,
  MAP_READ,
  MAP_WRITE,
  MAX_DATA_BYTES,
  MAX_DESCRIPTORS,
  MAX_DMA_MAPS,
  type Message,
  NO_REPLY,
  PAGE_BYTES,
  REGION_ACCESS_BYTES,
  REGION_CONFIG,
  REGION_FLAG_READ,
  REGION_FLAG_WRITE,
  REGION_INFO_BYTES,
  REGION_ROM,
  REGIONS,
  SET_IRQS_BYTES,
  TYPE_COMMAND,
  TYPE_MASK,
  TYPE_REPLY,
  UNMAP_ALL,
  VERSION_BYTES,
  WRITE_MULTI_BYTES,
  WRITE_MULTI_ENTRY_BYTES,
} from './codec.ts';
import { type GuestMemory, UNFINISHED } from './guest-memory.ts';
import type { ClientInterrupts } from './interrupts.ts';
import type { Servable } from './servable.ts';
import type { Turn } from './turn.ts';

const VERSION_DATA_MOST = 16 * 1024;
const CAPABILITIES = JSON.stringify({
  capabilities: {
    max_msg_fds: MAX_DESCRIPTORS,
    max_dma_maps: MAX_DMA_MAPS,
    max_data_xfer_size: MAX_DATA_BYTES,
    pgsizes: PAGE_BYTES,
    write_multiple: true,
  },
});

/** Vectors by index: INTx, MSI, MSI-X, ERR, REQ; the last two, which QEMU wants, are never signalled. */
export function interruptCounts(model: Servable): readonly number[] {
  return [model.config.read(INTERRUPT_PIN, 1) === 0 ? 0 : 1, model.msiVectors, model.msixVectors, 1, 1];
}

/** Descriptors that came with a request; those that nobody took are closed when it was served. */
class Descriptors {
  readonly #fds: number[];

  constructor(fds: Int32Array, count: number) {
    this.#fds = Array.from(fds.subarray(1, 1 + count));
  }

  get count(): number {
    return this.#fds.length;
  }

  peek(index: number): number {
    return this.#fds[index]!;
  }

  /** The first one, from here on the caller's. */
  take(): number {
    return this.#fds.shift()!;
  }

  close(): void {
    for (const fd of this.#fds.splice(0)) closeReceived(fd);
  }
}

const NO_DESCRIPTORS = new Descriptors(new Int32Array(1), 0);

/** What is to become of the connection; or, where the turn was over, of the request: `resume` goes on with it. */
export type Outcome = 'reply' | 'silence' | 'reply, then close' | 'close' | 'unfinished';

/** Bytes of a region after which the turn is asked whether it is over. */
const STEP_BYTES = 256;

export interface RequestCounters {
  requests: number;
  /** Requests answered with an error. */
  refused: number;
}

/** One client's requests to a model. */
export class Requests {
  readonly counters: RequestCounters = { requests: 0, refused: 0 };
  /** Whether the client has introduced itself. */
  ready = false;
  /** Bytes that the client takes in one message. */
  clientMost = MAX_DATA_BYTES;
  readonly #model: Servable;
  readonly #memory: GuestMemory;
  readonly #interrupts: ClientInterrupts;
  readonly #turn: Turn;
  readonly #note: (text: string) => void;
  #toldDistant = false;
  /** What is done of a request that was not finished: bytes, or writes of many. */
  #done = 0;
  /** Those that came with the request. */
  #descriptors = NO_DESCRIPTORS;

  constructor(
    model: Servable,
    memory: GuestMemory,
    interrupts: ClientInterrupts,
    turn: Turn,
    note: (text: string) => void = () => {},
  ) {
    this.#model = model;
    this.#memory = memory;
    this.#interrupts = interrupts;
    this.#turn = turn;
    this.#note = note;
  }

  /**
   * Serves the request in `message` and leaves the reply there. `fds` holds the descriptors that came with it, their number
   * first; none of them is left open that is not in use.
   */
  serve(message: Message, fds: Int32Array): Outcome {
    this.counters.requests++;
    this.#done = 0;
    const came = fds[0]!;
    const room = fds.length - 1;
    this.#descriptors = came === 0 ? NO_DESCRIPTORS : new Descriptors(fds, Math.min(came, room));
    return this.#answer(message, came > room);
  }

  /** Goes on with the request in `message`, which is as `serve` or `resume` left it. */
  resume(message: Message): Outcome {
    return this.#answer(message, false);
  }

  /** Nobody goes on with what was not finished. */
  close(): void {
    this.#descriptors.close();
  }

  #answer(message: Message, tooMany: boolean): Outcome {
    const { id, command, flags } = message;
    let error: number;
    try {
      error = tooMany ? E2BIG : this.#dispatch(message, this.#descriptors);
    } catch (thrown) {
      // A model does not throw; one that does must not take the other guests' cards with it.
      this.#note(`request ${command} failed: ${thrown instanceof Error ? (thrown.stack ?? thrown.message) : thrown}`);
      error = EIO;
    }
    if (error === UNFINISHED) return 'unfinished';
    this.#descriptors.close();
    if (error !== 0) {
      this.counters.refused++;
      message.payload = 0;
    }
    const type = flags & TYPE_MASK;
    if (type === TYPE_REPLY) return 'close'; // to what? Nothing was asked
    const silent = (flags & NO_REPLY) !== 0;
    message.header(id, command, error === 0 ? TYPE_REPLY : TYPE_REPLY | ERROR, error);
    if (!this.ready) return 'reply, then close';
    return silent ? 'silence' : 'reply';
  }

  /** Returns 0, the errno to reply, or UNFINISHED. */
  #dispatch(message: Message, fds: Descriptors): number {
    const { command, flags } = message;
    if ((flags & TYPE_MASK) !== TYPE_COMMAND) return EINVAL;
    if (this.ready === (command === COMMAND_VERSION)) return EINVAL;
    if (fds.count > 0 && command !== COMMAND_DMA_MAP && command !== COMMAND_DEVICE_SET_IRQS) return EINVAL;
    switch (command) {
      case COMMAND_VERSION:
        return this.#version(message);
      case COMMAND_DMA_MAP:
        return this.#map(message, fds);
      case COMMAND_DMA_UNMAP:
        return this.#unmap(message);
      case COMMAND_DEVICE_GET_INFO:
        return deviceInfo(message);
      case COMMAND_DEVICE_GET_REGION_INFO:
        return this.#regionInfo(message);
      case COMMAND_DEVICE_GET_IRQ_INFO:
        return this.#irqInfo(message);
      case COMMAND_DEVICE_SET_IRQS:
        return this.#setIrqs(message, fds);
      case COMMAND_REGION_READ:
        return this.#read(message);
      case COMMAND_REGION_WRITE:
        return this.#write(message);
      case COMMAND_REGION_WRITE_MULTI:
        return this.#writeMulti(message);
      case COMMAND_DEVICE_RESET:
        if (message.payload !== 0) return EINVAL;
        this.#model.reset('function');
        return 0;
      default:
        return ENOTSUP;
    }
  }

  #version(message: Message): number {
    const length = message.payload - VERSION_BYTES;
    if (length < 0 || length > VERSION_DATA_MOST) return EINVAL;
    if (message.u16(0) !== 0) return EINVAL; // the major version; of the minor ones 0 has all that is needed
    const most = length > 0 ? clientsMost(message.text(VERSION_BYTES, length)) : MAX_DATA_BYTES;
    if (most === null) return EINVAL;
    this.clientMost = most;
    message.setU16(0, 0);
    message.setU16(2, 0);
    message.payload = VERSION_BYTES + message.setText(VERSION_BYTES, CAPABILITIES);
    this.ready = true;
    return 0;
  }

  // Memory.

  #map(message: Message, fds: Descriptors): number {
    if (message.payload !== DMA_MAP_BYTES || message.u32(0) < DMA_MAP_BYTES || fds.count > 1) return EINVAL;
    const flags = message.u32(4);
    if ((flags & ~(MAP_READ | MAP_WRITE)) !== 0) return EINVAL;
    const start = message.u64(16);
    const length = message.u64(24);
    const fd = fds.count === 0 ? -1 : fds.peek(0);
    const error = this.#memory.map(this.#turn, start, length, (flags & MAP_WRITE) !== 0, fd, message.u64(8));
    if (error === UNFINISHED) return error;
    if (error === 0 && fd < 0) this.#tellDistant(start, length);
    message.payload = 0;
    return error;
  }

  /** Once: QEMU maps its ROMs and its display so, which no card need reach. */
  #tellDistant(start: number, length: number): void {
    if (!this.#toldDistant)
      this.#note(
        `0x${start.toString(16)}, ${length} bytes: mapped without a descriptor, so DMA there is slow (said once)`,
      );
    this.#toldDistant = true;
  }

  #unmap(message: Message): number {
    if (message.payload !== DMA_UNMAP_BYTES || message.u32(0) < DMA_UNMAP_BYTES) return EINVAL;
    const flags = message.u32(4);
    const start = message.rounded64(8);
    const length = message.rounded64(16);
    const all = flags === UNMAP_ALL && start === 0 && length === 0;
    if (flags !== 0 && !all) return EINVAL; // nor is there a dirty bitmap
    const unmapped = all ? this.#memory.clear() : this.#memory.unmap(start, length);
    if (unmapped < 0) return -unmapped;
    message.setU64(16, unmapped);
    return 0;
  }

  // Regions.

  #regionSize(index: number): number {
    if (index < REGION_ROM) return this.#model.bars[index]?.size ?? 0;
    if (index === REGION_ROM) return this.#model.rom?.size ?? 0;
    return index === REGION_CONFIG ? this.#model.config.bytes.length : 0;
  }

  #regionInfo(message: Message): number {
    if (message.payload < REGION_INFO_BYTES || message.u32(0) < REGION_INFO_BYTES) return EINVAL;
    const index = message.u32(8);
    if (index >= REGIONS) return EINVAL;
    const size = this.#regionSize(index);
    message.payload = REGION_INFO_BYTES;
    message.setU32(0, REGION_INFO_BYTES);
    message.setU32(4, size === 0 ? 0 : index === REGION_ROM ? REGION_FLAG_READ : REGION_FLAG_READ | REGION_FLAG_WRITE);
    message.setU32(12, 0);
    message.setU64(16, size);
    message.setU64(24, 0);
    return 0;
  }

  #inside(offset: number, region: number, count: number): boolean {
    return region < REGIONS && count > 0 && count <= MAX_DATA_BYTES && offset + count <= this.#regionSize(region);
  }

  #read(message: Message): number {
    if (message.payload !== REGION_ACCESS_BYTES) return EINVAL;
    const offset = message.u64(0);
    const region = message.u32(8);
    const count = message.u32(12);
    if (!this.#inside(offset, region, count)) return EINVAL;
    for (let done = this.#done; done < count; ) {
      if (this.#mustStop(done)) return UNFINISHED;
      const width = widthAt(offset + done, count - done);
      const value = this.#readOnce(region, offset + done, width);
      const at = REGION_ACCESS_BYTES + done;
      if (width === 4) message.setU32(at, value);
      else if (width === 2) message.setU16(at, value);
      else message.setU8(at, value);
      done += width;
    }
    message.payload = REGION_ACCESS_BYTES + count;
    return 0;
  }

  #readOnce(region: number, offset: number, width: 1 | 2 | 4): number {
    if (region === REGION_CONFIG) return this.#model.config.read(offset, width);
    if (region === REGION_ROM) return this.#model.rom!.read(offset, width); // enabled or not, as the kernel's VFIO has it
    return this.#model.readBar(region, offset, width);
  }

  /** Whether this is the place to go on from in another turn. */
  #mustStop(done: number): boolean {
    if (done === this.#done || done % STEP_BYTES !== 0 || !this.#turn.over) return false;
    this.#done = done;
    return true;
  }

  #write(message: Message): number {
    if (message.payload < REGION_ACCESS_BYTES) return EINVAL;
    const count = message.u32(12);
    if (message.payload !== REGION_ACCESS_BYTES + count) return EINVAL;
    const offset = message.u64(0);
    const region = message.u32(8);
    if (!this.#inside(offset, region, count)) return EINVAL;
    for (let done = this.#done; done < count; ) {
      if (this.#mustStop(done)) return UNFINISHED;
      done += this.#writeNext(message, offset + done, region, count - done, REGION_ACCESS_BYTES + done);
    }
    message.payload = REGION_ACCESS_BYTES;
    return 0;
  }

  #writeMulti(message: Message): number {
    if (message.payload < WRITE_MULTI_BYTES) return EINVAL;
    const writes = message.u64(0);
    if (message.payload !== WRITE_MULTI_BYTES + writes * WRITE_MULTI_ENTRY_BYTES) return EINVAL;
    for (let i = this.#done; i < writes; i++) {
      if (i > this.#done && this.#turn.over) {
        this.#done = i;
        return UNFINISHED;
      }
      const at = WRITE_MULTI_BYTES + i * WRITE_MULTI_ENTRY_BYTES;
      const count = message.u32(at + 12);
      const offset = message.u64(at);
      const region = message.u32(at + 8);
      if (count > 8 || !this.#inside(offset, region, count)) return EINVAL;
      for (let done = 0; done < count; )
        done += this.#writeNext(message, offset + done, region, count - done, at + 16 + done);
    }
    message.payload = WRITE_MULTI_BYTES;
    return 0;
  }

  /** One access, as wide as it may be; returns its width. */
  #writeNext(message: Message, offset: number, region: number, left: number, from: number): number {
    const width = widthAt(offset, left);
    const value = width === 4 ? message.u32(from) : width === 2 ? message.u16(from) : message.u8(from);
    if (region === REGION_CONFIG) this.#model.config.write(offset, width, value);
    else this.#model.writeBar(region, offset, width, value);
    return width;
  }

  // Interrupts.

  #irqInfo(message: Message): number {
    if (message.payload < IRQ_INFO_BYTES || message.u32(0) < IRQ_INFO_BYTES) return EINVAL;
    const index = message.u32(8);
    if (index >= IRQS) return EINVAL;
    const count = this.#interrupts.count(index);
    const maskable =
      index === IRQ_INTX ? IRQ_FLAG_MASKABLE | IRQ_FLAG_AUTOMASKED : hasMask(index) ? IRQ_FLAG_MASKABLE : 0;
    message.payload = IRQ_INFO_BYTES;
    message.setU32(0, IRQ_INFO_BYTES);
    message.setU32(4, count > 0 ? IRQ_FLAG_EVENTFD | maskable : 0);
    message.setU32(12, count);
    return 0;
  }

  #setIrqs(message: Message, fds: Descriptors): number {
    const { payload } = message;
    if (payload < SET_IRQS_BYTES || message.u32(0) < SET_IRQS_BYTES) return EINVAL;
    const flags = message.u32(4);
    const index = message.u32(8);
    const start = message.u32(12);
    const count = message.u32(16);
    const data = flags & (IRQ_DATA_NONE | IRQ_DATA_BOOL | IRQ_DATA_EVENTFD);
    const action = flags & ~data;
    if (index >= IRQS || start + count > this.#interrupts.count(index)) return EINVAL;
    if (payload !== SET_IRQS_BYTES + (data === IRQ_DATA_BOOL ? count : 0)) return EINVAL;
    if (data !== IRQ_DATA_EVENTFD && fds.count > 0) return EINVAL;
    if (
      action !== IRQ_ACTION_TRIGGER &&
      !(hasMask(index) && (action === IRQ_ACTION_MASK || action === IRQ_ACTION_UNMASK))
    )
      return EINVAL;
    message.payload = 0;
    if (count === 0) return this.#disable(index, start, data, action);
    switch (data) {
      case IRQ_DATA_EVENTFD:
        return action === IRQ_ACTION_TRIGGER
          ? this.#assign(index, start, count, fds)
          : this.#follow(action, index, fds);
      case IRQ_DATA_BOOL:
        for (let i = 0; i < count; i++) if (message.u8(SET_IRQS_BYTES + i) !== 0) this.#act(action, index, start + i);
        return 0;
      case IRQ_DATA_NONE:
        for (let i = 0; i < count; i++) this.#act(action, index, start + i);
        return 0;
      default:
        return EINVAL;
    }
  }

  #disable(index: number, start: number, data: number, action: number): number {
    if (data !== IRQ_DATA_NONE || action !== IRQ_ACTION_TRIGGER || start !== 0) return EINVAL;
    this.#interrupts.disable(index);
    if (index === IRQ_MSIX) this.#maskTable(0, this.#model.msixVectors, true);
    return 0;
  }

  /** As many eventfds as vectors, or none, which takes theirs away. */
  #assign(index: number, start: number, count: number, fds: Descriptors): number {
    if ((fds.count !== 0 && fds.count !== count) || !areEventfds(fds)) return EINVAL;
    const assigns = fds.count > 0;
    for (let i = 0; i < count; i++) this.#interrupts.assign(index, start + i, assigns ? fds.take() : -1);
    if (index === IRQ_MSIX) this.#maskTable(start, count, !assigns);
    return 0;
  }

  /** An eventfd that masks or unmasks from here on, or none, which takes it away: INTx alone has them (linux/vfio.h). */
  #follow(action: number, index: number, fds: Descriptors): number {
    if (index !== IRQ_INTX) return ENOTSUP;
    if (fds.count > 1 || !areEventfds(fds)) return EINVAL;
    this.#interrupts.follow(action === IRQ_ACTION_MASK ? 'mask' : 'unmask', fds.count === 0 ? -1 : fds.take());
    return 0;
  }

  /** The client keeps the guest's MSI-X table to itself: a vector is open while it has an eventfd. */
  #maskTable(start: number, count: number, masked: boolean): void {
    for (let i = 0; i < count; i++) this.#model.maskVector(start + i, masked);
  }

  /** The function's MSI-X table was reset under the client, which goes on with the eventfds that it has given. */
  openVectors(): void {
    for (let vector = 0; vector < this.#model.msixVectors; vector++)
      this.#model.maskVector(vector, !this.#interrupts.assigned(IRQ_MSIX, vector));
  }

  #act(action: number, index: number, vector: number): void {
    if (action === IRQ_ACTION_MASK) this.#interrupts.mask(index, vector);
    else if (action === IRQ_ACTION_UNMASK) this.#interrupts.unmask(index, vector);
    else this.#interrupts.fire(index, vector);
  }
}

/** ERR and REQ only tell something. */
function hasMask(index: number): boolean {
  return index <= IRQ_MSIX;
}

function areEventfds(fds: Descriptors): boolean {
  for (let i = 0; i < fds.count; i++) if (!isEventfd(fds.peek(i))) return false;
  return true;
}

/** The index that the model's messages go to. */
export function messageIndex(model: Servable): number {
  return model.messageKind === 'msix' ? IRQ_MSIX : IRQ_MSI;
}

function deviceInfo(message: Message): number {
  if (message.payload < DEVICE_INFO_BYTES || message.u32(0) < DEVICE_INFO_BYTES) return EINVAL;
  message.payload = DEVICE_INFO_BYTES;
  message.setU32(0, DEVICE_INFO_BYTES);
  message.setU32(4, DEVICE_FLAG_RESET | DEVICE_FLAG_PCI);
  message.setU32(8, REGIONS);
  message.setU32(12, IRQS);
  return 0;
}

/** The widest access that is aligned there and has as many bytes left. */
function widthAt(offset: number, left: number): 1 | 2 | 4 {
  if (offset % 4 === 0 && left >= 4) return 4;
  return offset % 2 === 0 && left >= 2 ? 2 : 1;
}

/**
 * Capabilities in JSON with a final zero: known ones of the right type, unknown ones ignored. What the client takes in one
 * message, or null where they make no sense.
 */
function clientsMost(text: string): number | null {
  if (!text.endsWith('\0')) return null;
  try {
    const data: unknown = JSON.parse(text.slice(0, -1));
    if (!isObject(data)) return null;
    const { capabilities = {} } = data;
    if (!isObject(capabilities) || !NUMBERS.every((name) => isCount(capabilities[name]))) return null;
    const { migration = {}, max_data_xfer_size: most = MAX_DATA_BYTES } = capabilities;
    if (!isObject(migration) || !isPageSize(migration.pgsize) || most === 0) return null;
    return Math.min(most as number, MAX_DATA_BYTES);
  } catch {
    return null;
  }
}

const NUMBERS = ['max_msg_fds', 'max_data_xfer_size', 'max_dma_maps', 'pgsizes'];

function isObject(it: unknown): it is Record<string, unknown> {
  return typeof it === 'object' && it !== null && !Array.isArray(it);
}

/** A power of two, or not given at all. */
function isPageSize(it: unknown): boolean {
  return (
    it === undefined || (Number.isSafeInteger(it) && (it as number) > 0 && Number.isInteger(Math.log2(it as number)))
  );
}

/** Or not given at all. */
function isCount(it: unknown): boolean {
  return it === undefined || (Number.isSafeInteger(it) && (it as number) >= 0);
}
