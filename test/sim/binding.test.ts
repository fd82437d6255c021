/** Cards in slots, as a made-up sysfs has them: what is refused, and taking them from their drivers and giving them back. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { runsOf } from '../../drivers/backends/huge-pages.ts';
import { checkFree, inspectSlot, pciAddress } from '../../drivers/backends/pci-slot.ts';
import { openSysfs } from '../../drivers/backends/sysfs.ts';
import { openVfio, placeIn } from '../../drivers/backends/vfio.ts';
import { DeviceError } from '../../drivers/device.ts';
import { type BindingHost, bind, dryHost, unbind } from '../../scripts/rig/binding.ts';

const CARD = '0000:03:00.0';
const code = (expected: string, message: RegExp) => ({ instanceOf: DeviceError, code: expected, message });

/** A tree like sysfs, and a kernel that does what is written there. */
class FakeMachine implements BindingHost {
  readonly sysfs: string;
  readonly ledger: string;
  readonly written: string[] = [];
  /** Drivers that take no device. */
  readonly broken = new Set<string>();
  inUse = false;
  /** Called before a write takes effect. */
  before: (path: string) => void = () => {};

  constructor(t: ExecutionContext) {
    const root = mkdtempSync(join(tmpdir(), 'fauxnic-sysfs-'));
    t.teardown(() => rmSync(root, { recursive: true }));
    this.sysfs = join(root, 'sys');
    this.ledger = join(root, 'state/bound.json');
    mkdirSync(join(this.sysfs, 'bus/pci/devices'), { recursive: true });
    for (const name of ['e1000e', 'igb', 'vfio-pci']) this.addDriver(name);
  }

  addDriver(name: string): void {
    mkdirSync(join(this.sysfs, 'bus/pci/drivers', name), { recursive: true });
  }

  folder(address = CARD): string {
    return join(this.sysfs, 'bus/pci/devices', address);
  }

  /** @param own the driver that the card is for. */
  addCard(address: string, own: string, { group, bound = true }: { group?: number; bound?: boolean } = {}): this {
    mkdirSync(this.folder(address));
    writeFileSync(join(this.folder(address), 'own'), own);
    writeFileSync(join(this.folder(address), 'class'), own === 'ahci' ? '0x010601\n' : '0x020000\n');
    writeFileSync(join(this.folder(address), 'driver_override'), '');
    if (bound) this.#attach(address, own);
    if (group === undefined) return this;
    const members = join(this.sysfs, 'kernel/iommu_groups', String(group), 'devices');
    mkdirSync(members, { recursive: true });
    symlinkSync(this.folder(address), join(members, address));
    symlinkSync(dirname(members), join(this.folder(address), 'iommu_group'));
    return this;
  }

  addInterface(name: string, up: boolean): void {
    mkdirSync(join(this.folder(), 'net', name), { recursive: true });
    writeFileSync(join(this.folder(), 'net', name, 'flags'), up ? '0x1003\n' : '0x1002\n');
  }

  driver(address = CARD): string | null {
    return inspectSlot(address, this.sysfs).driver;
  }

  get override(): string {
    return readFileSync(join(this.folder(), 'driver_override'), 'utf8').trim();
  }

  #attach(address: string, driver: string): void {
    if (this.broken.has(driver) || this.driver(address) !== null) return;
    symlinkSync(join(this.sysfs, 'bus/pci/drivers', driver), join(this.folder(address), 'driver'));
  }

  write(path: string, text: string): void {
    this.written.push(`${path.slice(this.sysfs.length)} ${text.trim()}`);
    this.before(path);
    const what = basename(path);
    if (what === 'driver_override') writeFileSync(path, text);
    else if (what === 'unbind') rmSync(dirname(path));
    else if (what === 'bind') this.#attach(text, basename(dirname(path)));
    else if (what === 'drivers_probe') {
      const read = (name: string) => readFileSync(join(this.folder(text), name), 'utf8').trim();
      this.#attach(text, read('driver_override') || read('own'));
    }
  }

  loadModule(name: string): Promise<void> {
    this.addDriver(name);
    return Promise.resolve();
  }

  busy(): boolean {
    return this.inUse;
  }
}

