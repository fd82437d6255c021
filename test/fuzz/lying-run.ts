/** One card that lies for a while, as a seed has it; what drives it, and what its frames are joined to. */
import { setImmediate as turn } from 'node:timers/promises';
import { runClock, runFor } from '../../drivers/backends/clock-steps.ts';
import { openSim } from '../../drivers/backends/sim.ts';
import { DeviceError, type InterruptMode } from '../../drivers/device.ts';
import { createE1000 } from '../../drivers/e1000/e1000.ts';
import type { NetDriver } from '../../drivers/net-driver.ts';
import { createTg3 } from '../../drivers/tg3/tg3.ts';
import { Clock, MILLISECOND, SECOND } from '../../sim/clock.ts';
import { E1000 } from '../../sim/e1000/i82540em.ts';
import { Tg3 } from '../../sim/tg3/bcm57xx.ts';
import type { ChipName } from '../../sim/tg3/chips.ts';
import { HostPort, Link } from '../../sim/wire/index.ts';
import { Prng } from '../../sim/wire/prng.ts';
import { JOINTS, type Joint } from './joints.ts';
import { LyingCard } from './lying-card.ts';

const MAC = Uint8Array.of(0x02, 0, 0, 0, 0, 1);
const CHIPS: readonly (ChipName | 'e1000')[] = ['e1000', 'e1000', 'tg3', 'tg3-57765', 'tg3-5721', 'tg3-5751'];
const MODES: readonly InterruptMode[][] = [['msix', 'msi', 'intx'], ['msi', 'intx'], ['intx']];
/** Of the card's own time, by when frames must pass again. */
const PATIENCE = 60 * SECOND;
/** Frames in a row that show it. */
const ENOUGH = 20;

export class Run {
  readonly #random: Prng;
  readonly #clock = new Clock();
  readonly #link = new Link(this.#clock);
  readonly #peer = new HostPort('peer', { onFrame: () => void this.#sent++ });
  readonly #chip: ChipName | 'e1000';
  readonly #jointName: string;
  readonly #card: LyingCard;
  #failure: unknown = null;
  #sent = 0; // frames that the peer got

  constructor(seed: number) {
    this.#random = new Prng(seed);
    this.#chip = this.#pick(CHIPS);
    this.#jointName = this.#pick(Object.keys(JOINTS));
    this.#card = this.#makeCard();
  }

  get name(): string {
    return `${this.#chip}, ${this.#jointName}`;
  }

