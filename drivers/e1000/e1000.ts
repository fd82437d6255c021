/**
 * The e1000 driver: Intel's 82540EM, 82545EM and 82574L as a netdev.
 *
 * Sections are those of Intel 317453, "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual";
 * the bring-up below follows its chapter 14.
 */
import { DeviceError, type InterruptMode, type PciDevice } from '../device.ts';
import {
  FEATURE_JUMBO,
  FEATURE_RX_CHECKSUM,
  FEATURE_TSO4,
  FEATURE_TSO6,
  FEATURE_TX_CHECKSUM,
  FEATURE_VLAN_FILTER,
  FEATURE_VLAN_INSERT,
  FEATURE_VLAN_STRIP,
  type LinkState,
  type NetDevice,
  type NetDeviceOptions,
  type NetEvent,
  type NetStatistics,
} from '../netdev.ts';
import { FRAME_BUFFER, HEADROOM, type PacketBuffer, PacketPool } from '../packet.ts';
import { Chip, R, R74 } from './chip.ts';
import { MAX_DESCRIPTORS, MIN_DESCRIPTORS } from './descriptors.ts';
import { Filters } from './filters.ts';
import { InterruptControl } from './interrupts.ts';
import { checkNvm, macOf, readNvm } from './nvm.ts';
import { negotiate, type Pause, readPause } from './phy.ts';
import { Receiver } from './receive.ts';
import { ChipStatistics } from './statistics.ts';
import { Transmitter } from './transmit.ts';
import { variantOf } from './variants.ts';

export { supports } from './variants.ts';

export interface E1000Options extends NetDeviceOptions {
  /** Interrupt modes to try, the best first. */
  readonly interrupts?: readonly InterruptMode[];
  /** Drive a card whose NVM does not add up; its address may be anything. */
  readonly ignoreNvmChecksum?: boolean;
  /** Packet buffers in the pool at most. */
  readonly buffers?: number;
  /** Bytes of a packet buffer, headroom included. A frame longer than one arrives as a chain. */
  readonly bufferSize?: number;
}

/** Reads the card's NVM and returns a driver that is not started yet. */
export async function createE1000(device: PciDevice, options: E1000Options = {}): Promise<E1000Driver> {
  const variant = variantOf(device.id);
  if (variant === undefined) {
    const id = [device.id.vendor, device.id.device].map((part) => part.toString(16).padStart(4, '0')).join(':');
    throw new DeviceError('UNSUPPORTED', `${device.name} is ${id}: the e1000 driver knows 8086:100e, 100f and 10d3`);
  }
  device.enable({ memory: true });
  const chip = new Chip(device, variant);
  if (chip.gone) throw chip.goneError();
  await resetChip(chip);
  const nvm = await readNvm(chip);
  if (options.ignoreNvmChecksum !== true) checkNvm(chip, nvm);
  return new E1000Driver(chip, macOf(nvm), options);
}

const SECOND = 1_000_000_000;
const MILLISECOND = 1_000_000;
const WATCHDOG = 2 * SECOND;
/** Watchdog periods in which TDH does not move before the transmitter counts as hung. */
const HANG_PERIODS = 2;
/** Where the pool ran dry and no interrupt will come, buffers are asked for this often. */
const STARVED_RETRY = 10 * MILLISECOND;
const ETHERNET_MTU = 1500;
const MIN_MTU = 68; // RFC 791
const FRAME_OVERHEAD = 18; // header and CRC
const DOWN: LinkState = { up: false, speed: 0, fullDuplex: false, rxPause: false, txPause: false };
const SPEEDS = [10, 100, 1000, 1000] as const; // STATUS.SPEED (13.4.2)

/** 14.3: software reset, until the chip has loaded its defaults from the NVM again. */
async function resetChip(chip: Chip): Promise<void> {
  const { CTRL, IMC, ICR, RCTL, TCTL } = R;
  chip.write(IMC, 0xffffffff);
  chip.write(RCTL, 0);
  chip.write(TCTL, TCTL.PSP);
  chip.flush();
  await chip.device.time.delay(10 * MILLISECOND); // what is being transferred now may finish
  chip.set(CTRL, CTRL.RST);
  await chip.device.time.delay(5 * MILLISECOND); // 13.4.1: the NVM takes up to 5 ms to load
  await chip.poll(CTRL, CTRL.RST, 0, 100 * MILLISECOND, 'resetting');
  if (chip.variant.is82574) {
    const { EECD } = R74;
    await chip.poll(EECD, EECD.AUTO_RD, EECD.AUTO_RD, 100 * MILLISECOND, 'loading defaults from the NVM');
    setRequiredBits(chip);
  }
  chip.write(IMC, 0xffffffff);
  chip.read(ICR);
}