test('an address is a PCI address, spelt as sysfs does', (t) => {
  t.is(pciAddress('03:00.0'), CARD);
  t.is(pciAddress('0000:AB:1F.7'), '0000:ab:1f.7');
  t.is(pciAddress('10000:01:00.0'), '10000:01:00.0');
  for (const text of ['', 'eth0', '3:0.0', '0000:03:00.8', '0000:03:20.0', '../../etc', '0000:03:00.0/..', ' 03:00.0'])
    t.throws(() => pciAddress(text), code('INVALID', /is no PCI address: give one such as/), text);
});

test('what cannot be had is refused in one line that says what to do', async (t) => {
  const machine = new FakeMachine(t).addCard(CARD, 'e1000e', { group: 7 });
  const { sysfs } = machine;
  await t.throwsAsync(openVfio('0000:09:00.0', { sysfs }), code('INVALID', /^there is no PCI function 0000:09:00.0/));
  await t.throwsAsync(openVfio('nonsense', { sysfs }), code('INVALID', /is no PCI address/));
  const bound = /belongs to the kernel driver e1000e: "fauxnic bind 0000:03:00.0".*"fauxnic unbind 0000:03:00.0"/;
  await t.throwsAsync(openVfio(CARD, { sysfs }), code('INVALID', bound));
  machine.addCard('0000:03:00.1', 'igb', { group: 7 }).addCard('0000:00:1c.0', 'pcieport', { group: 7 });
  t.deepEqual(inspectSlot(CARD, sysfs).companions, [
    { address: '0000:00:1c.0', driver: 'pcieport' },
    { address: '0000:03:00.1', driver: 'igb' },
  ]);
  await bind(machine, CARD);
  await t.throwsAsync(
    openVfio(CARD, { sysfs }),
    code('INVALID', /shares IOMMU group 7 with 0000:03:00.1 \(igb\), and .*"fauxnic bind 0000:03:00.1"/),
  );
  machine.addCard('0000:04:00.0', 'igb', { group: 8, bound: false });
  await t.throwsAsync(openVfio('04:00.0', { sysfs }), code('INVALID', /is not bound to vfio-pci: run "fauxnic bind/));
  await t.throwsAsync(openSysfs(CARD, { sysfs }), code('INVALID', /an IOMMU stands in front of .*VFIO's to drive/));
  machine.addCard('0000:05:00.0', 'igb', { bound: false });
  await t.throwsAsync(openVfio('05:00.0', { sysfs }), code('UNSUPPORTED', /no IOMMU stands in front of .*turn it on/));
  t.throws(() => checkFree(inspectSlot('03:00.1', sysfs)), code('INVALID', /kernel driver igb/));
});

test('bind gives a card to vfio-pci, unbind gives it back to whoever had it', async (t) => {
  const machine = new FakeMachine(t).addCard(CARD, 'e1000e', { group: 7 });
  t.is(await bind(machine, '03:00.0'), `${CARD} is vfio-pci's now, in IOMMU group 7`);
  t.is(machine.driver(), 'vfio-pci');
  t.deepEqual(JSON.parse(readFileSync(machine.ledger, 'utf8')), { [CARD]: 'e1000e' });
  t.is(await bind(machine, CARD), `${CARD} is vfio-pci's already`);
  t.is(unbind(machine, CARD), `${CARD} is e1000e's again`);
  t.deepEqual([machine.driver(), machine.override, existsSync(machine.ledger)], ['e1000e', '', false]);
  t.is(unbind(machine, CARD), `${CARD} is e1000e's already`);
  t.deepEqual(machine.written, [
    `/bus/pci/devices/${CARD}/driver_override vfio-pci`,
    `/bus/pci/devices/${CARD}/driver/unbind ${CARD}`,
    `/bus/pci/drivers_probe ${CARD}`,
    `/bus/pci/devices/${CARD}/driver_override `,
    `/bus/pci/devices/${CARD}/driver/unbind ${CARD}`,
    `/bus/pci/drivers/e1000e/bind ${CARD}`,
  ]);
});

test('a card that nobody wrote down goes where the kernel puts it; one that had no driver has none again', async (t) => {
  const machine = new FakeMachine(t).addCard(CARD, 'e1000e', { group: 7, bound: false });
  await bind(machine, CARD);
  t.is(unbind(machine, CARD), `${CARD} has no driver, as before`);
  await bind(machine, CARD);
  rmSync(machine.ledger);
  t.is(unbind(machine, CARD), `${CARD} is e1000e's again`);
});

test('without an IOMMU a card is without a driver, and comes back', async (t) => {
  const machine = new FakeMachine(t).addCard(CARD, 'e1000e');
  t.is(await bind(machine, CARD), `${CARD} has no driver now, as no IOMMU stands in front of it`);
  t.is(machine.driver(), null);
  t.is(await bind(machine, CARD), `${CARD} is without a driver already`);
  t.is(unbind(machine, CARD), `${CARD} is e1000e's again`);
});

test('what fails half-way is undone', async (t) => {
  const machine = new FakeMachine(t).addCard(CARD, 'e1000e', { group: 7 });
  const asBefore = () =>
    t.deepEqual([machine.driver(), machine.override, existsSync(machine.ledger)], ['e1000e', '', false]);
  machine.broken.add('vfio-pci');
  await t.throwsAsync(bind(machine, CARD), { message: /is without a driver although given to vfio-pci/ });
  asBefore();
  machine.broken.clear();
  for (const part of ['driver_override', 'unbind', 'drivers_probe']) {
    let once = true;
    machine.before = (path) => {
      if (!once || !path.endsWith(part)) return;
      once = false;
      throw Object.assign(new Error('no'), { code: 'EBUSY', path });
    };
    await t.throwsAsync(bind(machine, CARD), { message: new RegExp(`${part} was refused \\(EBUSY\\)`) }, part);
    asBefore();
  }
  const stop = new AbortController();
  machine.before = () => stop.abort();
  await t.throwsAsync(bind(machine, CARD, { signal: stop.signal }), { message: /is as it was: interrupted/ });
  asBefore();
});

test('a card that is up, or in use, or whose module is missing stays where it is', async (t) => {
  const machine = new FakeMachine(t).addCard(CARD, 'e1000e', { group: 7 });
  machine.addInterface('eth0', true);
  await t.throwsAsync(bind(machine, CARD), { message: /is eth0 \(e1000e\), which is up: .*ip link set eth0 down/ });
  t.is(machine.driver(), 'e1000e');
  await bind(machine, CARD, { force: true });
  machine.inUse = true;
  t.throws(() => unbind(machine, CARD), { message: /is in use: end the process/ });
  t.is(machine.driver(), 'vfio-pci');
  machine.inUse = false;
  unbind(machine, CARD);
  machine.addInterface('eth0', false);
  rmSync(join(machine.sysfs, 'bus/pci/drivers/vfio-pci'), { recursive: true });
  const load = machine.loadModule;
  machine.loadModule = () => Promise.reject(new Error('not found'));
  await t.throwsAsync(bind(machine, CARD), { message: /the module vfio-pci cannot be loaded: be root/ });
  t.is(machine.driver(), 'e1000e');
  machine.loadModule = load;
  await bind(machine, CARD);
  t.is(machine.driver(), 'vfio-pci', 'the module is loaded where it is missing');
});

test('what is not there, is taken, or shares its group: bind and unbind say so, and take no more than they were told', async (t) => {
  const machine = new FakeMachine(t).addCard(CARD, 'e1000e', { group: 7 }).addCard('0000:03:00.1', 'igb', { group: 7 });
  const nothing = code('INVALID', /^there is no PCI function 0000:09:00\.0[^\n]*$/);
  await t.throwsAsync(bind(machine, '09:00.0'), nothing);
  t.throws(() => unbind(machine, '09:00.0'), nothing);
  await t.throwsAsync(bind(machine, 'nonsense'), code('INVALID', /is no PCI address/));
  t.throws(() => unbind(machine, '../..'), code('INVALID', /is no PCI address/));
  t.deepEqual([machine.written, existsSync(machine.ledger)], [[], false]);
  await bind(machine, CARD);
  t.deepEqual([machine.driver(), machine.driver('0000:03:00.1')], ['vfio-pci', 'igb'], 'its neighbour stays');
  await bind(machine, '03:00.1');
  t.deepEqual(JSON.parse(readFileSync(machine.ledger, 'utf8')), { [CARD]: 'e1000e', '0000:03:00.1': 'igb' });
  machine.inUse = true; // the group is, whichever of the two is driven
  for (const address of [CARD, '0000:03:00.1'])
    t.throws(() => unbind(machine, address), { message: `${address} is in use: end the process that drives it first` });
  machine.inUse = false;
  t.is(unbind(machine, CARD), `${CARD} is e1000e's again`);
  t.deepEqual(JSON.parse(readFileSync(machine.ledger, 'utf8')), { '0000:03:00.1': 'igb' });
  t.is(machine.driver('0000:03:00.1'), 'vfio-pci');
  t.is(unbind(machine, '03:00.1'), "0000:03:00.1 is igb's again");
  for (const ledger of ['{ half a ledg', 'null', '"e1000e"', '']) {
    writeFileSync(machine.ledger, ledger); // nobody knows, and the kernel chooses
    await bind(machine, CARD);
    writeFileSync(machine.ledger, ledger);
    t.is(unbind(machine, CARD), `${CARD} is e1000e's again`, ledger);
  }
});

test('who is not root is told so, and the first answer to whose a card was stands', async (t) => {
  const machine = new FakeMachine(t).addCard(CARD, 'e1000e', { group: 7 });
  for (const why of ['EACCES', 'EPERM']) {
    machine.before = (path) => {
      machine.before = () => {};
      throw Object.assign(new Error('no'), { code: why, path });
    };
    const error = await t.throwsAsync(bind(machine, CARD), { name: 'UsageError' });
    t.is(error?.message, `${join(machine.folder(), 'driver_override')}: not permitted: be root`);
  }
  await bind(machine, CARD);
  machine.write(join(machine.folder(), 'driver/unbind'), CARD); // by hand: now it has none
  await bind(machine, CARD);
  t.is(unbind(machine, CARD), `${CARD} is e1000e's again`);
});

test('an interruption before anything was written, and a driver that does not take its card back', async (t) => {
  const machine = new FakeMachine(t).addCard(CARD, 'e1000e', { group: 7 });
  rmSync(join(machine.sysfs, 'bus/pci/drivers/vfio-pci'), { recursive: true });
  const stop = new AbortController();
  const load = machine.loadModule.bind(machine);
  machine.loadModule = (name) => {
    stop.abort();
    return load(name);
  };
  await t.throwsAsync(bind(machine, CARD, { signal: stop.signal }), {
    message: `${CARD} stays as it was: interrupted`,
  });
  t.deepEqual([machine.written, existsSync(machine.ledger)], [[], false]);
  await bind(machine, CARD);
  machine.broken.add('e1000e');
  t.throws(() => unbind(machine, CARD), { message: `${CARD} is without a driver: e1000e did not take it back` });
  t.true(existsSync(machine.ledger), 'so that it can be tried again');
  machine.broken.clear();
  t.is(unbind(machine, CARD), `${CARD} is e1000e's again`);
});

test('a card that somebody else gave back is written down no more', async (t) => {
  const machine = new FakeMachine(t).addCard(CARD, 'e1000e', { group: 7 });
  await bind(machine, CARD);
  machine.write(join(machine.folder(), 'driver/unbind'), CARD);
  machine.write(join(machine.sysfs, 'bus/pci/drivers/e1000e/bind'), CARD);
  t.is(unbind(machine, CARD, true), `${CARD} is e1000e's already`);
  t.true(existsSync(machine.ledger), 'but by a dry run');
  t.is(unbind(machine, CARD), `${CARD} is e1000e's already`);
  t.false(existsSync(machine.ledger));
});

test('what is no network card is left alone', async (t) => {
  const machine = new FakeMachine(t).addCard(CARD, 'ahci', { group: 7 });
  await t.throwsAsync(bind(machine, CARD), { message: /\(ahci\) is no network card but of class 0x010601: leave it/ });
  t.is(machine.driver(), 'ahci');
});

test('a dry run says what it would write, and writes nothing', async (t) => {
  const machine = new FakeMachine(t).addCard(CARD, 'e1000e', { group: 7 });
  const said: string[] = [];
  const dry = dryHost(machine, (line) => said.push(line.replace(machine.sysfs, '/sys')));
  await bind(dry, CARD, {}, true);
  t.deepEqual(said, [
    `echo vfio-pci > /sys/bus/pci/devices/${CARD}/driver_override`,
    `echo ${CARD} > /sys/bus/pci/devices/${CARD}/driver/unbind`,
    `echo ${CARD} > /sys/bus/pci/drivers_probe`,
  ]);
  t.deepEqual([machine.driver(), machine.override, machine.written.length], ['e1000e', '', 0]);
  t.false(existsSync(machine.ledger));
  await bind(machine, CARD);
  said.length = 0;
  t.is(unbind(dry, CARD, true), `${CARD} would be e1000e`);
  t.is(said[0], `echo > /sys/bus/pci/devices/${CARD}/driver_override`);
  t.is(machine.driver(), 'vfio-pci');
  t.true(existsSync(machine.ledger));
});

test('DMA memory keeps clear of what the IOMMU reserves', (t) => {
  const MiB = 1 << 20;
  t.is(placeIn([], 64 * MiB), MiB);
  t.is(placeIn([{ first: 0, last: 0xfedfffff }], 64 * MiB), MiB);
  t.is(
    placeIn(
      [
        { first: 0, last: 32 * MiB - 1 },
        { first: 40 * MiB + 1, last: 2 ** 48 },
      ],
      64 * MiB,
    ),
    41 * MiB,
  );
  t.is(placeIn([{ first: 0, last: 65 * MiB - 1 }], 64 * MiB), MiB);
  t.throws(() => placeIn([{ first: 0, last: 65 * MiB - 2 }], 64 * MiB), code('NO_MEMORY', /in a row below 2 GiB/));
  t.throws(() => placeIn([{ first: 2 ** 31 - 32 * MiB, last: 2 ** 40 }], 64 * MiB), code('NO_MEMORY', /2 GiB/));
});

test('huge pages that follow each other make one piece; those out of reach are left out', (t) => {
  const page = 2 << 20;
  const at = (...pages: number[]) => pages.map((it) => it * page);
  t.deepEqual(runsOf(at(10, 11, 12)), [{ offset: 0, bytes: 3 * page, physical: 10 * page }]);
  t.deepEqual(runsOf(at(10, 9, 5000, 10, 11)), [
    { offset: 0, bytes: page, physical: 10 * page },
    { offset: page, bytes: page, physical: 9 * page },
    { offset: 3 * page, bytes: 2 * page, physical: 10 * page },
  ]);
  t.is(runsOf(at(1023)).length, 1, 'the last one below 2 GiB');
  t.throws(() => runsOf(at(1024, 9000)), code('NO_MEMORY', /all 2 huge pages lie above 2 GiB/));
});
