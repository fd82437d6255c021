/** Plays a script's steps on one card, with rings of its own, and says what came of each. */
import type { DmaMemory, RegisterSpace } from '../../../../drivers/device.ts';
import {
  DESCRIPTOR,
  TX_CONTEXT_IPV4,
  TX_CONTEXT_TCP,
  TX_DEXT,
  TX_EOP,
  TX_IFCS,
  TX_IXSM,
  TX_RS,
  TX_TSE,
  TX_TXSM,
  TX_TYPE_DATA,
  TX_VLE,
} from '../../../../sim/e1000/descriptors.ts';
import { I82540EM } from '../../../../sim/e1000/registers.ts';
import { type AnyRegister, offsetOf, type Register, type RegisterMap } from '../../../../sim/registers.ts';
import { MAC, type Observation, type Player, type Side, type Step } from '../../../lockstep/step.ts';
import { HEADER_BYTES } from './script.ts';

const {
  CTRL,
  EERD,
  MDIC,
  RCTL,
  VET,
  TCTL,
  RAL,
  RAH,
  RDBAL,
  RDBAH,
  RDLEN,
  RDH,
  RDT,
  TDBAL,
  TDBAH,
  TDLEN,
  TDH,
  TDT,
  MTA,
  VFTA,
} = I82540EM.r;

const RING = 64; // descriptors
const BUFFER = 16384;
const MSS = 1000;
const TAG = 0x2007;
const POLLS = 100;
const MINIMUM = 60;

export class E1000Player implements Player {
  readonly side: Side;
  readonly #bar: RegisterSpace;
  readonly #map: RegisterMap;
  readonly #rx: DmaMemory;
  readonly #tx: DmaMemory;
  readonly #rxBuffers: DmaMemory;
  readonly #txBuffer: DmaMemory;
  #rxNext = 0;
  #txNext = 0;

  constructor(side: Side, map: RegisterMap) {
    const { device } = side;
    this.side = side;
    this.#map = map;
    device.enable({ memory: true, busMaster: true });
    this.#bar = device.bar(0);
    this.#rx = device.dma.alloc(RING * DESCRIPTOR, 128);
    this.#tx = device.dma.alloc(RING * DESCRIPTOR, 128);
    this.#rxBuffers = device.dma.alloc(RING * BUFFER, 4096);
    this.#txBuffer = device.dma.alloc(BUFFER, 4096);
  }

