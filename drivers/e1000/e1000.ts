/**
 * The e1000 driver: Intel's 82540EM, 82545EM and 82574L as a netdev.
 *
 * Sections are those of Intel 317453, "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual";
 * the bring-up below follows its chapter 14.
 */
import { ETHERTYPE_MAC_CONTROL } from '../../sim/packet.ts';
import { encode } from '../../sim/registers.ts';
import { DeviceError, type InterruptMode, MILLISECOND, type PciDevice } from '../device.ts';
import { goneError } from '../lifecycle.ts';
import { DOWN } from '../link-monitor.ts';
import type { Pause } from '../mii.ts';
import { checkRing, NetDriver, type NetDriverOptions } from '../net-driver.ts';
import {
  FEATURE_RX_CHECKSUM,
  FEATURE_TSO4,
  FEATURE_TSO6,
  FEATURE_TX_CHECKSUM,
  FEATURE_VLAN_FILTER,
  FEATURE_VLAN_INSERT,
  FEATURE_VLAN_STRIP,
  type LinkState,
} from '../netdev.ts';
import { FRAME_BUFFER, HEADROOM, RX_ERROR } from '../packet.ts';
import { ETHERNET_MTU, FRAME_OVERHEAD } from '../settings.ts';
import { Chip, R, R74 } from './chip.ts';
import { RINGS } from './descriptors.ts';
import { E1000Filters } from './filters.ts';
import { InterruptControl } from './interrupts.ts';
import { checkNvm, macOf, readNvm } from './nvm.ts';
import { negotiate, readPause } from './phy.ts';
import { Receiver } from './receive.ts';
import { E1000Counters } from './statistics.ts';
import { Transmitter } from './transmit.ts';
import { SPEEDS, variantOf } from './variants.ts';

export { RINGS } from './descriptors.ts';
export { supports } from './variants.ts';

/** A frame longer than a buffer arrives as a chain. */
export type E1000Options = NetDriverOptions;

/** Reads the card's NVM and returns a driver that is not started yet. */
export async function createE1000(device: PciDevice, options: E1000Options = {}): Promise<E1000Driver> {
  const variant = variantOf(device.id);
  if (variant === undefined) {
    const id = [device.id.vendor, device.id.device].map((part) => part.toString(16).padStart(4, '0')).join(':');
    throw new DeviceError('UNSUPPORTED', `${device.name} is ${id}: the e1000 driver knows 8086:100e, 100f and 10d3`);
  }
  device.enable({ memory: true });
  const chip = new Chip(device, variant);
  if (chip.gone) throw goneError(device);
  await haltChip(chip);
  await resetChip(chip);
  const nvm = await readNvm(chip);
  if (options.ignoreNvmChecksum !== true) checkNvm(chip, nvm);
  return new E1000Driver(chip, macOf(nvm), options);
}

/** 14.3: before a reset. No interrupt, no new frame either way; what is being transferred now may finish. */
async function haltChip(chip: Chip): Promise<void> {
  const { IMC, RCTL, TCTL } = R;
  chip.write(IMC, 0xffffffff);
  chip.write(RCTL, 0);
  chip.write(TCTL, { PSP: 1 });
  chip.flush();
  await chip.device.time.delay(10 * MILLISECOND);
}

/** 14.3: software reset, until the chip has loaded its defaults from the NVM again. */
async function resetChip(chip: Chip): Promise<void> {
  const { CTRL, IMC, ICR } = R;
  chip.modify(CTRL, { RST: 1 });
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
  chip.modify(CTRL_EXT, { PHYPDEN_CLEAR: 0, PHYPDEN_SET: 1 });
  chip.set(GCR, 1 << 22);
}

export class E1000Driver extends NetDriver {
  protected readonly rx: Receiver;
  protected readonly tx: Transmitter;
  readonly #chip: Chip;
  protected readonly filters: E1000Filters;
  protected readonly interrupts: InterruptControl;
  protected readonly counters: E1000Counters;
  readonly #modes: readonly InterruptMode[];
  readonly #bufferSize: { readonly BSIZE: number; readonly BSEX: number }; // as RCTL has it
  #fifoTransmit = 0; // KB of the packet buffer, as they are divided
  #control = 0; // what CTRL was told last

