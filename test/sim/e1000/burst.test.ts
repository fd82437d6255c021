/** A burst is a short cut, and must not be told from its frames sent one by one: nor in memory, nor in any register. */
import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import { HostMemory } from '../../../drivers/backends/host-memory.ts';
import { openSim, type SimDevice } from '../../../drivers/backends/sim.ts';
import { Clock, MILLISECOND } from '../../../sim/clock.ts';
import { E1000 } from '../../../sim/e1000/i82540em.ts';
import { I82540EM } from '../../../sim/e1000/registers.ts';
import type { Register } from '../../../sim/registers.ts';
import { Link } from '../../../sim/wire/link.ts';

const R = I82540EM.r;
const RING = 16;
const BUFFER = 2048;
const EOP = 1 << 24;
const IFCS = 1 << 25;
const RS = 1 << 27;
const IDE = 2 ** 31;

interface Frame {
  readonly length: number;
  readonly to: number; // which of TO
  readonly type: number;
  readonly reports: boolean;
  readonly delayed: boolean;
  readonly ends: boolean;
}

interface Step {
  readonly frames: readonly Frame[];
  readonly refill: number;
  readonly wait: number;
}

interface Setting {
  readonly rctl: number;
  readonly rxdctl: number;
  readonly txdctl: number;
  readonly rsrpd: number;
  readonly rdtr: number;
  readonly tidv: number;
}

const TO = [
  [2, 0, 0, 0, 0, 2],
  [2, 0, 0, 0, 0, 9],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
  [1, 0, 0x5e, 0, 0, 1],
];

class Scene {
  readonly memory = new HostMemory(1024 * 1024);
  readonly clock = new Clock();
  readonly near = this.#card(1);
  readonly far = this.#card(2);
  bursts = 0;
  readonly #tx = this.near.dma.alloc(RING * 16, 128);
  readonly #rx = this.far.dma.alloc(RING * 16, 128);
  readonly #frames = this.near.dma.alloc(RING * BUFFER, 4096);
  readonly #buffers = this.far.dma.alloc(RING * BUFFER, 4096);
  #txTail = 0;
  #rxTail = RING - 1;

  constructor(setting: Setting, bursts: boolean) {
    const link = new Link(this.clock);
    const [a, b] = [this.near, this.far].map(({ function: card }) => (card as E1000).port) as [
      E1000['port'],
      E1000['port'],
    ];
    link.plug(a);
    link.plug(b);
    const receiveBurst = b.receiveBurst!.bind(b);
    b.receiveBurst = (...burst) => {
      const taken = bursts ? receiveBurst(...burst) : 0;
      this.bursts += taken;
      return taken;
    };
    for (const card of [this.near, this.far]) {
      card.enable({ memory: true, busMaster: true });
      write(card, R.CTRL, R.CTRL.SLU);
    }
    this.clock.advance(10 * MILLISECOND);
    this.#setUp(setting);
  }

