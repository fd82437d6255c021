/**
 * A driver that has configuration space alone, as before an operating system runs: memory decoding is off. Registers are reached
 * by REG_BASE_ADDR and REG_DATA, SRAM by its window, three mailboxes by their shadows (5718-PG108, page 177).
 */
import test from 'ava';
import { COMMAND, COMMAND_MASTER } from '../../../sim/pci/config.ts';
import { type AnyRegister, offsetOf } from '../../../sim/registers.ts';
import { CHIPS, type ChipName } from '../../../sim/tg3/chips.ts';
import { BCM57XX_CONFIGURATION } from '../../../sim/tg3/configuration.ts';
import { ethernet } from '../../util/packets.ts';
import { Bench, type BenchOptions, R, Recorder } from '../../util/tg3-harness.ts';

const MIRROR = 0x100; // below, a register is in configuration space itself
const MAILBOXES = 0x400;
const INDIRECT = 0x5600; // from a mailbox to where indirect access finds it

type Shadows = readonly [standard: number, returned: number, sent: number];
const LOW = 4;
const OLD: Shadows = [0x98 + LOW, 0xa0 + LOW, 0xa8 + LOW];
const NEW: Shadows = [0x98 + LOW, 0x88 + LOW, 0x90 + LOW];

class PreBoot extends Bench {
  readonly #shadows: Map<number, number>;

  constructor(shadows: Shadows, options: BenchOptions) {
    super({ ...options, up: false });
    const [standard, returned, sent] = shadows;
    this.#shadows = new Map([
      [R.MBOX_STD_PROD.at, standard],
      [R.MBOX_RET_CON.at(0), returned],
      [R.MBOX_SEND_PROD.at(0), sent],
    ]);
    this.up();
  }

  override decode(): void {
    this.card.config.write(COMMAND, 2, COMMAND_MASTER);
    const { INDIR_ACCESS, TAGGED_STATUS, MASK_PCI_INT } = R.MISC_HOST_CTRL;
    this.write(R.MISC_HOST_CTRL, INDIR_ACCESS | TAGGED_STATUS | MASK_PCI_INT);
  }

  override read(register: AnyRegister, index = 0): number {
    const at = offsetOf(register, index);
    return this.card.config.read(at < MIRROR ? at : this.#select(at), 4);
  }

  override write(register: AnyRegister, value: number, index = 0): void {
    const at = offsetOf(register, index);
    const shadow = at < MIRROR ? at : this.#shadows.get(at);
    this.card.config.write(shadow ?? this.#select(at), 4, value >>> 0);
  }

  #select(at: number): number {
    this.card.config.write(R.REG_BASE_ADDR.at, 4, at < MAILBOXES ? at + INDIRECT : at);
    return R.REG_DATA.at;
  }
}

const DRIVERS: [ChipName, string, Shadows][] = [
  ['tg3-5721', '', OLD],
  ['tg3-5751', '', OLD],
  ['tg3-57765', '', NEW],
  ['tg3', '', NEW],
  ['tg3-57765', ' at the older chips’ places', OLD],
  ['tg3', ' at the older chips’ places', OLD],
];

for (const [chip, where, shadows] of DRIVERS) {
  test(`${chip}: sends and receives through configuration space alone${where}`, (t) => {
    const b = new PreBoot(shadows, { chip, buffers: 8, memory: 8 << 20 });
    t.is(b.card.readBar(0, R.MAC_MODE.at, 4), 0xffffffff, 'memory is not decoded');
    for (let i = 0; i < 1100; i++) {
      const [out, back] = [
        ethernet({ length: 60 + (i % 1400), seed: i }),
        ethernet({ length: 1514 - (i % 1400), seed: i }),
      ];
      b.send(out);
      t.deepEqual(b.sent(), [out], `frame ${i}`);
      b.inject(back);
      const [received] = b.received();
      t.deepEqual(received?.bytes, back, `frame ${i}`);
      b.give(1);
      b.clock.advance(1); // what one moment may hold is not the question
    }
    t.is(b.card.dma.faults, 0);
    t.is(b.read(R.MBOX_SEND_PROD), 1100 % 512);
  });
}

