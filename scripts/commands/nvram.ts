import { existsSync } from 'node:fs';
import { type Command, InvalidArgumentError } from 'commander';
import type { NvramEntry } from '../../drivers/chip-tools.ts';
import { macText } from '../../drivers/station-address.ts';
import { hex } from '../../sim/registers.ts';
import { EXAMPLE, findTarget } from '../catalogue.ts';
import { Failure, UsageError } from '../errors.ts';
import { macAddress, OPTIONS } from '../options.ts';
import { isModel, openWorkbench, type Workbench } from '../rig/workbench.ts';
import { StopSignals } from '../stop-signals.ts';
import { paint } from '../terminal/style.ts';
import { table } from '../terminal/table.ts';
import { readImage, writeImage, writeNewImage } from '../toolkit/files.ts';
import { acceptable, findEntry, hexDump, replace, valueText } from '../toolkit/nvram.ts';

interface NvramOptions {
  readonly backup?: string;
  readonly image?: string;
  readonly force?: boolean;
  readonly json?: true;
}

interface Task {
  readonly bench: Workbench;
  readonly image: Uint8Array;
  readonly argument?: string;
  readonly options: NvramOptions;
}

interface Action {
  /** What its argument is; "?" behind it, where it may be absent. */
  readonly argument?: string;
  /** With an argument it may change the NVM. */
  readonly writes?: true;
  /** What to print, and as JSON. */
  run(task: Task): Promise<string> | string;
}

const ACTIONS: Readonly<Record<string, Action>> = {
  dump: { argument: 'FILE?', run: dump },
  restore: { argument: 'FILE', writes: true, run: restore },
  ls: { run: list },
  get: { argument: 'NAME or ADDRESS', run: get },
  mac: { argument: 'ADDRESS?', writes: true, run: station },
  check: { run: check },
};

const AFTER = `
  dump [FILE]    write the whole of it to a file, byte for byte; without one, or to "-", show it in hex
  restore FILE   write such a file to the card
  ls             what is where
  get WHAT       one thing of that, by name, or by address as ls gives it
  mac [ADDRESS]  show the station address, or change it, and its checksum
  check          whether checksums and what else can be checked are right; ends with 1 where they are not

Before anything is written the image is checked (--force leaves that out), and what the NVM holds now is kept beside FILE
as FILE.backup, with mac as nvram-ADDRESS.backup here, or where --backup says; a copy that is there is never written
over. Afterwards it is read back. A write that fails in the middle is undone. The card takes a new address at its next
reset, a kernel driver when it is loaded again.

Of a card by Intel it is the 64 words that the checksum covers, by Broadcom the whole flash. What is written to sim:MODEL or qemu:DEVICE ends with
the command. To keep it, or to change an image without a card, give a model its NVM in a file: --image FILE, which is
made where it is missing.

Examples:
  fauxnic nvram pci:0000:03:00.0 dump card.nvram
  fauxnic nvram pci:0000:03:00.0 mac 02:00:00:00:00:01
  fauxnic nvram pci:0000:03:00.0 restore card.nvram
  fauxnic nvram qemu:${EXAMPLE.driven} ls
  fauxnic nvram sim:${EXAMPLE.model} mac 02:00:00:00:00:01 --image card.nvram`;

export function addNvram(program: Command): void {
  program
    .command('nvram')
    .summary("what a card's EEPROM or flash holds: look, save, restore, change its address")
    .description("Reads, checks, saves and changes what a card's NVM holds: its station address and its defaults.")
    .argument('<target>', 'the device: sim:MODEL, qemu:DEVICE, vfio-user:PATH or pci:ADDRESS (see fauxnic devices)')
    .argument('<action>', Object.keys(ACTIONS).join(', '), actionName)
    .argument('[what]', 'what the action is about')
    .option('--backup <file>', 'keep what the NVM holds in this file, which must not be there')
    .option('--image <file>', "of sim:MODEL: the model's NVM is this file")
    .option('--force', 'write what is damaged or too short, too')
    .addOption(OPTIONS.json())
    .addHelpText('after', AFTER)
    .action(nvram);
}

function actionName(name: string): string {
  if (Object.hasOwn(ACTIONS, name)) return name;
  throw new InvalidArgumentError(`Give one of ${Object.keys(ACTIONS).join(', ')}.`);
}

async function nvram(target: string, name: string, argument: string | undefined, options: NvramOptions): Promise<void> {
  const action = ACTIONS[name]!;
  checkArgument(name, action, argument);
  const writes = action.writes === true && argument !== undefined;
  if (options.backup !== undefined) {
    if (!writes) throw new UsageError(`--backup is for what writes: ${name} only reads`);
    if (existsSync(options.backup)) throw new UsageError(`${options.backup} is there already: choose another path`);
  }
  const initial = imageOf(target, options.image, writes);
  const stop = new StopSignals(); // a write is brought to its end
  const bench = await openWorkbench(target, { image: initial, progress: (line) => console.error(line) });
  try {
    const image = await bench.tools.nvram.read();
    console.log(await action.run({ bench, image, argument, options }));
  } finally {
    bench.close();
    stop.close();
  }
  if (stop.received !== null) process.exitCode = stop.exitCode;
}

