/**
 * What every driver of ours does alike, whatever the card: its life from start to stop or failure, work and who waits for
 * it, the link's state, the watchdog, what a caller may ask for. A driver of a card fills in the rest.
 */
import { DeviceError, type InterruptMode, type PciDevice } from './device.ts';
import type { Filters } from './filters.ts';
import {
  FEATURE_JUMBO,
  type LinkState,
  type NetDevice,
  type NetDeviceOptions,
  type NetEvent,
  type NetStatistics,
  type TransmitLimits,
} from './netdev.ts';
import { FRAME_BUFFER, type PacketBuffer, PacketPool } from './packet.ts';
import { wrongAddress } from './station-address.ts';

export interface NetDriverOptions extends NetDeviceOptions {
  /** Interrupt modes to try, the best first. */
  readonly interrupts?: readonly InterruptMode[];
  /** Packet buffers in the pool at most. */
  readonly buffers?: number;
  /** Bytes of a packet buffer, headroom included. */
  readonly bufferSize?: number;
  /** Drive a card whose NVM does not add up; its address may be anything. */
  readonly ignoreNvmChecksum?: boolean;
  /** Hears the steps of bring-up, and what becomes of the link: one line each. */
  readonly log?: (line: string) => void;
}

/** What a card's receive side shows: one ring or several. */
export interface ReceiveSide {
  readonly size: number;
  /** Descriptors with a buffer. */
  readonly used: number;
  /** Whether something is waiting. */
  readonly ready: boolean;
  /** The pool had no buffers when some were due: nothing will arrive to try again for, so somebody must. */
  readonly starved: boolean;
  /** Driver and card are out of step: by what it tells, the card waits for buffers that the driver believes it has. */
  readonly stuck: boolean;
  /** Frames handed up. */
  readonly packets: number;
  resetCounts(): void;
  receive(into: PacketBuffer[], limit: number): number;
  /** Gives the card the buffers it lacks. */
  fill(): void;
  /** Every buffer back to the pool. The card must be quiet. */
  empty(): void;
  close(): void;
}

export interface TransmitSide {
  readonly limits: TransmitLimits;
  readonly size: number;
  /** Descriptors in use. */
  readonly used: number;
  /** Whether the card has reported something that `reclaim` would free. */
  readonly ready: boolean;
  /** Packets whose buffers went back. */
  readonly completed: number;
  /** Of what was not sent; `completed` goes on. */
  resetCounts(): void;
  transmit(from: PacketBuffer[], first: number, count: number): number;
  reclaim(): number;
  /** Frees every buffer, sent or not. The card must be quiet. */
  empty(): void;
  close(): void;
}

/** How many descriptors a ring may have, either way: a multiple of 8. */
export interface RingBounds {
  readonly least: number;
  readonly most: number;
}

/** The chip's own counters, kept beyond its registers. */
export interface ChipCounters {
  /** Reads every register into the sums. */
  accumulate(): void;
  reset(): void;
  all(): Record<string, number>;
}

export interface CardAbilities {
  /** The driver and what it found: "e1000 82540EM". */
  readonly model: string;
  /** FEATURE_ bits. */
  readonly features: number;
  /** With header and CRC, where FEATURE_JUMBO is on. */
  readonly longestFrame: number;
}

export const MILLISECOND = 1_000_000;
const WATCHDOG = 2000 * MILLISECOND;
/** Watchdog periods in which the transmitter does not move, or the receiver is stuck, before it counts as hung. */
const HANG_PERIODS = 2;
/** Where the pool ran dry and no interrupt will come, buffers are asked for this often. */
const STARVED_RETRY = 10 * MILLISECOND;
/** Looks, a millisecond apart, in which nothing is sent before what is queued is given up. */
const DRAIN_LOOKS = 10;
export const ETHERNET_MTU = 1500;
const MIN_MTU = 68; // RFC 791
export const FRAME_OVERHEAD = 18; // header and CRC
export const DOWN: LinkState = { up: false, speed: 0, fullDuplex: false, rxPause: false, txPause: false };