/** Bits of the 82574L that its reset leaves wrong: Linux's e1000_initialize_hw_bits_82571. */
function setRequiredBits(chip: Chip): void {
  const { CTRL_EXT, GCR } = R74;
  chip.clear(R.CTRL, 1 << 29);
  chip.write(CTRL_EXT, (chip.read(CTRL_EXT) & ~CTRL_EXT.PHYPDEN_CLEAR) | CTRL_EXT.PHYPDEN_SET);
  chip.set(GCR, 1 << 22);
}

export class E1000Driver implements NetDevice {
  readonly model: string;
  readonly pool: PacketPool;
  /** Why the driver gave up, once it has: the card went away. receive, transmit and reclaim then throw it. */
  failure: DeviceError | null = null;
  readonly #chip: Chip;
  readonly #receiver: Receiver;
  readonly #transmitter: Transmitter;
  readonly #filters: Filters;
  readonly #interrupts: InterruptControl;
  readonly #counters: ChipStatistics;
  readonly #modes: readonly InterruptMode[];
  readonly #bufferSizeBits: number;
  readonly #listeners: Record<NetEvent, (() => void)[]> = { link: [], reset: [] };
  #statistics = emptyStatistics();
  #mtu: number;
  #features: number;
  #link: LinkState = DOWN;
  #running = false; // between start and stop
  #ready = false; // the rings are the card's
  #closed = false;
  #work: (() => void) | null = null;
  #waiters: ((work: boolean) => void)[] = [];
  #packetsAtInterrupt = 0;
  #checkingLink = false;
  #checkLinkAgain = false;
  #watchdog: { stop(): void } | null = null;
  #starvedRetry: { stop(): void } | null = null;
  #lastHead = -1;
  #stuckPeriods = 0;
  #turn: Promise<void> = Promise.resolve(); // start, stop, reset: one after the other