for (const name of Object.keys(CHIPS) as ChipName[]) {
  const rows = BCM57XX_CONFIGURATION[name].rows;
  const at = (register: string) => rows.find((row) => row.name === register)!.at;
  const MAILBOX_SHADOWS: [string, AnyRegister][] = [
    ['STD_RING_PROD_IDX', R.MBOX_STD_PROD],
    ['RCV_RET_RING_CON_IDX', R.MBOX_RET_CON],
    ['SND_PROD_IDX', R.MBOX_SEND_PROD],
  ];

  test(`${name}: of a shadow's two halves the low one, which comes second, is the index; any width`, (t) => {
    const b = new Bench({ chip: name, up: false });
    b.decode();
    const { config } = b.card;
    for (const [shadow, mailbox] of MAILBOX_SHADOWS) {
      const low = at(shadow);
      t.is(at(`${shadow}_HIGH`), low - 4);
      config.write(low, 4, 0x123);
      t.is(b.read(mailbox), 0x123, shadow);
      config.write(low - 4, 4, 0x77);
      t.is(b.read(mailbox), 0x123, 'the high half');
      t.is(config.read(low - 4, 4), b.card.readBar(0, offsetOf(mailbox) - 4, 4));
      b.write(mailbox, 0x234);
      t.is(config.read(low, 4), 0x234, 'reads as the mailbox does');
      config.write(low, 1, 0x56);
      t.is(b.read(mailbox), 0x256);
      config.write(low + 1, 1, 1);
      t.is(b.read(mailbox), 0x156);
      t.deepEqual([config.read(low, 2), config.read(low + 1, 1), config.read(low - 1, 2)], [0x156, 1, 0x5600]);
      b.card.writeBar(0, low, 4, 0x7f);
      t.is(b.read(mailbox), 0x7f, 'and where BAR 0 shows configuration space');
    }
  });

  test(`${name}: the trace has the shadow and the mailbox`, (t) => {
    const b = new Bench({ chip: name, up: false });
    b.decode();
    const recorder = new Recorder();
    b.card.trace = recorder;
    b.card.config.write(at('SND_PROD_IDX'), 4, 3);
    b.card.config.read(at('STD_RING_PROD_IDX'), 4);
    t.deepEqual(recorder.lines, [
      'write SND_PROD_IDX 3',
      'write MBOX_SEND_PROD[0] 3',
      'read MBOX_STD_PROD 0',
      'read STD_RING_PROD_IDX 0',
    ]);
  });

  test(`${name}: indirect access reaches no register without leave, nor configuration space, nor what is not there`, (t) => {
    const b = new Bench({ chip: name, up: false });
    b.decode();
    const { config } = b.card;
    const { MISC_HOST_CTRL, REG_BASE_ADDR, REG_DATA, MAC_RX_MTU_SIZE } = R;
    config.write(REG_BASE_ADDR.at, 4, MAC_RX_MTU_SIZE.at);
    config.write(REG_DATA.at, 4, 1518);
    config.write(REG_DATA.at + 1, 1, 1);
    t.is(b.read(MAC_RX_MTU_SIZE), 0x1ee, 'a byte of it');
    config.write(MISC_HOST_CTRL.at, 2, config.read(MISC_HOST_CTRL.at, 2) & ~MISC_HOST_CTRL.INDIR_ACCESS);
    config.write(REG_DATA.at, 4, 7);
    t.is(b.read(MAC_RX_MTU_SIZE), 0x1ee);
  });

  test(`${name}: SRAM is written byte by byte through its window as well`, (t) => {
    const b = new Bench({ chip: name, up: false });
    b.decode();
    b.sramWrite(0x4000, 0x11223344);
    b.card.config.write(R.MEM_WIN_DATA.at + 2, 1, 0xaa);
    b.card.config.write(R.MEM_WIN_DATA.at, 2, 0xbbcc);
    t.is(b.sramRead(0x4000), 0x11aabbcc);
  });
}

for (const name of ['tg3-5721', 'tg3-5751'] as const) {
  test(`${name}: shadows of GRC's registers`, (t) => {
    const b = new Bench({ chip: name, up: false });
    b.decode();
    const { config } = b.card;
    config.write(0x88, 4, R.GRC_MODE.HOST_STACKUP);
    t.is(b.read(R.GRC_MODE), R.GRC_MODE.HOST_STACKUP);
    t.is(config.read(0x90, 4), b.read(R.GRC_LOCAL_CTRL));
    b.write(R.MBOX_SEND_PROD, 5);
    config.write(0x8c, 4, R.GRC_MISC_CFG.CORECLK_RESET);
    t.is(b.read(R.MBOX_SEND_PROD), 0, 'a core reset');
  });
}
