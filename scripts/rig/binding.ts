/**
 * Takes a PCI function from its kernel driver and gives it back, through sysfs (Linux, Documentation/ABI/testing/
 * sysfs-bus-pci). Which driver had it is written down first, and whatever goes wrong in between is undone.
 */
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { inspectSlot, namesIn, type PciSlot, VFIO_PCI } from '../../drivers/backends/pci-slot.ts';
import { Failure, UsageError } from '../errors.ts';

/** The machine, or what a test takes for it. */
export interface BindingHost {
  readonly sysfs: string;
  /** Where it is written down which driver had what. */
  readonly ledger: string;
  write(path: string, text: string): void;
  loadModule(name: string): Promise<void>;
  /** Whether some process has the group's device open. */
  busy(group: string): boolean;
}

export interface BindOptions {
  /** Even where a network interface of it is up, or it is no network card. */
  readonly force?: boolean;
  /** Given up and undone where this is aborted meanwhile. */
  readonly signal?: AbortSignal;
}

const IFF_UP = 1; // linux/if.h
const NETWORK = '0x02'; // the base class of network controllers (PCI 3.0, appendix D)

export function machineHost(): BindingHost {
  const state = process.env.XDG_STATE_HOME || join(homedir(), '.local/state');
  return {
    sysfs: '/sys',
    ledger: join(state, 'fauxnic/bound.json'),
    write: (path, text) => {
      try {
        writeFileSync(path, text);
      } catch (error) {
        throw Object.assign(error as Error, { path }); // which Node leaves out where the writing fails
      }
    },
    loadModule: async (name) => {
      const { $ } = await import('zx');
      await $({ quiet: true })`modprobe ${name}`;
    },
    busy: (group) => isBusy(`/dev/vfio/${group}`),
  };
}

/** Says what would be written, and writes nothing. */
export function dryHost(host: BindingHost, say: (line: string) => void): BindingHost {
  return {
    sysfs: host.sysfs,
    ledger: host.ledger,
    busy: (group) => host.busy(group),
    write: (path, text) => say(`echo ${text.trim() === '' ? '' : text} > ${path}`.replace('  ', ' ')),
    loadModule: async (name) => say(`modprobe ${name}`),
  };
}

/**
 * Gives the function to vfio-pci or, where no IOMMU stands in front of it, to no driver at all.
 * @returns what has it now, for a person.
 */
export async function bind(host: BindingHost, text: string, options: BindOptions = {}, dry = false): Promise<string> {
  const slot = inspectSlot(text, host.sysfs);
  const { address, driver, group } = slot;
  const wanted = group === null ? null : VFIO_PCI;
  if (driver === wanted) return `${address} is ${wanted === null ? 'without a driver' : `${wanted}'s`} already`;
  if (options.force !== true) checkSpare(slot);
  if (wanted !== null && !existsSync(driverFolder(host, wanted))) await load(host, wanted);
  if (options.signal?.aborted) throw new Failure(`${address} stays as it was: interrupted`);
  if (!dry) remember(host, address, driver);
  try {
    move(host, slot, wanted);
    if (!dry) checkMoved(host, slot, wanted);
    await new Promise(setImmediate); // a signal that came meanwhile is seen now
    if (options.signal?.aborted) throw new Failure(`${address} is as it was: interrupted`);
  } catch (error) {
    if (!dry) undo(host, slot);
    throw explained(error, address);
  }
  return wanted === null
    ? `${address} has no driver now, as no IOMMU stands in front of it`
    : `${address} is ${wanted}'s now, in IOMMU group ${group}`;
}

/** Gives the function back to the driver that had it; where nobody knows which, the kernel chooses. */
export function unbind(host: BindingHost, text: string, dry = false): string {
  const slot = inspectSlot(text, host.sysfs);
  const { address, driver, group } = slot;
  if (driver !== null && driver !== VFIO_PCI) {
    if (!dry) forget(host, address);
    return `${address} is ${driver}'s already`;
  }
  if (group !== null && driver !== null && host.busy(group))
    throw new UsageError(`${address} is in use: end the process that drives it first`);
  const before = remembered(host)[address];
  try {
    giveBack(host, slot, before);
  } catch (error) {
    throw explained(error, address);
  }
  if (dry) return `${address} would be ${before ?? "the kernel's to place"}`;
  const now = inspectSlot(address, host.sysfs).driver;
  if (typeof before === 'string' && now !== before)
    throw new Failure(
      `${address} is ${now === null ? 'without a driver' : `${now}'s`}: ${before} did not take it back`,
    );
  forget(host, address);
  return now === null ? `${address} has no driver, as before` : `${address} is ${now}'s again`;
}

