/**
 * The chip's memory as the host sees it: 128 KiB of SRAM and the RX CPU's scratchpad, as 32-bit numbers. The host reaches
 * it through MEM_WIN_BASE_ADDR and MEM_WIN_DATA, or through the upper half of BAR 0.
 */
import { array, block } from '../state.ts';

const SIZE = 0x2_0000;
const SCRATCHPAD = 0x3_0000;
const SCRATCHPAD_SIZE = 0x1_0000;

export class Sram {
  readonly words = new Uint32Array(SIZE / 4);
  readonly #scratchpad = new Uint32Array(SCRATCHPAD_SIZE / 4);
  /** Called after a write below 0x300, where the ring control blocks are. */
  onControlBlock: () => void = () => undefined;

  /** Where there is nothing, 0. */
  read(address: number): number {
    if (address < SIZE) return this.words[address >>> 2]!;
    return this.#scratchpad[(address - SCRATCHPAD) >> 2] ?? 0;
  }

  write(address: number, value: number): void {
    if (address < SIZE) {
      this.words[address >>> 2] = value;
      if (address < 0x300) this.onControlBlock();
    } else if (address >= SCRATCHPAD && address < SCRATCHPAD + SCRATCHPAD_SIZE)
      this.#scratchpad[(address - SCRATCHPAD) >> 2] = value;
  }

  clear(): void {
    this.words.fill(0);
    this.#scratchpad.fill(0);
  }

  readonly state = block(1, { words: array(this.words), scratchpad: array(this.#scratchpad) });
}
