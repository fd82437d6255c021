/** The command's own commands, and what it says of errors. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { exitCodeOf, lineOf } from './errors.ts';
import { paint } from './terminal/style.ts';

/** In the order of the list. Only the one that is asked for is loaded: most of a short command's time is loading. */
const COMMANDS: Readonly<Record<string, () => Promise<(program: Command) => void>>> = {
  doctor: async () => (await import('./commands/doctor.ts')).addDoctor,
  devices: async () => (await import('./commands/devices.ts')).addDevices,
  demo: async () => (await import('./commands/demo.ts')).addDemo,
  drive: async () => (await import('./commands/drive.ts')).addDrive,
  diff: async () => (await import('./commands/diff.ts')).addDiff,
  serve: async () => (await import('./commands/serve.ts')).addServe,
  vm: async () => (await import('./commands/vm.ts')).addVm,
  conformance: async () => (await import('./commands/conformance.ts')).addConformance,
  regs: async () => (await import('./commands/regs.ts')).addRegs,
  nvram: async () => (await import('./commands/nvram.ts')).addNvram,
  shell: async () => (await import('./commands/shell.ts')).addShell,
  bind: async () => (await import('./commands/bind.ts')).addBind,
  unbind: async () => (await import('./commands/bind.ts')).addUnbind,
};

/** @param asked the command that is to be run; all are there unless it is one of them. */
export async function makeProgram(asked = ''): Promise<Command> {
  const program = new Command('fauxnic')
    .description('Write, test and break network-card drivers without the card.')
    .version(version())
    .option('--debug', 'show a stack trace when something fails')
    .showSuggestionAfterError()
    .enablePositionalOptions() // what follows a guest's command is the command's
    .configureOutput({ outputError: () => {} }) // said once, below
    .exitOverride();
  const names = Object.hasOwn(COMMANDS, asked) ? [asked] : Object.keys(COMMANDS);
  for (const name of names) (await COMMANDS[name]!())(program);
  for (const command of program.commands) {
    command.copyInheritedSettings(program);
    command.option('--debug', 'show a stack trace when something fails');
  }
  return program;
}

function version(): string {
  // From dist/scripts/ as well as from scripts/.
  for (const up of ['../package.json', '../../package.json']) {
    try {
      return (JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8')) as { version: string }).version;
    } catch {}
  }
  return 'unknown';
}

/** What ends it: help and version are no errors; what a person typed wrong ends with 2, a failure with 1. */
export function endingOf(error: unknown): { readonly exitCode: number; readonly says: string | null } {
  if (!(error instanceof CommanderError)) return { exitCode: exitCodeOf(error), says: lineOf(error) };
  if (error.exitCode === 0) return { exitCode: 0, says: null };
  return { exitCode: 2, says: error.code === 'commander.help' ? null : error.message.replace(/^error: /, '') };
}

/** An error as a person is told of it: one line. */
export function asSaid(text: string): string {
  return `${paint('red', 'fauxnic:')} ${text.replace(/\s*\n\s*/g, ' ')}`;
}
