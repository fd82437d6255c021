/**
 * A device of QEMU's as a vfio-user server offers it: what it looks like from its bus, its interrupts, and the client's
 * memory within its reach.
 *
 * Configuration space is the device's own but for what is not the client's to decide: where its BARs are, and where its
 * messages go. Those registers are kept here. A message is a vector's eventfd to the client; the device sends it to the bell.
 */
import { readFrom, writeTo } from '../../drivers/backends/base.ts';
import { type AssignedBar, findCapability } from '../../drivers/backends/configuration.ts';
import { MessageCapabilities } from '../../drivers/backends/messages.ts';
import { DeviceError } from '../../drivers/device.ts';
import {
  BAR0,
  CAP_MSI,
  CAP_MSI_X,
  CAP_PCI_EXPRESS,
  COMMAND,
  COMMAND_IO,
  COMMAND_MEMORY,
  VENDOR_ID,
} from '../../sim/pci/config.ts';
import type { Servable, Signals } from '../vfio-user/servable.ts';
import { type ServeOptions, type Server, serveOther } from '../vfio-user/server.ts';
import { machineArena, type QemuOptions, startQemu } from './device.ts';
import { FIRST_LINE, LAST_LINE, MOST_VECTORS } from './interrupts.ts';
import { PAGE_BYTES } from './iommu.ts';
import { LentMemory } from './lent-memory.ts';
import { NETDEV } from './machine.ts';
import { MessageTable } from './message-table.ts';
import type { Monitor } from './monitor.ts';
import { SharedConfig } from './shared-config.ts';
import { Slot } from './slot.ts';

export interface ServeQemuOptions extends ServeOptions, Pick<QemuOptions, 'qemu' | 'progress' | 'netdev' | 'mac'> {
  /** Told once where QEMU ends by itself: from then on nothing answers, and what is left to do is to close the server. */
  readonly onEnd: (error: DeviceError) => void;
}

/** For the IOMMU's tables, of which only those in use cost: 30 GiB in the smallest pages, far more in larger ones. */
const TABLE_BYTES = 63 * 1024 * 1024;
/** Virtio takes memory past an IOMMU, or keeps what it found through one (QEMU, hw/virtio/virtio.c). */
const VIRTIO = 0x1af4;

/**
 * Starts a QEMU with this device, in the machine's time, and offers the device over vfio-user.
 * @param name as QEMU calls it: "e1000e". Any PCI network card but virtio's.
 * @throws as openQemu does, and as serve does.
 */
export async function serveQemu(name: string, options: ServeQemuOptions): Promise<Server<ServedQemu>> {
  const { qemu, progress, netdev, mac, onEnd, note = () => {} } = options;
  const machine = await startQemu(name, { qemu, progress, netdev, mac, dmaBytes: TABLE_BYTES }, { lends: true });
  const tables = machineArena(machine).alloc(TABLE_BYTES, PAGE_BYTES);
  const called = `qemu:${name}`;
  const slot = new Slot(machine, { name: called, tables, onEnd });
  try {
    if (slot.config.read16(VENDOR_ID) === VIRTIO)
      throw new DeviceError('UNSUPPORTED', `${called} takes memory past an IOMMU, and cannot be served: serve e1000e`);
    const monitor = machine.monitor!;
    const memory = new LentMemory(monitor, slot, slot.iommu!, note);
    const close = () => slot.close();
    const offer = (signals: Signals) => ({ model: new ServedQemu(slot, monitor, signals), backing: memory, close });
    const server = serveOther(offer, options);
    slot.settle();
    return server;
  } catch (error) {
    slot.close();
    throw error;
  }
}

const BARS = 6;
const BAR_IO = 1;
const BAR_64 = 4;
// PCI 3.0, 6.8.1 and 6.8.2: message control is at 2 of each capability.
const CONTROL = 2;
const MSI_ENABLE = 1;
const MSI_64 = 0x80;
const MSI_BYTES = 24; // with what some lack: masks and pending bits
const MSIX_ENABLE = 0x8000;
const MSIX_MASK_ALL = 0x4000;
// PCI Express 3.0, 7.8.4: device control is at 8 of its capability, and bit 15 resets the function.
const FLR_BYTE = 9;
const FLR = 0x80;

