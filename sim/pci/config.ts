/**
 * PCI configuration space: PCI Local Bus Specification 3.0, chapter 6 (sections below are its).
 *
 * Bytes with a write mask and a write-1-to-clear mask each, so that every width is the same loop.
 */

// 6.1, figure 6-1: the header every function has.
export const VENDOR_ID = 0x00;
export const DEVICE_ID = 0x02;
export const COMMAND = 0x04;
export const STATUS = 0x06;
export const REVISION_ID = 0x08;
export const CLASS_CODE = 0x09; // three bytes
export const CACHE_LINE_SIZE = 0x0c;
export const LATENCY_TIMER = 0x0d;
export const HEADER_TYPE = 0x0e;
export const BAR0 = 0x10;
export const SUBSYSTEM_VENDOR_ID = 0x2c;
export const SUBSYSTEM_ID = 0x2e;
export const EXPANSION_ROM = 0x30;
export const CAPABILITIES = 0x34;
export const INTERRUPT_LINE = 0x3c;
export const INTERRUPT_PIN = 0x3d;
export const MIN_GNT = 0x3e;
export const MAX_LAT = 0x3f;

// 6.2.2: command register.
export const COMMAND_IO = 1 << 0;
export const COMMAND_MEMORY = 1 << 1;
export const COMMAND_MASTER = 1 << 2;
export const COMMAND_INTX_DISABLE = 1 << 10;

// 6.2.3: status register.
export const STATUS_INTERRUPT = 1 << 3;
export const STATUS_CAPABILITIES = 1 << 4;
const STATUS_W1C = 0xf900;

// 6.7, appendix H: capability ids.
export const CAP_POWER_MANAGEMENT = 0x01;
export const CAP_VITAL_PRODUCT_DATA = 0x03;
export const CAP_MSI = 0x05;
export const CAP_PCI_X = 0x07;
export const CAP_PCI_EXPRESS = 0x10;
export const CAP_MSI_X = 0x11;

export interface PciIdentity {
  readonly vendor: number;
  readonly device: number;
  readonly revision: number;
  readonly subsystemVendor: number;
  readonly subsystem: number;
  readonly class: number; // 24 bits: 0x020000 is an Ethernet controller
}

export class ConfigSpace {
  readonly bytes: Uint8Array;
  readonly #writable: Uint8Array;
  readonly #clearable: Uint8Array;
  #lastCapability = CAPABILITIES - 1; // so that the first link goes to the pointer itself
  readonly #hooks: { at: number; end: number; hook: () => void }[] = [];
  readonly #readHooks: { at: number; end: number; hook: () => void }[] = [];

  constructor(id: PciIdentity, size: 256 | 4096 = 256) {
    this.bytes = new Uint8Array(size);
    this.#writable = new Uint8Array(size);
    this.#clearable = new Uint8Array(size);
    this.poke(VENDOR_ID, 2, id.vendor);
    this.poke(DEVICE_ID, 2, id.device);
    this.poke(REVISION_ID, 1, id.revision);
    this.poke(CLASS_CODE, 1, id.class & 0xff);
    this.poke(CLASS_CODE + 1, 2, id.class >>> 8);
    this.poke(SUBSYSTEM_VENDOR_ID, 2, id.subsystemVendor);
    this.poke(SUBSYSTEM_ID, 2, id.subsystem);
    this.poke(INTERRUPT_PIN, 1, 1); // INTA#
    // I/O, memory, bus master, memory write and invalidate, parity, SERR#, interrupt disable (6.2.2).
    this.allow(COMMAND, 2, 0x0557);
    this.allowClear(STATUS, 2, STATUS_W1C);
    this.allow(CACHE_LINE_SIZE, 1, 0xff);
    this.allow(LATENCY_TIMER, 1, 0xf8);
    this.allow(INTERRUPT_LINE, 1, 0xff);
  }

  /** Declares a base address register (6.2.5.1): `size` is a power of two. A `wide` one takes the next index, too. */
  bar(index: number, kind: 'memory' | 'io', size: number, { wide = false, prefetchable = false } = {}): void {
    const at = BAR0 + 4 * index;
    this.poke(at, 4, kind === 'io' ? 1 : (wide ? 4 : 0) | (prefetchable ? 8 : 0));
    this.allow(at, 4, ~(size - 1) & (kind === 'io' ? ~3 : ~15));
    if (wide) this.allow(at + 4, 4, 0xffffffff);
  }

  /** Links a capability of `length` bytes in at `at` (multiple of 4) and returns `at`. The list keeps the order of calls. */
  capability(id: number, at: number, length: number): number {
    if (at % 4 !== 0 || at < 0x40 || at + length > 256)
      throw new RangeError(`capability 0x${id.toString(16)} at ${at}`);
    this.poke(at, 1, id);
    this.poke(at + 1, 1, 0);
    this.poke(this.#lastCapability + 1, 1, at);
    this.#lastCapability = at;
    this.poke(STATUS, 2, this.peek(STATUS, 2) | STATUS_CAPABILITIES);
    return at;
  }

  /** Lets software write the bits of `mask`. */
  allow(at: number, width: 1 | 2 | 4, mask: number): void {
    for (let i = 0; i < width; i++) this.#writable[at + i] = (mask >>> (8 * i)) & 0xff;
  }

  /** Lets software clear the bits of `mask` by writing 1. */
  allowClear(at: number, width: 1 | 2 | 4, mask: number): void {
    for (let i = 0; i < width; i++) this.#clearable[at + i] = (mask >>> (8 * i)) & 0xff;
  }

  /** Runs `hook` after any write that touches [at, at + length). */
  onWrite(at: number, length: number, hook: () => void): void {
    this.#hooks.push({ at, end: at + length, hook });
  }

  /** Runs `hook` before software reads anything of [at, at + length): it pokes what is there now. */
  onRead(at: number, length: number, hook: () => void): void {
    this.#readHooks.push({ at, end: at + length, hook });
  }

  /** As software reads: out of range is all ones, as from a slot with nothing in it. */
  read(at: number, width: 1 | 2 | 4): number {
    if (at < 0 || at + width > this.bytes.length) return 0xffffffff >>> (32 - 8 * width);
    for (const { at: from, end, hook } of this.#readHooks) if (at < end && at + width > from) hook();
    return this.peek(at, width);
  }

  /** As software writes. */
  write(at: number, width: 1 | 2 | 4, value: number): void {
    if (at < 0 || at + width > this.bytes.length) return;
    for (let i = 0; i < width; i++) {
      const byte = (value >>> (8 * i)) & 0xff;
      const writable = this.#writable[at + i]!;
      const kept = this.bytes[at + i]! & ~writable & ~(byte & this.#clearable[at + i]!);
      this.bytes[at + i] = kept | (byte & writable);
    }
    for (const { at: from, end, hook } of this.#hooks) if (at < end && at + width > from) hook();
  }

  /** Everything that software can write back to 0, which is its reset value throughout (6.2); hooks run. */
  reset(): void {
    for (let at = 0; at < this.bytes.length; at++) this.bytes[at]! &= ~this.#writable[at]!;
    for (const { hook } of this.#hooks) hook();
  }

  /** The function's own read. */
  peek(at: number, width: 1 | 2 | 4): number {
    let value = 0;
    for (let i = width - 1; i >= 0; i--) value = (value << 8) | this.bytes[at + i]!;
    return value >>> 0;
  }

  /** The function's own write: past every mask, without hooks. */
  poke(at: number, width: 1 | 2 | 4, value: number): void {
    for (let i = 0; i < width; i++) this.bytes[at + i] = (value >>> (8 * i)) & 0xff;
  }
}
