/** A device's registers at work: what its table (register-map.ts) promises, access by access. */
import {
  type AnyRegister,
  type Masks,
  offsetOf,
  onlyReads,
  type RegisterMap,
  type RegisterReset,
} from './register-map.ts';
import type { Trace } from './trace.ts';

export * from './register-map.ts';

type ReadHook = (index: number) => number;
type WriteHook = (value: number, index: number) => void;

/** The registers of one device: storage, the access modes, and the hooks by which a block of the chip reacts. */
export class RegisterFile {
  readonly map: RegisterMap;
  /** The stored values by word: a block reads and sets its own registers here, without side effects. */
  readonly words: Uint32Array;
  /** Where accesses are told to; null costs nothing. */
  trace: Trace | null = null;
  /** Accesses to words that no row describes, and writes to registers that only read. */
  refused = 0;
  readonly #masks: readonly Masks[]; // by row, as the hooks are
  readonly #onRead: (ReadHook | undefined)[];
  readonly #onWrite: (WriteHook | undefined)[];

  /** @param map one whose registers are words. */
  constructor(map: RegisterMap) {
    this.map = map;
    this.words = new Uint32Array(map.size / 4);
    this.#masks = map.rows.map(({ masks }) => masks);
    this.#onRead = map.rows.map(() => undefined);
    this.#onWrite = map.rows.map(() => undefined);
    this.reset('power-on');
  }

  /** Every register back to its reset value, but those that survive a reset of that kind; hooks do not run. */
  reset(kind: RegisterReset): void {
    for (const row of this.map.rows) {
      if (kind !== 'power-on' && row.survives?.includes(kind)) continue;
      for (const offset of row.offsets) this.words[offset / 4] = row.reset ?? 0;
    }
  }

  /** `hook(index)` gives the value that a read returns, in place of the stored one. */
  onRead(register: AnyRegister, hook: ReadHook): void {
    this.#onRead[this.map.rowAt[offsetOf(register) >>> 2]! - 1] = hook;
  }

  /** `hook(value, index)` runs after a write was stored, with the value as written; behind those there are already. */
  onWrite(register: AnyRegister, hook: WriteHook): void {
    const row = this.map.rowAt[offsetOf(register) >>> 2]! - 1;
    const before = this.#onWrite[row];
    this.#onWrite[row] =
      before === undefined
        ? hook
        : (value, index) => {
            before(value, index);
            hook(value, index);
          };
  }

  /** `offset` is rounded down to a word. */
  read32(offset: number): number {
    const value = this.#read(offset);
    this.trace?.register(this.map, 'read', offset & ~3, value);
    return value;
  }

  #read(offset: number): number {
    const row = this.map.rowAt[offset >>> 2] ?? 0;
    if (row === 0) {
      this.#refuse('read of an unknown register', offset);
      return 0;
    }
    const word = this.map.storedAt[offset >>> 2]!;
    const hook = this.#onRead[row - 1];
    const { shown, readClears, readSets } = this.#masks[row - 1]!;
    const value = hook === undefined ? this.words[word]! : hook(this.map.indexAt[word]!);
    if ((readClears | readSets) !== 0) this.words[word] = (this.words[word]! & ~readClears) | readSets;
    return (value & shown) >>> 0;
  }

  write32(offset: number, value: number): void {
    this.trace?.register(this.map, 'write', offset & ~3, value >>> 0);
    const row = this.map.rowAt[offset >>> 2] ?? 0;
    if (row === 0) {
      this.#refuse('write of an unknown register', offset);
      return;
    }
    const word = this.map.storedAt[offset >>> 2]!;
    const { stores, clears, sets } = this.#masks[row - 1]!;
    const hook = this.#onWrite[row - 1];
    this.words[word] = (this.words[word]! & ~stores & ~(value & clears)) | (value & (stores | sets));
    if (hook === undefined && onlyReads(this.#masks[row - 1]!)) this.#refuse('write of a read-only register', offset);
    if (hook !== undefined) hook(value >>> 0, this.map.indexAt[word]!);
  }

  /**
   * A read of 1 or 2 bytes is a read of the word, effects and all: the bus has byte enables, the register does not see
   * them on a read. Across a word's end only the first word's bytes are returned.
   */
  read(offset: number, width: 1 | 2 | 4): number {
    const value = this.read32(offset);
    if (width === 4) return value;
    return (value >>> ((offset & 3) * 8)) & (width === 1 ? 0xff : 0xffff);
  }

  /** A write of 1 or 2 bytes leaves the other bytes as they are: what they store is written back, and nothing else. */
  write(offset: number, width: 1 | 2 | 4, value: number): void {
    if (width === 4) {
      this.write32(offset, value);
      return;
    }
    const shift = (offset & 3) * 8;
    const mask = (width === 1 ? 0xff : 0xffff) << shift;
    const row = this.map.rowAt[offset >>> 2] ?? 0;
    const rest = row === 0 ? 0 : this.words[this.map.storedAt[offset >>> 2]!]! & this.#masks[row - 1]!.stores & ~mask;
    this.write32(offset & ~3, rest | ((value << shift) & mask));
  }

  #refuse(why: string, offset: number): void {
    this.refused++;
    this.trace?.note(this.map.chip, `${why}: ${this.map.nameAt(offset & ~3)}`);
  }
}