export abstract class NetDriver implements NetDevice {
  readonly model: string;
  readonly pool: PacketPool;
  /** Why the driver gave up, once it has: the card went away. receive, transmit and reclaim then throw it. */
  failure: DeviceError | null = null;
  protected readonly device: PciDevice;
  protected abstract readonly rx: ReceiveSide;
  protected abstract readonly tx: TransmitSide;
  protected abstract readonly filters: Filters;
  protected abstract readonly interrupts: { count: number };
  protected abstract readonly counters: ChipCounters;
  /** The rings are the card's. */
  protected ready = false;
  protected readonly counts = { txHangs: 0, rxHangs: 0, resets: 0 };
  protected readonly log: (line: string) => void;
  readonly #longestFrame: number;
  readonly #listeners: Record<NetEvent, (() => void)[]> = { link: [], reset: [] };
  /** One object until they change: it is asked for at every packet. */
  #features: { readonly available: number; readonly enabled: number };
  #mtu: number;
  #link: LinkState = DOWN;
  #running = false; // between start and stop
  #closed = false;
  #work: (() => void) | null = null;
  #waiters: ((work: boolean) => void)[] = [];
  #packetsAtInterrupt = 0;
  #draining = false; // nothing is sent any more, in order to reset the card
  #checkingLink = false;
  #checkLinkAgain = false;
  #linkChecked: Promise<void> = Promise.resolve();
  #watchdog: { stop(): void } | null = null;
  #starvedRetry: { stop(): void } | null = null;
  #lastProgress = -1;
  #stuckPeriods = 0;
  #receiveStuckPeriods = 0;
  #turn: Promise<void> = Promise.resolve(); // start, stop, reset: one after the other

  constructor(device: PciDevice, { model, features, longestFrame }: CardAbilities, options: NetDriverOptions) {
    const { mtu = ETHERNET_MTU, bufferSize = FRAME_BUFFER, buffers = 8192 } = options;
    this.device = device;
    this.model = model;
    this.log = options.log ?? (() => {});
    this.#longestFrame = longestFrame;
    this.#features = { available: features, enabled: this.resolveFeatures((options.features ?? features) & features) };
    this.#checkMtu(mtu);
    this.#mtu = mtu;
    this.pool = new PacketPool(device.dma, { bufferSize, limit: buffers, chunk: Math.min(512, buffers) });
  }

  // ---- The card -----------------------------------------------------------------------------------------------------

  /** Whether the card has gone: its registers read as all ones. */
  protected abstract get gone(): boolean;
  /** From reset to a card that carries frames as soon as its link is up. */
  protected abstract bringUp(): Promise<void>;
  /** No interrupt and no DMA any more; resolves once the card is quiet. */
  protected abstract quiesce(): Promise<void>;
  protected abstract readLink(): Promise<LinkState>;
  /** The link is up, or has changed: what of it the card must be told. */
  protected abstract applyLink(link: LinkState): void;
  /** Work may interrupt. `packets` were dealt with since the last time. */
  protected abstract arm(packets: number): void;
  protected abstract disarm(): void;
  /** Makes the card interrupt for work. */
  protected abstract provoke(): void;
  /** Something that changes as long as the card sends; null where it is held back, as by PAUSE. */
  protected abstract get sendProgress(): number | null;
  /** Tells the card of the MTU, as far as it is ready; false where it must be reset for it. */
  protected abstract applyMtu(): boolean;
  protected abstract applyFeatures(): void;
  /** What is wanted, less what lacks something it rests on. */
  protected abstract resolveFeatures(wanted: number): number;
  /** The filters' modes, and whatever else has a say in what is received. */
  protected abstract applyReceiveMode(): void;
  abstract statistics(): NetStatistics;

  protected goneError(): DeviceError {
    return goneError(this.device);
  }

  // ---- Life ---------------------------------------------------------------------------------------------------------

