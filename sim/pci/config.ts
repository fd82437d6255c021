/**
 * PCI configuration space: PCI Local Bus Specification 3.0, chapter 6 (sections below are its).
 *
 * What is there, rows say (configuration.ts). Here it is bytes with a write mask and a write-1-to-clear mask each, so that an access of
 * any width, at any place, is the same loop.
 */
import { type NamedRow, onlyReads, type RegisterMap, type RegisterReset } from '../registers.ts';
import type { Trace } from '../trace.ts';

export * from './capabilities/ids.ts';

// 6.1, figure 6-1: the header every function has.
export const VENDOR_ID = 0x00;
export const DEVICE_ID = 0x02;
export const COMMAND = 0x04;
export const STATUS = 0x06;
export const REVISION_ID = 0x08;
export const CLASS_CODE = 0x09; // three bytes
export const HEADER_TYPE = 0x0e;
export const BAR0 = 0x10;
export const SUBSYSTEM_VENDOR_ID = 0x2c;
export const SUBSYSTEM_ID = 0x2e;
export const EXPANSION_ROM = 0x30;
export const CAPABILITIES = 0x34;
export const INTERRUPT_LINE = 0x3c;
export const INTERRUPT_PIN = 0x3d;

// 6.2.2: command register.
export const COMMAND_IO = 1 << 0;
export const COMMAND_MEMORY = 1 << 1;
export const COMMAND_MASTER = 1 << 2;
export const COMMAND_INTX_DISABLE = 1 << 10;

// 6.2.5.2: expansion ROM base address.
export const ROM_ENABLE = 1;

// 6.2.3: status register.
export const STATUS_INTERRUPT = 1 << 3;
export const STATUS_CAPABILITIES = 1 << 4;

type Width = 1 | 2 | 4;

/** Told the access as it was: always aligned, so that it is within a register of four bytes, or covers a shorter one. */
type AccessHook = (at: number, width: Width, value: number) => void;

interface Hook {
  readonly at: number;
  readonly end: number;
  readonly run: AccessHook;
}

export class ConfigSpace {
  readonly map: RegisterMap;
  readonly bytes: Uint8Array;
  /** Where accesses are told to; null costs nothing. */
  trace: Trace | null = null;
  /** Accesses to bytes that no row describes, and writes to registers that only read. */
  refused = 0;
  protected readonly writable: Uint8Array;
  protected readonly clearable: Uint8Array;
  readonly #readHooks: Hook[] = [];
  readonly #writeHooks: Hook[] = [];
  readonly #changeHooks: Hook[] = [];

  constructor(map: RegisterMap) {
    this.map = map;
    this.bytes = new Uint8Array(map.size);
    this.writable = new Uint8Array(map.size);
    this.clearable = new Uint8Array(map.size);
    for (const row of map.rows) {
      const { masks, offsets, width = 4, reset = 0 } = row;
      for (const at of offsets) {
        this.poke(at, width, reset);
        put(this.writable, at, width, masks.stores);
        put(this.clearable, at, width, masks.clears);
      }
    }
  }

  /** Runs `hook` after any write that touches [at, at + length). */
  onWrite(at: number, length: number, hook: AccessHook): void {
    this.#writeHooks.push({ at, end: at + length, run: hook });
  }

  /** Runs `hook` after any such write, and after a reset: for what follows the register's state. */
  onChange(at: number, length: number, hook: () => void): void {
    this.#changeHooks.push({ at, end: at + length, run: hook });
  }

  /** Runs `hook` before software reads anything of [at, at + length): it pokes what is there now. */
  onRead(at: number, length: number, hook: () => void): void {
    this.#readHooks.push({ at, end: at + length, run: hook });
  }

  /** As software reads: out of range is all ones, as from a slot with nothing in it. */
  read(at: number, width: Width): number {
    if (at < 0 || at + width > this.bytes.length) return 0xffffffff >>> (32 - 8 * width);
    if (at % width !== 0) return this.#readBytes(at, width);
    runAt(this.#readHooks, at, width, 0);
    this.#tell('read', at, width, 0);
    return this.peek(at, width);
  }

  /** Unaligned: byte by byte. */
  #readBytes(at: number, width: Width): number {
    let value = 0;
    for (let i = 0; i < width; i++) value |= this.read(at + i, 1) << (8 * i);
    return value >>> 0;
  }

