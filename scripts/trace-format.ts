/** Traces for people: what a driver and a card did, one line each, in the datasheet's names. */
import { hex, type RegisterMap } from '../sim/registers.ts';
import type { Trace } from '../sim/trace.ts';
import { inHex } from './families/descriptor-text.ts';
import type { Describe } from './families/family.ts';

/** Writes lines such as `0.000001500 e1000-a write CTRL 0x00000040 SLU=1`. */
export class TextTrace implements Trace {
  readonly #name: string;
  readonly #now: () => number;
  readonly #line: (text: string) => void;
  readonly #describe: Describe;

  /** @param now nanoseconds. */
  constructor(name: string, now: () => number, line: (text: string) => void, describe: Describe = inHex) {
    this.#name = name;
    this.#now = now;
    this.#line = line;
    this.#describe = describe;
  }

  register(map: RegisterMap, kind: 'read' | 'write', offset: number, value: number): void {
    const fields = map.decode(offset, value);
    const digits = 2 * (map.find(offset)?.width ?? 4);
    const name = `${map.space && `${map.space} `}${map.nameAt(offset)}`;
    this.#put(`${kind.padEnd(5)} ${name} ${hex(value, digits)}${fields && ` ${fields}`}`);
  }

  descriptor(_chip: string, ring: string, index: number, words: Uint32Array, at: number, count: number): void {
    this.#put(`${ring}[${index}] ${this.#describe(ring, words, at, count)}`);
  }

  note(_chip: string, text: string): void {
    this.#put(`note  ${text}`);
  }

  #put(text: string): void {
    this.#line(`${(this.#now() / 1e9).toFixed(9)} ${this.#name} ${text}`);
  }
}
