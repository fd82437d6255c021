import type { RegisterMap } from '../registers.ts';
import type { Trace } from '../trace.ts';

/** Says once, by name, when a register is touched that the model only stores. */
export class NotModelledTrace implements Trace {
  readonly #to: Trace;
  readonly #told = new Set<string>();

  constructor(to: Trace) {
    this.#to = to;
  }

  register(map: RegisterMap, kind: 'read' | 'write', offset: number, value: number): void {
    this.#to.register(map, kind, offset, value);
    const row = map.find(offset);
    if (row?.modelled === undefined || this.#told.has(row.name)) return;
    this.#told.add(row.name);
    const { when, why } = row.modelled;
    this.note(map.chip, `${row.name} is ${when === 'never' ? 'never modelled' : 'not modelled yet'}: ${why}`);
  }

  descriptor(chip: string, ring: string, index: number, words: Uint32Array, at: number, count: number): void {
    this.#to.descriptor(chip, ring, index, words, at, count);
  }

  note(chip: string, text: string): void {
    this.#to.note(chip, text);
  }
}
