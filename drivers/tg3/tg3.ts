/**
 * The tg3 driver: Broadcom's BCM57762, BCM57765, BCM5721 and BCM5751 as a netdev.
 *
 * Blocks and registers are those of the programmer's guides 5718-PG108-R and 5722-PG101-R; the order of the bring-up, and
 * values that those leave open, are Linux's (drivers/net/ethernet/broadcom/tg3.c, tg3_reset_hw).
 */
import type { Abilities } from '../abilities.ts';
import { DeviceError, type InterruptMode, MILLISECOND, type PciDevice } from '../device.ts';
import { goneError } from '../lifecycle.ts';
import { checkRing, NetDriver, type NetDriverOptions } from '../net-driver.ts';
import {
  FEATURE_RX_CHECKSUM,
  FEATURE_TSO4,
  FEATURE_TSO6,
  FEATURE_TX_CHECKSUM,
  FEATURE_VLAN_STRIP,
  type LinkState,
} from '../netdev.ts';
import { FRAME_BUFFER, HEADROOM, RX_HASH } from '../packet.ts';
import { ETHERNET_MTU } from '../settings.ts';
import { Chip, R } from './chip.ts';
import { Tg3Filters } from './filters.ts';
import { InterruptControl } from './interrupts.ts';
import { readStationAddress } from './nvram.ts';
import { Phy } from './phy.ts';
import { STANDARD_ROOM } from './producer-ring.ts';
import { Receiver } from './receive.ts';
import { haltChip, resetChip, SWAPS } from './reset.ts';
import { Rss } from './rss.ts';
import { Tg3Counters } from './statistics.ts';
import { StatusBlocks } from './status.ts';
import { Transmitter } from './transmit.ts';
import { VARIANTS, variantOf } from './variants.ts';

export { supports } from './variants.ts';

/** A frame always arrives in one piece; one that is longer than 1536 bytes, in a buffer of its own kind. */
export interface Tg3Options extends NetDriverOptions {
  /** Receive return rings among which RSS spreads connections; with MSI-X, each has a vector. One, if absent. */
  readonly queues?: number;
}

/** Resets the card, finds its station address and returns a driver that is not started yet. */
export async function createTg3(device: PciDevice, options: Tg3Options = {}): Promise<Tg3Driver> {
  const variant = variantOf(device.id);
  if (variant === undefined) {
    const id = [device.id.vendor, device.id.device].map((part) => part.toString(16).padStart(4, '0')).join(':');
    const known = VARIANTS.map(({ device }) => device.toString(16)).join(', ');
    throw new DeviceError('UNSUPPORTED', `${device.name} is ${id}: the tg3 driver knows 14e4:${known}`);
  }
  device.enable({ memory: true });
  const chip = new Chip(device, variant);
  if (chip.gone) throw goneError(device);
  await haltChip(chip);
  await resetChip(chip);
  const mac = await readStationAddress(chip, options.ignoreNvmChecksum === true);
  return new Tg3Driver(chip, mac, options);
}

/** The rings have 512 entries; fewer may be in use. */
export const RINGS = { least: 32, most: 512 } as const;

