/**
 * vhost-user's messages, as User-Mode Linux speaks it (QEMU's docs/interop/vhost-user.rst; arch/um/drivers/vhost_user.h):
 * little-endian, a header of twelve bytes and a payload. As in vfio-user, a message is a view of one buffer, read and
 * written in place.
 */

export const HEADER_BYTES = 12;

export const GET_FEATURES = 1;
export const SET_FEATURES = 2;
export const SET_OWNER = 3;
export const SET_MEM_TABLE = 5;
export const SET_VRING_NUM = 8;
export const SET_VRING_ADDR = 9;
export const SET_VRING_BASE = 10;
export const GET_PROTOCOL_FEATURES = 15;
export const SET_PROTOCOL_FEATURES = 16;
export const SET_VRING_ENABLE = 18;
export const SET_BACKEND_REQUEST_FD = 21;
export const GET_CONFIG = 24;
export const SET_CONFIG = 25;
export const VRING_KICK = 35;

/** What the device asks of the kernel: these have their own numbers. */
export const BACKEND_VRING_CALL = 4;

// Header flags.
export const VERSION = 1;
export const REPLY = 4;
export const NEED_REPLY = 8;

/** Feature bits: a device has these, the low word first. */
export const PROTOCOL_FEATURES = 1 << 30;
/** Of the high word: the device is one of virtio 1.0. */
export const VERSION_1 = 1;

/** Protocol features: REPLY_ACK, BACKEND_REQ, CONFIG and INBAND_NOTIFICATIONS; nothing else makes virtual time possible. */
export const PROTOCOL = (1 << 3) | (1 << 5) | (1 << 9) | (1 << 14);

export const U64_BYTES = 8;
export const VRING_STATE_BYTES = 8;
export const VRING_ADDR_BYTES = 40;
/** Without the regions, of which UML always sends two, whatever their number. */
export const MEM_TABLE_BYTES = 8;
export const MEM_REGION_BYTES = 32;
export const MEM_REGIONS = 2;
export const CONFIG_BYTES = 12;
/** Of a device's configuration, which is virtio's and not PCI's. */
export const CONFIG_MOST = 256;

/** The longest message taken. */
export const MESSAGE_MOST = HEADER_BYTES + CONFIG_BYTES + CONFIG_MOST;

const HIGH = 2 ** 32;

/** A message in its buffer, which may begin anywhere in it. */
export class Message {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(capacity = MESSAGE_MOST) {
    this.bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.bytes.buffer);
  }

  get request(): number {
    return this.#view.getUint32(0, true);
  }

  get flags(): number {
    return this.#view.getUint32(4, true);
  }

  /** The payload's length. */
  get size(): number {
    return this.#view.getUint32(8, true);
  }

  get length(): number {
    return HEADER_BYTES + this.size;
  }

  header(request: number, flags: number, size: number): void {
    this.#view.setUint32(0, request, true);
    this.#view.setUint32(4, flags, true);
    this.#view.setUint32(8, size, true);
  }

  // Fields of the payload, by offset in it.

  u32(at: number): number {
    return this.#view.getUint32(HEADER_BYTES + at, true);
  }

  /** As a number; Infinity where it is 2^53 or more, which no bound lets pass. */
  u64(at: number): number {
    const value = this.u32(at + 4) * HIGH + this.u32(at);
    return value <= Number.MAX_SAFE_INTEGER ? value : Infinity;
  }

  setU32(at: number, value: number): void {
    this.#view.setUint32(HEADER_BYTES + at, value, true);
  }

  /** Two words, as features are two words. */
  setWords(at: number, low: number, high: number): void {
    this.setU32(at, low);
    this.setU32(at + 4, high);
  }
}
