/** A BCM57xx on a bench, and the least driver that brings it up as Linux's does: reset with boot code's answer, rings, blocks, link. */
import { Clock, MILLISECOND } from '../../sim/clock.ts';
import { COMMAND, COMMAND_MASTER, COMMAND_MEMORY } from '../../sim/pci/config.ts';
import type { AnyRegister } from '../../sim/registers.ts';
import { Tg3, type Tg3Options } from '../../sim/tg3/bcm57xx.ts';
import {
  FW_MAGIC,
  RX_BD,
  RX_EXT_BD,
  SEND_BD,
  SRAM_FW_MAILBOX,
  SRAM_RET_RCB,
  SRAM_SEND_RCB,
  STATUS_BLOCK,
  TX_END,
} from '../../sim/tg3/descriptors.ts';
import { BCM57XX } from '../../sim/tg3/registers.ts';
import { BASE, ModelBench, type ModelBenchOptions } from './model-bench.ts';
import { STATION } from './packets.ts';

export { BASE, Recorder } from './model-bench.ts';

export const R = BCM57XX.r;
export const LINK_UP = 50 * MILLISECOND; // what a negotiation takes
export const SEND_RING = 512;
export const STANDARD_RING = 512;
export const RETURN_RING = 512;
const GMII = 2 << 2; // MAC_MODE.PORT_MODE

export interface BenchOptions extends Tg3Options, ModelBenchOptions {
  /** Receive buffers given at the start. */
  buffers?: number;
  jumbo?: boolean;
}

export interface Received {
  bytes: Uint8Array;
  length: number;
  flags: number;
  checksums: number;
  error: number;
  opaque: number;
  hash: number;
}

export class Bench extends ModelBench<Tg3> {
  block = 0;
  sendRing = 0;
  standardRing = 0;
  jumboRing = 0;
  returnRings: number[] = [];
  #tail = 0;
  #given = 0;
  #taken = [0, 0, 0, 0];
  readonly #options: BenchOptions;

  constructor(options: BenchOptions = {}) {
    super(options, 2 << 20, (host) => new Tg3(host, { mac: Uint8Array.from(STATION), ...options }));
    this.#options = options;
    if (options.up ?? true) this.up();
  }

  decode(): void {
    this.card.config.write(COMMAND, 2, COMMAND_MEMORY | COMMAND_MASTER);
    const { INDIR_ACCESS, PCISTATE_RW, TAGGED_STATUS, MASK_PCI_INT } = R.MISC_HOST_CTRL;
    this.write(R.MISC_HOST_CTRL, INDIR_ACCESS | PCISTATE_RW | TAGGED_STATUS | MASK_PCI_INT);
  }

  chipReset(): void {
    this.sramWrite(SRAM_FW_MAILBOX, FW_MAGIC);
    this.write(R.GRC_MISC_CFG, R.GRC_MISC_CFG.GPHY_RESET_DISABLE | R.GRC_MISC_CFG.CORECLK_RESET);
  }

