/**
 * Receive: buffers go to the card by producer rings (standard, and jumbo where frames may be long), which all queues share;
 * frames come back by return rings, of which each is a queue. Broadcom 5718-PG108-R, "Receive Data Flow".
 */
import {
  RCB,
  RCB_DISABLED,
  RX_BD,
  RX_END,
  RX_EXT_BD,
  RX_JUMBO,
  SRAM_JUMBO_BDS,
  SRAM_RET_RCB,
  SRAM_STD_BDS,
} from '../../sim/tg3/descriptors.ts';
import type { ReceiveBuffers } from '../net-driver.ts';
import { HEADROOM, type PacketBuffer, PacketPool } from '../packet.ts';
import type { ReceiveMode } from '../receive-ring.ts';
import { ETHERNET_MTU } from '../settings.ts';
import { type Chip, R } from './chip.ts';
import { JUMBO_ENTRIES, JUMBO_ROOM, ProducerRing, STANDARD_ENTRIES, STANDARD_ROOM } from './producer-ring.ts';
import { ReturnRing } from './return-ring.ts';
import type { StatusBlocks } from './status.ts';

const JUMBO_BUFFERS = 2 * JUMBO_ENTRIES;

export interface Tg3ReceiveMode extends ReceiveMode {
  /** Groups are being received by the hash, which takes more than those. */
  hashed: boolean;
  /** HASH_ bits: what RSS hashes. */
  hashTypes: number;
}

export class Receiver implements ReceiveBuffers {
  readonly mode: Tg3ReceiveMode = { checksums: false, vlanStrip: false, hashed: false, hashTypes: 0 };
  readonly queues: readonly ReturnRing[];
  /** Buffers that are the card's, by their place in the standard ring or, behind that, in the jumbo ring. */
  readonly slots: (PacketBuffer | null)[];
  readonly standard: ProducerRing;
  readonly jumbo: ProducerRing | null;
  /** Returned descriptors that named no buffer of ours: the card has used one, and nobody knows which. */
  unnamed = 0;
  readonly #chip: Chip;
  readonly #status: StatusBlocks;
  readonly #pool: PacketPool;
  readonly #descriptors: number;
  #jumboPool: PacketPool | null = null;

  constructor(chip: Chip, pool: PacketPool, status: StatusBlocks, descriptors: number, queues: number) {
    const { is577xx } = chip.variant;
    this.#chip = chip;
    this.#status = status;
    this.#pool = pool;
    this.#descriptors = descriptors;
    const slots = new Array<PacketBuffer | null>(STANDARD_ENTRIES + (is577xx ? JUMBO_ENTRIES : 0)).fill(null);
    this.slots = slots;
    this.standard = new ProducerRing(chip, pool, slots, {
      first: 0,
      entries: STANDARD_ENTRIES,
      bytes: RX_BD,
      mailbox: R.MBOX_STD_PROD.at,
    });
    this.jumbo = is577xx
      ? new ProducerRing(chip, pool, slots, {
          first: STANDARD_ENTRIES,
          entries: JUMBO_ENTRIES,
          bytes: RX_EXT_BD,
          mailbox: R.MBOX_JUMBO_PROD.at,
        })
      : null;
    this.queues = Array.from({ length: queues }, (_, index) => new ReturnRing(chip, this, status, index));
  }

  /** Where the rings are. The receiver must be off. */
  setUp(mtu: number): void {
    this.empty();
    this.#setUpStandard();
    this.#setUpJumbo(mtu);
    this.#setUpReturn();
  }

