/**
 * What every driver does alike, whatever the card: its life (lifecycle.ts), queues and who waits for them (queues.ts), link
 * (link-monitor.ts), watchdog (watchdog.ts) and settings (settings.ts), put together as a netdev. A driver of a card fills in
 * the rest.
 */
import type { Abilities, Coalescing } from './abilities.ts';
import { DeviceError, type InterruptMode, MILLISECOND, type PciDevice } from './device.ts';
import type { Filters } from './filters.ts';
import { goneError, Lifecycle } from './lifecycle.ts';
import { DOWN, describeLink, LinkMonitor } from './link-monitor.ts';
import {
  FEATURE_RX_CHECKSUM,
  FEATURE_VLAN_STRIP,
  type LinkState,
  type NetDevice,
  type NetDeviceOptions,
  type NetEvent,
  type NetQueue,
  type NetStatistics,
  type RingUse,
  type TransmitLimits,
} from './netdev.ts';
import {
  FRAME_BUFFER,
  type PacketBuffer,
  PacketPool,
  RX_IP_CHECKSUM_BAD,
  RX_IP_CHECKSUM_GOOD,
  RX_L4_CHECKSUM_BAD,
  RX_L4_CHECKSUM_GOOD,
  RX_MULTICAST_MISS,
  RX_VLAN,
} from './packet.ts';
import { type QueueInterrupts, Queues, type ReceiveQueue, type TransmitQueue, useOf } from './queues.ts';
import { type Features, Settings } from './settings.ts';
import type { ChipCounters } from './statistics.ts';
import { type Hang, Watchdog } from './watchdog.ts';

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

/** The receive buffers of a card, whatever queues they come back by. */
export interface ReceiveBuffers extends RingUse {
  /** The pool had no buffers when some were due: nothing will arrive to try again for, so somebody must. */
  readonly starved: boolean;
  /** Driver and card are out of step: by what it tells, the card waits for buffers that the driver believes it has. */
  readonly stuck: boolean;
  /** Gives the card the buffers it lacks. */
  fill(): void;
  /** Every buffer back to the pool. The card must be quiet. */
  empty(): void;
  close(): void;
}

export interface CardInterrupts extends QueueInterrupts {
  /** Interrupts that were the card's. */
  count: number;
  readonly coalescing: Coalescing;
}

/** How many descriptors a ring may have, either way: a multiple of 8. */
export interface RingBounds {
  readonly least: number;
  readonly most: number;
}

export interface CardAbilities {
  /** The driver and what it found: "e1000 82540EM". */
  readonly model: string;
  /** FEATURE_ bits. */
  readonly features: number;
  /** With header and CRC, where FEATURE_JUMBO is on. */
  readonly longestFrame: number;
}

/** What the card looks at as it receives, by the features that have it do so. */
const CHECKSUM_FLAGS = RX_IP_CHECKSUM_GOOD | RX_IP_CHECKSUM_BAD | RX_L4_CHECKSUM_GOOD | RX_L4_CHECKSUM_BAD;

/** Looks, a millisecond apart, in which nothing is sent before what is queued is given up. */
const DRAIN_LOOKS = 10;

export abstract class NetDriver implements NetDevice {
  readonly model: string;
  readonly pool: PacketPool;
  protected readonly device: PciDevice;
  protected abstract readonly rx: ReceiveBuffers;
  protected abstract readonly tx: TransmitQueue;
  protected abstract readonly filters: Filters;
  protected abstract readonly interrupts: CardInterrupts;
  protected abstract readonly counters: ChipCounters;
  readonly #counts = { txHangs: 0, rxHangs: 0, resets: 0 };
  protected readonly log: (line: string) => void;
  readonly #listeners: Record<NetEvent, (() => void)[]> = { link: [], reset: [] };
  readonly #life: Lifecycle;
  readonly #queues: Queues;
  readonly #link: LinkMonitor;
  readonly #watchdog: Watchdog;
  readonly #settings: Settings;

