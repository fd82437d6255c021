/**
 * A model on a bench: host memory, a cable with a station at its other end, registers and memory by hand. What a chip's
 * least driver does is in its harness.
 */
import { Clock } from '../../sim/clock.ts';
import { AddressSpace } from '../../sim/memory.ts';
import type { Host, PciFunction } from '../../sim/pci/function.ts';
import { type AnyRegister, offsetOf, type RegisterMap } from '../../sim/registers.ts';
import type { Trace } from '../../sim/trace.ts';
import { HostPort, Link, type LinkOptions, type Port, type Station } from '../../sim/wire/index.ts';

export const BASE = 0x10_0000; // of host memory

export interface ModelBenchOptions {
  clock?: Clock;
  wire?: LinkOptions;
  partner?: Station;
  /** Bytes of host memory. */
  memory?: number;
  /** The whole bring-up. On unless told. */
  up?: boolean;
  onFrame?: (bytes: Uint8Array) => void;
  /** Hears the level of INTA#, from within the access that changed it. */
  onLine?: (asserted: boolean) => void;
}

/** Notes everything a model tells. */
export class Recorder implements Trace {
  readonly lines: string[] = [];
  register(map: RegisterMap, kind: 'read' | 'write', offset: number, value: number): void {
    this.lines.push(`${kind} ${map.nameAt(offset)} ${value.toString(16)}`);
  }
  descriptor(_chip: string, ring: string, index: number, words: Uint32Array, at: number, count: number): void {
    this.lines.push(`${ring} ${index} ${[...words.subarray(at, at + count)].map((w) => w.toString(16)).join(' ')}`);
  }
  note(chip: string, text: string): void {
    this.lines.push(`${chip}: ${text}`);
  }
}

export abstract class ModelBench<Card extends PciFunction & { readonly port: Port }> {
  readonly clock: Clock;
  readonly space = new AddressSpace();
  readonly ram: Uint8Array;
  readonly words: Uint32Array;
  readonly card: Card;
  readonly wire: Link;
  readonly partner: HostPort;
  /** INTA#, and when it rose, in nanoseconds. */
  line = false;
  rises: number[] = [];
  /** Vector, address low and high, data. */
  messages: number[][] = [];
  #free = BASE;

  constructor(options: ModelBenchOptions, memory: number, make: (host: Host) => Card) {
    this.clock = options.clock ?? new Clock();
    this.ram = new Uint8Array(options.memory ?? memory);
    this.words = new Uint32Array(this.ram.buffer);
    this.space.map(BASE, this.ram);
    this.card = make({
      clock: this.clock,
      memory: this.space,
      packetMemory: (size) => ({ bytes: new Uint8Array(size), start: 0 }),
      intx: (asserted) => {
        if (asserted && !this.line) this.rises.push(this.clock.now);
        const changed = asserted !== this.line;
        this.line = asserted;
        if (changed) options.onLine?.(asserted);
      },
      message: (...message) => this.messages.push(message),
    });
    this.wire = new Link(this.clock, options.wire ?? {});
    const { onFrame } = options;
    this.partner = new HostPort('partner', {
      station: options.partner,
      onFrame: onFrame && ((bytes, start, length) => onFrame(bytes.slice(start, start + length))),
    });
    this.wire.plug(this.card.port);
    this.wire.plug(this.partner);
  }

  // Registers.

  read(register: AnyRegister, index = 0): number {
    return this.card.readBar(0, offsetOf(register, index), 4);
  }

  write(register: AnyRegister, value: number, index = 0): void {
    this.card.writeBar(0, offsetOf(register, index), 4, value >>> 0);
  }

  set(register: AnyRegister, bits: number): void {
    this.write(register, this.read(register) | bits);
  }

  clear(register: AnyRegister, bits: number): void {
    this.write(register, this.read(register) & ~bits);
  }

  // Memory.

  alloc(bytes: number, align = 16): number {
    const at = Math.ceil(this.#free / align) * align;
    this.#free = at + bytes;
    if (this.#free > BASE + this.ram.length) throw new RangeError('the bench has no more memory');
    return at;
  }

  put(address: number, bytes: ArrayLike<number>): void {
    this.ram.set(bytes, address - BASE);
  }

  get(address: number, length: number): Uint8Array {
    return this.ram.slice(address - BASE, address - BASE + length);
  }

  // The cable.

  /** What arrived at the other end since last asked. */
  sent(): Uint8Array[] {
    return this.sentWithFlags().map(({ bytes }) => bytes);
  }

  sentWithFlags(): { bytes: Uint8Array; flags: number }[] {
    const frames = [];
    for (let frame = this.partner.take(); frame !== null; frame = this.partner.take()) frames.push(frame);
    return frames;
  }

  /** A frame from the other end. */
  inject(bytes: Uint8Array, flags = 0): void {
    this.partner.send(bytes, 0, bytes.length, flags);
  }

  /** `other`, a fresh bench, goes on from here: memory copied, card and cable saved and restored. */
  protected copyTo(other: ModelBench<Card>): void {
    other.ram.set(this.ram);
    other.#free = this.#free;
    other.wire.restore(structuredClone(this.wire.save()));
    other.card.restore(structuredClone(this.card.save()));
  }
}