/** MAC_MODE: its engines and counters; and PORT_MODE. */
const MAC_ENGINES = { TDE_ENABLE: 1, RDE_ENABLE: 1, FHDE_ENABLE: 1, RXSTAT_ENABLE: 1, TXSTAT_ENABLE: 1 } as const;
const PORT_MII = 1; // 10 and 100 Mbit/s
const PORT_GMII = 2; // MAC_MODE.PORT_MODE
/** MAC_TX_LENGTHS: the gap between frames, and the slot time, which half duplex at 1000 Mbit/s needs longer. */
const GAPS = { IPG: 6, IPG_CRS: 2 } as const;
const SLOT_TIME = 0x20;
const SLOT_TIME_1000_HALF = 0xff;
/** How often block 0 is looked at for a change of the link, which interrupts only while somebody waits for work. */
const LINK_LOOK = 100 * MILLISECOND;
/** RDMAC_MODE and WDMAC_MODE: attention on whatever can go wrong. */
const DMA_ERRORS = {
  TGTABORT_ENAB: 1,
  MSTABORT_ENAB: 1,
  PARITYERR_ENAB: 1,
  ADDROFLOW_ENAB: 1,
  FIFOOFLOW_ENAB: 1,
  FIFOURUN_ENAB: 1,
  FIFOOREAD_ENAB: 1,
  LNGREAD_ENAB: 1,
} as const;
export class Tg3Driver extends NetDriver {
  protected readonly rx: Receiver;
  protected readonly tx: Transmitter;
  readonly #chip: Chip;
  readonly #phy: Phy;
  readonly #status: StatusBlocks;
  readonly #rss: Rss;
  protected readonly filters: Tg3Filters;
  protected readonly interrupts: InterruptControl;
  protected readonly counters: Tg3Counters;
  readonly #modes: readonly InterruptMode[];
  #jumbo = false; // set up for jumbo frames