  up(): void {
    this.decode();
    this.chipReset();
    const { BSWAP_DATA, WSWAP_DATA, WSWAP_NONFRM_DATA, HOST_STACKUP, HOST_SENDBDS, NO_TX_PHDR_CSUM } = R.GRC_MODE;
    const swaps = BSWAP_DATA | WSWAP_DATA | WSWAP_NONFRM_DATA;
    this.write(R.GRC_MODE, swaps | HOST_STACKUP | HOST_SENDBDS | NO_TX_PHDR_CSUM | R.GRC_MODE.IRQ_ON_MAC_ATTN);
    this.write(R.BUFMGR_MB_MACRX_LOW_WATER, 0x2a);
    this.write(R.BUFMGR_MB_HIGH_WATER, 0xa0);
    this.write(R.BUFMGR_MODE, R.BUFMGR_MODE.ENABLE);
    this.rings();
    this.write(R.MAC_RX_MTU_SIZE, this.#options.jumbo ? 9022 : 1522);
    this.block = this.alloc(STATUS_BLOCK, 64);
    this.write(R.HOSTCC_STATUS_BLK_HOST_LOW, this.block);
    this.write(R.HOSTCC_RXMAX_FRAMES, 1);
    this.write(R.HOSTCC_TXMAX_FRAMES, 1);
    this.write(R.HOSTCC_RXCOAL_MAXF_INT, 1);
    this.write(R.HOSTCC_TXCOAL_MAXF_INT, 1);
    this.write(R.HOSTCC_MODE, R.HOSTCC_MODE.ENABLE | R.HOSTCC_MODE._32BYTE);
    const { RXSTAT_ENABLE, TXSTAT_ENABLE, TDE_ENABLE, RDE_ENABLE, FHDE_ENABLE } = R.MAC_MODE;
    this.write(R.MAC_MODE, GMII | RXSTAT_ENABLE | TXSTAT_ENABLE | TDE_ENABLE | RDE_ENABLE | FHDE_ENABLE);
    for (const block of BLOCKS) this.write(block, 2);
    this.write(R.MAC_TX_MODE, R.MAC_TX_MODE.ENABLE);
    this.write(R.MAC_RX_MODE, R.MAC_RX_MODE.ENABLE | R.MAC_RX_MODE.IPV6_CSUM_ENABLE);
    this.clock.advance(LINK_UP);
    this.write(R.MAC_STATUS, R.MAC_STATUS.LNKSTATE_CHANGED);
    this.write(R.MAC_EVENT, R.MAC_EVENT.LNKSTATE_CHANGED);
    this.clear(R.MISC_HOST_CTRL, R.MISC_HOST_CTRL.MASK_PCI_INT);
    this.write(R.MBOX_INTERRUPT, this.tag << 24);
    this.rises = [];
  }

  rings(): void {
    const { chip } = this.card;
    this.sendRing = this.alloc(SEND_RING * SEND_BD, 64);
    this.standardRing = this.alloc(STANDARD_RING * RX_BD, 64);
    this.returnRings = [0, 1, 2, 3].map(() => this.alloc(RETURN_RING * RX_BD, 64));
    this.rcb(SRAM_SEND_RCB, this.sendRing, SEND_RING);
    for (const [i, ring] of this.returnRings.entries()) this.rcb(SRAM_RET_RCB + 16 * i, ring, RETURN_RING);
    this.write(R.RCVDBDI_STD_ADDR_LOW, this.standardRing);
    this.write(R.RCVDBDI_STD_LEN_FLAGS, (STANDARD_RING << 16) | (chip.is577xx ? 1536 << 2 : 0));
    if (this.#options.jumbo) {
      this.jumboRing = this.alloc(256 * RX_EXT_BD, 64);
      this.write(R.RCVDBDI_JUMBO_ADDR_LOW, this.jumboRing);
      this.write(R.RCVDBDI_JUMBO_LEN_FLAGS, (256 << 16) | 1);
      for (let i = 0; i < 4; i++) this.buffer(this.jumboRing + RX_EXT_BD * i + 32, i, 9216, 2 << 16);
      this.write(R.MBOX_JUMBO_PROD, 4);
    }
    this.give(this.#options.buffers ?? 16);
  }

  rcb(at: number, ring: number, entries: number): void {
    this.sramWrite(at, 0);
    this.sramWrite(at + 4, ring);
    this.sramWrite(at + 8, entries << 16);
  }

  /** A fresh bench, its clock at `now`, that goes on from here. */
  fork(now: number): Bench {
    const clock = new Clock();
    clock.advanceTo(now);
    const other = new Bench({ ...this.#options, clock, up: false });
    other.block = this.block;
    other.sendRing = this.sendRing;
    other.standardRing = this.standardRing;
    other.jumboRing = this.jumboRing;
    other.returnRings = [...this.returnRings];
    other.#tail = this.#tail;
    other.#given = this.#given;
    other.#taken = [...this.#taken];
    this.copyTo(other);
    return other;
  }

  // Registers and the chip's memory.

  sramRead(address: number): number {
    this.write(R.MEM_WIN_BASE_ADDR, address);
    return this.read(R.MEM_WIN_DATA);
  }

  sramWrite(address: number, value: number): void {
    this.write(R.MEM_WIN_BASE_ADDR, address);
    this.write(R.MEM_WIN_DATA, value);
  }

  mdio(register: number, value?: number): number {
    const { CMD_READ, CMD_WRITE, START } = R.MAC_MI_COM;
    const command = value === undefined ? CMD_READ : CMD_WRITE;
    this.write(R.MAC_MI_COM, START | command | (1 << 21) | (register << 16) | (value ?? 0));
    return this.read(R.MAC_MI_COM) & 0xffff;
  }

  nvramRead(address: number): number {
    const { GO, DONE, FIRST, LAST } = R.NVRAM_CMD;
    this.write(R.NVRAM_ADDR, address);
    this.write(R.NVRAM_CMD, GO | DONE | FIRST | LAST);
    return this.read(R.NVRAM_RDDATA);
  }

  // Memory.

  at(address: number): number {
    return this.words[(address - BASE) / 4]!;
  }

  /** The status block's. */
  get status(): number {
    return this.at(this.block);
  }

  get tag(): number {
    return this.at(this.block + 4) & 0xff;
  }

  get sendConsumer(): number {
    return this.at(this.block + 16) >>> 16;
  }

  producer(ring = 0): number {
    if (ring === 0) return this.at(this.block + 16) & 0xffff;
    if (ring === 1) return this.at(this.block + 8) & 0xffff;
    return ring === 2 ? this.at(this.block + 12) >>> 16 : this.at(this.block + 12) & 0xffff;
  }

  // Send.

  /** Puts a raw BD into the ring, without ringing. Returns its index. */
  post(...bd: [number, number, number, number]): number {
    const index = this.#tail;
    this.words.set(
      bd.map((word) => word >>> 0),
      (this.sendRing - BASE) / 4 + index * 4,
    );
    this.#tail = (index + 1) % SEND_RING;
    return index;
  }

  /** Places bytes in memory, and a BD to them in the ring. */
  data(bytes: ArrayLike<number>, flags = TX_END, special = 0): number {
    const address = this.alloc(bytes.length, 1);
    this.put(address, bytes);
    return this.post(0, address, (bytes.length << 16) | flags, special);
  }

  ring(): void {
    this.write(R.MBOX_SEND_PROD, this.#tail);
  }

  send(bytes: ArrayLike<number>, flags = TX_END, special = 0): void {
    this.data(bytes, flags, special);
    this.ring();
  }

  // Receive.

  buffer(bd: number, index: number, size: number, kind: number): void {
    const address = this.alloc(size);
    this.words.set([0, address, (index << 16) | size, 4, 0, 0, 0, kind | index], (bd - BASE) / 4);
  }

  /** Gives the standard ring so many buffers more. */
  give(count: number): void {
    for (let i = 0; i < count; i++, this.#given = (this.#given + 1) % STANDARD_RING)
      this.buffer(this.standardRing + RX_BD * this.#given, this.#given, 1536, 1 << 16);
    this.write(R.MBOX_STD_PROD, this.#given);
  }

  /** Frames returned since last asked, their places given back. */
  received(ring = 0): Received[] {
    const found: Received[] = [];
    const end = this.producer(ring);
    let index = this.#taken[ring]!;
    for (; index !== end; index = (index + 1) % RETURN_RING) {
      const at = (this.returnRings[ring]! + RX_BD * index - BASE) / 4;
      const [, address, size, flags, checksums, error, hash, opaque] = this.words.subarray(at, at + 8) as unknown as [
        number,
        number,
        number,
        number,
        number,
        number,
        number,
        number,
      ];
      const length = size & 0xffff;
      found.push({ bytes: this.get(address, length - 4), length, flags, checksums, error, hash, opaque });
    }
    this.#taken[ring] = index;
    this.write(R.MBOX_RET_CON, index, ring);
    return found;
  }
}

const BLOCKS: readonly AnyRegister[] = [
  R.RCVCC_MODE,
  R.RCVLPC_MODE,
  R.WDMAC_MODE,
  R.RDMAC_MODE,
  R.RCVDCC_MODE,
  R.SNDDATAC_MODE,
  R.SNDBDC_MODE,
  R.RCVBDI_MODE,
  R.RCVDBDI_MODE,
  R.SNDDATAI_MODE,
  R.SNDBDI_MODE,
  R.SNDBDS_MODE,
];