  async go(): Promise<void> {
    const card = this.#card;
    await this.#lieFromTheFirst();
    const driver = await this.#driver();
    await runClock(this.#clock, driver.start());
    await runFor(this.#clock, SECOND);
    let joint = this.#join(driver);
    const likely = this.#pick([0, 0, 0.001, 0.2]);
    for (let step = 20 + this.#random.below(40); step > 0; step--) {
      card.lies.registers = likely;
      await this.#lie(driver, joint);
    }
    card.lies.registers = 0;
    card.lies.gone = false;
    this.#link.connect();
    if (driver.failure !== null || this.#failure !== null) joint = await this.#restart(driver, joint);
    await this.#mustFlow(driver, joint);
    joint.close();
    await runClock(this.#clock, driver.stop());
    joint.release?.();
    same('buffers free of all', driver.pool.available, driver.pool.size);
    await runClock(this.#clock, driver.close());
    same('bytes of DMA memory left', card.dma.used, 0);
    card.close();
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#random.below(from.length)]!;
  }

  #makeCard(): LyingCard {
    const chip = this.#chip;
    const device = openSim(
      (host) => {
        const model = chip === 'e1000' ? new E1000(host, { mac: MAC }) : new Tg3(host, { chip, mac: MAC });
        this.#link.plug(model.port);
        return model;
      },
      { name: `sim:${chip}`, clock: this.#clock, dmaBytes: 32 << 20 },
    );
    this.#link.plug(this.#peer);
    return new LyingCard(device, this.#random);
  }

  #driver(): Promise<NetDriver> {
    const options = {
      interrupts: this.#pick(MODES),
      rxDescriptors: this.#pick([80, 512]),
      txDescriptors: this.#pick([80, 512]),
      buffers: this.#pick([600, 2048]),
    };
    if (this.#chip === 'e1000') {
      const bufferSize = this.#jointName === 'tap' ? 2112 : this.#pick([2112, 576]); // a TAP wants a frame whole
      return runClock(this.#clock, createE1000(this.#card, { ...options, bufferSize }));
    }
    const queues = this.#chip === 'tg3' || this.#chip === 'tg3-57765' ? this.#pick([1, 4]) : 1;
    return runClock(this.#clock, createTg3(this.#card, { ...options, queues }));
  }

  /** Bring-up on a card that lies: it is driven, or it is not. */
  async #lieFromTheFirst(): Promise<void> {
    this.#card.lies.registers = this.#pick([0.0005, 0.01, 0.5]);
    let driver: NetDriver | null = null;
    try {
      driver = await this.#driver();
      await runClock(this.#clock, driver.start());
    } catch (error) {
      known(error);
    }
    this.#card.lies.registers = 0;
    if (driver !== null) await runClock(this.#clock, driver.close()).catch(known);
    same('bytes of DMA memory left after bring-up', this.#card.dma.used, 0);
  }

  #join(driver: NetDriver): Joint {
    const { dma } = this.#card;
    const clock = this.#clock;
    const failed = (error: unknown) => {
      known(error);
      this.#failure = error;
    };
    this.#failure = null;
    return JOINTS[this.#jointName]!({ driver, dma, clock, failed });
  }

  async #lie(driver: NetDriver, joint: Joint): Promise<void> {
    const random = this.#random;
    const card = this.#card;
    const acts: (() => unknown)[] = [
      () => card.scribble(),
      () => card.scribble(),
      () => card.scribble(),
      () => card.interrupt(),
      () => this.#link.disconnect(),
      () => this.#link.connect(),
      () => void driver.checkLink().catch(known),
      () => driver.statistics(),
      () => runFor(this.#clock, random.chance(0.2) ? 5 * SECOND : random.below(300) * MILLISECOND),
    ];
    if (random.chance(0.002)) card.lies.gone = true;
    try {
      await this.#pick(acts)();
    } catch (error) {
      known(error);
    }
    await this.#traffic(joint, random.below(30), 60 + random.below(1400));
  }

  /** Frames both ways, and the time they take. */
  async #traffic(joint: Joint, count: number, length: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      this.#peer.send(frame(length));
      joint.send(frame(60));
    }
    await runFor(this.#clock, MILLISECOND);
    await turn();
    joint.received();
  }

  async #restart(driver: NetDriver, joint: Joint): Promise<Joint> {
    joint.close();
    await runClock(this.#clock, driver.stop()).catch(known);
    joint.release?.();
    await runClock(this.#clock, driver.start());
    return this.#join(driver);
  }

  async #mustFlow(driver: NetDriver, joint: Joint): Promise<void> {
    const end = this.#clock.now + PATIENCE;
    let inARow = 0;
    while (inARow < ENOUGH) {
      const [received, sent] = [joint.received(), this.#sent];
      await this.#traffic(joint, 1, 60);
      await runFor(this.#clock, 20 * MILLISECOND);
      await turn();
      const flows = joint.received() > received && this.#sent > sent;
      inARow = flows ? inARow + 1 : 0;
      if (this.#clock.now < end && driver.failure === null) continue;
      const { failure, link, rings } = driver;
      const state = { failure, link, rings, received: joint.received() > received, sent: this.#sent > sent };
      throw new Error(`no frames pass: ${JSON.stringify({ ...state, statistics: driver.statistics() })}`);
    }
  }
}

/** UDP from the peer to the card: what an echo answers. */
function frame(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  bytes.set([...MAC, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, (length - 14) >> 8, (length - 14) & 0xff, 0, 0, 0, 0, 64, 17]);
  bytes.set([10, 0, 0, 2, 10, 0, 0, 1, 0x12, 0x34, 0x56, 0x78, (length - 34) >> 8, (length - 34) & 0xff], 26);
  return bytes;
}

function known(error: unknown): void {
  if (!(error instanceof DeviceError)) throw error;
}

function same(what: string, found: number, wanted: number): void {
  if (found !== wanted) throw new Error(`${what}: ${found}, not ${wanted}`);
}
