import { addon, type MemoryHandle } from './addon.ts';
import { checkDescriptor } from './descriptor.ts';
import { check, codeOf, invalid, NativeError } from './errors.ts';

export interface MapOptions {
  /** Where in the descriptor it begins: a multiple of the page size, 4096 on most machines. Default 0. */
  readonly offset?: number;
  /** Bytes. */
  readonly length: number;
  /** Default true. False for memory that is only to be read: what is written to it all the same nobody else sees. */
  readonly shared?: boolean;
  /** An eventfd that is signalled when somebody has cut the file short and it was touched there. It must outlive the mapping. */
  readonly bell?: number;
}

/** Memory that lives outside of JavaScript. */
export interface MappedMemory {
  readonly buffer: ArrayBuffer;
  /** Detaches the buffer, so that no view reaches it any more, and unmaps it. Idempotent. */
  close(): void;
}

/** A file whose memory can be mapped without anybody's help. */
export interface MemoryFile {
  /** The same for the same file, whatever descriptor it comes in. */
  readonly id: string;
  readonly bytes: number;
  /** Whether this descriptor is to read and write it; else it is for one of them. */
  readonly writable: boolean;
}

const READ_WRITE = 2; // fcntl.h, O_RDWR
const about = new Float64Array(4);

/**
 * What file a descriptor is of. Throws ENODEV for one whose pages somebody else would have to be waited for (FUSE, a network),
 * and for what is no file: a memfd, shared memory, huge pages and local disks are left.
 */
export function memoryFile(fd: number): MemoryFile {
  check(addon().memoryFile(checkDescriptor('memoryFile', fd), about), 'fstat', `fd ${fd}`, {
    ENODEV: 'it is no memory, nor a file of a local disk',
  });
  return { id: `${about[0]}:${about[1]}`, bytes: about[2]!, writable: about[3] === READ_WRITE };
}

/** The largest piece: an ArrayBuffer cannot be longer on every Node that this runs on. */
const MOST = 2 ** 32;

/**
 * Maps a descriptor's memory: a memfd, a file, a device. It may be closed at once; the mapping stays.
 * Throws ENXIO where a file ends before the range does.
 */
export function mapMemory(fd: number, options: MapOptions): MappedMemory {
  const { offset = 0, length, shared = true, bell } = options;
  checkDescriptor('mapMemory', fd);
  const odd = Object.keys(options).find((key) => !['offset', 'length', 'shared', 'bell'].includes(key));
  if (odd !== undefined) throw invalid('mapMemory', `no such option: ${odd}; there are offset, length, shared, bell`);
  if (!Number.isSafeInteger(offset) || offset < 0) throw invalid('mapMemory', `offset ${offset} is none`);
  if (!Number.isInteger(length) || length <= 0 || length > MOST)
    throw invalid('mapMemory', `length ${length}: give a whole number from 1 to ${MOST}`);
  if (typeof shared !== 'boolean') throw invalid('mapMemory', 'shared must be true or false');
  if (bell !== undefined) checkDescriptor('mapMemory', bell);
  const native = new (addon().Memory)();
  const buffer = native.map(fd, offset, length, shared, bell ?? -1);
  if (typeof buffer !== 'number') return new Mapped(native, buffer);
  const hint = codeOf(buffer) === 'ENXIO' ? ': it ends before the range does' : '';
  throw new NativeError(codeOf(buffer), 'mmap', `fd ${fd}: mmap failed with ${codeOf(buffer)}${hint}`);
}

class Mapped implements MappedMemory {
  readonly buffer: ArrayBuffer;
  #native: MemoryHandle | null;

  constructor(native: MemoryHandle, buffer: ArrayBuffer) {
    this.#native = native;
    this.buffer = buffer;
  }

  close(): void {
    if (!this.#native) return;
    check(this.#native.unmap(this.buffer), 'detach', 'mapped memory');
    this.#native = null;
  }
}
