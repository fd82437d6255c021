/** PCI configuration space, BARs and interrupts, on a function made for the purpose. Sections: PCI Local Bus 3.0. */
import test from 'ava';
import { Clock } from '../../sim/clock.ts';
import { AddressSpace } from '../../sim/memory.ts';
import { msi, msiX, powerManagement } from '../../sim/pci/capabilities/index.ts';
import {
  BAR0,
  CAP_MSI,
  CAP_MSI_X,
  CAPABILITIES,
  CLASS_CODE,
  COMMAND,
  COMMAND_INTX_DISABLE,
  COMMAND_MASTER,
  COMMAND_MEMORY,
  ConfigSpace,
  INTERRUPT_LINE,
  STATUS,
  STATUS_CAPABILITIES,
  STATUS_INTERRUPT,
  VENDOR_ID,
} from '../../sim/pci/config.ts';
import { configurationMap } from '../../sim/pci/configuration.ts';
import { PciFunction, type ResetKind } from '../../sim/pci/function.ts';

const ID = { vendor: 0x8086, device: 0x1533, revision: 3, subsystemVendor: 0x1af4, subsystem: 0x1100, class: 0x020000 };
const MSI = 0x50;
const MSIX = 0x70;
const TABLE = 0x100;
const PENDING = 0x300;
const VECTORS = 5;

const TOY = configurationMap('toy', {
  identity: ID,
  bars: { 0: { kind: 'memory', size: 0x1000 }, 1: { kind: 'io', size: 0x20 } },
  capabilities: [msi(MSI), msiX(MSIX, { vectors: VECTORS, bar: 0, table: TABLE, pending: PENDING })],
});

class Toy extends PciFunction {
  resets: ResetKind[] = [];
  readonly seen: string[] = [];
  lines: boolean[] = [];
  messages: number[][] = [];

  constructor() {
    const lines: boolean[] = [];
    const messages: number[][] = [];
    super(
      {
        clock: new Clock(),
        memory: new AddressSpace(),
        packetMemory: (size) => ({ bytes: new Uint8Array(size), start: 0 }),
        intx: (asserted) => lines.at(-1) !== asserted && lines.push(asserted),
        message: (...message) => messages.push(message),
      },
      TOY,
    );
    lines.length = 0;
    this.lines = lines;
    this.messages = messages;
    const tell = (kind: 'memory' | 'io', size: number) => ({
      kind,
      size,
      read: (offset: number, width: number) => {
        this.seen.push(`read ${offset} ${width}`);
        return -1;
      },
      write: (offset: number, width: number, value: number) => void this.seen.push(`write ${offset} ${width} ${value}`),
    });
    this.addBar(0, tell('memory', 0x1000));
    this.addBar(1, tell('io', 0x20));
  }

  protected resetChip(kind: ResetKind): void {
    this.resets.push(kind);
  }
  protected traceChanged(): void {}

  line(asserted: boolean): void {
    this.interrupt(asserted);
  }
  raise(vector: number): void {
    this.interruptVector(vector);
  }
  command(bits: number): void {
    this.config.write(COMMAND, 2, bits);
  }
  control(at: number, bits: number): void {
    this.config.write(at + 2, 2, bits);
  }
  /** Programs a vector: its data is 0x100 more than its number. */
  entry(vector: number, masked = false): void {
    const at = TABLE + vector * 16;
    for (const [i, word] of [0xfee00000, 1, 0x100 + vector, masked ? 1 : 0].entries())
      this.writeBar(0, at + 4 * i, 4, word);
  }
  pending(): number {
    return this.readBar(0, PENDING, 4);
  }
}

function toy(command = COMMAND_MEMORY | COMMAND_MASTER): Toy {
  const device = new Toy();
  device.command(command);
  return device;
}

function msix(control = 0x8000): Toy {
  const device = toy();
  for (let vector = 0; vector < VECTORS; vector++) device.entry(vector);
  device.control(MSIX, control);
  return device;
}

test('identity reads as given, and does not take writes (6.2.1)', (t) => {
  const { config } = toy();
  config.write(VENDOR_ID, 4, 0xffffffff);
  config.write(CLASS_CODE - 1, 4, 0xffffffff);
  t.is(config.read(VENDOR_ID, 4), 0x15338086);
  t.is(config.read(CLASS_CODE - 1, 4), 0x02000003);
  t.is(config.read(0x2c, 4), 0x11001af4);
});