  constructor(chip: Chip, mac: Uint8Array, options: E1000Options) {
    const { rxDescriptors = 512, txDescriptors = 512, bufferSize = FRAME_BUFFER } = options;
    const { name, features, maxFrame } = chip.variant;
    checkRing('rxDescriptors', rxDescriptors, RINGS);
    checkRing('txDescriptors', txDescriptors, RINGS);
    super(chip.device, { model: `e1000 ${name}`, features, longestFrame: maxFrame }, options);
    this.#chip = chip;
    this.#modes = options.interrupts ?? ['msix', 'msi', 'intx'];
    const room = chooseBufferSize(bufferSize - HEADROOM);
    this.#bufferSize = room.fields;
    this.rx = new Receiver(chip, this.pool, rxDescriptors, room.bytes);
    this.tx = new Transmitter(chip, txDescriptors);
    this.filters = new E1000Filters(chip, mac);
    this.counters = new E1000Counters(chip);
    this.interrupts = new InterruptControl(chip, {
      work: () => this.workArrived(),
      link: () => this.linkMayHaveChanged(),
      failed: (error) => this.fail(error),
    });
    this.addQueue(this.rx, this.tx);
  }

  // ---- Bring-up -----------------------------------------------------------------------------------------------------

  protected get gone(): boolean {
    return this.#chip.gone;
  }

