import { I82574L } from '../../drivers/e1000/variants.ts';
import { IO_SIZE, REGISTERS_SIZE } from '../../sim/e1000/configuration.ts';
import { E1000 } from '../../sim/e1000/i82540em.ts';
import { I82540EM } from '../../sim/e1000/registers.ts';
import { msi, msiX } from '../../sim/pci/capabilities/index.ts';
import { configurationMap } from '../../sim/pci/configuration.ts';
import type { Host } from '../../sim/pci/function.ts';

const { EECD, EERD, ICR } = I82540EM.r;
const R74 = I82574L.r;
const CONFIGURATION = configurationMap('82574L', {
  identity: { vendor: 0x8086, revision: 0, subsystemVendor: 0x8086, subsystem: 0, class: 0x020000, device: 0x10d3 },
  bars: {
    0: { kind: 'memory', size: REGISTERS_SIZE },
    2: { kind: 'io', size: IO_SIZE },
    3: { kind: 'memory', size: 0x4000 },
  },
  capabilities: [msiX(0xa0, { vectors: 5, bar: 3, table: 0, pending: 0x2000 }), msi(0xd0)],
});

/**
 * An 82540EM in the clothes of an 82574L, as far as the driver can tell: its identity, EERD's layout, MSI-X with the
 * queues' causes, MDIO ownership. What the card does with frames is the 82540EM's.
 */
export class StandIn82574 extends E1000 {
  readonly #extra = new Map<number, number>();
  #owners = 0;

  constructor(host: Host, mac: Uint8Array) {
    super(host, { mac }, CONFIGURATION);
    const table = { kind: 'memory', size: 0x4000, read: () => 0, write: () => {} } as const;
    this.addBar(3, table);
    const { registers } = this;
    const { read32, write32 } = {
      read32: registers.read32.bind(registers),
      write32: registers.write32.bind(registers),
    };
    registers.read32 = (offset) => this.#read(offset) ?? read32(offset);
    registers.write32 = (offset, value) => this.#write(offset, value, write32);
    registers.read = (offset) => registers.read32(offset);
    registers.write = (offset, _width, value) => registers.write32(offset, value);
  }

  #read(offset: number): number | undefined {
    if (offset === EERD.at) {
      const start = this.#extra.get(EERD.at) ?? 0;
      return ((this.eeprom.words[(start >> 2) & 63]! << 16) | R74.EERD.DONE | start) >>> 0;
    }
    if (offset === EECD.at) return R74.EECD.AUTO_RD;
    if (offset === R74.EXTCNF_CTRL.at && this.#owners < 3) return 0; // firmware is in possession for a while
    const isExtra = I82574L.find(offset) !== undefined && offset !== ICR.at;
    return isExtra ? (this.#extra.get(offset) ?? 0) : undefined;
  }

  #write(offset: number, value: number, write32: (offset: number, value: number) => void): void {
    const { IMS, IMC, ICS } = I82540EM.r;
    if (offset === R74.EXTCNF_CTRL.at) this.#owners++;
    if (I82574L.find(offset) !== undefined && offset !== ICR.at) this.#extra.set(offset, value);
    else if (offset === IMS.at || offset === IMC.at || offset === ICS.at) write32(offset, this.#causes(value));
    else write32(offset, value);
  }

  #causes(value: number): number {
    if (value >>> 0 === 0xffffffff) return value;
    const queues = (value & R74.ICR.RXQ0 ? ICR.RXT0 : 0) | (value & R74.ICR.TXQ0 ? ICR.TXDW : 0);
    return (value & 0xfffff) | queues;
  }

  /** By IVAR: the queues' causes go, with auto-clear, to vector 0, the others to 1. */
  protected override interrupt(asserted: boolean): void {
    super.interrupt(asserted);
    if (!asserted || this.messageVectors < 2) return;
    const { words } = this.registers;
    const causes = words[ICR.word]! & words[I82540EM.r.IMS.word]!;
    if (causes & ICR.LSC) this.interruptVector(1);
    const queues = causes & ~ICR.LSC;
    if (queues === 0) return;
    this.interruptVector(0);
    this.registers.write32(ICR.at, queues);
  }
}
