/** The 82540EM under attack: descriptors that make no sense, rings and registers of any value. */
import { E1000 } from '../../sim/e1000/i82540em.ts';
import { I82540EM } from '../../sim/e1000/registers.ts';
import { COMMAND, COMMAND_IO, COMMAND_MASTER, COMMAND_MEMORY } from '../../sim/pci/config.ts';
import type { Register } from '../../sim/registers.ts';
import { NOWHERE, Scene } from './scene.ts';

const R = I82540EM.r;
const RING = 64; // descriptors
const LARGEST = 16384; // a buffer has room for it, whatever RCTL says
const DEXT = 1 << 29;
const DATA = 1 << 20;
const EOP = 1 << 24;
const IFCS = 1 << 25;
const LENGTHS = [0, 1, 8, 20, 54, 60, 100, 536, 1460, 1514, 9000, 16288, 17000, 0xfffff];

export class E1000Scene extends Scene {
  // Each ring ends with its mapping: whatever its length is said to be, no descriptor is behind it.
  readonly #tx = this.memory.map(RING * 16);
  readonly #rx = this.memory.map(RING * 16);
  readonly #buffers = this.memory.map(2 * LARGEST);
  readonly #short = this.memory.map(1024); // buffers in here run off the mapping
  protected readonly ranges = [this.out, this.#tx, this.#rx, this.#buffers, this.#short];
  #tail = 0;

  constructor() {
    super((host) => new E1000(host));
    this.actions.push(
      (a, b, c) => this.#send(a, b, c),
      (a, b, c) => this.#send(a, b, c),
      (a, b, c) => this.#send(a, b, c),
      (a, b, c) => this.#context(a, b, c),
      (a) => this.#sendPlain(a),
      (a) => this.#set(R.TDT, a % 8 === 0 ? a >>> 8 : this.#tail),
      (a) => this.#set(R.TDT, a % 8 === 0 ? a >>> 8 : this.#tail),
      (a) => this.#give(a),
      (a) => this.#set(R.RDT, a % RING),
      (a, b) => this.#control(a, b),
      (a, b, c) => this.#throughPorts(a, b, c),
      (a, b) => this.card.config.write((a % 0x100) & ~3, 4, this.value(b)),
    );
    this.begin();
  }

  #set(register: Register, value: number): void {
    this.card.writeBar(0, register.at, 4, value >>> 0);
  }

  protected override bringUp(): void {
    this.card.config.write(COMMAND, 2, COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER);
    this.#set(R.CTRL, R.CTRL.SLU | R.CTRL.VME);
    for (const [base, length, ring] of [
      [R.TDBAL, R.TDLEN, this.#tx],
      [R.RDBAL, R.RDLEN, this.#rx],
    ] as const) {
      this.#set(base, ring);
      this.card.writeBar(0, base.at + 4, 4, 0);
      this.#set(length, RING * 16);
    }
    this.#set(R.TCTL, R.TCTL.EN | R.TCTL.PSP);
    this.#set(R.RCTL, R.RCTL.EN | R.RCTL.UPE | R.RCTL.MPE);
    for (let i = 0; i < RING; i++) this.#give(i * 16);
  }

  protected override clear(): void {
    for (const [range, length] of [
      [this.#tx, RING * 16],
      [this.#rx, RING * 16],
      [this.#buffers, 2 * LARGEST],
      [this.#short, 1024],
    ] as const)
      this.memory.fill(range, length, 0);
  }

  /** The address of a ring is one of a few; and in one access, so that it is no other on the way. */
  protected override writeRegister(offset: number, value: number, width: number): void {
    const name = I82540EM.find(offset & ~3)?.name ?? '';
    const rings = { TDBAL: this.#tx, RDBAL: this.#rx, TDBAH: 0, RDBAH: 0 } as Record<string, number>;
    const ring = rings[name];
    if (ring === undefined) this.card.writeBar(0, offset, ([4, 4, 2, 1] as const)[width % 4]!, this.value(value));
    else this.card.writeBar(0, offset & ~3, 4, [ring, ring, ring === 0 ? 1 : ring + 16, NOWHERE][value % 4]!);
  }

  /** Registers by way of the I/O BAR. */
  #throughPorts(a: number, b: number, c: number): void {
    this.card.writeBar(2, 0, 4, 0); // where nothing is meant, CTRL
    this.card.readBar(2, (a % 3) * 4, ([1, 2, 4] as const)[c % 3]!);
    this.card.writeBar(2, 4, 4, this.value(b) & ~R.CTRL.RST);
  }

  /** RCTL and CTRL, as a driver might have them. */
  #control(a: number, b: number): void {
    const { EN, UPE, MPE, LPE, SBP, SECRC, BSEX } = R.RCTL;
    const loopback = b % 4 === 0 ? 1 << 6 : 0;
    const some = (bits: number) => bits & a;
    this.#set(R.RCTL, EN | UPE | some(MPE | LPE | SBP | SECRC | BSEX) | (((a >>> 8) % 4) << 16) | loopback);
    this.#set(R.CTRL, R.CTRL.SLU | (b & (R.CTRL.VME | R.CTRL.RFCE | R.CTRL.TFCE)));
    this.#set(R.TCTL, R.TCTL.EN | (b & R.TCTL.PSP));
  }

  #send(a: number, b: number, c: number): void {
    const length = LENGTHS[b % LENGTHS.length]!;
    const kind = a % 4 === 0 ? 0 : DEXT | DATA;
    const commands = (c & 0xdf) << 24; // all but DEXT
    const word2 = kind === 0 ? (length & 0xffff) | ((b >>> 8) & 0xff0000) : length;
    this.#put(this.outgoing(a >>> 2, Math.min(length, 17000)), 0, kind | commands | word2, (c >>> 8) & 0xffffff03);
  }

  /** What goes in one burst. */
  #sendPlain(a: number): void {
    for (let i = a % 16; i >= 0; i--) this.#put(this.outgoing(a >>> 2, 64), 0, EOP | IFCS | 64, 0);
    this.#set(R.TDT, this.#tail);
  }

  /** A context that is right for one of the headers, but for one field, now and then. */
  #context(a: number, b: number, c: number): void {
    const ipv6 = a % 4 === 0;
    const l4 = ipv6 ? 54 : 34;
    const words = [
      14 | (24 << 8) | ((l4 - 1) << 16),
      l4 | ((l4 + 16) << 8),
      DEXT | (c & 0x07000000) | LENGTHS[b % LENGTHS.length]!,
      ((l4 + 20) << 8) | ((LENGTHS[(b >>> 8) % 11]! & 0x3fff) << 16),
    ];
    if (a % 8 < 3) words[(a >>> 4) % 4]! ^= 0xff << ((a >>> 8) % 25);
    words[2]! = (words[2]! & ~DATA) | DEXT;
    this.#put(...(words as [number, number, number, number]));
  }

  #put(...words: [number, number, number, number]): void {
    this.memory.put(this.#tx + 16 * this.#tail, words);
    this.#tail = (this.#tail + 1) % RING;
  }

  #give(a: number): void {
    const at = this.#rx + 16 * ((a >>> 4) % RING);
    const kinds = [NOWHERE, this.#short + 1024 - ((a >>> 12) % 200), this.#short + ((a >>> 12) % 1024)];
    this.memory.put(at, [kinds[a % 16] ?? this.#buffers + ((a >>> 10) % LARGEST), 0, 0, 0]);
  }
}