  constructor(chip: Chip, mac: Uint8Array, options: Tg3Options) {
    const { rxDescriptors = 512, txDescriptors = 512, queues = 1, bufferSize = FRAME_BUFFER } = options;
    const { name, features, maxFrame, maxQueues } = chip.variant;
    checkRing('rxDescriptors', rxDescriptors, RINGS);
    checkRing('txDescriptors', txDescriptors, RINGS);
    if (!Number.isInteger(queues) || queues < 1 || queues > maxQueues) {
      throw new DeviceError('INVALID', `queues ${queues}: ${name} has ${maxQueues}`);
    }
    checkBuffers(bufferSize);
    super(chip.device, { model: `tg3 ${name}`, features, longestFrame: maxFrame }, options);
    this.#chip = chip;
    this.#modes = options.interrupts ?? ['msix', 'msi', 'intx'];
    this.#phy = new Phy(chip);
    this.#status = new StatusBlocks(chip);
    this.rx = new Receiver(chip, this.pool, this.#status, rxDescriptors, queues);
    this.tx = new Transmitter(chip, this.#status, txDescriptors);
    this.#rss = new Rss(chip, queues, () => this.#applyRss());
    this.filters = new Tg3Filters(chip, mac);
    this.counters = new Tg3Counters(chip);
    this.interrupts = new InterruptControl(chip, this.#status, queues, {
      work: (queue) => this.workArrived(queue),
      link: () => this.linkMayHaveChanged(),
      failed: (error) => this.fail(error),
    });
    for (const ring of this.rx.queues) this.addQueue(ring, ring === this.rx.queues[0] ? this.tx : null);
  }

  // ---- Bring-up -----------------------------------------------------------------------------------------------------

  protected get gone(): boolean {
    return this.#chip.gone;
  }

  protected async bringUp(): Promise<void> {
    await haltChip(this.#chip);
    const answered = await resetChip(this.#chip);
    this.log(answered ? 'device reset, boot code complete' : 'device reset, no boot code answers: going on without it');
    this.interrupts.enable(this.#modes);
    this.#initialiseChip();
    await this.#initialiseBuffers();
    this.#initialiseRings();
    this.#initialiseMac();
    await this.interrupts.startCoalescing();
    this.#startBlocks();
    this.#startMacs();
    await this.#phy.negotiate(); // takes seconds on copper; the link's interrupt tells when it is done
    this.#watchLink();
    this.interrupts.unmask();
    this.log(`waiting for interrupts (${this.interrupts.mode}, vectors: ${this.interrupts.vectors})`);
  }

  /** Byte orders, checksums, the bus. */
  #initialiseChip(): void {
    const chip = this.#chip;
    const { GRC_MODE, GRC_MISC_CFG, GRC_LOCAL_CTRL, DMA_RW_CTRL } = R;
    if (chip.variant.is577xx) {
      this.#mendPcie();
      chip.modify(DMA_RW_CTRL, { DIS_CACHE_ALIGNMENT: 1 });
    } else chip.write(DMA_RW_CTRL, { PCI_WRITE_CMD: 7, PCI_READ_CMD: 6, WRITE_WATER: 3 });
    // The fields of checksums hold the pseudo header's sums; rings are the host's.
    chip.write(GRC_MODE, { ...SWAPS, HOST_STACKUP: 1, HOST_SENDBDS: 1, NO_TX_PHDR_CSUM: 1, IRQ_ON_MAC_ATTN: 1 });
    chip.modify(GRC_MISC_CFG, { PRESCALER: 65 }); // the timer counts microseconds, from 66 MHz
    chip.modify(GRC_LOCAL_CTRL, { INT_ON_ATTN: 1, AUTO_SEEPROM: 1 });
  }

  /** Errata of the 577xx's PCIe block, as Linux's tg3_reset_hw mends them. */
  #mendPcie(): void {
    const chip = this.#chip;
    const { GRC_MODE, CPMU_PADRNG_CTL, CPMU_LSPD_10MB_CLK, PCIE_TL_8 } = R;
    const { bar } = chip;
    chip.modify(CPMU_PADRNG_CTL, { RDIV2: 1 });
    const mode = chip.read(GRC_MODE);
    chip.write(GRC_MODE, mode | GRC_MODE.PCIE_DL_SEL);
    const training = PCIE_TL_8.at(1); // of the data link layer, while that is selected
    bar.write32(training, ((bar.read32(training) & ~0xff) | 0x2c) >>> 0);
    chip.write(GRC_MODE, mode);
    chip.modify(CPMU_LSPD_10MB_CLK, { MACCLK: 0x13 }); // 6.25 MHz
  }

  /** How the packet memory is divided, and when it counts as short. */
  async #initialiseBuffers(): Promise<void> {
    const chip = this.#chip;
    const { BUFMGR_MODE } = R;
    const [receive, high] = this.#watermarks();
    chip.write(R.BUFMGR_MB_RDMA_LOW_WATER, { MBUFS: 0 });
    chip.write(R.BUFMGR_MB_MACRX_LOW_WATER, { MBUFS: receive });
    chip.write(R.BUFMGR_MB_HIGH_WATER, { MBUFS: high });
    chip.write(R.BUFMGR_DMA_LOW_WATER, 5);
    chip.write(R.BUFMGR_DMA_HIGH_WATER, 10);
    chip.write(BUFMGR_MODE, { ENABLE: 1, ATTN_ENABLE: 1 });
    await chip.poll(
      BUFMGR_MODE,
      BUFMGR_MODE.ENABLE,
      BUFMGR_MODE.ENABLE,
      20 * MILLISECOND,
      'starting the buffer manager',
    );
  }

  #watermarks(): readonly [number, number] {
    if (!this.#chip.variant.is577xx) return [0x10, 0x60];
    return this.mtu > ETHERNET_MTU ? [0x7e, 0xea] : [0x2a, 0xa0];
  }

  #initialiseRings(): void {
    const { rx, tx } = this;
    this.#status.setUp(this.#chip, this.interrupts.vectors);
    rx.setUp(this.mtu);
    rx.mode.checksums = this.has(FEATURE_RX_CHECKSUM);
    tx.features = this.features.enabled;
    tx.mtu = this.mtu;
    tx.setUp(this.#chip);
    this.log(`receive rings: ${rx.size} buffers, return rings: ${rx.queues.length}; send ring: ${tx.size} descriptors`);
  }

  #initialiseMac(): void {
    const chip = this.#chip;
    this.filters.applyMac();
    this.#applyLongest();
    chip.write(R.MAC_TX_LENGTHS, { ...GAPS, SLOT_TIME });
    chip.write(R.MAC_RCV_RULE_CFG, { DEFAULT_CLASS: 1 }); // every frame is of class 1
    chip.write(R.RCVLPC_CONFIG, { BAD_FRAMES_CLASS: 1, ACTIVE_LISTS: 16, LISTS_PER_GROUP: 1 });
    if (chip.variant.is577xx) chip.modify(R.RDMA_RSRVCTRL_REG, { FIFO_OFLW_FIX: 1 });
    chip.modify(R.RCVLPC_STATS_ENABLE, { DACK_FIX: 0 });
    chip.write(R.RCVLPC_STATSCTRL, { ENABLE: 1 });
    chip.write(R.SNDDATAI_STATSENAB, 0xffffff);
    chip.write(R.SNDDATAI_STATSCTRL, { ENABLE: 1, FASTUPD: 1 });
    chip.write(R.MAC_MODE, { ...MAC_ENGINES, RXSTAT_CLEAR: 1, TXSTAT_CLEAR: 1, PORT_MODE: PORT_GMII });
    this.#rss.apply();
  }