  #setUpStandard(): void {
    const chip = this.#chip;
    const { is577xx, replenish } = chip.variant;
    const ring = this.standard;
    ring.limit = this.#descriptors - 1;
    ring.describe(STANDARD_ROOM, RX_END);
    chip.write(R.RCVDBDI_STD_ADDR_HIGH, 0);
    chip.write(R.RCVDBDI_STD_ADDR_LOW, ring.memory.iova);
    // The 577xx is told the size of the buffers, too.
    chip.write(R.RCVDBDI_STD_LEN_FLAGS, { SIZE: STANDARD_ENTRIES, BUFFER: is577xx ? STANDARD_ROOM : 0 });
    chip.write(R.RCVDBDI_STD_NIC_ADDR, SRAM_STD_BDS);
    chip.write(R.RCVBDI_STD_THRESH, { BDS: Math.max(1, Math.min(ring.limit >> 3, replenish)) });
    if (is577xx) chip.write(R.STD_REPLENISH_LWM, 128);
  }

  #setUpJumbo(mtu: number): void {
    const chip = this.#chip;
    const ring = this.jumbo;
    if (ring === null) return;
    ring.limit = mtu > ETHERNET_MTU ? Math.min(this.#descriptors, JUMBO_ENTRIES) - 1 : 0;
    chip.write(R.RCVBDI_JUMBO_THRESH, { BDS: Math.max(1, ring.limit >> 3) });
    chip.write(R.JMB_REPLENISH_LWM, 64);
    if (ring.limit === 0) {
      chip.write(R.RCVDBDI_JUMBO_LEN_FLAGS, { DISABLED: 1 });
      return;
    }
    ring.pool = this.#longBuffers();
    ring.describe(JUMBO_ROOM, RX_END | RX_JUMBO);
    chip.write(R.RCVDBDI_JUMBO_ADDR_HIGH, 0);
    chip.write(R.RCVDBDI_JUMBO_ADDR_LOW, ring.memory.iova);
    chip.write(R.RCVDBDI_JUMBO_LEN_FLAGS, { SIZE: JUMBO_ENTRIES, USE_EXT: 1 });
    chip.write(R.RCVDBDI_JUMBO_NIC_ADDR, SRAM_JUMBO_BDS);
  }

  /** A jumbo descriptor has one buffer for the whole frame; where the pool's are smaller it has a pool of its own. */
  #longBuffers(): PacketPool {
    if (this.#pool.bufferSize - HEADROOM >= JUMBO_ROOM) return this.#pool;
    const bufferSize = Math.ceil((JUMBO_ROOM + HEADROOM) / 64) * 64;
    this.#jumboPool ??= new PacketPool(this.#chip.device.dma, { bufferSize, limit: JUMBO_BUFFERS, chunk: 64 });
    return this.#jumboPool;
  }

  #setUpReturn(): void {
    const chip = this.#chip;
    for (const [index, ring] of this.queues.entries()) {
      const at = SRAM_RET_RCB + index * RCB;
      chip.writeSram(at, 0);
      chip.writeSram(at + 4, ring.memory.iova);
      chip.writeSram(at + 8, ring.size << 16);
      chip.writeSram(at + 12, 0);
      ring.setUp();
    }
    for (let index = this.queues.length; index < chip.variant.maxQueues; index++) {
      chip.writeSram(SRAM_RET_RCB + index * RCB + 8, RCB_DISABLED);
    }
  }

  /** Descriptors that may have a buffer, and one that never has. */
  get size(): number {
    return this.standard.limit + 1 + (this.jumbo === null || this.jumbo.limit === 0 ? 0 : this.jumbo.limit + 1);
  }

  get used(): number {
    return this.standard.used + (this.jumbo?.used ?? 0);
  }

  get starved(): boolean {
    return this.standard.starved || (this.jumbo?.starved ?? false);
  }

  get stuck(): boolean {
    const lost = this.unnamed > this.standard.limit >> 1 || this.standard.blocked || (this.jumbo?.blocked ?? false);
    return lost && !this.queues.some(({ ready }) => ready);
  }

  fill(): void {
    this.standard.fill();
    this.jumbo?.fill();
  }

  refill(): void {
    this.standard.refill();
    this.jumbo?.refill();
  }

  empty(): void {
    this.standard.empty();
    this.jumbo?.empty();
    for (const ring of this.queues) ring.empty();
    this.unnamed = 0;
    this.#status.forget();
  }

  close(): void {
    this.empty();
    this.standard.close();
    this.jumbo?.close();
    for (const ring of this.queues) ring.close();
    this.#jumboPool?.close();
    this.#jumboPool = null;
  }
}