  /** Chapter 14. */
  protected async bringUp(): Promise<void> {
    const { rx, tx } = this;
    await haltChip(this.#chip);
    await resetChip(this.#chip);
    this.log('device reset');
    this.#initialise();
    this.#initialiseReceive();
    this.log(`receive ring of ${rx.size}: produced ${rx.used} buffers, receive MAC enabled`);
    this.#initialiseTransmit();
    this.log(`transmit ring of ${tx.size}: transmit MAC enabled`);
    this.interrupts.enable(this.#modes);
    this.log(`waiting for interrupts (${this.interrupts.mode})`);
    await negotiate(this.#chip); // takes seconds on copper; the link's interrupt tells when it is done
  }

  /** 14.3: general initialisation. */
  #initialise(): void {
    const chip = this.#chip;
    const { CTRL, FCAL, FCAH, FCT, FCTTV, VET } = R;
    // Let the PHY decide speed and duplex: set link up, detect speed, force nothing.
    const unforced = { LRST: 0, PHY_RST: 0, ILOS: 0, FRCSPD: 0, FRCDPLX: 0, RFCE: 0, TFCE: 0, VME: 0 };
    this.#control = chip.modify(CTRL, { ...unforced, SLU: 1, ASDE: 1 });
    // PAUSE frames as 802.3 Annex 31B has them. RFCE and TFCE follow once negotiation is done.
    chip.write(FCAL, 0x00c28001);
    chip.write(FCAH, { ADDRESS: 0x0100 });
    chip.write(FCT, { TYPE: ETHERTYPE_MAC_CONTROL });
    chip.write(FCTTV, { TTV: 0xffff }); // as long as can be: XON ends it
    chip.write(VET, { TYPE: 0x8100 });
    this.#dividePacketBuffer();
    this.#applyVlanMode();
    this.counters.discard(); // 14.3: what the counters hold after a reset means nothing
  }

  /** 13.4.16: transmit must hold two of the longest frames (one leaves, one comes), receive has the rest. */
  #dividePacketBuffer(): void {
    this.#fifoTransmit = this.#fifoWanted();
    this.#chip.write(R.PBA, { RXA: this.#chip.variant.fifo - this.#fifoTransmit });
    this.#applyThresholds();
  }

  /** KB for transmit. */
  #fifoWanted(): number {
    return Math.max(this.#chip.variant.fifoTransmit, Math.ceil((2 * (this.mtu + FRAME_OVERHEAD)) / 1024));
  }

  /** 13.4.23 and 13.4.24: XOFF goes out while a whole frame still fits, XON when there is room for one more. */
  #applyThresholds(): void {
    const { FCRTH, FCRTL } = R;
    const frame = this.mtu + FRAME_OVERHEAD;
    const receive = (this.#chip.variant.fifo - this.#fifoTransmit) * 1024;
    const high = Math.floor(Math.min(receive * 0.9, receive - frame) / 8); // both in units of 8 bytes
    this.#chip.write(FCRTH, { RTH: high });
    this.#chip.write(FCRTL, { RTL: Math.max(1, Math.floor(high - frame / 8)), XONE: 1 });
  }

  /** 14.4: receive initialisation. */
  #initialiseReceive(): void {
    const chip = this.#chip;
    this.filters.apply();
    this.rx.setUp(chip);
    this.#applyReceiveChecksum();
    this.applyReceiveMode();
    this.rx.fill();
  }

  /** RCTL, from everything that has a say in it (13.4.22). */
  protected applyReceiveMode(): void {
    const { promiscuous, allMulticast, storeBad, vlans } = this.filters;
    // CRC stripped; broadcasts accepted; the hash takes address bits 47:36 (MO = 0); half-empty rings interrupt (RDMTS 0).
    this.rx.keepBad = storeBad;
    this.#chip.write(R.RCTL, {
      EN: 1,
      SECRC: 1,
      BAM: 1,
      ...this.#bufferSize,
      UPE: promiscuous,
      MPE: promiscuous || allMulticast,
      SBP: storeBad,
      LPE: this.mtu > ETHERNET_MTU,
      // With no VLAN in it the filter would drop every tagged frame: it is on from the first.
      VFE: this.has(FEATURE_VLAN_FILTER) && vlans.size > 0 && !promiscuous,
    });
  }

  #applyReceiveChecksum(): void {
    const on = this.has(FEATURE_RX_CHECKSUM);
    this.rx.mode.checksums = on;
    this.#chip.write(R.RXCSUM, { IPOFLD: on, TUOFLD: on });
  }

  /** CTRL.VME strips tags and lets descriptors insert them: one switch for both (13.4.1). */
  #applyVlanMode(): void {
    const { CTRL } = R;
    const on = this.has(FEATURE_VLAN_STRIP);
    this.rx.mode.vlanStrip = on;
    this.#changeControl(CTRL.VME, on ? CTRL.VME : 0);
  }

  /** Not from what CTRL reads as: a card that once read wrong would keep it. */
  #changeControl(mask: number, bits: number): void {
    this.#control = (this.#control & ~mask) | bits;
    this.#chip.write(R.CTRL, this.#control);
  }

  /** 14.5: transmit initialisation. */
  #initialiseTransmit(): void {
    const chip = this.#chip;
    this.tx.features = this.features.enabled;
    this.tx.mtu = this.mtu;
    this.tx.setUp(chip);
    // The shortest legal gap on copper: 8, 8 and 6 (13.4.34).
    chip.write(R.TIPG, { IPGT: 8, IPGR1: 8, IPGR2: 6 });
    this.#applyTransmitControl(true);
  }

  /** Pad short frames; 16 tries; collision distance 64 bytes, or 512 bit times at half duplex (13.4.33, table 13-76). */
  #applyTransmitControl(fullDuplex: boolean): void {
    const { TCTL } = R;
    const control = encode(TCTL, { EN: 1, PSP: 1, RTLC: 1, CT: 15, COLD: fullDuplex ? 0x40 : 0x200 });
    this.#chip.write(TCTL, control | this.#chip.variant.transmitControl);
  }

  protected async halt(): Promise<void> {
    this.interrupts.silence();
    this.interrupts.disable();
    await haltChip(this.#chip);
  }

  protected reset(): Promise<void> {
    return resetChip(this.#chip);
  }

  // ---- Link ---------------------------------------------------------------------------------------------------------

  protected async readLink(): Promise<LinkState> {
    const { STATUS } = R;
    const status = this.#chip.read(STATUS);
    if ((status & STATUS.LU) === 0) return DOWN;
    if (this.gone) throw goneError(this.device);
    const fullDuplex = (status & STATUS.FD) !== 0;
    const speed = SPEEDS[(status >>> 6) & 3]!;
    const { link } = this;
    if (link.up && link.speed === speed && link.fullDuplex === fullDuplex) return link;
    // PAUSE is for full duplex only (802.3 clause 31).
    const pause = fullDuplex ? await readPause(this.#chip) : { receive: false, transmit: false };
    return { up: true, speed, fullDuplex, rxPause: pause.receive, txPause: pause.transmit };
  }

  protected applyLink({ fullDuplex, rxPause, txPause }: LinkState): void {
    this.#applyPause({ receive: rxPause, transmit: txPause });
    this.#applyTransmitControl(fullDuplex);
  }

  /** 13.4.1: obey PAUSE frames, send PAUSE frames. */
  #applyPause({ receive, transmit }: Pause): void {
    const { CTRL } = R;
    this.#changeControl(CTRL.RFCE | CTRL.TFCE, (receive ? CTRL.RFCE : 0) | (transmit ? CTRL.TFCE : 0));
  }

  protected get sendProgress(): number | null {
    const { STATUS, TDH } = R;
    const head = this.#chip.read(TDH);
    const paused = (this.#chip.read(STATUS) & STATUS.TXOFF) !== 0;
    return paused ? null : head;
  }

  // ---- Settings -----------------------------------------------------------------------------------------------------

  /** 13.4.16: another division of the packet buffer takes effect with a reset. */
  protected applyMtu(): boolean {
    this.tx.mtu = this.mtu;
    if (!this.ready) return true;
    if (this.#fifoWanted() !== this.#fifoTransmit) return false;
    this.#applyThresholds();
    this.applyReceiveMode();
    return true;
  }

  protected applyFeatures(): void {
    this.tx.features = this.features.enabled;
    if (!this.ready) return;
    this.#applyReceiveChecksum();
    this.#applyVlanMode();
    this.applyReceiveMode();
  }

  protected resolveFeatures(wanted: number): number {
    let features = wanted;
    // The same bit of CTRL: a card that does not strip cannot insert.
    if ((features & FEATURE_VLAN_STRIP) === 0) features &= ~FEATURE_VLAN_INSERT;
    if ((features & FEATURE_TX_CHECKSUM) === 0) features &= ~(FEATURE_TSO4 | FEATURE_TSO6);
    return features;
  }

  override get receiveFlags(): number {
    return super.receiveFlags | (this.filters.storeBad ? RX_ERROR : 0);
  }

  /** Receive damaged frames as well, marked RX_ERROR. */
  setStoreBad(on: boolean): void {
    this.filters.storeBad = on;
    if (this.ready) this.applyReceiveMode();
  }
}

/** RCTL's buffer sizes (13.4.22), the largest first: what fits behind the headroom. */
function chooseBufferSize(room: number): { bytes: number; fields: { BSIZE: number; BSEX: number } } {
  const sizes = [
    { bytes: 16384, fields: { BSEX: 1, BSIZE: 1 } },
    { bytes: 8192, fields: { BSEX: 1, BSIZE: 2 } },
    { bytes: 4096, fields: { BSEX: 1, BSIZE: 3 } },
    { bytes: 2048, fields: { BSEX: 0, BSIZE: 0 } },
    { bytes: 1024, fields: { BSEX: 0, BSIZE: 1 } },
    { bytes: 512, fields: { BSEX: 0, BSIZE: 2 } },
    { bytes: 256, fields: { BSEX: 0, BSIZE: 3 } },
  ];
  const size = sizes.find(({ bytes }) => bytes <= room);
  if (size === undefined) throw new DeviceError('INVALID', `${room} bytes behind the headroom: the card wants 256`);
  return size;
}
