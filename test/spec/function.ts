/**
 * What every PCI function must do as one, whatever the chip: configuration space and what hangs on it, as firmware and an
 * operating system see it. It knows a model by its bus alone, and walks the lists that the function shows.
 *
 * An ability that the function lacks is a skip, with the reason. Sections: PCI Local Bus 3.0, unless they say otherwise.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Clock } from '../../sim/clock.ts';
import { AddressSpace } from '../../sim/memory.ts';
import {
  BAR0,
  CAP_ADVANCED_FEATURES,
  CAP_MSI,
  CAP_MSI_X,
  CAP_PCI_EXPRESS,
  CAP_POWER_MANAGEMENT,
  CAP_VITAL_PRODUCT_DATA,
  CAPABILITIES,
  COMMAND,
  COMMAND_INTX_DISABLE,
  COMMAND_IO,
  COMMAND_MASTER,
  COMMAND_MEMORY,
  EXPANSION_ROM,
  EXTENDED_CAP_ADVANCED_ERRORS,
  EXTENDED_CAP_SERIAL_NUMBER,
  EXTENDED_CAP_SR_IOV,
  HEADER_TYPE,
  INTERRUPT_PIN,
  ROM_ENABLE,
  STATUS,
  STATUS_CAPABILITIES,
  STATUS_INTERRUPT,
  VENDOR_ID,
} from '../../sim/pci/config.ts';
import { type Host, type PciFunction, ROM_INDEX } from '../../sim/pci/function.ts';

export interface Register {
  (title: string, test: () => void): void;
  skip(title: string, why: string): void;
}

/** A function in a slot that remembers what it signals. */
class Slot {
  readonly card: PciFunction;
  line = false;
  resets = 0;
  readonly messages: { vector: number; low: number; high: number; data: number }[] = [];

  constructor(make: (host: Host) => PciFunction) {
    this.card = make({
      clock: new Clock(),
      memory: new AddressSpace(),
      packetMemory: (size) => ({ bytes: new Uint8Array(size), start: 0 }),
      intx: (asserted) => {
        this.line = asserted;
      },
      message: (vector, low, high, data) => this.messages.push({ vector, low, high, data }),
      wasReset: () => this.resets++,
    });
  }

  get config() {
    return this.card.config;
  }

  command(bits: number): void {
    this.config.write(COMMAND, 2, bits);
  }

  /** The chip's line, and its vectors, moved by hand. */
  get chip(): { interrupt(asserted: boolean): void; interruptVector(vector: number): void } {
    return this.card as never;
  }

  /** Where the capability is; 0 for none. */
  find(id: number): number {
    return this.list().find(({ at }) => this.config.read(at, 1) === id)?.at ?? 0;
  }

  /** 6.7. */
  list(): { at: number; id: number }[] {
    const { config } = this;
    const list: { at: number; id: number }[] = [];
    for (let at = config.read(CAPABILITIES, 1); at !== 0; at = config.read(at + 1, 1)) {
      list.push({ at, id: config.read(at, 1) });
      assert.ok(at >= 0x40 && at % 4 === 0 && list.length <= 48, `the list leads to ${at}`);
    }
    return list;
  }

  /** PCIe 3.0, 7.9.1. */
  findExtended(id: number): number {
    const { config } = this;
    if (config.bytes.length <= 256 || config.map.find(256) === undefined) return 0;
    let at = 256;
    for (let seen = 0; at !== 0 && seen < 960; seen++) {
      const head = config.read(at, 4);
      if ((head & 0xffff) === id) return at;
      at = head >>> 20;
    }
    return 0;
  }

  /** Of a BAR, or of the ROM: what its register keeps of all ones. */
  size(at: number): number {
    const before = this.config.read(at, 4);
    this.config.write(at, 4, 0xffffffff);
    const sized = this.config.read(at, 4);
    this.config.write(at, 4, before);
    const bits = at === EXPANSION_ROM ? sized & ~0x7ff : sized & (sized & 1 ? ~3 : ~15);
    return -bits >>> 0;
  }
}

const MASKED_ALL = 0x4000;
const MSIX_ENABLE = 0x8000;
const ADDRESS = 0xfee01000;