  async play(step: Step): Promise<Observation[]> {
    switch (step.does) {
      case 'read':
        return [{ what: this.#map.nameAt(step.at), value: this.#bar.read32(step.at), at: step.at }];
      case 'write':
        this.#bar.write32(step.at, step.value);
        return [];
      case 'nvm':
        return [await this.#nvm(step.word)];
      case 'phy':
        return [await this.#phy(step.register)];
      case 'set up':
        this.#setUp();
        return [];
      case 'transmit':
        return await this.#transmit(step);
      case 'receive':
        return await this.#receive(step.frame);
      case 'pass':
        await this.side.pass(step.ms);
        return [];
    }
  }

  async #nvm(word: number): Promise<Observation> {
    this.#write(EERD, EERD.START | (word << 8));
    return { what: `NVM word ${word}`, value: (await this.#poll(EERD, EERD.DONE)) >>> 16 };
  }

  async #phy(register: number): Promise<Observation> {
    this.#write(MDIC, (register << 16) | (1 << 21) | (2 << 26));
    const value = await this.#poll(MDIC, MDIC.R);
    return { what: `PHY register ${register}`, value: value & (MDIC.E | MDIC.DATA) };
  }

  async #poll(register: Register, done: number): Promise<number> {
    let value = 0;
    for (let i = 0; i < POLLS; i++) {
      value = this.#bar.read32(register.at);
      if ((value & done) !== 0) break;
      await this.side.pass(0.1);
    }
    return value;
  }

  #write(register: AnyRegister, value: number, index = 0): void {
    this.#bar.write32(offsetOf(register, index), value >>> 0);
  }

  /** As a driver would (317453 chapter 14), without moderation: what happens is told at once. */
  #setUp(): void {
    const mac = MAC;
    this.#write(CTRL, CTRL.SLU | CTRL.ASDE | CTRL.VME | CTRL.FD);
    this.#write(VET, 0x8100);
    for (let i = 0; i < MTA.count; i++) this.#write(MTA, 0, i);
    for (let i = 0; i < VFTA.count; i++) this.#write(VFTA, 0, i);
    this.#write(RAL, mac[0]! | (mac[1]! << 8) | (mac[2]! << 16) | (mac[3]! << 24));
    this.#write(RAH, mac[4]! | (mac[5]! << 8) | RAH.AV);
    for (let i = 0; i < RING; i++) this.#rx.words[i * 4] = this.#rxBuffers.iova + i * BUFFER;
    this.#write(RDBAL, this.#rx.iova);
    this.#write(RDBAH, 0);
    this.#write(RDLEN, RING * DESCRIPTOR);
    this.#write(RDH, 0);
    this.#write(RDT, RING - 1);
    this.#write(TDBAL, this.#tx.iova);
    this.#write(TDBAH, 0);
    this.#write(TDLEN, RING * DESCRIPTOR);
    this.#write(TDH, 0);
    this.#write(TDT, 0);
    this.#write(RCTL, RCTL.EN | RCTL.BAM | RCTL.SECRC);
    this.#write(TCTL, TCTL.EN | TCTL.PSP | (0x0f << 4) | (0x40 << 12));
  }

  async #transmit({ frame, offload }: Extract<Step, { does: 'transmit' }>): Promise<Observation[]> {
    this.#txBuffer.bytes.set(frame);
    const first = this.#txNext;
    let command = TX_EOP | TX_IFCS | TX_RS;
    let options = 0;
    if (offload === 'tag') {
      command |= TX_VLE;
      options = TAG << 16;
    } else if (offload !== 'none') {
      const segments = offload === 'segments';
      const context = TX_DEXT | TX_CONTEXT_TCP | TX_CONTEXT_IPV4 | (segments ? TX_TSE : 0);
      const payload = segments ? frame.length - HEADER_BYTES : 0;
      // IPCSS 14, IPCSO 24, IPCSE 33; TUCSS 34, TUCSO 50 (3.3.6).
      this.#put(14 | (24 << 8) | (33 << 16), 34 | (50 << 8), context | payload, (HEADER_BYTES << 8) | (MSS << 16));
      command |= TX_DEXT | TX_TYPE_DATA | (segments ? TX_TSE : 0);
      options = TX_IXSM | TX_TXSM;
    }
    this.#put(this.#txBuffer.iova, 0, command | frame.length, options);
    this.#write(TDT, this.#txNext);
    await this.side.pass(2);
    return [...this.#descriptors(first), ...this.#wire(frame.length < MINIMUM ? 'short frame' : 'frame')];
  }

  #put(word0: number, word1: number, word2: number, word3: number): void {
    this.#tx.words.set([word0, word1, word2, word3], this.#txNext * 4);
    this.#txNext = (this.#txNext + 1) % RING;
  }

  #descriptors(first: number): Observation[] {
    const seen: Observation[] = [];
    for (let i = first; i !== this.#txNext; i = (i + 1) % RING)
      seen.push({ what: 'tx descriptor status', value: this.#tx.words[i * 4 + 3]! & 0xff });
    return seen;
  }

  #wire(what: string): Observation[] {
    const seen: Observation[] = [];
    for (let frame = this.side.take(); frame !== null; frame = this.side.take())
      seen.push({ what, value: Buffer.from(frame).toString('hex') });
    return [{ what: 'frames sent', value: seen.length }, ...seen];
  }

  async #receive(frame: Uint8Array): Promise<Observation[]> {
    this.side.send(frame);
    await this.side.pass(2);
    const { words } = this.#rx;
    const seen: Observation[] = [];
    while ((words[this.#rxNext * 4 + 3]! & 1) !== 0 && seen.length < 4 * RING) {
      const at = this.#rxNext * 4;
      const length = words[at + 2]! & 0xffff;
      const start = this.#rxNext * BUFFER;
      seen.push(
        { what: 'rx length', value: length },
        { what: 'rx packet checksum', value: words[at + 2]! >>> 16 },
        { what: 'rx status', value: words[at + 3]! & 0xff },
        { what: 'rx errors and special', value: words[at + 3]! >>> 8 },
        { what: 'rx data', value: Buffer.from(this.#rxBuffers.bytes.subarray(start, start + length)).toString('hex') },
      );
      words[at + 3] = 0;
      this.#write(RDT, this.#rxNext);
      this.#rxNext = (this.#rxNext + 1) % RING;
    }
    return [{ what: 'descriptors received', value: seen.length / 5 }, ...seen];
  }
}