const sizes: ['memory' | 'io', number, number][] = [
  ['memory', 0x20000, 0xfffe0000],
  ['memory', 16, 0xfffffff0],
  ['memory', 0x80000000, 0x80000000],
  ['io', 64, 0xffffffc1],
  ['io', 4, 0xfffffffd],
];
for (const [kind, size, mask] of sizes) {
  test(`a ${kind} BAR of ${size} bytes is sized by writing ones (6.2.5.1)`, (t) => {
    const config = new ConfigSpace(configurationMap('toy', { identity: ID, bars: { 2: { kind, size } } }));
    config.write(BAR0 + 8, 4, 0xffffffff);
    t.is(config.read(BAR0 + 8, 4), mask);
    t.is(config.read(BAR0 + 12, 4), 0);
  });
}

test('a BAR written byte by byte is the same', (t) => {
  const { config } = toy();
  for (const [i, byte] of [0x78, 0x56, 0x34, 0x12].entries()) config.write(BAR0 + i, 1, byte);
  t.is(config.read(BAR0, 4), 0x12345000);
});

test('the capability list leads from the pointer to every capability, and ends (6.7)', (t) => {
  const { config } = toy();
  t.truthy(config.read(STATUS, 2) & STATUS_CAPABILITIES);
  const found: number[][] = [];
  for (let at = config.read(CAPABILITIES, 1); at !== 0; at = config.read(at + 1, 1))
    found.push([at, config.read(at, 1)]);
  t.deepEqual(found, [
    [MSI, CAP_MSI],
    [MSIX, CAP_MSI_X],
  ]);
});

test('a capability off a word or out of the space is refused', (t) => {
  for (const at of [0x3c, 0x42, 0xfc]) {
    const shape = { identity: ID, capabilities: [powerManagement(at, { capabilities: 0 })] };
    t.throws(() => configurationMap('toy', shape), { instanceOf: RangeError });
  }
});

test('status bits that errors set are cleared by writing 1, and by nothing else (6.2.3)', (t) => {
  const { config } = toy();
  config.poke(STATUS, 2, 0xf910);
  config.write(STATUS, 2, 0x8000);
  t.is(config.read(STATUS, 2), 0x7910);
});

test('accesses outside configuration space read ones and write nothing', (t) => {
  const { config } = toy();
  t.deepEqual([config.read(-1, 1), config.read(255, 2), config.read(256, 4)], [0xff, 0xffff, 0xffffffff]);
  t.notThrows(() => config.write(254, 4, 0));
});

test('a BAR decodes only what the command register enables (6.2.2)', (t) => {
  const device = toy(0);
  t.is(device.readBar(0, 0, 4), 0xffffffff);
  t.is(device.readBar(0, 0, 1), 0xff);
  device.writeBar(0, 0, 4, 1);
  device.command(1);
  device.readBar(0, 0, 4);
  device.readBar(1, 4, 2);
  t.deepEqual(device.seen, ['read 4 2']);
});

test('accesses past a BAR, and to none, read ones and reach nothing', (t) => {
  const device = toy();
  for (const [bar, offset] of [
    [0, 0x1000],
    [0, 0xffe],
    [0, -4],
    [2, 0],
    [7, 0],
  ] as const) {
    t.is(device.readBar(bar, offset, 4), 0xffffffff);
    device.writeBar(bar, offset, 4, 0);
  }
  t.deepEqual(device.seen, []);
});

test('INTx follows the chip’s line; the disable bit silences the pin and leaves the status bit (6.2.2, 6.2.3)', (t) => {
  const device = toy();
  device.line(true);
  t.truthy(device.config.read(STATUS, 2) & STATUS_INTERRUPT);
  device.command(COMMAND_INTX_DISABLE);
  t.truthy(device.config.read(STATUS, 2) & STATUS_INTERRUPT);
  device.command(0);
  device.line(false);
  t.falsy(device.config.read(STATUS, 2) & STATUS_INTERRUPT);
  t.deepEqual(device.lines, [false, true, false, true, false]);
});

test('MSI: a message at each rising edge, and no pin (6.8.1.3)', (t) => {
  const device = toy();
  device.config.write(MSI + 4, 4, 0xfee00000);
  device.config.write(MSI + 8, 4, 2);
  device.config.write(MSI + 12, 2, 0x4041);
  device.control(MSI, 1);
  for (const level of [true, true, false, true]) device.line(level);
  t.deepEqual(device.messages, [
    [0, 0xfee00000, 2, 0x4041],
    [0, 0xfee00000, 2, 0x4041],
  ]);
  t.false(device.lines.includes(true));
  t.is(device.messageVectors, 1);
});

test('MSI: no message without bus mastering, for a message is a memory write', (t) => {
  const device = toy(COMMAND_MEMORY);
  device.control(MSI, 1);
  device.line(true);
  t.deepEqual(device.messages, []);
});