export function functionSpec(test: Register, make: (host: Host) => PciFunction): void {
  const slot = () => new Slot(make);
  const on = (bits = COMMAND_MEMORY | COMMAND_IO | COMMAND_MASTER) => {
    const it = slot();
    it.command(bits);
    return it;
  };
  const sample = slot();
  const bars = sample.card.bars.flatMap((region, index) => (region === null ? [] : [{ index, region }]));

  test('the header is there after power-on, and identity takes no writes (6.1, 6.2.1)', () => {
    const { config } = slot();
    assert.notEqual(config.read(VENDOR_ID, 2), 0xffff);
    assert.equal(config.read(HEADER_TYPE, 1) & 0x7f, 0);
    assert.ok(config.read(INTERRUPT_PIN, 1) <= 4);
    assert.equal(config.read(COMMAND, 2), 0);
    const words = [0x00, 0x08, 0x2c];
    const before = words.map((at) => config.read(at, 4));
    for (const at of words) config.write(at, 4, ~config.read(at, 4));
    assert.deepEqual(
      words.map((at) => config.read(at, 4)),
      before,
    );
  });

  test('every list of capabilities ends, with no capability twice, and the status says that there is one (6.7)', () => {
    const it = slot();
    const ids = it.list().map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length);
    assert.equal((it.config.read(STATUS, 2) & STATUS_CAPABILITIES) !== 0, ids.length > 0);
    assert.equal(it.findExtended(-1), 0);
  });

  test('BARs tell their sizes, keep addresses that are aligned, and the others are zero (6.2.5.1)', () => {
    const it = slot();
    for (const [index, region] of it.card.bars.entries()) {
      const at = BAR0 + 4 * index;
      if (region !== null) {
        assert.equal(it.size(at), region.size, `BAR ${index}`);
        assert.equal((it.config.read(at, 4) & 1) === 1, region.kind === 'io');
        it.config.write(at, 4, 0xfedc_ba98);
        assert.equal((it.config.read(at, 4) & ~15) >>> 0, (0xfedc_ba98 & -Math.max(region.size, 16)) >>> 0);
      } else if (index === 0 || (it.config.read(at - 4, 4) & 7) !== 4) {
        it.config.write(at, 4, 0xffffffff);
        assert.equal(it.config.read(at, 4), 0, `BAR ${index}`);
      }
    }
  });

  test('a BAR answers while its kind is decoded; else, and past its end, all ones (6.2.2)', () => {
    for (const { index, region } of bars) {
      const [own, other] = region.kind === 'io' ? [COMMAND_IO, COMMAND_MEMORY] : [COMMAND_MEMORY, COMMAND_IO];
      const it = on(other);
      assert.equal(it.card.readBar(index, 0, 4), 0xffffffff);
      assert.equal(it.card.decoding[index], 0);
      it.command(own);
      assert.equal(it.card.decoding[index], 1);
      assert.equal(it.card.readBar(index, region.size, 4), 0xffffffff);
      assert.equal(it.card.readBar(index, region.size - 1, 2), 0xffff);
      assert.equal(it.card.readBar(index, -4, 4), 0xffffffff);
    }
  });

  if (sample.card.rom === null) test.skip('the expansion ROM', 'it has none');
  else
    test('the expansion ROM tells its size, answers while memory and it are enabled, and takes no writes (6.2.5.2)', () => {
      const it = on(COMMAND_MEMORY);
      const { size } = it.card.rom!;
      assert.equal(it.size(EXPANSION_ROM), size);
      const content = it.card.rom!.read(4, 4);
      assert.equal(it.card.readBar(ROM_INDEX, 4, 4), 0xffffffff);
      it.config.write(EXPANSION_ROM, 4, 0xf000_0000 | ROM_ENABLE);
      assert.equal(it.card.readBar(ROM_INDEX, 4, 4), content);
      it.card.writeBar(ROM_INDEX, 4, 4, ~content);
      assert.equal(it.card.readBar(ROM_INDEX, 4, 4), content);
      it.command(0);
      assert.equal(it.card.readBar(ROM_INDEX, 4, 4), 0xffffffff);
    });

  // ---- Interrupts -----------------------------------------------------------------------------------------------------

  if (sample.config.read(INTERRUPT_PIN, 1) === 0) test.skip('INTx', 'it has no pin');
  else
    test('INTx follows the chip; the disable bit silences it, and the status bit stays (6.2.2, 6.2.3)', () => {
      const it = on();
      it.chip.interrupt(true);
      assert.ok(it.line);
      it.command(COMMAND_INTX_DISABLE);
      assert.ok(!it.line);
      assert.ok(it.config.read(STATUS, 2) & STATUS_INTERRUPT);
      it.command(0);
      assert.ok(it.line);
      it.chip.interrupt(false);
      assert.ok(!it.line);
      assert.equal(it.config.read(STATUS, 2) & STATUS_INTERRUPT, 0);
    });

  test('without bus mastering nothing is written to memory, a message no more than data', () => {
    const it = on(COMMAND_MEMORY);
    assert.ok(!it.card.dma.enabled);
    const msi = it.find(CAP_MSI);
    if (msi !== 0) it.config.write(msi + 2, 2, 1);
    it.chip.interrupt(true);
    assert.deepEqual(it.messages, []);
    it.command(COMMAND_MASTER);
    assert.ok(it.card.dma.enabled);
  });

  msiSpec(test, slot, on);
  msixSpec(test, slot, on);

  // ---- Power ----------------------------------------------------------------------------------------------------------

  const power = sample.find(CAP_POWER_MANAGEMENT);
  if (power === 0) test.skip('power states', 'no power management capability');
  else {
    test('in D3hot only configuration space answers, and the function starts nothing (PM 1.2, 5.4.1)', () => {
      const it = on();
      it.config.write(power + 4, 2, 3);
      assert.equal(it.config.read(power + 4, 2) & 3, 3);
      it.chip.interrupt(true);
      assert.ok(!it.line);
      assert.ok(!it.card.dma.enabled);
      for (const { index } of bars) assert.equal(it.card.readBar(index, 0, 4), 0xffffffff);
      assert.notEqual(it.config.read(VENDOR_ID, 4), 0xffffffff);
    });

    test('back in D0 it is as it was, or reset, as No_Soft_Reset says (PM 1.2, 3.2.4)', () => {
      const it = on();
      const kept = (it.config.read(power + 4, 2) & 8) !== 0;
      const command = it.config.read(COMMAND, 2);
      it.config.write(power + 4, 2, 3);
      it.config.write(power + 4, 2, 0);
      assert.equal(it.config.read(power + 4, 2) & 3, 0);
      assert.equal(it.config.read(COMMAND, 2), kept ? command : 0);
      assert.equal(it.resets, kept ? 0 : 1);
    });

    test('a state that it does not have is not entered (PM 1.2, 3.2.4)', () => {
      const it = on();
      const states = it.config.read(power + 2, 2);
      for (const [state, bit] of [
        [1, 1 << 9],
        [2, 1 << 10],
      ] as const) {
        it.config.write(power + 4, 2, state);
        assert.equal(it.config.read(power + 4, 2) & 3, states & bit ? state : 0);
        it.config.write(power + 4, 2, 0);
      }
    });
  }

  // ---- Reset ----------------------------------------------------------------------------------------------------------

  test('after a reset of any kind it is as fresh, but for what survives it', () => {
    for (const kind of ['power-on', 'bus', 'function'] as const) {
      const [it, fresh] = [on(), slot()];
      for (const at of [BAR0, COMMAND, 0x0c, 0x3c]) it.config.write(at, 4, 0x0fff_ffff);
      it.card.reset(kind);
      for (const row of it.config.map.rows.filter(
        ({ survives = [], live }) => !live && !survives.some((reset) => reset === kind),
      ))
        assert.equal(it.config.peek(row.at, row.width ?? 4), fresh.config.peek(row.at, row.width ?? 4), row.name);
      assert.ok(!it.card.dma.enabled && !it.line);
    }
  });

  const express = sample.find(CAP_PCI_EXPRESS);
  const features = sample.find(CAP_ADVANCED_FEATURES);
  const byExpress = express !== 0 && (sample.config.read(express + 4, 4) & (1 << 28)) !== 0;
  if (!byExpress && features === 0) test.skip('function-level reset', 'neither PCI Express nor AF offers one');
  else
    test('a function-level reset puts back all but the link, in one write (PCIe 3.0, 6.6.2; AF)', () => {
      const it = on();
      it.config.write(0x3c, 1, 11);
      if (byExpress) it.config.write(express + 0x10, 2, 0x43);
      if (byExpress) it.config.write(express + 8, 2, 0x8000 | it.config.read(express + 8, 2));
      else it.config.write(features + 4, 1, 1);
      assert.equal(it.resets, 1);
      assert.equal(it.config.read(COMMAND, 2), 0);
      assert.equal(it.config.read(0x3c, 1), 0);
      if (byExpress) assert.equal(it.config.read(express + 0x10, 2), 0x43);
      if (byExpress) assert.equal(it.config.read(express + 8, 2) & 0x8000, 0);
      assert.ok(!it.card.dma.enabled);
    });

  // ---- What it tells of itself ------------------------------------------------------------------------------------------

  const vpd = sample.find(CAP_VITAL_PRODUCT_DATA);
  if (vpd === 0) test.skip('vital product data', 'no such capability');
  else
    test('vital product data come by address and flag, and begin with a name (appendix I)', () => {
      const it = on();
      const read = (address: number) => {
        it.config.write(vpd + 2, 2, address);
        assert.equal(it.config.read(vpd + 2, 2), address | 0x8000, 'the flag tells of the end');
        return it.config.read(vpd + 4, 4);
      };
      const first = read(0);
      assert.equal(first & 0xff, 0x82, 'an identifier string');
      it.config.write(vpd + 4, 4, ~first);
      it.config.write(vpd + 2, 2, 0x8000);
      assert.equal(it.config.read(vpd + 2, 2), 0, 'a write ends with the flag clear');
      assert.equal(read(0), first, 'and changes nothing');
      for (const address of [4, 0x100, 0x7ffc]) read(address);
    });

  const serial = sample.findExtended(EXTENDED_CAP_SERIAL_NUMBER);
  if (serial === 0) test.skip('serial number', 'no such capability');
  else
    test('the serial number is there, and survives a reset (PCIe 3.0, 7.12)', () => {
      const it = slot();
      const words = () => [it.config.read(serial + 4, 4), it.config.read(serial + 8, 4)];
      const before = words();
      assert.notDeepEqual(before, [0, 0]);
      it.config.write(serial + 4, 4, 0);
      it.card.reset('power-on');
      assert.deepEqual(words(), before);
    });

  const errors = sample.findExtended(EXTENDED_CAP_ADVANCED_ERRORS);
  if (errors === 0) test.skip('advanced errors', 'no such capability');
  else
    test('an access that nothing answers is an Unsupported Request, kept until power goes (PCIe 3.0, 7.10)', () => {
      const it = on(0);
      it.card.readBar(bars[0]!.index, 0, 4);
      assert.equal(it.config.read(errors + 4, 4), 1 << 20);
      assert.equal(it.config.read(errors + 0x18, 4) & 0x1f, 20);
      it.card.reset('bus');
      assert.equal(it.config.read(errors + 4, 4), 1 << 20);
      it.config.write(errors + 4, 4, 1 << 20);
      assert.equal(it.config.read(errors + 4, 4), 0);
      it.card.readBar(bars[0]!.index, 0, 4);
      it.card.reset('power-on');
      assert.equal(it.config.read(errors + 4, 4), 0);
      assert.equal(it.config.read(errors + 0x18, 4) & 0x1f, 0);
    });

  virtualSpec(test, slot, on);

  // ---- Hostile software -------------------------------------------------------------------------------------------------

  test('property: whatever is accessed, nothing throws, and a copy goes on alike', () => {
    const places = sample.config.map.rows.map(({ at }) => at);
    const value = fc.option(fc.integer({ min: 0, max: 0xffffffff }));
    const width = fc.constantFrom(1, 2, 4);
    const ofConfig = fc.tuple(
      fc.constant(-1),
      fc.oneof(fc.constantFrom(...places), fc.integer({ min: -8, max: 4100 })),
    );
    const ofBar = fc.tuple(fc.integer({ min: 0, max: 8 }), fc.oneof(fc.integer({ min: -8, max: 0x40 }), fc.integer()));
    const access = fc.tuple(fc.oneof(ofConfig, ofBar), width, value);
    const play = ({ card }: Slot, accesses: [[number, number], number, number | null][]) =>
      accesses.map(([[bar, at], wide, written]) => {
        const width = wide as 1 | 2 | 4;
        if (written === null) return bar < 0 ? card.config.read(at, width) : card.readBar(bar, at, width);
        if (bar < 0) card.config.write(at, width, written);
        else card.writeBar(bar, at, width, written);
        return card.decoding.join('');
      });
    fc.assert(
      fc.property(fc.array(access, { maxLength: 50 }), fc.array(access, { maxLength: 50 }), (first, then) => {
        const [it, copy] = [on(), slot()];
        play(it, first);
        copy.card.restore(structuredClone(it.card.save()));
        it.messages.length = copy.messages.length = 0;
        assert.deepEqual(play(copy, then), play(it, then));
        assert.deepEqual(copy.messages, it.messages);
        assert.equal(copy.line, it.line);
        assert.deepEqual(copy.config.bytes, it.config.bytes);
      }),
      { numRuns: Number(process.env.FAUXNIC_RUNS ?? 30) },
    );
  });
}