  constructor(chip: Chip, mac: Uint8Array, options: E1000Options) {
    const { rxDescriptors = 512, txDescriptors = 512, mtu = ETHERNET_MTU, features = chip.variant.features } = options;
    const { bufferSize = FRAME_BUFFER, buffers = 8192 } = options;
    checkRing('rxDescriptors', rxDescriptors);
    checkRing('txDescriptors', txDescriptors);
    this.#chip = chip;
    this.model = `e1000 ${chip.variant.name}`;
    this.#features = this.#resolveFeatures(features);
    this.#checkMtu(mtu);
    this.#mtu = mtu;
    this.#modes = options.interrupts ?? ['msix', 'msi', 'intx'];
    const { dma } = chip.device;
    this.pool = new PacketPool(dma, { bufferSize, limit: buffers, chunk: Math.min(512, buffers) });
    const room = chooseBufferSize(bufferSize - HEADROOM);
    this.#bufferSizeBits = room.bits;
    this.#receiver = new Receiver(chip, this.pool, rxDescriptors, room.bytes);
    this.#transmitter = new Transmitter(chip, txDescriptors);
    this.#filters = new Filters(chip, mac);
    this.#counters = new ChipStatistics(chip);
    this.#interrupts = new InterruptControl(chip, {
      work: () => this.#workArrived(),
      link: () => this.#linkMayHaveChanged(),
      failed: (error) => this.#fail(error),
    });
  }

  // ---- Bring-up -----------------------------------------------------------------------------------------------------

  start(): Promise<void> {
    return this.#exclusive(async () => {
      this.#checkOpen();
      if (this.#running) return;
      this.failure = null;
      try {
        await this.#bringUp();
      } catch (error) {
        this.#letGo();
        this.#takeRingsBack();
        throw error;
      }
      this.#running = true;
      this.#watchdog = this.#chip.device.time.every(WATCHDOG, () => this.#guard(() => this.#watch()));
    });
  }

  /** Chapter 14, from reset to a card that carries frames as soon as its link is up. */
  async #bringUp(): Promise<void> {
    const { device } = this.#chip;
    device.enable({ memory: true, busMaster: true });
    await resetChip(this.#chip);
    this.#initialise();
    this.#initialiseReceive();
    this.#initialiseTransmit();
    this.#interrupts.enable(this.#modes);
    await negotiate(this.#chip); // takes seconds on copper; the link's interrupt tells when it is done
    this.#ready = true;
    if (this.#wantsWork) this.rearm();
    this.#linkMayHaveChanged();
  }

  /** 14.3: general initialisation. */
  #initialise(): void {
    const chip = this.#chip;
    const { CTRL, FCAL, FCAH, FCT, FCTTV, VET } = R;
    // Let the PHY decide speed and duplex: set link up, detect speed, force nothing.
    const cleared = chip.read(CTRL) & ~(CTRL.LRST | CTRL.PHY_RST | CTRL.ILOS | CTRL.FRCSPD | CTRL.FRCDPLX);
    chip.write(CTRL, (cleared & ~(CTRL.RFCE | CTRL.TFCE | CTRL.VME)) | CTRL.SLU | CTRL.ASDE);
    // PAUSE frames as 802.3 Annex 31B has them. RFCE and TFCE follow once negotiation is done.
    chip.write(FCAL, 0x00c28001);
    chip.write(FCAH, 0x0100);
    chip.write(FCT, 0x8808);
    chip.write(FCTTV, 0xffff); // as long as can be: XON ends it
    chip.write(VET, 0x8100);
    this.#dividePacketBuffer();
    this.#applyVlanMode();
    this.#counters.discard(); // 14.3: what the counters hold after a reset means nothing
  }

  /**
   * 13.4.16: transmit must hold two of the longest frames (one leaves, one comes), receive has the rest. 13.4.23 and
   * 13.4.24: XOFF goes out while a whole frame still fits, XON when there is room for one more.
   */
  #dividePacketBuffer(): void {
    const { PBA, FCRTH, FCRTL } = R;
    const { fifo, fifoTransmit } = this.#chip.variant;
    const frame = this.#mtu + FRAME_OVERHEAD;
    const transmit = Math.max(fifoTransmit, Math.ceil((2 * frame) / 1024));
    const receive = (fifo - transmit) * 1024;
    this.#chip.write(PBA, receive / 1024);
    const high = Math.min(receive * 0.9, receive - frame) & ~7;
    this.#chip.write(FCRTH, high);
    this.#chip.write(FCRTL, (Math.max(8, high - frame) & ~7) | FCRTL.XONE);
  }

  /** 14.4: receive initialisation. */
  #initialiseReceive(): void {
    const chip = this.#chip;
    this.#filters.apply();
    this.#receiver.setUp(chip);
    this.#applyReceiveChecksum();
    this.#applyReceiveControl(true);
    this.#receiver.fill();
  }

  /** RCTL, from everything that has a say in it (13.4.22). */
  #applyReceiveControl(enabled: boolean): void {
    const { RCTL } = R;
    const { promiscuous, allMulticast, storeBad, vlans } = this.#filters;
    // CRC stripped; broadcasts accepted; the hash takes address bits 47:36 (MO = 0); half-empty rings interrupt (RDMTS 0).
    let control = RCTL.SECRC | RCTL.BAM | this.#bufferSizeBits;
    if (enabled) control |= RCTL.EN;
    if (promiscuous) control |= RCTL.UPE;
    if (promiscuous || allMulticast) control |= RCTL.MPE;
    if (storeBad) control |= RCTL.SBP;
    if (this.#mtu > ETHERNET_MTU) control |= RCTL.LPE;
    // With no VLAN in it the filter would drop every tagged frame: it is on from the first.
    if ((this.#features & FEATURE_VLAN_FILTER) !== 0 && vlans > 0 && !promiscuous) control |= RCTL.VFE;
    this.#receiver.keepBad = storeBad;
    this.#chip.write(RCTL, control);
  }

  #applyReceiveChecksum(): void {
    const { RXCSUM } = R;
    const on = (this.#features & FEATURE_RX_CHECKSUM) !== 0;
    this.#receiver.checksums = on;
    this.#chip.write(RXCSUM, on ? RXCSUM.IPOFLD | RXCSUM.TUOFLD : 0);
  }

  /** CTRL.VME strips tags and lets descriptors insert them: one switch for both (13.4.1). */
  #applyVlanMode(): void {
    const { CTRL } = R;
    const on = (this.#features & FEATURE_VLAN_STRIP) !== 0;
    this.#receiver.vlanStrip = on;
    if (on) this.#chip.set(CTRL, CTRL.VME);
    else this.#chip.clear(CTRL, CTRL.VME);
  }

  /** 14.5: transmit initialisation. */
  #initialiseTransmit(): void {
    const chip = this.#chip;
    const { TIPG } = R;
    this.#transmitter.features = this.#features;
    this.#transmitter.mtu = this.#mtu;
    this.#transmitter.setUp(chip);
    // The shortest legal gap on copper: 8, 8 and 6 (13.4.34).
    chip.write(TIPG, 8 | (8 << 10) | (6 << 20));
    this.#applyTransmitControl(true);
  }

  /** Pad short frames; 16 tries; collision distance 64 bytes, or 512 bit times at half duplex (13.4.33, table 13-76). */
  #applyTransmitControl(fullDuplex: boolean): void {
    const { TCTL } = R;
    const distance = fullDuplex ? 0x40 : 0x200;
    const extra = this.#chip.variant.transmitControl;
    this.#chip.write(TCTL, TCTL.EN | TCTL.PSP | TCTL.RTLC | (0x0f << 4) | (distance << 12) | extra);
  }

  // ---- Stop ---------------------------------------------------------------------------------------------------------

  stop(): Promise<void> {
    return this.#exclusive(async () => {
      if (!this.#running) return;
      this.#running = false;
      this.#stopTimers();
      try {
        await this.#quiesce();
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

  /** No interrupt, no DMA. A card that is gone does neither. */
  async #quiesce(): Promise<void> {
    this.#ready = false;
    if (this.failure !== null) return;
    if (this.#chip.gone) {
      this.failure = this.#chip.goneError();
      return;
    }
    this.#counters.accumulate();
    this.#interrupts.silence();
    this.#interrupts.disable();
    await resetChip(this.#chip); // turns receive and transmit off, and waits until DMA has settled
    this.#chip.device.enable({ busMaster: false });
  }

  /** Where the card cannot be asked to stop, it is kept from memory: buffers are about to go back to the pool. */
  #letGo(): void {
    this.#ready = false;
    try {
      this.#chip.device.enable({ busMaster: false });
      this.#interrupts.disable();
    } catch {
      // closed, or gone: it reaches no memory either
    }
  }

  #takeRingsBack(): void {
    this.#transmitter.reclaim();
    this.#transmitter.empty();
    this.#receiver.empty();
  }

  /** Stops, and gives the rings' and the pool's memory back. The device itself is its opener's to close. */
  async close(): Promise<void> {
    try {
      await this.stop();
    } finally {
      this.#free();
    }
  }

  #free(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#receiver.close();
    this.#transmitter.close();
    this.pool.close();
  }

  #checkOpen(): void {
    if (this.#closed) throw new DeviceError('CLOSED', `${this.model} is closed: create the driver again`);
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
    if (!this.#ready) return this.#notReady();
    return this.#receiver.receive(into, limit);
  }

  transmit(from: PacketBuffer[], first: number, count: number): number {
    if (!this.#ready) return this.#notReady();
    return this.#transmitter.transmit(from, first, count);
  }

  reclaim(): number {
    if (!this.#ready) return this.#notReady();
    return this.#transmitter.reclaim();
  }

  /** Stopped or resetting: nothing moves. Gone: says so. */
  #notReady(): 0 {
    if (this.failure !== null) throw this.failure;
    return 0;
  }

  get rings(): { rx: { size: number; used: number }; tx: { size: number; used: number } } {
    const { size, used } = this.#receiver;
    return { rx: { size, used }, tx: { size: this.#transmitter.size, used: this.#transmitter.used } };
  }

  // ---- Interrupts and work ------------------------------------------------------------------------------------------

  onWork(work: (() => void) | null): void {
    this.#work = work;
    if (!this.#ready) return;
    if (this.#wantsWork) this.rearm();
    else this.#interrupts.disarm();
  }

  get #wantsWork(): boolean {
    return this.#work !== null || this.#waiters.length > 0;
  }

  rearm(): void {
    if (!this.#ready) return;
    const packets = this.#receiver.packets + this.#transmitter.completed;
    this.#interrupts.learn(packets - this.#packetsAtInterrupt);
    this.#packetsAtInterrupt = packets;
    this.#interrupts.arm();
    // Looked at only now: what comes after interrupts, what came before is seen here.
    if (this.#receiver.ready || this.#transmitter.ready) this.#interrupts.provoke();
    if (this.#receiver.starved) this.#retryStarved();
  }

  #workArrived(): void {
    this.#wake(true);
    this.#work?.();
  }

  /**
   * Waits until there may be work: 0 looks and returns, a negative time waits for ever, any other at most so many
   * milliseconds. False where there is none; or where the driver stopped.
   */
  waitForWork(timeoutMs: number): Promise<boolean> {
    if (this.#receiver.ready || this.#transmitter.ready) return Promise.resolve(true);
    if (timeoutMs === 0 || !this.#ready) return Promise.resolve(false);
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
      if (timeoutMs > 0) timer = this.#chip.device.time.every(timeoutMs * MILLISECOND, expire);
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
    this.#starvedRetry ??= this.#chip.device.time.every(STARVED_RETRY, () => {
      if (this.#ready) this.#guard(() => this.#receiver.fill());
      if (this.#ready && this.#receiver.starved) return;
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

  #linkMayHaveChanged(): void {
    this.#checkLinkAgain = true;
    if (!this.#checkingLink) void this.#checkLink().catch((error: unknown) => this.#fail(error));
  }

  async #checkLink(): Promise<void> {
    this.#checkingLink = true;
    try {
      while (this.#checkLinkAgain && this.#ready) {
        this.#checkLinkAgain = false;
        const link = await this.#readLink();
        if (this.#ready) this.#setLink(link);
      }
    } finally {
      this.#checkingLink = false;
    }
  }

  async #readLink(): Promise<LinkState> {
    const { STATUS } = R;
    const status = this.#chip.read(STATUS);
    if ((status & STATUS.LU) === 0) return DOWN;
    if (this.#chip.gone) throw this.#chip.goneError();
    const fullDuplex = (status & STATUS.FD) !== 0;
    const speed = SPEEDS[(status >>> 6) & 3]!;
    const { up } = this.#link;
    if (up && this.#link.speed === speed && this.#link.fullDuplex === fullDuplex) return this.#link;
    // PAUSE is for full duplex only (802.3 clause 31).
    const pause = fullDuplex ? await readPause(this.#chip) : { receive: false, transmit: false };
    return { up: true, speed, fullDuplex, rxPause: pause.receive, txPause: pause.transmit };
  }

  #setLink(link: LinkState): void {
    if (link === this.#link) return;
    this.#link = link;
    if (link.up && this.#ready) {
      this.#applyPause({ receive: link.rxPause, transmit: link.txPause });
      this.#applyTransmitControl(link.fullDuplex);
    }
    this.#emit('link');
  }

  /** 13.4.1: obey PAUSE frames, send PAUSE frames. */
  #applyPause({ receive, transmit }: Pause): void {
    const { CTRL } = R;
    const others = this.#chip.read(CTRL) & ~(CTRL.RFCE | CTRL.TFCE);
    this.#chip.write(CTRL, others | (receive ? CTRL.RFCE : 0) | (transmit ? CTRL.TFCE : 0));
  }

  // ---- Watchdog -----------------------------------------------------------------------------------------------------

  #watch(): void {
    if (!this.#ready) return;
    if (this.#chip.gone) {
      this.#fail(this.#chip.goneError());
      return;
    }
    this.#counters.accumulate();
    this.#linkMayHaveChanged(); // in case its interrupt was lost
    if (this.#receiver.starved) this.#retryStarved();
    if (this.#transmitIsStuck()) void this.#recover();
  }

  /** Descriptors outstanding, and the card has not moved on since the last look although nothing holds it back. */
  #transmitIsStuck(): boolean {
    const { STATUS, TDH } = R;
    const head = this.#chip.read(TDH);
    const moved = head !== this.#lastHead;
    this.#lastHead = head;
    this.#transmitter.reclaim();
    const paused = (this.#chip.read(STATUS) & STATUS.TXOFF) !== 0;
    if (moved || paused || this.#transmitter.used === 0) this.#stuckPeriods = 0;
    else this.#stuckPeriods++;
    return this.#stuckPeriods >= HANG_PERIODS;
  }

  /**
   * Reset, rings rebuilt, link negotiated anew; what had not been sent is lost, and counted. Without link it is no hang:
   * what was queued for a link that is gone would only be sent, stale, into the next one.
   */
  #recover(): Promise<void> {
    this.#stuckPeriods = 0;
    if (this.#link.up) this.#statistics.txHangs++;
    return this.#restart().catch((error: unknown) => this.#fail(error));
  }

  #restart(): Promise<void> {
    return this.#exclusive(async () => {
      if (!this.#running || this.failure !== null) return;
      this.#statistics.resets++;
      await this.#quiesce();
      this.#takeRingsBack();
      this.#setLink(DOWN);
      if (this.failure !== null) throw this.failure;
      await this.#bringUp();
      this.#emit('reset');
    });
  }

  /** For timers: nobody called that could catch what an access to a card throws that is not reached any more. */
  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      this.#fail(error);
    }
  }

  /** The end: nothing more is asked of the card. */
  #fail(error: unknown): void {
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
    return this.#filters.mac.slice();
  }

  setMac(mac: Uint8Array): void {
    if (mac.length !== 6 || (mac[0]! & 1) !== 0 || mac.every((byte) => byte === 0)) {
      throw new DeviceError('INVALID', 'a station address is six bytes, not a multicast address and not all zeros');
    }
    this.#filters.mac.set(mac);
    if (this.#ready) this.#filters.applyMac();
  }

  get mtu(): number {
    return this.#mtu;
  }

  /** A running card is reset for it: the packet buffer is divided anew. */
  async setMtu(mtu: number): Promise<void> {
    this.#checkMtu(mtu);
    if (mtu === this.#mtu) return;
    this.#mtu = mtu;
    this.#transmitter.mtu = mtu;
    if (this.#running) await this.#restart();
  }

  #checkMtu(mtu: number): void {
    const jumbo = (this.#features & FEATURE_JUMBO) !== 0;
    const most = jumbo ? this.#chip.variant.maxFrame - FRAME_OVERHEAD : ETHERNET_MTU;
    if (Number.isInteger(mtu) && mtu >= MIN_MTU && mtu <= most) return;
    throw new DeviceError('INVALID', `an MTU of ${mtu}: ${this.model} takes ${MIN_MTU} to ${most}`);
  }

  get features(): { readonly available: number; readonly enabled: number } {
    return { available: this.#chip.variant.features, enabled: this.#features };
  }

  /** The link stays up; frames on their way through the card may still be treated the old way. */
  setFeatures(enabled: number): Promise<void> {
    return this.#exclusive(async () => {
      const features = this.#resolveFeatures(enabled);
      if ((features & FEATURE_JUMBO) === 0 && this.#mtu > ETHERNET_MTU) {
        throw new DeviceError('INVALID', `jumbo frames are in use: set the MTU to ${ETHERNET_MTU} or less first`);
      }
      this.#features = features;
      this.#transmitter.features = features;
      if (!this.#ready) return;
      this.#applyReceiveChecksum();
      this.#applyVlanMode();
      this.#applyReceiveControl(true);
    });
  }

  /** What is available, less what lacks something it rests on. */
  #resolveFeatures(wanted: number): number {
    let features = wanted & this.#chip.variant.features;
    // The same bit of CTRL: a card that does not strip cannot insert.
    if ((features & FEATURE_VLAN_STRIP) === 0) features &= ~FEATURE_VLAN_INSERT;
    if ((features & FEATURE_TX_CHECKSUM) === 0) features &= ~(FEATURE_TSO4 | FEATURE_TSO6);
    return features;
  }

  setPromiscuous(on: boolean): void {
    this.#filters.promiscuous = on;
    if (this.#ready) this.#applyReceiveControl(true);
  }

  setAllMulticast(on: boolean): void {
    this.#filters.allMulticast = on;
    if (this.#ready) this.#applyReceiveControl(true);
  }

  /** Receive damaged frames as well, marked RX_ERROR. */
  setStoreBad(on: boolean): void {
    this.#filters.storeBad = on;
    if (this.#ready) this.#applyReceiveControl(true);
  }

  setMulticast(addresses: readonly Uint8Array[]): void {
    for (const address of addresses) {
      if (address.length !== 6 || (address[0]! & 1) === 0) {
        throw new DeviceError('INVALID', 'a multicast address is six bytes, the first one odd');
      }
    }
    this.#filters.setMulticast(addresses);
    if (this.#ready) this.#filters.applyMulticast();
  }

  addVlan(id: number): void {
    this.#setVlan(id, true);
  }

  removeVlan(id: number): void {
    this.#setVlan(id, false);
  }

  #setVlan(id: number, on: boolean): void {
    if (!Number.isInteger(id) || id < 0 || id > 4095) throw new DeviceError('INVALID', `a VLAN id of ${id}: 0 to 4095`);
    this.#filters.setVlan(id, on);
    if (!this.#ready) return;
    this.#filters.applyVlan(id);
    this.#applyReceiveControl(true);
  }

  // ---- Statistics ---------------------------------------------------------------------------------------------------

  /** What the chip has counted since. Of a card that is gone the last counts stand, and its failure is noticed. */
  #count(): void {
    if (this.#ready) this.#guard(() => this.#counters.accumulate());
  }

  statistics(): NetStatistics {
    this.#count();
    const chip = this.#counters.all();
    const sum = (...names: string[]) => names.reduce((total, name) => total + chip[name]!, 0);
    const { malformed, packets, bytes } = this.#receiver;
    const { refused, abandoned } = this.#transmitter;
    return {
      ...this.#statistics,
      rxPackets: packets,
      rxBytes: bytes,
      txPackets: sum('GPTC'),
      txBytes: Math.max(0, sum('GOTC') - 4 * sum('GPTC')), // the chip counts the CRC; QEMU's e1000 no octets at all
      rxErrors: malformed + sum('CRCERRS', 'RXERRC', 'ALGNERRC', 'RUC', 'ROC', 'CEXTERR'),
      txErrors: refused + abandoned + sum('ECOL', 'LATECOL'),
      rxMissed: sum('MPC'),
      rxNoBuffer: sum('RNBC'),
      multicast: sum('MPRC'),
      interrupts: this.#interrupts.count,
    };
  }

  /** The chip's own counters, by the datasheet's names. */
  chipStatistics(): Record<string, number> {
    this.#count();
    return this.#counters.all();
  }

  resetStatistics(): void {
    this.#count();
    this.#counters.reset();
    this.#statistics = emptyStatistics();
    this.#interrupts.count = 0;
    this.#receiver.packets = 0;
    this.#receiver.bytes = 0;
    this.#receiver.malformed = 0;
    this.#transmitter.refused = 0;
    this.#transmitter.abandoned = 0;
    this.#packetsAtInterrupt = this.#transmitter.completed;
  }
}

function checkRing(what: string, size: number): void {
  if (Number.isInteger(size) && size >= MIN_DESCRIPTORS && size <= MAX_DESCRIPTORS && size % 8 === 0) return;
  throw new DeviceError(
    'INVALID',
    `${what} ${size}: give a multiple of 8 from ${MIN_DESCRIPTORS} to ${MAX_DESCRIPTORS}`,
  );
}

/** RCTL's buffer sizes (13.4.22), the largest first: what fits behind the headroom. */
function chooseBufferSize(room: number): { bytes: number; bits: number } {
  const { BSEX } = R.RCTL;
  const sizes = [
    { bytes: 16384, bits: BSEX | (1 << 16) },
    { bytes: 8192, bits: BSEX | (2 << 16) },
    { bytes: 4096, bits: BSEX | (3 << 16) },
    { bytes: 2048, bits: 0 },
    { bytes: 1024, bits: 1 << 16 },
    { bytes: 512, bits: 2 << 16 },
    { bytes: 256, bits: 3 << 16 },
  ];
  const size = sizes.find(({ bytes }) => bytes <= room);
  if (size === undefined) throw new DeviceError('INVALID', `${room} bytes behind the headroom: the card wants 256`);
  return size;
}

function emptyStatistics(): NetStatistics {
  return {
    rxPackets: 0,
    rxBytes: 0,
    txPackets: 0,
    txBytes: 0,
    rxErrors: 0,
    txErrors: 0,
    rxMissed: 0,
    rxNoBuffer: 0,
    multicast: 0,
    txHangs: 0,
    resets: 0,
    interrupts: 0,
  };
}