  start(): Promise<void> {
    return this.#exclusive(async () => {
      if (this.#closed) throw new DeviceError('CLOSED', `${this.model} is closed: create the driver again`);
      if (this.#running) return;
      this.failure = null;
      try {
        await this.#comeUp();
      } catch (error) {
        this.#letGo();
        this.#takeRingsBack();
        throw error;
      }
      this.#running = true;
      this.#watchdog = this.device.time.every(WATCHDOG, () => this.guard(() => this.#watch()));
    });
  }

  async #comeUp(): Promise<void> {
    this.device.enable({ memory: true, busMaster: true });
    await this.bringUp();
    this.ready = true;
    if (this.#wantsWork) this.rearm();
    this.linkMayHaveChanged();
  }

  stop(): Promise<void> {
    return this.#exclusive(async () => {
      if (!this.#running) return;
      this.#running = false;
      this.#stopTimers();
      try {
        await this.#goDown();
      } catch (error) {
        this.#letGo();
        throw error;
      } finally {
        this.#takeRingsBack();
        this.#setLink(DOWN);
        this.#wake(false);
      }
    });
  }

  /** A card that is gone sends no interrupt and reaches no memory. */
  async #goDown(): Promise<void> {
    this.ready = false;
    if (this.failure !== null) return;
    if (this.gone) {
      this.failure = this.goneError();
      return;
    }
    this.counters.accumulate();
    await this.quiesce();
    this.device.enable({ busMaster: false });
  }

  /** Where the card cannot be asked to stop, it is kept from memory: buffers are about to go back to the pool. */
  #letGo(): void {
    this.ready = false;
    try {
      this.device.enable({ busMaster: false });
      this.device.interrupts.disable();
    } catch {
      // closed, or gone: it reaches no memory either
    }
  }

  #takeRingsBack(): void {
    this.tx.reclaim();
    this.tx.empty();
    this.rx.empty();
  }

  /** Stops, and gives the rings' and the pool's memory back. The device itself is its opener's to close. */
  async close(): Promise<void> {
    try {
      await this.stop();
    } finally {
      if (!this.#closed) {
        this.#closed = true;
        this.release();
      }
    }
  }

  /** Memory back, for good. */
  protected release(): void {
    this.rx.close();
    this.tx.close();
    this.pool.close();
  }

  #stopTimers(): void {
    this.#watchdog?.stop();
    this.#watchdog = null;
    this.#starvedRetry?.stop();
    this.#starvedRetry = null;
  }

  #exclusive(action: () => Promise<void>): Promise<void> {
    const mine = this.#turn.then(action);
    this.#turn = mine.catch(() => {});
    return mine;
  }

  // ---- Packets ------------------------------------------------------------------------------------------------------

  receive(into: PacketBuffer[], limit: number): number {
    if (!this.ready) return this.#notReady();
    return this.rx.receive(into, limit);
  }

  transmit(from: PacketBuffer[], first: number, count: number): number {
    if (!this.ready || this.#draining) return this.#notReady();
    return this.tx.transmit(from, first, count);
  }

  reclaim(): number {
    if (!this.ready) return this.#notReady();
    return this.tx.reclaim();
  }

  /** Stopped or resetting: nothing moves. Gone: says so. */
  #notReady(): 0 {
    if (this.failure !== null) throw this.failure;
    return 0;
  }

  get limits(): TransmitLimits {
    return this.tx.limits;
  }

  get rings(): { rx: { size: number; used: number }; tx: { size: number; used: number } } {
    const { rx, tx } = this;
    return { rx: { size: rx.size, used: rx.used }, tx: { size: tx.size, used: tx.used } };
  }

  // ---- Interrupts and work ------------------------------------------------------------------------------------------

  onWork(work: (() => void) | null): void {
    this.#work = work;
    if (!this.ready) return;
    if (this.#wantsWork) this.rearm();
    else this.disarm();
  }

  get #wantsWork(): boolean {
    return this.#work !== null || this.#waiters.length > 0;
  }

  rearm(): void {
    if (!this.ready) return;
    const packets = this.rx.packets + this.tx.completed;
    this.arm(packets - this.#packetsAtInterrupt);
    this.#packetsAtInterrupt = packets;
    // Looked at only now: what comes after interrupts, what came before is seen here.
    if (this.rx.ready || this.tx.ready) this.provoke();
    if (this.rx.starved) this.#retryStarved();
  }

  /** For the card's interrupt: there may be work. */
  protected workArrived(): void {
    this.#wake(true);
    this.#work?.();
  }

  /**
   * Waits until there may be work: 0 looks and returns, a negative time waits for ever, any other at most so many
   * milliseconds. False where there is none; or where the driver stopped.
   */
  waitForWork(timeoutMs: number): Promise<boolean> {
    if (this.rx.ready || this.tx.ready) return Promise.resolve(true);
    if (timeoutMs === 0 || !this.ready) return Promise.resolve(false);
    return new Promise((resolve) => {
      let timer: { stop(): void } | null = null;
      const waiter = (work: boolean) => {
        timer?.stop();
        resolve(work);
      };
      const expire = () => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
        waiter(false);
      };
      if (timeoutMs > 0) timer = this.device.time.every(timeoutMs * MILLISECOND, expire);
      this.#waiters.push(waiter);
      this.rearm();
    });
  }

  #wake(work: boolean): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter(work);
  }

  /** An empty ring receives nothing, so nothing interrupts: until buffers are back somebody has to ask. */
  #retryStarved(): void {
    this.#starvedRetry ??= this.device.time.every(STARVED_RETRY, () => {
      if (this.ready) this.guard(() => this.rx.fill());
      if (this.ready && this.rx.starved) return;
      this.#starvedRetry?.stop();
      this.#starvedRetry = null;
    });
  }

  // ---- Link ---------------------------------------------------------------------------------------------------------

  get link(): LinkState {
    return this.#link;
  }

  on(event: NetEvent, listener: () => void): void {
    this.#listeners[event].push(listener);
  }

  #emit(event: NetEvent): void {
    for (const listener of this.#listeners[event]) listener();
  }

  /** For the card's interrupt, and the watchdog's sake. */
  protected linkMayHaveChanged(): void {
    this.#checkLinkAgain = true;
    if (!this.#checkingLink) this.#linkChecked = this.#checkLink().catch((error: unknown) => this.fail(error));
  }

  async checkLink(): Promise<LinkState> {
    if (this.ready) this.linkMayHaveChanged();
    await this.#linkChecked;
    if (this.failure !== null) throw this.failure;
    return this.#link;
  }

  async #checkLink(): Promise<void> {
    this.#checkingLink = true;
    try {
      while (this.#checkLinkAgain && this.ready) {
        this.#checkLinkAgain = false;
        const link = await this.readLink();
        if (this.ready) this.#setLink(link);
      }
    } finally {
      this.#checkingLink = false;
    }
  }

  #setLink(link: LinkState): void {
    if (link === this.#link) return;
    this.#link = link;
    if (link.up && this.ready) this.applyLink(link);
    this.log(describeLink(link));
    this.#emit('link');
  }

  // ---- Watchdog -----------------------------------------------------------------------------------------------------

  #watch(): void {
    if (!this.ready) return;
    if (this.gone) {
      this.fail(this.goneError());
      return;
    }
    this.counters.accumulate();
    this.linkMayHaveChanged(); // in case its interrupt was lost
    if (this.rx.starved) this.#retryStarved();
    if (this.#transmitIsStuck()) void this.#recover('txHangs');
    else if (this.#receiveIsStuck()) void this.#recover('rxHangs');
  }

  /** Descriptors outstanding, and the card has not moved on since the last look although nothing holds it back. */
  #transmitIsStuck(): boolean {
    const progress = this.sendProgress;
    const moved = progress === null || progress !== this.#lastProgress;
    this.#lastProgress = progress ?? -1;
    this.tx.reclaim();
    if (moved || this.tx.used === 0) this.#stuckPeriods = 0;
    else this.#stuckPeriods++;
    return this.#stuckPeriods >= HANG_PERIODS;
  }

  #receiveIsStuck(): boolean {
    if (this.rx.stuck) this.#receiveStuckPeriods++;
    else this.#receiveStuckPeriods = 0;
    return this.#receiveStuckPeriods >= HANG_PERIODS;
  }

  /**
   * Reset, rings rebuilt, link negotiated anew; what had not been sent is lost, and counted. Without link it is no hang:
   * what was queued for a link that is gone would only be sent, stale, into the next one.
   */
  #recover(hang: 'txHangs' | 'rxHangs'): Promise<void> {
    this.#stuckPeriods = 0;
    this.#receiveStuckPeriods = 0;
    if (this.#link.up) this.counts[hang]++;
    this.counts.resets++;
    return this.#restart().catch((error: unknown) => this.fail(error));
  }

  #restart(): Promise<void> {
    return this.#exclusive(() => this.#reset());
  }

  async #reset(): Promise<void> {
    if (!this.#running || this.failure !== null) return;
    this.log('resetting the card');
    await this.#goDown();
    this.#takeRingsBack();
    this.#setLink(DOWN);
    if (this.failure !== null) throw this.failure;
    await this.#comeUp();
    this.#emit('reset');
  }

  /** Until what is queued has left, as long as it goes on leaving, and what has arrived was taken. Nothing new is sent. */
  async #drain(): Promise<void> {
    this.#draining = true;
    try {
      let sent = this.tx.completed;
      for (let looks = 0; looks < DRAIN_LOOKS && this.ready && this.#link.up; looks++) {
        await this.device.time.delay(MILLISECOND); // first: the card tells with a delay
        this.tx.reclaim();
        if (this.tx.used === 0 && !this.rx.ready) return;
        if (this.tx.completed !== sent) looks = 0;
        sent = this.tx.completed;
      }
    } finally {
      this.#draining = false;
    }
  }

  /** For timers: nobody called that could catch what an access to a card throws that is not reached any more. */
  protected guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      this.fail(error);
    }
  }

  /** The end: nothing more is asked of the card. */
  protected fail(error: unknown): void {
    if (this.failure !== null || !this.#running) return;
    this.failure = error instanceof DeviceError ? error : new DeviceError('FAILED', String(error));
    this.#letGo();
    this.#stopTimers();
    this.#setLink(DOWN);
    this.#wake(false);
    this.#work?.(); // so that a caller that waits calls receive, and learns of it
  }

  // ---- Settings -----------------------------------------------------------------------------------------------------

  get mac(): Uint8Array {
    return this.filters.mac.slice();
  }

  setMac(mac: Uint8Array): void {
    checkStationAddress(mac);
    this.filters.mac.set(mac);
    if (this.ready) this.filters.applyMac();
  }

  setPromiscuous(on: boolean): void {
    this.filters.promiscuous = on;
    if (this.ready) this.applyReceiveMode();
  }

  setAllMulticast(on: boolean): void {
    this.filters.allMulticast = on;
    if (this.ready) this.applyReceiveMode();
  }

  setMulticast(addresses: readonly Uint8Array[]): void {
    checkMulticast(addresses);
    this.filters.multicast = addresses.map((address) => address.slice());
    if (this.ready) this.applyMulticast();
  }

  addVlan(id: number): void {
    checkVlan(id);
    this.filters.vlans.add(id);
    this.#applyVlan(id);
  }

  removeVlan(id: number): void {
    checkVlan(id);
    this.filters.vlans.delete(id);
    this.#applyVlan(id);
  }

  protected applyMulticast(): void {
    this.filters.applyMulticast();
  }

  #applyVlan(id: number): void {
    if (!this.ready) return;
    this.filters.applyVlan(id);
    this.applyReceiveMode();
  }

  get mtu(): number {
    return this.#mtu;
  }

  /** Where a running card is to be reset for it, it sends first what is queued. */
  async setMtu(mtu: number): Promise<void> {
    this.#checkMtu(mtu);
    await this.#exclusive(async () => {
      if (mtu === this.#mtu) return;
      this.#mtu = mtu;
      if (this.applyMtu() || !this.#running) return;
      await this.#drain();
      await this.#reset();
    });
  }

  #checkMtu(mtu: number): void {
    const jumbo = this.has(FEATURE_JUMBO);
    const most = jumbo ? this.#longestFrame - FRAME_OVERHEAD : ETHERNET_MTU;
    if (Number.isInteger(mtu) && mtu >= MIN_MTU && mtu <= most) return;
    throw new DeviceError('INVALID', `an MTU of ${mtu}: ${this.model} takes ${MIN_MTU} to ${most}`);
  }

  get features(): { readonly available: number; readonly enabled: number } {
    return this.#features;
  }

  /** The link stays up; frames on their way through the card may still be treated the old way. */
  setFeatures(enabled: number): Promise<void> {
    return this.#exclusive(async () => {
      const { available } = this.#features;
      const features = this.resolveFeatures(enabled & available);
      if ((features & FEATURE_JUMBO) === 0 && this.#mtu > ETHERNET_MTU) {
        throw new DeviceError('INVALID', `jumbo frames are in use: set the MTU to ${ETHERNET_MTU} or less first`);
      }
      this.#features = { available, enabled: features };
      this.applyFeatures();
    });
  }

  protected has(feature: number): boolean {
    return (this.#features.enabled & feature) !== 0;
  }

  // ---- Statistics ---------------------------------------------------------------------------------------------------

  /** What the chip has counted since. Of a card that is gone the last counts stand, and its failure is noticed. */
  protected count(): void {
    if (this.ready) this.guard(() => this.counters.accumulate());
  }

  /** The chip's own counters, by the names of its datasheet or of Linux. */
  chipStatistics(): Record<string, number> {
    this.count();
    return this.counters.all();
  }

  resetStatistics(): void {
    this.count();
    this.counters.reset();
    this.interrupts.count = 0;
    this.rx.resetCounts();
    this.tx.resetCounts();
    this.counts.txHangs = 0;
    this.counts.rxHangs = 0;
    this.counts.resets = 0;
    this.#packetsAtInterrupt = this.rx.packets + this.tx.completed;
  }
}