function msiSpec(test: Register, slot: () => Slot, on: () => Slot): void {
  const sample = slot();
  const at = sample.find(CAP_MSI);
  if (at === 0) {
    test.skip('MSI', 'no such capability');
    return;
  }
  const control = sample.config.read(at + 2, 2);
  const capable = 1 << ((control >>> 1) & 7);
  const wide = (control & 0x80) !== 0;
  const data = at + (wide ? 12 : 8);
  const ready = (allotted = 0) => {
    const it = on();
    it.config.write(at + 4, 4, ADDRESS);
    if (wide) it.config.write(at + 8, 4, 2);
    it.config.write(data, 2, 0x4140);
    it.config.write(at + 2, 2, 1 | (allotted << 4));
    return it;
  };

  test('MSI: a message at each rising edge, with address and data as programmed, and no pin (6.8.1)', () => {
    const it = ready();
    for (const level of [true, true, false, true]) it.chip.interrupt(level);
    const message = { vector: 0, low: ADDRESS, high: wide ? 2 : 0, data: 0x4140 };
    assert.deepEqual(it.messages, [message, message]);
    assert.ok(!it.line);
    assert.equal(it.card.messageKind, 'msi');
  });

  test('MSI: off, the pin is back', () => {
    const it = ready();
    it.chip.interrupt(true);
    it.config.write(at + 2, 2, 0);
    assert.equal(it.line, it.config.read(INTERRUPT_PIN, 1) !== 0);
    assert.equal(it.messages.length, 1);
  });

  if (capable === 1) test.skip('MSI: several messages', 'it asks for one');
  else
    test('MSI: a vector is the low bits of data; those that were not allotted fold into those that were (6.8.1.6)', () => {
      for (let log = 0; log <= 7; log++) {
        const it = ready(log);
        const allotted = Math.min(1 << log, capable);
        assert.equal(it.card.messageVectors, allotted);
        for (let vector = 0; vector < capable; vector++) it.chip.interruptVector(vector);
        assert.deepEqual(
          it.messages.map(({ vector, data: word }) => [vector, word]),
          Array.from({ length: capable }, (_, vector) => [vector % allotted, 0x4140 + (vector % allotted)]),
        );
      }
    });

  if ((control & 0x100) === 0) test.skip('MSI: mask and pending bits', 'it has none');
  else
    test('MSI: a masked vector is left pending, once, and sent when it is unmasked (6.8.1.7)', () => {
      const it = ready(7);
      const last = capable - 1;
      it.config.write(data + 4, 4, 1 << last);
      it.chip.interruptVector(last);
      it.chip.interruptVector(last);
      it.chip.interruptVector(0);
      assert.equal(it.messages.length, 1);
      assert.equal(it.config.read(data + 8, 4), (1 << last) >>> 0);
      it.config.write(data + 4, 4, 0);
      assert.deepEqual(
        it.messages.map(({ vector }) => vector),
        [0, last],
      );
      assert.equal(it.config.read(data + 8, 4), 0);
    });
}