test('MSI-X: the capability tells size and places; the table reads back (6.8.2)', (t) => {
  const device = msix();
  t.is(device.config.read(MSIX + 2, 2) & 0x7ff, VECTORS - 1);
  t.is(device.config.read(MSIX + 4, 4), TABLE);
  t.is(device.config.read(MSIX + 8, 4), PENDING);
  t.deepEqual(
    [0, 4, 8, 12].map((at) => device.readBar(0, TABLE + 0x20 + at, 4)),
    [0xfee00000, 1, 0x102, 0],
  );
  t.is(device.readBar(0, TABLE + 0x23, 1), 0xfe);
  t.deepEqual(device.seen, [], 'the chip behind the BAR hears nothing of it');
  t.is(device.messageVectors, VECTORS);
});

test('MSI-X: every vector is masked after reset (6.8.2.9)', (t) => {
  const device = msix();
  device.reset('bus');
  device.command(COMMAND_MEMORY);
  t.is(device.readBar(0, TABLE + 12, 4), 1);
  t.is(device.readBar(0, TABLE + 0x10 * (VECTORS - 1) + 12, 4), 1);
});

test('MSI-X: a vector’s message carries its address and data', (t) => {
  const device = msix();
  device.raise(3);
  t.deepEqual(device.messages, [[3, 0xfee00000, 1, 0x103]]);
  t.is(device.pending(), 0);
});

test('MSI-X: while masked a vector is left pending, once, and sent when unmasked (6.8.3.4)', (t) => {
  const device = msix();
  device.entry(2, true);
  device.raise(2);
  device.raise(2);
  t.is(device.pending(), 4);
  t.deepEqual(device.messages, []);
  device.writeBar(0, TABLE + 0x2c, 4, 0);
  t.deepEqual(device.messages, [[2, 0xfee00000, 1, 0x102]]);
  t.is(device.pending(), 0);
});

test('MSI-X: the function mask holds all vectors, each keeping its own mask', (t) => {
  const device = msix(0xc000);
  device.entry(1, true);
  for (const vector of [0, 1, 4]) device.raise(vector);
  t.is(device.pending(), 0b10011);
  device.control(MSIX, 0x8000);
  t.deepEqual(
    device.messages.map(([vector]) => vector),
    [0, 4],
  );
  t.is(device.pending(), 0b00010);
});

test('MSI-X: without bus mastering a vector stays pending until it is back', (t) => {
  const device = msix();
  device.command(COMMAND_MEMORY);
  device.raise(0);
  t.is(device.pending(), 1);
  device.command(COMMAND_MEMORY | COMMAND_MASTER);
  t.deepEqual(
    device.messages.map(([vector]) => vector),
    [0],
  );
});

test('MSI-X: off, nothing is sent and nothing pends; on, INTx is silent', (t) => {
  const device = msix(0);
  device.raise(0);
  t.is(device.pending(), 0);
  device.control(MSIX, 0x8000);
  device.line(true);
  t.deepEqual(device.messages, []);
  t.false(device.lines.includes(true));
});

test('MSI-X: a vector there is not, sub-word writes and writes of pending bits do nothing', (t) => {
  const device = msix();
  device.raise(VECTORS);
  device.writeBar(0, TABLE, 1, 0xff);
  device.writeBar(0, TABLE + 2, 2, 0xff);
  device.writeBar(0, PENDING, 4, 0xff);
  t.is(device.readBar(0, TABLE, 4), 0xfee00000);
  t.is(device.pending(), 0);
  t.deepEqual(device.messages, []);
});

test('a reset puts all of configuration space back', (t) => {
  const device = msix();
  const fresh = [...new Toy().config.bytes];
  for (let at = 0; at < 256; at += 4) device.config.write(at, 4, 0xffffffff);
  device.reset('bus');
  t.deepEqual([...device.config.bytes], fresh);
  t.is(device.config.read(INTERRUPT_LINE, 1), 0);
  t.false(device.dma.enabled);
  t.deepEqual(device.resets, ['bus']);
});

test('saved and restored, a fresh function has its vectors, pending ones, line and bus mastering', (t) => {
  const device = msix();
  device.entry(2, true);
  device.raise(2);
  device.line(true);
  device.dma.faults = 3;
  const copy = new Toy();
  copy.restore(structuredClone(device.save()));
  t.is(copy.pending(), 4);
  t.is(copy.dma.faults, 3);
  t.truthy(copy.config.read(STATUS, 2) & STATUS_INTERRUPT);
  copy.writeBar(0, TABLE + 0x2c, 4, 0);
  t.deepEqual(copy.messages, [[2, 0xfee00000, 1, 0x102]]);
});
