/**
 * The vfio-user protocol's messages, as QEMU's docs/interop/vfio-user.rst has them: little-endian, a header and a payload.
 *
 * Nothing here allocates per message: a Message is a view of one buffer that is read and written in place. Fields are read
 * only after the payload's length was checked, by the reader of each command.
 */

export const HEADER_BYTES = 16;

export const COMMAND_VERSION = 1;
export const COMMAND_DMA_MAP = 2;
export const COMMAND_DMA_UNMAP = 3;
export const COMMAND_DEVICE_GET_INFO = 4;
export const COMMAND_DEVICE_GET_REGION_INFO = 5;
export const COMMAND_DEVICE_GET_REGION_IO_FDS = 6;
export const COMMAND_DEVICE_GET_IRQ_INFO = 7;
export const COMMAND_DEVICE_SET_IRQS = 8;
export const COMMAND_REGION_READ = 9;
export const COMMAND_REGION_WRITE = 10;
export const COMMAND_DMA_READ = 11;
export const COMMAND_DMA_WRITE = 12;
export const COMMAND_DEVICE_RESET = 13;
export const COMMAND_REGION_WRITE_MULTI = 15;

// Header flags.
export const TYPE_MASK = 0xf;
export const TYPE_COMMAND = 0;
export const TYPE_REPLY = 1;
export const NO_REPLY = 0x10;
export const ERROR = 0x20;

// Errors are Linux's numbers (asm-generic/errno.h), whatever machine this runs on.
export const EIO = 5;
export const E2BIG = 7;
export const EBADF = 9;
export const ENOMEM = 12;
export const EACCES = 13;
export const EEXIST = 17;
export const EINVAL = 22;
export const ENOSPC = 28;
export const ENOTSUP = 95;

// DMA_MAP and DMA_UNMAP flags.
export const MAP_READ = 1;
export const MAP_WRITE = 2;
export const UNMAP_DIRTY_BITMAP = 1;
export const UNMAP_ALL = 2;

// DEVICE_GET_INFO, DEVICE_GET_REGION_INFO, DEVICE_GET_IRQ_INFO (linux/vfio.h).
export const DEVICE_FLAG_RESET = 1;
export const DEVICE_FLAG_PCI = 2;
export const REGION_FLAG_READ = 1;
export const REGION_FLAG_WRITE = 2;
export const IRQ_FLAG_EVENTFD = 1;
export const IRQ_FLAG_MASKABLE = 2;
export const IRQ_FLAG_AUTOMASKED = 4;

// DEVICE_SET_IRQS flags: one of the first three with one of the last three.
export const IRQ_DATA_NONE = 1;
export const IRQ_DATA_BOOL = 2;
export const IRQ_DATA_EVENTFD = 4;
export const IRQ_ACTION_MASK = 8;
export const IRQ_ACTION_UNMASK = 16;
export const IRQ_ACTION_TRIGGER = 32;

export const REGION_BAR0 = 0;
export const REGION_ROM = 6;
export const REGION_CONFIG = 7;
export const REGIONS = 9;

export const IRQ_INTX = 0;
export const IRQ_MSI = 1;
export const IRQ_MSIX = 2;
export const IRQS = 5;

// Payloads' lengths, without what varies.
export const VERSION_BYTES = 4;
export const DMA_MAP_BYTES = 32;
export const DMA_UNMAP_BYTES = 24;
export const DEVICE_INFO_BYTES = 16;
export const REGION_INFO_BYTES = 32;
export const IRQ_INFO_BYTES = 16;
export const SET_IRQS_BYTES = 20;
export const REGION_ACCESS_BYTES = 16;
export const DMA_ACCESS_BYTES = 16;
export const WRITE_MULTI_BYTES = 8;
export const WRITE_MULTI_ENTRY_BYTES = 24;

/** What one message may carry in a REGION_READ or REGION_WRITE; told in the version reply. */
export const MAX_DATA_BYTES = 1 << 20;
/** The longest message taken. */
export const MAX_MESSAGE_BYTES = HEADER_BYTES + REGION_ACCESS_BYTES + MAX_DATA_BYTES;
export const MAX_DESCRIPTORS = 16;
export const MAX_DMA_MAPS = 65535;
export const PAGE_BYTES = 4096;

const HIGH = 2 ** 32;

/** One message in its buffer. `length` is the whole message's, as its header says or as it was received. */
export class Message {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  length = 0;

  constructor(capacity = MAX_MESSAGE_BYTES) {
    this.bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.bytes.buffer);
  }

  get id(): number {
    return this.#view.getUint16(0, true);
  }

  get command(): number {
    return this.#view.getUint16(2, true);
  }

  /** What the header claims. */
  get size(): number {
    return this.#view.getUint32(4, true);
  }

  get flags(): number {
    return this.#view.getUint32(8, true);
  }

  get error(): number {
    return this.#view.getUint32(12, true);
  }

  header(id: number, command: number, flags: number, error = 0): void {
    const view = this.#view;
    view.setUint16(0, id, true);
    view.setUint16(2, command, true);
    view.setUint32(4, this.length, true);
    view.setUint32(8, flags, true);
    view.setUint32(12, error, true);
  }

  /** Bytes behind the header. */
  get payload(): number {
    return this.length - HEADER_BYTES;
  }

  set payload(bytes: number) {
    this.length = HEADER_BYTES + bytes;
  }

  // Fields of the payload, by offset in it.

  u8(at: number): number {
    return this.#view.getUint8(HEADER_BYTES + at);
  }

  u16(at: number): number {
    return this.#view.getUint16(HEADER_BYTES + at, true);
  }

  u32(at: number): number {
    return this.#view.getUint32(HEADER_BYTES + at, true);
  }

  /** A 64-bit field as a number; Infinity where it is 2^53 or more, which no bound lets pass. */
  u64(at: number): number {
    const value = this.u32(at + 4) * HIGH + this.u32(at);
    return value <= Number.MAX_SAFE_INTEGER ? value : Infinity;
  }

  /** A 64-bit field as a number, rounded where it is 2^53 or more: exact for a multiple of 4096. */
  rounded64(at: number): number {
    return this.u32(at + 4) * HIGH + this.u32(at);
  }

  setU8(at: number, value: number): void {
    this.#view.setUint8(HEADER_BYTES + at, value);
  }

  setU16(at: number, value: number): void {
    this.#view.setUint16(HEADER_BYTES + at, value, true);
  }

  setU32(at: number, value: number): void {
    this.#view.setUint32(HEADER_BYTES + at, value, true);
  }

  setU64(at: number, value: number): void {
    this.setU32(at, value >>> 0);
    this.setU32(at + 4, Math.floor(value / HIGH));
  }

  text(at: number, length: number): string {
    return new TextDecoder().decode(this.bytes.subarray(HEADER_BYTES + at, HEADER_BYTES + at + length));
  }

  /** Writes it with its final zero; returns the bytes that took. */
  setText(at: number, text: string): number {
    const bytes = new TextEncoder().encode(text);
    this.bytes.set(bytes, HEADER_BYTES + at);
    this.setU8(at + bytes.length, 0);
    return bytes.length + 1;
  }
}