function msixSpec(test: Register, slot: () => Slot, on: () => Slot): void {
  const sample = slot();
  const at = sample.find(CAP_MSI_X);
  if (at === 0) {
    test.skip('MSI-X', 'no such capability');
    return;
  }
  const vectors = (sample.config.read(at + 2, 2) & 0x7ff) + 1;
  const place = (offset: number) => {
    const word = sample.config.read(at + offset, 4);
    return { bar: word & 7, offset: (word & ~7) >>> 0 };
  };
  const [table, pending] = [place(4), place(8)];
  const entry = (it: Slot, vector: number, word: number, value: number) =>
    it.card.writeBar(table.bar, table.offset + 16 * vector + 4 * word, 4, value);
  const pends = (it: Slot, vector: number) =>
    (it.card.readBar(pending.bar, pending.offset + 4 * (vector >> 5), 4) >>> (vector & 31)) & 1;
  const ready = (control = MSIX_ENABLE) => {
    const it = on();
    for (let vector = 0; vector < vectors; vector++)
      for (const [word, value] of [ADDRESS, 1, 0x100 + vector, 0].entries()) entry(it, vector, word, value);
    it.config.write(at + 2, 2, control);
    return it;
  };
  const last = vectors - 1;

  test('MSI-X: every vector is masked after a reset, and has a message of its own (6.8.2)', () => {
    const fresh = on();
    for (let vector = 0; vector < vectors; vector++)
      assert.equal(fresh.card.readBar(table.bar, table.offset + 16 * vector + 12, 4), 1);
    const it = ready();
    for (const vector of [0, last]) it.chip.interruptVector(vector);
    assert.deepEqual(
      it.messages.map(({ vector, low, high, data }) => [vector, low, high, data]),
      [0, last].map((vector) => [vector, ADDRESS, 1, 0x100 + vector]),
    );
    it.chip.interruptVector(vectors);
    assert.equal(it.messages.length, 2);
  });

  test('MSI-X: a masked vector is left pending, once, and sent when it is unmasked (6.8.3.4)', () => {
    const it = ready();
    entry(it, last, 3, 1);
    it.chip.interruptVector(last);
    it.chip.interruptVector(last);
    assert.equal(pends(it, last), 1);
    assert.equal(it.messages.length, 0);
    entry(it, last, 3, 0);
    assert.equal(pends(it, last), 0);
    assert.equal(it.messages.length, 1);
  });

  test('MSI-X: the function mask, and bus mastering off, hold all vectors', () => {
    const it = ready(MSIX_ENABLE | MASKED_ALL);
    it.chip.interruptVector(last);
    assert.equal(pends(it, last), 1);
    it.command(COMMAND_MEMORY);
    it.config.write(at + 2, 2, MSIX_ENABLE);
    assert.equal(it.messages.length, 0);
    it.command(COMMAND_MEMORY | COMMAND_MASTER);
    assert.equal(it.messages.length, 1);
    assert.equal(pends(it, last), 0);
  });

  test('MSI-X: on, the pin is silent', () => {
    const it = ready();
    it.chip.interrupt(true);
    assert.ok(!it.line);
    assert.equal(it.card.messageKind, 'msix');
  });
}

