/** A PCI function that has every ability, and behind its BARs nothing but memory. */

import type { HostOf } from '../../sim/nic/board.ts';
import {
  advancedErrors,
  alternativeRouting,
  msi,
  msiX,
  pciExpress,
  powerManagement,
  SerialNumber,
  SrIov,
  serialNumber,
  srIov,
  VitalProductData,
  vitalProductData,
} from '../../sim/pci/capabilities/index.ts';
import { configurationMap, type FunctionShape } from '../../sim/pci/configuration.ts';
import { type Host, PciFunction, type Region } from '../../sim/pci/function.ts';
import { array, block } from '../../sim/state.ts';

const BAR_SIZE = 0x2000;
const ROM_SIZE = 0x800;
export const MAC = Uint8Array.of(0x02, 0x11, 0x22, 0x33, 0x44, 0x55);
/** An identifier string, and the end: PCI 3.0, appendix I. */
export const PRODUCT_DATA = Uint8Array.of(0x82, 4, 0, 0x6e, 0x6f, 0x6e, 0x65, 0x78);

const IDENTITY = {
  vendor: 0x8086,
  device: 0xfab0,
  revision: 1,
  subsystemVendor: 0x8086,
  subsystem: 1,
  class: 0x020000,
};

const VF_BARS = { 0: { kind: 'memory', size: BAR_SIZE, wide: true } } as const;

/** Its virtual functions. */
const VIRTUAL: FunctionShape = {
  identity: IDENTITY,
  virtual: true,
  bars: VF_BARS,
  capabilities: [
    msiX(0x70, { vectors: 3, bar: 0, table: 0x1000, pending: 0x1800 }),
    pciExpress(0xa0, { version: 2, functionReset: true }),
    alternativeRouting(0x100),
  ],
  size: 4096,
};

export const WHOLE: FunctionShape = {
  identity: IDENTITY,
  bars: { 0: { kind: 'memory', size: BAR_SIZE, wide: true }, 2: { kind: 'io', size: 0x20 } },
  rom: ROM_SIZE,
  pin: 'C',
  capabilities: [
    powerManagement(0x40, { capabilities: 0x0203 }),
    msi(0x50, { vectors: 8, masks: true }),
    msiX(0x70, { vectors: 40, bar: 0, table: 0x1000, pending: 0x1800 }),
    vitalProductData(0x80),
    pciExpress(0xa0, { version: 2, payload: 512, functionReset: true, speed: 2, lanes: 4, timeouts: 0xf }),
    advancedErrors(0x100),
    serialNumber(0x140),
    alternativeRouting(0x150),
    srIov(0x160, {
      total: 8,
      device: 0xfab1,
      bars: VF_BARS,
      offset: 8,
      stride: 1,
      withoutAri: { offset: 0x100, stride: 2 },
    }),
  ],
  size: 4096,
};

export class WholeFunction extends PciFunction {
  readonly #memory = new Uint8Array(BAR_SIZE);
  protected override readonly chipState = block(1, { memory: array(this.#memory) });

  /** @param hostOf what its virtual functions are plugged into: all into its own, if absent. */
  constructor(host: Host, shape = WHOLE, hostOf: HostOf = () => host) {
    super(host, configurationMap('whole', shape));
    this.addBar(0, memory('memory', this.#memory));
    if (shape.bars?.[2]) this.addBar(2, memory('io', new Uint8Array(0x20)));
    const virtual = this.part(SrIov);
    if (virtual) virtual.make = (_index, number) => new WholeFunction(hostOf(number), VIRTUAL);
    if (shape.rom !== undefined)
      this.addRom(
        memory(
          'memory',
          Uint8Array.from({ length: ROM_SIZE }, (_, i) => i),
        ),
      );
    this.part(SerialNumber)?.fromMac(MAC);
    const data = new DataView(PRODUCT_DATA.buffer);
    const vpd = this.part(VitalProductData);
    if (vpd) vpd.source = (address) => (address < data.byteLength ? data.getUint32(address, true) : 0xffffffff);
  }

  protected resetChip(): void {
    this.#memory.fill(0);
  }

  protected traceChanged(): void {}
}

function memory(kind: 'memory' | 'io', bytes: Uint8Array): Region {
  const at = (offset: number, width: number) => Array.from({ length: width }, (_, i) => offset + i);
  return {
    kind,
    size: bytes.length,
    read: (offset, width) => at(offset, width).reduceRight((sum, place) => sum * 256 + bytes[place]!, 0),
    write: (offset, width, value) => {
      for (const [i, place] of at(offset, width).entries()) bytes[place] = value >>> (8 * i);
    },
  };
}
