/** A board of two functions: in the sim backend, in a snapshot, and as the command has it. */
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { execa } from 'execa';
import { runClock, runFor } from '../../drivers/backends/clock-steps.ts';
import { openSimBoard } from '../../drivers/backends/sim.ts';
import { createE1000 } from '../../drivers/e1000/e1000.ts';
import { Clock, MILLISECOND, SECOND } from '../../sim/clock.ts';
import { I82540EM } from '../../sim/e1000/registers.ts';
import { CardBoard, type HostOf } from '../../sim/nic/board.ts';
import { COMMAND, COMMAND_MASTER, HEADER_TYPE, INTERRUPT_PIN } from '../../sim/pci/config.ts';
import type { Host } from '../../sim/pci/function.ts';
import { StateError } from '../../sim/state.ts';
import { HostPort } from '../../sim/wire/host-port.ts';
import { Link } from '../../sim/wire/link.ts';
import { lacksOf } from '../spec/lacks.ts';
import { netdevSpec } from '../spec/netdev.ts';
import { avaRegister } from '../util/ava-register.ts';
import { DualPort } from '../util/dual-port.ts';
import { simBench } from '../util/sim-bench.ts';
import { WHOLE, WholeFunction } from '../util/whole-function.ts';

const { CTRL, IMS, ICS } = I82540EM.r;
const command = fileURLToPath(new URL('../../scripts/fauxnic.js', import.meta.url));
const MODULE = fileURLToPath(new URL('../util/dual-port.js', import.meta.url));

const open = (clock = new Clock()) =>
  openSimBoard((hostOf) => new DualPort(hostOf), { name: 'sim:dual', clock, dmaBytes: 32 << 20 });

test('each function is a device: one slot, two lines', (t) => {
  const { devices } = open();
  t.deepEqual(
    devices.map(({ name, config }) => [name, config.read8(HEADER_TYPE), config.read8(INTERRUPT_PIN)]),
    [
      ['sim:dual/0', 0x80, 1],
      ['sim:dual/1', 0x80, 2],
    ],
  );
});

test('what is done to one function leaves the other alone: command, interrupts, reset', async (t) => {
  const clock = new Clock();
  const [first, second] = open(clock).devices as [never, never] as [
    ReturnType<typeof open>['devices'][number],
    ReturnType<typeof open>['devices'][number],
  ];
  const heard: number[] = [];
  for (const [number, device] of [first, second].entries()) {
    device.enable({ memory: true, busMaster: true });
    device.interrupts.enable('intx', 1);
    device.interrupts.on(0, () => {
      heard.push(number);
      device.interrupts.mask(0);
    });
  }
  first.bar(0).write32(CTRL.at, CTRL.SLU);
  second.bar(0).write32(IMS.at, 1);
  second.bar(0).write32(ICS.at, 1);
  await runFor(clock, MILLISECOND);
  t.deepEqual(heard, [1]);
  second.reset();
  t.is(second.config.read16(COMMAND), 0);
  t.truthy(first.config.read16(COMMAND) & COMMAND_MASTER);
  t.truthy(first.bar(0).read32(CTRL.at) & CTRL.SLU);
});

netdevSpec(
  avaRegister('function 1'),
  async (options) => {
    const clock = new Clock();
    const { board, devices } = open(clock);
    const device = devices[1]!;
    const link = new Link(clock);
    const peer = new HostPort('peer');
    link.plug(board.ports[1]!);
    link.plug(peer);
    const driver = await runClock(clock, createE1000(device, options));
    return simBench({ clock, model: board.functions[1]!, device, driver, link, peer });
  },
  lacksOf('82540EM'),
);

test('saved and restored as one, both functions go on alike, with what they share', async (t) => {
  const clock = new Clock();
  const { board, devices } = open(clock);
  for (const [number, device] of devices.entries()) {
    device.enable({ memory: true, busMaster: true });
    device.bar(0).write32(CTRL.at, CTRL.SLU | (number << 8));
    device.bar(0).write32(I82540EM.r.EERD.at, (number << 8) | 1);
  }
  board.cards[1]!.eeprom.words[0x20] = 0x1234;
  await runFor(clock, SECOND);
  const copy = open(clock).board;
  const state = board.save();
  copy.restore(structuredClone(state));
  t.deepEqual(copy.save(), state);
  t.is(copy.cards[1]!.eeprom.words[0x20], 0x1234);
  t.is(copy.cards[0]!.eeprom.words[0x20], board.cards[0]!.eeprom.words[0x20]);
});

test('the state of another board is refused', (t) => {
  const { board } = open();
  const one = new CardBoard([board.cards[0]!]);
  const two = new CardBoard(board.cards);
  t.throws(() => one.restore(two.save()), { instanceOf: StateError, message: 'board.functions: 2 elements, not 1' });
  t.throws(() => one.restore(board.save()), { instanceOf: StateError, message: 'board.shared.nvm: no such part' });
});

test('virtual functions are plugged in each by itself, and opened as devices once they are there', (t) => {
  const clock = new Clock();
  const hosts = new Map<number, Host>();
  const { board, devices, open } = openSimBoard(
    (hostOf) => {
      const each: HostOf = (number) => {
        const host = hostOf(number);
        hosts.set(number, host);
        return host;
      };
      const port = new HostPort('virtual');
      return new CardBoard([Object.assign(new WholeFunction(each(0), WHOLE, each), { port })]);
    },
    { name: 'sim:virtual', clock, dmaBytes: 1 << 20 },
  );
  const { config } = devices[0]!;
  config.write16(0x160 + 0x10, 2);
  config.write16(0x160 + 0x08, 0x19);
  t.deepEqual(
    board.virtualFunctions.map(({ number, host }) => [number, host === hosts.get(number)]),
    [
      [8, true],
      [9, true],
    ],
  );
  const virtual = open(board.virtualFunctions[1]!);
  t.is(virtual.name, 'sim:virtual/9');
  t.like(virtual.id, { vendor: 0x8086, device: 0xfab1 });
  virtual.bar(0).write32(0, 7);
  t.is(virtual.bar(0).read32(0), 7);
  t.is(virtual.interrupts.available.msix, 3);
  const copy = new CardBoard([Object.assign(new WholeFunction(hosts.get(0)!), { port: new HostPort('copy') })]);
  copy.restore(structuredClone(board.save()));
  t.is(copy.virtualFunctions[1]!.readBar(0, 0, 4), 7);
});

const fauxnic = (...args: string[]) => execa(process.execPath, [command, ...args], { reject: false });

test('drive picks a function, the first one unless told', async (t) => {
  for (const target of [MODULE, `${MODULE}/1`]) {
    const { stdout, stderr, exitCode } = await fauxnic('drive', target, '--generate', '--count', '50', '--json');
    t.is(exitCode, 0, stderr);
    t.regex(stdout, /"model":"/);
    t.regex(stdout, target === MODULE ? /:82:54:01/ : /:82:54:02/);
  }
});

test('a function that there is not is said in one line', async (t) => {
  const { stderr, exitCode } = await fauxnic('drive', `${MODULE}/2`, '--generate', '--count', '1');
  t.is(exitCode, 2);
  t.regex(stderr, /the board has 2 functions, from 0 on: there is no 2/);
  t.regex((await fauxnic('drive', 'sim:e1000/1', '--generate')).stderr, /no model "e1000\/1"/);
});