/** SR-IOV 1.1; a function is told from another by its number. */
function virtualSpec(test: Register, slot: () => Slot, on: () => Slot): void {
  const at = slot().findExtended(EXTENDED_CAP_SR_IOV);
  if (at === 0) {
    test.skip('virtual functions', 'no SR-IOV capability');
    return;
  }
  const [control, number] = [at + 0x08, at + 0x10];
  const [ENABLE, MEMORY, ARI] = [1, 8, 16];
  const total = slot().config.read(at + 0x0e, 2);
  const enabled = (count: number, bits = ENABLE | MEMORY) => {
    const it = on();
    it.config.write(number, 2, count);
    it.config.write(control, 2, bits);
    return it;
  };
  test('virtual functions are there from VF Enable on, as many as wanted, where offset and stride say (3.3)', () => {
    for (const bits of [ENABLE, ENABLE | ARI]) {
      const it = enabled(3, bits);
      const [offset, stride] = [it.config.read(at + 0x14, 2), it.config.read(at + 0x16, 2)];
      assert.ok(offset > 0);
      assert.deepEqual(
        it.card.virtualFunctions.map((virtual) => virtual.number),
        [0, 1, 2].map((index) => it.card.number + offset + index * stride),
      );
      it.config.write(control, 2, 0);
      assert.equal(it.card.virtualFunctions.length, 0);
    }
  });

  test('their number is fixed while they are there, and never beyond what there can be (3.3.7)', () => {
    const it = enabled(2);
    it.config.write(number, 2, 1);
    assert.equal(it.config.read(number, 2), 2);
    it.config.write(control, 2, 0);
    it.config.write(number, 2, total + 1);
    assert.equal(it.config.read(number, 2), 2);
    it.config.write(number, 2, total);
    it.config.write(control, 2, ENABLE);
    assert.equal(it.card.virtualFunctions.length, total);
  });

  test('a virtual function has no identity, no BAR registers and no pin of its own; it is a bus master (3.4.1)', () => {
    const [virtual] = enabled(1).card.virtualFunctions;
    const { config } = virtual!;
    assert.equal(config.read(VENDOR_ID, 4), 0xffffffff);
    config.write(COMMAND, 2, 0xffff);
    assert.equal(config.read(COMMAND, 2), COMMAND_MASTER);
    assert.ok(virtual!.dma.enabled);
    config.write(BAR0, 4, 0xffffffff);
    assert.equal(config.read(BAR0, 4), 0);
    assert.equal(config.read(INTERRUPT_PIN, 1), 0);
  });

  if (slot().size(at + 0x24) === 0) test.skip('memory of virtual functions', 'they have no BAR 0');
  else
    test('their memory answers while VF MSE is set, each with its own (3.3.3.4)', () => {
      const it = enabled(2);
      const [first, second] = it.card.virtualFunctions;
      first!.writeBar(0, 0, 4, 0x1234);
      assert.equal(first!.readBar(0, 0, 4), 0x1234);
      assert.equal(second!.readBar(0, 0, 4), 0);
      it.config.write(control, 2, ENABLE);
      assert.equal(first!.readBar(0, 0, 4), 0xffffffff);
    });

  test('when they go, by VF Enable or by a reset, whoever still has one reaches nothing (3.3.3.1, 2.2.2)', () => {
    for (const end of ['enable', 'function', 'bus'] as const) {
      const it = enabled(2);
      const [virtual] = it.card.virtualFunctions;
      if (end === 'enable') it.config.write(control, 2, MEMORY);
      else it.card.reset(end);
      assert.equal(it.card.virtualFunctions.length, 0);
      virtual!.config.write(COMMAND, 2, COMMAND_MASTER);
      assert.ok(!virtual!.dma.enabled);
      assert.equal(virtual!.readBar(0, 0, 4), 0xffffffff);
    }
  });

  test('a reset of one leaves the others alone (2.2.2)', () => {
    const [first, second] = enabled(2).card.virtualFunctions;
    for (const it of [first, second]) it!.config.write(COMMAND, 2, COMMAND_MASTER);
    first!.reset('function');
    assert.deepEqual([first!.dma.enabled, second!.dma.enabled], [false, true]);
  });

  test('they are in a snapshot of their physical function', () => {
    const [it, copy] = [enabled(2), slot()];
    it.card.virtualFunctions[1]!.config.write(COMMAND, 2, COMMAND_MASTER);
    copy.card.restore(structuredClone(it.card.save()));
    assert.deepEqual(
      copy.card.virtualFunctions.map((virtual) => virtual.dma.enabled),
      [false, true],
    );
    copy.card.restore(structuredClone(slot().card.save()));
    assert.equal(copy.card.virtualFunctions.length, 0);
  });
}