export class ServedQemu implements Servable {
  readonly config: SharedConfig;
  readonly bars: ({ readonly size: number; readonly kind: 'memory' | 'io' } | null)[] = Array(BARS).fill(null);
  readonly msiVectors: number;
  readonly rom = null;
  readonly msixVectors: number;
  readonly #slot: Slot;
  readonly #monitor: Monitor;
  readonly #signals: Signals;
  readonly #messages: MessageCapabilities;
  readonly #msi: number; // places of the capabilities
  readonly #msix: number;
  readonly #table: MessageTable | null = null;
  #programmed: 'msi' | 'msix' | null = null;
  #lines = 0; // the device's that are asserted
  #ringing = false;
  #collecting = false;

  constructor(slot: Slot, monitor: Monitor, signals: Signals) {
    this.#slot = slot;
    this.#monitor = monitor;
    this.#signals = signals;
    const { config: inner, bell } = slot;
    this.#messages = new MessageCapabilities(inner, (index) => slot.bar(index));
    const { msi, msix } = this.#messages.available;
    this.msiVectors = msi > 0 && bell !== null && this.#messages.reaches(bell.address) ? 1 : 0;
    this.msixVectors = bell === null ? 0 : Math.min(msix, MOST_VECTORS);
    this.config = new SharedConfig(inner);
    this.#keepBars(slot.assigned);
    this.#msi = this.#keepMessages(CAP_MSI, this.msiVectors > 0, MSI_BYTES);
    this.#msix = this.#keepMessages(CAP_MSI_X, this.msixVectors > 0, 2);
    if (this.msiVectors > 0) this.#makeMsi(this.#msi);
    if (this.msixVectors > 0) this.#table = this.#makeMsiX(this.#msix);
    this.#keepReset(findCapability(inner, CAP_PCI_EXPRESS));
    slot.onLine = (line, asserted) => this.#lineChanged(line, asserted);
  }

  /** QEMU's process. */
  get pid(): number {
    return this.#slot.pid;
  }

  /** Plugs the cable in, or pulls it. */
  link(up: boolean): void {
    this.#monitor.attempt('set_link', { name: NETDEV, up });
  }

  // Configuration space.

