/**
 * A card that lies: between a driver and a sound model it changes, at random, what registers read as and what the rings
 * and the status block hold, and interrupts as it likes. Told to be honest, it is.
 */
import type { SimDevice } from '../../drivers/backends/sim.ts';
import type {
  DeviceTime,
  DmaAllocator,
  DmaMemory,
  Interrupts,
  PciDevice,
  RegisterSpace,
} from '../../drivers/device.ts';
import type { Prng } from '../../sim/wire/prng.ts';

/** What packet buffers are aligned to; rings and status blocks are not. */
const PAGE = 4096;
/** Lies about descriptors that a driver of either kind may take for an answer, by words behind the address. */
const ANSWERS: readonly (readonly number[])[] = [
  [0, 0x01], // e1000: done, no bytes, no end
  [2048, 0x01], // … a whole buffer, no end
  [0, 0x03], // … an empty frame
  [0xffff, 0x03], // … longer than its buffer
  [13, 0x03],
  [60, 0x8703], // … damaged
  [60, 0x03],
  [0, 0],
  [0xffff_ffff, 0xffff_ffff],
];

export interface Lies {
  /** Of each register read, how likely it is a lie; 0 tells the truth. */
  registers: number;
  /** Nothing answers: all ones. */
  gone: boolean;
}

export class LyingCard implements PciDevice {
  readonly lies: Lies = { registers: 0, gone: false };
  readonly name: string;
  readonly id;
  readonly config: RegisterSpace;
  readonly dma: DmaAllocator;
  readonly interrupts: Interrupts;
  readonly time: DeviceTime;
  readonly #card: SimDevice;
  readonly #random: Prng;
  readonly #rings = new Set<DmaMemory>();
  readonly #handlers: (() => void)[] = [];
  readonly #bars = new Map<number, RegisterSpace>();
  #vectors = 0;

  constructor(card: SimDevice, random: Prng) {
    this.#card = card;
    this.#random = random;
    this.name = card.name;
    this.id = card.id;
    this.config = card.config;
    this.time = card.time;
    this.dma = this.#allocator();
    this.interrupts = this.#interrupts();
  }

  /** Changes a few words of a ring or a status block. */
  scribble(): void {
    const random = this.#random;
    const rings = [...this.#rings];
    if (rings.length === 0) return;
    const { words } = rings[random.below(rings.length)]!;
    const at = random.below(words.length >> 2) << 2;
    const count = random.chance(0.1) ? words.length >> 2 : 1 + random.below(40);
    const answer = random.chance(0.7) ? ANSWERS[random.below(ANSWERS.length)]! : null;
    for (let i = 0; i < count; i++) {
      const word = (at + 4 * i) % words.length;
      if (answer === null) words[word + random.below(4)] = this.#number();
      else words.set(answer, word + 2);
    }
  }

  /** An interrupt that nothing has caused. */
  interrupt(): void {
    if (this.#vectors > 0) this.#handlers[this.#random.below(this.#vectors)]?.();
  }

  bar(index: number): RegisterSpace {
    const known = this.#bars.get(index);
    if (known !== undefined) return known;
    const lying = this.#registers(this.#card.bar(index));
    this.#bars.set(index, lying);
    return lying;
  }

  enable(on: { memory?: boolean; io?: boolean; busMaster?: boolean }): void {
    this.#card.enable(on);
  }

  reset(): void {
    this.#card.reset();
  }

  close(): void {
    this.#card.close();
  }

  #number(): number {
    const random = this.#random;
    const kinds = [0, 0xffff_ffff, 1 << random.below(32), random.next(), random.below(2048), random.next() & 0xff];
    return kinds[random.below(kinds.length)]! >>> 0;
  }

  #registers(bar: RegisterSpace): RegisterSpace {
    const told = (value: number, width: number) => {
      const ones = 2 ** width - 1;
      if (this.lies.gone) return ones;
      if (!this.#random.chance(this.lies.registers)) return value;
      return (this.#random.chance(0.5) ? value ^ this.#number() : this.#number()) & ones & -1;
    };
    return {
      size: bar.size,
      read8: (offset) => told(bar.read8(offset), 8) >>> 0,
      read16: (offset) => told(bar.read16(offset), 16) >>> 0,
      read32: (offset) => told(bar.read32(offset), 32) >>> 0,
      write8: (offset, value) => bar.write8(offset, value),
      write16: (offset, value) => bar.write16(offset, value),
      write32: (offset, value) => bar.write32(offset, value),
    };
  }

  #allocator(): DmaAllocator {
    const { dma } = this.#card;
    const rings = this.#rings;
    return {
      get used() {
        return dma.used;
      },
      alloc: (bytes, align) => {
        const memory = dma.alloc(bytes, align);
        if (align >= PAGE) return memory;
        const ring: DmaMemory = {
          iova: memory.iova,
          bytes: memory.bytes,
          words: memory.words,
          free: () => {
            rings.delete(ring);
            memory.free();
          },
        };
        rings.add(ring);
        return ring;
      },
    };
  }

  #interrupts(): Interrupts {
    const { interrupts } = this.#card;
    return {
      available: interrupts.available,
      enable: (mode, count) => {
        interrupts.enable(mode, count);
        this.#vectors = count;
      },
      disable: () => {
        interrupts.disable();
        this.#vectors = 0;
      },
      on: (vector, handler) => {
        this.#handlers[vector] = handler;
        interrupts.on(vector, handler);
      },
      mask: (vector) => interrupts.mask(vector),
      unmask: (vector) => interrupts.unmask(vector),
    };
  }
}