function checkArgument(name: string, { argument }: Action, given: string | undefined): void {
  if (argument === undefined && given !== undefined) throw new UsageError(`${name} takes nothing behind it: ${given}`);
  if (given === undefined && argument !== undefined && !argument.endsWith('?'))
    throw new UsageError(`${name} of what? Give ${argument}`);
}

/** What a model begins with: its file, if that is there. */
function imageOf(target: string, file: string | undefined, writes: boolean): Uint8Array | undefined {
  if (file === undefined) return undefined;
  if (!isModel(findTarget(target)))
    throw new UsageError(`--image is for models (sim:MODEL): ${target} has its own NVM`);
  return existsSync(file) || !writes ? readImage(file) : undefined;
}

function dump({ bench, image, argument: file = '-', options: { json } }: Task): string {
  const { nvram } = bench.tools;
  if (file === '-') return json ? JSON.stringify({ bytes: [...image] }) : hexDump(nvram, image);
  writeImage(file, image);
  const wrong = nvram.check(image);
  if (json) return JSON.stringify({ file, bytes: image.length, wrong });
  return [`${file}: ${image.length} bytes`, ...wrong.map((line) => `${paint('yellow', '!')} ${line}`)].join('\n');
}

async function restore(task: Task): Promise<string> {
  const { bench, image, argument: file = '', options } = task;
  const wanted = acceptable(bench.tools.nvram, image, file, readImage(file), options.force === true);
  return change(task, wanted, `${file}.backup`);
}

async function station(task: Task): Promise<string> {
  const { bench, image, argument, options } = task;
  const { nvram } = bench.tools;
  const present = macText(nvram.macOf(image));
  if (argument === undefined) return options.json ? JSON.stringify({ mac: present }) : present;
  const address = addressOf(argument);
  const wrong = nvram.check(image);
  if (wrong.length > 0 && !options.force)
    throw new Failure(`the NVM is not right as it is: ${wrong.join('; ')} (--force writes the address all the same)`);
  return change(task, nvram.withMac(image, address), `nvram-${present.replaceAll(':', '-')}.backup`);
}

function addressOf(text: string): Uint8Array {
  try {
    return macAddress(text);
  } catch (error) {
    throw new UsageError(`address ${text}: ${(error as Error).message}`);
  }
}

async function change({ bench, options }: Task, image: Uint8Array, beside: string): Promise<string> {
  const { nvram } = bench.tools;
  const keep = (before: Uint8Array) => writeNewImage(options.backup ?? beside, before);
  const { changed, copy } = await replace(nvram, image, keep);
  if (options.image !== undefined) writeImage(options.image, image);
  if (options.json) return JSON.stringify({ changed, backup: copy, mac: macText(nvram.macOf(image)) });
  if (changed === 0) return 'the NVM holds just that: nothing was written';
  const fleeting = bench.fleeting && options.image === undefined;
  const lines = [
    `${changed} ${nvram.cell === 1 ? 'bytes' : 'words'} written and read back; the station address is ${macText(nvram.macOf(image))}`,
    `what it held before is in ${copy}`,
    ...(fleeting ? [`${bench.target} ends here, and what was written with it (see --help for --image)`] : []),
  ];
  return lines.join('\n');
}

function list({ bench, image, options }: Task): string {
  const { nvram } = bench.tools;
  const entries = nvram.entries(image);
  const value = (entry: NvramEntry) => entry.text ?? valueText(nvram, image, entry);
  const address = ({ at, length }: NvramEntry) => {
    const last = (at + length) / nvram.cell - 1;
    return at / nvram.cell === last ? hex(last, 2) : `${hex(at / nvram.cell, 2)}..${hex(last, 2)}`;
  };
  if (options.json) return JSON.stringify(entries.map((entry) => ({ ...entry, value: value(entry) })));
  const rows = entries.map((entry) => [address(entry), entry.name, value(entry), entry.about]);
  return table([[nvram.cell === 1 ? 'BYTES' : 'WORDS', 'NAME', 'VALUE', 'WHAT IT IS'], ...rows]);
}

function get({ bench, image, argument = '', options }: Task): string {
  const { nvram } = bench.tools;
  const entry = findEntry(nvram, image, argument);
  const value = entry.text ?? valueText(nvram, image, entry);
  return options.json ? JSON.stringify({ ...entry, value }) : value;
}

function check({ bench, image, options }: Task): string {
  const { nvram, chip } = bench.tools;
  const wrong = nvram.check(image);
  if (wrong.length > 0) process.exitCode = 1;
  if (options.json) return JSON.stringify({ chip, mac: macText(nvram.macOf(image)), wrong });
  if (wrong.length > 0) return wrong.map((line) => `${paint('red', '✗')} ${line}`).join('\n');
  return `${paint('green', '✓')} all checksums are right; the station address is ${macText(nvram.macOf(image))}`;
}
