/** An 82540EM on a bench, and the least driver that follows the manual (14.4, 14.5): rings in memory, doorbells, no interrupts handled. */
import { Clock, MILLISECOND } from '../../sim/clock.ts';
import { E1000, type E1000Options } from '../../sim/e1000/i82540em.ts';
import { I82540EM } from '../../sim/e1000/registers.ts';
import { COMMAND, COMMAND_IO, COMMAND_MASTER, COMMAND_MEMORY } from '../../sim/pci/config.ts';
import { BASE, ModelBench, type ModelBenchOptions } from './model-bench.ts';

export { BASE, Recorder } from './model-bench.ts';

export const R = I82540EM.r;
export const LINK_UP = 5 * MILLISECOND; // what a negotiation takes

/** Transmit descriptor command bits, as bytes (3.3.3.1). */
export const EOP = 0x01;
export const IFCS = 0x02;
export const IC = 0x04;
export const TSE = 0x04;
export const RS = 0x08;
export const DEXT = 0x20;
export const VLE = 0x40;
export const IDE = 0x80;
/** Data descriptor options (3.3.7.3). */
export const IXSM = 1;
export const TXSM = 2;

export interface BenchOptions extends E1000Options, ModelBenchOptions {}

export interface Context {
  ipStart?: number;
  ipSum?: number;
  ipEnd?: number;
  l4Start?: number;
  l4Sum?: number;
  l4End?: number;
  payload?: number;
  header?: number;
  mss?: number;
  tcp?: boolean;
  ipv4?: boolean;
  segment?: boolean;
}

export interface Received {
  bytes: Uint8Array;
  status: number;
  errors: number;
  checksum: number;
  special: number;
  descriptors: number;
}

export class Bench extends ModelBench<E1000> {
  txCount = 0;
  rxCount = 0;
  #tx = 0;
  #txTail = 0;
  #rx = 0;
  #rxNext = 0;
  #rxBuffer = 2048;
  #rxBuffers: number[] = [];
  readonly #options: BenchOptions;

  constructor(options: BenchOptions = {}) {
    super(options, 1 << 20, (host) => new E1000(host, options));
    this.#options = options;
    if (options.up ?? true) this.up();
  }

  /** Decode, bus mastering, SLU, and the time to link. */
  up(): void {
    this.card.config.write(COMMAND, 2, COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER);
    this.set(R.CTRL, R.CTRL.SLU);
    this.clock.advance(LINK_UP);
    this.read(R.ICR);
    this.rises = [];
  }

