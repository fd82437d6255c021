import { readFrom, writeTo } from '../../drivers/backends/base.ts';
import { identityOf } from '../../drivers/backends/configuration.ts';
import type { RegisterSpace } from '../../drivers/device.ts';
import { CAPABILITIES, ConfigSpace } from '../../sim/pci/config.ts';
import { configurationMap } from '../../sim/pci/configuration.ts';

/** Configuration space that is the device's, except for the bytes kept here. */
export class SharedConfig extends ConfigSpace {
  readonly #inner: RegisterSpace;
  readonly #kept: Uint8Array;

  constructor(inner: RegisterSpace) {
    const identity = { ...identityOf(inner), class: 0 };
    super(configurationMap('a served device', { identity, size: inner.size === 256 ? 256 : 4096 }));
    this.#inner = inner;
    this.#kept = new Uint8Array(inner.size);
  }

  /** Keeps these bytes, beginning with what the device has; software may write none of them until `allow` says so. */
  keep(at: number, length: number): void {
    for (let byte = at; byte < at + length; byte++) {
      this.#kept[byte] = 1;
      this.poke(byte, 1, this.#inner.read8(byte));
      this.allow(byte, 1, 0);
      this.clearable[byte] = 0;
    }
  }

  /** Lets software write the bits of `mask`. */
  allow(at: number, width: 1 | 2 | 4, mask: number): void {
    for (let i = 0; i < width; i++) this.writable[at + i] = mask >>> (8 * i);
  }

  /** Takes the capability at `at` out of the list (PCI 3.0, 6.7). */
  unlink(at: number): void {
    let link = CAPABILITIES;
    for (let next = this.read(link, 1) & ~3; next !== at; next = this.read(link, 1) & ~3) link = next + 1;
    this.keep(link, 1);
    this.poke(link, 1, this.#inner.read8(at + 1));
  }

  override read(at: number, width: 1 | 2 | 4): number {
    if (at < 0 || at + width > this.bytes.length) return 0xffffffff >>> (32 - 8 * width);
    const kept = this.#keptOf(at, width);
    if (kept === 0) return readFrom(this.#inner, at, width);
    if (kept === width) return this.peek(at, width);
    let value = 0;
    for (let i = width - 1; i >= 0; i--)
      value = (value << 8) | (this.#kept[at + i] ? this.bytes[at + i]! : this.#inner.read8(at + i));
    return value >>> 0;
  }

  override write(at: number, width: 1 | 2 | 4, value: number): void {
    if (at < 0 || at + width > this.bytes.length) return;
    const kept = this.#keptOf(at, width);
    if (kept === 0) writeTo(this.#inner, at, width, value);
    else if (kept < width)
      for (let i = 0; i < width; i++) if (!this.#kept[at + i]) this.#inner.write8(at + i, (value >>> (8 * i)) & 0xff);
    super.write(at, width, value); // COMMAND is known here, too
  }

  #keptOf(at: number, width: number): number {
    let count = 0;
    for (let i = 0; i < width; i++) count += this.#kept[at + i]!;
    return count;
  }
}