  constructor(device: PciDevice, abilities: CardAbilities, options: NetDriverOptions) {
    const { bufferSize = FRAME_BUFFER, buffers = 8192 } = options;
    this.device = device;
    this.model = abilities.model;
    this.log = options.log ?? (() => {});
    this.#life = this.#makeLifecycle();
    this.#watchdog = this.#makeWatchdog();
    this.#queues = new Queues(this.#life, device.time, () => this.#watchdog.retryStarved());
    this.#link = this.#makeLinkMonitor();
    this.#settings = new Settings(abilities, options, {
      filters: () => this.filters,
      ready: () => this.ready,
      applyReceiveMode: () => this.applyReceiveMode(),
      applyMulticast: () => this.applyMulticast(),
      applyFeatures: () => this.applyFeatures(),
      applyMtu: () => this.applyMtu(),
      resolveFeatures: (wanted) => this.resolveFeatures(wanted),
    });
    this.pool = new PacketPool(device.dma, { bufferSize, limit: buffers, chunk: Math.min(512, buffers) });
  }

  /** The card's queues, in their order. */
  protected addQueue(rx: ReceiveQueue, tx: TransmitQueue | null): void {
    this.#queues.add(rx, tx, this.interrupts);
  }

  // ---- The card -----------------------------------------------------------------------------------------------------

  /** Whether the card has gone: its registers read as all ones. */
  protected abstract get gone(): boolean;
  /** From reset to a card that carries frames as soon as its link is up. */
  protected abstract bringUp(): Promise<void>;
  /** No interrupt, nothing received or sent any more, once it resolves. Counters still tell. */
  protected abstract halt(): Promise<void>;
  /** The halted card's reset: no DMA any more. */
  protected abstract reset(): Promise<void>;
  protected abstract readLink(): Promise<LinkState>;
  /** The link is up, or has changed: what of it the card must be told. */
  protected abstract applyLink(link: LinkState): void;
  /** Something that changes as long as the card sends; null where it is held back, as by PAUSE. */
  protected abstract get sendProgress(): number | null;
  /** Tells the card of the MTU, as far as it is ready; false where it must be reset for it. */
  protected abstract applyMtu(): boolean;
  protected abstract applyFeatures(): void;
  /** What is wanted, less what lacks something it rests on. */
  protected abstract resolveFeatures(wanted: number): number;
  /** The filters' modes, and whatever else has a say in what is received. */
  protected abstract applyReceiveMode(): void;

  protected applyMulticast(): void {
    this.filters.applyMulticast();
  }

  /** Memory back, for good. */
  protected release(): void {
    this.rx.close();
    this.tx.close();
    this.pool.close();
  }

  // ---- Life ---------------------------------------------------------------------------------------------------------

  #makeLifecycle(): Lifecycle {
    return new Lifecycle(this.device, this.model, {
      gone: () => this.gone,
      bringUp: () => this.bringUp(),
      halt: () => this.halt(),
      readCounters: () => this.counters.accumulate(),
      reset: () => this.reset(),
      cameUp: () => {
        this.#queues.cameUp();
        this.#link.mayHaveChanged();
      },
      takeRingsBack: () => {
        this.tx.reclaim();
        this.tx.empty();
        this.rx.empty();
      },
      started: () => this.#watchdog.start(),
      stopping: () => this.#watchdog.stop(),
      wentDown: () => this.#link.set(DOWN),
      ended: (failed) => {
        this.#queues.wake(false);
        if (failed) this.#queues.failed();
      },
      release: () => this.release(),
    });
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  stop(): Promise<void> {
    return this.#life.stop();
  }

  /** Stops, and gives the rings' and the pool's memory back. The device itself is its opener's to close. */
  close(): Promise<void> {
    return this.#life.close();
  }

  /** Why the driver gave up, once it has: the card went away. receive, transmit and reclaim then throw it. */
  get failure(): DeviceError | null {
    return this.#life.failure;
  }

  /** The rings are the card's. */
  protected get ready(): boolean {
    return this.#life.ready;
  }

  protected fail(error: unknown): void {
    this.#life.fail(error);
  }

  protected guard(action: () => void): void {
    this.#life.guard(action);
  }

  /** For whoever has its turn (see Lifecycle.exclusive). */
  async #reset(): Promise<void> {
    if (!this.#life.running || this.failure !== null) return;
    this.log('resetting the card');
    await this.#life.reset();
    this.#emit('reset');
  }

  /** Until what is queued has left, as long as it goes on leaving, and what has arrived was taken. Nothing new is sent. */
  async #drain(): Promise<void> {
    this.#life.draining = true;
    try {
      let sent = this.tx.completed;
      for (let looks = 0; looks < DRAIN_LOOKS && this.ready && this.link.up; looks++) {
        await this.device.time.delay(MILLISECOND); // first: the card tells with a delay
        this.tx.reclaim();
        if (this.tx.used === 0 && !this.#queues.ready) return;
        if (this.tx.completed !== sent) looks = 0;
        sent = this.tx.completed;
      }
    } finally {
      this.#life.draining = false;
    }
  }

  // ---- Packets ------------------------------------------------------------------------------------------------------

  get queues(): readonly NetQueue[] {
    return this.#queues.all;
  }

  receive(into: PacketBuffer[], limit: number): number {
    return this.#queues.receive(into, limit);
  }

  transmit(from: PacketBuffer[], first: number, count: number): number {
    return this.#queues.transmit(from, first, count);
  }

  reclaim(): number {
    return this.#queues.reclaim();
  }

  get limits(): TransmitLimits {
    return this.tx.limits;
  }

  get rings(): { rx: RingUse; tx: RingUse } {
    return { rx: useOf(this.rx), tx: useOf(this.tx) };
  }

  onWork(work: (() => void) | null): void {
    this.#queues.onWork(work);
  }

  rearm(): void {
    this.#queues.rearm();
  }

  /** For the card's interrupt: there may be work on `queue`; without one, on any that may interrupt. */
  protected workArrived(queue?: number): void {
    this.#queues.arrived(queue);
  }

  /**
   * Waits until there may be work on queues that have no caller of their own: 0 looks and returns, a negative time waits for
   * ever, any other at most so many milliseconds. False where there is none; or where the driver stopped.
   */
  waitForWork(timeoutMs: number): Promise<boolean> {
    return this.#queues.wait(timeoutMs);
  }

  // ---- Link ---------------------------------------------------------------------------------------------------------

  #makeLinkMonitor(): LinkMonitor {
    return new LinkMonitor({
      ready: () => this.ready,
      read: () => this.readLink(),
      apply: (link) => this.applyLink(link),
      changed: (link) => {
        this.log(describeLink(link));
        this.#emit('link');
      },
      failed: (error) => this.fail(error),
    });
  }

  get link(): LinkState {
    return this.#link.state;
  }

  async checkLink(): Promise<LinkState> {
    await this.#link.check();
    if (this.failure !== null) throw this.failure;
    return this.link;
  }

  /** For the card's interrupt. */
  protected linkMayHaveChanged(): void {
    this.#link.mayHaveChanged();
  }

  on(event: NetEvent, listener: () => void): void {
    this.#listeners[event].push(listener);
  }

  #emit(event: NetEvent): void {
    for (const listener of this.#listeners[event]) listener();
  }

  // ---- Watchdog -----------------------------------------------------------------------------------------------------

  #makeWatchdog(): Watchdog {
    return new Watchdog(this.device.time, {
      ready: () => this.ready,
      guard: (action) => this.guard(action),
      lookAtCard: () => this.#lookAtCard(),
      sendProgress: () => this.sendProgress,
      outstanding: () => {
        this.tx.reclaim();
        return this.tx.used;
      },
      receiveStuck: () => this.rx.stuck,
      starved: () => this.rx.starved,
      fill: () => this.rx.fill(),
      recover: (hang) => this.#recover(hang),
    });
  }

  #lookAtCard(): void {
    if (this.gone) {
      this.fail(goneError(this.device));
      return;
    }
    this.counters.accumulate();
    this.#link.mayHaveChanged();
  }

  /**
   * Reset, rings rebuilt, link negotiated anew; what had not been sent is lost, and counted. Without link it is no hang:
   * what was queued for a link that is gone would only be sent, stale, into the next one.
   */
  #recover(hang: Hang): void {
    if (this.link.up) this.#counts[hang]++;
    this.#counts.resets++;
    this.#life.exclusive(() => this.#reset()).catch((error: unknown) => this.fail(error));
  }

  // ---- Settings -----------------------------------------------------------------------------------------------------

  get mac(): Uint8Array {
    return this.#settings.mac;
  }

  get mtu(): number {
    return this.#settings.mtu;
  }

  get features(): Features {
    return this.#settings.features;
  }

  get abilities(): Partial<Abilities> {
    return { coalescing: this.interrupts.coalescing };
  }

  get receiveFlags(): number {
    const checksums = this.has(FEATURE_RX_CHECKSUM) ? CHECKSUM_FLAGS : 0;
    return checksums | (this.has(FEATURE_VLAN_STRIP) ? RX_VLAN : 0) | RX_MULTICAST_MISS;
  }

  protected has(feature: number): boolean {
    return this.#settings.has(feature);
  }

  async setMac(mac: Uint8Array): Promise<void> {
    this.#settings.setMac(mac);
  }

  async setPromiscuous(on: boolean): Promise<void> {
    this.#settings.setPromiscuous(on);
  }

  async setAllMulticast(on: boolean): Promise<void> {
    this.#settings.setAllMulticast(on);
  }

  async setMulticast(addresses: readonly Uint8Array[]): Promise<void> {
    this.#settings.setMulticast(addresses);
  }

  async addVlan(id: number): Promise<void> {
    this.#settings.setVlan(id, true);
  }

  async removeVlan(id: number): Promise<void> {
    this.#settings.setVlan(id, false);
  }

  /** Where a running card is to be reset for it, it sends first what is queued. */
  setMtu(mtu: number): Promise<void> {
    return this.#life.exclusive(async () => {
      if (this.#settings.setMtu(mtu) || !this.#life.running) return;
      await this.#drain();
      await this.#reset();
    });
  }

  /** The link stays up; frames on their way through the card may still be treated the old way. */
  setFeatures(enabled: number): Promise<void> {
    return this.#life.exclusive(async () => this.#settings.setFeatures(enabled));
  }

  // ---- Statistics ---------------------------------------------------------------------------------------------------

  /** What the chip has counted since. Of a card that is gone the last counts stand, and its failure is noticed. */
  #count(): void {
    if (this.ready) this.guard(() => this.counters.accumulate());
  }

  /** What the driver counts itself, and what only the chip knows. */
  statistics(): NetStatistics {
    this.#count();
    const chip = this.counters.statistics();
    const own = this.#queues.statistics();
    return {
      ...this.#counts,
      ...chip,
      rxPackets: own.rxPackets,
      rxBytes: own.rxBytes,
      rxErrors: own.rxErrors + chip.rxErrors,
      txErrors: own.txErrors + chip.txErrors,
      rxNoBuffer: own.rxNoBuffer + chip.rxNoBuffer,
      interrupts: this.interrupts.count,
    };
  }

  /** The chip's own counters, by the names of its datasheet or of Linux. */
  chipStatistics(): Record<string, number> {
    this.#count();
    return this.counters.all();
  }

  resetStatistics(): void {
    this.#count();
    this.counters.reset();
    this.interrupts.count = 0;
    this.#counts.txHangs = 0;
    this.#counts.rxHangs = 0;
    this.#counts.resets = 0;
    this.#queues.resetStatistics();
  }
}

/**
 * Whether a ring of `size` descriptors is within a driver's bounds.
 * @throws DeviceError 'INVALID'
 */
export function checkRing(what: string, size: number, { least, most }: RingBounds): void {
  if (Number.isInteger(size) && size >= least && size <= most && size % 8 === 0) return;
  throw new DeviceError('INVALID', `${what} ${size}: give a multiple of 8 from ${least} to ${most}`);
}