  /** A fresh bench, its clock at `now`, that goes on from here. */
  fork(now: number): Bench {
    const clock = new Clock();
    clock.advanceTo(now);
    const other = new Bench({ ...this.#options, clock, up: false });
    other.txCount = this.txCount;
    other.rxCount = this.rxCount;
    other.#tx = this.#tx;
    other.#txTail = this.#txTail;
    other.#rx = this.#rx;
    other.#rxNext = this.#rxNext;
    other.#rxBuffer = this.#rxBuffer;
    other.#rxBuffers = [...this.#rxBuffers];
    this.copyTo(other);
    return other;
  }

  // Registers.

  /** Reads the causes, which clears them. */
  causes(): string[] {
    const value = this.read(R.ICR);
    return Object.entries(R.ICR)
      .filter(([name, mask]) => /^[A-Z]/.test(name) && typeof mask === 'number' && (value & mask) !== 0)
      .map(([name]) => name);
  }

  mdio(register: number, value?: number): number {
    const operation = value === undefined ? 2 : 1;
    this.write(R.MDIC, (operation << 26) | (1 << 21) | (register << 16) | (value ?? 0));
    return this.read(R.MDIC) & 0xffff;
  }

  // Transmit (14.5).

  transmitter(descriptors = 64, control: number = R.TCTL.EN | R.TCTL.PSP): void {
    this.txCount = descriptors;
    this.#txTail = 0;
    this.#tx = this.alloc(descriptors * 16, 128);
    this.write(R.TDBAL, this.#tx);
    this.write(R.TDLEN, descriptors * 16);
    this.write(R.TDH, 0);
    this.write(R.TDT, 0);
    this.write(R.TCTL, control);
  }

  /** Puts a raw descriptor into the ring, without ringing. Returns its index. */
  post(...words: [number, number, number, number]): number {
    const index = this.#txTail;
    this.words.set(words, (this.#tx - BASE) / 4 + index * 4);
    this.#txTail = (index + 1) % this.txCount;
    return index;
  }

  ring(): void {
    this.write(R.TDT, this.#txTail);
  }

  /** Places bytes in memory and a descriptor to them in the ring: legacy (3.3.3). */
  legacy(bytes: ArrayLike<number>, command = EOP | IFCS | RS, { cso = 0, css = 0, special = 0 } = {}): number {
    const address = this.#place(bytes);
    return this.post(address, 0, word(bytes.length, cso << 16, command << 24), word(css << 8, special << 16));
  }

  /** TCP/IP data (3.3.7). */
  data(bytes: ArrayLike<number>, command = EOP | IFCS | RS, { options = 0, special = 0 } = {}): number {
    const word2 = word(bytes.length, 1 << 20, (command | DEXT) << 24);
    return this.post(this.#place(bytes), 0, word2, word(options << 8, special << 16));
  }

  /** TCP/IP context (3.3.6). */
  context(c: Context): number {
    const { ipStart = 0, ipSum = 0, ipEnd = 0, l4Start = 0, l4Sum = 0, l4End = 0 } = c;
    const command = DEXT | (c.tcp === false ? 0 : 1) | (c.ipv4 === false ? 0 : 2) | (c.segment ? TSE : 0);
    return this.post(
      word(ipStart, ipSum << 8, ipEnd << 16),
      word(l4Start, l4Sum << 8, l4End << 16),
      word(c.payload ?? 0, command << 24),
      word((c.header ?? 0) << 8, (c.mss ?? 0) << 16),
    );
  }

  done(index: number): boolean {
    return (this.words[(this.#tx - BASE) / 4 + index * 4 + 3]! & 1) !== 0;
  }

  /** Sends one whole frame by a legacy descriptor. */
  send(bytes: ArrayLike<number>, command?: number, more?: { cso?: number; css?: number; special?: number }): void {
    this.legacy(bytes, command, more);
    this.ring();
  }

  #place(bytes: ArrayLike<number>): number {
    if (bytes.length === 0) return BASE;
    const address = this.alloc(bytes.length, 1);
    this.put(address, bytes);
    return address;
  }

  // Receive (14.4).

  receiver(
    descriptors = 16,
    { control = R.RCTL.BAM | R.RCTL.SECRC, buffer = 2048, give = descriptors - 1 } = {},
  ): void {
    this.rxCount = descriptors;
    this.#rxNext = 0;
    this.#rxBuffer = buffer;
    this.#rx = this.alloc(descriptors * 16, 128);
    this.#rxBuffers = Array.from({ length: descriptors }, () => this.alloc(buffer));
    for (let i = 0; i < descriptors; i++) this.words.set([this.#rxBuffers[i]!, 0, 0, 0], this.#rxWord(i));
    this.write(R.RDBAL, this.#rx);
    this.write(R.RDLEN, descriptors * 16);
    this.write(R.RDH, 0);
    this.write(R.RDT, give);
    this.write(R.RCTL, R.RCTL.EN | control | sizeBits(buffer));
  }

  #rxWord(index: number): number {
    return (this.#rx - BASE) / 4 + index * 4;
  }

  rxBuffer(index: number): number {
    return this.#rxBuffers[index]!;
  }

  rxDescriptor(index: number): Uint32Array {
    return this.words.subarray(this.#rxWord(index), this.#rxWord(index) + 4);
  }

  /** Packets that descriptors were written back for, since last asked; the descriptors stay taken until `refill`. */
  received(): Received[] {
    const packets: Received[] = [];
    let parts: number[] = [];
    let descriptors = 0;
    for (;;) {
      const [, , word2, word3] = this.rxDescriptor(this.#rxNext) as unknown as [number, number, number, number];
      if (this.rxCount === 0 || !(word3 & 1)) return packets;
      const length = word2 & 0xffff;
      parts = parts.concat([...this.get(this.#rxBuffers[this.#rxNext]!, Math.min(length, this.#rxBuffer))]);
      descriptors++;
      this.rxDescriptor(this.#rxNext).fill(0, 2);
      this.#rxNext = (this.#rxNext + 1) % this.rxCount;
      if (!(word3 & 2)) continue;
      packets.push({
        bytes: Uint8Array.from(parts),
        status: word3 & 0xff,
        errors: (word3 >>> 8) & 0xff,
        checksum: word2 >>> 16,
        special: word3 >>> 16,
        descriptors,
      });
      parts = [];
      descriptors = 0;
    }
  }

  /** Gives back all that was received but one. */
  refill(): void {
    this.write(R.RDT, (this.#rxNext + this.rxCount - 1) % this.rxCount);
  }
}

/** RCTL.BSIZE and BSEX for a buffer size (13.4.22). */
export function sizeBits(buffer: number): number {
  const large = [16384, 8192, 4096].indexOf(buffer);
  if (large >= 0) return R.RCTL.BSEX | ((large + 1) << 16);
  return [2048, 1024, 512, 256].indexOf(buffer) << 16;
}

function word(...parts: number[]): number {
  return parts.reduce((sum, part) => (sum | part) >>> 0, 0);
}
