import type { RegisterMap } from './register-map.ts';

/** Where a model tells what it does. Attach one to see; without one nothing is built and nothing is paid. */
export interface Trace {
  register(map: RegisterMap, kind: 'read' | 'write', offset: number, value: number): void;
  /** A descriptor as fetched or written back: its ring and index, and its 32-bit words (valid until the call returns). */
  descriptor(chip: string, ring: string, index: number, words: Uint32Array, at: number, count: number): void;
  /** Anything else worth a line: "TSO with mss 0: descriptor dropped". */
  note(chip: string, text: string): void;
}
