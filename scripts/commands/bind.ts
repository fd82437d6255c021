import type { Command } from 'commander';
import { bind, dryHost, machineHost, unbind } from '../rig/binding.ts';
import { StopSignals } from '../stop-signals.ts';

interface Options {
  readonly dryRun?: boolean;
  readonly force?: boolean;
}

const ADDRESS = 'the PCI address: 0000:03:00.0 (lspci -D has them)';
const DRY = 'say what would be written to sysfs, and write nothing';
const say = (line: string) => void process.stdout.write(`${line}\n`);

export function addBind(program: Command): void {
  program
    .command('bind')
    .summary('take a card from its kernel driver, for pci:ADDRESS')
    .description(
      'Takes a card from its kernel driver and gives it to vfio-pci or, without an IOMMU, to none. What fails is undone.',
    )
    .argument('<address>', ADDRESS)
    .option('--dry-run', DRY)
    .option('--force', 'even where a network interface of it is up, or it is no network card')
    .action(runBind);
}

export function addUnbind(program: Command): void {
  program
    .command('unbind')
    .summary('give a card back to its kernel driver')
    .description('Gives a card back to the kernel driver that had it before "fauxnic bind".')
    .argument('<address>', ADDRESS)
    .option('--dry-run', DRY)
    .action((address: string, { dryRun = false }: Options) => {
      const host = machineHost();
      say(unbind(dryRun ? dryHost(host, say) : host, address, dryRun));
    });
}

async function runBind(address: string, { dryRun = false, force }: Options): Promise<void> {
  const host = machineHost();
  const stop = new StopSignals();
  try {
    const done = await bind(dryRun ? dryHost(host, say) : host, address, { force, signal: stop.signal }, dryRun);
    say(dryRun ? 'nothing was written' : done);
  } catch (error) {
    if (!stop.received) throw error;
    process.exitCode = stop.exitCode;
  } finally {
    stop.close();
  }
}