  #applyLongest(): void {
    this.#jumbo = this.mtu > ETHERNET_MTU;
    this.#chip.write(R.MAC_RX_MTU_SIZE, this.mtu + 22); // header, tag and FCS
  }

  #applyRss(): void {
    if (!this.ready) return;
    this.#rss.apply();
    this.applyReceiveMode();
  }

  /** From memory inwards; descriptors are fetched from here on. */
  #startBlocks(): void {
    const chip = this.#chip;
    chip.write(R.RCVCC_MODE, { ENABLE: 1, ATTN_ENABLE: 1 });
    chip.write(R.RCVLPC_MODE, { ENABLE: 1 });
    const { is577xx, shortLimit } = chip.variant;
    chip.write(R.WDMAC_MODE, { ENABLE: 1, ...DMA_ERRORS, STATUS_TAG_FIX: is577xx });
    chip.write(R.RDMAC_MODE, {
      ENABLE: 1,
      ...DMA_ERRORS,
      FIFO_LONG_BURST: 3,
      IPV4_LSO_EN: 1,
      IPV6_LSO_EN: is577xx,
      JMB_2K_MMRR: shortLimit === 2048 && this.mtu <= ETHERNET_MTU,
    });
    chip.write(R.RCVDCC_MODE, { ENABLE: 1, ATTN_ENABLE: 1 });
    chip.write(R.SNDDATAC_MODE, { ENABLE: 1 });
    chip.write(R.SNDBDC_MODE, { ENABLE: 1, ATTN_ENABLE: 1 });
    chip.write(R.RCVBDI_MODE, { ENABLE: 1, RCB_ATTN_ENAB: 1 });
    chip.write(R.RCVDBDI_MODE, { ENABLE: 1, INV_RING_SZ: 1 });
    chip.write(R.SNDDATAI_MODE, { ENABLE: 1, HW_LSO_PRE_DMA: 1 });
    chip.write(R.SNDBDI_MODE, { ENABLE: 1, ATTN_ENABLE: 1 });
    chip.write(R.SNDBDS_MODE, { ENABLE: 1, ATTN_ENABLE: 1 });
    this.rx.fill();
    this.log(`produced ${this.rx.used} receive buffers`);
  }

  #startMacs(): void {
    const chip = this.#chip;
    chip.write(R.MAC_LOW_WMARK_MAX_RX_FRAME, { FRAMES: chip.variant.is577xx ? 1 : 2 });
    chip.write(R.MAC_LED_CTRL, { MODE_PHY_1: 1 });
    this.#applyTransmitMode(false);
    this.log('transmit MAC enabled');
    this.applyReceiveMode();
    this.log('receive MAC enabled');
  }

  #applyTransmitMode(sendPause: boolean): void {
    this.#chip.write(R.MAC_TX_MODE, {
      ENABLE: 1,
      MBUF_LOCKUP_FIX: this.#chip.variant.is577xx,
      FLOW_CTRL_ENABLE: sendPause,
      LONG_PAUSE_ENABLE: sendPause, // for as long as can be: XON ends it
    });
  }

  /** MAC_RX_MODE, from everything that has a say in it. */
  protected applyReceiveMode(): void {
    const strip = this.has(FEATURE_VLAN_STRIP);
    this.rx.mode.vlanStrip = strip;
    this.rx.mode.hashTypes = this.#rss.settings.hashTypes;
    this.applyMulticast();
    this.#chip.write(R.MAC_RX_MODE, {
      ENABLE: 1,
      KEEP_VLAN_TAG: !strip,
      PROMISC: this.filters.promiscuous,
      FLOW_CTRL_ENABLE: this.link.rxPause,
      IPV6_CSUM_ENABLE: this.#chip.variant.is577xx,
      ...this.#rss.fields,
    });
  }

  protected override applyMulticast(): void {
    super.applyMulticast();
    this.rx.mode.hashed = this.filters.hashed;
  }

  protected async halt(): Promise<void> {
    this.interrupts.silence();
    this.interrupts.disable();
    await haltChip(this.#chip);
  }

  protected async reset(): Promise<void> {
    await resetChip(this.#chip);
  }

  protected override release(): void {
    super.release();
    this.#status.close();
  }

  // ---- Link ---------------------------------------------------------------------------------------------------------

  /** The MAC's attention makes it into block 0, and interrupts. */
  #watchLink(): void {
    this.#chip.write(R.MAC_MI_STAT, { LNKSTAT_ATTN_ENAB: 1 });
    this.#chip.write(R.MAC_STATUS, { LNKSTATE_CHANGED: 1 });
    this.#chip.write(R.MAC_EVENT, { LNKSTATE_CHANGED: 1 });
    const look = this.device.time.every(LINK_LOOK, () => {
      if (this.ready) this.guard(() => this.interrupts.lookAtLink());
      if (!this.ready) look.stop();
    });
  }

  protected readLink(): Promise<LinkState> {
    return this.#phy.readLink(this.link);
  }

  protected applyLink({ speed, fullDuplex, txPause }: LinkState): void {
    const chip = this.#chip;
    const port = speed === 1000 ? PORT_GMII : PORT_MII;
    // Whole: not from what it reads as.
    chip.write(R.MAC_MODE, { ...MAC_ENGINES, PORT_MODE: port, HALF_DUPLEX: !fullDuplex });
    const slow = speed === 1000 && !fullDuplex;
    chip.write(R.MAC_TX_LENGTHS, { ...GAPS, SLOT_TIME: slow ? SLOT_TIME_1000_HALF : SLOT_TIME });
    this.#applyTransmitMode(txPause);
    this.applyReceiveMode();
  }

  /** The consumer moves as the card sends; and a station that is told to wait is told so again and again. */
  protected get sendProgress(): number {
    return this.tx.consumer + 0x10000 * this.counters.pauses;
  }

  // ---- Settings -----------------------------------------------------------------------------------------------------

  /** The jumbo ring, the watermarks and the DMA engines are set up with the card. */
  protected applyMtu(): boolean {
    this.tx.mtu = this.mtu;
    if (!this.ready) return true;
    if (this.mtu > ETHERNET_MTU !== this.#jumbo) return false;
    this.#applyLongest();
    return true;
  }

  override get abilities(): Partial<Abilities> {
    return this.#rss.on ? { ...super.abilities, rss: this.#rss } : super.abilities;
  }

  override get receiveFlags(): number {
    return super.receiveFlags | (this.#rss.on ? RX_HASH : 0);
  }

  protected applyFeatures(): void {
    this.tx.features = this.features.enabled;
    this.rx.mode.checksums = this.has(FEATURE_RX_CHECKSUM);
    if (this.ready) this.applyReceiveMode();
  }

  protected resolveFeatures(wanted: number): number {
    return (wanted & FEATURE_TX_CHECKSUM) === 0 ? wanted & ~(FEATURE_TSO4 | FEATURE_TSO6) : wanted;
  }
}

function checkBuffers(bufferSize: number): void {
  const least = STANDARD_ROOM + HEADROOM;
  if (bufferSize >= least) return;
  throw new DeviceError('INVALID', `bufferSize ${bufferSize}: the card writes up to ${least} bytes, headroom included`);
}