/** As the log has it. */
export function describeLink({ up, speed, fullDuplex, rxPause, txPause }: LinkState): string {
  if (!up) return 'no link';
  const duplex = fullDuplex ? 'full' : 'half';
  return `link negotiated: ${duplex} duplex, ${speed} Mbit/s, txpause ${txPause ? 'on' : 'off'}, rxpause ${rxPause ? 'on' : 'off'}`;
}

export function goneError(device: PciDevice): DeviceError {
  return new DeviceError(
    'FAILED',
    `${device.name} no longer answers (its registers read as all ones): check that the card is there and enabled`,
  );
}

/**
 * Whether a ring of `size` descriptors is within a driver's bounds.
 * @throws DeviceError 'INVALID'
 */
export function checkRing(what: string, size: number, { least, most }: RingBounds): void {
  if (Number.isInteger(size) && size >= least && size <= most && size % 8 === 0) return;
  throw new DeviceError('INVALID', `${what} ${size}: give a multiple of 8 from ${least} to ${most}`);
}

/** @throws DeviceError 'INVALID' */
function checkStationAddress(mac: Uint8Array): void {
  if (mac.length === 6 && wrongAddress(mac) === null) return;
  throw new DeviceError('INVALID', 'a station address is six bytes, not a multicast address and not all zeros');
}

/** @throws DeviceError 'INVALID' */
function checkMulticast(addresses: readonly Uint8Array[]): void {
  if (addresses.every((address) => address.length === 6 && (address[0]! & 1) !== 0)) return;
  throw new DeviceError('INVALID', 'a multicast address is six bytes, the first one odd');
}

/** @throws DeviceError 'INVALID' */
function checkVlan(id: number): void {
  if (Number.isInteger(id) && id >= 0 && id <= 4095) return;
  throw new DeviceError('INVALID', `a VLAN id of ${id}: 0 to 4095`);
}
