import { addon, type RegistersHandle } from './addon.ts';
import { checkDescriptor } from './descriptor.ts';
import { check, invalid, NativeError } from './errors.ts';

/** A device's registers. Offsets are in bytes, inside and naturally aligned; anything else throws EINVAL. */
export interface MappedRegisters {
  readonly size: number;
  read8(offset: number): number;
  read16(offset: number): number;
  read32(offset: number): number;
  write8(offset: number, value: number): void;
  write16(offset: number, value: number): void;
  write32(offset: number, value: number): void;
  /** Idempotent; after it every access throws CLOSED. */
  close(): void;
}

const MOST = 2 ** 31;

/**
 * Maps registers of a device: part of a descriptor of VFIO, or a resource file of sysfs. It may be closed at once.
 *
 * Why they are no Uint32Array: nothing obliges an engine to access memory once, whole and in order for an element of an
 * array, and V8's compiler does leave out a load whose value nobody uses, which a register that clears on reading, or the
 * read that flushes posted writes, cannot bear. (Atomics.load would do; Atomics.store is a locked exchange on x86, which
 * reads the register, too.) A call into the addon costs 60 to 110 ns where an array element costs 1; a read that goes to
 * a card takes 1 µs anyhow, and a driver writes one doorbell a batch.
 */
export function mapRegisters(fd: number, { offset = 0, length }: { offset?: number; length: number }): MappedRegisters {
  checkDescriptor('mapRegisters', fd);
  if (!Number.isSafeInteger(offset) || offset < 0) throw invalid('mapRegisters', `offset ${offset} is none`);
  if (!Number.isInteger(length) || length <= 0 || length > MOST)
    throw invalid('mapRegisters', `length ${length}: give a whole number from 1 to ${MOST}`);
  const native = new (addon().Registers)();
  check(native.map(fd, offset, length), 'mmap', `registers of fd ${fd}`);
  return new Registers(native, length);
}

class Registers implements MappedRegisters {
  readonly size: number;
  #native: RegistersHandle | null;

  constructor(native: RegistersHandle, size: number) {
    this.#native = native;
    this.size = size;
  }

  #at(offset: number, width: number): RegistersHandle {
    if (this.#native === null) throw new NativeError('CLOSED', 'registers', 'the registers are closed');
    if (!(offset >= 0 && offset + width <= this.size && offset % width === 0))
      throw invalid('registers', `${width} bytes at ${offset}: there are ${this.size}, and accesses are aligned`);
    return this.#native;
  }

  read8(offset: number): number {
    return this.#at(offset, 1).read8(offset);
  }

  read16(offset: number): number {
    return this.#at(offset, 2).read16(offset);
  }

  read32(offset: number): number {
    return this.#at(offset, 4).read32(offset);
  }

  write8(offset: number, value: number): void {
    this.#at(offset, 1).write8(offset, value);
  }

  write16(offset: number, value: number): void {
    this.#at(offset, 2).write16(offset, value);
  }

  write32(offset: number, value: number): void {
    this.#at(offset, 4).write32(offset, value);
  }

  close(): void {
    this.#native?.unmap();
    this.#native = null;
  }
}