  /** As software writes. */
  write(at: number, width: Width, value: number): void {
    if (at < 0 || at + width > this.bytes.length) return;
    if (at % width !== 0) {
      for (let i = 0; i < width; i++) this.write(at + i, 1, (value >>> (8 * i)) & 0xff);
      return;
    }
    this.#tell('write', at, width, value);
    for (let i = 0; i < width; i++) {
      const byte = (value >>> (8 * i)) & 0xff;
      const writable = this.writable[at + i]!;
      const kept = this.bytes[at + i]! & ~writable & ~(byte & this.clearable[at + i]!);
      this.bytes[at + i] = kept | (byte & writable);
    }
    runAt(this.#writeHooks, at, width, value);
    runAt(this.#changeHooks, at, width, value);
  }

  /** Everything that software can write back to its reset value, but for what survives such a reset. */
  reset(kind: RegisterReset = 'power-on'): void {
    for (const { offsets, width = 4, reset = 0, survives } of this.map.rows) {
      if (kind !== 'power-on' && survives?.includes(kind)) continue;
      for (const at of offsets) for (let i = 0; i < width; i++) this.#resetByte(at + i, (reset >>> (8 * i)) & 0xff);
    }
    for (const { at, run } of this.#changeHooks) run(at, 1, this.bytes[at]!);
  }

  #resetByte(at: number, reset: number): void {
    const changes = this.writable[at]! | this.clearable[at]!;
    this.bytes[at] = (this.bytes[at]! & ~changes) | (reset & changes);
  }

  /** The function's own read. */
  peek(at: number, width: Width): number {
    let value = 0;
    for (let i = width - 1; i >= 0; i--) value = (value << 8) | this.bytes[at + i]!;
    return value >>> 0;
  }

  /** The function's own write: past every mask, without hooks. */
  poke(at: number, width: Width, value: number): void {
    put(this.bytes, at, width, value);
  }

  /** Counts and traces an access, register by register. */
  #tell(kind: 'read' | 'write', at: number, width: Width, value: number): void {
    const { map, trace } = this;
    let refusal = '';
    for (let start = at - (at % this.#lengthAt(at)); start < at + width; start += this.#lengthAt(start)) {
      const row = map.find(start);
      if (row === undefined) refusal = 'an unknown register';
      else if (kind === 'write' && onlyReads(row.masks) && !this.#heard(start)) refusal ||= 'a read-only register';
      if (trace === null) continue;
      const length = this.#lengthAt(start);
      const shown = kind === 'read' ? this.peek(start, length) : this.#written(row, start, length, at, width, value);
      trace.register(map, kind, start, shown);
    }
    if (refusal === '') return;
    this.refused++;
    trace?.note(map.chip, `${kind} of ${refusal}: ${map.nameAt(at)}`);
  }

  /** Bytes of the register there; of a gap, one. */
  #lengthAt(at: number): Width {
    const row = this.map.find(at);
    return row === undefined ? 1 : (row.width ?? 4);
  }

  /** Whether a write there is somebody's affair, though nothing is stored. */
  #heard(at: number): boolean {
    return this.#writeHooks.some(({ at: from, end }) => at >= from && at < end);
  }

  /** What a write means for a register of which it is a part, or more than all. */
  #written(row: NamedRow | undefined, start: number, length: Width, at: number, width: Width, value: number): number {
    let written = this.peek(start, length) & (row?.masks.stores ?? 0);
    for (let i = 0; i < length; i++) {
      const from = start + i - at;
      if (from < 0 || from >= width) continue;
      written = (written & ~(0xff << (8 * i))) | (((value >>> (8 * from)) & 0xff) << (8 * i));
    }
    return written >>> 0;
  }
}

function put(bytes: Uint8Array, at: number, width: number, value: number): void {
  for (let i = 0; i < width; i++) bytes[at + i] = value >>> (8 * i);
}

function runAt(hooks: readonly Hook[], at: number, width: Width, value: number): void {
  for (const { at: from, end, run } of hooks) if (at < end && at + width > from) run(at, width, value);
}
