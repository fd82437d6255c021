/** MSI and MSI-X of a function, programmed as an operating system does: PCI Local Bus Specification 3.0, 6.8. */
import { CAP_MSI, CAP_MSI_X, COMMAND, COMMAND_MEMORY } from '../../sim/pci/config.ts';
import type { RegisterSpace } from '../device.ts';
import { findCapability } from './configuration.ts';

// 6.8.1.3 and 6.8.2.3: message control.
const CONTROL = 2;
const MSI_ENABLE = 1;
const MSI_64 = 0x80;
const MSI_COUNT = 0x70; // log2 of the vectors enabled, in bits 6:4
const MSIX_ENABLE = 0x8000;
const MSIX_SIZE = 0x7ff;
const MSIX_ENTRY = 16;

export class MessageCapabilities {
  /** How many vectors each offers; 0 where the function lacks it. */
  readonly available: { readonly msi: number; readonly msix: number };
  readonly #config: RegisterSpace;
  readonly #bar: (index: number) => RegisterSpace;
  readonly #msi: number;
  readonly #msix: number;

  constructor(config: RegisterSpace, bar: (index: number) => RegisterSpace) {
    this.#config = config;
    this.#bar = bar;
    this.#msi = findCapability(config, CAP_MSI);
    this.#msix = findCapability(config, CAP_MSI_X);
    this.available = {
      msi: this.#msi === 0 ? 0 : 1 << ((config.read16(this.#msi + CONTROL) >> 1) & 7),
      msix: this.#msix === 0 ? 0 : (config.read16(this.#msix + CONTROL) & MSIX_SIZE) + 1,
    };
  }

  /** Whether an MSI can go to `address`: not every function has room for more than 32 bits of it. */
  reaches(address: number): boolean {
    return address < 2 ** 32 || (this.#config.read16(this.#msi + CONTROL) & MSI_64) !== 0;
  }

  /** The function counts vectors in the low bits of `data`. */
  enableMsi(count: number, address: number, data: number): void {
    const config = this.#config;
    const wide = (config.read16(this.#msi + CONTROL) & MSI_64) !== 0;
    config.write32(this.#msi + 4, address >>> 0);
    if (wide) config.write32(this.#msi + 8, Math.floor(address / 2 ** 32));
    config.write16(this.#msi + (wide ? 12 : 8), data);
    const enabled = Math.ceil(Math.log2(count)) << 4;
    this.#setControl(this.#msi, MSI_COUNT | MSI_ENABLE, enabled | MSI_ENABLE);
  }

  /** 6.8.2: the table sits behind a BAR, which must decode while it is written. */
  enableMsiX(count: number, address: number, dataOf: (vector: number) => number): void {
    const config = this.#config;
    const command = config.read16(COMMAND);
    const place = config.read32(this.#msix + 4);
    const bar = this.#bar(place & 7);
    const table = (place & ~7) >>> 0;
    config.write16(COMMAND, command | COMMAND_MEMORY);
    for (let vector = 0; vector < count; vector++) {
      const at = table + vector * MSIX_ENTRY;
      bar.write32(at, address >>> 0);
      bar.write32(at + 4, Math.floor(address / 2 ** 32));
      bar.write32(at + 8, dataOf(vector));
      bar.write32(at + 12, 0);
    }
    config.write16(COMMAND, command);
    this.#setControl(this.#msix, MSIX_ENABLE, MSIX_ENABLE);
  }

  disable(): void {
    this.#setControl(this.#msi, MSI_ENABLE | MSI_COUNT, 0);
    this.#setControl(this.#msix, MSIX_ENABLE, 0);
  }

  #setControl(capability: number, mask: number, value: number): void {
    if (capability === 0) return;
    const config = this.#config;
    config.write16(capability + CONTROL, (config.read16(capability + CONTROL) & ~mask) | value);
  }
}