  #keepBars(assigned: readonly AssignedBar[]): void {
    const { config } = this;
    config.keep(BAR0, 4 * BARS);
    for (const { index, kind, size } of assigned) {
      this.bars[index] = { kind, size };
      const at = BAR0 + 4 * index;
      const bits = config.peek(at, 4) & (kind === 'io' ? BAR_IO : 15);
      config.poke(at, 4, bits);
      config.allow(at, 4, ~(size - 1) & (kind === 'io' ? ~3 : ~15));
      if (kind === 'memory' && (bits & BAR_64) !== 0) config.allow(at + 4, 4, 0xffffffff);
    }
  }

  /** Where the capability is; it is taken out of the list where its messages could not be had. */
  #keepMessages(id: number, offered: boolean, length: number): number {
    const { config } = this;
    const at = findCapability(this.#slot.config, id);
    if (at === 0) return 0;
    if (!offered) config.unlink(at);
    config.keep(at + CONTROL, length);
    config.onChange(at + CONTROL, 2, () => this.#messagesChanged());
    return at;
  }

  /** One vector: the bell could not tell more apart. */
  #makeMsi(at: number): void {
    const { config } = this;
    config.poke(at + CONTROL, 2, MSI_64);
    config.allow(at + CONTROL, 2, MSI_ENABLE);
    config.allow(at + 4, 4, 0xfffffffc);
    config.allow(at + 8, 4, 0xffffffff);
    config.allow(at + 12, 2, 0xffff);
  }

  #makeMsiX(at: number): MessageTable {
    const { config } = this;
    config.poke(at + CONTROL, 2, this.msixVectors - 1);
    config.allow(at + CONTROL, 2, MSIX_ENABLE | MSIX_MASK_ALL);
    return new MessageTable(config.read(at + 4, 4), config.read(at + 8, 4), this.msixVectors);
  }

  /** A reset that the function does by itself would leave its BARs nowhere. */
  #keepReset(express: number): void {
    if (express === 0) return;
    const { config } = this;
    config.keep(express + FLR_BYTE, 1);
    config.allow(express + FLR_BYTE, 1, 0xff);
    config.onWrite(express + FLR_BYTE, 1, () => {
      if ((config.peek(express + FLR_BYTE, 1) & FLR) !== 0) this.reset();
    });
  }

  reset(): void {
    this.#slot.reset();
    this.#table?.reset();
    this.config.reset();
    if (this.#ringing) this.#slot.bell?.take();
  }

  // BARs.

  readBar(index: number, offset: number, width: 1 | 2 | 4): number {
    if (!this.#decodes(index, offset, width)) return 0xffffffff >>> (32 - 8 * width);
    return this.#table?.read(index, offset, width) ?? readFrom(this.#slot.bar(index), offset, width);
  }

  writeBar(index: number, offset: number, width: 1 | 2 | 4, value: number): void {
    if (!this.#decodes(index, offset, width)) return;
    if (this.#table?.write(index, offset, width, value)) this.#release();
    else writeTo(this.#slot.bar(index), offset, width, value);
  }

  #decodes(index: number, offset: number, width: number): boolean {
    const bar = this.bars[index] ?? null;
    if (bar === null || offset < 0 || offset + width > bar.size) return false;
    return (this.config.peek(COMMAND, 2) & (bar.kind === 'io' ? COMMAND_IO : COMMAND_MEMORY)) !== 0;
  }

  // Interrupts.

  get messageKind(): 'msi' | 'msix' | null {
    const { config } = this;
    if (this.#table !== null && (config.peek(this.#msix + CONTROL, 2) & MSIX_ENABLE) !== 0) return 'msix';
    return this.msiVectors > 0 && (config.peek(this.#msi + CONTROL, 2) & MSI_ENABLE) !== 0 ? 'msi' : null;
  }

  maskVector(vector: number, masked: boolean): void {
    this.#table?.mask(vector, masked);
    this.#release();
  }

  /** The device's own registers have the bell for an address, whatever the client's have. */
  #messagesChanged(): void {
    const kind = this.messageKind;
    if (kind !== this.#programmed) {
      this.#programmed = kind;
      this.#messages.disable();
      const { bell } = this.#slot;
      if (kind === 'msi') this.#messages.enableMsi(1, bell!.address, 1);
      else if (kind === 'msix')
        this.#messages.enableMsiX(this.msixVectors, bell!.address, (vector) => (1 << vector) >>> 0);
    }
    this.#release();
  }

  #lineChanged(line: number, asserted: boolean): void {
    if (line === this.#slot.bell?.line) {
      this.#ringing = asserted;
      if (asserted) this.#collectSoon();
    } else if (line >= FIRST_LINE && line <= LAST_LINE) {
      const bit = 1 << line;
      this.#lines = asserted ? this.#lines | bit : this.#lines & ~bit;
      this.#signals.intx(this.#lines !== 0);
    }
  }

  /** Not from within an access, which is one already. */
  #collectSoon(): void {
    if (this.#collecting) return;
    this.#collecting = true;
    setImmediate(() => {
      this.#collecting = false;
      if (!this.#ringing) return;
      this.#ring(this.#slot.bell!.take());
      if (this.#ringing) this.#collectSoon(); // it rang again meanwhile
    });
  }

  #ring(vectors: number): void {
    const kind = this.messageKind;
    if (kind === 'msi') this.#signals.message(0);
    if (kind !== 'msix') return;
    this.#table!.pending |= vectors;
    this.#release();
  }

  /** Messages that nothing keeps back any more. */
  #release(): void {
    const table = this.#table;
    if (table === null || table.pending === 0 || this.messageKind !== 'msix') return;
    if ((this.config.peek(this.#msix + CONTROL, 2) & MSIX_MASK_ALL) !== 0) return;
    for (let vector = 0; vector < this.msixVectors; vector++) {
      const bit = 1 << vector;
      if ((table.pending & bit) === 0 || table.masked(vector)) continue;
      table.pending &= ~bit;
      this.#signals.message(vector);
    }
  }
}