// ---- Steps ----------------------------------------------------------------------------------------------------------

const driverFolder = ({ sysfs }: BindingHost, name: string) => join(sysfs, 'bus/pci/drivers', name);

function move(host: BindingHost, { folder, address, driver }: PciSlot, wanted: string | null): void {
  if (wanted !== null) host.write(join(folder, 'driver_override'), wanted);
  if (driver !== null) host.write(join(folder, 'driver/unbind'), address);
  if (wanted !== null) host.write(join(host.sysfs, 'bus/pci/drivers_probe'), address);
}

/** @param before undefined where nobody knows. */
function giveBack(host: BindingHost, { folder, address, driver }: PciSlot, before: string | null | undefined): void {
  host.write(join(folder, 'driver_override'), '\n'); // empty: whatever matches
  if (driver !== null) host.write(join(folder, 'driver/unbind'), address);
  if (before === undefined) host.write(join(host.sysfs, 'bus/pci/drivers_probe'), address);
  else if (before !== null) host.write(join(driverFolder(host, before), 'bind'), address);
}

function undo(host: BindingHost, { address, driver }: PciSlot): void {
  const now = inspectSlot(address, host.sysfs);
  if (now.driver !== driver) giveBack(host, now, driver);
  else host.write(join(now.folder, 'driver_override'), '\n');
  forget(host, address);
}

function checkMoved(host: BindingHost, { address }: PciSlot, wanted: string | null): void {
  const { driver } = inspectSlot(address, host.sysfs);
  if (driver === wanted) return;
  throw new Failure(
    `${address} is ${driver === null ? 'without a driver' : `${driver}'s`} although given to ${wanted ?? 'none'}: dmesg may say why`,
  );
}

/** Taking the card that a person is logged in through, or the disk, would be the last thing they see. */
function checkSpare({ address, folder, driver }: PciSlot): void {
  const kind = readFileSync(join(folder, 'class'), 'utf8').trim();
  if (!kind.startsWith(NETWORK))
    throw new UsageError(
      `${address} (${driver ?? 'no driver'}) is no network card but of class ${kind}: leave it, or give --force`,
    );
  for (const name of namesIn(join(folder, 'net'))) {
    const flags = Number(readFileSync(join(folder, 'net', name, 'flags'), 'utf8'));
    if ((flags & IFF_UP) !== 0)
      throw new UsageError(
        `${address} is ${name} (${driver}), which is up: take it down (ip link set ${name} down), or give --force`,
      );
  }
}

async function load(host: BindingHost, name: string): Promise<void> {
  try {
    await host.loadModule(name);
  } catch {
    throw new UsageError(
      `the module ${name} cannot be loaded: be root, and have a kernel that comes with it (modprobe ${name} says more)`,
    );
  }
}

function explained(error: unknown, address: string): unknown {
  const { code, path } = error as NodeJS.ErrnoException;
  if (code === 'EACCES' || code === 'EPERM') return new UsageError(`${path}: not permitted: be root`);
  if (code === undefined || path === undefined) return error;
  return new Failure(`${address}: ${path} was refused (${code}): dmesg may say why`);
}

function isBusy(path: string): boolean {
  try {
    closeSync(openSync(path, 'r+'));
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EBUSY';
  }
}

// ---- What had what --------------------------------------------------------------------------------------------------

/** Null: no driver. */
type Drivers = Readonly<Record<string, string | null>>;

function remembered({ ledger }: BindingHost): Drivers {
  try {
    const drivers = JSON.parse(readFileSync(ledger, 'utf8')) as Drivers;
    return typeof drivers === 'object' && drivers !== null ? drivers : {};
  } catch {
    return {};
  }
}

function remember(host: BindingHost, address: string, driver: string | null): void {
  const known = remembered(host);
  // No driver may mean that one was taken away before: the first answer stands.
  if (driver === null && address in known) return;
  store(host, { ...known, [address]: driver });
}

function forget(host: BindingHost, address: string): void {
  const { [address]: _, ...others } = remembered(host);
  if (Object.keys(others).length === 0) rmSync(host.ledger, { force: true });
  else store(host, others);
}

function store({ ledger }: BindingHost, drivers: Drivers): void {
  mkdirSync(dirname(ledger), { recursive: true });
  writeFileSync(`${ledger}.new`, `${JSON.stringify(drivers, null, 2)}\n`);
  renameSync(`${ledger}.new`, ledger);
}