  #card(last: number): SimDevice {
    const { clock, memory } = this;
    return openSim((host) => new E1000(host, { mac: Uint8Array.of(2, 0, 0, 0, 0, last) }), {
      name: 'sim:e1000',
      clock,
      memory,
    });
  }

  #setUp({ rctl, rxdctl, txdctl, rsrpd, rdtr, tidv }: Setting): void {
    for (let i = 0; i < RING; i++) this.#rx.words[4 * i] = this.#buffers.iova + i * BUFFER;
    for (let i = 0; i < this.#frames.bytes.length; i++) this.#frames.bytes[i] = i * 31;
    write(this.far, R.RDBAL, this.#rx.iova);
    write(this.far, R.RDLEN, RING * 16);
    write(this.far, R.RDT, this.#rxTail);
    write(this.far, R.RXDCTL, rxdctl);
    write(this.far, R.RSRPD, rsrpd);
    write(this.far, R.RDTR, rdtr);
    write(this.far, R.RXCSUM, R.RXCSUM.IPOFLD | R.RXCSUM.TUOFLD);
    write(this.far, R.IMS, 0xffff);
    write(this.far, R.RCTL, R.RCTL.EN | rctl);
    write(this.near, R.TDBAL, this.#tx.iova);
    write(this.near, R.TDLEN, RING * 16);
    write(this.near, R.TXDCTL, txdctl);
    write(this.near, R.TIDV, tidv);
    write(this.near, R.TCTL, R.TCTL.EN | R.TCTL.PSP);
  }

  play({ frames, refill, wait }: Step): void {
    for (const frame of frames) this.#post(frame);
    write(this.near, R.TDT, this.#txTail);
    this.#rxTail = (this.#rxTail + refill) % RING;
    write(this.far, R.RDT, this.#rxTail);
    this.clock.advance(wait);
  }

  #post({ length, to, type, reports, delayed, ends }: Frame): void {
    const at = this.#txTail;
    const bytes = this.#frames.bytes.subarray(at * BUFFER, (at + 1) * BUFFER);
    bytes.set(TO[to]!, 0);
    bytes[12] = type >>> 8;
    bytes[13] = type & 0xff;
    const command = (ends ? EOP | IFCS : 0) + (reports ? RS : 0) + (delayed ? IDE : 0);
    this.#tx.words.set([this.#frames.iova + at * BUFFER, 0, length + command, 0], 4 * at);
    this.#txTail = (at + 1) % RING;
  }

  /** All that can be seen. */
  state(): Record<string, Uint8Array | Uint32Array> {
    const registers = (card: SimDevice) => (card.function as E1000).registers.words;
    return {
      'transmit descriptors': this.#tx.words,
      'receive descriptors': this.#rx.words,
      buffers: this.#buffers.bytes,
      'registers of the sender': registers(this.near),
      'registers of the receiver': registers(this.far),
    };
  }
}

function write(card: SimDevice, register: Register, value: number): void {
  card.bar(0).write32(register.at, value >>> 0);
}

const frame = fc.record<Frame>({
  length: fc.oneof(
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 70 }) },
    { weight: 9, arbitrary: fc.integer({ min: 60, max: 1530 }) },
  ),
  to: fc.nat(3),
  type: fc.integer({ min: 0, max: 19 }).map((n) => [0x8100, 0x8808, 0x86dd, 0x0806][n] ?? 0x0800),
  reports: fc.boolean(),
  delayed: fc.boolean(),
  ends: fc.integer({ min: 0, max: 19 }).map((n) => n > 0),
});
const step = fc.record<Step>({
  frames: fc.array(frame, { maxLength: RING - 1, size: 'max' }),
  refill: fc.nat(RING - 1),
  wait: fc.constantFrom(0, 1000, 100_000),
});
const setting = fc.record<Setting>({
  rctl: fc
    .constantFrom(0, R.RCTL.BAM, R.RCTL.UPE, R.RCTL.MPE, R.RCTL.BAM | R.RCTL.VFE)
    .map((rctl) => rctl | R.RCTL.SECRC),
  rxdctl: fc.constantFrom(0, 1 << 16, 4 << 16),
  txdctl: fc.constantFrom(0, 1 << 16, 4 << 16),
  rsrpd: fc.constantFrom(0, 0, 64),
  rdtr: fc.constantFrom(0, 10),
  tidv: fc.constantFrom(0, 10),
});

test('a burst cannot be told from its frames one by one', (t) => {
  let bursts = 0;
  fc.assert(
    fc.property(setting, fc.array(step, { minLength: 1, maxLength: 12, size: 'max' }), (chosen, steps) => {
      const [together, alone] = [new Scene(chosen, true), new Scene(chosen, false)];
      for (const [i, what] of steps.entries()) {
        together.play(what);
        alone.play(what);
        const other = alone.state();
        for (const [name, words] of Object.entries(together.state())) {
          const at = words.findIndex((word, index) => word !== other[name]![index]);
          assert.equal(at, -1, `${name} differ at ${at} after step ${i}`);
        }
      }
      bursts += together.bursts;
    }),
    { numRuns: 150 },
  );
  t.true(bursts > 1000, `${bursts} frames went in bursts`);
});
