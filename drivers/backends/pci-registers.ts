/** Register spaces of a function in a slot: configuration space and BARs, as VFIO and sysfs both offer them. */
import { readSync, writeSync } from 'node:fs';
import type { MappedRegisters } from '../../native/index.ts';
import { COMMAND } from '../../sim/pci/config.ts';
import { DeviceError, type RegisterSpace } from '../device.ts';

type Width = 1 | 2 | 4;

const ones = (width: Width) => (width === 4 ? 0xffffffff : (1 << (8 * width)) - 1);

/** Registers that are read and written through a descriptor: a system call an access. */
export class FileSpace implements RegisterSpace {
  readonly size: number;
  readonly #fd: number;
  readonly #start: number;
  readonly #bytes = new Uint8Array(4);
  readonly #view = new DataView(this.#bytes.buffer);

  /** @param start where the space is in the descriptor. */
  constructor(fd: number, start: number, size: number) {
    this.#fd = fd;
    this.#start = start;
    this.size = size;
  }

  /** All ones where nobody answers. */
  protected read(offset: number, width: Width): number {
    if (!inside(this, offset, width)) return ones(width);
    this.#bytes.fill(0xff);
    try {
      readSync(this.#fd, this.#bytes, 0, width, this.#start + offset);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error;
      return ones(width);
    }
    return width === 4
      ? this.#view.getUint32(0, true)
      : width === 2
        ? this.#view.getUint16(0, true)
        : this.#view.getUint8(0);
  }

  protected write(offset: number, width: Width, value: number): void {
    if (!inside(this, offset, width)) return;
    this.#view.setUint32(0, value, true);
    try {
      writeSync(this.#fd, this.#bytes, 0, width, this.#start + offset);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error; // else there is nobody to take it
    }
  }

  read8(offset: number): number {
    return this.read(offset, 1);
  }

  read16(offset: number): number {
    return this.read(offset, 2);
  }

  read32(offset: number): number {
    return this.read(offset, 4);
  }

  write8(offset: number, value: number): void {
    this.write(offset, 1, value);
  }

  write16(offset: number, value: number): void {
    this.write(offset, 2, value);
  }

  write32(offset: number, value: number): void {
    this.write(offset, 4, value);
  }
}

/** Configuration space; it remembers what the function decodes. */
export class ConfigSpace extends FileSpace {
  /** The command register. */
  command = 0;
  #closed = false;

  constructor(fd: number, start: number, size: number) {
    super(fd, start, size);
    this.refresh();
  }

  refresh(): void {
    this.command = this.read16(COMMAND);
  }

  protected override read(offset: number, width: Width): number {
    this.#check();
    return super.read(offset, width);
  }

  protected override write(offset: number, width: Width, value: number): void {
    this.#check();
    super.write(offset, width, value);
    if (offset < COMMAND + 2 && offset + width > COMMAND) this.refresh();
  }

  #check(): void {
    if (this.#closed) throw closedError();
  }

  close(): void {
    this.#closed = true;
    this.command = 0;
  }
}

/**
 * A BAR: reads as all ones where the function does not decode it, or past its end. It is not asked then: the kernel
 * answers an access to mapped registers that are not decoded with SIGBUS.
 */
export class BarSpace implements RegisterSpace {
  readonly size: number;
  readonly #config: ConfigSpace;
  readonly #decode: number;
  readonly #space: RegisterSpace & Partial<MappedRegisters>;
  #closed = false;

  /** @param decode the command register's bit for it. */
  constructor(config: ConfigSpace, decode: number, space: FileSpace | MappedRegisters) {
    this.size = space.size;
    this.#config = config;
    this.#decode = decode;
    this.#space = space;
  }

  #answers(offset: number, width: Width): boolean {
    if ((this.#config.command & this.#decode) !== 0 && inside(this, offset, width)) return true;
    if (this.#closed) throw closedError();
    return false;
  }

  read8(offset: number): number {
    return this.#answers(offset, 1) ? this.#space.read8(offset) : ones(1);
  }

  read16(offset: number): number {
    return this.#answers(offset, 2) ? this.#space.read16(offset) : ones(2);
  }

  read32(offset: number): number {
    return this.#answers(offset, 4) ? this.#space.read32(offset) : ones(4);
  }

  write8(offset: number, value: number): void {
    if (this.#answers(offset, 1)) this.#space.write8(offset, value);
  }

  write16(offset: number, value: number): void {
    if (this.#answers(offset, 2)) this.#space.write16(offset, value);
  }

  write32(offset: number, value: number): void {
    if (this.#answers(offset, 4)) this.#space.write32(offset, value);
  }

  close(): void {
    this.#closed = true;
    this.#space.close?.();
  }
}

function inside({ size }: RegisterSpace, offset: number, width: Width): boolean {
  return offset >= 0 && offset + width <= size && (offset & (width - 1)) === 0;
}

export function closedError(): DeviceError {
  return new DeviceError('CLOSED', 'the device is closed: open it again');
}
