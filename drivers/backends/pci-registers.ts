/** Register spaces of a function in a slot: configuration space and BARs, as VFIO and sysfs both offer them. */
import { readSync, writeSync } from 'node:fs';
import type { MappedRegisters } from '../../native/index.ts';
import { COMMAND } from '../../sim/pci/config.ts';
import type { RegisterSpace } from '../device.ts';
import { ones, readFrom, SpaceBase, type Width, writeTo } from './base.ts';

/** Registers that are read and written through a descriptor: a system call an access. */
export class FileSpace extends SpaceBase {
  readonly size: number;
  readonly #fd: number;
  readonly #start: number;
  readonly #bytes = new Uint8Array(4);
  readonly #view = new DataView(this.#bytes.buffer);

  /** @param start where the space is in the descriptor. */
  constructor(fd: number, start: number, size: number) {
    super();
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
}

/** Configuration space; it remembers what the function decodes. */
export class ConfigSpace extends FileSpace {
  /** The command register. */
  command = 0;

  constructor(fd: number, start: number, size: number) {
    super(fd, start, size);
    this.refresh();
  }

  refresh(): void {
    this.command = this.read16(COMMAND);
  }

  protected override read(offset: number, width: Width): number {
    this.check();
    return super.read(offset, width);
  }

  protected override write(offset: number, width: Width, value: number): void {
    this.check();
    super.write(offset, width, value);
    if (offset < COMMAND + 2 && offset + width > COMMAND) this.refresh();
  }

  close(): void {
    this.closed = true;
    this.command = 0;
  }
}

/**
 * A BAR: reads as all ones where the function does not decode it, or past its end. It is not asked then: the kernel
 * answers an access to mapped registers that are not decoded with SIGBUS.
 */
export class BarSpace extends SpaceBase {
  readonly size: number;
  readonly #config: ConfigSpace;
  readonly #decode: number;
  readonly #space: RegisterSpace & Partial<MappedRegisters>;

  /** @param decode the command register's bit for it. */
  constructor(config: ConfigSpace, decode: number, space: FileSpace | MappedRegisters) {
    super();
    this.size = space.size;
    this.#config = config;
    this.#decode = decode;
    this.#space = space;
  }

  #answers(offset: number, width: Width): boolean {
    if ((this.#config.command & this.#decode) !== 0 && inside(this, offset, width)) return true;
    this.check();
    return false;
  }

  protected read(offset: number, width: Width): number {
    return this.#answers(offset, width) ? readFrom(this.#space, offset, width) : ones(width);
  }

  protected write(offset: number, width: Width, value: number): void {
    if (this.#answers(offset, width)) writeTo(this.#space, offset, width, value);
  }

  close(): void {
    this.closed = true;
    this.#space.close?.();
  }
}

function inside({ size }: RegisterSpace, offset: number, width: Width): boolean {
  return offset >= 0 && offset + width <= size && (offset & (width - 1)) === 0;
}
