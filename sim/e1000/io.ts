/** The I/O BAR (manual section 13.2.2): IOADDR selects a register, IODATA reads or writes it. */
import type { Region } from '../pci/function.ts';
import type { RegisterFile } from '../registers.ts';
import { whole } from '../state.ts';
import { IO_SIZE } from './configuration.ts';

const IOADDR = 0;
const IODATA = 4;
const MOST = 0xfffff;

export class IoPort implements Region {
  readonly kind = 'io';
  readonly size = IO_SIZE;
  address = 0;
  readonly state = whole(
    () => this.address,
    (address) => (this.address = address),
    MOST,
  );
  readonly #registers: RegisterFile;

  constructor(registers: RegisterFile) {
    this.#registers = registers;
  }

  read(offset: number, width: 1 | 2 | 4): number {
    if (offset === IOADDR && width === 4) return this.address;
    return this.#selects(offset) ? this.#registers.read(this.address + offset - IODATA, width) : 0;
  }

  write(offset: number, width: 1 | 2 | 4, value: number): void {
    if (offset === IOADDR && width === 4)
      this.address = value & MOST; // bits 31:20 are reserved
    else if (this.#selects(offset)) this.#registers.write(this.address + offset - IODATA, width, value);
  }

  /** Addresses past the 128 KB of registers are undefined (table 13-1). */
  #selects(offset: number): boolean {
    return offset >= IODATA && offset < IODATA + 4 && this.address < this.#registers.map.size;
  }
}
